//! The audit log in files: JSON lines, each bound to the one before by a hash.
//!
//! Invariant: entries go through a bounded queue to one thread, which writes them in batches and syncs them at most once
//! in a while; nobody waits for it. What did not fit, or the disk refused, is counted and written down as soon as something
//! can be written again. A file that has grown long enough is followed by another one, which begins with the hash that the
//! former ended with. What a kill has left of a line is cut off at the next start, and that is written down too. Files
//! are never removed here.

mod chain;
mod file;
pub mod verify;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use metrics::{Counter, counter};

use self::file::Files;
use crate::domain::Time;
use crate::ports::audit::{Audit, Entry, Head, Refused, Who};
use crate::ports::measures::{AUDIT_ENTRIES, AUDIT_LOST};

pub use self::file::OpenError;

/// Most entries that are written in one go.
const BATCH_MAX: usize = 512;
/// How long the thread lets entries gather after it has written some. It looks for them by itself then, so that a call
/// seldom has to wake it: on a busy machine that costs more than the line.
const GATHER: Duration = Duration::from_millis(5);
/// How long refusals are counted before they are written.
const REFUSALS_PAUSE: Duration = Duration::from_secs(10);
/// Most kinds of refusals that are counted apart; all others are one kind.
const REFUSALS_MAX: usize = 1_024;

/// How the log is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its directory, one gateway's.
    pub dir: PathBuf,
    /// Bytes at which a new file is begun.
    pub file_bytes_max: u64,
    /// Most entries that wait.
    pub queue_max: usize,
    /// Most time between two syncs.
    pub sync: Duration,
}

enum Job {
    Note(Time, Box<Entry>),
    End,
}

/// What thread and callers share.
#[derive(Default)]
struct Shared {
    refused: Mutex<BTreeMap<Refused, u64>>,
    /// Entries that are lost and not written down yet.
    lost: AtomicU64,
    is_ill: AtomicBool,
}

/// The log. Dropping it writes what has queued.
pub struct FileAudit {
    queue: SyncSender<Job>,
    shared: Arc<Shared>,
    lost: Counter,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl FileAudit {
    /// Opens the log of a directory, takes up where it ends, and starts the thread.
    ///
    /// # Errors
    /// The directory cannot be used, or another gateway uses it.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let files = Files::open(&settings.dir, settings.file_bytes_max)?;
        let (queue, jobs) = sync_channel(settings.queue_max);
        let shared = Arc::new(Shared::default());
        let writer = Writer {
            files,
            jobs,
            shared: Arc::clone(&shared),
            sync: settings.sync,
            gather: if settings.queue_max >= BATCH_MAX { GATHER } else { Duration::ZERO },
            synced: Instant::now(),
            told: Instant::now(),
            written: counter!(AUDIT_ENTRIES.name),
            lost: counter!(AUDIT_LOST.name),
        };
        let thread = thread::Builder::new()
            .name("audit-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        Ok(Self { queue, shared, lost: counter!(AUDIT_LOST.name), thread: Mutex::new(Some(thread)) })
    }

    /// Writes and syncs what has queued, and ends. What comes later is lost.
    pub fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The thread takes all that came before, so that there is room soon.
            if self.queue.send(Job::End).is_ok() {
                // A thread that has panicked has left its mark already.
                let _ = thread.join();
            }
        }
    }
}

impl Drop for FileAudit {
    fn drop(&mut self) {
        self.close();
    }
}

