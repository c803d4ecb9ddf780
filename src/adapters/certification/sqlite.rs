//! Runs in one SQLite file.
//!
//! Invariant: what is written survives the death of the process at once, and that of the machine soon: nothing is
//! synchronised for each call (`synchronous = NORMAL`), since no money depends on it. All work is done on threads that
//! may block.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::domain::Time;
use crate::domain::certification::{CALLS_MAX, Call, Digest, Face, Fact, Rpc, Run, RunState};
use crate::domain::ids::PartnerId;
use crate::ports::Cause;
use crate::ports::certification::{CertificationRuns, RunsUnavailable};

/// The file, in the data directory.
pub const RUNS_FILE: &str = "certification.sqlite";

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS run (
    id TEXT PRIMARY KEY, partner TEXT NOT NULL, name TEXT NOT NULL, cases TEXT NOT NULL, takes_all INTEGER NOT NULL,
    started_us INTEGER NOT NULL, finished_us INTEGER, calls INTEGER NOT NULL DEFAULT 0,
    left_out INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS run_by_partner ON run (partner, started_us);
CREATE TABLE IF NOT EXISTS call (
    run TEXT NOT NULL, place INTEGER NOT NULL, at_us INTEGER NOT NULL, seen TEXT NOT NULL, PRIMARY KEY (run, place)
) STRICT, WITHOUT ROWID;
";
/// Calls of all runs one after the other, each with the one before it of its run. Those of hundreds of runs then fill a
/// page together, where sorted by run each would change a page of its own.
const CHAINED: &str = "
ALTER TABLE run ADD COLUMN last_call INTEGER;
CREATE TABLE seen (id INTEGER PRIMARY KEY, before INTEGER, at_us INTEGER NOT NULL, seen TEXT NOT NULL) STRICT;
WITH numbered AS (SELECT *, row_number() OVER (ORDER BY run, place) AS number FROM call)
INSERT INTO seen (id, before, at_us, seen)
    SELECT number, lag(number) OVER (PARTITION BY run ORDER BY place), at_us, seen FROM numbered ORDER BY number;
WITH numbered AS (SELECT run, row_number() OVER (ORDER BY run, place) AS number FROM call)
UPDATE run SET last_call = (SELECT max(number) FROM numbered WHERE numbered.run = run.id);
DROP TABLE call;
PRAGMA user_version = 2;
";
/// The calls of a run, the last one first.
const CALLS: &str = "
WITH RECURSIVE chain (id, before, at_us, seen) AS (
    SELECT seen.id, before, at_us, seen.seen FROM seen JOIN run ON run.last_call = seen.id WHERE run.id = ?1
    UNION ALL
    SELECT seen.id, seen.before, seen.at_us, seen.seen FROM seen JOIN chain ON seen.id = chain.before
)
SELECT at_us, seen FROM chain";
const RUN_COLUMNS: &str = "id, partner, name, cases, takes_all, started_us, finished_us, left_out";

/// Why the file cannot be opened.
pub type RunFileError = rusqlite::Error;

/// Runs in a file.
#[derive(Clone)]
pub struct RunFile(Arc<Mutex<Connection>>);

impl From<rusqlite::Error> for RunsUnavailable {
    fn from(error: rusqlite::Error) -> Self {
        Self(Cause::new(error))
    }
}

impl RunFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// It cannot be opened, or holds something else.
    pub fn open(file: &Path) -> Result<Self, rusqlite::Error> {
        let connection = Connection::open(file)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version < 2 {
            connection.execute_batch(&format!("BEGIN; {SCHEMA} {CHAINED} COMMIT;"))?;
        }
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    async fn on<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, RunsUnavailable> {
        let connection = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            // A transaction that was not committed is rolled back, whoever held the lock.
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match done.await {
            Ok(worked) => worked.map_err(RunsUnavailable::from),
            Err(error) => Err(RunsUnavailable(Cause::new(error))),
        }
    }
}

#[async_trait]
impl CertificationRuns for RunFile {
    async fn start(&self, run: &Run) -> Result<(), RunsUnavailable> {
        let run = run.clone();
        self.on(move |connection| {
            let cases: Vec<String> = run.cases.iter().map(ToString::to_string).collect();
            connection.execute(
                "INSERT INTO run (id, partner, name, cases, takes_all, started_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    run.id,
                    run.partner.as_str(),
                    run.name,
                    cases.join(","),
                    run.takes_all,
                    run.started_at.as_microsecond()
                ],
            )?;
            Ok(())
        })
        .await
    }

    async fn append(&self, calls: Vec<(String, Call)>) -> Result<(), RunsUnavailable> {
        self.on(move |connection| {
            let transaction = connection.transaction()?;
            let mut tails = HashMap::new();
            for (run, call) in &calls {
                let tail = match tails.entry(run.as_str()) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(unknown) => unknown.insert(Tail::of(&transaction, run)?),
                };
                if let Some(tail) = tail {
                    tail.append(&transaction, call)?;
                }
            }
            for (run, tail) in tails {
                if let Some(tail) = tail {
                    tail.keep(&transaction, run)?;
                }
            }
            transaction.commit()
        })
        .await
    }

    async fn read(&self, id: &str) -> Result<Option<(Run, Vec<Call>)>, RunsUnavailable> {
        let id = id.to_owned();
        self.on(move |connection| {
            let sql = format!("SELECT {RUN_COLUMNS} FROM run WHERE id = ?1");
            let Some(run) = connection.query_row(&sql, params![id], run).optional()? else { return Ok(None) };
            let mut statement = connection.prepare_cached(CALLS)?;
            let rows = statement.query_map(params![id], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
            let mut calls = Vec::new();
            for row in rows {
                let (at_us, text) = row?;
                calls.extend(read(at_us, &text));
            }
            calls.reverse();
            Ok(Some((run, calls)))
        })
        .await
    }

    async fn list(&self, partner: &PartnerId, runs_max: usize) -> Result<Vec<Run>, RunsUnavailable> {
        let partner = partner.as_str().to_owned();
        self.on(move |connection| {
            let sql = format!("SELECT {RUN_COLUMNS} FROM run WHERE partner = ?1 ORDER BY started_us DESC, id LIMIT ?2");
            let mut statement = connection.prepare(&sql)?;
            let limit = i64::try_from(runs_max).unwrap_or(i64::MAX);
            statement.query_map(params![partner, limit], run)?.collect()
        })
        .await
    }

    async fn open(&self) -> Result<Vec<Run>, RunsUnavailable> {
        self.on(|connection| {
            let sql = format!("SELECT {RUN_COLUMNS} FROM run WHERE finished_us IS NULL ORDER BY started_us");
            connection.prepare(&sql)?.query_map([], run)?.collect()
        })
        .await
    }

    async fn finish(&self, id: &str, at: Time, left_out: u32) -> Result<(), RunsUnavailable> {
        let id = id.to_owned();
        self.on(move |connection| {
            connection.execute(
                "UPDATE run SET finished_us = ?2, left_out = left_out + ?3 WHERE id = ?1 AND finished_us IS NULL",
                params![id, at.as_microsecond(), left_out],
            )?;
            Ok(())
        })
        .await
    }
}

