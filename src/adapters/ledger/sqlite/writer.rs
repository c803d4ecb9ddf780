//! The one writer of the ledger's file: a thread that commits what has queued meanwhile in one transaction.
//!
//! Invariant: every job that enters the queue is answered, after its effect is durable; when the thread ends for any
//! reason, whoever waits is told at once. The queue is bounded: at the bound callers wait for room, so that what comes
//! faster than the disk takes it slows its callers and fills no memory. What a batch does to the file is not here.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use metrics::{Gauge, Histogram, gauge, histogram};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::batch;
use super::callers::{Answer, Callers};
use super::error::{OpenError, Stopped};
use super::log::Log;
use super::outbox;
use crate::domain::transaction::UnitOfWork;
use crate::ports::ledger::{Commit, LedgerUnavailable};
use crate::ports::measures::{LEDGER_BATCH, LEDGER_QUEUE, LEDGER_SECONDS};

/// Units that may wait to be committed: about a fifth of a second of work at full speed.
pub(super) const QUEUE_LENGTH_MAX: usize = 4096;
/// Most jobs of one transaction: more gain nothing, and make the first one wait for the last.
pub(super) const BATCH_LENGTH_MAX: usize = 512;

/// Something to be written.
enum Job {
    /// A unit of work.
    Commit(Box<UnitOfWork>, Answer<Commit>),
    /// Something of the outbox.
    Outbox(outbox::Write, Answer<outbox::Written>),
    /// Whether a unit could be committed.
    Probe(Answer<()>),
    /// Whatever a test does to the writer's connection.
    #[cfg(test)]
    Run(Box<dyn FnOnce(&mut Connection) + Send>),
}

/// How much was written since the ledger was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Units of work that were judged and answered.
    pub units: u64,
    /// Transactions of the file that they were committed in.
    pub batches: u64,
}

#[derive(Debug, Default)]
struct Counters {
    units: AtomicU64,
    batches: AtomicU64,
}

/// The writer's thread and the queue to it. Dropping it writes what has queued, and ends the thread.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
}

impl Writer {
    /// Starts the thread. It has the connection to itself, and keeps the log bounded.
    pub(super) fn start(connection: Connection, log: Log) -> Result<Self, OpenError> {
        let (queue, jobs) = mpsc::channel(QUEUE_LENGTH_MAX);
        let counters = Arc::new(Counters::default());
        let own = Arc::clone(&counters);
        let callers = Callers::of_this_runtime();
        let thread = thread::Builder::new()
            .name("ledger-writer".to_owned())
            .spawn(move || run(connection, log, jobs, &own, &callers))
            .map_err(OpenError::Thread)?;
        Ok(Self { queue: Some(queue), thread: Some(thread), counters })
    }

    /// Commits a unit; answers after it is durable.
    pub(super) async fn commit(&self, unit: UnitOfWork) -> Result<Commit, LedgerUnavailable> {
        self.ask(|answer| Job::Commit(Box::new(unit), answer)).await
    }

    /// Writes to the outbox; answers after it is durable.
    pub(super) async fn outbox(&self, write: outbox::Write) -> Result<outbox::Written, LedgerUnavailable> {
        self.ask(|answer| Job::Outbox(write, answer)).await
    }

    /// Whether a unit could be committed.
    pub(super) async fn probe(&self) -> Result<(), LedgerUnavailable> {
        self.ask(Job::Probe).await
    }

    /// Does something with the writer's connection, in its turn.
    #[cfg(test)]
    pub(super) async fn run(&self, act: impl FnOnce(&mut Connection) + Send + 'static) {
        let queue = self.queue.as_ref().expect("the writer is open");
        assert!(queue.send(Job::Run(Box::new(act))).await.is_ok(), "the writer works");
    }

    /// Jobs that wait in the queue.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.max_capacity().saturating_sub(queue.capacity()))
    }

    pub(super) fn figures(&self) -> Figures {
        Figures {
            units: self.counters.units.load(Ordering::Relaxed),
            batches: self.counters.batches.load(Ordering::Relaxed),
        }
    }

    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, LedgerUnavailable> {
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(Stopped::Writer)?;
        queue.send(job(answer)).await.map_err(|_| Stopped::Writer)?;
        // The thread is gone where it drops a job without an answer.
        answered.await.map_err(|_| Stopped::Writer)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has left its mark already; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

fn run(mut connection: Connection, log: Log, mut jobs: mpsc::Receiver<Job>, counters: &Counters, callers: &Callers) {
    let mut batch = Vec::with_capacity(BATCH_LENGTH_MAX);
    let shown = Shown::new();
    // Nothing is received only when the queue is closed and empty.
    while jobs.blocking_recv_many(&mut batch, BATCH_LENGTH_MAX) > 0 {
        // Where the same core has callers ready to run, they come first, and what they bring goes into this batch.
        thread::yield_now();
        while batch.len() < BATCH_LENGTH_MAX
            && let Ok(job) = jobs.try_recv()
        {
            batch.push(job);
        }
        shown.queue.set(f64::from(u32::try_from(jobs.len()).unwrap_or(u32::MAX)));
        work(&mut connection, mem::take(&mut batch), counters, &shown, callers);
        // Everybody is answered by now.
        log.keep(&connection);
    }
    drop(log);
    // As the last connection it folds the log into the file and removes it. If it cannot, the next start does.
    drop(connection);
}

/// What is shown of the writer.
struct Shown {
    queue: Gauge,
    batch: Histogram,
    seconds: Histogram,
}

impl Shown {
    fn new() -> Self {
        Self {
            queue: gauge!(LEDGER_QUEUE.name, "writer" => "0"),
            batch: histogram!(LEDGER_BATCH.name),
            seconds: histogram!(LEDGER_SECONDS.name),
        }
    }
}

fn work(connection: &mut Connection, jobs: Vec<Job>, counters: &Counters, shown: &Shown, callers: &Callers) {
    let mut units = Vec::with_capacity(jobs.len());
    let mut answers = Vec::with_capacity(jobs.len());
    let mut probes = Vec::new();
    let (mut outbox_writes, mut askers) = (Vec::new(), Vec::new());
    for job in jobs {
        match job {
            Job::Commit(unit, answer) => {
                units.push(*unit);
                answers.push(answer);
            }
            Job::Outbox(write, answer) => {
                outbox_writes.push(write);
                askers.push(answer);
            }
            Job::Probe(answer) => probes.push(answer),
            #[cfg(test)]
            Job::Run(act) => act(connection),
        }
    }
    if !units.is_empty() {
        let began = Instant::now();
        let outcomes = batch::commit(connection, &units);
        shown.seconds.record(began.elapsed().as_secs_f64());
        shown.batch.record(f64::from(u32::try_from(units.len()).unwrap_or(u32::MAX)));
        counters.units.fetch_add(u64::try_from(units.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        counters.batches.fetch_add(1, Ordering::Relaxed);
        // Whoever hung up finds the outcome in the ledger.
        callers.tell(answers.into_iter().zip(outcomes).collect());
    }
    if !outbox_writes.is_empty() {
        for (answer, written) in askers.into_iter().zip(outbox::commit(connection, outbox_writes)) {
            let _ = answer.send(written);
        }
    }
    if !probes.is_empty() {
        let found = batch::probe(connection);
        for answer in probes {
            let _ = answer.send(found.clone());
        }
    }
}
