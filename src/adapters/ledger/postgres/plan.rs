//! What is to be written of a batch: each unit judged on what the units before it leave.
//!
//! Invariant: a plan is made of values alone: the locked rows, counters among them, and the units, in their order. A unit
//! that does not fit changes nothing for those after it. No record is written twice in one plan, since one statement
//! writes it once: the second writing is left for the next batch. What is locked and how it is written is in `batch`.

use std::collections::{BTreeMap, BTreeSet};

use super::super::judge::{Change, IllFormed, Judgement, Stored, judge};
use crate::domain::limits::{CounterChange, CounterName};
use crate::domain::transaction::{Hold, State, TransactionKey, UnitOfWork};

/// A row that is locked, as far as units are judged by it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Locked {
    /// The ledger's number of it.
    pub sequence: i64,
    /// What a unit of its own is judged by.
    pub stored: Stored,
    /// Its amount.
    pub amount_minor: i64,
    /// What refunds hold of it.
    pub held_minor: i64,
    /// What they have given back.
    pub done_minor: i64,
}

/// What is to become of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is written.
    Write {
        /// What of the record.
        change: Change,
        /// The version that it has then.
        version: u32,
    },
    /// It is written if its record is as it expects, and else judged with the next batch (see `ready`).
    Ready {
        /// The version that the record has then.
        version: u32,
    },
    /// What it expects is not there.
    Conflict,
    /// This one of its counters has no room.
    Over {
        /// Its place among those of the unit.
        counter: usize,
    },
    /// It fits, and its record is written by a unit before it: it is judged again with the next batch.
    Later,
    /// Whoever made it has a fault.
    IllFormed(IllFormed),
}

/// A plan for a batch.
#[derive(Debug)]
pub(super) struct Plan {
    /// What is to become of each unit, in their order.
    pub fates: Vec<Fate>,
    rows: BTreeMap<TransactionKey, Locked>,
    shared: BTreeSet<TransactionKey>,
    /// What counters stand at, and whether that is to be written.
    counters: BTreeMap<CounterName, (i64, bool)>,
}

impl Plan {
    /// Judges units over locked rows. What a unit begins need not be locked: the table knows its key, or does not. Nor
    /// need be what a unit changes that is ready, which is said by the version that it leaves.
    pub(super) fn of(
        units: &[&UnitOfWork],
        ready: &[Option<u32>],
        rows: BTreeMap<TransactionKey, Locked>,
        counters: BTreeMap<CounterName, i64>,
    ) -> Self {
        let counters = counters.into_iter().map(|(counter, used_minor)| (counter, (used_minor, false))).collect();
        let mut plan = Self { fates: Vec::with_capacity(units.len()), rows, shared: BTreeSet::new(), counters };
        let mut written: BTreeSet<&TransactionKey> = BTreeSet::new();
        for (unit, ready) in units.iter().zip(ready) {
            if let Some(version) = *ready {
                plan.fates.push(Fate::Ready { version });
                continue;
            }
            let key = &unit.transaction.key;
            let fate = match judge(plan.rows.get(key).map(|row| row.stored), unit) {
                Err(fault) => Fate::IllFormed(fault),
                Ok(Judgement::Conflict) => Fate::Conflict,
                Ok(Judgement::Write { .. }) if written.contains(key) => Fate::Later,
                Ok(Judgement::Write { .. }) if let Some(counter) = plan.first_without_room(&unit.counters) => {
                    Fate::Over { counter }
                }
                Ok(Judgement::Write { .. }) if !unit.hold.as_ref().is_none_or(|hold| plan.take_share(hold)) => {
                    Fate::Conflict
                }
                Ok(Judgement::Write { change, version }) => {
                    written.insert(key);
                    plan.count(&unit.counters, CounterChange::after);
                    plan.leave(unit, change, version);
                    Fate::Write { change, version }
                }
            };
            plan.fates.push(fate);
        }
        plan
    }