/// Where a run that is open goes on.
struct Tail {
    calls: u32,
    last_call: Option<i64>,
    left_out: u32,
}

impl Tail {
    /// `None` for a run that is not open.
    fn of(connection: &Connection, run: &str) -> Result<Option<Self>, rusqlite::Error> {
        connection
            .prepare_cached("SELECT calls, last_call, left_out FROM run WHERE id = ?1 AND finished_us IS NULL")?
            .query_row(params![run], |row| {
                Ok(Self { calls: row.get(0)?, last_call: row.get(1)?, left_out: row.get(2)? })
            })
            .optional()
    }

    fn append(&mut self, connection: &Connection, call: &Call) -> Result<(), rusqlite::Error> {
        if self.calls >= CALLS_MAX {
            self.left_out = self.left_out.saturating_add(1);
            return Ok(());
        }
        let mut statement = connection.prepare_cached("INSERT INTO seen (before, at_us, seen) VALUES (?1, ?2, ?3)")?;
        let number = statement.insert(params![self.last_call, call.at.as_microsecond(), written(call)?])?;
        (self.calls, self.last_call) = (self.calls.saturating_add(1), Some(number));
        Ok(())
    }

    fn keep(&self, connection: &Connection, run: &str) -> Result<(), rusqlite::Error> {
        connection
            .prepare_cached("UPDATE run SET calls = ?2, last_call = ?3, left_out = ?4 WHERE id = ?1")?
            .execute(params![run, self.calls, self.last_call, self.left_out])?;
        Ok(())
    }
}

