//! A ledger in memory, for simulation and tests.
//!
//! Invariant: it gives the same answers as the durable stores, and keeps the whole of a unit of work or nothing of it.
//! It forgets everything with its process, so that it must never stand behind real money. It looks through all its
//! records where the others use an index.

mod outbox;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use self::outbox::Outgoing;
use super::judge::{Change, Judgement, Stored, judge};
use crate::domain::Time;
use crate::domain::event::Event;
use crate::domain::limits::{CounterChange, CounterName};
use crate::domain::transaction::decide::Decision;
use crate::domain::transaction::{Hold, Lease, Posting, State, Transaction, TransactionKey, UnitOfWork};
use crate::ports::Cause;
use crate::ports::ledger::{Commit, Cursor, Ledger, LedgerUnavailable, ListQuery, Listed};

/// A ledger that lives as long as its process.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    books: Mutex<Books>,
}

/// Everything that was committed.
#[derive(Debug, Default)]
struct Books {
    /// The place of each record in `records`: its sequence, less one.
    places: HashMap<TransactionKey, usize>,
    records: Vec<Transaction>,
    /// Minor units that count against spend limits.
    counters: BTreeMap<CounterName, i64>,
    postings: Vec<(TransactionKey, Posting)>,
    decisions: Vec<(TransactionKey, Decision)>,
    outbox: Vec<Outgoing>,
}

impl MemoryLedger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All records, in the order in which they were begun.
    #[must_use]
    pub fn records(&self) -> Vec<Transaction> {
        self.books().records.clone()
    }

    /// All postings with the transactions that they belong to, in the order of their commits.
    #[must_use]
    pub fn postings(&self) -> Vec<(TransactionKey, Posting)> {
        self.books().postings.clone()
    }

    /// All events, in the order of their commits.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.books().outbox.iter().map(|outgoing| outgoing.event.clone()).collect()
    }

    /// What people have decided, in the order of their commits.
    #[must_use]
    pub fn decisions(&self) -> Vec<(TransactionKey, Decision)> {
        self.books().decisions.clone()
    }

    /// All counters of spend limits and the minor units on them.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<CounterName, i64> {
        self.books().counters.clone()
    }

    /// No code that holds the lock can leave the books half written, so that a poisoned lock is as good as any.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn find(&self, key: &TransactionKey) -> Option<&Transaction> {
        self.places.get(key).and_then(|place| self.records.get(*place))
    }

    fn find_mut(&mut self, key: &TransactionKey) -> Option<&mut Transaction> {
        self.places.get(key).and_then(|place| self.records.get_mut(*place))
    }

    fn commit(&mut self, unit: UnitOfWork) -> Result<Commit, LedgerUnavailable> {
        let stored = self.find(&unit.transaction.key).map(|record| Stored {
            state: record.state,
            version: record.version,
            reference: record.reference,
        });
        let judged = judge(stored, &unit).map_err(|fault| LedgerUnavailable(Cause::new(fault)))?;
        let Judgement::Write { change, version } = judged else {
            return Ok(Commit::Conflict);
        };
        if let Some(counter) = unit.counters.iter().position(|change| !self.has_room(change)) {
            return Ok(Commit::Over { counter });
        }
        if let Some(hold) = &unit.hold
            && !self.take_share(hold)
        {
            return Ok(Commit::Conflict);
        }
        for change in unit.counters {
            let used_minor = self.counters.entry(change.counter.clone()).or_default();
            *used_minor = change.after(*used_minor);
        }
        let key = unit.transaction.key.clone();
        self.write(in_microseconds(unit.transaction), change, version);
        self.postings.extend(unit.postings.into_iter().map(|posting| (key.clone(), posting)));
        self.decisions.extend(unit.decision.map(|decision| (key, decision)));
        self.outbox.extend(unit.event.map(|event| Outgoing::new(Event { at: microsecond(event.at), ..event })));
        Ok(Commit::Done { version })
    }

    /// Whether a counter stays at its ceiling or below.
    fn has_room(&self, change: &CounterChange) -> bool {
        let used_minor = self.counters.get(&change.counter).copied().unwrap_or_default();
        change.has_room(used_minor)
    }

    /// Changes a refund's share of its charge, if the charge is there, is Success and has room for it.
    fn take_share(&mut self, hold: &Hold) -> bool {
        let Some(charge) = self.find_mut(&hold.charge).filter(|charge| charge.state == State::Success) else {
            return false;
        };
        let held_minor = charge.refunds_held_minor.checked_add(hold.held_minor);
        let done_minor = charge.refunds_done_minor.checked_add(hold.done_minor);
        let (Some(held_minor), Some(done_minor)) = (held_minor, done_minor) else {
            return false;
        };
        if !(0..=charge.money.minor).contains(&held_minor) || !(0..=held_minor).contains(&done_minor) {
            return false;
        }
        charge.refunds_held_minor = held_minor;
        charge.refunds_done_minor = done_minor;
        true
    }

    /// Writes what a change may change of a record.
    fn write(&mut self, next: Transaction, change: Change, version: u32) {
        let next = Transaction { version, ..next };
        if change == Change::Insert {
            self.places.insert(next.key.clone(), self.records.len());
            self.records.push(next);
            return;
        }
        let Some(stored) = self.find_mut(&next.key) else {
            return;
        };
        *stored = match change {
            Change::Note => {
                let mut noted =
                    Transaction { version, stuck: next.stuck, private_note: next.private_note, ..stored.clone() };
                if next.forgotten.is_some() {
                    (noted.compared.address, noted.forgotten) = (None, next.forgotten);
                }
                noted
            }
            Change::Move => Transaction {
                account: stored.account.clone(),
                charge_code: stored.charge_code.clone(),
                money: stored.money,
                counted: stored.counted.clone(),
                accepted_at: stored.accepted_at,
                ..kept(next, stored)
            },
            Change::TakeUp | Change::Insert => kept(next, stored),
        };
    }

    fn list(&self, query: &ListQuery) -> Vec<Listed> {
        let mut rows: Vec<Listed> = self
            .records
            .iter()
            .zip(1..)
            .map(|(record, sequence)| {
                (record, Cursor { accepted_at_us: record.accepted_at.as_microsecond(), sequence })
            })
            .filter(|(record, cursor)| is_wanted(record, *cursor, query))
            .map(|(record, cursor)| Listed { transaction: record.clone(), cursor })
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(position(row.cursor)));
        rows.truncate(usize::try_from(query.rows_max).unwrap_or(usize::MAX));
        rows
    }

    fn walk(&self, after: i64, rows_max: u32) -> Vec<Listed> {
        let rows = self.records.iter().zip(1..).skip_while(|(_, sequence)| *sequence <= after);
        let rows = rows.take(usize::try_from(rows_max).unwrap_or(usize::MAX));
        rows.map(|(record, sequence)| {
            let cursor = Cursor { accepted_at_us: record.accepted_at.as_microsecond(), sequence };
            Listed { transaction: record.clone(), cursor }
        })
        .collect()
    }

    fn due(&self, now: Time, rows_max: u32) -> Vec<Transaction> {
        let mut due: Vec<&Transaction> =
            self.records.iter().filter(|record| record.due_at.is_some_and(|due_at| due_at <= now)).collect();
        due.sort_by_key(|record| record.due_at);
        due.into_iter().take(usize::try_from(rows_max).unwrap_or(usize::MAX)).cloned().collect()
    }
}

