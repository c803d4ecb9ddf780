//! What is measured of the calls to one operator.
//!
//! Invariant: series are bounded by the operators, verbs and outcomes there are; nothing of a subscriber becomes a label.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use metrics::{Gauge, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::domain::breaker::Phase;
use crate::domain::ids::CspId;

const CALLS: &str = "onbill_csp_calls_total";
const SECONDS: &str = "onbill_csp_call_seconds";
const BREAKER: &str = "onbill_csp_breaker_state";

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
}

impl Measures {
    pub(super) fn new(csp: &CspId) -> Self {
        describe_counter!(CALLS, "Calls to a CSP, by verb and outcome; turned_away: not sent, by breaker or bulkhead.");
        describe_histogram!(SECONDS, "Seconds that calls to a CSP took, without waiting for a place.");
        describe_gauge!(BREAKER, "Whether a CSP is left alone: 0 closed, 1 half open, 2 open.");
        describe_gauge!("onbill_csp_in_flight", "Calls to a CSP that are under way.");
        describe_gauge!("onbill_csp_queue", "Calls to a CSP that wait for a place.");
        describe_counter!("onbill_csp_queued_total", "Calls to a CSP that have had to wait for a place.");
        let breaker = gauge!(BREAKER, "csp" => csp.as_str().to_owned());
        breaker.set(0);
        Self { csp: csp.clone(), breaker, shown: AtomicU8::new(0) }
    }

    pub(super) fn ended(&self, verb: Verb, outcome: &'static str, took: Duration) {
        self.count(verb, outcome);
        histogram!(SECONDS, "csp" => self.csp.as_str().to_owned(), "verb" => verb.word()).record(took.as_secs_f64());
    }

    pub(super) fn turned_away(&self, verb: Verb) {
        self.count(verb, "turned_away");
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

    fn count(&self, verb: Verb, outcome: &'static str) {
        let csp = self.csp.as_str().to_owned();
        counter!(CALLS, "csp" => csp, "verb" => verb.word(), "outcome" => outcome).increment(1);
    }
}
