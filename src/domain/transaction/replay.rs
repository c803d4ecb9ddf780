//! Decides what a request is that comes under a key the ledger knows already.
//!
//! Invariant: the same request is answered from the record and never done again; another request under the key never
//! touches it. "The same" compares the fields of [`Compared`] by value. Waiting for a flight is not here.

use super::{Compared, State, Transaction};
use crate::domain::Time;
use crate::domain::address::AddressDigest;

/// What the ledger's record means for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recalled {
    /// There is no record: the request is new.
    Fresh,
    /// Another request has the key.
    Another,
    /// The outcome is final: answer it.
    Final,
    /// It is being worked on, here or elsewhere.
    Underway,
    /// Nobody works on it: reconcile it on the spot.
    Orphan,
    /// It was given up before anything happened, and may be taken up again.
    Released,
}

/// Judges the record under a request's key. A record that has forgotten its address is held against the digest of the
/// request's.
#[must_use]
pub fn recall(record: Option<&Transaction>, request: &Compared, digest: Option<&AddressDigest>, now: Time) -> Recalled {
    let Some(record) = record else {
        return Recalled::Fresh;
    };
    if !is_same(record, request, digest) {
        return Recalled::Another;
    }
    match record.state {
        State::Success | State::Failure => Recalled::Final,
        State::Released => Recalled::Released,
        State::Pending | State::Unknown => match &record.lease {
            Some(lease) if now < lease.until => Recalled::Underway,
            Some(_) | None => Recalled::Orphan,
        },
    }
}

fn is_same(record: &Transaction, request: &Compared, digest: Option<&AddressDigest>) -> bool {
    match &record.forgotten {
        None => record.compared == *request,
        Some(forgotten) => {
            digest == Some(forgotten) && record.compared == Compared { address: None, ..request.clone() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::transaction::samples;

    #[test]
    fn a_record_is_judged_by_sameness_then_state_then_lease() {
        let sample = samples::charge("c1", "10");
        let until = sample.lease.as_ref().expect("an intent is leased").until;
        let before = samples::now();
        for (state, now, expected) in [
            (State::Pending, before, Recalled::Underway),
            (State::Pending, until, Recalled::Orphan),
            (State::Unknown, until, Recalled::Orphan),
            (State::Success, before, Recalled::Final),
            (State::Failure, before, Recalled::Final),
            (State::Released, before, Recalled::Released),
        ] {
            let mut record = sample.clone();
            record.state = state;
            assert_eq!(recall(Some(&record), &sample.compared, None, now), expected, "{state:?}");
            let mut other = sample.compared.clone();
            other.description = "something else".into();
            assert_eq!(recall(Some(&record), &other, None, now), Recalled::Another, "{state:?}");
        }
        assert_eq!(recall(None, &sample.compared, None, before), Recalled::Fresh);
    }

    #[test]
    fn amounts_are_compared_by_value() {
        let record = samples::charge("c1", "10");
        let same = samples::charge("c1", "10.00").compared;
        let other = samples::charge("c1", "10.01").compared;
        assert_ne!(recall(Some(&record), &same, None, samples::now()), Recalled::Another);
        assert_eq!(recall(Some(&record), &other, None, samples::now()), Recalled::Another);
    }

    #[test]
    fn a_record_that_forgot_its_address_knows_the_same_request_by_its_digest() {
        let sample = samples::charge("c1", "10");
        let [digest, other] = [7, 8].map(|byte| AddressDigest { type_word: "MSISDN", bits: [byte; 16] });
        let mut record = Transaction { state: State::Success, forgotten: Some(digest), ..sample.clone() };
        record.compared.address = None;
        let judged = |request: &Compared, digest| recall(Some(&record), request, digest, samples::now());
        assert_eq!(judged(&sample.compared, Some(&digest)), Recalled::Final);
        for unlike in [None, Some(&other)] {
            assert_eq!(judged(&sample.compared, unlike), Recalled::Another, "{unlike:?}");
        }
        let another = Compared { description: "else".into(), ..sample.compared };
        assert_eq!(judged(&another, Some(&digest)), Recalled::Another);
    }
}
