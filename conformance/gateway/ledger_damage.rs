//! Damage put into a ledger by hand: verification finds each kind and names the record.
//!
//! Invariant: the ledger comes from a gateway that ran, each damage is done to a copy of its own with SQLite alone, and
//! the copy without damage has no finding.

use std::path::Path;
use std::process::Command;

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Partner;
use super::process::Setup;

/// A data directory with one transaction of each kind, whose gateway has stopped.
async fn stopped() -> TempDir {
    let directory = TempDir::new().expect("a directory");
    let gateway = Setup::default().data_dir(directory.path()).environment("ONBILL__CSP__SANDBOX__RECOVERY", "none");
    let gateway = gateway.environment("ONBILL__CSP__SANDBOX__LIMIT__PURCHASES__MONTH_MAX", "20").start();
    let demo = Partner::demo(&gateway);
    for (number, id, fields) in [
        ("5550100001", "booked", json!({ "amount": "10" })),
        ("5550100001", "part", json!({ "amount": "-4", "referenceId": "booked" })),
        ("5550100001", "plain", json!({})),
        ("5550100001", "over", json!({ "amount": "6" })),
        ("5550100008", "refused", json!({})),
        ("5550100012", "open", json!({})),
        ("5550100015", "released", json!({})),
    ] {
        demo.charge(number, id, fields).await;
    }
    while status(directory.path(), "open") != "unknown stuck" {
        tokio::task::yield_now().await;
    }
    assert!(gateway.stop().success());
    directory
}

fn status(directory: &Path, id: &str) -> String {
    let connection = Connection::open(directory.join("ledger.sqlite")).expect("it opens");
    let text = "SELECT state || iif(stuck IS NULL, '', ' stuck') FROM transactions WHERE ext_id = ?1";
    connection.query_row(text, [id], |row| row.get(0)).expect("the record")
}

/// Exit code and the objects that it prints, the summary last.
fn verified(directory: &Path) -> (i32, Vec<Value>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onbill"));
    let output = command.args(["ledger", "verify", "--json", "--data-dir"]).arg(directory).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!text.contains("5550100") && !text.contains("sub-"), "personal: {text}");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (output.status.code().expect("it ended by itself"), lines)
}

