//! Verification: every invariant of the ledger, over the whole file.
//!
//! Invariant: one snapshot is read from end to end, whatever is committed meanwhile, and memory stays bounded: sums of
//! refunds are kept in a temporary table that SQLite spills to disk. Damage ends nothing: what can still be read is
//! still checked. The rules of a single record are in `soundness`, for every store.

use std::io;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::super::shown::named;
use super::super::soundness::{self, Charged, Facts, Line, Shares, Told};
use super::inspect::unreadable;
use super::rows::{self, Fields};
use super::schema;
use crate::domain::limits::{self, CounterChange};
use crate::domain::transaction::{Kind, Transaction};
use crate::ports::inspection::{Finding, InspectionError, Named, Progress, Verified};
use crate::ports::secrets::Secrets;

/// Most findings of SQLite's own check: a broken page brings thousands of one cause.
const STRUCTURE_FINDINGS_MAX: u32 = 100;
/// Records between two words of progress.
const PROGRESS_RECORDS: u64 = 50_000;

/// What refunds hold of each charge, and have given back. Ordinary arithmetic of SQLite turns a sum that overflows into
/// a real number, which is read as more than any charge.
const SHARES: &str = "
CREATE TEMP TABLE shares (
    partner TEXT NOT NULL, charge_id TEXT NOT NULL, held, done, PRIMARY KEY (partner, charge_id)
) WITHOUT ROWID;
INSERT INTO shares
SELECT partner, coalesce(sent_reference_id, ext_id),
    CASE WHEN state IN ('pending', 'unknown', 'success') THEN amount_minor ELSE 0 END,
    CASE WHEN state = 'success' THEN amount_minor ELSE 0 END
FROM main.transactions WHERE kind = 'refund'
ON CONFLICT (partner, charge_id) DO UPDATE SET held = held + excluded.held, done = done + excluded.done;
";

/// What records add up to on each counter. A sum that overflows becomes a real number, which cannot be read as a sum.
const COUNTED: &str = "
CREATE TEMP TABLE counted (name TEXT NOT NULL PRIMARY KEY, sum_minor INTEGER NOT NULL) WITHOUT ROWID;
";

/// Each counter with what it says and what it should: name, said, sum. One that is not there says nothing.
const COUNTERS: &str = "
SELECT name, used_minor, coalesce(sum_minor, 0) FROM main.counters LEFT JOIN temp.counted USING (name)
UNION ALL
SELECT name, NULL, sum_minor FROM temp.counted WHERE name NOT IN (SELECT name FROM main.counters)
";

/// Facts that SQL finds across records, each as (rule, text, statement). A statement gives one row for each record that
/// it finds: sequence, partner, kind and id, or NULLs where there is no record to name.
const ACROSS: [(&str, &str, &str); 5] = [
    (
        "unique",
        "is not the only record of its key",
        "SELECT seq, partner, kind, ext_id FROM transactions JOIN (SELECT partner AS p, kind AS k, ext_id AS e \
         FROM transactions NOT INDEXED GROUP BY 1, 2, 3 HAVING count(*) > 1) ON partner = p AND kind = k AND ext_id = e",
    ),
    (
        "reference",
        "shares its reference with another record",
        "SELECT seq, partner, kind, ext_id FROM transactions WHERE reference IN \
         (SELECT reference FROM transactions GROUP BY reference HAVING count(*) > 1)",
    ),
    (
        "postings",
        "postings belong to a record that is not there",
        "SELECT DISTINCT transaction_seq, NULL, NULL, NULL FROM postings \
         WHERE transaction_seq NOT IN (SELECT seq FROM transactions)",
    ),
    (
        "event",
        "an event belongs to a record that is not there",
        "SELECT transaction_seq, NULL, NULL, NULL FROM outbox \
         WHERE transaction_seq NOT IN (SELECT seq FROM transactions)",
    ),
    (
        "event",
        "an event id is there more than once",
        "SELECT transaction_seq, NULL, NULL, NULL FROM outbox NOT INDEXED \
         GROUP BY event_id HAVING count(*) > 1",
    ),
];

