//! What a run says of targets: sound, flawed, without a sandbox, or no gateway at all.
//!
//! Invariant: the targets are scripts, so that each claim is about the certifier and about nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use onbill::commands::certify::document::Document;
use onbill::commands::certify::probe::TargetError;
use onbill::commands::certify::report::{html, json, junit};
use onbill::commands::certify::verdict::CaseResult;
use onbill::commands::certify::{Face, Options, Outcome, Silent, Verdict, certify};

use super::scripted::{Reply, Script, serve};

const NUMBER: &str = "5598765401";

/// The least that can be certified: account validation, and nothing behind it.
fn sound(method: &str, path: &str, body: &Document) -> Reply {
    let address = body.get("address").and_then(Document::text);
    match (method, path, address) {
        ("POST", "/account/validate", Some(NUMBER)) => {
            Reply::json(200, r#"{ "status": "ACTIVE", "type": "postpaid" }"#).with("x-account-id", "acc_1")
        }
        ("POST", "/account/validate", Some("abc")) => Reply::json(
            400,
            r#"{"code":"invalid-request","message":"Invalid request.","validationErrors":[{"code":"violation-on-address","reason":"must match \"^[0-9]{10}$\""}]}"#,
        ),
        ("POST", "/account/validate", _) => {
            Reply::json(400, r#"{"code":"invalid-request","message":"Invalid request."}"#)
        }
        _ => Reply::json(404, r#"{"code":"not-found","message":"Not found."}"#),
    }
}

async fn run(script: impl Fn(&str, &str, &Document) -> Reply + Send + Sync + 'static, cases: &str) -> Outcome {
    run_or_not(script, cases).await.expect("a run")
}

async fn run_or_not(
    script: impl Fn(&str, &str, &Document) -> Reply + Send + Sync + 'static,
    cases: &str,
) -> Result<Outcome, TargetError> {
    let script: Arc<Script> = Arc::new(script);
    let accounts = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(accounts.path(), format!("active-postpaid = \"{NUMBER}\"")).expect("a file");
    let mut options = Options::new(serve(script).await, "key");
    options.faces = vec![Face::Json];
    options.cases = cases.parse().expect("cases");
    options.accounts = Some(accounts.path().to_owned());
    options.timeout = Duration::from_secs(5);
    certify(options, Arc::new(Silent)).await
}

/// Where a result differs.
fn places(outcome: &Outcome) -> Vec<&str> {
    outcome.results.iter().flat_map(CaseResult::differences).map(|(_, it)| it.at.as_str()).collect()
}

#[tokio::test]
async fn sound_answers_pass_and_what_cannot_be_run_is_told() {
    let outcome = run(sound, "1,2,7").await;
    let verdicts: Vec<(u8, Verdict)> = outcome.results.iter().map(|result| (result.id, result.verdict)).collect();
    assert_eq!(verdicts, [(1, Verdict::Passed), (2, Verdict::NotChecked), (7, Verdict::Passed)]);
    let needs = outcome.results[1].needs.as_deref().unwrap_or_default();
    assert!(needs.starts_with("needs a number for `ceased`"), "{needs}");
    assert!(!outcome.all_hold() && !outcome.run.sandbox);
}

#[tokio::test]
async fn each_thing_that_is_changed_is_found_where_it_is() {
    let validated = r#"{"status":"ACTIVE","type":"postpaid"}"#;
    let with = |status: u16, body: &str| Reply::json(status, body).with("x-account-id", "acc_1");
    for (reply, place) in [
        (with(201, validated), "status"),
        (Reply::json(200, validated), "header x-account-id"),
        (with(200, r#"{"status":"Active","type":"postpaid"}"#), "body.status"),
        (with(200, r#"{"status":"ACTIVE"}"#), "body.type"),
        (with(200, r#"{"status":"ACTIVE","type":"postpaid","id":"1"}"#), "body.id"),
        (with(200, r#"{"type":"postpaid","status":"ACTIVE"}"#), "body (order of keys)"),
        (with(200, r#"{"status":"ACTIVE","type":"postpaid","type":"postpaid"}"#), "body.type"),
        (with(200, r#"["ACTIVE"]"#), "body"),
        (with(200, "ACTIVE"), "body"),
    ] {
        let outcome = run(
            move |method, path, body| match body.get("address") {
                Some(_) => reply.clone(),
                None => sound(method, path, body),
            },
            "1",
        )
        .await;
        assert_eq!(places(&outcome), [place]);
        assert_eq!(outcome.failed(Face::Json), [1]);
    }
}

#[tokio::test]
async fn a_gateway_that_is_full_is_asked_again_when_it_says() {
    let asked = AtomicU32::new(0);
    let outcome = run(
        move |method, path, body| {
            if body.get("address").is_some() && asked.fetch_add(1, Ordering::Relaxed) == 0 {
                return Reply::json(429, r#"{"code":"too-many-requests","message":"Too many requests."}"#)
                    .with("retry-after", "0");
            }
            sound(method, path, body)
        },
        "1",
    )
    .await;
    assert!(outcome.all_hold());
}

#[tokio::test]
async fn what_is_no_gateway_is_told_in_one_line() {
    for (status, body, wanted) in [
        (401, r#"{"code":"authorization-failure","message":"Not authorized."}"#, "not authorised: "),
        (403, "", "not authorised: "),
        (404, "<html>\n<p>not here</p>", "not a gateway: "),
        (200, "{}", "not a gateway: "),
    ] {
        let error = run_or_not(move |_, _, _| Reply::json(status, body), "1").await.expect_err("no run").to_string();
        assert!(error.starts_with(wanted) && !error.contains('\n'), "{error}");
    }
}

#[tokio::test]
async fn a_closed_port_is_not_reachable_on_either_face() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    for face in [Face::Json, Face::Grpc] {
        let mut options = Options::new(format!("http://{address}").parse().expect("a URL"), "key");
        options.faces = vec![face];
        let error = certify(options, Arc::new(Silent)).await.expect_err("nobody is there");
        assert!(matches!(error, TargetError::NotReachable(_)), "{error}");
    }
}

#[tokio::test]
async fn reports_say_the_same_and_hold_no_whole_number() {
    let outcome = run(
        |method, path, body| match body.get("address").and_then(Document::text) {
            Some(NUMBER) => Reply::json(200, &format!(r#"{{"status":"<b>{NUMBER}</b>","type":"PIN 123456"}}"#))
                .with("x-account-id", "acc_1"),
            _ => sound(method, path, body),
        },
        "1,2,7",
    )
    .await;
    let (page, xml, document) = (html::render(&outcome), junit::render(&outcome), json::render(&outcome));
    for text in [&page, &xml, &document] {
        assert!(!text.contains(NUMBER) && !text.contains("123456"), "masked");
        assert!(text.contains("559*****01"), "and shown as far as it may be");
    }
    assert!(!page.contains("<b>559") && !page.contains("<script") && !page.contains("src="));
    assert!(page.contains("id=\"case-1\" open") && !page.contains("id=\"case-7\" open"));
    assert!(xml.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\""), "{xml}");
    let read: serde_json::Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(read["format"], 1);
    assert_eq!(read["totals"]["failed"], 1);
    assert_eq!(read["results"][0]["verdict"], "failed");
}

#[tokio::test]
async fn the_outcome_as_json_has_the_keys_that_programs_read() {
    let outcome = run(sound, "1").await;
    let read: serde_json::Value = serde_json::from_str(&json::render(&outcome)).expect("JSON");
    let keys = |pointer: &str| -> String {
        let object = read.pointer(pointer).and_then(serde_json::Value::as_object).expect("an object");
        object.keys().map(String::as_str).collect::<Vec<_>>().join(" ")
    };
    // What is taken away here needs another format number.
    for (pointer, wanted) in [
        ("", "format run totals results"),
        ("/run", "subject run_id by target target_version certifier_version faces sandbox started_at elapsed_ms"),
        ("/totals", "passed failed not_checked not_offered with_unseen_effects"),
        (
            "/results/0",
            "id title category sub_category given behaviour face verdict needs account steps attempts notes elapsed_ms",
        ),
        (
            "/results/0/steps/0",
            "name prepare face call request expected actual differences effects not_checked remarks elapsed_ms",
        ),
    ] {
        assert_eq!(keys(pointer), wanted, "{pointer}");
    }
}
