//! The audit log: what is in it, that nothing can be changed in it unseen, and that it survives what gateways do not.
//!
//! Invariant: logs are made by real gateways or by the very code that they use, and checked by `onbill audit verify`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use onbill::adapters::audit::{FileAudit, OpenError, Settings};
use onbill::domain::ids::PartnerId;
use onbill::ports::audit::{Audit as _, Entry, Refused, Who};
use serde_json::{Value, json};

use crate::gateway::client::Partner;
use crate::gateway::process::{Setup, id, number};

/// What `onbill audit verify --json` says, and its exit code.
fn verify(arguments: &[&str]) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_onbill"))
        .args(["audit", "verify", "--json"])
        .args(arguments)
        .output()
        .expect("the built binary");
    let code = output.status.code().expect("an exit code");
    (code, serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}

fn holds(directory: &Path) -> Value {
    let (code, told) = verify(&[directory.to_str().expect("UTF-8")]);
    assert_eq!((code, &told["holds"]), (0, &json!(true)), "{told}");
    told
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).collect();
    found.sort();
    found
}

fn entries(directory: &Path) -> Vec<Value> {
    let texts = files(directory).into_iter().map(|file| std::fs::read_to_string(file).expect("a file"));
    let lines: Vec<String> = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn nobody_but_who_runs_the_gateway_reads_the_log() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a folder");
    let gateway = Setup::default().data_dir(directory.path()).start();
    // What is written is written behind the gateway's back, and all of it when it stops.
    assert!(gateway.stop().success());
    let logs = files(&directory.path().join("audit"));
    assert_eq!(logs.len(), 1);
    for log in logs {
        let mode = log.metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", log.display());
    }
}

#[tokio::test]
async fn who_did_what_with_which_outcome_is_written_down_and_a_flood_of_strangers_is_a_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let gateway = Setup::default().data_dir(directory.path()).start();
    let demo = Partner::demo(&gateway);
    let (number, charged) = (number("01"), id("a"));
    demo.charge(&number, &charged, json!({})).await;
    demo.charge(&number, &charged, json!({})).await;
    demo.charge(&number, &charged, json!({ "amount": "1" })).await;
    demo.post("/pin", &json!({ "type": "MSISDN", "address": number })).await;
    demo.post("/pin/validation", &json!({ "type": "MSISDN", "address": number, "pin": "nonsense" })).await;
    demo.get(&format!("/transaction/{charged}")).await;
    let stranger = Partner::with_key(&gateway, "a stolen key");
    for _ in 0..300 {
        assert_eq!(stranger.charge(&number, &charged, json!({})).await.status, 401);
    }
    gateway.hang_up();
    let stopped = tokio::task::spawn_blocking(move || gateway.stop()).await.expect("it stops");
    assert!(stopped.success());
    let audit = directory.path().join("audit");
    let told = holds(&audit);
    assert_eq!((&told["firstSeq"], &told["lost"], &told["unfinished"]), (&json!(1), &json!(0), &json!(false)));
    let all = entries(&audit);
    let brief: Vec<(&str, &str, &str)> = all
        .iter()
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().expect("a text");
            (text("who"), text("what"), text("outcome"))
        })
        .collect();
    let expected = [
        ("gateway", "file", "begun"),
        ("gateway", "start", "ok"),
        ("partner:demo-ott", "CreateTransaction", "Success"),
        ("partner:demo-ott", "CreateTransaction", "Success"),
        ("partner:demo-ott", "CreateTransaction", "invalid-request"),
        ("partner:demo-ott", "SendPin", "ok"),
        ("partner:demo-ott", "ValidatePin", "invalid-pin"),
    ];
    assert_eq!(brief[..expected.len()], expected);
    let rest: Vec<_> = brief[expected.len()..].to_vec();
    assert!(rest.contains(&("gateway", "stop", "ok")), "{rest:?}");
    let refused: Vec<&Value> = all.iter().filter(|entry| entry["who"] == "nobody").collect();
    assert!((1..=4).contains(&refused.len()), "{refused:?}");
    let count: u64 =
        refused.iter().map(|entry| entry["count"].as_str().expect("a count").parse::<u64>().expect("a number")).sum();
    assert_eq!(count, 300);
    assert_eq!(
        (&all[2]["transaction"], &all[2]["amount"], &all[2]["face"]),
        (&json!(charged), &json!("9.99"), &json!("json"))
    );
    assert_eq!((&all[2]["replayed"], &all[3]["replayed"]), (&Value::Null, &json!("true")));
    assert!(all[2]["address"].as_str().expect("masked").contains('*'));
}

