//! Certification of OTTs: the model OTT and its flaws, runs that last, and the page.

use std::process::{Command, Output};

use futures_util::StreamExt as _;
use http::Method;
use onbill::faces::pb::v1 as pb;
use onbill::faces::pb::v1::certification_service_client::CertificationServiceClient;
use serde_json::json;

use super::client::{Answer, Partner};
use super::grpc::{channel, keyed};
use super::process::{Running, Setup, number};

/// Each flaw, and the cases that it must break, exactly.
const FLAWS: [(&str, &[u8]); 14] = [
    ("ignores-ceased", &[2]),
    ("ignores-suspension", &[3, 4]),
    ("ignores-eligibility", &[5]),
    ("ignores-not-found", &[6]),
    ("ignores-malformed-address", &[7]),
    ("guesses-pin-of-unknown", &[9]),
    ("charges-after-invalid-pin", &[11, 12]),
    ("new-id-on-retry", &[15]),
    ("changes-retry", &[15]),
    ("charges-number-instead", &[16]),
    ("guesses-currency", &[17]),
    ("swaps-product", &[18]),
    ("refunds-twice", &[20]),
    ("charges-after-failed-refund", &[21, 22, 23]),
];

fn onbill(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_onbill")).args(arguments).output().expect("the built binary")
}

fn demo_ott(gateway: &Running, face: &str, more: &[&str]) -> (Option<i32>, String) {
    let url = format!("http://{}", gateway.authority());
    let output = onbill(&[&["demo-ott", "--url", &url, "--key", "demo-key", "--face", face], more].concat());
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), told)
}

/// The cases with this verdict, as `demo-ott` has told them.
fn with(verdict: &str, told: &str) -> Vec<u8> {
    let told = told.lines().filter_map(|line| line.trim_start().split_once("  "));
    told.filter(|(_, rest)| rest.starts_with(verdict)).filter_map(|(case, _)| case.parse().ok()).collect()
}

#[test]
fn the_model_ott_shows_all_28_over_either_face_and_its_certificate_verifies() {
    let gateway = Running::sandbox();
    let folder = tempfile::tempdir().expect("a folder");
    for face in ["json", "grpc"] {
        let report = folder.path().join(face);
        let (code, told) = demo_ott(&gateway, face, &["--report", report.to_str().expect("text")]);
        assert_eq!((code, with("passed", &told).len()), (Some(0), 28), "{told}");
        for file in ["certificate.html", "certificate.json", "certificate.xml"] {
            let file = report.join(file);
            let path = file.to_str().expect("text");
            let verified = onbill(&["certify", "verify", path]);
            assert_eq!(verified.status.code(), Some(0), "{path}: {verified:?}");
            let told = String::from_utf8_lossy(&verified.stdout).into_owned();
            assert!(told.contains("ertified") && told.contains("demo-ott"), "{told}");
            let text = std::fs::read_to_string(&file).expect("a certificate");
            std::fs::write(&file, text.replacen("demo-ott", "demo-otr", 1)).expect("changed");
            assert_eq!(onbill(&["certify", "verify", path]).status.code(), Some(1), "{path} was changed");
        }
    }
    assert_eq!(onbill(&["certify", "verify", "/nowhere"]).status.code(), Some(2));
}

#[test]
fn each_flaw_breaks_exactly_its_cases_over_either_face() {
    let gateway = Running::sandbox();
    for face in ["json", "grpc"] {
        for (flaw, breaks) in FLAWS {
            let (code, told) = demo_ott(&gateway, face, &["--flaw", flaw]);
            assert_eq!((code, with("failed", &told).as_slice()), (Some(1), breaks), "{face} {flaw}: {told}");
            assert_eq!(with("passed", &told).len(), 28 - breaks.len(), "{face} {flaw}: {told}");
        }
    }
}

async fn start(partner: &Partner, fields: serde_json::Value) -> String {
    let answer = partner.post("/certification/runs", &fields).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["runId"].as_str().expect("an id").to_owned()
}

/// Validates an account with a header that names a run.
async fn validate(partner: &Partner, run: &str, number: &str) -> Answer {
    let body = json!({"type": "MSISDN", "address": number}).to_string();
    let headers = [("content-type", "application/json"), ("x-certification-run", run)];
    partner.send(Method::POST, "/account/validate", &headers, body).await
}

/// The calls of a run, once there are this many.
async fn calls(partner: &Partner, run: &str, calls: u64) -> serde_json::Value {
    for _ in 0..2_000 {
        let seen = partner.get(&format!("/certification/runs/{run}")).await.json();
        if seen["calls"].as_u64() >= Some(calls) {
            return seen;
        }
    }
    panic!("{calls} calls are not seen");
}

