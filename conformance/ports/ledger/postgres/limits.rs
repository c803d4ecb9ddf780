//! Spend limits in PostgreSQL: one counter, many gateways.
//!
//! Invariant: what is expected of a counter is added up here by hand; counters are read with psql.

use onbill::domain::limits::reached;
use onbill::domain::transaction::{Expected, settle};
use onbill::ports::ledger::Commit;
use tokio_postgres::Client;

use super::super::limits::{charge, limit, limited};
use super::super::samples::{self, Sample, sample};
use super::*;

fn used(database: &Database, name: &str) -> i64 {
    database.number(&format!("SELECT coalesce(sum(used_minor), 0) FROM counters WHERE name LIKE '{name}'"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charges_at_three_gateways_at_once_keep_one_ceiling() {
    let database = migrated(&shared()).await;
    let mut tasks = Vec::new();
    for gateway in 0..3 {
        let ledger = open(&settings(&database.url())).await;
        let units = (0..50).map(|number| charge(&format!("c{gateway}-{number}"), "0.35")).collect();
        tasks.extend(committed(&ledger, units));
    }
    let (mut done, mut over) = (0, 0);
    for task in tasks {
        match task.await.expect("no panic").expect("an answer") {
            Commit::Done { .. } => done += 1,
            Commit::Over { counter: 0 } => over += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((done, over), (28, 122), "28 times 0.35 is 9.80, and 29 times is more than 10");
    assert_eq!((used(&database, "%/day/%"), used(&database, "%/month/%")), (980, 980));
    assert_eq!(database.number("SELECT count(*) FROM transactions WHERE counted IS NOT NULL"), 28);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_that_gateways_meet_in_any_order_lose_nothing() {
    let database = migrated(&shared()).await;
    let mut tasks = Vec::new();
    for gateway in 0_usize..3 {
        let ledger = open(&settings(&database.url())).await;
        let unit = |number: usize| {
            let account = format!("sub-{}", if gateway == 1 { 6 - number % 7 } else { number % 7 });
            let id = format!("c{gateway}-{number}");
            limited(&Sample { account: &account, ..sample(&id, "1") }, limit(1_000_000, 1_000_000))
        };
        let ledger_of = std::sync::Arc::clone(&ledger);
        tasks.extend(committed(&ledger_of, (0..70).map(unit).collect()));
    }
    for task in tasks {
        assert_eq!(task.await.expect("no panic").expect("an answer"), Commit::Done { version: 1 });
    }
    for account in 0..7 {
        assert_eq!(used(&database, &format!("%/day/%/sub-{account}")), 30 * 100, "sub-{account}");
    }
}

/// Somebody begins a charge of this id, and has not committed yet.
async fn begun_elsewhere(somebody: &Client, ledger: &PostgresLedger, id: &str) {
    done(ledger, samples::charge("copied", "1")).await;
    let columns = "partner, kind, reference, state, version, sent_before_us, inquiries, accepted_at_us, csp, \
         account_ref, charge_code, amount_minor, currency, compared_version, sent_product, sent_amount, \
         sent_currency, sent_description";
    let begin = format!(
        "BEGIN; INSERT INTO transactions (ext_id, {columns}) SELECT '{id}', {columns} FROM transactions \
         WHERE ext_id = 'copied'"
    );
    somebody.batch_execute(&begin).await.expect("it is begun");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_whose_id_another_gateway_takes_holds_nothing_and_keeps_nobody_out() {
    let database = migrated(&shared()).await;
    let ledger = open(&Settings { writers: 1, ..settings(&database.url()) }).await;
    let (first, second) = (somebody(&database).await, somebody(&database).await);
    done(&ledger, charge("before", "1")).await;
    begun_elsewhere(&first, &ledger, "c1").await;
    // The writer waits for a lock, so that the next two are one batch.
    second.batch_execute("BEGIN; SELECT 1 FROM transactions WHERE ext_id = 'before' FOR UPDATE").await.expect("a lock");
    let before = ledger.recall(&samples::key(Kind::Charge, "before")).await.expect("an answer").expect("the record");
    let waits = committed(&ledger, vec![samples::unclear(&before)]);
    until_waiting(&second, 1).await;
    let late = committed(&ledger, vec![charge("c1", "6")]);
    until_queued(&ledger, 1).await;
    let kept_out = committed(&ledger, vec![charge("c2", "6")]);
    until_queued(&ledger, 2).await;
    second.batch_execute("COMMIT").await.expect("the lock is given back");
    for task in waits {
        assert!(matches!(task.await.expect("no panic").expect("an answer"), Commit::Done { .. }));
    }
    // Whoever waits now is the next batch.
    until_waiting(&second, 1).await;
    first.batch_execute("COMMIT").await.expect("it was first");
    for task in late.into_iter().chain(kept_out) {
        assert_eq!(task.await.expect("no panic").expect("an answer"), Commit::Conflict, "to be decided again");
    }
    assert_eq!(used(&database, "%/day/%"), 100);
    done(&ledger, charge("c2", "6")).await;
    assert_eq!(used(&database, "%/day/%"), 700);
}

#[tokio::test]
async fn a_failure_over_a_limit_is_kept_with_its_event_or_not_at_all() {
    let database = migrated(&shared()).await;
    let ledger = open(&settings(&database.url())).await;
    done(&ledger, charge("c1", "10")).await;
    let intent = charge("c2", "0.5").transaction;
    let over = reached(&intent, 0).expect("a limit");
    let failure = settle::over_limit(&intent, Expected::Absent, &over, &samples::moment(&intent));
    database.sql(
        "CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no event''; END'; \
         CREATE TRIGGER refused BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION refused()",
    );
    assert!(ledger.commit(failure.clone()).await.is_err(), "its event cannot be written");
    assert!(ledger.recall(&intent.key).await.expect("an answer").is_none(), "so nothing of it is");
    let tally = "SELECT (SELECT count(*) FROM transactions) - (SELECT sum(records) FROM tallies)";
    assert_eq!(database.number(tally), 0);
    database.sql("DROP TRIGGER refused ON outbox");
    let failed = done(&ledger, failure).await;
    assert_eq!((failed.state, failed.message()), (State::Failure, "Over spending daily limit"));
    assert_eq!((database.number("SELECT count(*) FROM outbox"), database.number(tally)), (1, 0));
}
