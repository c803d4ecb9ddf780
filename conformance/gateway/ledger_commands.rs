//! What people who keep the books ask of the ledger, beside a gateway that runs.
//!
//! Invariant: each command is run as people run it, by its name, and judged by its output and its exit code. Damage is
//! in `ledger_damage`.

use std::path::Path;
use std::process::Command;

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Partner;
use super::process::{Running, Setup, id, number};

/// Exit code, standard output, standard error.
pub(super) fn ledger(arguments: &[&str], directory: Option<&Path>) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onbill"));
    command.arg("ledger").args(arguments);
    if let Some(directory) = directory {
        command.arg("--data-dir").arg(directory);
    }
    let output = command.output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("it ended by itself"), text(output.stdout), text(output.stderr))
}

/// A gateway whose CSP cannot be asked for outcomes, on a directory that outlives it.
fn asked_nothing() -> (Running, TempDir) {
    let directory = TempDir::new().expect("a directory");
    let gateway =
        Setup::default().data_dir(directory.path()).environment("ONBILL__CSP__SANDBOX__RECOVERY", "none").start();
    (gateway, directory)
}

/// A charge that no answer ever comes for, listed as stuck; answers its row.
async fn stuck(demo: &Partner, directory: &Path, number: &str, id: &str) -> Value {
    assert_eq!(demo.charge(number, id, json!({})).await.json()["status"], "Pending");
    loop {
        let (code, out, err) = ledger(&["stuck", "--json"], Some(directory));
        assert_eq!((code, err.as_str()), (0, ""));
        let answer: Value = serde_json::from_str(&out).expect("JSON");
        let rows = answer["records"].as_array().expect("rows");
        if let Some(row) = rows.iter().find(|row| row["ext_transaction_id"] == id) {
            return row.clone();
        }
    }
}

#[test]
fn every_ledger_command_explains_itself() {
    for command in ["verify", "backup", "export", "stuck", "settle"] {
        let (code, out, err) = ledger(&[command, "--help"], None);
        assert_eq!((code, err.as_str()), (0, ""), "{command}");
        assert!(out.contains("Examples:") && out.contains("Exit codes:"), "{command}: {out}");
        let too_wide: Vec<_> = out.lines().filter(|line| line.chars().count() > 100).collect();
        assert_eq!(too_wide, [""; 0], "{command}: a terminal would break these");
    }
}

#[test]
fn where_there_is_no_ledger_each_command_says_so() {
    let directory = TempDir::new().expect("a directory");
    let target = directory.path().join("copy");
    let target = target.to_str().expect("UTF-8");
    for arguments in [&["verify"][..], &["stuck"], &["export", "--format", "csv"], &["backup", "--to", target]] {
        let (code, out, err) = ledger(arguments, Some(directory.path()));
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}");
        assert!(err.contains("there is no ledger"), "{arguments:?}: {err}");
        assert_eq!(ledger(arguments, None).0, 2, "{arguments:?}: no place was named");
    }
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0, "nothing is made");
}

#[tokio::test]
async fn a_copy_of_a_running_ledger_is_whole_and_writes_nothing_over() {
    let directory = TempDir::new().expect("a directory");
    let gateway = Setup::default().data_dir(directory.path()).start();
    let demo = Partner::demo(&gateway);
    let charge = id("b");
    demo.charge(&number("01"), &charge, json!({})).await;
    let copy = directory.path().join("copy.sqlite");
    let copy = copy.to_str().expect("UTF-8");
    let (code, out, err) = ledger(&["backup", "--to", copy], Some(directory.path()));
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("ok: 1 records, 2 postings, 1 events"), "{out}");
    demo.charge(&number("01"), &id("b"), json!({})).await;
    let before = std::fs::read(copy).expect("a copy");
    let (code, _, err) = ledger(&["backup", "--to", copy], Some(directory.path()));
    assert!(code == 1 && err.contains("exists already"), "{err}");
    assert_eq!(std::fs::read(copy).expect("a copy"), before);
    gateway.kill();

    let restored = TempDir::new().expect("a directory");
    std::fs::copy(copy, restored.path().join("ledger.sqlite")).expect("a restored file");
    for name in ["master.key", "csp-sandbox.sqlite"] {
        std::fs::copy(directory.path().join(name), restored.path().join(name)).expect("what it was made with");
    }
    let gateway = Setup::default().data_dir(restored.path()).start();
    assert_eq!(Partner::demo(&gateway).get(&format!("/transaction/{charge}")).await.json()["status"], "Success");
}

