//! What only somebody inside can bring about: a full disk, a writer that dies, a batch of a known size.

use std::sync::{Arc, mpsc};

use rusqlite::ffi;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::log::LogBounds;
use super::writer::{BATCH_LENGTH_MAX, QUEUE_LENGTH_MAX};
use super::*;
use crate::domain::transaction::{Expected, Kind, Status, samples};

/// A ledger in a directory that is removed after it.
fn open() -> (Arc<SqliteLedger>, TempDir) {
    let directory = TempDir::new().expect("a directory");
    (Arc::new(SqliteLedger::open(directory.path()).expect("it opens")), directory)
}

fn charge(number: usize) -> UnitOfWork {
    UnitOfWork::of(samples::charge(&format!("c{number}"), "10"), Expected::Absent)
}

/// Keeps the writer busy until the sender is dropped.
async fn hold_up(ledger: &SqliteLedger) -> mpsc::Sender<()> {
    let (go_on, wait) = mpsc::channel::<()>();
    let (begun, has_begun) = oneshot::channel();
    let act = move |_: &mut Connection| {
        // Whichever side is dropped: the test goes on, or has ended.
        let _ = begun.send(());
        let _ = wait.recv();
    };
    ledger.writer.run(act).await;
    has_begun.await.expect("the writer works");
    go_on
}

/// Lets others run until so many jobs wait for the writer.
async fn until_waiting(ledger: &SqliteLedger, jobs: usize) {
    while ledger.writer.waiting() < jobs {
        tokio::task::yield_now().await;
    }
}

type Committed = Result<Commit, LedgerUnavailable>;

/// Queues units while the writer is held up, and answers what became of them.
async fn queued(ledger: &Arc<SqliteLedger>, units: Vec<UnitOfWork>) -> Vec<Committed> {
    let go_on = hold_up(ledger).await;
    let jobs = units.len().min(QUEUE_LENGTH_MAX);
    let tasks: Vec<_> = units
        .into_iter()
        .map(|unit| {
            let ledger = Arc::clone(ledger);
            tokio::spawn(async move { ledger.commit(unit).await })
        })
        .collect();
    until_waiting(ledger, jobs).await;
    drop(go_on);
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("no panic"));
    }
    answers
}

fn is_done(answer: &Committed) -> bool {
    matches!(answer, Ok(Commit::Done { version: 1 }))
}

#[tokio::test]
async fn what_has_queued_is_committed_together() {
    let (ledger, _directory) = open();
    let units = (0..=BATCH_LENGTH_MAX).map(charge).collect();
    assert!(queued(&ledger, units).await.iter().all(is_done));
    let figures = ledger.figures();
    assert_eq!((figures.units, figures.batches), (513, 2));
}

#[tokio::test]
async fn units_of_a_batch_see_what_those_before_them_did() {
    let (ledger, _directory) = open();
    let answers = queued(&ledger, vec![charge(1), charge(1), charge(2), charge(1)]).await;
    let conflicts: Vec<_> = answers.iter().map(|answer| matches!(answer, Ok(Commit::Conflict))).collect();
    assert_eq!(conflicts, [false, true, false, true]);
    assert_eq!(ledger.figures().batches, 1);
}

#[tokio::test]
async fn callers_wait_for_room_where_the_queue_is_full() {
    let (ledger, _directory) = open();
    let units = (0..QUEUE_LENGTH_MAX + 100).map(charge).collect();
    assert!(queued(&ledger, units).await.iter().all(is_done));
}