#[tokio::test]
async fn a_run_and_what_it_has_seen_outlive_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Setup::default().data_dir(folder.path()).start();
    let run = start(&Partner::demo(&gateway), json!({"name": "lasts", "cases": "1,3"})).await;
    validate(&Partner::demo(&gateway), &run, &number("03")).await;
    calls(&Partner::demo(&gateway), &run, 1).await;
    gateway.kill();

    let gateway = Setup::default().data_dir(folder.path()).start();
    let demo = Partner::demo(&gateway);
    validate(&demo, &run, &number("01")).await;
    let seen = calls(&demo, &run, 2).await;
    let verdicts: Vec<_> = seen["cases"].as_array().expect("cases").iter().map(|case| &case["verdict"]).collect();
    assert_eq!(verdicts, ["incomplete", "passed"]);
    let listed = demo.get("/certification/runs").await.json();
    assert_eq!(listed["runs"][0]["runId"], run.as_str());
}

#[tokio::test]
async fn a_run_is_its_partners_alone_and_takes_only_calls_that_belong_to_it() {
    let gateway = Running::sandbox();
    let (demo, other) = (Partner::demo(&gateway), Partner::other(&gateway));
    let run = start(&demo, json!({"name": "mine"})).await;
    let path = format!("/certification/runs/{run}");
    for answer in [
        other.get(&path).await,
        other.get(&format!("{path}/report")).await,
        other.post(&format!("{path}/finish"), &json!({})).await,
        demo.get("/certification/runs/run_none").await,
    ] {
        assert_eq!(answer.brief(), (404, r#"{"code":"run-not-found","message":"Run not found"}"#));
    }
    let all = start(&demo, json!({"name": "all", "takesAll": true})).await;
    let twice = demo.post("/certification/runs", &json!({"name": "all", "takesAll": true})).await;
    assert_eq!(twice.status, 400, "{twice:?}");
    for (partner, named) in
        [(&demo, run.as_str()), (&other, run.as_str()), (&other, ""), (&demo, ""), (&demo, "run_none")]
    {
        validate(partner, named, &number("01")).await;
    }
    calls(&demo, &run, 1).await;
    calls(&demo, &all, 1).await;
    for id in [&run, &all] {
        let finished = demo.post(&format!("/certification/runs/{id}/finish"), &json!({})).await.json();
        assert_eq!((&finished["calls"], &finished["state"]), (&json!(1), &json!("finished")));
        validate(&demo, id, &number("01")).await;
        let after = demo.get(&format!("/certification/runs/{id}")).await.json();
        assert_eq!(after["calls"], 1, "a finished run takes nothing");
    }
}

/// The verdicts of a run's cases, in order.
fn verdicts(run: &pb::Run) -> Vec<&str> {
    run.cases.iter().map(|case| case.verdict.as_str()).collect()
}

#[tokio::test]
async fn who_watches_a_run_is_told_each_change_until_it_is_finished() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let run = start(&demo, json!({"name": "watched", "cases": "1,3"})).await;
    let mut client = CertificationServiceClient::new(channel(&gateway).await);
    let watch = keyed(pb::GetRunRequest { run_id: run.clone() });
    let mut told = client.watch_run(watch).await.expect("a stream").into_inner();
    let first = told.message().await.expect("no error").expect("the run as it stands");
    assert_eq!((first.state.as_str(), verdicts(&first)), ("open", vec!["not seen", "not seen"]));
    for (condition, expected) in [("01", ["incomplete", "not seen"]), ("03", ["incomplete", "passed"])] {
        validate(&demo, &run, &number(condition)).await;
        let change = told.message().await.expect("no error").expect("a change");
        assert_eq!(verdicts(&change), expected, "after condition {condition}");
    }
    demo.post(&format!("/certification/runs/{run}/finish"), &json!({})).await;
    let last = told.message().await.expect("no error").expect("the end");
    assert_eq!((last.state.as_str(), last.calls), ("finished", 2));
    assert_eq!(told.message().await.expect("no error"), None);
    let again = client.watch_run(keyed(pb::GetRunRequest { run_id: run })).await.expect("a stream").into_inner();
    let states: Vec<String> = again.map(|told| told.expect("no error").state).collect().await;
    assert_eq!(states, ["finished"], "a finished run is told once");
}

#[tokio::test]
async fn a_run_of_another_partner_or_of_nobody_cannot_be_watched() {
    let gateway = Running::sandbox();
    let others = start(&Partner::other(&gateway), json!({"name": "theirs"})).await;
    let mut client = CertificationServiceClient::new(channel(&gateway).await);
    for run_id in [others.as_str(), "run_none", ""] {
        let watch = keyed(pb::GetRunRequest { run_id: run_id.to_owned() });
        let refused = client.watch_run(watch).await.expect_err("not found");
        assert_eq!((refused.code(), refused.message()), (tonic::Code::NotFound, "Run not found"), "{run_id}");
    }
}

#[tokio::test]
async fn nothing_of_a_subscriber_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Setup::default().data_dir(folder.path()).start();
    let demo = Partner::demo(&gateway);
    let run = start(&demo, json!({"name": "discreet", "takesAll": true})).await;
    let number = number("01");
    let address = json!({"type": "MSISDN", "address": number});
    demo.post("/pin", &address).await;
    let pin = demo.pin(&number).await;
    demo.post("/pin/validation", &json!({"type": "MSISDN", "address": number, "pin": pin})).await;
    demo.charge(&number, "discreet-1", json!({})).await;
    let seen = calls(&demo, &run, 3).await.to_string();
    let page = demo.get(&format!("/certification/runs/{run}/report?format=html")).await.body;
    assert!(gateway.stop().success());
    let mut kept = seen.into_bytes();
    kept.extend(page.into_bytes());
    for file in ["certification.sqlite", "certification.sqlite-wal"] {
        kept.extend(std::fs::read(folder.path().join(file)).unwrap_or_default());
    }
    let holds = |text: &str| kept.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("****01"), "the call itself is there");
    for secret in [number.as_str(), &pin, "discreet-1", "demo-key"] {
        assert!(!holds(secret), "{secret} is kept");
    }
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

