//! What is measured of the calls to one operator.
//!
//! Invariant: series are bounded by the operators, verbs and outcomes there are; nothing of a subscriber becomes a label.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::domain::breaker::Phase;
use crate::domain::ids::CspId;
use crate::ports::measures::{CSP_BREAKER, CSP_CALLS, CSP_SECONDS};

/// What an operator is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Account,
    Charge,
    Refund,
    Inquire,
    Void,
    Notify,
}

impl Verb {
    pub(super) const ALL: [Self; 6] =
        [Self::Account, Self::Charge, Self::Refund, Self::Inquire, Self::Void, Self::Notify];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Charge => "charge",
            Self::Refund => "refund",
            Self::Inquire => "inquire",
            Self::Void => "void",
            Self::Notify => "notify",
        }
    }
}

/// Counters of one operator.
pub(super) struct Measures {
    csp: CspId,
    breaker: Gauge,
    shown: AtomicU8,
    verbs: [OfVerb; Verb::ALL.len()],
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    Refused,
    NotApplied,
    Unknown,
    TurnedAway,
}

/// Counters of one verb, made once.
struct OfVerb {
    verb: Verb,
    ok: Counter,
    refused: Counter,
    not_applied: Counter,
    unknown: Counter,
    turned_away: Counter,
    seconds: Histogram,
}

impl OfVerb {
    fn new(csp: &CspId, verb: Verb) -> Self {
        let csp = || csp.as_str().to_owned();
        let counted = |outcome: &'static str| counter!(CSP_CALLS.name, "csp" => csp(), "verb" => verb.word(), "outcome" => outcome);
        Self {
            verb,
            ok: counted("ok"),
            refused: counted("refused"),
            not_applied: counted("not_applied"),
            unknown: counted("unknown"),
            turned_away: counted("turned_away"),
            seconds: histogram!(CSP_SECONDS.name, "csp" => csp(), "verb" => verb.word()),
        }
    }

    const fn counter(&self, outcome: Outcome) -> &Counter {
        match outcome {
            Outcome::Ok => &self.ok,
            Outcome::Refused => &self.refused,
            Outcome::NotApplied => &self.not_applied,
            Outcome::Unknown => &self.unknown,
            Outcome::TurnedAway => &self.turned_away,
        }
    }
}

impl Measures {
    pub(super) fn new(csp: &CspId) -> Self {
        let breaker = gauge!(CSP_BREAKER.name, "csp" => csp.as_str().to_owned());
        breaker.set(0);
        let verbs = Verb::ALL.map(|verb| OfVerb::new(csp, verb));
        Self { csp: csp.clone(), breaker, shown: AtomicU8::new(0), verbs }
    }

    pub(super) fn ended(&self, verb: Verb, outcome: Outcome, took: Duration) {
        if let Some(of_verb) = self.of(verb) {
            of_verb.counter(outcome).increment(1);
            of_verb.seconds.record(took.as_secs_f64());
        }
    }

    pub(super) fn turned_away(&self, verb: Verb) {
        if let Some(of_verb) = self.of(verb) {
            of_verb.counter(Outcome::TurnedAway).increment(1);
        }
    }

    fn of(&self, verb: Verb) -> Option<&OfVerb> {
        self.verbs.iter().find(|of_verb| of_verb.verb == verb)
    }

    /// Shows what the breaker does, and says so where it has changed.
    pub(super) fn phase(&self, phase: Phase) {
        let number = match phase {
            Phase::Closed => 0,
            Phase::HalfOpen => 1,
            Phase::Open => 2,
        };
        if self.shown.swap(number, Ordering::Relaxed) != number {
            self.breaker.set(number);
            match phase {
                Phase::Open => tracing::error!(csp = %self.csp, "the CSP fails and is left alone for a while"),
                Phase::HalfOpen => tracing::info!(csp = %self.csp, "the CSP is tried again"),
                Phase::Closed => tracing::info!(csp = %self.csp, "the CSP answers again"),
            }
        }
    }
}
