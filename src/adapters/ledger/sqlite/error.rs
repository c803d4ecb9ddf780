//! Why the ledger's file cannot be opened, and why an open one cannot answer.
//!
//! Invariant: an error of opening names the file or directory and says what to do; it is for whoever starts the
//! gateway. An error of working is a `LedgerUnavailable`, whatever it is: nothing may be acknowledged after it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::ports::Cause;
use crate::ports::ledger::LedgerUnavailable;

/// The ledger cannot be opened. The gateway must not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The data directory, or a file in it, cannot be made or used.
    #[error("cannot use {}: check that it exists, may be written, and is on a disk with room", directory.display())]
    Directory {
        /// Which.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the directory.
    #[error(
        "the data directory {} is in use by another gateway: stop that one, or give this one a directory of its own",
        directory.display()
    )]
    InUse {
        /// Which.
        directory: PathBuf,
    },
    /// The file was written by a newer release.
    #[error(
        "{} has schema {found}, and this release knows schemas up to {newest}: start the newer release, or restore a \
         backup that was made before the upgrade",
        file.display()
    )]
    NewerSchema {
        /// Which.
        file: PathBuf,
        /// The schema that it has.
        found: i32,
        /// The newest schema that is known.
        newest: u32,
    },
    /// The file is something else.
    #[error("{} is not a ledger of onbill: move it away, or name another data directory", file.display())]
    NotALedger {
        /// Which.
        file: PathBuf,
    },
    /// The file is damaged.
    #[error("{} is damaged ({found}): keep it aside and restore a backup", file.display())]
    Damaged {
        /// Which.
        file: PathBuf,
        /// What was found.
        found: String,
    },
    /// Something outside the gateway holds the file.
    #[error("{} is locked by another program: end whatever has it open, and start again", file.display())]
    Locked {
        /// Which.
        file: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file system cannot share memory between connections.
    #[error("{} is on a file system that cannot keep SQLite's write-ahead log: use a local disk", file.display())]
    NoLog {
        /// Which.
        file: PathBuf,
    },
    /// There is no room.
    #[error("no room to write {}: free some space, and start again", file.display())]
    Full {
        /// Which.
        file: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The system gives no thread.
    #[error("cannot start a thread for the ledger")]
    Thread(#[source] io::Error),
    /// Anything else.
    #[error("cannot open {}", file.display())]
    Other {
        /// Which.
        file: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl OpenError {
    /// What SQLite said about a file, in terms of what to do.
    pub(super) fn of(file: &Path, source: rusqlite::Error) -> Self {
        let file = file.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotALedger { file },
            Some(ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { file, found: "SQLite finds its structure broken".to_owned() }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { file, source },
            Some(ErrorCode::DiskFull) => Self::Full { file, source },
            Some(_) | None => Self::Other { file, source },
        }
    }
}

/// A part of the ledger has ended before the gateway did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stopped {
    /// Nothing can be written any more.
    #[error("the ledger's writer has stopped")]
    Writer,
    /// Nothing can be read any more.
    #[error("the ledger's readers have stopped")]
    Readers,
}

impl From<Stopped> for LedgerUnavailable {
    fn from(stopped: Stopped) -> Self {
        Self(Cause::new(stopped))
    }
}

/// What an open file's trouble means to whoever asked.
pub(super) fn unavailable(error: rusqlite::Error) -> LedgerUnavailable {
    LedgerUnavailable(Cause::new(error))
}
