//! The bill's file: SQLite, and every statement that it is given.
//!
//! Invariant: what is committed outlives the process. It is not flushed to the disk, so a power cut may cost the last
//! seconds or the file: this is a sandbox, and a flush for each charge would be its speed. What may be written is decided
//! in `bill`; memory does not grow with what is in the file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::bill::{Account, Booking, Decided};
use crate::domain::Time;
use crate::domain::address::Msisdn;
use crate::domain::ids::Reference;
use crate::domain::money::{Currency, Money};
use crate::ports::sandbox::{BillLine, BookedLine};

/// Version of the tables below, kept in the file.
const SCHEMA_VERSION: i64 = 1;
/// Marks the file as a bill of the sandbox ("onbb").
const APPLICATION_ID: i64 = 0x6f6e_6262;
/// How long another process that reads the file may hold up a commit.
const BUSY_MAX: Duration = Duration::from_secs(1);

/// Pages of the log at which it is folded into the file: 32 MiB. References are random, so that a short log is folded
/// page by page for each of them.
const LOG_PAGES: u32 = 8_192;

/// `decision` holds what came under each reference; a refusal has its code in `refused` and stands on no bill. `account`
/// has a row for each number that has been reset or has a limit; without one a number is on its first bill.
const SCHEMA: &str = "
CREATE TABLE decision(
    id             INTEGER PRIMARY KEY,
    reference      BLOB NOT NULL UNIQUE,
    number         TEXT NOT NULL,
    bill           INTEGER NOT NULL,
    minor          INTEGER NOT NULL,
    charge         BLOB,
    refunded_minor INTEGER NOT NULL DEFAULT 0,
    refused        TEXT,
    text           TEXT NOT NULL,
    booked_at_us   INTEGER NOT NULL
) STRICT;
CREATE INDEX line ON decision(number, bill, id, minor) WHERE refused IS NULL;
CREATE TABLE account(
    number      TEXT PRIMARY KEY,
    bill        INTEGER NOT NULL,
    spent_minor INTEGER NOT NULL,
    day         TEXT NOT NULL,
    day_minor   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE about(currency TEXT NOT NULL) STRICT;
";

/// Why a bill cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BillError {
    /// The file is not one of the sandbox's bills.
    #[error("{0} is not a bill of the sandbox")]
    NotABill(PathBuf),
    /// A later release has made it.
    #[error("the bill has version {0}, this release knows {SCHEMA_VERSION}")]
    Newer(i64),
    /// It is kept in another currency, so its amounts mean something else.
    #[error("the bill is in {found}, the sandbox is to bill in {wanted}")]
    OtherCurrency {
        /// The file's.
        found: String,
        /// The configuration's.
        wanted: Currency,
    },
    /// SQLite failed: disk full, file locked or damaged, say.
    #[error("the bill's file failed")]
    File(#[from] rusqlite::Error),
    /// It holds something that this release does not write.
    #[error("the bill's file is damaged: {0}")]
    Damaged(&'static str),
}

/// An open file.
pub(super) struct BillFile {
    sqlite: Connection,
}

impl BillFile {
    /// Opens a file, and makes it if there is none.
    pub(super) fn open(file: &Path, currency: Currency) -> Result<Self, BillError> {
        let connection = Connection::open(file)?;
        connection.busy_timeout(BUSY_MAX)?;
        let tables: i64 = query_one(&connection, "SELECT count(*) FROM sqlite_schema")?;
        let application: i64 = query_one(&connection, "PRAGMA application_id")?;
        if tables > 0 && application != APPLICATION_ID {
            return Err(BillError::NotABill(file.to_owned()));
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        Self::prepared(connection, tables == 0, currency)
    }

    /// Opens bills that are gone when they are dropped.
    pub(super) fn open_in_memory(currency: Currency) -> Result<Self, BillError> {
        Self::prepared(Connection::open_in_memory()?, true, currency)
    }

    fn prepared(sqlite: Connection, fresh: bool, currency: Currency) -> Result<Self, BillError> {
        sqlite.pragma_update(None, "synchronous", "OFF")?;
        sqlite.set_prepared_statement_cache_capacity(32);
        if fresh {
            sqlite.execute_batch(&format!(
                "BEGIN IMMEDIATE; {SCHEMA} INSERT INTO about(currency) VALUES('{currency}');
                 PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            ))?;
        }
        let version: i64 = query_one(&sqlite, "PRAGMA user_version")?;
        if version != SCHEMA_VERSION {
            return Err(BillError::Newer(version));
        }
        let found: String = query_one(&sqlite, "SELECT currency FROM about")?;
        if found != currency.code() {
            return Err(BillError::OtherCurrency { found, wanted: currency });
        }
        Ok(Self { sqlite })
    }

    /// Does several things that are committed together or not at all.
    pub(super) fn in_one_transaction(&self, work: impl FnOnce() -> Result<(), BillError>) -> Result<(), BillError> {
        self.sqlite.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let worked = work().and_then(|()| Ok(self.sqlite.prepare_cached("COMMIT")?.execute([])?));
        if let Err(error) = worked {
            // It fails only where SQLite has rolled back by itself.
            let _ = self.sqlite.prepare_cached("ROLLBACK").and_then(|mut rollback| rollback.execute([]));
            return Err(error);
        }
        Ok(())
    }

    /// What is remembered of a reference.
    pub(super) fn decided(&self, reference: Reference) -> Result<Option<Decided>, BillError> {
        let decided = self
            .sqlite
            .prepare_cached(
                "SELECT number, bill, minor, charge, refunded_minor, refused, booked_at_us
                 FROM decision WHERE reference = ?1",
            )?
            .query_row([reference.as_bytes()], |row| {
                Ok(Decided {
                    number: row.get(0)?,
                    bill: row.get(1)?,
                    minor: row.get(2)?,
                    charge: row.get(3)?,
                    refunded_minor: row.get(4)?,
                    refused: row.get(5)?,
                    booked_at_us: row.get(6)?,
                })
            })
            .optional()?;
        Ok(decided)
    }

    /// What is kept of a number; without a row, nothing is spent.
    pub(super) fn account(&self, number: &str) -> Result<Account, BillError> {
        let account = self
            .sqlite
            .prepare_cached("SELECT bill, spent_minor, day, day_minor FROM account WHERE number = ?1")?
            .query_row([number], |row| {
                Ok(Account { bill: row.get(0)?, spent_minor: row.get(1)?, day: row.get(2)?, day_minor: row.get(3)? })
            })
            .optional()?;
        Ok(account.unwrap_or_default())
    }

    /// Keeps what is spent of a number's limit.
    pub(super) fn keep(&self, number: &str, account: &Account) -> Result<(), BillError> {
        self.sqlite
            .prepare_cached(
                "INSERT INTO account(number, bill, spent_minor, day, day_minor) VALUES(?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET bill = ?2, spent_minor = ?3, day = ?4, day_minor = ?5",
            )?
            .execute(params![number, account.bill, account.spent_minor, account.day, account.day_minor])?;
        Ok(())
    }

    /// Remembers what was decided of a reference.
    pub(super) fn remember(
        &self,
        booking: &Booking,
        bill: i64,
        minor: i64,
        charge: Option<Reference>,
        refused: Option<&str>,
    ) -> Result<(), BillError> {
        self.sqlite
            .prepare_cached(
                "INSERT INTO decision(reference, number, bill, minor, charge, refused, text, booked_at_us)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                booking.reference.as_bytes(),
                booking.number,
                bill,
                minor,
                charge.as_ref().map(Reference::as_bytes),
                refused,
                booking.text,
                booking.at.as_microsecond(),
            ])?;
        Ok(())
    }

    /// Notes how much of a charge has been given back.
    pub(super) fn keep_refunded(&self, charge: Reference, refunded_minor: i64) -> Result<(), BillError> {
        self.sqlite
            .prepare_cached("UPDATE decision SET refunded_minor = ?2 WHERE reference = ?1")?
            .execute(params![charge.as_bytes(), refunded_minor])?;
        Ok(())
    }

    /// The newest lines of a bill, oldest first, and the sum of all its lines in minor units.
    pub(super) fn lines(
        &self,
        number: &str,
        bill: i64,
        currency: Currency,
        lines_max: usize,
    ) -> Result<(Vec<BillLine>, i64), BillError> {
        let total = self
            .sqlite
            .prepare_cached(
                "SELECT coalesce(sum(minor), 0) FROM decision WHERE number = ?1 AND bill = ?2 AND refused IS NULL",
            )?
            .query_one(params![number, bill], |row| row.get(0))?;
        let mut newest = self.sqlite.prepare_cached(
            "SELECT reference, minor, text, booked_at_us FROM decision
             WHERE number = ?1 AND bill = ?2 AND refused IS NULL ORDER BY id DESC LIMIT ?3",
        )?;
        let mut rows = newest.query(params![number, bill, i64::try_from(lines_max).unwrap_or(i64::MAX)])?;
        let mut lines = Vec::new();
        while let Some(row) = rows.next()? {
            lines.push(line(row, currency)?);
        }
        lines.reverse();
        Ok((lines, total))
    }

    /// Lines of all bills after a sequence, oldest first.
    pub(super) fn booked(
        &self,
        after: u64,
        currency: Currency,
        lines_max: usize,
    ) -> Result<Vec<BookedLine>, BillError> {
        let bounded = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let sql = format!("SELECT {BOOKED} FROM decision WHERE id > ?1 AND refused IS NULL ORDER BY id LIMIT ?2");
        let mut statement = self.sqlite.prepare_cached(&sql)?;
        let mut rows = statement.query([bounded(after), i64::try_from(lines_max).unwrap_or(i64::MAX)])?;
        let mut lines = Vec::new();
        while let Some(row) = rows.next()? {
            lines.push(booked_line(row, currency)?);
        }
        Ok(lines)
    }

    /// The line of a reference.
    pub(super) fn line_of(&self, reference: Reference, currency: Currency) -> Result<Option<BookedLine>, BillError> {
        let sql = format!("SELECT {BOOKED} FROM decision WHERE reference = ?1 AND refused IS NULL");
        let mut statement = self.sqlite.prepare_cached(&sql)?;
        let mut rows = statement.query([reference.as_bytes()])?;
        rows.next()?.map(|row| booked_line(row, currency)).transpose()
    }
}

/// Columns of [`booked_line`].
const BOOKED: &str = "reference, minor, text, booked_at_us, id, number, charge";

fn booked_line(row: &Row<'_>, currency: Currency) -> Result<BookedLine, BillError> {
    let sequence: i64 = row.get(4)?;
    Ok(BookedLine {
        sequence: u64::try_from(sequence).map_err(|_| BillError::Damaged("a line's number"))?,
        number: Msisdn::new(&row.get::<_, String>(5)?),
        charge: row.get::<_, Option<[u8; 16]>>(6)?.map(Reference::from_bytes),
        line: line(row, currency)?,
    })
}

fn line(row: &Row<'_>, currency: Currency) -> Result<BillLine, BillError> {
    Ok(BillLine {
        reference: Reference::from_bytes(row.get(0)?),
        money: Money::new(row.get(1)?, currency),
        text: row.get(2)?,
        at: Time::from_microsecond(row.get(3)?).map_err(|_| BillError::Damaged("a time"))?,
    })
}

fn query_one<T: rusqlite::types::FromSql>(sqlite: &Connection, sql: &str) -> Result<T, rusqlite::Error> {
    sqlite.query_row(sql, [], |row| row.get(0))
}