type Tell<'a> = dyn FnMut(&Progress<'_>) -> io::Result<()> + 'a;

/// A verification under way.
struct Verification<'a> {
    connection: &'a Connection,
    secrets: Option<&'a dyn Secrets>,
    tell: &'a mut Tell<'a>,
    done: Verified,
}

/// Checks everything.
pub(super) fn verify<'a>(
    connection: &'a Connection,
    file: &Path,
    secrets: Option<&'a dyn Secrets>,
    tell: &'a mut Tell<'a>,
) -> Result<Verified, InspectionError> {
    let done = Verified { references_checked: secrets.is_some(), ..Verified::default() };
    let mut verification = Verification { connection, secrets, tell, done };
    // One snapshot for all that follows. It is never committed: nothing is written but temporary tables.
    if let Err(error) = connection.execute_batch("PRAGMA temp_store = FILE; BEGIN") {
        return Err(unreadable(error));
    }
    if let Err(error) = schema::admit(connection, file) {
        verification.found("schema", None, error.to_string())?;
        return Ok(verification.done);
    }
    verification.file()?;
    verification.attempt("the sums of refunds", Verification::records)?;
    verification.attempt("what lies across records", Verification::across)?;
    verification.attempt("the counters of limits", Verification::counters)?;
    Ok(verification.done)
}

/// What may end a part: the output, which ends everything, or the file, which is damage.
enum Ended {
    File(rusqlite::Error),
    Output(io::Error),
}