/// A record as it shall be, with what no change of its own may touch: its request, and what refunds have taken of it.
fn kept(next: Transaction, stored: &Transaction) -> Transaction {
    Transaction {
        compared: stored.compared.clone(),
        forgotten: stored.forgotten,
        refunds_held_minor: stored.refunds_held_minor,
        refunds_done_minor: stored.refunds_done_minor,
        ..next
    }
}

fn is_wanted(record: &Transaction, cursor: Cursor, query: &ListQuery) -> bool {
    let status = record.state.status();
    status.is_some()
        && record.key.partner == query.partner
        && query.since.is_none_or(|since| record.accepted_at >= since)
        && query.until.is_none_or(|until| record.accepted_at < until)
        && query.status.is_none_or(|wanted| status == Some(wanted))
        && query.kind.is_none_or(|wanted| record.key.kind == wanted)
        && query.account.as_ref().is_none_or(|wanted| record.account == *wanted)
        && query.after.is_none_or(|after| position(cursor) < position(after))
}

const fn position(cursor: Cursor) -> (i64, i64) {
    (cursor.accepted_at_us, cursor.sequence)
}

/// A record with its times in whole microseconds, as the other stores keep them.
fn in_microseconds(record: Transaction) -> Transaction {
    Transaction {
        accepted_at: microsecond(record.accepted_at),
        due_at: record.due_at.map(microsecond),
        sent_before: microsecond(record.sent_before),
        lease: record.lease.map(|lease| Lease { until: microsecond(lease.until), ..lease }),
        ..record
    }
}

fn microsecond(time: Time) -> Time {
    Time::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn commit(&self, unit: UnitOfWork) -> Result<Commit, LedgerUnavailable> {
        self.books().commit(unit)
    }

    async fn recall(&self, key: &TransactionKey) -> Result<Option<Transaction>, LedgerUnavailable> {
        Ok(self.books().find(key).cloned())
    }

    async fn recall_all(&self, keys: &[TransactionKey]) -> Result<Vec<Transaction>, LedgerUnavailable> {
        let books = self.books();
        Ok(keys.iter().filter_map(|key| books.find(key).cloned()).collect())
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<Listed>, LedgerUnavailable> {
        Ok(self.books().list(query))
    }

    async fn due(&self, now: Time, rows_max: u32) -> Result<Vec<Transaction>, LedgerUnavailable> {
        Ok(self.books().due(now, rows_max))
    }

    async fn walk(&self, after: i64, rows_max: u32) -> Result<Vec<Listed>, LedgerUnavailable> {
        Ok(self.books().walk(after, rows_max))
    }

    async fn check(&self) -> Result<(), LedgerUnavailable> {
        Ok(())
    }
}
