//! What the ledger in PostgreSQL promises beyond the contract: it outlives its server, many gateways share it, and it
//! says clearly why it cannot be opened.
//!
//! Invariant: the servers are real and the tests' own; what a test reads beside the ledger, it reads with psql.

mod limits;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use onbill::adapters::ledger::postgres::schema::newest;
use onbill::adapters::ledger::postgres::{self, PostgresLedger, Settings, Tls};
use onbill::domain::transaction::{Kind, State, Transaction, UnitOfWork};
use onbill::ports::ledger::{Commit, Ledger as _, LedgerUnavailable};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

use super::samples;
use super::{Books, Subject};
use crate::servers::postgres::{Database, Server, shared};

/// Longest wait for something that must come: generous, since test machines are busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// Settings for a server of the tests. They are as patient as the tests: where many run on a busy machine a server may
/// take seconds over anything, and what holds a lock on purpose must not be taken for what hangs.
pub fn settings(url: &str) -> Settings {
    Settings {
        url: url.to_owned(),
        password: None,
        tls: Tls::Disable,
        ca_pem: None,
        readers_max: 4,
        writers: 2,
        queue_max: 4096,
        connect_timeout: PATIENCE,
        statement_timeout: PATIENCE,
    }
}

/// A ledger in a database of its own.
pub fn fresh() -> Subject {
    let database = Database::fresh();
    let opening = async {
        postgres::migrate(&settings(&database.url())).await.expect("it migrates");
        PostgresLedger::open(&settings(&database.url())).await.expect("it opens")
    };
    let ledger = Arc::new(tokio::task::block_in_place(|| Handle::current().block_on(opening)));
    Subject { outbox: Arc::<PostgresLedger>::clone(&ledger), ledger, books: Box::new(move || books(&database)) }
}

fn books(database: &Database) -> Books {
    let pairs = |text: &str| -> Vec<(String, String)> {
        database.sql(text).into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
    };
    let postings = pairs(
        "SELECT ext_id, minor FROM postings JOIN transactions ON seq = transaction_seq ORDER BY transaction_seq, line",
    );
    Books {
        postings: postings.into_iter().map(|(id, minor)| (id, minor.parse().expect("a number"))).collect(),
        events: pairs(
            "SELECT ext_id, event_id FROM outbox JOIN transactions ON transactions.seq = transaction_seq \
             ORDER BY outbox.seq",
        ),
        counters: pairs("SELECT name, used_minor FROM counters WHERE used_minor <> 0 ORDER BY name")
            .into_iter()
            .map(|(name, minor)| (name.replace("\\0", "\0"), minor.parse().expect("a number")))
            .collect(),
    }
}

ledger_contract!(in_postgres, super::fresh());

/// A database with a schema.
async fn migrated(server: &Arc<Server>) -> Database {
    let database = Database::on(server);
    postgres::migrate(&settings(&database.url())).await.expect("it migrates");
    database
}

async fn open(settings: &Settings) -> Arc<PostgresLedger> {
    Arc::new(PostgresLedger::open(settings).await.expect("it opens"))
}

async fn done(ledger: &PostgresLedger, unit: UnitOfWork) -> Transaction {
    let key = unit.transaction.key.clone();
    assert!(matches!(ledger.commit(unit).await.expect("an answer"), Commit::Done { .. }));
    ledger.recall(&key).await.expect("an answer").expect("the record")
}

async fn success(ledger: &PostgresLedger, id: &str) -> Transaction {
    let pending = done(ledger, samples::charge(id, "10")).await;
    done(ledger, samples::booked(&pending)).await
}

/// Commits on tasks of their own.
fn committed(
    ledger: &Arc<PostgresLedger>,
    units: Vec<UnitOfWork>,
) -> Vec<JoinHandle<Result<Commit, LedgerUnavailable>>> {
    let commit = |unit| {
        let ledger = Arc::clone(ledger);
        tokio::spawn(async move { ledger.commit(unit).await })
    };
    units.into_iter().map(commit).collect()
}

