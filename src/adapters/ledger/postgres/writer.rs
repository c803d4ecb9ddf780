//! The writers: a few tasks that each commit what has queued for them meanwhile in one transaction.
//!
//! Invariant: every unit that enters a queue is answered, and none as done before it is durable. All units of one charge,
//! its refunds among them, go to the same writer, so that writers of one gateway do not wait for one another; the locks
//! of `batch` keep them right where two gateways do. The queues are bounded, and so is the time in them: at either bound
//! the ledger is unavailable, and nothing of the unit is written.

use std::collections::hash_map::{DefaultHasher, RandomState};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Gauge, Histogram, gauge, histogram};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::batch::{Failed, Writing};
use super::connect::{Connector, Settings};
use super::error::Trouble;
use super::plan::Fate;
use crate::domain::transaction::UnitOfWork;
use crate::ports::Cause;
use crate::ports::ledger::{Commit, LedgerUnavailable};
use crate::ports::measures::{LEDGER_BATCH, LEDGER_QUEUE, LEDGER_SECONDS};

/// Most jobs of one transaction: more gain nothing, and make the first one wait for the last.
const BATCH_LENGTH_MAX: usize = 512;
/// Times that a batch is tried which the server has given back.
const TRIES_MAX: u32 = 5;
/// The rest before it is tried again, for each try.
const TRY_PAUSE: Duration = Duration::from_millis(5);
/// Slots of the tally. Two writers that draw the same one wait for one another's commits, and are right all the same.
const SLOTS: u64 = 256;

type Answer<T> = oneshot::Sender<Result<T, LedgerUnavailable>>;

/// Something to be written.
enum Job {
    /// A unit of work.
    Commit(Unit),
    /// Whether a unit could be committed.
    Probe(Answer<()>),
}

/// A unit that waits.
struct Unit {
    work: Box<UnitOfWork>,
    answer: Answer<Commit>,
    since: Instant,
    /// Its record must be looked at before it is written.
    looks: bool,
}

/// How much was written since the ledger was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Units of work that were answered.
    pub units: u64,
    /// Transactions that they were committed in.
    pub batches: u64,
}

#[derive(Debug, Default)]
struct Counters {
    units: AtomicU64,
    batches: AtomicU64,
}

/// The queues to the writers. Dropping it lets them write what has queued, and end.
pub(super) struct Writers {
    queues: Vec<mpsc::Sender<Job>>,
    counters: Arc<Counters>,
}

impl Writers {
    /// Starts them. A connection is made when it is needed.
    pub(super) fn start(connector: &Connector, settings: &Settings) -> Self {
        let counters = Arc::new(Counters::default());
        let count = settings.writers.max(1);
        let length = settings.queue_max.div_ceil(count).max(1);
        let queues = (0..count)
            .map(|place: usize| {
                let (queue, jobs) = mpsc::channel(length);
                let slot = RandomState::new().hash_one(0_u8).checked_rem(SLOTS).unwrap_or_default();
                let writer = Writer {
                    connector: connector.clone(),
                    writing: None,
                    slot: i32::try_from(slot).unwrap_or_default(),
                    counters: Arc::clone(&counters),
                    waiting: gauge!(LEDGER_QUEUE.name, "writer" => place.to_string()),
                    batch: histogram!(LEDGER_BATCH.name),
                    seconds: histogram!(LEDGER_SECONDS.name),
                };
                tokio::spawn(writer.run(jobs));
                queue
            })
            .collect();
        Self { queues, counters }
    }

    /// Commits a unit; answers after it is durable.
    pub(super) async fn commit(&self, unit: UnitOfWork) -> Result<Commit, LedgerUnavailable> {
        let (answer, answered) = oneshot::channel();
        let place = self.place(&unit);
        let job = Job::Commit(Unit { work: Box::new(unit), answer, since: Instant::now(), looks: false });
        self.send(place, job)?;
        // A writer is gone where it drops a job without an answer.
        answered.await.map_err(|_| Trouble::Stopped)?
    }

