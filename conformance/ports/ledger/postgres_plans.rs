//! How the ledger's statements find their rows: by the index of keys alone, from the first record on.
//!
//! Invariant: the database has no statistics, as on the day that it is made; nothing here looks at the plans themselves,
//! only at what the server counts of its indexes.

use std::time::{Duration, Instant};

use onbill::adapters::ledger::postgres::{self, PostgresLedger};
use onbill::domain::transaction::Kind;
use onbill::ports::ledger::{Commit, Ledger as _};

use super::postgres::settings;
use super::samples;
use crate::servers::postgres::Database;

/// Charges that are made, each with an intent, an outcome and a look at it.
const CHARGES: i64 = 300;
/// Longest wait for the server to count: generous, since test machines are busy.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_found_by_their_keys_before_there_are_statistics() {
    let database = Database::fresh();
    postgres::migrate(&settings(&database.url())).await.expect("it migrates");
    database.sql("ALTER TABLE transactions SET (autovacuum_enabled = off)");
    let ledger = PostgresLedger::open(&settings(&database.url())).await.expect("it opens");
    for number in 0..CHARGES {
        let id = format!("c{number}");
        let done = ledger.commit(samples::charge(&id, "10")).await.expect("an answer");
        assert_eq!(done, Commit::Done { version: 1 });
        let key = samples::key(Kind::Charge, &id);
        let pending = ledger.recall(&key).await.expect("an answer").expect("the record");
        let unclear = if number % 2 == 0 {
            pending
        } else {
            // By way of a state that has to be looked at.
            assert_eq!(
                ledger.commit(samples::unclear(&pending)).await.expect("an answer"),
                Commit::Done { version: 2 }
            );
            ledger.recall(&key).await.expect("an answer").expect("the record")
        };
        assert!(matches!(ledger.commit(samples::booked(&unclear)).await, Ok(Commit::Done { .. })));
    }
    // Sessions tell what they have counted when they end.
    drop(ledger);
    let by_key = "SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_indexes WHERE indexrelname = 'transactions_key'";
    let since = Instant::now();
    while database.number(by_key) < 3 * CHARGES {
        assert!(since.elapsed() < PATIENCE, "each is looked for three times: {}", database.number(by_key));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let others = "SELECT indexrelname, idx_scan FROM pg_stat_user_indexes WHERE relname = 'transactions' \
         AND idx_scan > 0 AND indexrelname NOT IN ('transactions_key', 'transactions_pkey')";
    assert_eq!(database.sql(others), [[""; 0]; 0], "indexes that say less than the key");
    let whole = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'transactions'";
    assert!(database.number(whole) < CHARGES / 10, "its indexes are made over the whole table, and no more");
}