#[tokio::test]
async fn what_a_restore_has_lost_is_charged_no_second_time() {
    let directory = TempDir::new().expect("a directory");
    let gateway = Setup::default().data_dir(directory.path()).start();
    let demo = Partner::demo(&gateway);
    let copy = directory.path().join("copy.sqlite");
    let (code, out, err) = ledger(&["backup", "--to", copy.to_str().expect("UTF-8")], Some(directory.path()));
    assert_eq!(code, 0, "{out}{err}");
    let (number, lost) = (number("01"), id("lost"));
    demo.charge(&number, &lost, json!({})).await;
    assert!(gateway.stop().success());
    for name in ["ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = std::fs::remove_file(directory.path().join(name));
    }
    std::fs::copy(&copy, directory.path().join("ledger.sqlite")).expect("a restored file");
    let gateway = Setup::default().data_dir(directory.path()).start();
    let demo = Partner::demo(&gateway);
    assert_eq!(demo.get(&format!("/transaction/{lost}")).await.status, 404, "the ledger has lost it");
    assert_eq!(demo.charge(&number, &lost, json!({})).await.json()["status"], "Success");
    assert_eq!(demo.bill(&number).await.0.len(), 1, "the CSP knew the reference");
}

#[tokio::test]
async fn an_export_has_one_line_a_transaction_and_no_address() {
    let directory = TempDir::new().expect("a directory");
    let gateway = Setup::default().data_dir(directory.path()).start();
    let (demo, other) = (Partner::demo(&gateway), Partner::other(&gateway));
    let (number, charge, part) = (number("01"), id("x"), "-1.x".to_owned());
    demo.charge(&number, &charge, json!({ "amount": "10" })).await;
    demo.charge(&number, &part, json!({ "amount": "-2.5", "referenceId": charge })).await;
    other.charge(&number, &charge, json!({ "partnerProduct": "ott-basic" })).await;
    let (code, csv, err) = ledger(&["export", "--format", "csv", "--partner", "demo-ott"], Some(directory.path()));
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(!csv.contains(&number) && !csv.contains("sub-"), "{csv}");
    let lines: Vec<Vec<&str>> = csv.split_terminator("\r\n").map(|line| line.split(',').collect()).collect();
    assert_eq!((lines.len(), lines[0][0], lines[0][9]), (3, "accepted_at", "amount"), "{csv}");
    assert_eq!((lines[1][3], lines[1][9], lines[1][11], lines[1][13]), (charge.as_str(), "10.0", "Success", "2.5"));
    assert_eq!((lines[2][3], lines[2][5], lines[2][9]), ("'-1.x", charge.as_str(), "-2.5"), "no formula");
    let (_, jsonl, _) = ledger(&["export", "--format", "jsonl"], Some(directory.path()));
    let rows: Vec<Value> = jsonl.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((rows[1]["ext_transaction_id"].as_str(), rows[1]["settled_by"].is_null()), (Some("-1.x"), true));
    assert!(rows.iter().all(|row| row["settled_at"].is_string()), "{jsonl}");
    let late = ["export", "--format", "jsonl", "--since", "2999-01-01T00:00:00Z"];
    assert_eq!(ledger(&late, Some(directory.path())).1, "");
    let file = directory.path().join("finance.csv");
    let to_file = ["export", "--format", "csv", "--partner", "demo-ott", "--out", file.to_str().expect("UTF-8")];
    assert_eq!(ledger(&to_file, Some(directory.path())).0, 0);
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), csv);
    assert_eq!(ledger(&to_file, Some(directory.path())).0, 1, "nothing is written over");
}

#[tokio::test]
async fn what_no_inquiry_can_clear_is_listed_for_a_person() {
    let (gateway, directory) = asked_nothing();
    assert_eq!(ledger(&["stuck"], Some(directory.path())).1, "nothing is stuck\n");
    let (number, id) = (number("12"), id("s"));
    let row = stuck(&Partner::demo(&gateway), directory.path(), &number, &id).await;
    assert_eq!(
        (&row["state"], &row["amount"], &row["partner"]),
        (&json!("unknown"), &json!("9.99"), &json!("demo-ott"))
    );
    assert_eq!(row["reference"].as_str().map(str::len), Some(32));
    let (_, out, _) = ledger(&["stuck"], Some(directory.path()));
    assert!(out.contains("1 stuck; the oldest for") && !out.contains(&number), "{out}");
    let (code, out, err) = ledger(&["verify"], Some(directory.path()));
    assert_eq!(code, 0, "beside a running gateway: {out}{err}");
}

