//! A person settles what no CSP could tell.
//!
//! Invariant: only a record on the list of stuck ones that is still open is settled, and never without evidence, which
//! is kept with the record for ever together with who gave it and when. What is final stays final. What such an outcome
//! books, gives back and tells is the same as for any other, and is written in `settle`.

use std::sync::Arc;

use super::{State, Transaction, UnitOfWork, settle};
use crate::domain::Time;
use crate::domain::transaction::settle::Moment;

/// Most characters of the evidence.
pub const EVIDENCE_LENGTH_MAX: usize = 1000;
/// Most characters of a name.
pub const NAME_LENGTH_MAX: usize = 64;

/// What a person has found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The CSP has booked it.
    Success,
    /// The CSP has not booked it and never will.
    Failure,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "success" => Some(Self::Success),
            "failure" => Some(Self::Failure),
            _ => None,
        }
    }
}

/// A decision, with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The outcome.
    pub verdict: Verdict,
    /// Who decided.
    pub by: Arc<str>,
    /// What it rests on.
    pub evidence: Arc<str>,
    /// When.
    pub at: Time,
}

impl Decision {
    /// A decision that can be kept: name and evidence are not blank, within their bounds and without control
    /// characters.
    #[must_use]
    pub fn new(verdict: Verdict, by: &str, evidence: &str, at: Time) -> Option<Self> {
        let fits = |text: &str, length_max: usize| {
            !text.trim().is_empty() && text.chars().count() <= length_max && !text.chars().any(char::is_control)
        };
        let allowed = fits(by, NAME_LENGTH_MAX) && fits(evidence, EVIDENCE_LENGTH_MAX);
        allowed.then(|| Self { verdict, by: Arc::from(by), evidence: Arc::from(evidence), at })
    }
}

/// Why a record is not for a person to settle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotForAPerson {
    /// It has its outcome.
    #[error("it is final already, as {}, and final outcomes never change", .0.word())]
    Final(Verdict),
    /// Nothing happened, and the caller was told so.
    #[error("it was released: nothing happened at the CSP, and the caller was told so")]
    Released,
    /// The gateway is still finding out.
    #[error("it is not on the stuck list: the gateway is still finding its outcome out")]
    UnderWay,
}

/// Settles a stuck record as a person has decided.
///
/// # Errors
/// The record is not for a person to settle.
pub fn by_person(record: &Transaction, decision: Decision, moment: &Moment) -> Result<UnitOfWork, NotForAPerson> {
    match (record.state, &record.stuck) {
        (State::Success, _) => Err(NotForAPerson::Final(Verdict::Success)),
        (State::Failure, _) => Err(NotForAPerson::Final(Verdict::Failure)),
        (State::Released, _) => Err(NotForAPerson::Released),
        (State::Pending, _) | (State::Unknown, None) => Err(NotForAPerson::UnderWay),
        (State::Unknown, Some(_)) => {
            let mut unit = settle::decided(record, decision.verdict, moment);
            unit.decision = Some(decision);
            Ok(unit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::transaction::{Expected, Kind, samples};

    fn decision(verdict: Verdict) -> Decision {
        Decision::new(verdict, "ana", "ticket 7", samples::now()).expect("a decision")
    }

    fn stuck(mut record: Transaction) -> Transaction {
        record.state = State::Unknown;
        record.stuck = Some(Arc::from("no clear answer"));
        record
    }

    #[test]
    fn only_what_is_open_and_stuck_is_for_a_person() {
        let open = stuck(samples::charge("c1", "10"));
        for (state, is_stuck, expected) in [
            (State::Unknown, true, None),
            (State::Unknown, false, Some(NotForAPerson::UnderWay)),
            (State::Pending, false, Some(NotForAPerson::UnderWay)),
            (State::Pending, true, Some(NotForAPerson::UnderWay)),
            (State::Released, false, Some(NotForAPerson::Released)),
            (State::Success, true, Some(NotForAPerson::Final(Verdict::Success))),
            (State::Failure, true, Some(NotForAPerson::Final(Verdict::Failure))),
        ] {
            let stuck = open.stuck.clone().filter(|_| is_stuck);
            let record = Transaction { state, stuck, ..open.clone() };
            let settled = by_person(&record, decision(Verdict::Success), &samples::moment(samples::now()));
            assert_eq!(settled.err(), expected, "{state:?}, stuck: {is_stuck}");
        }
    }

    #[test]
    fn what_a_person_settles_is_booked_and_told_as_any_outcome() {
        for record in [samples::charge("c1", "10"), samples::refund("r1", "c1", "-4")].map(stuck) {
            let moment = samples::moment(samples::now());
            let unit = by_person(&record, decision(Verdict::Success), &moment).expect("settled");
            assert_eq!((unit.transaction.state, unit.postings.len()), (State::Success, 2));
            assert_eq!(unit.postings.iter().map(|posting| posting.money.minor).sum::<i64>(), 0);
            assert_eq!((unit.transaction.stuck.as_ref(), unit.event.is_some()), (None, true));
            assert_eq!(unit.expected, Expected::Version(record.version));
            let done = unit.hold.map(|hold| (hold.held_minor, hold.done_minor));
            assert_eq!(done, (record.key.kind == Kind::Refund).then_some((0, 400)));
            let unit = by_person(&record, decision(Verdict::Failure), &moment).expect("settled");
            assert_eq!((unit.transaction.state, unit.postings.len()), (State::Failure, 0));
            assert!(unit.event.is_some() && unit.transaction.failure.is_some());
            let given_back = unit.hold.map(|hold| (hold.held_minor, hold.done_minor));
            assert_eq!(given_back, (record.key.kind == Kind::Refund).then_some((-400, 0)));
            assert_eq!(unit.decision.map(|decision| decision.evidence), Some(Arc::from("ticket 7")));
        }
    }

    #[test]
    fn nothing_is_decided_without_a_name_and_evidence() {
        let long = "x".repeat(EVIDENCE_LENGTH_MAX + 1);
        for (by, evidence, allowed) in [
            ("ana", "ticket 7", true),
            ("ana", &long[1..], true),
            ("ana", long.as_str(), false),
            ("ana", "", false),
            ("ana", "  ", false),
            ("", "ticket 7", false),
            ("ana\n", "ticket 7", false),
            ("ana", "two\nlines", false),
            (&long[..=NAME_LENGTH_MAX], "ticket 7", false),
        ] {
            let made = Decision::new(Verdict::Failure, by, evidence, samples::now());
            assert_eq!(made.is_some(), allowed, "{by:?} {evidence:?}");
        }
    }
}
