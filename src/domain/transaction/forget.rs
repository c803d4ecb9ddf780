//! Decides when the address of a record is kept no longer, and makes the unit of work that replaces it by its digest.
//!
//! Invariant: only a record that nobody works on any more forgets, and nothing but the address: keys, amounts, states and
//! postings stay, so that the same request is answered from the record for ever. How the digest is made is not known here.

use jiff::tz::TimeZone;
use jiff::{Span, ToSpan as _};

use super::{Compared, Expected, State, Transaction, UnitOfWork};
use crate::domain::Time;
use crate::domain::address::{Address, AddressDigest};

/// Most months that addresses may be kept for: a hundred years.
pub const MONTHS_MAX: u32 = 1200;

/// The moment before which a request must have been accepted for its address to be kept no longer: so many months ago, by
/// the calendar in UTC. `None` where there is no such moment.
#[must_use]
pub fn before(now: Time, months: u32) -> Option<Time> {
    let months: Span = i64::from(months.min(MONTHS_MAX)).months();
    now.to_zoned(TimeZone::UTC).checked_sub(months).ok().map(|then| then.timestamp())
}

/// The address that a record is to forget, if it is to forget one: it is final or released, and older than that moment.
#[must_use]
pub fn outlived(record: &Transaction, before: Time) -> Option<&Address> {
    match record.state {
        State::Success | State::Failure | State::Released if record.accepted_at < before => {
            record.compared.address.as_ref()
        }
        State::Success | State::Failure | State::Released | State::Pending | State::Unknown => None,
    }
}

/// The record with the digest in the place of its address.
#[must_use]
pub fn forget(record: &Transaction, digest: AddressDigest) -> UnitOfWork {
    let compared = Compared { address: None, ..record.compared.clone() };
    let forgotten = Transaction { compared, forgotten: Some(digest), ..record.clone() };
    UnitOfWork::of(forgotten, Expected::Version(record.version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::transaction::samples;

    fn time(text: &str) -> Time {
        text.parse().expect("a time")
    }

    #[test]
    fn months_are_counted_by_the_calendar() {
        for (now, months, then) in [
            ("2026-03-31T10:00:00Z", 1, "2026-02-28T10:00:00Z"),
            ("2026-01-15T00:00:00Z", 13, "2024-12-15T00:00:00Z"),
            ("2024-02-29T23:59:59Z", 12, "2023-02-28T23:59:59Z"),
        ] {
            assert_eq!(before(time(now), months), Some(time(then)), "{months} months before {now}");
        }
    }

    #[test]
    fn only_what_is_over_and_old_enough_forgets() {
        let (young, old) = (samples::now(), samples::after_s(1));
        for (state, forgets) in [
            (State::Pending, false),
            (State::Unknown, false),
            (State::Success, true),
            (State::Failure, true),
            (State::Released, true),
        ] {
            let record = Transaction { state, ..samples::charge("c1", "10") };
            assert_eq!(outlived(&record, old).is_some(), forgets, "{state:?}");
            assert_eq!(outlived(&record, young), None, "{state:?}: not older than the moment itself");
        }
    }

    #[test]
    fn nothing_is_forgotten_but_the_address() {
        let record = Transaction { state: State::Success, version: 2, ..samples::charge("c1", "10") };
        let digest = AddressDigest { type_word: "MSISDN", bits: [7; 16] };
        let unit = forget(&record, digest);
        assert_eq!((unit.expected, &unit.hold, &unit.event), (Expected::Version(2), &None, &None));
        assert_eq!(unit.transaction.compared.address, None);
        let mut restored = unit.transaction.clone();
        restored.compared.address.clone_from(&record.compared.address);
        restored.forgotten = None;
        assert_eq!(restored, record);
        assert_eq!(outlived(&unit.transaction, samples::after_s(1)), None, "once");
    }
}