/// Settles through a gateway, with a name and evidence.
fn settle(gateway: &Running, reference: &str, verdict: &str) -> (i32, String, String) {
    let admin = format!("http://{}", gateway.admin());
    let evidence = "CSP ticket 4711";
    let arguments = ["settle", reference, "--as", verdict, "--evidence", evidence, "--by", "ana", "--admin", &admin];
    ledger(&arguments, None)
}

/// The value of a measure.
async fn measured(gateway: &Running, name: &str) -> Option<f64> {
    let text = Partner::at(gateway.admin(), "").get("/metrics").await.body;
    let line = text.lines().find_map(|line| line.strip_prefix(name).map(str::trim))?;
    line.parse().ok()
}

#[tokio::test]
async fn a_person_settles_what_is_stuck_and_it_is_booked_told_and_recorded() {
    let (gateway, directory) = asked_nothing();
    let demo = Partner::demo(&gateway);
    for (verdict, status, postings) in [("success", "Success", 2), ("failure", "Failure", 0)] {
        let (number, id) = (number("12"), id("d"));
        let row = stuck(&demo, directory.path(), &number, &id).await;
        let reference = row["reference"].as_str().expect("a reference");
        while measured(&gateway, "onbill_stuck_transactions").await != Some(1.0) {
            tokio::task::yield_now().await;
        }
        let (code, out, err) = settle(&gateway, reference, verdict);
        assert_eq!((code, out), (0, format!("settled: demo-ott charge {id} is {status}\n")), "{err}");
        assert_eq!(demo.get(&format!("/transaction/{id}")).await.json()["status"], status);
        assert_eq!(demo.charge(&number, &id, json!({})).await.json()["status"], status, "a repeat replays it");
        let connection = rusqlite::Connection::open(directory.path().join("ledger.sqlite")).expect("it opens");
        let kept: (String, String, String, i64, i64) = connection
            .query_row(
                "SELECT decided_as, decided_by, evidence, (SELECT count(*) FROM postings AS p WHERE \
                 p.transaction_seq = seq), (SELECT count(*) FROM outbox AS o WHERE o.transaction_seq = t.seq) \
                 FROM transactions AS t JOIN decisions ON transaction_seq = seq WHERE ext_id = ?1",
                [&id],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
            )
            .expect("a decision");
        assert_eq!(kept, (verdict.to_owned(), "ana".to_owned(), "CSP ticket 4711".to_owned(), postings, 1));
        let (code, _, err) = settle(&gateway, reference, "success");
        assert!(code == 1 && err.contains(&format!("final already, as {verdict}")), "{err}");
    }
    let (_, out, _) = ledger(&["export", "--format", "jsonl"], Some(directory.path()));
    assert_eq!(out.matches(r#""settled_by":"ana""#).count(), 2, "{out}");
    let (code, out, err) = ledger(&["verify"], Some(directory.path()));
    assert_eq!(code, 0, "{out}{err}");
    while measured(&gateway, "onbill_stuck_transactions").await != Some(0.0) {
        tokio::task::yield_now().await;
    }
    assert_eq!(measured(&gateway, "onbill_unknown_oldest_seconds").await, Some(0.0));
}

#[tokio::test]
async fn what_is_not_for_a_person_is_refused_and_changes_nothing() {
    let gateway = Running::sandbox();
    let (code, _, err) = settle(&gateway, &"0".repeat(32), "failure");
    assert!(code == 1 && err.contains("no transaction has this reference"), "{err}");
    let (code, _, err) = settle(&gateway, "zz", "failure");
    assert!(code == 1 && err.contains("32 hexadecimal digits"), "{err}");
    let nobody = ["settle", "00", "--as", "success", "--evidence", "x", "--by", "ana", "--admin", "http://127.0.0.1:1"];
    let (code, _, err) = ledger(&nobody, None);
    assert!(code == 1 && err.contains("no answer"), "{err}");
    assert_eq!(ledger(&["settle", "00", "--as", "maybe", "--evidence", "x"], None).0, 2);
    let admin = Partner::at(gateway.admin(), "");
    let body = json!({ "reference": "0".repeat(32), "as": "success", "evidence": "x", "by": "ana" }).to_string();
    let plain = admin.send(Method::POST, "/ledger/settle", &[("content-type", "text/plain")], body).await;
    assert_eq!(plain.status, 415, "what a web page could send is not taken");
    let json = [("content-type", "application/json")];
    let blank = json!({ "reference": "0".repeat(32), "as": "success", "evidence": " ", "by": "ana" }).to_string();
    assert_eq!(admin.send(Method::POST, "/ledger/settle", &json, blank).await.status, 400);
    let large = "x".repeat(20_000);
    assert_eq!(admin.send(Method::POST, "/ledger/settle", &json, large).await.status, 413);
}
