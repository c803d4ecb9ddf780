//! Folds the log into the ledger's file beside the writer, so that a commit waits for its own flush and for no other.
//!
//! Invariant: the log stays bounded. Each `folded_each` pages a thread of its own folds what is there; at `pages_max` the
//! writer waits for it and folds the rest itself, after which the log begins anew. Nothing of what was answered depends on
//! it: until it is folded, a commit is in the log. A reader that stays in one snapshot for long (a backup, a verification)
//! keeps the log from beginning anew, as it always does in SQLite.

use std::cell::Cell;
use std::ffi::c_int;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::error::OpenError;

/// How long the log may become, in pages of 4 KiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogBounds {
    /// So many that are not in the file yet are folded beside the writer.
    pub folded_each: u32,
    /// At so many the writer folds them itself.
    pub pages_max: u32,
}

/// What a ledger has: 64 MiB, and 256 MiB of disk beside the file. What several commits have written of one page is folded
/// once, so that folding seldom costs less.
pub(super) const LOG_BOUNDS: LogBounds = LogBounds { folded_each: 16_384, pages_max: 65_536 };

thread_local! {
    /// Pages in the log after the last commit of this thread.
    static PAGES: Cell<u32> = const { Cell::new(0) };
}

/// The thread that folds, as the writer sees it. Dropping it ends the thread.
pub(super) struct Log {
    bounds: LogBounds,
    /// Held while the thread folds.
    folding: Arc<Mutex<()>>,
    /// Pages in the log when the thread was told last.
    told_at: Cell<u32>,
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Log {
    /// Starts the thread on a connection of its own. `writer` no longer folds by itself.
    pub(super) fn start(writer: &Connection, own: Connection, bounds: LogBounds) -> Result<Self, OpenError> {
        writer.wal_hook(Some(note));
        let folding = Arc::new(Mutex::new(()));
        let held = Arc::clone(&folding);
        // One word is enough: what comes while it folds is folded by the next.
        let (wake, woken) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("ledger-log".to_owned()).spawn(move || {
            while woken.recv().is_ok() {
                let _held = held.lock().unwrap_or_else(PoisonError::into_inner);
                fold(&own);
            }
        });
        let thread = Some(thread.map_err(OpenError::Thread)?);
        Ok(Self { bounds, folding, told_at: Cell::new(0), wake: Some(wake), thread })
    }

    /// Keeps the bounds, after commits of the writer and on its thread.
    pub(super) fn keep(&self, writer: &Connection) {
        let pages = PAGES.get();
        if pages < self.told_at.get() {
            // All was in the file, and the log has begun anew.
            self.told_at.set(0);
        }
        if pages >= self.bounds.pages_max {
            let _held = self.folding.lock().unwrap_or_else(PoisonError::into_inner);
            fold(writer);
            // Commits that write nothing do not count anew.
            PAGES.set(0);
        } else if pages.saturating_sub(self.told_at.get()) >= self.bounds.folded_each {
            self.told_at.set(pages);
            // Where it is told already, or has ended, there is nothing to add: the bound above stays.
            let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // One that has panicked has left its mark already.
            let _ = thread.join();
        }
    }
}

#[allow(clippy::unnecessary_wraps, reason = "SQLite asks for it")]
fn note(_: &Wal, pages: c_int) -> rusqlite::Result<()> {
    PAGES.set(u32::try_from(pages).unwrap_or_default());
    Ok(())
}

/// Folds what no reader needs any more. What fails is tried again after the next commit; until then it is in the log.
fn fold(connection: &Connection) {
    let folded = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    if let Err(error) = folded {
        tracing::warn!(%error, "the ledger's log cannot be folded into its file");
    }
}
