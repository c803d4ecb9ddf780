//! Holds a unit of work against the record that is stored under its key.
//!
//! Invariant: what passes here keeps the ledger whole whatever the caller meant: states move only as the domain says,
//! a reference never changes, money moves exactly where a record becomes Success, each final outcome makes exactly one
//! event, and a refund's share of its charge changes exactly when the refund's state says so, as do the counters of spend
//! limits that the record is counted on. Whether the charge has room for the share, and a counter for what is held, is not
//! judged here: that needs the charge and the counter, and each store checks it where it writes them.

use crate::domain::event::Event;
use crate::domain::ids::Reference;
use crate::domain::limits::{self, CounterChange};
use crate::domain::money::Currency;
use crate::domain::transaction::decide::Verdict;
use crate::domain::transaction::{Expected, Hold, Kind, Posting, State, Transaction, UnitOfWork};

/// What is stored under a key, as far as judging needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    /// Where the record stands.
    pub state: State,
    /// Counts its changes.
    pub version: u32,
    /// The name under which the CSP knows it.
    pub reference: Reference,
}

/// How a unit of work changes the record. Each writes only the columns that it may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A new record.
    Insert,
    /// A released record is taken up again, or ends: its account, product, money, counters and time of acceptance are
    /// decided anew.
    TakeUp,
    /// The record moves on, or is leased, or was asked about: what the request fixed stays as it is.
    Move,
    /// A record that is over is noted for people to look at, or forgets its address: nothing else of it changes.
    Note,
}

/// What judging found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The unit fits.
    Write {
        /// What is to be written of the record.
        change: Change,
        /// The version that the record has afterwards.
        version: u32,
    },
    /// What the unit expects is not there.
    Conflict,
}

/// A unit of work that no reload can make right: whoever made it has a fault. Nothing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum IllFormed {
    /// A record begins as Pending, or as a charge that was over a limit, with nothing refunded.
    #[error("a new record must be Pending, or a charge over a limit, and hold no refunds")]
    Beginning,
    /// The reference is the same for ever.
    #[error("the reference of a record must not change")]
    Reference,
    /// The double entry does not add up.
    #[error("the postings of a transaction must sum to zero for each currency")]
    Unbalanced,
    /// Money moves where a record becomes Success, and nowhere else.
    #[error("postings belong to the change to Success, and to no other")]
    Postings,
    /// Each final outcome makes one event.
    #[error("an event of the record belongs to the change to a final state, and to no other")]
    Event,
    /// A refund holds its share from its intent on, until it is known to have failed.
    #[error("the share of the charge does not follow from the change of the refund")]
    Hold,
    /// A record holds on its counters and gives back to them as its state says.
    #[error("the change of the counters does not follow from the change of the record")]
    Counters,
    /// A person decides on a final outcome, of the record as it becomes.
    #[error("a decision belongs to the change to the state that was decided on")]
    Decision,
    /// The record was changed more often than can be counted.
    #[error("the version of the record cannot be counted up")]
    Version,
}

/// Judges a unit of work.
pub(super) fn judge(stored: Option<Stored>, unit: &UnitOfWork) -> Result<Judgement, IllFormed> {
    let next = unit.transaction.state;
    let (change, version) = match (unit.expected, stored) {
        (Expected::Absent, None) => (Change::Insert, 0),
        (Expected::Version(expected), Some(stored)) if stored.version == expected => {
            let Some(change) = change(stored.state, next).or_else(|| forgetting(stored.state, &unit.transaction))
            else {
                return Ok(Judgement::Conflict);
            };
            if stored.reference != unit.transaction.reference {
                return Err(IllFormed::Reference);
            }
            (change, expected)
        }
        (Expected::Absent, Some(_)) | (Expected::Version(_), Some(_) | None) => return Ok(Judgement::Conflict),
    };
    let previous = stored.map(|stored| stored.state);
    check_beginning(change, &unit.transaction)?;
    check_postings(previous, next, &unit.postings)?;
    check_event(previous, &unit.transaction, unit.event.as_ref())?;
    check_hold(previous, &unit.transaction, unit.hold.as_ref())?;
    check_counters(previous, &unit.transaction, &unit.counters)?;
    check_decision(next, unit)?;
    let version = version.checked_add(1).ok_or(IllFormed::Version)?;
    Ok(Judgement::Write { change, version })
}