impl Audit for FileAudit {
    fn note(&self, entry: Entry) {
        if self.queue.try_send(Job::Note(Time::now(), Box::new(entry))).is_err() {
            self.lost.increment(1);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn refuse(&self, refused: Refused) {
        let mut all = self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let key = if all.len() < REFUSALS_MAX || all.contains_key(&refused) {
            refused
        } else {
            Refused { partner: None, what: "others".to_owned(), code: refused.code }
        };
        let count = all.entry(key).or_default();
        *count = count.saturating_add(1);
    }

    fn is_well(&self) -> bool {
        !self.shared.is_ill.load(Ordering::Relaxed)
    }
}

struct Writer {
    files: Files,
    jobs: Receiver<Job>,
    shared: Arc<Shared>,
    sync: Duration,
    /// None where the queue is too short to take what comes meanwhile.
    gather: Duration,
    synced: Instant,
    /// When refusals were written last.
    told: Instant,
    written: Counter,
    lost: Counter,
}

impl Writer {
    fn run(mut self) {
        let (mut is_over, mut is_busy, mut is_full) = (false, false, false);
        while !is_over {
            let mut batch = Vec::with_capacity(if is_busy { BATCH_MAX } else { 1 });
            if is_busy {
                if !is_full {
                    thread::sleep(self.gather);
                }
            } else {
                match self.jobs.recv_timeout(self.sync) {
                    Ok(Job::Note(at, entry)) => batch.push((at, *entry)),
                    Ok(Job::End) | Err(RecvTimeoutError::Disconnected) => is_over = true,
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
            while batch.len() < BATCH_MAX
                && let Ok(job) = self.jobs.try_recv()
            {
                match job {
                    Job::Note(at, entry) => batch.push((at, *entry)),
                    Job::End => is_over = true,
                }
            }
            (is_busy, is_full) = (!batch.is_empty(), batch.len() >= BATCH_MAX);
            if is_over || self.told.elapsed() >= REFUSALS_PAUSE {
                batch.extend(self.refusals());
            }
            self.write(batch);
            if is_over || self.synced.elapsed() >= self.sync {
                self.sync();
            }
        }
        self.say("the audit log ends here");
    }

    fn refusals(&mut self) -> Vec<(Time, Entry)> {
        self.told = Instant::now();
        let counted = std::mem::take(&mut *self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner));
        let entry = |(refused, count): (Refused, u64)| Entry {
            who: refused.partner.map_or(Who::Nobody, Who::Partner),
            what: refused.what.into(),
            outcome: refused.code.into(),
            details: vec![("count", count.to_string())],
        };
        counted.into_iter().map(|refused| (Time::now(), entry(refused))).collect()
    }

    fn write(&mut self, batch: Vec<(Time, Entry)>) {
        let lost = self.shared.lost.load(Ordering::Relaxed);
        if batch.is_empty() && lost == 0 {
            return;
        }
        let mut all = Vec::with_capacity(batch.len().saturating_add(1));
        if lost > 0 {
            let details = vec![("count", lost.to_string())];
            let entry = Entry { who: Who::Gateway, what: "lost".into(), outcome: "lost".into(), details };
            all.push((Time::now(), entry));
        }
        all.extend(batch);
        let (count, added) = (all.len(), u64::from(lost > 0));
        match self.files.append(&all) {
            Ok(()) => {
                self.shared.lost.fetch_sub(lost, Ordering::Relaxed);
                self.written.increment(u64::try_from(count).unwrap_or(u64::MAX));
                if self.shared.is_ill.swap(false, Ordering::Relaxed) {
                    tracing::info!("the audit log is written again");
                }
            }
            Err(error) => {
                let more = u64::try_from(count).unwrap_or(u64::MAX).saturating_sub(added);
                self.shared.lost.fetch_add(more, Ordering::Relaxed);
                self.lost.increment(more);
                self.fail(&error);
            }
        }
    }

    fn sync(&mut self) {
        self.synced = Instant::now();
        let begun = self.files.number();
        if let Err(error) = self.files.sync() {
            self.fail(&error);
        } else if begun != self.files.said() {
            self.say("the audit log has a new file");
        }
    }

    /// Tells the log of the gateway where this one stands, so that it can be held against it.
    fn say(&mut self, what: &'static str) {
        let Head { seq, hash } = self.files.head();
        self.files.say();
        tracing::info!(audit_head = %format_args!("{seq}:{hash}"), "{what}");
    }

    fn fail(&self, error: &std::io::Error) {
        if !self.shared.is_ill.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the audit log cannot be written; entries are lost and counted");
        }
    }
}
