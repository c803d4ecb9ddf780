//! Numbers, PINs and keys: in no log, trace, number or audit log, whatever was done.
//!
//! Invariant: everything is switched on and said as much as can be; all of it is searched for every number and PIN that
//! was used, in whatever surroundings.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::collector::Collector;
use crate::gateway::client::Partner;
use crate::gateway::process::{Running, Setup, id, number};

const TEXT: &str = "your parcel of 14 roses has arrived";

fn texts_of(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let files = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file());
    files.map(|path| String::from_utf8_lossy(&std::fs::read(path).expect("a file")).into_owned()).collect()
}

/// Everything that a gateway has said of itself.
async fn said(gateway: &Running, collector: &Collector, data_dir: &Path) -> Vec<(&'static str, String)> {
    let admin = Partner::at(gateway.admin(), "");
    let spans = collector.wait("spans", |spans| !spans.is_empty()).await;
    vec![
        ("the log", gateway.log()),
        ("the traces", format!("{spans:?}{:?}", collector.resources())),
        ("the numbers", admin.get("/metrics").await.body),
        ("readiness", admin.get("/readyz").await.body),
        ("the audit log", texts_of(&data_dir.join("audit"))),
    ]
}

fn talkative(collector: &Collector, data_dir: &Path) -> Setup {
    Setup::default()
        .data_dir(data_dir)
        .environment("ONBILL__LOG__FILTER", "trace")
        .environment("ONBILL__LOG__FORMAT", "json")
        .environment("ONBILL__TRACES__ENDPOINT", &collector.url())
        .environment("ONBILL__TRACES__PAUSE_MS", "10")
        .environment("ONBILL__TRACES__SAMPLE_PER_MILLE", "1000")
}

async fn everything(demo: &Partner, number: &str) -> String {
    let addressed = json!({ "type": "MSISDN", "address": number });
    demo.post("/account/validate", &addressed).await;
    demo.post("/pin", &addressed).await;
    let pin = demo.pin(number).await;
    for typed in ["000001", pin.as_str()] {
        demo.post("/pin/validation", &json!({ "type": "MSISDN", "address": number, "pin": typed })).await;
    }
    let charged = id("leak");
    for fields in
        [json!({}), json!({}), json!({ "amount": "-1", "referenceId": charged, "extTransactionId": id("leak") })]
    {
        demo.charge(number, &charged, fields).await;
    }
    demo.post("/notification", &json!({ "type": "MSISDN", "address": number, "message": TEXT })).await;
    demo.post("/notification", &json!({ "type": number, "address": number, "message": "" })).await;
    demo.post_text("/pin/validation", &format!("{{\"address\":\"{number}\",\"pin\":\"{pin}\",")).await;
    demo.get(&format!("/transaction/{number}")).await;
    demo.get(&format!("/nowhere/{number}?pin={pin}")).await;
    pin
}

#[tokio::test]
async fn no_number_pin_key_or_message_is_said_anywhere() {
    let (collector, directory) = (Collector::start().await, tempfile::tempdir().expect("a directory"));
    let gateway = talkative(&collector, directory.path()).start();
    let demo = Partner::demo(&gateway);
    let mut secrets = vec![TEXT.to_owned(), "demo-key".to_owned(), "14 roses".to_owned()];
    // Well, refused, lost, never applied, slow, unreachable.
    for condition in ["01", "02", "03", "08", "11", "12", "14", "15"] {
        let number = number(condition);
        let pin = if condition == "01" {
            everything(&demo, &number).await
        } else {
            demo.charge(&number, &id("leak"), json!({})).await;
            String::new()
        };
        secrets.extend([number, pin].into_iter().filter(|secret| !secret.is_empty()));
    }
    for (place, text) in said(&gateway, &collector, directory.path()).await {
        assert!(!text.is_empty(), "{place} says something");
        for secret in &secrets {
            let found = text
                .find(secret.as_str())
                .map(|at| text[at.saturating_sub(200)..].chars().take(400).collect::<String>());
            assert_eq!(found, None, "{secret} is in {place}");
        }
    }
}

#[tokio::test]
async fn a_whole_certification_over_both_faces_leaves_no_number_behind() {
    let (collector, directory) = (Collector::start().await, tempfile::tempdir().expect("a directory"));
    let gateway = talkative(&collector, directory.path()).environment("ONBILL__LOG__FILTER", "debug").start();
    let output = Command::new(env!("CARGO_BIN_EXE_onbill"))
        .args(["certify", "--target", &format!("http://{}", gateway.authority()), "--api-key", "demo-key"])
        .args(["--face", "both"])
        .output()
        .expect("the built certifier");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let numbers = regex::Regex::new(r"(^|[^0-9a-zA-Z])555[0-9]{7}([^0-9a-zA-Z]|$)").expect("a pattern");
    for (place, text) in said(&gateway, &collector, directory.path()).await {
        let found = numbers.find(&text).map(|found| text[found.start().saturating_sub(200)..found.end()].to_owned());
        assert_eq!(found, None, "a number is in {place}");
    }
}

#[tokio::test]
async fn every_line_of_a_call_has_its_correlation_and_its_trace() {
    let (collector, directory) = (Collector::start().await, tempfile::tempdir().expect("a directory"));
    let gateway = talkative(&collector, directory.path()).environment("ONBILL__LOG__FILTER", "onbill=trace").start();
    let demo = Partner::demo(&gateway);
    for condition in ["01", "11", "15"] {
        demo.charge(&number(condition), &id("line"), json!({})).await;
    }
    collector.wait("a reconciliation", |spans| spans.iter().any(|span| span.name == "reconcile")).await;
    // What is said outside of calls and of the workers' rounds: starting, and looking for work.
    let outside = ["onbill::runtime", "onbill::adapters::audit"];
    let log = gateway.log();
    let mut seen = 0;
    for line in log.lines() {
        let json: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let target = json["target"].as_str().expect("a target");
        if outside.iter().any(|module| target.starts_with(module)) {
            continue;
        }
        seen += 1;
        let span = &json["span"];
        assert_eq!(span["trace"].as_str().map(str::len), Some(32), "{line}");
        assert!(span["correlation"].as_str().is_some_and(|id| !id.is_empty()), "{line}");
    }
    assert!(seen > 0, "{log}");
}
