//! Verification: every invariant of the ledger, over the whole database.
//!
//! Invariant: one snapshot is read from end to end, whatever is committed meanwhile, and memory stays bounded: sums of
//! refunds are kept in a temporary table, records come in portions. Damage ends nothing: what can still be read is still
//! checked. The rules of a single record are in `soundness`, for every store. Whether pages and indexes are whole is not
//! asked here: that is `pg_amcheck`'s matter.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use tokio_postgres::{Row, Transaction as Snapshot};

use super::super::shown::named;
use super::super::soundness::{self, Charged, Facts, Line, Shares, Told};
use super::error::Trouble;
use super::inspect::{PORTION, unreadable};
use super::rows::{self, Fields, TRANSACTION, stored};
use super::schema;
use crate::domain::limits::{self, CounterChange};
use crate::domain::transaction::{Kind, Transaction};
use crate::ports::inspection::{Finding, InspectionError, Named, Progress, Verified};
use crate::ports::secrets::Secrets;

/// Records between two words of progress.
const PROGRESS_RECORDS: u64 = 50_000;

/// What refunds hold of each charge, and have given back. A sum that no number can hold is more than any charge.
const SHARES: &str = "
CREATE TEMPORARY TABLE onbill_shares ON COMMIT DROP AS
SELECT partner, coalesce(sent_reference_id, ext_id) AS charge_id,
    least(sum(CASE WHEN state IN ('pending', 'unknown', 'success') THEN amount_minor ELSE 0 END),
        9223372036854775807)::bigint AS held,
    least(sum(CASE WHEN state = 'success' THEN amount_minor ELSE 0 END), 9223372036854775807)::bigint AS done
FROM transactions WHERE kind = 'refund' GROUP BY 1, 2;
CREATE UNIQUE INDEX ON onbill_shares (partner, charge_id);
ANALYZE onbill_shares;
";

/// What records add up to on each counter, whatever that comes to.
const COUNTED: &str = "
CREATE TEMPORARY TABLE onbill_counted (name TEXT COLLATE \"C\" PRIMARY KEY, sum_minor NUMERIC NOT NULL) ON COMMIT DROP";

/// Adds what the records of a portion count as.
const ADD_UP: &str = "INSERT INTO onbill_counted AS c (name, sum_minor) \
    SELECT n.name, n.minor FROM unnest($1::text[], $2::bigint[]) AS n (name, minor) \
    ON CONFLICT (name) DO UPDATE SET sum_minor = c.sum_minor + excluded.sum_minor";

/// Each counter that does not say what it should: its name, what it says and what records add up to.
const COUNTERS: &str = "
SELECT coalesce(c.name, s.name), c.used_minor, coalesce(s.sum_minor, 0)::text
FROM counters AS c FULL JOIN onbill_counted AS s ON s.name = c.name
WHERE coalesce(c.used_minor, 0) <> coalesce(s.sum_minor, 0) OR (c.name IS NULL AND s.sum_minor <> 0)
ORDER BY 1";

/// Facts that SQL finds across records, each as (rule, text, statement). A statement gives one row for each record that
/// it finds: sequence, partner, kind and id, or NULLs where there is no record to name.
const ACROSS: [(&str, &str, &str); 5] = [
    (
        "unique",
        "is not the only record of its key",
        "SELECT seq, partner, kind, ext_id FROM transactions WHERE (partner, kind, ext_id) IN (SELECT partner, kind, \
         ext_id FROM transactions GROUP BY 1, 2, 3 HAVING count(*) > 1) ORDER BY seq",
    ),
    (
        "reference",
        "shares its reference with another record",
        "SELECT seq, partner, kind, ext_id FROM transactions WHERE reference IN \
         (SELECT reference FROM transactions GROUP BY reference HAVING count(*) > 1) ORDER BY seq",
    ),
    (
        "postings",
        "postings belong to a record that is not there",
        "SELECT DISTINCT transaction_seq, NULL::text, NULL::text, NULL::text FROM postings AS p \
         WHERE NOT EXISTS (SELECT 1 FROM transactions AS t WHERE t.seq = p.transaction_seq)",
    ),
    (
        "event",
        "an event belongs to a record that is not there",
        "SELECT transaction_seq, NULL::text, NULL::text, NULL::text FROM outbox AS o \
         WHERE NOT EXISTS (SELECT 1 FROM transactions AS t WHERE t.seq = o.transaction_seq)",
    ),
    (
        "event",
        "an event id is there more than once",
        "SELECT min(transaction_seq), NULL::text, NULL::text, NULL::text FROM outbox \
         GROUP BY event_id HAVING count(*) > 1",
    ),
];

/// Every record with what its rules need of others.
fn records_text() -> String {
    format!(
        "SELECT t.seq, t.compared_version, s.held, s.done, d.decided_as, c.state, c.currency, c.csp, c.account_ref, \
         c.sent_product, c.counted, {TRANSACTION} FROM transactions AS t \
         LEFT JOIN onbill_shares AS s ON t.kind = 'charge' AND s.partner = t.partner AND s.charge_id = t.ext_id \
         LEFT JOIN LATERAL (SELECT o.* FROM transactions AS o WHERE t.kind = 'refund' \
          AND o.ext_id = coalesce(t.sent_reference_id, t.ext_id) AND o.kind = 'charge' \
          AND o.partner || '' = t.partner LIMIT 1) AS c ON TRUE \
         LEFT JOIN decisions AS d ON d.transaction_seq = t.seq ORDER BY t.seq"
    )
}

type Tell<'a> = dyn FnMut(&Progress<'_>) -> io::Result<()> + 'a;

