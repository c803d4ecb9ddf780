//! Gateways whose ledger is in PostgreSQL: how they start, what people ask of it, and what they do while it is away.
//!
//! Invariant: servers and gateways are real processes; each test has a database of its own.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use onbill::adapters::ledger::postgres::schema::newest;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Partner;
use super::forgetting::{Aged, forgets_and_still_knows};
use super::ledger_damage::DAMAGE;
use super::process::{Running, Setup, id, number};
use super::watch::{all, watch};
use crate::servers::postgres::{Database, Server, shared};

/// What gateways of one ledger share.
struct Shared {
    database: Database,
    directory: TempDir,
}

impl Shared {
    fn on(server: &Arc<Server>) -> Self {
        Self { database: Database::on(server), directory: TempDir::new().expect("a directory") }
    }

    /// With a schema.
    fn migrated(server: &Arc<Server>) -> Self {
        let shared = Self::on(server);
        let (code, _, err) = shared.onbill(&["migrate"]);
        assert_eq!(code, 0, "{err}");
        shared
    }

    fn of(database: Database, directory: TempDir) -> Self {
        Self { database, directory }
    }

    fn environment(&self) -> [(&'static str, String); 4] {
        let key = self.directory.path().join("master.key");
        [
            ("ONBILL__LEDGER__STORE", "postgres".to_owned()),
            ("ONBILL__POSTGRES__URL", self.database.url()),
            ("ONBILL__POSTGRES__TLS", "disable".to_owned()),
            ("ONBILL__KEYS__MASTER_KEY_FILE", key.to_str().expect("UTF-8").to_owned()),
        ]
    }

    fn setup(&self) -> Setup {
        let setup = Setup::default().environment("ONBILL__CSP__SANDBOX__RECOVERY", "none");
        self.environment().into_iter().fold(setup, |setup, (name, value)| setup.environment(name, &value))
    }

    fn gateway(&self) -> Running {
        self.setup().start()
    }

    /// Exit code, standard output, standard error.
    fn onbill(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_onbill"))
            .args(arguments)
            .envs(self.environment())
            .output()
            .expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code().expect("it ended by itself"), text(output.stdout), text(output.stderr))
    }

    /// The same of a command about the ledger, by a configuration file.
    fn ledger(&self, arguments: &[&str]) -> (i32, String, String) {
        let file: PathBuf = self.directory.path().join("gateway.toml");
        std::fs::write(&file, "[sandbox]\nenabled = true\n").expect("a file");
        self.onbill(&[&["ledger"], arguments, &["--config", file.to_str().expect("UTF-8")]].concat())
    }
}

#[test]
fn a_gateway_starts_only_where_there_is_a_schema_and_a_key_that_all_share() {
    let shared = Shared::on(&shared());
    let newest = newest();
    let (code, out, _) = shared.onbill(&["migrate", "--check"]);
    assert_eq!((code, out), (1, format!("schema 0, and this release needs {newest}: not up to date\n")));
    let (code, _, err) = shared.onbill(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    assert!(code == 1 && err.contains("run onbill migrate"), "{err}");
    assert_eq!(shared.onbill(&["migrate"]).1, format!("schema 0 is now {newest}\n"));
    assert_eq!(shared.onbill(&["migrate"]).1, format!("schema {newest}: up to date\n"));
    let (code, json, _) = shared.onbill(&["migrate", "--check", "--json"]);
    let answer: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, &answer["schema"], &answer["up_to_date"]), (0, &json!(newest), &json!(true)));
    let mut without = Command::new(env!("CARGO_BIN_EXE_onbill"));
    let [store, url, _, _] = shared.environment();
    let output = without.arg("serve").envs([store, url]).output().expect("it runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && err.contains("share one permanent key"), "{err}");
    assert!(!err.contains(&shared.database.url()), "{err}");
}

