//! A ledger of a few lines, to be broken on purpose.
//!
//! Invariant: unbroken it keeps what the port promises, as far as well-formed units of work need it; the judging of
//! ill-formed ones is left to the real stores. `Mutation` says which promise it breaks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use onbill::domain::Time;
use onbill::domain::limits::CounterChange;
use onbill::domain::transaction::{Expected, Hold, State, Transaction, TransactionKey, UnitOfWork};
use onbill::ports::ledger::{Commit, Ledger, LedgerUnavailable, ListQuery, Listed};

use super::ledger::{Books, Store};
use super::mutation::Mutation;
use super::world::World;

/// Commits between two that are durable, where they are acknowledged too soon.
const DURABLE_EVERY: u32 = 4;

/// The ledger.
pub struct PlainLedger {
    world: Arc<World>,
    pages: Mutex<Pages>,
}

struct Pages {
    books: Books,
    durable: Books,
    commits: u32,
}

fn empty() -> Books {
    Books { records: Vec::new(), postings: Vec::new(), events: Vec::new(), counters: BTreeMap::new() }
}

fn copy(books: &Books) -> Books {
    Books {
        records: books.records.clone(),
        postings: books.postings.clone(),
        events: books.events.clone(),
        counters: books.counters.clone(),
    }
}

impl PlainLedger {
    pub fn new(world: Arc<World>) -> Self {
        Self { world, pages: Mutex::new(Pages { books: empty(), durable: empty(), commits: 0 }) }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_as_expected(&self, unit: &UnitOfWork, found: Option<&Transaction>) -> bool {
        let broken = match self.world.mutation {
            Mutation::ExpectedIgnored => true,
            Mutation::NoUniqueness => unit.expected == Expected::Absent,
            _ => false,
        };
        let next = unit.transaction.state;
        let fits = match (unit.expected, found) {
            (Expected::Absent, None) => true,
            (Expected::Version(version), Some(record)) => {
                record.version == version && (record.state == next || record.state.may_become(next))
            }
            _ => false,
        };
        broken || fits
    }

    fn write(&self, books: &mut Books, unit: UnitOfWork) -> u32 {
        let UnitOfWork { mut transaction, postings, event, counters, .. } = unit;
        let keeps = |by_minor: i64| by_minor > 0 || self.world.mutation != Mutation::NothingGivenBack;
        for change in counters.into_iter().filter(|change| keeps(change.by_minor)) {
            *books.counters.entry(change.counter).or_default() += change.by_minor;
        }
        let key = transaction.key.clone();
        let version = if let Some(stored) = books.records.iter_mut().find(|record| record.key == key) {
            transaction.version = stored.version + 1;
            transaction.refunds_held_minor = stored.refunds_held_minor;
            transaction.refunds_done_minor = stored.refunds_done_minor;
            *stored = transaction;
            stored.version
        } else {
            transaction.version = 1;
            books.records.push(transaction);
            1
        };
        let lost = |mutation| self.world.mutation == mutation && self.world.random.chance(300);
        if !lost(Mutation::PostingsLost) {
            books.postings.extend(postings.into_iter().map(|posting| (key.clone(), posting)));
        }
        if lost(Mutation::EventTwice) {
            books.events.extend(event.clone());
        }
        if !lost(Mutation::EventLost) {
            books.events.extend(event);
        }
        version
    }
}

/// Changes a refund's share of its charge, if there is room for it.
fn take_share(books: &mut Books, hold: &Hold, ignored: bool) -> bool {
    let charge = books.records.iter_mut().find(|record| record.key == hold.charge && record.state == State::Success);
    let Some(charge) = charge else {
        return ignored;
    };
    let held_minor = charge.refunds_held_minor + hold.held_minor;
    if held_minor > charge.money.minor && !ignored {
        return false;
    }
    if !ignored {
        charge.refunds_held_minor = held_minor;
    }
    charge.refunds_done_minor += hold.done_minor;
    true
}

impl Store for PlainLedger {
    fn books(&self) -> Books {
        copy(&self.pages().books)
    }

    fn crash(&self) {
        let mut pages = self.pages();
        if self.world.mutation == Mutation::AcknowledgedTooSoon {
            pages.books = copy(&pages.durable);
        }
    }
}

#[async_trait]
impl Ledger for PlainLedger {
    async fn commit(&self, unit: UnitOfWork) -> Result<Commit, LedgerUnavailable> {
        let mut pages = self.pages();
        let found = pages.books.records.iter().find(|record| record.key == unit.transaction.key);
        if !self.is_as_expected(&unit, found) {
            return Ok(Commit::Conflict);
        }
        let used_minor =
            |change: &CounterChange| pages.books.counters.get(&change.counter).copied().unwrap_or_default();
        let over = unit.counters.iter().position(|change| !change.has_room(used_minor(change)));
        if let Some(counter) = over.filter(|_| self.world.mutation != Mutation::CeilingsIgnored) {
            return Ok(Commit::Over { counter });
        }
        let ignored = self.world.mutation == Mutation::HoldsIgnored;
        if let Some(hold) = &unit.hold
            && !take_share(&mut pages.books, hold, ignored)
        {
            return Ok(Commit::Conflict);
        }
        let version = self.write(&mut pages.books, unit);
        pages.commits += 1;
        if pages.commits.is_multiple_of(DURABLE_EVERY) {
            pages.durable = copy(&pages.books);
        }
        Ok(Commit::Done { version })
    }

    async fn recall(&self, key: &TransactionKey) -> Result<Option<Transaction>, LedgerUnavailable> {
        Ok(self.pages().books.records.iter().find(|record| record.key == *key).cloned())
    }

    async fn recall_all(&self, keys: &[TransactionKey]) -> Result<Vec<Transaction>, LedgerUnavailable> {
        Ok(self.pages().books.records.iter().filter(|record| keys.contains(&record.key)).cloned().collect())
    }

    async fn list(&self, _query: &ListQuery) -> Result<Vec<Listed>, LedgerUnavailable> {
        Ok(Vec::new())
    }

    async fn due(&self, now: Time, _rows_max: u32) -> Result<Vec<Transaction>, LedgerUnavailable> {
        let is_due = |record: &&Transaction| record.due_at.is_some_and(|due_at| due_at <= now);
        Ok(self.pages().books.records.iter().filter(is_due).cloned().collect())
    }

    async fn walk(&self, _after: i64, _rows_max: u32) -> Result<Vec<Listed>, LedgerUnavailable> {
        Ok(Vec::new())
    }

    async fn check(&self) -> Result<(), LedgerUnavailable> {
        Ok(())
    }
}