/// A verification under way.
struct Verification<'a> {
    snapshot: &'a Snapshot<'a>,
    secrets: Option<&'a dyn Secrets>,
    tell: &'a mut Tell<'a>,
    done: Verified,
}

/// Checks everything.
pub(super) async fn verify<'a>(
    snapshot: &'a Snapshot<'a>,
    secrets: Option<&'a dyn Secrets>,
    tell: &'a mut Tell<'a>,
) -> Result<Verified, InspectionError> {
    let done = Verified { references_checked: secrets.is_some(), ..Verified::default() };
    let mut verification = Verification { snapshot, secrets, tell, done };
    let ended = verification.schema().await;
    verification.part("the schema", ended).await?;
    let ended = verification.records().await;
    verification.part("the records", ended).await?;
    let ended = verification.across().await;
    verification.part("what lies across records", ended).await?;
    let ended = verification.counters().await;
    verification.part("the counters of limits", ended).await?;
    Ok(verification.done)
}

/// What may end a part: the output, which ends everything, or the database, which is damage.
enum Ended {
    Database(Trouble),
    Output(io::Error),
}

impl From<Trouble> for Ended {
    fn from(trouble: Trouble) -> Self {
        Self::Database(trouble)
    }
}

impl From<tokio_postgres::Error> for Ended {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// What belongs to the records of a portion.
#[derive(Default)]
struct Belongings {
    lines: BTreeMap<i64, Vec<Line>>,
    told: BTreeMap<i64, Vec<Told>>,
    /// What its records count as, by the name of the counter as it is stored.
    counts: BTreeMap<String, i64>,
}

impl Verification<'_> {
    fn found(&mut self, rule: &'static str, record: Option<Named>, text: String) -> io::Result<()> {
        self.done.findings = self.done.findings.saturating_add(1);
        (self.tell)(&Progress::Found(&Finding { rule, record, text }))
    }

    /// Makes a finding of a part that could not be read to its end, and clears the way for the next one.
    async fn part(&mut self, part: &str, ended: Result<(), Ended>) -> Result<(), InspectionError> {
        let back = match ended {
            Ok(()) => "SAVEPOINT part",
            Err(Ended::Output(error)) => return Err(error.into()),
            Err(Ended::Database(trouble)) => {
                self.found("file", None, format!("{part} cannot be read: {trouble}"))?;
                "ROLLBACK TO SAVEPOINT part"
            }
        };
        self.snapshot.batch_execute(back).await.map_err(|error| unreadable(&error.into()))
    }

