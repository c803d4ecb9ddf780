//! What the ledger in a SQLite file promises beyond the contract: it lasts, it has its directory to itself, and it says
//! clearly why it cannot be opened.
//!
//! Invariant: what a test reads beside the ledger, it reads as a stranger would, with SQLite alone. Death by SIGKILL is
//! not here.

use std::path::Path;
use std::sync::Arc;

use onbill::adapters::ledger::sqlite::{LEDGER_FILE, OpenError, SqliteLedger};
use onbill::domain::ids::PartnerId;
use onbill::domain::transaction::{Kind, State, Transaction, UnitOfWork};
use onbill::ports::ledger::{Commit, Ledger as _, ListQuery};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::released::describe;
use super::samples;
use super::{Books, Subject};

/// A ledger in a directory that is removed after it.
pub fn fresh() -> Subject {
    let directory = TempDir::new().expect("a directory");
    in_directory(directory)
}

fn in_directory(directory: TempDir) -> Subject {
    let ledger = Arc::new(SqliteLedger::open(directory.path()).expect("it opens"));
    Subject { outbox: Arc::<SqliteLedger>::clone(&ledger), ledger, books: Box::new(move || books(directory.path())) }
}

fn stranger(directory: &Path) -> Connection {
    Connection::open_with_flags(directory.join(LEDGER_FILE), OpenFlags::SQLITE_OPEN_READ_ONLY).expect("it opens")
}