/// Somebody else's session, which holds what it has locked until it is dropped or told otherwise.
async fn somebody(database: &Database) -> Client {
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

/// Lets others run until so many sessions wait for a lock.
async fn until_waiting(somebody: &Client, sessions: i64) {
    let text = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let since = Instant::now();
    loop {
        assert!(since.elapsed() < PATIENCE, "{sessions} sessions were to wait for a lock");
        // What was seen once in a transaction would be seen again and again.
        somebody.batch_execute("SELECT pg_stat_clear_snapshot()").await.expect("an answer");
        if somebody.query_one(text, &[]).await.expect("an answer").get::<_, i64>(0) >= sessions {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Lets others run until so many units wait to be written.
async fn until_queued(ledger: &PostgresLedger, units: usize) {
    let since = Instant::now();
    while ledger.waiting() < units {
        assert!(since.elapsed() < PATIENCE, "{units} units were to queue");
        tokio::task::yield_now().await;
    }
}

const LOCK_C1: &str = "BEGIN; SELECT 1 FROM transactions WHERE ext_id = 'c1' FOR UPDATE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_migrate_at_once_and_one_of_them_does() {
    let database = Database::fresh();
    let url = database.url();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let settings = settings(&url);
            tokio::spawn(async move { postgres::migrate(&settings).await.expect("it migrates") })
        })
        .collect();
    for task in tasks {
        let (_, now) = task.await.expect("no panic");
        assert_eq!((now.version, now.admit().is_ok()), (newest(), true));
    }
    success(&*open(&settings(&url)).await, "c1").await;
    let (before, now) = postgres::migrate(&settings(&url)).await.expect("it migrates again");
    assert_eq!(before, now, "there was nothing to do");
    assert_eq!(database.number("SELECT count(*) FROM transactions"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_is_worked_on_only_as_it_allows() {
    let database = Database::fresh();
    let refused = PostgresLedger::open(&settings(&database.url())).await.err().expect("there is no schema");
    assert!(refused.to_string().contains("run onbill migrate"), "{refused}");
    postgres::migrate(&settings(&database.url())).await.expect("it migrates");
    let known = newest();
    let cases =
        [(known + 1, 1, true), (known + 2, known + 1, false), (known - 1, 1, false), (0, 0, false), (known, 1, true)];
    for (version, runs_from, opens) in cases {
        database.sql(&format!("UPDATE onbill_schema SET version = {version}, runs_from = {runs_from}"));
        let opened = PostgresLedger::open(&settings(&database.url())).await;
        assert_eq!(opened.is_ok(), opens, "schema {version}, from {runs_from}");
    }
    let newer = known + 1;
    database.sql(&format!("UPDATE onbill_schema SET version = {newer}, runs_from = {newer}"));
    let refused = postgres::migrate(&settings(&database.url())).await.expect_err("a newer one is left alone");
    assert!(refused.to_string().contains("start a newer release"), "{refused}");
    assert_eq!(database.number("SELECT version FROM onbill_schema"), i64::from(newer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_elses_tables_are_left_alone() {
    let database = Database::fresh();
    database.sql("CREATE TABLE transactions (title text)");
    let refused = postgres::migrate(&settings(&database.url())).await.expect_err("it is not ours");
    assert!(refused.to_string().contains("not onbill's"), "{refused}");
    assert_eq!(database.number("SELECT count(*) FROM information_schema.columns WHERE table_name = 'transactions'"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_named_without_its_password() {
    let mut settings = settings("postgresql://onbill:hunter2@127.0.0.1:1/onbill");
    settings.password = Some("hunter3".to_owned());
    let refused = PostgresLedger::open(&settings).await.err().expect("nobody listens there");
    let text = format!("{refused} {refused:?} {settings:?}");
    assert!(text.contains("cannot be reached") && !text.contains("hunter"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_refunds_in_one_batch_keep_the_cap() {
    let database = migrated(&shared()).await;
    let ledger = open(&settings(&database.url())).await;
    let charge = success(&ledger, "c1").await;
    let somebody = somebody(&database).await;
    somebody.batch_execute(LOCK_C1).await.expect("a lock");
    let first = committed(&ledger, vec![samples::refund("first", &charge, "-0.2")]);
    until_waiting(&somebody, 1).await;
    let before = ledger.figures().batches;
    let refunds = (0..100).map(|number| samples::refund(&format!("r{number}"), &charge, "-0.35")).collect();
    let refunds = committed(&ledger, refunds);
    until_queued(&ledger, 100).await;
    somebody.batch_execute("COMMIT").await.expect("the lock is given back");
    let mut taken = 0;
    for task in first.into_iter().chain(refunds) {
        taken += u32::from(matches!(task.await.expect("no panic").expect("an answer"), Commit::Done { .. }));
    }
    assert_eq!((taken, ledger.figures().batches - before), (29, 2), "0.20 and 28 times 0.35, in two batches");
    let charge = ledger.recall(&charge.key).await.expect("an answer").expect("the charge");
    assert_eq!(charge.refunds_held_minor, 1000);
    assert_eq!(database.number("SELECT count(*) FROM transactions WHERE kind = 'refund'"), 29);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refunds_from_two_gateways_at_once_keep_the_cap() {
    let database = migrated(&shared()).await;
    let gateways = [open(&settings(&database.url())).await, open(&settings(&database.url())).await];
    let charge = success(&gateways[0], "c1").await;
    let units = |gateway: usize| {
        (0..100).map(|number| samples::refund(&format!("r{gateway}-{number}"), &charge, "-0.35")).collect::<Vec<_>>()
    };
    let tasks: Vec<_> = gateways.iter().enumerate().flat_map(|(place, one)| committed(one, units(place))).collect();
    let mut taken = 0;
    for task in tasks {
        taken += u32::from(matches!(task.await.expect("no panic").expect("an answer"), Commit::Done { .. }));
    }
    assert_eq!(taken, 28, "28 times 0.35 is 9.80, and 29 times is more than 10");
    assert_eq!(database.number("SELECT refunds_held_minor FROM transactions WHERE ext_id = 'c1'"), 980);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_storm_of_one_key_from_three_gateways_one_is_done() {
    let database = migrated(&shared()).await;
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let ledger = open(&settings(&database.url())).await;
        let units = (0..60).map(|number| samples::charge(&format!("c{}", number % 20), "10")).collect();
        tasks.extend(committed(&ledger, units));
    }
    let mut done = 0;
    for task in tasks {
        done += u32::from(task.await.expect("no panic").expect("an answer") == Commit::Done { version: 1 });
    }
    assert_eq!((done, database.number("SELECT count(*) FROM transactions")), (20, 20));
    assert_eq!(database.number("SELECT sum(records) FROM tallies"), 20, "the tally counts what was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_whose_id_another_gateway_takes_gives_its_share_back() {
    let database = migrated(&shared()).await;
    let ledger = open(&settings(&database.url())).await;
    let charge = success(&ledger, "c1").await;
    let other = success(&ledger, "c2").await;
    // Somebody has begun the same refund, of another charge, and has not committed yet.
    let somebody = somebody(&database).await;
    done(&ledger, samples::refund("copied", &other, "-1")).await;
    let columns = "partner, kind, reference, state, version, sent_before_us, inquiries, accepted_at_us, csp, \
         account_ref, charge_code, amount_minor, currency, compared_version, sent_product, sent_amount, \
         sent_currency, sent_description, sent_reference_id";
    let begin = format!(
        "BEGIN; INSERT INTO transactions (ext_id, {columns}) SELECT 'r1', {columns} FROM transactions \
         WHERE ext_id = 'copied'"
    );
    somebody.batch_execute(&begin).await.expect("it is begun");
    let late = committed(&ledger, vec![samples::refund("r1", &charge, "-6")]);
    until_waiting(&somebody, 1).await;
    somebody.batch_execute("COMMIT").await.expect("it was first");
    for task in late {
        assert_eq!(task.await.expect("no panic").expect("an answer"), Commit::Conflict);
    }
    let charge = ledger.recall(&charge.key).await.expect("an answer").expect("the charge");
    assert_eq!(charge.refunds_held_minor, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_tried_again() {
    let database = migrated(&shared()).await;
    // The server looks for a circle once in each wait, after so long: by then the circle must be closed.
    let url = format!("{}?options=-c%20deadlock_timeout%3D3s", database.url());
    let one_writer = Settings { writers: 1, ..settings(&url) };
    let ledger = open(&one_writer).await;
    let first = done(&ledger, samples::charge("c1", "10")).await;
    let second = done(&ledger, samples::charge("c2", "10")).await;
    let somebody = somebody(&database).await;
    // The other way round, and patient: the writer is the one that the server ends.
    let lock = "SET deadlock_timeout = '1h'; BEGIN; SELECT 1 FROM transactions WHERE ext_id = 'c2' FOR UPDATE";
    somebody.batch_execute(lock).await.expect("a lock");
    let hold = self::somebody(&database).await;
    hold.batch_execute(LOCK_C1).await.expect("a lock");
    let waits = committed(&ledger, vec![samples::booked(&first)]);
    until_waiting(&hold, 1).await;
    // What queues meanwhile is one batch: the third begins nothing, and both rows are locked for it.
    let units = vec![samples::taken(&first), samples::booked(&second)];
    let both = committed(&ledger, units);
    until_queued(&ledger, 2).await;
    hold.batch_execute("COMMIT").await.expect("the first goes on");
    for task in waits {
        assert!(matches!(task.await.expect("no panic"), Ok(Commit::Done { version: 2 })));
    }
    until_waiting(&hold, 1).await;
    somebody.batch_execute("SELECT 1 FROM transactions WHERE ext_id = 'c1' FOR UPDATE").await.expect("it is let in");
    somebody.batch_execute("COMMIT").await.expect("it ends");
    let mut answers = Vec::new();
    for task in both {
        answers.push(task.await.expect("no panic").expect("an answer"));
    }
    assert_eq!(answers, [Commit::Conflict, Commit::Done { version: 2 }]);
    assert_eq!(database.number("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_bound_of_the_queue_nothing_is_written_and_it_is_said() {
    let database = migrated(&shared()).await;
    let small = Settings { queue_max: 16, writers: 1, ..settings(&database.url()) };
    let ledger = open(&small).await;
    let pending = done(&ledger, samples::charge("c1", "10")).await;
    let somebody = somebody(&database).await;
    somebody.batch_execute(LOCK_C1).await.expect("a lock");
    let first = committed(&ledger, vec![samples::booked(&pending)]);
    until_waiting(&somebody, 1).await;
    let queued = committed(&ledger, (0..16).map(|number| samples::charge(&format!("q{number}"), "10")).collect());
    until_queued(&ledger, 16).await;
    let refused = ledger.commit(samples::charge("too-many", "10")).await.expect_err("there is no room");
    assert!(refused.0.to_note().contains("too many"), "{refused:?}");
    somebody.batch_execute("COMMIT").await.expect("the lock is given back");
    for task in first.into_iter().chain(queued) {
        assert!(matches!(task.await.expect("no panic"), Ok(Commit::Done { .. })));
    }
    assert_eq!(database.number("SELECT count(*) FROM transactions WHERE ext_id = 'too-many'"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_is_replaced() {
    let database = migrated(&shared()).await;
    let ledger = open(&settings(&database.url())).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for number in 0..3 {
        done(&ledger, samples::charge(&format!("c{number}"), "10")).await;
        database.sql(cut);
        while ledger.check().await.is_err() {}
        let key = samples::key(Kind::Charge, &format!("c{number}"));
        assert!(ledger.recall(&key).await.expect("reading goes on").is_some());
    }
    // Cut while it waits, before the commit is sent: it is sent again over a new one.
    let pending = ledger.recall(&samples::key(Kind::Charge, "c1")).await.expect("an answer").expect("the record");
    let somebody = somebody(&database).await;
    somebody.batch_execute(LOCK_C1).await.expect("a lock");
    let waits = committed(&ledger, vec![samples::booked(&pending)]);
    until_waiting(&somebody, 1).await;
    database.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock'",
    );
    until_waiting(&somebody, 1).await;
    somebody.batch_execute("COMMIT").await.expect("the lock is given back");
    for task in waits {
        assert!(matches!(task.await.expect("no panic"), Ok(Commit::Done { version: 2 })));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_of_others_are_theirs_when_a_gateway_starts() {
    let database = migrated(&shared()).await;
    let first = open(&settings(&database.url())).await;
    let leased = done(&first, samples::charge("c1", "10")).await;
    let second = open(&settings(&database.url())).await;
    assert!(second.due(samples::after_s(1), 10).await.expect("an answer").is_empty());
    assert_eq!(second.recall(&leased.key).await.expect("an answer"), Some(leased));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_a_server_that_is_killed_again_and_again() {
    let server = Arc::new(Server::start());
    let database = migrated(&server).await;
    let ledger = open(&settings(&database.url())).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..16)
        .map(|worker| {
            let (ledger, is_over) = (Arc::clone(&ledger), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut kept = Vec::new();
                for number in 0.. {
                    if is_over.load(Ordering::SeqCst) {
                        break;
                    }
                    let id = format!("c{worker}-{number}");
                    match ledger.commit(samples::charge(&id, "10")).await {
                        Ok(Commit::Done { .. }) => kept.push(id),
                        Ok(Commit::Conflict | Commit::Over { .. }) => panic!("{id} is new"),
                        Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
                kept
            })
        })
        .collect();
    for round in 1..=3 {
        let before = ledger.figures().units;
        while ledger.figures().units < before + 500 {
            tokio::task::yield_now().await;
        }
        if round == 2 {
            tokio::task::block_in_place(|| server.stop());
        } else {
            tokio::task::block_in_place(|| server.kill());
        }
        assert!(ledger.check().await.is_err(), "a gateway that cannot write is not ready");
        tokio::task::block_in_place(|| server.restart());
    }
    while ledger.check().await.is_err() {}
    is_over.store(true, Ordering::SeqCst);
    let mut lost = Vec::new();
    for task in tasks {
        for id in task.await.expect("no panic") {
            if ledger.recall(&samples::key(Kind::Charge, &id)).await.expect("it is back").is_none() {
                lost.push(id);
            }
        }
    }
    assert_eq!(lost, [""; 0], "answered and lost");
    assert_eq!(
        database.number("SELECT count(*) FROM transactions"),
        database.number("SELECT sum(records) FROM tallies"),
        "whole batches or nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_is_not_waited_for_for_ever() {
    let server = Arc::new(Server::start());
    let database = migrated(&server).await;
    let short = Duration::from_millis(300);
    let impatient = Settings { connect_timeout: short, statement_timeout: short, ..settings(&database.url()) };
    // What must be done is done with patience, since a busy machine may not do it in so short a time.
    let patient = open(&settings(&database.url())).await;
    let pending = done(&patient, samples::charge("c1", "10")).await;
    let ledger = until_it_is(async || PostgresLedger::open(&impatient).await).await;
    until_it_is(async || ledger.check().await).await;
    tokio::task::block_in_place(|| server.freeze());
    assert!(ledger.commit(samples::booked(&pending)).await.is_err());
    assert!(ledger.recall(&pending.key).await.is_err());
    assert!(ledger.due(samples::after_s(99), 9).await.is_err());
    assert!(ledger.check().await.is_err());
    tokio::task::block_in_place(|| server.thaw());
    until_it_is(async || ledger.check().await).await;
    // Nobody was told what became of the first try: it is there, or can be done now. A server that has thawed may come to
    // it only after the record was read: then it is in the way of the second one, and the record is read again.
    loop {
        let found = patient.recall(&pending.key).await.expect("it is back").expect("the record");
        if found.state != State::Pending {
            break;
        }
        patient.commit(samples::booked(&found)).await.expect("it is back");
    }
    assert_eq!(database.number("SELECT count(*) FROM outbox"), 1, "one event, whichever way it came");
}

/// Tries until it goes well.
async fn until_it_is<T, E: std::fmt::Debug>(attempt: impl AsyncFn() -> Result<T, E>) -> T {
    let since = Instant::now();
    loop {
        match attempt().await {
            Ok(found) => return found,
            Err(error) => assert!(since.elapsed() < Duration::from_mins(1), "{error:?}"),
        }
    }
}