impl From<rusqlite::Error> for Ended {
    fn from(error: rusqlite::Error) -> Self {
        Self::File(error)
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Verification<'_> {
    fn found(&mut self, rule: &'static str, record: Option<Named>, text: String) -> io::Result<()> {
        self.done.findings = self.done.findings.saturating_add(1);
        (self.tell)(&Progress::Found(&Finding { rule, record, text }))
    }

    /// Does a part, and makes a finding of a file that cannot be read any further.
    fn attempt(&mut self, part: &str, act: fn(&mut Self) -> Result<(), Ended>) -> Result<(), InspectionError> {
        match act(self) {
            Ok(()) => Ok(()),
            Err(Ended::Output(error)) => Err(error.into()),
            Err(Ended::File(error)) => Ok(self.found("file", None, format!("{part} cannot be read: {error}"))?),
        }
    }

    /// The file itself: its schema, its pages, and what refers to what.
    fn file(&mut self) -> Result<(), InspectionError> {
        self.attempt("the schema", Self::schema)?;
        (self.tell)(&Progress::Stage("checking the structure of the file"))?;
        self.attempt("the structure", Self::structure)
    }

    fn schema(&mut self) -> Result<(), Ended> {
        self.done.schema = schema::version(self.connection)?;
        if self.done.schema == 0 {
            return Ok(self.found("schema", None, "the file is empty: it holds no ledger".to_owned())?);
        }
        let (found, due) = (schema::objects(self.connection)?, schema::objects_of_version(self.done.schema)?);
        for (name, text) in &due {
            match found.get(name) {
                None => self.found("schema", None, format!("{name} is missing"))?,
                Some(other) if other != text => self.found("schema", None, format!("{name} was altered"))?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn structure(&mut self) -> Result<(), Ended> {
        let connection = self.connection;
        let mut statement = connection.prepare(&format!("PRAGMA integrity_check({STRUCTURE_FINDINGS_MAX})"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let text: String = row.get(0)?;
            if text != "ok" {
                self.found("file", None, text)?;
            }
        }
        Ok(())
    }

    /// Every record with all that belongs to it, in the order in which they were begun.
    fn records(&mut self) -> Result<(), Ended> {
        let connection = self.connection;
        (self.tell)(&Progress::Stage("adding up refunds"))?;
        connection.execute_batch(SHARES)?;
        let of: i64 = connection.query_row("SELECT coalesce(max(seq), 0) FROM transactions", [], |row| row.get(0))?;
        let of = u64::try_from(of).unwrap_or_default();
        (self.tell)(&Progress::Stage("checking every record"))?;
        let text = format!(
            "SELECT seq, compared_version, {} FROM transactions NOT INDEXED ORDER BY seq",
            rows::columns_of(self.done.schema)
        );
        let mut statement = connection.prepare(&text)?;
        let mut rows = statement.query([])?;
        let mut before = 0_i64;
        connection.execute_batch(COUNTED)?;
        while let Some(row) = rows.next()? {
            let sequence: i64 = row.get(0)?;
            self.gap(before, sequence)?;
            before = sequence;
            self.record(sequence, row)?;
            self.done.records = self.done.records.saturating_add(1);
            if self.done.records.checked_rem(PROGRESS_RECORDS) == Some(0) {
                (self.tell)(&Progress::Checked { records: self.done.records, of })?;
            }
        }
        Ok(())
    }

    /// No record is ever deleted, so that their numbers have no gaps.
    fn gap(&mut self, before: i64, sequence: i64) -> io::Result<()> {
        let due = before.saturating_add(1);
        match sequence.saturating_sub(due) {
            missing if missing > 0 => {
                let last = sequence.saturating_sub(1);
                self.found("missing", None, format!("records {due} to {last} are missing: {missing} in all"))
            }
            _ => Ok(()),
        }
    }

    fn record(&mut self, sequence: i64, row: &Row<'_>) -> Result<(), Ended> {
        let mut fields = Fields::of(row);
        let read = fields.number::<i64>().and_then(|_| fields.number()).and_then(|compared_version| {
            let record = rows::transaction(&mut fields)?;
            Ok((compared_version, record))
        });
        let (compared_version, record) = match read {
            Ok(read) => read,
            Err(error) => {
                let named = named_by_row(sequence, row);
                return Ok(self.found("row", Some(named), format!("cannot be read: {error}"))?);
            }
        };
        for change in limits::counts_as(&record) {
            add_up(self.connection, &change)?;
        }
        let facts = self.facts(sequence, compared_version, record)?;
        self.done.postings = self.done.postings.saturating_add(count(facts.lines.len()));
        self.done.events = self.done.events.saturating_add(count(facts.told.len()));
        for (rule, text) in soundness::check(&facts) {
            self.found(rule, Some(named(sequence, &facts.record)), text)?;
        }
        Ok(())
    }

    fn facts(&self, sequence: i64, compared_version: u32, record: Transaction) -> rusqlite::Result<Facts> {
        let connection = self.connection;
        let (mut shares, mut charged) = (Shares::default(), None);
        match record.key.kind {
            Kind::Charge => shares = shares_of(connection, &record)?,
            Kind::Refund => charged = charge_of(connection, &record, self.done.schema)?,
        }
        Ok(Facts {
            compared_version,
            lines: lines_of(connection, sequence)?,
            told: told_of(connection, sequence)?,
            shares,
            charged,
            decided_as: if self.done.schema >= 2 { decided_as(connection, sequence)? } else { None },
            reference: self.secrets.map(|secrets| secrets.reference(&record.key)),
            record,
        })
    }

    /// Counters of spend limits, each against what the records add up to.
    fn counters(&mut self) -> Result<(), Ended> {
        if self.done.schema < rows::COUNTERS_SINCE {
            return Ok(());
        }
        (self.tell)(&Progress::Stage("comparing counters of limits with records"))?;
        let connection = self.connection;
        let mut statement = connection.prepare(COUNTERS)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (name, says, sum): (String, Option<i64>, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if says.unwrap_or_default() != sum {
                self.found(soundness::COUNTER, None, soundness::counter_differs(&name, says, sum))?;
            }
        }
        Ok(())
    }

    /// What only many records together can show.
    fn across(&mut self) -> Result<(), Ended> {
        (self.tell)(&Progress::Stage("comparing records with one another"))?;
        let connection = self.connection;
        for (rule, text, statement) in ACROSS {
            let mut statement = connection.prepare(statement)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let sequence: i64 = row.get(0)?;
                let partner: Option<String> = row.get(1)?;
                match partner {
                    Some(partner) => {
                        let (kind, ext_transaction_id) = (row.get(2)?, row.get(3)?);
                        let named = Named { sequence, partner, kind, ext_transaction_id };
                        self.found(rule, Some(named), text.to_owned())?;
                    }
                    None => self.found(rule, None, format!("{text}: record {sequence}"))?,
                }
            }
        }
        Ok(())
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The key of a row that is no record, as far as it can be read.
fn named_by_row(sequence: i64, row: &Row<'_>) -> Named {
    let text = |column: &str| row.get::<_, String>(column).unwrap_or_else(|_| "?".to_owned());
    Named { sequence, partner: text("partner"), kind: text("kind"), ext_transaction_id: text("ext_id") }
}

fn lines_of(connection: &Connection, sequence: i64) -> rusqlite::Result<Vec<Line>> {
    connection
        .prepare_cached("SELECT book, owner, account_ref, minor, currency FROM postings WHERE transaction_seq = ?1")?
        .query_map([sequence], |row| {
            let (book, owner, account_ref) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Line { book, owner, account_ref, minor: row.get(3)?, currency: row.get(4)? })
        })?
        .collect()
}

fn told_of(connection: &Connection, sequence: i64) -> rusqlite::Result<Vec<Told>> {
    connection
        .prepare_cached("SELECT event_id, partner FROM outbox WHERE transaction_seq = ?1")?
        .query_map([sequence], |row| Ok(Told { event_id: row.get(0)?, partner: row.get(1)? }))?
        .collect()
}

fn shares_of(connection: &Connection, charge: &Transaction) -> rusqlite::Result<Shares> {
    let sum = |row: &Row<'_>, index| row.get_ref(index).map(|value| value.as_i64().unwrap_or(i64::MAX));
    let found = connection
        .prepare_cached("SELECT held, done FROM temp.shares WHERE partner = ?1 AND charge_id = ?2")?
        .query_row(params![charge.key.partner.as_str(), charge.key.ext_transaction_id.as_str()], |row| {
            Ok(Shares { held_minor: sum(row, 0)?, done_minor: sum(row, 1)? })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

fn charge_of(connection: &Connection, refund: &Transaction, schema: i32) -> rusqlite::Result<Option<Charged>> {
    let Some(key) = refund.charge_key() else { return Ok(None) };
    let counted = if schema >= rows::COUNTERS_SINCE { "counted" } else { "NULL" };
    connection
        .prepare_cached(&format!(
            "SELECT state, currency, csp, account_ref, sent_product, {counted} FROM transactions \
             WHERE partner = ?1 AND kind = 'charge' AND ext_id = ?2",
        ))?
        .query_row(params![key.partner.as_str(), key.ext_transaction_id.as_str()], |row| {
            let (state, currency, csp) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (account_ref, product, counted) = (row.get(3)?, row.get(4)?, row.get(5)?);
            Ok(Charged { state, currency, csp, account_ref, product, counted })
        })
        .optional()
}

/// Adds what a record counts as to the sum of one of its counters.
fn add_up(connection: &Connection, change: &CounterChange) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO temp.counted (name, sum_minor) VALUES (?1, ?2) \
             ON CONFLICT (name) DO UPDATE SET sum_minor = sum_minor + excluded.sum_minor",
        )?
        .execute(params![change.counter.as_str(), change.by_minor])
        .map(drop)
}

fn decided_as(connection: &Connection, sequence: i64) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT decided_as FROM decisions WHERE transaction_seq = ?1")?
        .query_row([sequence], |row| row.get(0))
        .optional()
}
