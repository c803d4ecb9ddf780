//! `onbill load` as the binary that is built: what it finds, what it counts, and what it ends with.
//!
//! Invariant: no figure of speed is held against anything. Where time matters, a target stalls for a known time, and
//! what is claimed holds on the slowest machine.

use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use onbill::commands::certify::document::Document;
use serde_json::Value;

use crate::certify::scripted::{Reply, serve};
use crate::gateway::process::Running;

fn load(target: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onbill"));
    command.args(["load", "--target", target, "--json", "--warm-up", "0"]).args(arguments);
    command.env_clear().env("ONBILL_API_KEY", "demo-key").stdin(Stdio::null());
    command
}

/// Exit code, report (null where there is none), standard error.
fn told(output: &Output) -> (i32, Value, String) {
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().expect("it ended by itself"), report, err)
}

async fn run(mut command: Command) -> (i32, Value, String) {
    let output = tokio::task::spawn_blocking(move || command.output().expect("the built binary"));
    told(&output.await.expect("no panic"))
}

async fn run_at(target: &str, arguments: &[&str]) -> (i32, Value, String) {
    run(load(target, arguments)).await
}

fn row<'a>(report: &'a Value, face: &str, call: &str) -> &'a Value {
    let rows = report["rows"].as_array().expect("rows");
    rows.iter().find(|row| row["face"] == face && row["call"] == call).unwrap_or(&Value::Null)
}

