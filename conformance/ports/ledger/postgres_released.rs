//! Databases of released schemas: each is brought up to date, replays the same, and goes on.
//!
//! Invariant: a fixture is what a gateway of that release wrote and `pg_dump` read, and is never made again. What a
//! gateway of the release before still writes while gateways are replaced is kept here as it wrote it.

use onbill::adapters::ledger::postgres::{self, LedgerDatabase, PostgresLedger};
use onbill::domain::ids::PartnerId;
use onbill::domain::transaction::{Kind, State, Transaction};
use onbill::ports::inspection::{LedgerInspection as _, Progress};
use onbill::ports::ledger::{Commit, Ledger as _, ListQuery};

use super::postgres::settings;
use super::released::describe;
use super::samples;
use crate::servers::postgres::Database;

const V1: &str = include_str!("../../fixtures/ledger-v1.postgres.sql");
const V1_READ: &str = include_str!("../../fixtures/ledger-v1.postgres.txt");
/// How a gateway of schema 1 began a record.
const V1_INTENT: &str = "INSERT INTO transactions (partner, kind, ext_id, reference, state, version, sent_before_us, \
     inquiries, accepted_at_us, csp, account_ref, charge_code, amount_minor, currency, compared_version, sent_product, \
     sent_amount, sent_currency, sent_description) SELECT partner, kind, ext_id, reference, state, 1, sent_before_us, \
     0, accepted_at_us, csp, account_ref, charge_code, amount_minor, currency, 1, sent_product, sent_amount, \
     sent_currency, sent_description FROM transactions WHERE ext_id = 'booked' \
     ON CONFLICT (partner, kind, ext_id) DO NOTHING RETURNING seq";

async fn listed(ledger: &PostgresLedger, partner: &str) -> Vec<Transaction> {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_a_released_schema_is_brought_up_to_date_and_replays_the_same() {
    let database = Database::fresh();
    database.sql(V1);
    let (before, now) = postgres::migrate(&settings(&database.url())).await.expect("it migrates");
    assert_eq!((before.version, now.version), (1, postgres::schema::newest()));
    let ledger = PostgresLedger::open(&settings(&database.url())).await.expect("it opens");
    let mut records = listed(&ledger, "demo-ott").await;
    records.extend(listed(&ledger, "other-ott").await);
    let found: Vec<_> = records.iter().map(describe).collect();
    assert_eq!(found, V1_READ.lines().collect::<Vec<_>>());
    let released = ledger.recall(&samples::key(Kind::Charge, "away")).await.expect("an answer");
    assert_eq!(released.map(|record| (record.state, record.version)), Some((State::Released, 2)));
    for record in records {
        assert_eq!(ledger.recall(&record.key).await.expect("an answer"), Some(record));
    }
    // What was under way goes on: the rules of today take the records of then.
    let unknown = ledger.recall(&samples::key(Kind::Charge, "never")).await.expect("an answer").expect("the record");
    let done = ledger.commit(samples::booked(&unknown)).await.expect("an answer");
    assert_eq!(done, Commit::Done { version: 3 });
    assert_eq!(database.sql(V1_INTENT), [[""; 0]; 0], "gateways of the release before meet the same constraint");
    let mut findings = Vec::new();
    let whole = LedgerDatabase::new(settings(&database.url()));
    let tell = &mut |progress: &Progress<'_>| {
        if let Progress::Found(finding) = progress {
            findings.push(finding.text.clone());
        }
        Ok(())
    };
    tokio::task::block_in_place(|| whole.verify(None, tell)).expect("it can be read");
    assert_eq!(findings, [""; 0]);
}