/// Damage, the rule that must find it, and the id of the record that must be named (empty: the file's).
pub const DAMAGE: [(&str, &str, &str); 39] = [
    ("UPDATE transactions SET amount_minor = 1100 WHERE ext_id = 'booked'", "amount", "booked"),
    ("UPDATE transactions SET amount_minor = 1100 WHERE ext_id = 'booked'", "postings", "booked"),
    ("UPDATE transactions SET sent_amount = '11' WHERE ext_id = 'plain'", "amount", "plain"),
    ("UPDATE transactions SET currency = 'USD' WHERE ext_id = 'plain'", "amount", "plain"),
    ("UPDATE postings SET minor = minor + 1 WHERE transaction_seq = 1 AND line = 1", "postings", "booked"),
    ("UPDATE postings SET minor = -minor WHERE transaction_seq = 1", "postings", "booked"),
    ("UPDATE postings SET currency = 'USD' WHERE transaction_seq = 1", "postings", "booked"),
    ("UPDATE postings SET owner = 'other-ott' WHERE transaction_seq = 1 AND book = 'partner'", "postings", "booked"),
    ("DELETE FROM postings WHERE transaction_seq = 1 AND line = 1", "postings", "booked"),
    ("DELETE FROM postings WHERE transaction_seq = 2", "postings", "part"),
    (
        "INSERT INTO postings SELECT transaction_seq, line + 2, book, owner, account_ref, minor, currency \
         FROM postings WHERE transaction_seq = 1",
        "postings",
        "booked",
    ),
    ("UPDATE transactions SET state = 'failure', failure = 'x' WHERE ext_id = 'booked'", "postings", "booked"),
    ("UPDATE transactions SET state = 'failure', failure = 'x' WHERE ext_id = 'booked'", "refunds", "part"),
    ("UPDATE transactions SET state = 'success', failure = NULL WHERE ext_id = 'refused'", "postings", "refused"),
    ("UPDATE transactions SET state = 'released' WHERE ext_id = 'part'", "refunds", "booked"),
    ("UPDATE transactions SET state = 'unknown', due_at_us = NULL WHERE ext_id = 'plain'", "state", "plain"),
    ("UPDATE transactions SET stuck = NULL WHERE ext_id = 'open'", "state", "open"),
    ("UPDATE transactions SET lease_owner = 'x', lease_until_us = 1 WHERE ext_id = 'plain'", "state", "plain"),
    ("UPDATE transactions SET compared_version = 99 WHERE ext_id = 'plain'", "state", "plain"),
    ("UPDATE transactions SET failure = NULL WHERE ext_id = 'refused'", "text", "refused"),
    ("UPDATE transactions SET failure = 'x' WHERE ext_id = 'plain'", "text", "plain"),
    ("UPDATE transactions SET refunds_held_minor = 500 WHERE ext_id = 'booked'", "refunds", "booked"),
    ("UPDATE transactions SET refunds_done_minor = 0 WHERE ext_id = 'booked'", "refunds", "booked"),
    ("UPDATE transactions SET ext_id = 'elsewhere' WHERE ext_id = 'booked'", "refunds", "part"),
    ("UPDATE transactions SET reference = randomblob(16) WHERE ext_id = 'plain'", "reference", "plain"),
    ("DELETE FROM outbox WHERE transaction_seq = 1", "event", "booked"),
    ("UPDATE outbox SET partner = 'other-ott' WHERE transaction_seq = 1", "event", "booked"),
    ("DELETE FROM transactions WHERE ext_id = 'booked'", "refunds", "part"),
    ("DELETE FROM transactions WHERE ext_id = 'plain'", "missing", ""),
    ("INSERT INTO decisions VALUES (1, 0, 'failure', 'ana', 'x')", "state", "booked"),
    ("UPDATE counters SET used_minor = used_minor + 1", "limits", ""),
    ("DELETE FROM counters", "limits", ""),
    ("INSERT INTO counters VALUES ('sandbox/MXN/purchases/month/2020-01///sub-9', 1)", "limits", ""),
    ("UPDATE transactions SET counted = NULL WHERE ext_id = 'plain'", "limits", ""),
    ("UPDATE transactions SET counted = NULL WHERE ext_id = 'part'", "refunds", "part"),
    ("UPDATE transactions SET counted = 'nonsense' WHERE ext_id = 'plain'", "row", "plain"),
    ("UPDATE transactions SET failure = 'Charge declined' WHERE ext_id = 'over'", "state", "over"),
    ("DROP INDEX transactions_due", "schema", ""),
    ("PRAGMA user_version = 99", "schema", ""),
];

#[tokio::test]
async fn verification_finds_damage_of_every_kind_and_names_the_record() {
    let whole = stopped().await;
    let (code, lines) = verified(whole.path());
    assert_eq!((code, lines.len()), (0, 1), "nothing to find: {lines:?}");
    let summary = &lines[0]["summary"];
    assert_eq!((&summary["ok"], &summary["records"]), (&json!(true), &json!(7)), "{summary}");
    assert_eq!((&summary["references_checked"], &summary["events"]), (&json!(true), &json!(5)), "{summary}");
    for (damage, rule, id) in DAMAGE {
        let copy = TempDir::new().expect("a directory");
        for name in ["ledger.sqlite", "master.key"] {
            std::fs::copy(whole.path().join(name), copy.path().join(name)).expect("a copy");
        }
        let connection = Connection::open(copy.path().join("ledger.sqlite")).expect("it opens");
        connection
            .execute_batch(&format!("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF; {damage}"))
            .expect("damage");
        drop(connection);
        let (code, lines) = verified(copy.path());
        let found = lines.iter().map(|line| &line["finding"]).any(|finding| {
            let named = finding["ext_transaction_id"].as_str().unwrap_or_default();
            finding["rule"] == rule && named == id && (id.is_empty() || finding["partner"] == "demo-ott")
        });
        assert!(code == 1 && found, "{damage}: {rule} {id} was not found in {lines:#?}");
    }
}

#[tokio::test]
async fn damage_to_the_file_itself_is_found() {
    let whole = stopped().await;
    let file = whole.path().join("ledger.sqlite");
    let content = std::fs::read(&file).expect("a file");
    for page in [1, 3, 5] {
        let mut damaged = content.clone();
        damaged[page * 4096..(page + 1) * 4096].fill(0xA5);
        std::fs::write(&file, damaged).expect("a file");
        let (code, lines) = verified(whole.path());
        assert!(code == 1 && lines.iter().any(|line| line["finding"]["rule"] == "file"), "page {page}: {lines:#?}");
    }
    std::fs::write(&file, &content[..content.len() / 2]).expect("a file");
    assert_eq!(verified(whole.path()).0, 1, "cut short");
}
