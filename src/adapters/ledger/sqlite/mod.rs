//! The ledger in one SQLite file: the system of record of a gateway that has a machine to itself.
//!
//! Invariant: what was answered is durable (write-ahead log, synchronous=FULL), uniqueness is a constraint of the file,
//! and one process at a time has the data directory. One thread writes and commits in groups; a few read. Reading
//! order: `schema`, `statements`, `batch`, `writer`, `log`, `readers`, `glance`. What people ask of the file, a gateway running or
//! not, is in `inspect` and `verify`.

mod batch;
mod callers;
mod error;
mod glance;
mod lock;
mod log;
mod oversight;
mod outbox;
mod readers;
mod rows;
mod schema;
mod backup;
mod inspect;
mod verify;
mod statements;
mod writer;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags};

pub use self::error::OpenError;
use self::glance::Glance;
pub use self::inspect::LedgerFile;
use self::lock::DirectoryLock;
use self::log::{LOG_BOUNDS, Log};
use self::readers::Readers;
pub use self::writer::Figures;
use self::writer::Writer;
use crate::domain::Time;
use crate::domain::transaction::{Transaction, TransactionKey, UnitOfWork};
use crate::ports::ledger::{Commit, Ledger, LedgerUnavailable, ListQuery, Listed};

/// The ledger's file in the data directory. SQLite keeps its log beside it while the gateway runs.
pub const LEDGER_FILE: &str = "ledger.sqlite";
/// How long a statement waits for a program that has locked the file: a backup, or somebody's shell.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements that a connection keeps: more than there are.
const STATEMENTS_KEPT: usize = 64;
/// How the file is journalled: readers and the writer do not wait for one another.
const LOG_MODE: &str = "wal";
/// Kibibytes of the file that the writer keeps in memory: the upper part of every index, and what it writes just now. A
/// ledger fills them within seconds, so that one of ten million takes no more memory than a young one; whatever else is
/// read comes from the system's own cache.
const WRITER_CACHE_KIB: i32 = 16 * 1024;

/// A ledger in a file.
pub struct SqliteLedger {
    // Dropped in this order: the writer's connection closes last and folds the log in, then the directory is free.
    readers: Readers,
    writer: Writer,
    _lock: DirectoryLock,
}

impl SqliteLedger {
    /// Opens the ledger of a data directory, and makes both where they are missing. Leases that a crash has left are
    /// ended: whoever held them is gone. Blocks while the file is read and brought up to date.
    ///
    /// # Errors
    /// See [`OpenError`]; each says what to do.
    pub fn open(data_directory: &Path) -> Result<Self, OpenError> {
        let lock = DirectoryLock::take(data_directory)?;
        let file = lock.private_file(LEDGER_FILE)?;
        let mut connection = connect(&file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        schema::admit(&connection, &file)?;
        let mode = prepare(&mut connection).map_err(|error| OpenError::of(&file, error))?;
        if mode != LOG_MODE {
            return Err(OpenError::NoLog { file });
        }
        schema::check_whole(&connection, &file)?;
        statements::end_leases(&connection).map_err(|error| OpenError::of(&file, error))?;
        let log = Log::start(&connection, beside(&file)?, LOG_BOUNDS)?;
        let writer = Writer::start(connection, log)?;
        let connect = || connect(&file, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let glance = Glance::through(connect()?).map_err(|error| OpenError::of(&file, error))?;
        let readers = Readers::start(glance, connect)?;
        Ok(Self { readers, writer, _lock: lock })
    }

    /// How much was written since the ledger was opened.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.writer.figures()
    }
}

fn connect(file: &Path, access: OpenFlags) -> Result<Connection, OpenError> {
    let open = || {
        // Each connection stays with one thread at a time, so that SQLite need not lock it.
        let connection = Connection::open_with_flags(file, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        Ok(connection)
    };
    open().map_err(|error| OpenError::of(file, error))
}

/// Makes the writer's connection durable and its schema the newest; answers how the file is journalled.
fn prepare(connection: &mut Connection) -> rusqlite::Result<String> {
    let mode = connection.pragma_update_and_check(None, "journal_mode", LOG_MODE, |row| row.get(0))?;
    make_durable(connection)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    schema::migrate(connection)?;
    Ok(mode)
}

fn make_durable(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "full")?;
    // Where fsync does not reach the disk (macOS), this does; elsewhere it changes nothing.
    connection.pragma_update(None, "fullfsync", true)
}

/// A connection that folds the log beside the writer's, and as durably.
fn beside(file: &Path) -> Result<Connection, OpenError> {
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    make_durable(&connection).map_err(|error| OpenError::of(file, error))?;
    Ok(connection)
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn commit(&self, unit: UnitOfWork) -> Result<Commit, LedgerUnavailable> {
        self.writer.commit(unit).await
    }

    async fn recall(&self, key: &TransactionKey) -> Result<Option<Transaction>, LedgerUnavailable> {
        self.readers.recall(key).await
    }

    async fn recall_all(&self, keys: &[TransactionKey]) -> Result<Vec<Transaction>, LedgerUnavailable> {
        let keys = keys.to_vec();
        let recall = move |connection: &Connection| {
            let found: Result<Vec<_>, _> = keys.iter().map(|key| statements::recall(connection, key)).collect();
            Ok(found?.into_iter().flatten().collect())
        };
        self.readers.lists.read(recall).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<Listed>, LedgerUnavailable> {
        let query = query.clone();
        self.readers.lists.read(move |connection| statements::list(connection, &query)).await
    }

    async fn due(&self, now: Time, rows_max: u32) -> Result<Vec<Transaction>, LedgerUnavailable> {
        self.readers.lists.read(move |connection| statements::due(connection, now, rows_max)).await
    }

    async fn walk(&self, after: i64, rows_max: u32) -> Result<Vec<Listed>, LedgerUnavailable> {
        self.readers.lists.read(move |connection| statements::walk(connection, after, rows_max)).await
    }

    async fn check(&self) -> Result<(), LedgerUnavailable> {
        self.writer.probe().await
    }
}

#[cfg(test)]
mod tests;