fn pairs<T: rusqlite::types::FromSql>(connection: &Connection, statement: &str) -> Vec<(String, T)> {
    let mut statement = connection.prepare(statement).expect("a statement");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

fn books(directory: &Path) -> Books {
    let connection = stranger(directory);
    Books {
        postings: pairs(
            &connection,
            "SELECT ext_id, minor FROM postings JOIN transactions ON seq = transaction_seq \
             ORDER BY transaction_seq, line",
        ),
        events: pairs(
            &connection,
            "SELECT ext_id, event_id FROM outbox JOIN transactions ON transactions.seq = transaction_seq \
             ORDER BY outbox.seq",
        ),
        counters: pairs(&connection, "SELECT name, used_minor FROM counters WHERE used_minor <> 0 ORDER BY name"),
    }
}

ledger_contract!(in_sqlite, super::fresh());

fn open(directory: &Path) -> Result<SqliteLedger, OpenError> {
    SqliteLedger::open(directory)
}

/// Opens what was just closed. A process that another test starts at that moment holds a copy of the lock until it runs
/// its own program.
fn open_again(directory: &Path) -> SqliteLedger {
    let since = std::time::Instant::now();
    loop {
        match open(directory) {
            Err(OpenError::InUse { .. }) if since.elapsed().as_secs() < 10 => std::thread::yield_now(),
            opened => return opened.expect("it opens again"),
        }
    }
}

fn refusal(directory: &Path) -> OpenError {
    open(directory).err().expect("it must not open")
}

async fn done(ledger: &SqliteLedger, unit: UnitOfWork) -> Transaction {
    let key = unit.transaction.key.clone();
    assert!(matches!(ledger.commit(unit).await.expect("an answer"), Commit::Done { .. }));
    ledger.recall(&key).await.expect("an answer").expect("the record")
}

async fn listed(ledger: &SqliteLedger, partner: &str) -> Vec<Transaction> {
    let query = ListQuery {
        partner: PartnerId::new(partner),
        since: None,
        until: None,
        status: None,
        kind: None,
        account: None,
        after: None,
        rows_max: 500,
    };
    let rows = ledger.list(&query).await.expect("an answer");
    rows.into_iter().map(|row| row.transaction).collect()
}

/// A directory with a ledger in it that was closed.
async fn with_a_record() -> TempDir {
    let directory = TempDir::new().expect("a directory");
    let ledger = open(directory.path()).expect("it opens");
    for number in 0..50 {
        let pending = done(&ledger, samples::charge(&format!("c{number}"), "10")).await;
        done(&ledger, samples::booked(&pending)).await;
    }
    directory
}

#[tokio::test]
async fn what_was_answered_is_there_after_reopening() {
    let directory = TempDir::new().expect("a directory");
    let ledger = open(directory.path()).expect("it opens");
    let pending = done(&ledger, samples::charge("c1", "10")).await;
    let charge = done(&ledger, samples::booked(&pending)).await;
    let refund = done(&ledger, samples::refund("r1", &charge, "-4")).await;
    done(&ledger, samples::unclear(&refund)).await;
    let before = (listed(&ledger, samples::PARTNER).await, books(directory.path()));
    drop(ledger);
    assert!(!directory.path().join(format!("{LEDGER_FILE}-wal")).exists(), "closing folds the log in");
    let ledger = open_again(directory.path());
    assert_eq!((listed(&ledger, samples::PARTNER).await, books(directory.path())), before);
    assert_eq!(ledger.commit(samples::charge("c1", "10")).await.expect("an answer"), Commit::Conflict);
}

#[tokio::test]
async fn leases_that_a_crash_has_left_are_due_at_once() {
    let directory = TempDir::new().expect("a directory");
    let ledger = open(directory.path()).expect("it opens");
    let leased = done(&ledger, samples::charge("leased", "10")).await;
    let waiting = done(&ledger, samples::charge("waiting", "10")).await;
    let waiting = done(&ledger, samples::unclear(&waiting)).await;
    let booked = done(&ledger, samples::charge("booked", "10")).await;
    done(&ledger, samples::booked(&booked)).await;
    drop(ledger);
    let ledger = open_again(directory.path());
    let due = ledger.due(samples::after_s(0), 10).await.expect("an answer");
    let found: Vec<_> = due.iter().map(|record| record.key.ext_transaction_id.as_str()).collect();
    assert_eq!(found, ["leased"], "who waits for an inquiry waits on");
    assert_eq!(due[0].lease, None);
    assert_eq!(due[0].sent_before, leased.sent_before);
    assert_eq!(due[0].version, leased.version);
    let waiting_now = ledger.recall(&waiting.key).await.expect("an answer");
    assert_eq!(waiting_now, Some(waiting));
}

#[tokio::test]
async fn a_directory_belongs_to_one_ledger_at_a_time() {
    let directory = TempDir::new().expect("a directory");
    let first = open(directory.path()).expect("it opens");
    let refused = refusal(directory.path());
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains(&directory.path().display().to_string()) && text.contains("stop that one"), "{text}");
    done(&first, samples::charge("c1", "10")).await;
    drop(first);
    open_again(directory.path());
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_as_it_is() {
    let directory = with_a_record().await;
    let file = directory.path().join(LEDGER_FILE);
    let connection = Connection::open(&file).expect("it opens");
    connection.pragma_update(None, "user_version", 99).expect("a version");
    drop(connection);
    let before = std::fs::read(&file).expect("a file");
    let refused = refusal(directory.path());
    assert!(matches!(refused, OpenError::NewerSchema { found: 99, newest: 4, .. }), "{refused:?}");
    assert!(refused.to_string().contains("start the newer release"), "{refused}");
    assert_eq!(std::fs::read(&file).expect("a file"), before);
}

#[tokio::test]
async fn a_file_that_is_no_ledger_is_refused() {
    for content in [b"this is no ledger, but a text of more than a hundred bytes".repeat(40), foreign()] {
        let directory = TempDir::new().expect("a directory");
        std::fs::write(directory.path().join(LEDGER_FILE), &content).expect("a file");
        let refused = refusal(directory.path());
        assert!(matches!(refused, OpenError::NotALedger { .. }), "{refused:?}");
        assert!(refused.to_string().contains(LEDGER_FILE), "{refused}");
        assert_eq!(std::fs::read(directory.path().join(LEDGER_FILE)).expect("a file"), content);
    }
}

/// Somebody else's SQLite file.
fn foreign() -> Vec<u8> {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("foreign");
    Connection::open(&file).expect("it opens").execute_batch("CREATE TABLE songs (title)").expect("a table");
    std::fs::read(file).expect("a file")
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    // A table, two indexes, and the schema itself behind the header of the file.
    for (from, length) in [(4096, 4096), (3 * 4096, 2 * 4096), (100, 100)] {
        let directory = with_a_record().await;
        let file = directory.path().join(LEDGER_FILE);
        let mut content = std::fs::read(&file).expect("a file");
        content[from..from + length].fill(0xA5);
        std::fs::write(&file, content).expect("a file");
        let refused = refusal(directory.path());
        assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
        assert!(refused.to_string().contains("restore a backup"), "{refused}");
    }
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_refused() {
    let directory = with_a_record().await;
    let file = directory.path().join(LEDGER_FILE);
    let content = std::fs::read(&file).expect("a file");
    std::fs::write(&file, &content[..content.len() / 2]).expect("a file");
    let refused = refusal(directory.path());
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("a-file");
    std::fs::write(&file, "").expect("a file");
    let refused = refusal(&file.join("data"));
    assert!(matches!(refused, OpenError::Directory { .. }), "{refused:?}");
    assert!(refused.to_string().contains("a-file/data"), "{refused}");
}

#[cfg(unix)]
#[test]
fn only_its_owner_can_read_a_ledger() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = TempDir::new().expect("a directory");
    let data = directory.path().join("new/data");
    let _ledger = open(&data).expect("it opens");
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for name in [LEDGER_FILE.to_owned(), format!("{LEDGER_FILE}-wal"), format!("{LEDGER_FILE}-shm")] {
        assert_eq!(mode(&data.join(&name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_ledger_of_a_released_schema_is_brought_up_to_date_and_replays_the_same() {
    let directory = TempDir::new().expect("a directory");
    let released = include_bytes!("../../fixtures/ledger-v1.sqlite");
    std::fs::write(directory.path().join(LEDGER_FILE), released).expect("a file");
    let expected = include_str!("../../fixtures/ledger-v1.txt");
    for start in ["the first", "a later one"] {
        let ledger = open(directory.path()).expect("it opens");
        let mut records = listed(&ledger, "demo-ott").await;
        records.extend(listed(&ledger, "other-ott").await);
        let found: Vec<_> = records.iter().map(describe).collect();
        assert_eq!(found, expected.lines().collect::<Vec<_>>(), "{start}");
        let released = ledger.recall(&samples::key(Kind::Charge, "released")).await.expect("an answer");
        assert_eq!(released.map(|record| (record.state, record.version)), Some((State::Released, 2)), "{start}");
        for record in records {
            assert_eq!(ledger.recall(&record.key).await.expect("an answer"), Some(record), "{start}");
        }
    }
    // What was under way goes on: the rules of today take the records of then.
    let ledger = open(directory.path()).expect("it opens");
    let pending = ledger.recall(&samples::key(Kind::Refund, "refund-pending")).await.expect("an answer");
    done(&ledger, samples::booked(&pending.expect("the record"))).await;
    assert_eq!(done(&ledger, super::limits::charge("limited", "10")).await.counted.len(), 2);
    assert!(matches!(ledger.commit(super::limits::charge("over", "1")).await, Ok(Commit::Over { counter: 0 })));
    let charge = ledger.recall(&samples::key(Kind::Charge, "booked")).await.expect("an answer").expect("the record");
    assert_eq!((charge.refunds_held_minor, charge.refunds_done_minor), (950, 650));
}
