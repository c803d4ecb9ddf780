//! The ledger as one life of a gateway reaches it, and what was really committed.
//!
//! Invariant: a fault here is one that a ledger across a network may have: no answer before the commit, after it, or long
//! before it lands; a conflict; a standstill. What is noted in the history is what the store said Done to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onbill::adapters::ledger::memory::MemoryLedger;
use onbill::domain::Time;
use onbill::domain::event::Event;
use onbill::domain::limits::CounterName;
use onbill::domain::transaction::{Expected, Posting, State, Transaction, TransactionKey, UnitOfWork};
use onbill::ports::ledger::{Commit, Ledger, LedgerUnavailable, ListQuery, Listed};
use tokio::time::sleep;

use super::mutation::Mutation;
use super::plan::LEASE_S;
use super::world::{Place, World, cause, label};

/// Everything that a store holds.
pub struct Books {
    pub records: Vec<Transaction>,
    pub postings: Vec<(TransactionKey, Posting)>,
    pub events: Vec<Event>,
    /// What counts against spend limits, by counter.
    pub counters: BTreeMap<CounterName, i64>,
}

/// A ledger whose books can be opened.
pub trait Store: Ledger {
    fn books(&self) -> Books;

    /// The process, or the machine, has died.
    fn crash(&self);
}

impl Store for MemoryLedger {
    fn books(&self) -> Books {
        let (records, postings, events) = (self.records(), self.postings(), self.events());
        Books { records, postings, events, counters: self.counters() }
    }

    fn crash(&self) {}
}

/// A commit that was done.
#[derive(Debug, Clone)]
pub struct Change {
    pub at_ms: u64,
    pub label: String,
    pub state: State,
    pub version: u32,
    /// Which life of which gateway has done it.
    pub by: String,
    /// The record as it was committed.
    pub record: Transaction,
}

/// The ledger behind all gateways.
pub struct Archive {
    pub store: Arc<dyn Store>,
    world: Arc<World>,
    history: Mutex<Vec<Change>>,
}

impl Archive {
    pub fn new(world: Arc<World>, store: Arc<dyn Store>) -> Self {
        Self { store, world, history: Mutex::default() }
    }

    /// The answer to a commit will not come.
    fn leave_unheard(&self, label: &str) {
        self.world.note(label, "the answer to a commit is lost");
    }

    /// All commits, in their order.
    pub fn history(&self) -> Vec<Change> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn commit(&self, by: &str, unit: UnitOfWork) -> Result<Commit, LedgerUnavailable> {
        let (label, state) = (label(&unit.transaction.key), unit.transaction.state);
        let record = unit.transaction.clone();
        let result = self.store.commit(unit).await;
        match &result {
            Ok(Commit::Done { version }) => {
                self.world.note(&label, format!("{by} commits {state:?}, version {version}"));
                let (at_ms, by) = (self.world.now_ms(), by.to_owned());
                let change = Change { at_ms, label, state, version: *version, by, record };
                self.history.lock().unwrap_or_else(PoisonError::into_inner).push(change);
            }
            Ok(Commit::Over { counter }) => self.world.note(&label, format!("{by} is over the counter {counter}")),
            Ok(Commit::Conflict) => self.world.note(&label, format!("{by} meets a conflict over {state:?}")),
            Err(error) => self.world.note(&label, format!("the ledger refuses {by} {state:?}: {}", error.0.to_note())),
        }
        result
    }

    /// Ends all leases, as a ledger that only one gateway may open does when it is opened.
    pub async fn end_leases(&self) {
        let now = onbill::ports::clock::Clock::now(&*self.world);
        for mut record in self.store.books().records {
            if record.lease.is_none() || record.due_at.is_none() {
                continue;
            }
            let expected = Expected::Version(record.version);
            record.lease = None;
            record.due_at = Some(now);
            let done = self.commit("the opening", UnitOfWork::of(record, expected)).await;
            assert!(matches!(done, Ok(Commit::Done { .. })), "nobody else has the ledger open: {done:?}");
        }
    }
}

/// The ledger as one life reaches it.
pub struct LedgerPort {
    pub place: Place,
    pub archive: Arc<Archive>,
}

impl LedgerPort {
    /// The way there, on which a call may be lost.
    async fn reach(&self) -> Result<(), LedgerUnavailable> {
        self.place.step().await;
        let world = &self.place.world;
        world.travel(15).await;
        let now_ms = world.now_ms();
        let rates = &world.plan.ledger;
        let out = rates.outages_ms.iter().any(|(from, until)| (*from..*until).contains(&now_ms));
        if (out && world.faults_are_on()) || world.strikes(rates.down) {
            return Err(LedgerUnavailable(cause("the ledger is out")));
        }
        Ok(())
    }
}

#[async_trait]
impl Ledger for LedgerPort {
    async fn commit(&self, unit: UnitOfWork) -> Result<Commit, LedgerUnavailable> {
        self.reach().await?;
        let (world, rates) = (&self.place.world, &self.place.world.plan.ledger);
        let by = self.place.life.name.clone();
        if world.strikes(rates.conflict) {
            return Ok(Commit::Conflict);
        }
        let label = label(&unit.transaction.key);
        if world.strikes(rates.stall) {
            self.archive.leave_unheard(&label);
            world.note(&label, "a commit stands still");
            sleep(Duration::from_secs(u64::from(LEASE_S) + world.random.below(8))).await;
        }
        if world.strikes(rates.late) {
            self.archive.leave_unheard(&label);
            let (archive, delay_ms) = (Arc::clone(&self.archive), world.random.below(2_000));
            tokio::spawn(async move {
                sleep(Duration::from_millis(delay_ms)).await;
                archive.commit(&by, unit).await
            });
            self.place.step().await;
            return Err(LedgerUnavailable(cause("the ledger did not answer")));
        }
        let result = self.archive.commit(&by, unit).await;
        if world.strikes(rates.answer_lost) {
            self.archive.leave_unheard(&label);
            self.place.step().await;
            return Err(LedgerUnavailable(cause("the ledger's answer was lost")));
        }
        world.travel(15).await;
        self.place.step().await;
        result
    }

    async fn recall(&self, key: &TransactionKey) -> Result<Option<Transaction>, LedgerUnavailable> {
        self.reach().await?;
        let stalls = self.place.world.strikes(self.place.world.plan.ledger.stall);
        self.place.world.travel(if stalls { 3_000 } else { 0 }).await;
        let mut record = self.archive.store.recall(key).await?;
        self.place.step().await;
        if self.place.world.mutation == Mutation::ReplayDiffers
            && let Some(record) = record.as_mut().filter(|record| record.state == State::Failure)
        {
            record.failure = None;
        }
        Ok(record)
    }

    async fn recall_all(&self, keys: &[TransactionKey]) -> Result<Vec<Transaction>, LedgerUnavailable> {
        self.reach().await?;
        self.archive.store.recall_all(keys).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<Listed>, LedgerUnavailable> {
        self.reach().await?;
        self.archive.store.list(query).await
    }

    async fn due(&self, now: Time, rows_max: u32) -> Result<Vec<Transaction>, LedgerUnavailable> {
        self.reach().await?;
        let due = self.archive.store.due(now, rows_max).await;
        self.place.step().await;
        due
    }

    async fn walk(&self, after: i64, rows_max: u32) -> Result<Vec<Listed>, LedgerUnavailable> {
        self.reach().await?;
        self.archive.store.walk(after, rows_max).await
    }

    async fn check(&self) -> Result<(), LedgerUnavailable> {
        self.reach().await
    }
}