    /// Every constraint and index by its name, whether it is whole.
    async fn schema(&mut self) -> Result<(), Ended> {
        let snapshot = self.snapshot;
        self.done.schema = snapshot.query_one("SELECT version FROM onbill_schema", &[]).await?.try_get(0)?;
        snapshot.batch_execute("SAVEPOINT part").await?;
        for (table, names) in schema::OBJECTS {
            let text = "SELECT conname::text FROM pg_constraint WHERE conrelid = to_regclass($1) AND convalidated \
                 UNION SELECT c.relname::text FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid \
                 WHERE i.indrelid = to_regclass($1) AND i.indisvalid";
            let rows = snapshot.query(text, &[&table]).await?;
            let there: BTreeSet<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            for name in names.iter().filter(|name| !there.contains(**name)) {
                self.found("schema", None, format!("{name} of {table} is missing or not whole"))?;
            }
        }
        Ok(())
    }

    /// Every record with all that belongs to it, in the order in which they were begun.
    async fn records(&mut self) -> Result<(), Ended> {
        let snapshot = self.snapshot;
        (self.tell)(&Progress::Stage("adding up refunds"))?;
        snapshot.batch_execute(SHARES).await?;
        snapshot.batch_execute(COUNTED).await?;
        let counts =
            "SELECT (SELECT count(*) FROM transactions), (SELECT coalesce(sum(records), 0)::bigint FROM tallies)";
        let row = snapshot.query_one(counts, &[]).await?;
        let (there, due): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        if there != due {
            self.found("missing", None, format!("there are {there} records, and {due} were written"))?;
        }
        let of = u64::try_from(there).unwrap_or_default();
        (self.tell)(&Progress::Stage("checking every record"))?;
        let portal = snapshot.bind(&records_text(), &[]).await?;
        loop {
            let rows = snapshot.query_portal(&portal, PORTION).await?;
            let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
            let mut belongings = self.belongings(first.try_get(0)?, last.try_get(0)?).await?;
            for row in &rows {
                let mut counts = self.record(row, &mut belongings)?;
                while let Some((counter, by_minor)) = counts.pop() {
                    let sum = belongings.counts.entry(counter).or_insert(0_i64);
                    *sum = sum.saturating_add(by_minor);
                }
                self.done.records = self.done.records.saturating_add(1);
                if self.done.records.checked_rem(PROGRESS_RECORDS) == Some(0) {
                    (self.tell)(&Progress::Checked { records: self.done.records, of })?;
                }
            }
            if !belongings.counts.is_empty() {
                let (names, sums): (Vec<String>, Vec<i64>) = belongings.counts.into_iter().unzip();
                snapshot.execute(ADD_UP, &[&names, &sums]).await?;
            }
        }
    }

    /// Counters of spend limits, each against what the records add up to.
    async fn counters(&mut self) -> Result<(), Ended> {
        (self.tell)(&Progress::Stage("comparing counters of limits with records"))?;
        for row in self.snapshot.query(COUNTERS, &[]).await? {
            let (name, says, sum): (&str, Option<i64>, &str) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            self.found(soundness::COUNTER, None, soundness::counter_differs(name, says, sum))?;
        }
        Ok(())
    }

    async fn belongings(&self, first: i64, last: i64) -> Result<Belongings, Ended> {
        let mut belongings = Belongings::default();
        let lines = "SELECT transaction_seq, book, owner, account_ref, minor, currency FROM postings \
             WHERE transaction_seq BETWEEN $1 AND $2";
        for row in self.snapshot.query(lines, &[&first, &last]).await? {
            let mut fields = Fields::of(&row);
            let sequence = fields.number()?;
            let (book, owner) = (fields.string()?, fields.string()?);
            let account_ref = fields.words_or_null(ToOwned::to_owned)?;
            let line = Line { book, owner, account_ref, minor: fields.number()?, currency: fields.string()? };
            belongings.lines.entry(sequence).or_default().push(line);
        }
        let told = "SELECT transaction_seq, event_id, partner FROM outbox WHERE transaction_seq BETWEEN $1 AND $2";
        for row in self.snapshot.query(told, &[&first, &last]).await? {
            let mut fields = Fields::of(&row);
            let sequence = fields.number()?;
            let told = Told { event_id: fields.string()?, partner: fields.string()? };
            belongings.told.entry(sequence).or_default().push(told);
        }
        Ok(belongings)
    }

