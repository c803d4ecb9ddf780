//! The bill, in a file of its own: what was decided of each reference, and what stands on whose bill.
//!
//! Invariant: a reference is decided once and for ever, whatever comes under it later; refunds never exceed their
//! charge. A reset opens a new bill for a number and leaves what was decided: a repeat of an old charge is still no second
//! one. Files outlive the process by being written at each commit; they are not flushed to the disk, so a power cut may
//! cost the last seconds or the file: this is a sandbox, and a flush for each charge would be its speed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::code;
use crate::domain::Time;
use crate::domain::ids::Reference;
use crate::domain::money::{Currency, Money};
use crate::ports::sandbox::BillLine;

/// Version of the tables below, kept in the file.
const SCHEMA_VERSION: i64 = 1;
/// Marks the file as a bill of the sandbox ("onbb").
const APPLICATION_ID: i64 = 0x6f6e_6262;
/// How long another process that reads the file may hold up a commit.
const BUSY_MAX: Duration = Duration::from_secs(1);

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

/// Something to be booked: a charge, or what a refund gives back.
#[derive(Debug, Clone)]
pub(super) struct Booking {
    pub(super) reference: Reference,
    pub(super) number: String,
    /// Minor units, positive.
    pub(super) minor: i64,
    pub(super) text: String,
    pub(super) at: Time,
    /// Where the operator's days begin.
    pub(super) time_zone: TimeZone,
}

impl Booking {
    fn day(&self) -> String {
        day_of(self.at, &self.time_zone)
    }
}

/// What an account may spend, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// No limit, and nothing is counted.
    None,
    /// On one day.
    Daily(i64),
    /// In all.
    Balance(i64),
}

/// What became of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Booked, with this many minor units, positive.
    Booked(i64),
    /// Refused, with this code.
    Refused(String),
}

/// What is remembered of a reference.
struct Decided {
    number: String,
    bill: i64,
    /// Negative on a refund.
    minor: i64,
    charge: Option<Vec<u8>>,
    refunded_minor: i64,
    refused: Option<String>,
    booked_at_us: i64,
}

impl Decided {
    fn decision(&self) -> Decision {
        let booked = || Decision::Booked(self.minor.saturating_abs());
        self.refused.clone().map_or_else(booked, Decision::Refused)
    }

    /// The same answer for the same request; another request is refused.
    fn repeat(&self, number: &str, minor: i64, charge: Option<Reference>) -> Decision {
        let charge = charge.map(|charge| charge.as_bytes().to_vec());
        if self.number == number && self.minor == minor && self.charge == charge {
            self.decision()
        } else {
            Decision::Refused(code::REFERENCE_REUSED.to_owned())
        }
    }
}

/// What has been spent of a limit.
#[derive(Debug, Default)]
struct Account {
    bill: i64,
    spent_minor: i64,
    day: String,
    day_minor: i64,
}

impl Account {
    /// Turns the page where a new day has begun.
    fn on(mut self, day: &str) -> Self {
        if self.day != day {
            day.clone_into(&mut self.day);
            self.day_minor = 0;
        }
        self
    }

    fn refusal(&self, minor: i64, limit: Limit) -> Option<&'static str> {
        let (spent, max, code) = match limit {
            Limit::None => return None,
            Limit::Daily(max) => (self.day_minor, max, code::DAILY_LIMIT),
            Limit::Balance(max) => (self.spent_minor, max, code::INSUFFICIENT_FUNDS),
        };
        let fits = spent.checked_add(minor).is_some_and(|total| total <= max);
        (!fits).then_some(code)
    }
}

/// The file of all bills.
pub(super) struct Bill {
    file: Connection,
}