const EVERYTHING: &str = "validate:2,charge:3,replay:2,refund:2,get:2,list:1,pin:1,notify:1";

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_answers_everything_over_both_faces_and_keeps_its_word() {
    let gateway = Running::sandbox();
    let target = format!("http://{}", gateway.authority());
    for face in [&["both"][..], &["json", "--json-http", "2"], &["both", "--rate", "400", "--ids", "random"]] {
        let arguments = [&["--mix", EVERYTHING, "--requests", "400", "--prepare", "20", "--face"], face].concat();
        let (code, report, err) = run_at(&target, &arguments).await;
        assert_eq!((code, &report["errors"]), (0, &serde_json::json!([])), "{err} {report:#}");
        assert_eq!(row(&report, "all", "all")["calls"], 400);
        for call in ["validate", "charge", "replay", "refund", "get", "list", "pin", "notify"] {
            assert!(row(&report, "json", call)["calls"].as_u64() > Some(0), "{call}: {report:#}");
        }
        let check = &report["read_back"];
        assert_eq!(
            (&check["lost"], &check["unanswered"], &check["looked_up"]),
            (&0.into(), &0.into(), &check["taken"])
        );
        // Pending ones too, as a busy machine has some. Replays are answered but make nothing new; what was prepared is
        // looked up as well.
        let answered =
            report["answered"].as_object().expect("statuses").values().filter_map(Value::as_u64).sum::<u64>();
        let replays: u64 =
            ["grpc", "json"].iter().filter_map(|face| row(&report, face, "replay")["calls"].as_u64()).sum();
        assert_eq!(check["taken"].as_u64(), Some(answered - replays + 20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_run_of_the_same_name_knows_the_charges_of_the_earlier_one() {
    let gateway = Running::sandbox();
    let target = format!("http://{}", gateway.authority());
    let (code, _, err) = run_at(&target, &["--mix", "charge", "--requests", "50", "--run", "same1"]).await;
    assert_eq!(code, 0, "{err}");
    let again = ["--mix", "replay:1,get:1", "--requests", "200", "--run", "same1", "--known", "50"];
    let (code, report, err) = run_at(&target, &again).await;
    assert_eq!((code, &report["errors"]), (0, &serde_json::json!([])), "{err}");
    let more = ["--mix", "get:1", "--requests", "200", "--run", "same1", "--known", "90"];
    let (code, report, _) = run_at(&target, &more).await;
    assert_eq!((code, &report["errors"][0]["code"]), (1, &"transaction-not-found".into()), "40 were never made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_begin_ends_with_2_and_one_line() {
    let gateway = Running::sandbox();
    let target = format!("http://{}", gateway.authority());
    let operations = format!("http://{}", gateway.admin());
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    for face in ["grpc", "json", "both"] {
        let mut wrong_key = load(&target, &["--face", face]);
        wrong_key.env("ONBILL_API_KEY", "wrong-key");
        let mut no_key = load(&target, &["--face", face]);
        no_key.env_remove("ONBILL_API_KEY");
        for (command, why) in [
            (wrong_key, "not authorised: "),
            (no_key, "no API key: "),
            (load(&closed, &["--face", face]), "not reachable: "),
            (load(&operations, &["--face", face]), "not a gateway: "),
            (load("gateway.example", &["--face", face]), "--target gateway.example: "),
            (load(&target, &["--face", face, "--numbers", "/nowhere/numbers"]), "--numbers /nowhere/numbers: "),
        ] {
            let (code, report, err) = run(command).await;
            assert_eq!((code, &report), (2, &Value::Null), "{err}");
            let line = err.strip_prefix("error: ").expect("an error");
            assert!(line.starts_with(why) && line.lines().count() == 1, "{face}: {err}");
            assert!(!err.contains("wrong-key") && !err.contains("demo-key"), "{err}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_end_with_1_unless_they_are_expected() {
    let gateway = Running::sandbox();
    let target = format!("http://{}", gateway.authority());
    // Condition 02: the account has ceased.
    let refused = ["--mix", "validate", "--condition", "02", "--requests", "50"];
    let (code, report, _) = run_at(&target, &refused).await;
    assert_eq!((code, &report["errors"][0]["code"]), (1, &"account-not-found".into()));
    assert_eq!((&report["errors"][0]["count"], &row(&report, "all", "all")["errors"]), (&50.into(), &50.into()));
    let expected = [&refused[..], &["--expect", "account-not-found"]].concat();
    assert_eq!(run_at(&target, &expected).await.0, 0);
    let (code, _, err) = run_at(&target, &["--mix", "get", "--condition", "02"]).await;
    assert_eq!((code, err.as_str()), (1, "error: no charge was taken before measuring: account-not-found\n"));
}

/// Answers as a gateway does that books everything, but for what `other` says.
fn books_all(
    other: impl Fn(&str, &str) -> Option<Reply> + Send + Sync + 'static,
) -> impl Fn(&str, &str, &Document) -> Reply + Send + Sync + 'static {
    move |method, path, body| {
        if let Some(reply) = other(method, path) {
            return reply;
        }
        let id = body.get("extTransactionId").and_then(Document::text).unwrap_or_default();
        match method {
            "POST" => {
                Reply::json(200, &format!(r#"{{"extTransactionId":"{id}","status":"Success","description":""}}"#))
            }
            _ => Reply::json(200, r#"{"currency":"MXN","amount":"9.99","status":"Success"}"#),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_is_lost_or_turned_fails_the_run() {
    let found = |what: &'static str, status: u16| {
        books_all(move |method, path| {
            let is_it = method == "GET" && path.contains("c000000000007");
            is_it.then(|| Reply::json(status, what))
        })
    };
    for (what, status, lost) in [
        (r#"{"code":"transaction-not-found","message":""}"#, 404, 1),
        (r#"{"currency":"MXN","amount":"9.99","status":"Failure"}"#, 200, 1),
        (r#"{"currency":"MXN","amount":"99.9","status":"Success"}"#, 200, 1),
        (r#"{"currency":"MXN","amount":"9.99","status":"Success"}"#, 200, 0),
    ] {
        let target = serve(Arc::new(found(what, status))).await.to_string();
        let (code, report, _) = run_at(&target, &["--face", "json", "--mix", "charge", "--requests", "20"]).await;
        assert_eq!((code, &report["read_back"]["lost"]), (lost, &lost.into()), "{what}: {report:#}");
        assert_eq!(report["read_back"]["looked_up"], 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_clock_a_target_that_stalls_is_charged_with_all_that_it_held_up() {
    const STALL: Duration = Duration::from_millis(800);
    let seen = AtomicU32::new(0);
    let script = books_all(move |_, _| {
        // One call among 400; those behind it are answered at once.
        if seen.fetch_add(1, Ordering::Relaxed) == 100 {
            std::thread::sleep(STALL);
        }
        None
    });
    let target = serve(Arc::new(script)).await.to_string();
    let arguments = ["--face", "json", "--mix", "validate", "--in-flight", "1", "--rate", "200", "--requests", "400"];
    let (code, report, err) = run_at(&target, &arguments).await;
    assert_eq!((code, &row(&report, "all", "all")["calls"]), (0, &400.into()), "{err}");
    // 160 calls were due while it stalled, the first of them 800 ms: the tenth part of all that waited longest
    // waited at least 600 ms. A client that waits for each answer sees one slow call.
    let corrected = &row(&report, "all", "all")["latency_us"];
    let p90_us = |latency: &Value| latency["p90"].as_f64().expect("a number");
    assert!(p90_us(corrected) >= 550_000.0, "{report:#}");
    assert!(p90_us(&report["latency_as_sent_us"]) < p90_us(corrected), "{report:#}");
    assert!(corrected["max"].as_f64() >= Some(790_000.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_were_due_and_never_sent_are_errors_and_no_secret() {
    // Nothing is answered after the first call, which finds out whether it is a gateway.
    let seen = AtomicU32::new(0);
    let script = books_all(move |_, _| {
        if seen.fetch_add(1, Ordering::Relaxed) > 0 {
            std::thread::sleep(Duration::from_secs(4));
        }
        None
    });
    let target = serve(Arc::new(script)).await.to_string();
    let arguments = ["--face", "json", "--mix", "validate", "--in-flight", "1", "--rate", "100", "--requests", "50"];
    let (code, report, _) = run_at(&target, &[&arguments[..], &["--timeout", "1"]].concat()).await;
    let count = |code: &str| {
        let errors = report["errors"].as_array().expect("errors").iter();
        errors.filter(|errors| errors["code"] == code).filter_map(|errors| errors["count"].as_u64()).sum::<u64>()
    };
    assert_eq!((code, count("not-sent") + count("timed-out")), (1, 50), "{report:#}");
    assert!(count("not-sent") > 0 && count("timed-out") > 0, "{report:#}");
    assert_eq!(row(&report, "all", "all")["calls"], 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_dies_is_told_with_what_is_not_known() {
    let gateway = Running::sandbox();
    let target = format!("http://{}", gateway.authority());
    let arguments = ["--mix", "charge", "--rate", "50", "--requests", "250", "--in-flight", "8", "--timeout", "2"];
    let child = load(&target, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let partner = crate::gateway::client::Partner::demo(&gateway);
    while partner.get("/transactions").await.json()["transactions"].as_array().is_none_or(Vec::is_empty) {}
    gateway.kill();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().expect("it ends"));
    let (code, report, err) = told(&output.await.expect("no panic"));
    assert_eq!(code, 1, "{err}");
    let codes: Vec<&str> =
        report["errors"].as_array().expect("errors").iter().filter_map(|errors| errors["code"].as_str()).collect();
    assert!(codes.contains(&"not-connected"), "{codes:?}");
    let check = &report["read_back"];
    assert_eq!((&check["lost"], &check["unanswered"]), (&0.into(), &check["looked_up"]), "nobody could be asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_the_calls_and_not_the_report() {
    let seen = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&seen);
    let script = books_all(move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        None
    });
    let target = serve(Arc::new(script)).await.to_string();
    for more in [&[][..], &["--rate", "100"]] {
        seen.store(0, Ordering::Relaxed);
        let arguments =
            [&["--face", "json", "--mix", "charge", "--duration", "3600", "--in-flight", "4"], more].concat();
        let child = load(&target, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        while seen.load(Ordering::Relaxed) < 30 {
            tokio::task::yield_now().await;
        }
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().expect("it ends"));
        let (code, report, err) = told(&output.await.expect("no panic"));
        assert_eq!((code, &report["ended_early"]), (0, &true.into()), "{err} {report:#}");
        assert_eq!(report["read_back"]["looked_up"], report["read_back"]["taken"]);
    }
}