    /// Whether every writer could commit a unit.
    pub(super) async fn probe(&self) -> Result<(), LedgerUnavailable> {
        for place in 0..self.queues.len() {
            let (answer, answered) = oneshot::channel();
            self.send(place, Job::Probe(answer))?;
            answered.await.map_err(|_| Trouble::Stopped)??;
        }
        Ok(())
    }

    pub(super) fn figures(&self) -> Figures {
        Figures {
            units: self.counters.units.load(Ordering::Relaxed),
            batches: self.counters.batches.load(Ordering::Relaxed),
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.queues.iter().map(|queue| queue.max_capacity().saturating_sub(queue.capacity())).sum()
    }

    fn send(&self, place: usize, job: Job) -> Result<(), Trouble> {
        let queue = self.queues.get(place).ok_or(Trouble::Stopped)?;
        queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Trouble::Busy("too many units of work wait to be written"),
            mpsc::error::TrySendError::Closed(_) => Trouble::Stopped,
        })
    }

    /// Whose unit it is: a refund's is its charge's.
    fn place(&self, unit: &UnitOfWork) -> usize {
        let record = &unit.transaction;
        let charge = record.charge_key();
        let mut hasher = DefaultHasher::new();
        charge.as_ref().unwrap_or(&record.key).hash(&mut hasher);
        let count = u64::try_from(self.queues.len()).unwrap_or(u64::MAX);
        hasher.finish().checked_rem(count).and_then(|place| usize::try_from(place).ok()).unwrap_or_default()
    }
}

struct Writer {
    connector: Connector,
    writing: Option<Writing>,
    slot: i32,
    counters: Arc<Counters>,
    waiting: Gauge,
    batch: Histogram,
    seconds: Histogram,
}