#[tokio::test]
async fn a_unit_that_breaks_the_schema_disturbs_no_other() {
    let (ledger, _directory) = open();
    let mut broken = charge(2);
    broken.transaction.money.minor = 0;
    let answers = queued(&ledger, vec![charge(1), broken.clone(), charge(3)]).await;
    assert!(is_done(&answers[0]) && answers[1].is_err() && is_done(&answers[2]), "{answers:?}");
    assert_eq!(ledger.recall(&broken.transaction.key).await.expect("an answer"), None);
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_that_is_not_kept_and_is_survived() {
    let (ledger, _directory) = open();
    ledger.check().await.expect("there is room");
    let limit = |pages: Option<i64>| {
        move |connection: &mut Connection| {
            let used: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a number");
            let limit = pages.map_or(i64::from(u32::MAX), |pages| used + pages);
            connection.query_row(&format!("PRAGMA max_page_count = {limit}"), [], |_| Ok(())).expect("a limit");
        }
    };
    ledger.writer.run(limit(Some(8))).await;
    let mut kept = Vec::new();
    let mut refused = None;
    for number in 0..10_000 {
        let unit = charge(number);
        let key = unit.transaction.key.clone();
        if ledger.commit(unit).await.is_err() {
            refused = Some(key);
            break;
        }
        kept.push(key);
    }
    let refused = refused.expect("the room ends");
    assert!(ledger.check().await.is_err(), "a gateway that cannot write is not ready");
    assert_eq!(ledger.recall(&refused).await.expect("reading goes on"), None);
    for key in &kept {
        assert!(ledger.recall(key).await.expect("reading goes on").is_some());
    }
    ledger.writer.run(limit(None)).await;
    ledger.check().await.expect("there is room again");
    assert!(is_done(&ledger.commit(charge(20_000)).await));
}

/// Pages in the log after a commit, with bounds as small as these; nobody reads meanwhile.
fn lengths_of_the_log(bounds: LogBounds, commits: u32) -> Vec<u64> {
    let directory = TempDir::new().expect("a directory");
    drop(SqliteLedger::open(directory.path()).expect("it opens"));
    let file = directory.path().join(LEDGER_FILE);
    let mut writer = connect(&file, OpenFlags::SQLITE_OPEN_READ_WRITE).expect("it opens");
    prepare(&mut writer).expect("a ledger");
    let log = Log::start(&writer, beside(&file).expect("it opens"), bounds).expect("a thread");
    let mut lengths = Vec::new();
    for _ in 0..commits {
        statements::fill_probe(&writer).expect("room");
        log.keep(&writer);
        let bytes = std::fs::metadata(directory.path().join(format!("{LEDGER_FILE}-wal"))).expect("a log").len();
        lengths.push(bytes / 4096);
    }
    drop(log);
    let found: String = writer.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("an answer");
    assert_eq!(found, "ok");
    assert_eq!(writer.query_row("SELECT count(*) FROM probe", [], |row| row.get::<_, u32>(0)).ok(), Some(commits));
    lengths
}

#[test]
fn the_log_is_folded_by_the_writer_where_nobody_else_gets_to_it() {
    // The thread beside the writer has nothing to do before the bound.
    let lengths = lengths_of_the_log(LogBounds { folded_each: u32::MAX, pages_max: 100 }, 100);
    let longest = lengths.iter().max().copied().unwrap_or_default();
    assert!((100..150).contains(&longest), "it begins anew after the bound: {longest}");
}

#[test]
fn the_log_stays_within_its_bound_while_it_is_folded_beside_the_writer() {
    let lengths = lengths_of_the_log(LogBounds { folded_each: 50, pages_max: 200 }, 300);
    let longest = lengths.iter().max().copied().unwrap_or_default();
    assert!(longest < 250, "{longest}");
}

#[tokio::test]
async fn a_writer_that_dies_leaves_nobody_waiting() {
    let (ledger, _directory) = open();
    assert!(is_done(&ledger.commit(charge(1)).await));
    let go_on = hold_up(&ledger).await;
    ledger.writer.run(|_| panic!("a fault of the writer, on purpose")).await;
    let waiting = {
        let ledger = Arc::clone(&ledger);
        tokio::spawn(async move { ledger.commit(charge(2)).await })
    };
    until_waiting(&ledger, 2).await;
    drop(go_on);
    assert!(waiting.await.expect("no panic").is_err());
    assert!(ledger.commit(charge(3)).await.is_err());
    assert!(ledger.check().await.is_err());
    assert!(ledger.recall(&charge(1).transaction.key).await.expect("reading goes on").is_some());
}

#[tokio::test]
async fn readers_that_die_leave_nobody_waiting() {
    let (ledger, _directory) = open();
    for _ in 0..3 {
        let died = ledger.readers.lists.read(|_| -> rusqlite::Result<()> { panic!("a fault, on purpose") }).await;
        assert!(died.is_err());
    }
    assert!(ledger.due(Time::MAX, 1).await.is_err());
    assert!(ledger.recall(&charge(1).transaction.key).await.expect("records have threads of their own").is_none());
    assert!(is_done(&ledger.commit(charge(1)).await), "writing goes on");
}

#[tokio::test]
async fn every_question_has_an_index_and_no_list_is_sorted() {
    let (ledger, _directory) = open();
    let account = samples::account();
    let mut texts = vec![statements::due_text(), statements::DAY_TEXT.to_owned()];
    for status in [None, Some(Status::Success), Some(Status::Failure), Some(Status::Pending)] {
        for kind in [None, Some(Kind::Charge), Some(Kind::Refund)] {
            for account in [None, Some(account.clone())] {
                let partner = samples::partner().id;
                let (since, until, after) = (None, None, None);
                let query = ListQuery { partner, since, until, status, kind, account, after, rows_max: 50 };
                texts.push(statements::list_text(&query));
            }
        }
    }
    for text in texts {
        let explained = text.clone();
        let plan = ledger.readers.lists.read(move |connection| plan(connection, &explained)).await.expect("a plan");
        assert!(plan.iter().all(|step| step.starts_with("SEARCH") && step.contains("INDEX")), "{text}: {plan:?}");
        let wanted = match () {
            () if text.contains("csp = ?6") => "transactions_by_account",
            () if text.contains("AND state = 'failure'") => "transactions_failed",
            () if text.contains("AND state IN") => "transactions_open",
            () if text.contains("AND kind = 'refund'") => "transactions_refunds",
            () if text.contains("due_at_us <= ?1") => "transactions_due",
            () => "transactions_by_time",
        };
        assert!(plan[0].contains(wanted), "{text}: {plan:?}");
    }
}

fn plan(connection: &Connection, text: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}"))?;
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next()? {
        steps.push(row.get("detail")?);
    }
    Ok(steps)
}

#[test]
fn each_trouble_of_opening_says_what_to_do() {
    let of = |code: std::ffi::c_int| {
        let source = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        OpenError::of(Path::new("/data/ledger.sqlite"), source)
    };
    for (code, advice) in [
        (ffi::SQLITE_BUSY, "locked by another program"),
        (ffi::SQLITE_FULL, "free some space"),
        (ffi::SQLITE_CORRUPT, "restore a backup"),
        (ffi::SQLITE_NOTADB, "name another data directory"),
        (ffi::SQLITE_CANTOPEN, "cannot open"),
    ] {
        let text = of(code).to_string();
        assert!(text.contains("/data/ledger.sqlite") && text.contains(advice), "{text}");
    }
}