    /// Checks one record, and answers what it counts as.
    fn record(&mut self, row: &Row, belongings: &mut Belongings) -> Result<Vec<(String, i64)>, Ended> {
        let sequence: i64 = row.try_get(0)?;
        let lines = belongings.lines.remove(&sequence).unwrap_or_default();
        let told = belongings.told.remove(&sequence).unwrap_or_default();
        self.done.postings = self.done.postings.saturating_add(count(lines.len()));
        self.done.events = self.done.events.saturating_add(count(told.len()));
        let facts = match facts(row, self.secrets) {
            Ok(facts) => Facts { lines, told, ..facts },
            Err(trouble) => {
                let named = named_by_row(sequence, row);
                self.found("row", Some(named), format!("cannot be read: {trouble}"))?;
                return Ok(Vec::new());
            }
        };
        for (rule, text) in soundness::check(&facts) {
            self.found(rule, Some(named(sequence, &facts.record)), text)?;
        }
        let count = |change: CounterChange| (stored(change.counter.as_str()).into_owned(), change.by_minor);
        Ok(limits::counts_as(&facts.record).into_iter().map(count).collect())
    }

    /// What only many records together can show.
    async fn across(&mut self) -> Result<(), Ended> {
        (self.tell)(&Progress::Stage("comparing records with one another"))?;
        for (rule, text, statement) in ACROSS {
            for row in self.snapshot.query(statement, &[]).await? {
                let sequence: i64 = row.try_get(0)?;
                let partner: Option<&str> = row.try_get(1)?;
                match partner {
                    Some(_) => self.found(rule, Some(named_by_row(sequence, &row)), text.to_owned())?,
                    None => self.found(rule, None, format!("{text}: record {sequence}"))?,
                }
            }
        }
        Ok(())
    }
}

/// A record with what its rules need of others, but for what belongs to it.
fn facts(row: &Row, secrets: Option<&dyn Secrets>) -> Result<Facts, Trouble> {
    let mut fields = Fields::of(row);
    let _sequence: i64 = fields.number()?;
    let compared_version = fields.small_number()?;
    let (held_minor, done_minor) = (fields.number_or_null()?, fields.number_or_null()?);
    let shares = Shares { held_minor: held_minor.unwrap_or_default(), done_minor: done_minor.unwrap_or_default() };
    let decided_as = fields.words_or_null(ToOwned::to_owned)?;
    let charged = charged(&mut fields)?;
    let record: Transaction = rows::transaction(&mut fields)?;
    let reference = secrets.map(|secrets| secrets.reference(&record.key));
    let charged = charged.filter(|_| record.key.kind == Kind::Refund);
    let (lines, told) = (Vec::new(), Vec::new());
    Ok(Facts { record, compared_version, lines, told, shares, charged, decided_as, reference })
}

fn charged(fields: &mut Fields<'_>) -> Result<Option<Charged>, Trouble> {
    let mut text = || fields.words_or_null(ToOwned::to_owned);
    let (columns, counted) = ([text()?, text()?, text()?, text()?, text()?], text()?);
    let [Some(state), Some(currency), Some(csp), Some(account_ref), Some(product)] = columns else {
        return Ok(None);
    };
    Ok(Some(Charged { state, currency, csp, account_ref, product, counted }))
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The key of a row that may be no record, as far as it can be read.
fn named_by_row(sequence: i64, row: &Row) -> Named {
    let text = |column: &str| row.try_get::<_, String>(column).unwrap_or_else(|_| "?".to_owned());
    Named { sequence, partner: text("partner"), kind: text("kind"), ext_transaction_id: text("ext_id") }
}
