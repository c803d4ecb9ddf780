//! The readers of the ledger's file: threads with read-only connections of their own.
//!
//! Invariant: a reader never waits for the writer, and never sees less than what was answered before it was asked.
//! Single records and lists have threads of their own, so that a caller who turns pages does not slow a charge. The
//! queues are bounded: at the bound callers wait for room. What is read is not here.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::error::{OpenError, Stopped, unavailable};
use crate::ports::ledger::LedgerUnavailable;

/// Threads that read single records.
const RECORD_THREADS: usize = 2;
/// Threads that read lists.
const LIST_THREADS: usize = 2;
/// Reads that may wait for a thread of their lane.
const QUEUE_LENGTH_MAX: usize = 1024;

/// Something to be read. It sends its answer itself.
type Job = Box<dyn FnOnce(&Connection) + Send>;

/// All reading threads.
pub(super) struct Readers {
    /// For single records.
    pub(super) records: Lane,
    /// For lists.
    pub(super) lists: Lane,
}

impl Readers {
    /// Starts the threads, each with a connection that `connect` makes.
    pub(super) fn start(connect: impl Fn() -> Result<Connection, OpenError>) -> Result<Self, OpenError> {
        Ok(Self {
            records: Lane::start("ledger-record", RECORD_THREADS, &connect)?,
            lists: Lane::start("ledger-list", LIST_THREADS, &connect)?,
        })
    }
}

/// A few threads that take from one queue. Dropping it ends them.
pub(super) struct Lane {
    queue: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Lane {
    fn start(
        name: &str,
        threads: usize,
        connect: impl Fn() -> Result<Connection, OpenError>,
    ) -> Result<Self, OpenError> {
        let (queue, jobs) = mpsc::channel(QUEUE_LENGTH_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        let mut lane = Self { queue: Some(queue), threads: Vec::with_capacity(threads) };
        for _ in 0..threads {
            let connection = connect()?;
            let jobs = Arc::clone(&jobs);
            let thread = thread::Builder::new().name(name.to_owned()).spawn(move || run(&connection, &jobs));
            lane.threads.push(thread.map_err(OpenError::Thread)?);
        }
        Ok(lane)
    }

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
        let queue = self.queue.as_ref().ok_or(Stopped::Readers)?;
        queue.send(job).await.map_err(|_| Stopped::Readers)?;
        // The thread is gone where it drops a job without an answer.
        answered.await.map_err(|_| Stopped::Readers)?
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // A thread that has panicked has left its mark already; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

fn run(connection: &Connection, jobs: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // One thread waits in the queue and the others for it; the lock is free again while a job is read.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        match job {
            Some(job) => job(connection),
            None => return,
        }
    }
}