/// How a record in one state is changed to be in the next; `None` where it may not be.
fn change(stored: State, next: State) -> Option<Change> {
    match (stored, next) {
        (State::Released, State::Pending | State::Failure) => Some(Change::TakeUp),
        (State::Released, _) => stored.may_become(next).then_some(Change::Move),
        (State::Success | State::Failure, _) => (stored == next).then_some(Change::Note),
        (State::Pending | State::Unknown, _) => (stored == next || stored.may_become(next)).then_some(Change::Move),
    }
}

/// A released record takes no notes; like every record that is over it forgets its address in time.
fn forgetting(stored: State, next: &Transaction) -> Option<Change> {
    let forgets = stored == State::Released && next.state == State::Released && next.forgotten.is_some();
    forgets.then_some(Change::Note)
}

fn check_beginning(change: Change, record: &Transaction) -> Result<(), IllFormed> {
    let unrefunded = record.refunds_held_minor == 0 && record.refunds_done_minor == 0;
    let fresh = unrefunded && (record.state == State::Pending || is_over_limit(record));
    if change == Change::Insert && !fresh { Err(IllFormed::Beginning) } else { Ok(()) }
}

/// Whether a record is of a charge that a spend limit had no room for: the one outcome without an intent before it.
pub(super) fn is_over_limit(record: &Transaction) -> bool {
    let says_so = record.failure.as_deref().is_some_and(limits::is_reason);
    record.key.kind == Kind::Charge && record.state == State::Failure && says_so && record.counted.is_empty()
}

fn check_postings(previous: Option<State>, next: State, postings: &[Posting]) -> Result<(), IllFormed> {
    let moves = next == State::Success && previous != Some(State::Success);
    if moves == postings.is_empty() {
        return Err(IllFormed::Postings);
    }
    let mut sums: Vec<(Currency, i128)> = Vec::new();
    for posting in postings {
        let minor = i128::from(posting.money.minor);
        match sums.iter_mut().find(|(currency, _)| *currency == posting.money.currency) {
            Some((_, sum)) => *sum = sum.saturating_add(minor),
            None => sums.push((posting.money.currency, minor)),
        }
    }
    if sums.iter().all(|(_, sum)| *sum == 0) { Ok(()) } else { Err(IllFormed::Unbalanced) }
}

fn check_event(previous: Option<State>, record: &Transaction, event: Option<&Event>) -> Result<(), IllFormed> {
    let becomes_final = record.state.is_final() && previous.is_none_or(|previous| !previous.is_final());
    let own = event.is_none_or(|event| event.key == record.key);
    if own && becomes_final == event.is_some() { Ok(()) } else { Err(IllFormed::Event) }
}

/// A refund takes its share when it becomes Pending, keeps it while it is Pending, Unknown or Success, and gives it
/// back otherwise.
fn check_hold(previous: Option<State>, record: &Transaction, hold: Option<&Hold>) -> Result<(), IllFormed> {
    let amount_minor = record.money.minor;
    let holds = |state: State| match state {
        State::Pending | State::Unknown | State::Success => true,
        State::Failure | State::Released => false,
    };
    let held_before = previous.is_some_and(holds);
    let held_minor = match (held_before, holds(record.state)) {
        (false, true) => amount_minor,
        (true, false) => amount_minor.saturating_neg(),
        (true, true) | (false, false) => 0,
    };
    let becomes_success = record.state == State::Success && previous != Some(State::Success);
    let done_minor = if becomes_success { amount_minor } else { 0 };
    let due = record.charge_key().filter(|_| held_minor != 0 || done_minor != 0);
    let wanted = due.map(|charge| Hold { charge, held_minor, done_minor });
    if hold == wanted.as_ref() { Ok(()) } else { Err(IllFormed::Hold) }
}