#[tokio::test]
async fn a_gateway_that_is_killed_leaves_a_log_that_holds_and_the_next_one_goes_on_with_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let audit = directory.path().join("audit");
    let gateway = Setup::default().data_dir(directory.path()).environment("ONBILL__AUDIT__SYNC_MS", "10").start();
    let demo = Partner::demo(&gateway);
    for _ in 0..20 {
        demo.charge(&number("01"), &id("a"), json!({})).await;
    }
    let since = Instant::now();
    while entries(&audit).len() < 22 {
        assert!(since.elapsed() < Duration::from_secs(30), "entries are written soon");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gateway.kill();
    let before = holds(&audit);
    // What a kill in the middle of a write leaves.
    let file = files(&audit).pop().expect("a file");
    let mut bytes = std::fs::read(&file).expect("a file");
    bytes.extend_from_slice(b"{\"seq\":23,\"at\":\"20");
    std::fs::write(&file, bytes).expect("a file");
    let (code, torn) = verify(&[audit.to_str().expect("UTF-8")]);
    assert_eq!((code, &torn["unfinished"], &torn["entries"]), (0, &json!(true), &before["entries"]));
    let gateway = Setup::default().data_dir(directory.path()).start();
    Partner::demo(&gateway).charge(&number("01"), &id("a"), json!({})).await;
    assert!(gateway.stop().success());
    let after = holds(&audit);
    assert_eq!((&after["unfinished"], &after["files"]), (&json!(false), &json!(1)));
    assert!(entries(&audit).iter().any(|entry| entry["what"] == "torn line cut off" && entry["bytes"] == "18"));
}

fn settings(dir: &Path, file_bytes_max: u64) -> Settings {
    Settings { dir: dir.to_owned(), file_bytes_max, queue_max: 1024, sync: Duration::from_millis(10) }
}

fn entry(count: usize) -> Entry {
    let details = vec![("transaction", format!("order-{count}"))];
    Entry { who: Who::Partner(PartnerId::new("demo")), what: "SendPin".into(), outcome: "ok".into(), details }
}

/// Opens a log that may have just been closed. A process that another test starts at that moment holds a copy of the lock
/// until it runs its own program.
fn open_again(settings: &Settings) -> FileAudit {
    let since = Instant::now();
    loop {
        match FileAudit::open(settings) {
            Err(OpenError::Locked(_)) if since.elapsed() < Duration::from_secs(10) => std::thread::yield_now(),
            opened => return opened.expect("a log"),
        }
    }
}

/// A log of several files.
fn made(dir: &Path) -> Vec<PathBuf> {
    for round in 0..8 {
        // Opened anew each time: the chain goes on.
        let audit = open_again(&settings(dir, 900));
        for count in 0..6 {
            audit.note(entry(round * 6 + count));
        }
        audit.close();
    }
    let files = files(dir);
    assert!(files.len() > 3, "{files:?}");
    files
}

/// Changes the lines of a file.
fn edit(file: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let text = std::fs::read_to_string(file).expect("a file");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    std::fs::write(file, lines.join("\n") + "\n").expect("a file");
}