impl Bill {
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
        Self::prepared(connection, tables == 0, currency)
    }

    /// Opens bills that are gone when they are dropped.
    pub(super) fn open_in_memory(currency: Currency) -> Result<Self, BillError> {
        Self::prepared(Connection::open_in_memory()?, true, currency)
    }

    fn prepared(file: Connection, fresh: bool, currency: Currency) -> Result<Self, BillError> {
        file.pragma_update(None, "synchronous", "OFF")?;
        file.set_prepared_statement_cache_capacity(32);
        if fresh {
            file.execute_batch(&format!(
                "BEGIN IMMEDIATE; {SCHEMA} INSERT INTO about(currency) VALUES('{currency}');
                 PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            ))?;
        }
        let version: i64 = query_one(&file, "PRAGMA user_version")?;
        if version != SCHEMA_VERSION {
            return Err(BillError::Newer(version));
        }
        let found: String = query_one(&file, "SELECT currency FROM about")?;
        if found != currency.code() {
            return Err(BillError::OtherCurrency { found, wanted: currency });
        }
        Ok(Self { file })
    }

    /// Does several things that are committed together or not at all.
    pub(super) fn in_one_transaction(
        &self,
        work: impl FnOnce(&Self) -> Result<(), BillError>,
    ) -> Result<(), BillError> {
        self.file.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let worked = work(self).and_then(|()| Ok(self.file.prepare_cached("COMMIT")?.execute([])?));
        if let Err(error) = worked {
            // It fails only where SQLite has rolled back by itself.
            let _ = self.file.prepare_cached("ROLLBACK").and_then(|mut rollback| rollback.execute([]));
            return Err(error);
        }
        Ok(())
    }

    /// Books a charge, or refuses it by a limit.
    pub(super) fn charge(&self, booking: &Booking, limit: Limit) -> Result<Decision, BillError> {
        if let Some(decided) = self.decided(booking.reference)? {
            return Ok(decided.repeat(&booking.number, booking.minor, None));
        }
        let mut account = self.account(&booking.number)?.on(&booking.day());
        if let Some(code) = account.refusal(booking.minor, limit) {
            return self.refuse(booking, booking.minor, None, code);
        }
        self.remember(booking, account.bill, booking.minor, None, None)?;
        if limit != Limit::None {
            account.spent_minor = account.spent_minor.saturating_add(booking.minor);
            account.day_minor = account.day_minor.saturating_add(booking.minor);
            self.keep(&booking.number, &account)?;
        }
        Ok(Decision::Booked(booking.minor))
    }

    /// Books a refund of a charge, on the bill that the charge is on, or refuses it.
    pub(super) fn refund(&self, booking: &Booking, of: Reference, limit: Limit) -> Result<Decision, BillError> {
        let minor = booking.minor.saturating_neg();
        if let Some(decided) = self.decided(booking.reference)? {
            return Ok(decided.repeat(&booking.number, minor, Some(of)));
        }
        let is_charge =
            |found: &Decided| found.refused.is_none() && found.charge.is_none() && found.number == booking.number;
        let Some(charge) = self.decided(of)?.filter(is_charge) else {
            return self.refuse(booking, minor, Some(of), code::UNKNOWN_CHARGE);
        };
        let refunded = charge.refunded_minor.checked_add(booking.minor).filter(|sum| *sum <= charge.minor);
        let Some(refunded_minor) = refunded else {
            return self.refuse(booking, minor, Some(of), code::REFUND_EXCEEDS_CHARGE);
        };
        self.remember(booking, charge.bill, minor, Some(of), None)?;
        self.file
            .prepare_cached("UPDATE decision SET refunded_minor = ?2 WHERE reference = ?1")?
            .execute(params![of.as_bytes(), refunded_minor])?;
        if limit != Limit::None {
            self.give_back(booking, &charge)?;
        }
        Ok(Decision::Booked(booking.minor))
    }

    /// What is known of a reference, and of which number.
    pub(super) fn find(&self, reference: Reference) -> Result<Option<(String, Decision)>, BillError> {
        Ok(self.decided(reference)?.map(|decided| (decided.number.clone(), decided.decision())))
    }

    /// The newest lines of a number's bill, oldest first, and the sum of all of them in minor units.
    pub(super) fn lines(
        &self,
        number: &str,
        currency: Currency,
        lines_max: usize,
    ) -> Result<(Vec<BillLine>, i64), BillError> {
        let bill = self.account(number)?.bill;
        let total = self
            .file
            .prepare_cached(
                "SELECT coalesce(sum(minor), 0) FROM decision WHERE number = ?1 AND bill = ?2 AND refused IS NULL",
            )?
            .query_one(params![number, bill], |row| row.get(0))?;
        let mut newest = self.file.prepare_cached(
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

    /// Opens a new bill for a number, with nothing spent.
    pub(super) fn reset(&self, number: &str) -> Result<(), BillError> {
        let bill = self.account(number)?.bill.saturating_add(1);
        self.keep(number, &Account { bill, ..Account::default() })
    }

    /// Gives a limit back what a refund was counted against. A charge on an earlier bill, or of an earlier day, counts
    /// against nothing any more.
    fn give_back(&self, booking: &Booking, charge: &Decided) -> Result<(), BillError> {
        let mut account = self.account(&booking.number)?.on(&booking.day());
        if account.bill != charge.bill {
            return Ok(());
        }
        let charged_at = Time::from_microsecond(charge.booked_at_us).map_err(|_| BillError::Damaged("a time"))?;
        if day_of(charged_at, &booking.time_zone) == account.day {
            account.day_minor = account.day_minor.saturating_sub(booking.minor);
        }
        account.spent_minor = account.spent_minor.saturating_sub(booking.minor);
        self.keep(&booking.number, &account)
    }

    fn refuse(
        &self,
        booking: &Booking,
        minor: i64,
        charge: Option<Reference>,
        code: &'static str,
    ) -> Result<Decision, BillError> {
        self.remember(booking, 0, minor, charge, Some(code))?;
        Ok(Decision::Refused(code.to_owned()))
    }

    fn remember(
        &self,
        booking: &Booking,
        bill: i64,
        minor: i64,
        charge: Option<Reference>,
        refused: Option<&str>,
    ) -> Result<(), BillError> {
        self.file
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

    fn decided(&self, reference: Reference) -> Result<Option<Decided>, BillError> {
        let decided = self
            .file
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

    fn account(&self, number: &str) -> Result<Account, BillError> {
        let account = self
            .file
            .prepare_cached("SELECT bill, spent_minor, day, day_minor FROM account WHERE number = ?1")?
            .query_row([number], |row| {
                Ok(Account { bill: row.get(0)?, spent_minor: row.get(1)?, day: row.get(2)?, day_minor: row.get(3)? })
            })
            .optional()?;
        Ok(account.unwrap_or_default())
    }

    fn keep(&self, number: &str, account: &Account) -> Result<(), BillError> {
        self.file
            .prepare_cached(
                "INSERT INTO account(number, bill, spent_minor, day, day_minor) VALUES(?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET bill = ?2, spent_minor = ?3, day = ?4, day_minor = ?5",
            )?
            .execute(params![number, account.bill, account.spent_minor, account.day, account.day_minor])?;
        Ok(())
    }
}

fn line(row: &Row<'_>, currency: Currency) -> Result<BillLine, BillError> {
    Ok(BillLine {
        reference: Reference::from_bytes(row.get(0)?),
        money: Money::new(row.get(1)?, currency),
        text: row.get(2)?,
        at: Time::from_microsecond(row.get(3)?).map_err(|_| BillError::Damaged("a time"))?,
    })
}

fn query_one<T: rusqlite::types::FromSql>(file: &Connection, sql: &str) -> Result<T, rusqlite::Error> {
    file.query_row(sql, [], |row| row.get(0))
}

fn day_of(at: Time, time_zone: &TimeZone) -> String {
    time_zone.to_datetime(at).date().to_string()
}
