//! The suite as it is run from the command line: the sandbox CSP over both protocols, and the example in Rust.
//!
//! Invariant: every process is the one that is built, on a port of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::operator::{KEY, Operator};

struct Ended {
    code: i32,
    out: String,
    err: String,
}

fn certify(arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onbill"));
    command.args(["certify", "csp"]).args(arguments).env("NO_COLOR", "1").env_remove("ONBILL_CSP_API_KEY");
    let output = command.output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: output.status.code().expect("it ended"), out: text(output.stdout), err: text(output.stderr) }
}

fn accounts(folder: &Path, text: &str) -> String {
    let path = folder.join("accounts.toml");
    std::fs::write(&path, text.replace("call_timeout_ms = 300", "call_timeout_ms = 5000")).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn the_sandbox_csp_passes_over_both_protocols_with_reports() {
    for protocol in ["http", "grpc"] {
        let folder = tempfile::tempdir().expect("a folder");
        let operator = Operator::start(&["--protocol", protocol]);
        let url = format!("http://{}", operator.authority());
        let example = certify(&["--accounts-example"]);
        let file = accounts(folder.path(), &example.out);
        let report = folder.path().join("report");
        let key_file = folder.path().join("key");
        std::fs::write(&key_file, format!("{KEY}\n")).expect("a file");
        let arguments = ["--protocol", protocol, "--url", &url, "--accounts", &file, "--json", "--api-key-file"];
        let rest = [key_file.to_str().expect("UTF-8"), "--report", report.to_str().expect("UTF-8")];
        let ended = certify(&[&arguments[..], &rest].concat());
        assert_eq!(ended.code, 0, "{protocol}: {}", ended.err);
        let outcome: Value = serde_json::from_str(&ended.out).expect("JSON");
        assert_eq!(outcome["totals"]["passed"], 36, "{protocol}");
        assert_eq!(outcome["run"]["subject"], "csp");
        assert!(ended.err.contains("all hold: 36 of 36 passed"), "{}", ended.err);
        for name in ["index.html", "report.json", "junit.xml"] {
            let text = std::fs::read_to_string(report.join(name)).expect("a report");
            assert!(text.contains("What was repeated is booked once"), "{name}");
            assert!(!text.contains("5550100001") && !text.contains(KEY), "{name} tells a number or the key");
        }
        // With another key it finds nothing, and says so.
        let ended = certify(&["--protocol", protocol, "--url", &url, "--accounts", &file, "--api-key", "wrong"]);
        assert_eq!(ended.code, 1, "{}", ended.out);
    }
}

#[test]
fn a_run_that_cannot_begin_ends_with_2_and_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let broken = accounts(folder.path(), "[csp]\ncurrency = \"MXN\"\n");
    let url = ["--protocol", "http", "--url", "http://127.0.0.1:1"];
    for (arguments, part) in [
        (&[&url[..], &["--accounts", "/nowhere"]].concat(), "--accounts /nowhere"),
        (&[&url[..], &["--accounts", &broken]].concat(), "--accounts"),
        (&url.to_vec(), "--accounts is missing"),
        (&vec!["--protocol", "http"], "--url"),
        (&[&url[..], &["--case", "99"]].concat(), "is no case"),
    ] {
        let ended = certify(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}");
        assert!(ended.err.contains(part), "{arguments:?}: {}", ended.err);
    }
    let list = certify(&["--list"]);
    assert_eq!((list.code, list.out.lines().count()), (0, 37));
}

/// The example, built as `cargo test` would build it.
fn example() -> PathBuf {
    let here = std::env::current_exe().expect("this test");
    let profile = here.ancestors().nth(2).expect("the folder of the profile");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--locked", "--offline", "--example", "csp", "--target-dir"]);
    command.arg(profile.parent().expect("the target directory")).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    assert!(command.status().expect("cargo runs").success());
    profile.join("examples/csp")
}

/// A process that is gone when this is.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone where a test has killed it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn started(bill: &Path) -> (Running, String) {
    let mut command = Command::new(example());
    command.arg(bill).args(["127.0.0.1:0", KEY]).stdout(Stdio::piped());
    let mut child = Running(command.spawn().expect("the example"));
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().expect("its output")).read_line(&mut line).expect("text");
    let address = line.trim().rsplit(' ').next().expect("an address");
    (child, format!("http://{address}"))
}

#[test]
fn the_example_in_rust_passes_and_keeps_what_it_has_booked_when_it_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = accounts(folder.path(), include_str!("../../deploy/csp/examples/accounts.toml"));
    let bill = folder.path().join("bill.sqlite");
    let lines = || {
        let bill = rusqlite::Connection::open(&bill).expect("a bill");
        let count = bill.query_row("select count(*), sum(minor) from line", [], |row| Ok((row.get(0)?, row.get(1)?)));
        count.expect("a count")
    };
    let mut before: (i64, i64) = (0, 0);
    for _ in 0..2 {
        let (_running, url) = started(&bill);
        let arguments = ["--protocol", "grpc", "--url", &url, "--api-key", KEY, "--accounts", &file];
        let ended = certify(&arguments);
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
        assert!(ended.out.contains("all hold: 35 of 36 passed"), "{}", ended.out);
        let after = lines();
        assert!(after.0 > before.0 && after.1 > before.1, "{before:?} {after:?}: its bill has grown");
        before = after;
    }
}