fn run(row: &Row<'_>) -> Result<Run, rusqlite::Error> {
    let cases: String = row.get(3)?;
    let finished: Option<i64> = row.get(6)?;
    Ok(Run {
        id: row.get(0)?,
        partner: PartnerId::new(&row.get::<_, String>(1)?),
        name: row.get(2)?,
        cases: cases.split(',').filter_map(|case| case.parse().ok()).collect(),
        takes_all: row.get(4)?,
        started_at: time(row.get(5)?),
        state: finished.map_or(RunState::Open, |at| RunState::Finished(time(at))),
        left_out: row.get(7)?,
    })
}

fn time(microseconds: i64) -> Time {
    Time::from_microsecond(microseconds).unwrap_or_default()
}

/// A call as it is written; the keys are those of `read`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    rpc: &'a str,
    face: &'a str,
    correlation: &'a str,
    address: &'a str,
    account: Option<Hex>,
    told_account: Option<Hex>,
    condition: Option<&'a str>,
    transaction: Option<Hex>,
    request: Hex,
    purchase: Option<Hex>,
    facts: Vec<&'a str>,
    status: u16,
    code: &'a str,
    violations: &'a [String],
    outcome: &'a str,
}

/// 32 hexadecimal digits.
struct Hex(Digest);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", u128::from_be_bytes(self.0)))
    }
}

