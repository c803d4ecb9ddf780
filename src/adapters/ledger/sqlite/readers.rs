//! The readers of the ledger's file: threads with read-only connections of their own.
//!
//! Invariant: a reader never waits for the writer, and never sees less than what was answered before it was asked: what
//! is read at a time has queued before the file was looked at. Single records and lists have threads of their own, so that
//! a caller who turns pages does not slow a charge; and a record that a glance finds needs no thread. The queues are
//! bounded: at the bound callers wait for room. What lists there are is not here.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::callers::{Answer, Callers};
use super::error::{OpenError, Stopped, unavailable};
use super::glance::{Glance, Seen};
use super::statements;
use crate::domain::transaction::{Transaction, TransactionKey};
use crate::ports::ledger::LedgerUnavailable;

/// Threads that read single records.
const RECORD_THREADS: usize = 2;
/// Threads that read lists.
const LIST_THREADS: usize = 2;
/// Reads that may wait for a thread of their lane.
const QUEUE_LENGTH_MAX: usize = 1024;
/// Most records that are read at a time: more gain little, and their callers would hear of the first with the last.
const RECORDS_AT_A_TIME_MAX: usize = 16;
/// Records from which on it pays to find the state of the file once for all of them.
const RECORDS_OF_ONE_STATE_MIN: usize = 4;

/// A list to be read. It sends its answer itself.
type Job = Box<dyn FnOnce(&Connection) + Send>;

/// A record to be read.
pub(super) struct Recall {
    key: TransactionKey,
    answer: Answer<Option<Transaction>>,
}

/// All reading threads, and the glance that spares them.
pub(super) struct Readers {
    pub(super) glance: Glance,
    /// For single records.
    records: Lane<Recall>,
    /// For lists.
    pub(super) lists: Lane<Job>,
}

impl Readers {
    /// Starts the threads, each with a connection that `connect` makes.
    pub(super) fn start(
        glance: Glance,
        connect: impl Fn() -> Result<Connection, OpenError>,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            glance,
            records: Lane::start("ledger-record", RECORD_THREADS, &connect, recall_all)?,
            lists: Lane::start("ledger-list", LIST_THREADS, &connect, run)?,
        })
    }

    /// Reads one record.
    pub(super) async fn recall(&self, key: &TransactionKey) -> Result<Option<Transaction>, LedgerUnavailable> {
        match self.glance.recall(key) {
            Seen::Found(found) => Ok(found.map(|record| *record)),
            Seen::Nothing => self.records.recall(key.clone()).await,
        }
    }
}

/// A few threads that take from one queue. Dropping it ends them.
pub(super) struct Lane<J> {
    queue: Option<mpsc::Sender<J>>,
    threads: Vec<JoinHandle<()>>,
}

impl<J: Send + 'static> Lane<J> {
    fn start(
        name: &str,
        threads: usize,
        connect: impl Fn() -> Result<Connection, OpenError>,
        work: fn(&Connection, &Jobs<J>, &Callers),
    ) -> Result<Self, OpenError> {
        let (queue, jobs) = mpsc::channel(QUEUE_LENGTH_MAX);
        let jobs = Arc::new(Jobs(Mutex::new(jobs)));
        let callers = Callers::of_this_runtime();
        let mut lane = Self { queue: Some(queue), threads: Vec::with_capacity(threads) };
        for _ in 0..threads {
            let connection = connect()?;
            let (jobs, callers) = (Arc::clone(&jobs), callers.clone());
            let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(&connection, &jobs, &callers));
            lane.threads.push(thread.map_err(OpenError::Thread)?);
        }
        Ok(lane)
    }

    async fn ask<T>(
        &self,
        job: J,
        answered: oneshot::Receiver<Result<T, LedgerUnavailable>>,
    ) -> Result<T, LedgerUnavailable> {
        let queue = self.queue.as_ref().ok_or(Stopped::Readers)?;
        queue.send(job).await.map_err(|_| Stopped::Readers)?;
        // The thread is gone where it drops a job without an answer.
        answered.await.map_err(|_| Stopped::Readers)?
    }
}

impl Lane<Recall> {
    /// Reads one record on one of the threads.
    async fn recall(&self, key: TransactionKey) -> Result<Option<Transaction>, LedgerUnavailable> {
        let (answer, answered) = oneshot::channel();
        self.ask(Recall { key, answer }, answered).await
    }
}

impl Lane<Job> {
    /// Reads on one of the threads.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerUnavailable> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Whoever hung up while waiting for a thread need not be read for.
            if !answer.is_closed() {
                let _ = answer.send(read(connection).map_err(unavailable));
            }
        });
        self.ask(job, answered).await
    }
}

impl<J> Drop for Lane<J> {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // A thread that has panicked has left its mark already; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// What has queued. One thread waits in the queue and the others for it; the lock is free again while there is work.
struct Jobs<J>(Mutex<mpsc::Receiver<J>>);

impl<J> Jobs<J> {
    fn take(&self) -> Option<J> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv()
    }

    /// At least one; none when the queue is closed and empty.
    fn take_many(&self, jobs: &mut Vec<J>, count_max: usize) -> usize {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = queue.blocking_recv_many(jobs, count_max);
        // Where the same core has callers ready to run, they come first, and what they ask for is read with it.
        thread::yield_now();
        while jobs.len() < count_max
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
        count
    }
}

fn run(connection: &Connection, jobs: &Jobs<Job>, _callers: &Callers) {
    while let Some(job) = jobs.take() {
        job(connection);
    }
}

/// Reads records as they are asked for. Those that have queued are read of one state of the file: to find it anew costs
/// more than the record.
fn recall_all(connection: &Connection, jobs: &Jobs<Recall>, callers: &Callers) {
    let mut recalls = Vec::with_capacity(RECORDS_AT_A_TIME_MAX);
    while jobs.take_many(&mut recalls, RECORDS_AT_A_TIME_MAX) > 0 {
        let is_worth_it = recalls.len() >= RECORDS_OF_ONE_STATE_MIN;
        let state = if is_worth_it { connection.unchecked_transaction().map(Some) } else { Ok(None) };
        let state = state.map_err(unavailable);
        let read = |key: &TransactionKey| {
            state.as_ref().map_err(Clone::clone)?;
            statements::recall(connection, key).map_err(unavailable)
        };
        // Whoever hung up while waiting for a thread need not be read for.
        let waiting = recalls.drain(..).filter(|recall| !recall.answer.is_closed());
        callers.tell(waiting.map(|Recall { key, answer }| (answer, read(&key))).collect());
    }
}