/// A record changes all counters that it is counted on, or none, and holds only under a ceiling.
fn check_counters(previous: Option<State>, record: &Transaction, changes: &[CounterChange]) -> Result<(), IllFormed> {
    let by_minor = limits::change_minor(record, previous, record.state);
    let wanted = if by_minor == 0 { &[] } else { record.counted.as_slice() };
    let fits = |change: &CounterChange, counter| {
        change.counter == counter && change.by_minor == by_minor && change.ceiling_minor.is_some() == (by_minor > 0)
    };
    let counters = wanted.iter().map(|on| on.counter(record));
    let all_fit = changes.len() == wanted.len() && changes.iter().zip(counters).all(|(change, on)| fits(change, on));
    if all_fit { Ok(()) } else { Err(IllFormed::Counters) }
}

/// The event says already that the record becomes final with this unit.
fn check_decision(next: State, unit: &UnitOfWork) -> Result<(), IllFormed> {
    let decided = unit.decision.as_ref().map(|decision| match decision.verdict {
        Verdict::Success => State::Success,
        Verdict::Failure => State::Failure,
    });
    if decided.is_none_or(|decided| decided == next && unit.event.is_some()) {
        Ok(())
    } else {
        Err(IllFormed::Decision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::directory::CspProfile;
    use crate::domain::ids::InstanceId;
    use crate::domain::transaction::decide::Decision;
    use crate::domain::transaction::settle::{self, Heard, Receipt};
    use crate::domain::transaction::{Lease, samples};

    const STATES: [State; 5] = [State::Pending, State::Success, State::Failure, State::Unknown, State::Released];

    fn judge_over(record: &Transaction, unit: &UnitOfWork) -> Result<Judgement, IllFormed> {
        let stored = Stored { state: record.state, version: record.version, reference: record.reference };
        judge(Some(stored), unit)
    }

    /// Units that the rules make of a record, one for each state that it may come to.
    fn settled(record: &Transaction) -> Vec<UnitOfWork> {
        let profile: CspProfile = samples::profile();
        let receipt = Receipt { reference: record.reference, money: record.money };
        [
            Heard::Booked(receipt),
            Heard::Refused("no".into()),
            Heard::Unclear("?".into()),
            Heard::NotApplied("no".into()),
        ]
        .iter()
        .map(|heard| settle::by_answer(record, heard, &profile, &samples::moment(samples::now())))
        .collect()
    }

    #[test]
    fn what_the_rules_make_is_written_and_counted() {
        for record in [samples::charge("c1", "10"), samples::refund("r1", "c1", "-4")] {
            for unit in settled(&record) {
                let judged = judge_over(&record, &unit);
                assert_eq!(judged, Ok(Judgement::Write { change: Change::Move, version: 1 }), "{unit:?}");
            }
        }
    }

    #[test]
    fn states_move_only_as_the_domain_says() {
        for from in STATES {
            for to in STATES {
                let same = matches!(from, State::Pending | State::Unknown).then_some(Change::Move);
                let noted = from.is_final().then_some(Change::Note);
                let expected = match from.may_become(to) {
                    true if from == State::Released => Some(Change::TakeUp),
                    true => Some(Change::Move),
                    false if from == to => same.or(noted),
                    false => None,
                };
                assert_eq!(change(from, to), expected, "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn what_is_expected_and_not_there_is_a_conflict() {
        let record = samples::charge("c1", "10");
        let lease = Lease { owner: InstanceId::new("gateway-2"), until: samples::after_s(60) };
        let taken = settle::take(&record, lease, samples::now());
        let mut absent = taken.clone();
        absent.expected = Expected::Absent;
        let mut other = taken.clone();
        other.expected = Expected::Version(7);
        assert_eq!(judge(None, &taken), Ok(Judgement::Conflict));
        assert_eq!(judge_over(&record, &absent), Ok(Judgement::Conflict));
        assert_eq!(judge_over(&record, &other), Ok(Judgement::Conflict));
    }

    #[test]
    fn a_unit_that_would_break_the_books_is_refused() {
        let record = samples::refund("r1", "c1", "-4");
        let [success, failure, unknown, released] = settled(&record).try_into().expect("four answers");
        let breaks = |mut unit: UnitOfWork, break_it: fn(&mut UnitOfWork), fault| {
            break_it(&mut unit);
            assert_eq!(judge_over(&record, &unit), Err(fault), "{unit:?}");
        };
        breaks(unknown, |unit| unit.transaction.reference = Reference::from_bytes([1; 16]), IllFormed::Reference);
        breaks(success.clone(), |unit| unit.postings.truncate(1), IllFormed::Unbalanced);
        breaks(success.clone(), |unit| unit.postings.clear(), IllFormed::Postings);
        breaks(success.clone(), |unit| unit.event = None, IllFormed::Event);
        breaks(success, |unit| unit.hold = None, IllFormed::Hold);
        breaks(failure.clone(), |unit| unit.event = None, IllFormed::Event);
        breaks(failure, |unit| unit.hold = None, IllFormed::Hold);
        breaks(released, |unit| unit.hold = None, IllFormed::Hold);
    }

    #[test]
    fn postings_and_events_of_other_changes_are_refused() {
        let record = samples::charge("c1", "10");
        let [success, _, unknown, _] = settled(&record).try_into().expect("four answers");
        let mut posted = unknown.clone();
        posted.postings = success.postings.clone();
        assert_eq!(judge_over(&record, &posted), Err(IllFormed::Postings));
        let mut told = unknown;
        told.event = success.event.clone();
        assert_eq!(judge_over(&record, &told), Err(IllFormed::Event));
        let mut of_another = success;
        if let Some(event) = &mut of_another.event {
            event.key.ext_transaction_id = samples::ext_id("c2");
        }
        assert_eq!(judge_over(&record, &of_another), Err(IllFormed::Event));
    }

    #[test]
    fn a_decision_belongs_to_the_outcome_that_was_decided_on() {
        let record = samples::charge("c1", "10");
        let [success, failure, unknown, released] = settled(&record).try_into().expect("four answers");
        let decided = |mut unit: UnitOfWork, verdict| {
            unit.decision = Decision::new(verdict, "ana", "ticket 7", samples::now());
            judge_over(&record, &unit)
        };
        let written = Ok(Judgement::Write { change: Change::Move, version: 1 });
        assert_eq!(decided(success.clone(), Verdict::Success), written);
        assert_eq!(decided(failure, Verdict::Failure), written);
        assert_eq!(decided(success, Verdict::Failure), Err(IllFormed::Decision));
        assert_eq!(decided(unknown, Verdict::Success), Err(IllFormed::Decision));
        assert_eq!(decided(released, Verdict::Failure), Err(IllFormed::Decision));
    }

    #[test]
    fn a_new_record_is_pending_and_a_refund_brings_its_share() {
        let charge = samples::charge("c1", "10");
        let mut begun = UnitOfWork::of(charge, Expected::Absent);
        assert_eq!(judge(None, &begun), Ok(Judgement::Write { change: Change::Insert, version: 1 }));
        begun.transaction.refunds_held_minor = 1;
        assert_eq!(judge(None, &begun), Err(IllFormed::Beginning));
        let refund = UnitOfWork::of(samples::refund("r1", "c1", "-4"), Expected::Absent);
        assert_eq!(judge(None, &refund), Err(IllFormed::Hold));
    }
}