fn written(call: &Call) -> Result<String, rusqlite::Error> {
    let written = Written {
        rpc: call.rpc.word(),
        face: call.face.word(),
        correlation: &call.correlation,
        address: &call.address,
        account: call.account.map(Hex),
        told_account: call.told_account.map(Hex),
        condition: call.condition.as_deref(),
        transaction: call.transaction.map(Hex),
        request: Hex(call.request),
        purchase: call.purchase.map(Hex),
        facts: call.facts.iter().map(|fact| fact.word()).collect(),
        status: call.status,
        code: &call.code,
        violations: &call.violations,
        outcome: &call.outcome,
    };
    serde_json::to_string(&written).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// `None` for a call that a later release has written in words of its own.
fn read(at_us: i64, text: &str) -> Option<Call> {
    let seen: Value = serde_json::from_str(text).ok()?;
    let text = |key: &str| seen.get(key).and_then(Value::as_str);
    let owned = |key: &str| text(key).unwrap_or_default().to_owned();
    let digest = |key: &str| u128::from_str_radix(text(key)?, 16).ok().map(u128::to_be_bytes);
    let list = |key: &str| seen.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    Some(Call {
        at: time(at_us),
        rpc: Rpc::parse(text("rpc")?)?,
        face: Face::parse(text("face")?)?,
        correlation: owned("correlation"),
        address: owned("address"),
        account: digest("account"),
        told_account: digest("toldAccount"),
        condition: text("condition").map(str::to_owned),
        transaction: digest("transaction"),
        request: digest("request")?,
        purchase: digest("purchase"),
        facts: list("facts").filter_map(Fact::parse).collect(),
        status: seen.get("status").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok())?,
        code: owned("code"),
        violations: list("violations").map(str::to_owned).collect(),
        outcome: owned("outcome"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_run(id: &str) -> Run {
        Run {
            id: id.to_owned(),
            partner: PartnerId::new("ott"),
            name: "first".to_owned(),
            cases: vec![1, 14],
            takes_all: true,
            started_at: time(1_000_000),
            state: RunState::Open,
            left_out: 0,
        }
    }

    fn a_call() -> Call {
        Call {
            at: time(2_000_000),
            rpc: Rpc::ValidatePin,
            face: Face::Grpc,
            correlation: "c".to_owned(),
            address: "****01".to_owned(),
            account: Some([1; 16]),
            told_account: Some([2; 16]),
            condition: Some("01".to_owned()),
            transaction: Some([3; 16]),
            request: [4; 16],
            purchase: Some([5; 16]),
            facts: vec![Fact::PinAsSent, Fact::Replayed],
            status: 400,
            code: "invalid-pin".to_owned(),
            violations: vec!["negative-amount".to_owned()],
            outcome: "Success".to_owned(),
        }
    }

    #[tokio::test]
    async fn runs_and_calls_outlive_the_file_being_closed() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(RUNS_FILE);
        let first = RunFile::open(&file).expect("a file");
        first.start(&a_run("r1")).await.expect("started");
        first.append(vec![("r1".to_owned(), a_call()), ("r1".to_owned(), a_call())]).await.expect("appended");
        drop(first);

        let again = RunFile::open(&file).expect("the file");
        let (run, calls) = again.read("r1").await.expect("readable").expect("there");
        assert_eq!((run, calls), (a_run("r1"), vec![a_call(), a_call()]));
        assert_eq!(again.open().await.expect("readable"), [a_run("r1")]);
        assert_eq!(again.read("r2").await.expect("readable"), None);
    }

    #[tokio::test]
    async fn a_full_run_counts_calls_and_a_finished_one_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let runs = RunFile::open(&folder.path().join(RUNS_FILE)).expect("a file");
        runs.start(&a_run("full")).await.expect("started");
        runs.start(&a_run("done")).await.expect("started");
        runs.finish("done", time(3_000_000), 2).await.expect("finished");
        let calls = (0..=CALLS_MAX).map(|_| ("full".to_owned(), a_call())).chain([("done".to_owned(), a_call())]);
        runs.append(calls.collect()).await.expect("appended");
        for (id, left_out, kept) in [("full", 1, usize::try_from(CALLS_MAX).expect("small")), ("done", 2, 0)] {
            let (run, calls) = runs.read(id).await.expect("readable").expect("there");
            assert_eq!((run.left_out, calls.len()), (left_out, kept), "{id}");
        }
        assert_eq!(runs.open().await.expect("readable").len(), 1);
    }

    #[tokio::test]
    async fn what_an_older_release_has_kept_is_read_and_gone_on_with() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(RUNS_FILE);
        let older = Connection::open(&file).expect("a file");
        older.execute_batch(SCHEMA).expect("its schema");
        let mut calls: Vec<Call> = (0..6).map(|number| Call { status: 200 + number, ..a_call() }).collect();
        for (id, kept) in [("b", calls.get(..4)), ("a", calls.get(4..)), ("empty", Some(&[][..]))] {
            let kept = kept.expect("some");
            let started = "INSERT INTO run (id, partner, name, cases, takes_all, started_us, calls)
                VALUES (?1, 'ott', 'first', '1,14', 1, 1000000, ?2)";
            older.execute(started, params![id, i64::try_from(kept.len()).expect("few")]).expect("a run");
            for (place, call) in (1_i64..).zip(kept) {
                let row = params![id, place, call.at.as_microsecond(), written(call).expect("written")];
                older.execute("INSERT INTO call VALUES (?1, ?2, ?3, ?4)", row).expect("a call");
            }
        }
        older.pragma_update(None, "user_version", 1).expect("its version");
        drop(older);

        let runs = RunFile::open(&file).expect("the file");
        let more: Vec<(String, Call)> = ["a", "empty"].map(|id| (id.to_owned(), a_call())).into();
        runs.append(more).await.expect("appended");
        calls.push(a_call());
        for (id, kept) in [("b", calls.get(..4)), ("a", calls.get(4..)), ("empty", calls.get(6..))] {
            let (_, read) = runs.read(id).await.expect("readable").expect("there");
            assert_eq!(read, kept.expect("some"), "{id}");
        }
    }
}