    /// Units that are written: their places, what of their records, the version then, and the ledger's number.
    pub(super) fn writes<'a>(
        &'a self,
        units: &'a [&'a UnitOfWork],
    ) -> impl Iterator<Item = (usize, &'a UnitOfWork, Change, u32, i64)> {
        self.fates.iter().zip(units).enumerate().filter_map(|(place, (fate, unit))| match fate {
            Fate::Write { change, version } => {
                Some((place, *unit, *change, *version, self.sequence(&unit.transaction.key)))
            }
            Fate::Ready { .. } | Fate::Conflict | Fate::Over { .. } | Fate::Later | Fate::IllFormed(_) => None,
        })
    }

    /// Units that were ready are written where they found their records, by their places, and else are left for later.
    pub(super) fn found(&mut self, places: &BTreeSet<usize>) {
        for (place, fate) in self.fates.iter_mut().enumerate() {
            if let Fate::Ready { version } = *fate {
                let written = Fate::Write { change: Change::Move, version };
                *fate = if places.contains(&place) { written } else { Fate::Later };
            }
        }
    }

    /// The ledger's number of a locked record.
    pub(super) fn sequence(&self, key: &TransactionKey) -> i64 {
        self.rows.get(key).map_or(0, |row| row.sequence)
    }

    /// Rows whose refunds hold something else than before.
    pub(super) fn shares(&self) -> impl Iterator<Item = &Locked> {
        self.shared.iter().filter_map(|key| self.rows.get(key))
    }

    /// What counters stand at that were changed.
    pub(super) fn counters(&self) -> impl Iterator<Item = (&CounterName, i64)> {
        let changed = self.counters.iter().filter(|(_, (_, is_changed))| *is_changed);
        changed.map(|(counter, (used_minor, _))| (counter, *used_minor))
    }

    /// The number that the ledger has given a new record.
    pub(super) fn is_numbered(&mut self, key: &TransactionKey, sequence: i64) {
        if let Some(row) = self.rows.get_mut(key) {
            row.sequence = sequence;
        }
    }

    /// A unit that was to begin a record turns out to be late: somebody else's is there. Its share of a charge, and what it
    /// holds on counters, is given back; whoever was refused for want of it is told to look again, as after any conflict.
    pub(super) fn is_late(&mut self, place: usize, unit: &UnitOfWork) {
        if let Some(fate) = self.fates.get_mut(place) {
            *fate = Fate::Conflict;
        }
        if !unit.counters.is_empty() {
            self.count(&unit.counters, CounterChange::before);
            for fate in self.fates.iter_mut().filter(|fate| matches!(fate, Fate::Over { .. })) {
                *fate = Fate::Conflict;
            }
        }
        if let Some(hold) = &unit.hold {
            let back = Hold {
                charge: hold.charge.clone(),
                held_minor: hold.held_minor.saturating_neg(),
                done_minor: hold.done_minor.saturating_neg(),
            };
            self.take_share(&back);
        }
    }

    /// The place of the first counter that would be above its ceiling.
    fn first_without_room(&self, changes: &[CounterChange]) -> Option<usize> {
        changes.iter().position(|change| {
            !change.has_room(self.counters.get(&change.counter).map_or(0, |(used_minor, _)| *used_minor))
        })
    }

    /// Changes counters.
    fn count(&mut self, changes: &[CounterChange], become_minor: fn(&CounterChange, i64) -> i64) {
        for change in changes {
            let (used_minor, is_changed) = self.counters.entry(change.counter.clone()).or_default();
            (*used_minor, *is_changed) = (become_minor(change, *used_minor), true);
        }
    }

    /// Changes a refund's share of its charge, if the charge is there, is Success and has room for it.
    fn take_share(&mut self, hold: &Hold) -> bool {
        let Some(row) = self.rows.get_mut(&hold.charge).filter(|row| row.stored.state == State::Success) else {
            return false;
        };
        let held_minor = row.held_minor.checked_add(hold.held_minor);
        let done_minor = row.done_minor.checked_add(hold.done_minor);
        let (Some(held_minor), Some(done_minor)) = (held_minor, done_minor) else {
            return false;
        };
        if !(0..=row.amount_minor).contains(&held_minor) || !(0..=held_minor).contains(&done_minor) {
            return false;
        }
        (row.held_minor, row.done_minor) = (held_minor, done_minor);
        self.shared.insert(hold.charge.clone());
        true
    }

    /// The record as a unit leaves it.
    fn leave(&mut self, unit: &UnitOfWork, change: Change, version: u32) {
        let record = &unit.transaction;
        let stored = Stored { state: record.state, version, reference: record.reference };
        let amount_minor = record.money.minor;
        if let Some(row) = self.rows.get_mut(&record.key) {
            row.stored = stored;
            if change == Change::TakeUp {
                row.amount_minor = amount_minor;
            }
        } else {
            let row = Locked { sequence: 0, stored, amount_minor, held_minor: 0, done_minor: 0 };
            self.rows.insert(record.key.clone(), row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limits;
    use crate::domain::transaction::settle::{self, Heard, Receipt};
    use crate::domain::transaction::{Expected, Transaction, samples};

    fn locked(record: &Transaction, sequence: i64) -> (TransactionKey, Locked) {
        let stored = Stored { state: record.state, version: record.version, reference: record.reference };
        let (held_minor, done_minor) = (record.refunds_held_minor, record.refunds_done_minor);
        (record.key.clone(), Locked { sequence, stored, amount_minor: record.money.minor, held_minor, done_minor })
    }

    fn success() -> Transaction {
        Transaction { state: State::Success, ..samples::charge("c1", "10") }
    }

    fn begun(id: &str, amount: &str) -> UnitOfWork {
        let record = samples::refund(id, "c1", amount);
        let hold = Hold { charge: success().key, held_minor: record.money.minor, done_minor: 0 };
        UnitOfWork { hold: Some(hold), ..UnitOfWork::of(record, Expected::Absent) }
    }

    /// A plan for units of which none is ready.
    fn judged(
        units: &[&UnitOfWork],
        rows: BTreeMap<TransactionKey, Locked>,
        counters: BTreeMap<CounterName, i64>,
    ) -> Plan {
        Plan::of(units, &vec![None; units.len()], rows, counters)
    }

    fn written(plan: &Plan) -> usize {
        plan.fates.iter().filter(|fate| matches!(fate, Fate::Write { .. })).count()
    }

    #[test]
    fn a_hundred_refunds_of_one_batch_keep_the_cap() {
        let units: Vec<_> = (0..100).map(|number| begun(&format!("r{number}"), "-0.35")).collect();
        let charge = BTreeMap::from([locked(&success(), 7)]);
        let plan = judged(&units.iter().collect::<Vec<_>>(), charge, BTreeMap::new());
        assert_eq!(written(&plan), 28);
        let shares: Vec<_> = plan.shares().map(|row| (row.sequence, row.held_minor, row.done_minor)).collect();
        assert_eq!(shares, [(7, 980, 0)], "one writing of one row");
    }

    #[test]
    fn a_refund_that_comes_too_late_gives_its_share_back() {
        let units = [begun("r1", "-6"), begun("r2", "-6")];
        let mut plan =
            judged(&units.iter().collect::<Vec<_>>(), BTreeMap::from([locked(&success(), 7)]), BTreeMap::new());
        assert_eq!((plan.fates[1], written(&plan)), (Fate::Conflict, 1));
        plan.is_late(0, &units[0]);
        assert_eq!(plan.fates, [Fate::Conflict, Fate::Conflict]);
        assert_eq!(plan.shares().map(|row| row.held_minor).sum::<i64>(), 0);
    }

    #[test]
    fn a_record_is_written_once_and_its_next_change_waits() {
        let record = samples::charge("c1", "10");
        let begun = UnitOfWork::of(record.clone(), Expected::Absent);
        let receipt = Receipt { reference: record.reference, money: record.money };
        let next = Transaction { version: 1, ..record };
        let moment = samples::moment(samples::now());
        let booked = settle::by_answer(&next, &Heard::Booked(receipt), &samples::profile(), &moment);
        let units = [&begun, &begun, &booked];
        let plan = judged(&units, BTreeMap::new(), BTreeMap::new());
        let insert = Fate::Write { change: Change::Insert, version: 1 };
        assert_eq!(plan.fates, [insert, Fate::Conflict, Fate::Later]);
    }

    /// A charge that holds on one counter, which may come to 10.00.
    fn limited(id: &str, amount: &str) -> UnitOfWork {
        let on = limits::from_text("purchase/day/2026-11-23/").expect("a counter");
        let record = Transaction { counted: on, ..samples::charge(id, amount) };
        let counter = record.counted[0].counter(&record);
        let change = CounterChange { counter, by_minor: record.money.minor, ceiling_minor: Some(1000) };
        UnitOfWork { counters: vec![change], ..UnitOfWork::of(record, Expected::Absent) }
    }

    #[test]
    fn a_hundred_charges_of_one_batch_are_judged_one_after_the_other() {
        let units: Vec<_> = (0..100).map(|number| limited(&format!("c{number}"), "0.35")).collect();
        let counter = units[0].counters[0].counter.clone();
        let used = BTreeMap::from([(counter.clone(), 100)]);
        let plan = judged(&units.iter().collect::<Vec<_>>(), BTreeMap::new(), used);
        assert_eq!(written(&plan), 25);
        assert_eq!(plan.fates[25..], [Fate::Over { counter: 0 }; 75]);
        assert_eq!(plan.counters().collect::<Vec<_>>(), [(&counter, 975)], "one writing of one row");
    }

    #[test]
    fn what_a_charge_holds_that_comes_too_late_is_given_back_and_nobody_is_refused_for_it() {
        let units = [limited("c1", "6"), limited("c2", "6"), limited("c3", "3")];
        let units: Vec<_> = units.iter().collect();
        let mut plan = judged(&units, BTreeMap::new(), BTreeMap::new());
        assert_eq!((plan.fates[1], written(&plan)), (Fate::Over { counter: 0 }, 2));
        plan.is_late(0, units[0]);
        assert_eq!((plan.fates[0], plan.fates[1], written(&plan)), (Fate::Conflict, Fate::Conflict, 1));
        assert_eq!(plan.counters().map(|(_, used_minor)| used_minor).sum::<i64>(), 300);
    }
}
