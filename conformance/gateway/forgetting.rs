//! What a gateway knows of a transaction whose address it has forgotten: everything that partners can ask.
//!
//! Invariant: transactions grow old by their stored time alone, put back as a stranger would; the gateway that forgets is
//! started after that, as it is in life.

use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Answer, Partner};
use super::process::Setup;

const ADDRESS: &str = "5550100001";
/// Another that works as well.
const OTHER: &str = "5550209901";

/// A ledger that a test may age and look into.
pub trait Aged {
    /// A gateway on it.
    fn setup(&self) -> Setup;
    /// Does something to it as a stranger.
    fn change(&self, text: &str);
    /// One number of it.
    fn number(&self, text: &str) -> i64;
    /// Whether `onbill ledger verify` finds nothing.
    fn verified(&self) -> bool;
}

const PLAIN: &str = "SELECT count(*) FROM transactions WHERE sent_address_type IN ('MSISDN', 'EMAIL')";

/// What every store must stand.
pub async fn forgets_and_still_knows(ledger: &impl Aged) {
    let gateway = ledger.setup().start();
    let demo = Partner::demo(&gateway);
    let first = demo.charge(ADDRESS, "old", json!({ "amount": "10" })).await;
    let failed = demo.charge("5550100008", "failed", json!({})).await;
    let read = demo.get("/transaction/old").await;
    assert!(gateway.stop().success());
    let month_us = 32_i64 * 86_400 * 1_000_000;
    ledger.change(&format!("UPDATE transactions SET accepted_at_us = accepted_at_us - {month_us}"));

    let gateway = ledger.setup().environment("ONBILL__RETENTION__ADDRESS_MONTHS", "1").start();
    let demo = Partner::demo(&gateway);
    while ledger.number(PLAIN) > 0 {
        tokio::task::yield_now().await;
    }
    let texts = format!("SELECT count(*) FROM transactions WHERE sent_address LIKE '%{ADDRESS}%'");
    assert_eq!(ledger.number(&texts), 0);
    for (number, id, fields, before) in
        [(ADDRESS, "old", json!({ "amount": "10" }), &first), ("5550100008", "failed", json!({}), &failed)]
    {
        let again = demo.charge(number, id, fields).await;
        assert_eq!((again.status, &again.body), (before.status, &before.body), "{id}: byte for byte");
        assert_eq!(again.header("idempotency-replayed"), "true");
    }
    is_already_used(&demo.charge(OTHER, "old", json!({ "amount": "10" })).await);
    let now = demo.get("/transaction/old").await;
    assert_eq!(without_date(&now), without_date(&read));
    assert_eq!(demo.get("/transactions").await.json()["transactions"].as_array().map(Vec::len), Some(2));
    let fields = json!({ "amount": "-4", "referenceId": "old" });
    let other = demo.charge(OTHER, "part", fields.clone()).await;
    assert_eq!(other.json()["validationErrors"][0]["code"], "violation-on-address", "{}", other.json());
    assert_eq!(demo.charge(ADDRESS, "part", fields).await.json()["status"], "Success");
    assert_eq!(demo.charge(ADDRESS, "young", json!({})).await.json()["status"], "Success");
    assert!(gateway.stop().success());
    assert_eq!(ledger.number(PLAIN), 2, "the young ones keep theirs");
    assert!(ledger.verified());
}

fn without_date(answer: &Answer) -> Value {
    let mut body = answer.json();
    body.as_object_mut().expect("an object").remove("chargeDate");
    body
}

fn is_already_used(answer: &Answer) {
    let body = answer.json();
    assert_eq!(
        (answer.status, &body["validationErrors"][0]["reason"]),
        (400, &json!("already used by another transaction"))
    );
}

struct InSqlite(TempDir);

impl InSqlite {
    fn file(&self) -> PathBuf {
        self.0.path().join("ledger.sqlite")
    }
}

impl Aged for InSqlite {
    fn setup(&self) -> Setup {
        Setup::default().data_dir(self.0.path())
    }

    fn change(&self, text: &str) {
        Connection::open(self.file()).expect("it opens").execute_batch(text).expect("a change");
    }

    fn number(&self, text: &str) -> i64 {
        Connection::open(self.file()).expect("it opens").query_row(text, [], |row| row.get(0)).expect("a number")
    }

    fn verified(&self) -> bool {
        let directory: &Path = self.0.path();
        let mut command = Command::new(env!("CARGO_BIN_EXE_onbill"));
        command.args(["ledger", "verify", "--data-dir"]).arg(directory).status().expect("it runs").success()
    }
}

#[tokio::test]
async fn in_sqlite_an_address_is_forgotten_and_its_request_is_still_known() {
    forgets_and_still_knows(&InSqlite(TempDir::new().expect("a directory"))).await;
}
