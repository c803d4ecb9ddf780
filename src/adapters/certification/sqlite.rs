//! Runs in one SQLite file.
//!
//! Invariant: what is written survives the death of the process at once, and that of the machine soon: nothing is
//! synchronised for each call (`synchronous = NORMAL`), since no money depends on it. All work is done on threads that
//! may block.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::{Value, json};

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
PRAGMA user_version = 1;
";
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
        connection.execute_batch(SCHEMA)?;
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
            for (run, call) in &calls {
                let kept = transaction
                    .prepare_cached(
                        "UPDATE run SET calls = calls + 1 WHERE id = ?1 AND calls < ?2 AND finished_us IS NULL",
                    )?
                    .execute(params![run, CALLS_MAX])?;
                if kept == 0 {
                    transaction
                        .prepare_cached("UPDATE run SET left_out = left_out + 1 WHERE id = ?1 AND finished_us IS NULL")?
                        .execute(params![run])?;
                    continue;
                }
                transaction
                    .prepare_cached(
                        "INSERT INTO call (run, place, at_us, seen) SELECT ?1, calls, ?2, ?3 FROM run WHERE id = ?1",
                    )?
                    .execute(params![run, call.at.as_microsecond(), written(call)])?;
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
            let mut statement =
                connection.prepare_cached("SELECT at_us, seen FROM call WHERE run = ?1 ORDER BY place")?;
            let rows = statement.query_map(params![id], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
            let mut calls = Vec::new();
            for row in rows {
                let (at_us, text) = row?;
                calls.extend(read(at_us, &text));
            }
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

fn written(call: &Call) -> String {
    let hex = |digest: &Digest| format!("{:032x}", u128::from_be_bytes(*digest));
    let some = |digest: &Option<Digest>| digest.as_ref().map(hex);
    json!({
        "rpc": call.rpc.word(), "face": call.face.word(), "correlation": call.correlation, "address": call.address,
        "account": some(&call.account), "toldAccount": some(&call.told_account), "condition": call.condition,
        "transaction": some(&call.transaction), "request": hex(&call.request), "purchase": some(&call.purchase),
        "facts": call.facts.iter().map(|fact| fact.word()).collect::<Vec<_>>(), "status": call.status,
        "code": call.code, "violations": call.violations, "outcome": call.outcome,
    })
    .to_string()
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
}