#[tokio::test]
async fn the_page_does_nothing_for_whoever_is_not_signed_in_or_comes_from_another_site() {
    let gateway = Running::sandbox();
    let browser = Partner::demo(&gateway);
    let no_key = ("x-api-key", "");
    let first = browser.send(Method::GET, "/certification/", &[no_key], "").await;
    assert_eq!(first.status, 200);
    let policy = first.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(!first.body.contains("demo"), "{}", first.body);

    let wrong = browser.send(Method::POST, "/certification/sign-in", &[no_key, FORM], "key=wrong").await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (403, ""));
    let right = browser.send(Method::POST, "/certification/sign-in", &[no_key, FORM], "key=demo-key").await;
    let cookie = right.header("set-cookie").to_owned();
    assert_eq!(right.status, 303);
    assert!(cookie.contains("HttpOnly; SameSite=Strict") && !cookie.contains("demo-key"), "{cookie}");
    let session = cookie.split(';').next().expect("a cookie").to_owned();
    let signed_in = [no_key, FORM, ("cookie", session.as_str())];

    let page = browser.send(Method::GET, "/certification/", &signed_in, "").await.body;
    let token = page.split("name=\"token\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a token");
    let good = format!("token={token}&name=A+%3Cb%3E&cases=");
    let changed = session.replace("demo-ott", "other-ott");
    for (why, headers, body, status) in [
        ("no session", vec![no_key, FORM], good.as_str(), 303),
        ("a session of one's own making", vec![no_key, FORM, ("cookie", changed.as_str())], &good, 303),
        ("no token", signed_in.to_vec(), "name=A", 403),
        ("another token", signed_in.to_vec(), "token=0&name=A", 403),
        ("another site", [&signed_in[..], &[("origin", "http://evil.example")]].concat(), &good, 403),
        ("another site, as told", [&signed_in[..], &[("sec-fetch-site", "cross-site")]].concat(), &good, 403),
        ("no name", signed_in.to_vec(), &good.replace("A+%3Cb%3E", ""), 400),
    ] {
        let answer = browser.send(Method::POST, "/certification/start", &headers, body.to_owned()).await;
        assert_eq!(answer.status, status, "{why}: {answer:?}");
        assert!(!answer.header("location").contains("/run/"), "{why}");
    }
    let listed = browser.get("/certification/runs").await.json();
    assert_eq!(listed["runs"], json!([]), "nothing was started");
    let started = browser.send(Method::POST, "/certification/start", &signed_in, good).await;
    let run = started.header("location").to_owned();
    let shown = browser.send(Method::GET, &run, &signed_in, "").await;
    assert!(shown.body.contains("A &lt;b&gt;") && !shown.body.contains("<b>A"), "{}", shown.body);
    assert_eq!(shown.body.matches("<tr id=\"case-").count(), 28);
    assert_eq!(browser.send(Method::GET, &run, &[no_key], "").await.status, 303, "signed out");
}