#[tokio::test]
async fn a_watcher_at_one_gateway_sees_what_a_person_settles_at_another() {
    let shared = Shared::migrated(&shared());
    let (first, second) = (shared.gateway(), shared.gateway());
    let (number, id) = (number("12"), id("w"));
    assert_eq!(Partner::demo(&first).charge(&number, &id, json!({})).await.json()["status"], "Pending");
    let stream = watch(&second, &id).await;
    let reference = loop {
        let (code, out, err) = shared.ledger(&["stuck", "--json"]);
        assert_eq!((code, err.as_str()), (0, ""));
        let answer: Value = serde_json::from_str(&out).expect("JSON");
        if let Some(reference) = answer["records"][0]["reference"].as_str() {
            break reference.to_owned();
        }
    };
    let admin = format!("http://{}", first.admin());
    let arguments =
        ["ledger", "settle", &reference, "--as", "success", "--evidence", "x", "--by", "ana", "--admin", &admin];
    assert_eq!(shared.onbill(&arguments).0, 0);
    let told = all(stream).await;
    assert_eq!(told.last().map(|(status, _)| status.as_str()), Some("Success"), "{told:?}");
    let replayed = Partner::demo(&second).charge(&number, &id, json!({})).await;
    assert_eq!(
        (replayed.json()["status"].as_str(), replayed.header("idempotency-replayed")),
        (Some("Success"), "true")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charges_at_two_gateways_keep_one_limit() {
    let shared = Shared::migrated(&shared());
    let start = || {
        let setup = shared.setup().environment("ONBILL__CSP__SANDBOX__LIMIT__PURCHASES__DAY_MAX", "20");
        tokio::task::block_in_place(|| setup.start())
    };
    let gateways = [start(), start()];
    let number = number("01");
    let mut calls = Vec::new();
    for turn in 0..50 {
        let (partner, number) = (Partner::demo(&gateways[turn % 2]), number.clone());
        calls.push(tokio::spawn(async move { partner.charge(&number, &id("l"), json!({ "amount": "0.99" })).await }));
    }
    let mut booked = 0;
    for call in calls {
        let answer = call.await.expect("an answer").json();
        booked += u32::from(answer["status"] == "Success");
        let told = answer["description"].as_str().expect("a text");
        assert!(matches!(told, "Charge success" | "Over spending daily limit"), "{told}");
    }
    assert_eq!(booked, 20, "20 times 0.99 is 19.80");
    let (code, out, err) = shared.ledger(&["verify"]);
    assert_eq!(code, 0, "{out}{err}");
}

/// A ledger with one transaction of each kind, whose gateway has stopped.
async fn stopped() -> Shared {
    let shared = Shared::migrated(&shared());
    let limit = ("ONBILL__CSP__SANDBOX__LIMIT__PURCHASES__MONTH_MAX", "20");
    let gateway = shared.setup().environment(limit.0, limit.1).start();
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
    while shared.database.number("SELECT count(*) FROM transactions WHERE stuck IS NOT NULL") == 0 {
        tokio::task::yield_now().await;
    }
    assert!(gateway.stop().success());
    shared
}

/// What takes the checks away that damage would not pass.
const CHECKS: &str = "SELECT format('ALTER TABLE %s DROP CONSTRAINT %I;', conrelid::regclass, conname) \
     FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0 AND connamespace = 'public'::regnamespace";

#[tokio::test]
async fn verification_finds_damage_in_postgres_and_the_books_are_read() {
    let whole = stopped().await;
    let (code, out, err) = whole.ledger(&["verify", "--json"]);
    let summary: Value = serde_json::from_str(&out).expect("JSON");
    let summary = &summary["summary"];
    assert_eq!((code, &summary["ok"], &summary["records"]), (0, &json!(true), &json!(7)), "{out}{err}");
    assert_eq!((&summary["references_checked"], &summary["events"]), (&json!(true), &json!(5)), "{summary}");
    let (code, csv, _) = whole.ledger(&["export", "--format", "csv"]);
    assert!(code == 0 && csv.lines().count() == 7 && !csv.contains("5550100") && !csv.contains("sub-"), "{csv}");
    let target = whole.directory.path().join("copy");
    let (code, _, err) = whole.ledger(&["backup", "--to", target.to_str().expect("UTF-8")]);
    assert!(code == 1 && err.contains("pg_dump") && !target.exists(), "{err}");
    let Shared { database, directory } = whole;
    let newer = database.copy();
    newer.sql("UPDATE onbill_schema SET version = 99, runs_from = 99");
    let newer = Shared::of(newer, directory);
    let (code, _, err) = newer.ledger(&["verify"]);
    assert!(code == 1 && err.contains("start a newer release"), "{code} {err}");
    let mut directory = newer.directory;
    for (damage, rule, id) in DAMAGE.into_iter().filter(|(damage, ..)| !damage.starts_with("PRAGMA")) {
        let copy = database.copy();
        let drops: String = copy.sql(CHECKS).into_iter().flatten().collect();
        let damage = damage.replace("randomblob(16)", "decode(md5('x'), 'hex')");
        copy.sql(&format!("{drops} SET session_replication_role = replica; {damage}"));
        let damaged = Shared::of(copy, directory);
        let (code, out, err) = damaged.ledger(&["verify", "--json"]);
        let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(!out.contains("5550100") && !out.contains("sub-"), "personal: {out}");
        let found = lines.iter().map(|line| &line["finding"]).any(|finding| {
            let named = finding["ext_transaction_id"].as_str().unwrap_or_default();
            finding["rule"] == rule && named == id && (id.is_empty() || finding["partner"] == "demo-ott")
        });
        assert!(code == 1 && found, "{damage}: {rule} {id} was not found in {lines:#?} {err}");
        directory = damaged.directory;
    }
}

impl Aged for Shared {
    fn setup(&self) -> Setup {
        Self::setup(self).data_dir(self.directory.path())
    }

    fn change(&self, text: &str) {
        self.database.sql(text);
    }

    fn number(&self, text: &str) -> i64 {
        self.database.number(text)
    }

    fn verified(&self) -> bool {
        self.ledger(&["verify"]).0 == 0
    }
}

#[tokio::test]
async fn in_postgres_an_address_is_forgotten_and_its_request_is_still_known() {
    forgets_and_still_knows(&Shared::migrated(&shared())).await;
}

#[tokio::test]
async fn while_the_server_is_away_nothing_is_charged_and_then_everything_goes_on() {
    let server = Arc::new(Server::start());
    let shared = Shared::migrated(&server);
    let gateway = shared.gateway();
    let demo = Partner::demo(&gateway);
    let admin = Partner::at(gateway.admin(), "");
    let (number, before, after) = (number("01"), id("k"), id("k"));
    assert_eq!(demo.charge(&number, &before, json!({})).await.json()["status"], "Success");
    tokio::task::spawn_blocking({
        let server = Arc::clone(&server);
        move || server.kill()
    })
    .await
    .expect("no panic");
    let refused = demo.charge(&number, &after, json!({})).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some("service-unavailable")));
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(admin.get("/readyz").await.status, 503);
    tokio::task::spawn_blocking({
        let server = Arc::clone(&server);
        move || server.restart()
    })
    .await
    .expect("no panic");
    while admin.get("/readyz").await.status != 200 {}
    assert_eq!(demo.charge(&number, &after, json!({})).await.json()["status"], "Success");
    assert_eq!(demo.get(&format!("/transaction/{before}")).await.json()["status"], "Success");
    assert_eq!(demo.bill(&number).await.0.len(), 2, "each once");
}