type Tampering = (&'static str, fn(&[PathBuf]), usize, u64);

/// What somebody may do to a log, and the file and line where it is found; 0: after the last one.
const TAMPERINGS: [Tampering; 9] = [
    ("a word", |files| edit(&files[1], |lines| lines[2] = lines[2].replace("SendPin", "SendNot")), 1, 3),
    ("a number", |files| edit(&files[0], |lines| lines[1] = lines[1].replace("order-0", "order-9")), 0, 2),
    ("a line that is gone", |files| edit(&files[1], |lines| drop(lines.remove(2))), 1, 3),
    ("a line twice", |files| edit(&files[1], |lines| lines.insert(2, lines[2].clone())), 1, 4),
    ("two lines in another order", |files| edit(&files[1], |lines| lines.swap(2, 3)), 1, 3),
    ("a line of somebody's own", |files| edit(&files[1], |lines| lines.insert(1, "{\"seq\":9}".to_owned())), 1, 2),
    ("the first line of a file", |files| edit(&files[1], |lines| drop(lines.remove(0))), 1, 1),
    ("a file that is gone", |files| std::fs::remove_file(&files[1]).expect("it was there"), 2, 1),
    ("an end that is gone", |files| edit(files.last().expect("a file"), |lines| drop(lines.pop())), usize::MAX, 0),
];

#[test]
fn what_was_done_to_a_log_is_found_where_it_was_done() {
    for (what, tamper, file, line) in TAMPERINGS {
        let directory = tempfile::tempdir().expect("a directory");
        let files = made(directory.path());
        holds(directory.path());
        tamper(&files);
        let (code, told) = verify(&[directory.path().to_str().expect("UTF-8")]);
        assert_eq!((code, &told["holds"]), (1, &json!(false)), "{what}: {told}");
        let expected = files.get(file).unwrap_or_else(|| files.last().expect("a file"));
        let left = || u64::try_from(std::fs::read_to_string(expected).expect("a file").lines().count()).expect("small");
        let line = if line == 0 { left() } else { line };
        let broken = (&told["broken"]["file"], &told["broken"]["line"]);
        assert_eq!(broken, (&json!(expected.display().to_string()), &json!(line)), "{what}: {told}");
    }
}

#[test]
fn a_log_that_was_written_anew_is_found_out_by_what_was_told_of_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let told = {
        made(directory.path());
        holds(directory.path())["last"].clone()
    };
    let other = tempfile::tempdir().expect("a directory");
    made(other.path());
    let path = other.path().to_str().expect("UTF-8");
    let head = format!("{}:{}", told["seq"], told["hash"].as_str().expect("a hash"));
    assert_eq!(verify(&[path]).0, 0, "it holds in itself");
    assert_eq!(verify(&["--head", &head, path]).0, 1, "and is not the one that was told of");
    assert_eq!(verify(&["--head", &head, directory.path().to_str().expect("UTF-8")]).0, 0);
    assert_eq!(verify(&["--head", "nonsense", path]).0, 2);
    assert_eq!(verify(&["/nowhere"]).0, 1);
}

#[test]
fn earlier_files_may_be_taken_away_and_the_rest_still_holds() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = made(directory.path());
    std::fs::remove_file(&files[0]).expect("it was there");
    let told = holds(directory.path());
    assert!(told["firstSeq"].as_u64().is_some_and(|seq| seq > 1), "and it is told where it begins: {told}");
}

#[test]
fn at_the_bound_entries_are_lost_and_the_log_says_how_many() {
    let directory = tempfile::tempdir().expect("a directory");
    let audit = FileAudit::open(&Settings { queue_max: 1, ..settings(directory.path(), 1_000_000) }).expect("a log");
    let count = 20_000;
    for at in 0..count {
        audit.note(entry(at));
    }
    audit.close();
    let told = holds(directory.path());
    let lost = told["lost"].as_u64().expect("a count");
    let written = entries(directory.path()).iter().filter(|entry| entry["what"] == "SendPin").count();
    assert!(lost > 0, "a queue of one is full at times");
    assert_eq!(u64::try_from(written).expect("small") + lost, u64::try_from(count).expect("small"));
}

#[test]
fn kinds_of_refusals_are_bounded_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let audit = FileAudit::open(&settings(directory.path(), 10_000_000)).expect("a log");
    for at in 0..5_000 {
        audit.refuse(Refused { partner: None, what: format!("rpc-{at}"), code: "forbidden" });
    }
    audit.close();
    let all = entries(directory.path());
    assert!(all.len() < 1_100, "{}", all.len());
    let counts = all.iter().filter_map(|entry| entry["count"].as_str()?.parse::<u64>().ok());
    assert_eq!(counts.sum::<u64>(), 5_000);
}

#[test]
fn one_directory_is_one_gateways() {
    let directory = tempfile::tempdir().expect("a directory");
    let _first = FileAudit::open(&settings(directory.path(), 1_000)).expect("a log");
    assert!(FileAudit::open(&settings(directory.path(), 1_000)).is_err());
}
