//! `onbill certify` against the built gateway as if it were anybody's: no inbox, no bill, no clock to move.
//!
//! Invariant: the command is run as a person runs it, and judged by its exit code and what it writes.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use serde_json::Value;
use tokio::process::Command;

use super::flawed::act::Act;
use super::flawed::proxy::{Upstream, serve};
use crate::gateway::process::{Running, Setup, number};

/// Seconds that a PIN lives here: long enough to be entered on a busy machine, short enough to be waited for.
const PIN_TTL_S: &str = "4";

/// Nothing of the sandbox can be seen.
const BLIND: &[Act] = &[
    Act::Json(|asked, reply| {
        if asked.is_sandbox() {
            reply.status = StatusCode::NOT_FOUND;
            reply.body = r#"{"code":"not-found","message":"Not found."}"#.into();
        }
    }),
    Act::Headers(|asked, reply| {
        if asked.is_sandbox() && asked.is_grpc() {
            reply.body = bytes::Bytes::new();
            reply.trailers = None;
            reply.headers.insert("grpc-status", HeaderValue::from_static("12"));
        }
    }),
];

/// A gateway, the address where its sandbox cannot be seen, and what a person would have at hand.
struct Elsewhere {
    gateway: Running,
    target: String,
    directory: tempfile::TempDir,
}

impl Elsewhere {
    async fn start() -> Self {
        let gateway = Setup::default().environment("ONBILL__PIN__TTL_S", PIN_TTL_S).start();
        let target = serve(Upstream::at(gateway.authority()), Arc::from(BLIND)).await;
        let directory = tempfile::tempdir().expect("a directory");
        Self { gateway, target: target.to_string(), directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().expect("a path").to_owned()
    }

    /// Writes the numbers of a file for `--accounts`.
    fn accounts(&self) -> String {
        let list = |condition: &str, count: u32| -> String {
            let numbers: Vec<String> = (0..count).map(|_| format!("\"{}\"", number(condition))).collect();
            format!("[{}]", numbers.join(", "))
        };
        let lines = [
            ("active-postpaid", list("01", 12)),
            ("ceased", list("02", 1)),
            ("suspended-non-payment", list("03", 1)),
            ("suspended-lost-stolen", list("04", 1)),
            ("not-eligible", list("05", 1)),
            ("over-daily-limit", list("07", 2)),
            ("unknown", list("99", 1)),
        ];
        let text: String = lines.map(|(condition, numbers)| format!("{condition} = {numbers}\n")).concat();
        std::fs::write(self.path("accounts.toml"), text).expect("a file");
        self.path("accounts.toml")
    }

    /// A command that reads the PIN from the phone: behind the proxy's back.
    fn pin_command(&self) -> String {
        let read = format!(
            "curl -sf -H 'X-API-KEY: demo-key' 'http://{}/sandbox/messages?address='$1 | grep -oE '\\b[0-9]{{6}}\\b' | head -1",
            self.gateway.authority()
        );
        std::fs::write(self.path("read-pin"), format!("#!/bin/sh\n{read}\n")).expect("a file");
        format!("sh {}", self.path("read-pin"))
    }

    async fn certify(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onbill"));
        command
            .args(["certify", "--target", &self.target, "--json", "--by", "a test"])
            .env("ONBILL_API_KEY", "demo-key");
        command.args(arguments).stdin(std::process::Stdio::null()).output().await.expect("the built command")
    }
}

/// What a run wrote to standard output.
fn outcome(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The texts of what could not be seen.
fn unseen(outcome: &Value) -> Vec<&str> {
    let results = outcome["results"].as_array().expect("results");
    let steps = results.iter().flat_map(|result| result["steps"].as_array().expect("steps"));
    steps.flat_map(|step| step["not_checked"].as_array().expect("texts")).filter_map(Value::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_cases_hold_without_a_sandbox_and_what_is_unseen_is_told() {
    let elsewhere = Elsewhere::start().await;
    let (accounts, pins, report) = (elsewhere.accounts(), elsewhere.pin_command(), elsewhere.path("report"));
    let run = ["--accounts", &accounts, "--pin-command", &pins, "--pin-ttl", PIN_TTL_S, "--report", &report];
    let output = elsewhere.certify(&[&run[..], &["--strict"]].concat()).await;
    let outcome = outcome(&output);
    assert_eq!((&outcome["totals"]["passed"], &outcome["run"]["sandbox"]), (&56.into(), &false.into()), "{outcome:#}");
    assert_eq!(output.status.code(), Some(3), "--strict asks for what could not be seen");
    let unseen = unseen(&outcome);
    let told = |text: &&str| text.contains("not checked (needs a look at");
    assert!(unseen.len() > 20 && unseen.iter().all(told), "{unseen:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("waits for its PIN to expire"), "{output:?}");
    for name in ["index.html", "report.json", "junit.xml"] {
        assert!(Path::new(&report).join(name).exists(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_tells_what_became_of_a_run() {
    let elsewhere = Elsewhere::start().await;
    let accounts = elsewhere.accounts();
    let wrong = elsewhere.path("wrong.toml");
    std::fs::write(&wrong, format!("ceased = \"{}\"", number("01"))).expect("a file");
    for (arguments, code) in [
        (&["--case", "1-7,14", "--accounts", accounts.as_str()][..], 0),
        (&["--case", "2,7", "--accounts", &wrong], 1),
        (&["--case", "7", "--api-key", "wrong"], 2),
        (&["--case", "1,7"], 3),
        (&["--case", "1-7,14", "--accounts", &accounts, "--strict"], 3),
    ] {
        let output = elsewhere.certify(arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    }
}