impl Writer {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut batch = Vec::with_capacity(BATCH_LENGTH_MAX);
        // Nothing is received only when the queue is closed and empty.
        while jobs.recv_many(&mut batch, BATCH_LENGTH_MAX).await > 0 {
            self.waiting.set(f64::from(u32::try_from(jobs.len()).unwrap_or(u32::MAX)));
            let (mut units, mut probes) = (Vec::with_capacity(batch.len()), Vec::new());
            for job in batch.drain(..) {
                match job {
                    Job::Commit(unit) => units.push(unit),
                    Job::Probe(answer) => probes.push(answer),
                }
            }
            self.work(units).await;
            if !probes.is_empty() {
                let found = self.probe().await;
                for answer in probes {
                    let _ = answer.send(found.clone().map_err(LedgerUnavailable::from));
                }
            }
        }
    }

    /// How long a unit may wait to be written: what is older stands behind a server that does not answer.
    fn patience(&self) -> Duration {
        self.connector.patience().saturating_add(self.connector.statement_timeout())
    }

    /// Answers every unit.
    async fn work(&mut self, units: Vec<Unit>) {
        let patience = self.patience();
        let mut waiting = Vec::with_capacity(units.len());
        for unit in units {
            // Whoever hung up before anything was written has nothing to find.
            if unit.since.elapsed() > patience {
                let _ = unit.answer.send(Err(Trouble::Slow(patience).into()));
            } else if !unit.answer.is_closed() {
                waiting.push(unit);
            }
        }
        while !waiting.is_empty() {
            waiting = self.batch(waiting).await;
        }
    }

    /// Commits one batch, and answers what is to be written after it.
    async fn batch(&mut self, units: Vec<Unit>) -> Vec<Unit> {
        let works: Vec<&UnitOfWork> = units.iter().map(|unit| &*unit.work).collect();
        let looked_at: Vec<bool> = units.iter().map(|unit| unit.looks).collect();
        let began = Instant::now();
        let committed = self.commit(&works, &looked_at).await;
        self.seconds.record(began.elapsed().as_secs_f64());
        self.batch.record(f64::from(u32::try_from(works.len()).unwrap_or(u32::MAX)));
        drop(works);
        let fates = match committed {
            Ok(fates) => fates,
            // One unit broke a rule of the schema, which judging should have found: the others must not suffer for it.
            Err(failed) if units.len() > 1 && failed.trouble().is_a_units_fault() => {
                for unit in units {
                    Box::pin(self.work(vec![unit])).await;
                }
                return Vec::new();
            }
            Err(failed) => {
                let unavailable = LedgerUnavailable::from(failed.trouble().clone());
                for unit in units {
                    let _ = unit.answer.send(Err(unavailable.clone()));
                }
                return Vec::new();
            }
        };
        self.counters.batches.fetch_add(1, Ordering::Relaxed);
        let mut later = Vec::new();
        for (mut unit, fate) in units.into_iter().zip(fates) {
            let outcome = match fate {
                Fate::Write { version, .. } => Ok(Commit::Done { version }),
                Fate::Conflict => Ok(Commit::Conflict),
                Fate::Over { counter } => Ok(Commit::Over { counter }),
                Fate::IllFormed(fault) => Err(LedgerUnavailable(Cause::new(fault))),
                Fate::Ready { .. } | Fate::Later => {
                    unit.looks = true;
                    later.push(unit);
                    continue;
                }
            };
            self.counters.units.fetch_add(1, Ordering::Relaxed);
            // Whoever hung up finds the outcome in the ledger.
            let _ = unit.answer.send(outcome);
        }
        later
    }

    /// Commits, and tries again where that is safe: what the server has given back, and what a connection that turns
    /// out to be dead never carried.
    async fn commit(&mut self, units: &[&UnitOfWork], looked_at: &[bool]) -> Result<Vec<Fate>, Failed> {
        let mut tries = 0_u32;
        loop {
            tries = tries.saturating_add(1);
            let was_connected = self.writing.is_some();
            let failed = match self.attempt(units, looked_at).await {
                Ok(fates) => return Ok(fates),
                Err(failed) => failed,
            };
            if failed.trouble().ends_the_connection() {
                self.writing = None;
            }
            let Failed::NotKept(trouble) = &failed else { return Err(failed) };
            let again = trouble.is_undone() || (was_connected && trouble.ends_the_connection());
            if !again || tries >= TRIES_MAX {
                return Err(failed);
            }
            tracing::debug!(cause = %trouble, tries, "a batch is tried again");
            if trouble.is_undone() {
                tokio::time::sleep(TRY_PAUSE.saturating_mul(tries)).await;
            }
        }
    }

    async fn attempt(&mut self, units: &[&UnitOfWork], looked_at: &[bool]) -> Result<Vec<Fate>, Failed> {
        let patience = self.connector.statement_timeout().saturating_mul(2);
        let writing = self.connected().await.map_err(Failed::NotKept)?;
        match tokio::time::timeout(patience, writing.commit(units, looked_at)).await {
            Ok(committed) => committed,
            Err(_) => Err(Failed::NotKnown(Trouble::Slow(patience))),
        }
    }

    async fn probe(&mut self) -> Result<(), Trouble> {
        let patience = self.connector.statement_timeout();
        let writing = self.connected().await?;
        let probed = tokio::time::timeout(patience, writing.probe()).await.unwrap_or(Err(Trouble::Slow(patience)));
        if probed.as_ref().is_err_and(Trouble::ends_the_connection) {
            self.writing = None;
        }
        probed
    }

    async fn connected(&mut self) -> Result<&Writing, Trouble> {
        if self.writing.as_ref().is_some_and(Writing::is_closed) {
            self.writing = None;
        }
        if let Some(writing) = self.writing.take() {
            return Ok(self.writing.insert(writing));
        }
        let connection = self.connector.connect().await?;
        let patience = self.connector.statement_timeout().saturating_mul(2);
        let prepared = tokio::time::timeout(patience, Writing::new(connection, self.slot)).await;
        let writing = prepared.unwrap_or(Err(Trouble::Slow(patience)))?;
        Ok(self.writing.insert(writing))
    }
}
