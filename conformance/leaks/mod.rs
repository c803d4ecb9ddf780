//! Nothing leaks: a whole certification, both ways round and over both faces, with the log as loud as it goes; then
//! everything that the gateway has written, shown or answered is searched for every number, PIN and key that was used.
//!
//! Invariant: [`sources`] is the one list of places; whatever is added to the gateway that writes or shows something is
//! added there. What is searched for is recorded on the wire. Every place is shown to be one in which a leak would be
//! found.

mod recorder;
mod scan;

use std::path::Path;
use std::process::Output;

use http::Method;
use onbill::faces::pb::v1 as pb;
use onbill::faces::pb::v1::pin_service_client::PinServiceClient;
use onbill::faces::pb::v1::transaction_service_client::TransactionServiceClient;
use serde_json::json;
use tonic::Request;
use tonic::transport::Endpoint as Remote;

use crate::gateway::client::{Partner, charge};
use crate::gateway::endpoint::{Endpoint, SECRET, with_endpoint};
use crate::gateway::process::{Running, Setup, number};
use recorder::Recorder;
use scan::{Kind, Secret, Source, leaks};

const KEY: &str = "demo-key";

/// A run: the gateway, what stood before it, and what its clients said.
struct Run {
    gateway: Running,
    recorder: Recorder,
    endpoint: Endpoint,
    own: tempfile::TempDir,
    outputs: Vec<(&'static str, Output)>,
    statuses: Vec<u8>,
}

/// Where something could leak to. What is new in the gateway is added here.
async fn sources(run: &Run) -> Vec<Source> {
    let admin = Partner::at(run.gateway.admin(), "");
    let mut all = vec![Source::new("the log", run.gateway.log())];
    for path in ["/metrics", "/readyz", "/healthz", "/webhooks"] {
        all.push(Source::new(path, admin.get(path).await.body));
    }
    all.push(Source::new("refusals over JSON", run.recorder.refusals()));
    all.push(Source::new("refusals over gRPC", run.statuses.clone()));
    for event in run.endpoint.received() {
        all.push(Source::new("an event", format!("{:?}{}", event.headers, event.body)));
    }
    for (name, output) in &run.outputs {
        all.push(Source::new(*name, [&output.stdout[..], &output.stderr[..]].concat()));
    }
    for folder in ["certify", "json", "grpc"] {
        files(&run.own.path().join(folder), &mut |name, bytes| all.push(Source::new(name, bytes)));
    }
    files(&run.own.path().join("data"), &mut |name, bytes| {
        let file = name.rsplit('/').next().unwrap_or_default();
        all.push(match file.split('.').next().unwrap_or_default() {
            // Whom a transaction is for is what a ledger is for.
            "ledger" => Source::holding(name, bytes, &[Kind::Number]),
            // The operator's own bill, and the phone's inbox.
            "csp-sandbox" => Source::holding(name, bytes, &[Kind::Number, Kind::Pin]),
            // Key bytes have to be somewhere.
            "master" | "certificate" if file.split('.').next_back() == Some("key") => {
                Source::holding(name, bytes, &[Kind::Key])
            }
            _ => Source::new(name, bytes),
        });
    });
    all
}

/// All files below a directory.
fn files(directory: &Path, take: &mut impl FnMut(String, Vec<u8>)) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, take);
        } else {
            take(path.display().to_string(), std::fs::read(&path).expect("a file"));
        }
    }
}

/// Everything that was used: by whoever spoke to the gateway, and by the gateway itself.
fn secrets(run: &Run) -> Vec<Secret> {
    let mut all =
        vec![Secret::new(Kind::Key, KEY), Secret::new(Kind::Key, "other-key"), Secret::new(Kind::Key, SECRET)];
    all.extend(run.recorder.numbers().into_iter().map(|number| Secret::new(Kind::Number, number)));
    all.extend(run.recorder.pins().into_iter().map(|pin| Secret::new(Kind::Pin, pin)));
    for file in ["master.key", "certificate.key"] {
        let bytes = std::fs::read(run.own.path().join("data").join(file)).expect("a key");
        all.push(Secret::new(Kind::Key, bytes));
    }
    all
}

async fn onbill(arguments: Vec<String>) -> Output {
    let ended = tokio::process::Command::new(env!("CARGO_BIN_EXE_onbill"))
        .args(arguments)
        .env("ONBILL_API_KEY", KEY)
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(std::time::Duration::from_mins(5), ended).await.expect("it ends").expect("the built binary")
}

/// Certifies the gateway and an OTT, and does what no certification does.
async fn run() -> Run {
    let own = tempfile::TempDir::new().expect("a directory");
    let endpoint = Endpoint::new().await;
    let setup = Setup::default()
        .data_dir(&own.path().join("data"))
        .environment("ONBILL__LOG__FILTER", "trace")
        .environment("ONBILL__LOG__FORMAT", "json");
    let setup = with_endpoint(setup, "DEMO_OTT", &endpoint.url(), SECRET);
    let gateway = tokio::task::block_in_place(|| setup.start());
    let recorder = Recorder::before(gateway.authority()).await;
    let url = format!("http://{}", recorder.address());
    let folder = |name: &str| own.path().join(name).display().to_string();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut outputs = Vec::new();
    let certify = words(&["certify", "--target", &url, "--face", "both", "--report", &folder("certify")]);
    outputs.push(("onbill certify", onbill(certify).await));
    for face in ["json", "grpc"] {
        let demo = words(&["demo-ott", "--url", &url, "--face", face, "--report", &folder(face)]);
        outputs.push((face, onbill(demo).await));
    }
    for (name, output) in &outputs {
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
    }
    let stranger = Partner::at(recorder.address(), KEY);
    odd_requests(&stranger).await;
    let statuses = refused_over_grpc(&url).await;
    let stuck = words(&["ledger", "stuck", "--data-dir", &folder("data")]);
    outputs.push(("onbill ledger stuck", onbill(stuck).await));
    endpoint.wait(1).await;
    Run { gateway, recorder, endpoint, own, outputs, statuses }
}

/// Trouble, and numbers and PINs where they do not belong.
async fn odd_requests(demo: &Partner) {
    for (count, condition) in ["07", "08", "11", "12", "13", "14", "15", "01"].into_iter().enumerate() {
        let number = number(condition);
        for amount in ["9.99", "2000", "-1"] {
            demo.post("/transaction", &charge(&number, &format!("odd-{count}"), json!({ "amount": amount }))).await;
        }
        let body = json!({ "type": "MSISDN", "address": number, "message": "x", "extNotificationId": "n" });
        demo.post("/notification", &body).await;
        for path in ["/transaction", "/account/validate", "/account", "/sandbox", "/certification/runs"] {
            demo.get(&format!("{path}/{number}?address={number}&pin=493817")).await;
        }
        for body in [
            json!({ "type": "EMAIL", "address": number }),
            json!({ "type": number, "address": [number] }),
            json!({ "type": "MSISDN", "address": format!("{number}0"), "pin": 493_817, "pageSize": "x" }),
        ] {
            for path in ["/account/validate", "/pin", "/pin/validation", "/transaction", "/notification"] {
                demo.post(path, &body).await;
            }
        }
        demo.post_text("/pin/validation", &format!(r#"{{"type":"MSISDN","address":"{number}","pin":"493817""#)).await;
        let bearer = [("authorization", "Bearer a-token-of-the-test"), ("x-api-key", "guess-5550142699")];
        demo.send(Method::GET, "/transactions", &bearer, "").await;
    }
}

/// Refusals over gRPC as a client sees them, details and all.
async fn refused_over_grpc(url: &str) -> Vec<u8> {
    let channel = Remote::from_shared(url.to_owned()).expect("an address").connect().await.expect("a connection");
    let (mut money, mut pins) = (TransactionServiceClient::new(channel.clone()), PinServiceClient::new(channel));
    let mut statuses = Vec::new();
    let mut keep = |status: &tonic::Status| {
        statuses.extend_from_slice(format!("{status:?}").as_bytes());
        statuses.extend_from_slice(status.details());
    };
    for (condition, amount, currency) in
        [("01", "x", "mxn"), ("02", "9.99", "MXN"), ("03", "9.99", "MXN"), ("15", "9.99", "MXN"), ("99", "9.99", "MXN")]
    {
        let number = number(condition);
        let request = pb::CreateTransactionRequest {
            ext_transaction_id: format!("grpc-{condition}"),
            r#type: "MSISDN".to_owned(),
            address: number.clone(),
            partner_product: "ott-basic".to_owned(),
            amount: amount.to_owned(),
            currency: currency.to_owned(),
            ..Default::default()
        };
        keep(&money.create_transaction(keyed(request)).await.expect_err("refused"));
        let typed = pb::ValidatePinRequest { r#type: "MSISDN".to_owned(), address: number, pin: "493817".to_owned() };
        keep(&pins.validate_pin(keyed(typed)).await.expect_err("refused"));
    }
    statuses
}

fn keyed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-api-key", KEY.parse().expect("a key"));
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_number_pin_or_key_of_a_whole_certification_is_anywhere_but_where_it_belongs() {
    let run = run().await;
    let (sources, secrets) = (sources(&run).await, secrets(&run));
    let count = |kind: Kind| secrets.iter().filter(|secret| secret.kind == kind).count();
    assert!(count(Kind::Number) > 60 && count(Kind::Pin) > 15, "{} {}", count(Kind::Number), count(Kind::Pin));
    let log = run.gateway.log();
    assert!(log.contains(r#""level":"DEBUG""#), "a quiet log leaks nothing");
    assert!(!log.contains("panicked"), "a panic is a fault of its own");
    for name in ["/metrics", "refusals over JSON", "refusals over gRPC", "an event", "certification.sqlite"] {
        let is_there = |source: &&Source| source.name.ends_with(name) && source.bytes.len() > 100;
        assert!(sources.iter().any(|source| is_there(&source)), "{name} is not looked at");
    }
    let found = leaks(&sources, &secrets);
    assert!(found.is_empty(), "{} leaks, among them:\n{}", found.len(), found[..found.len().min(20)].join("\n"));

    for source in &sources {
        for secret in secrets.iter().filter(|secret| !source.holds.contains(&secret.kind)).step_by(40) {
            let planted = [&source.bytes[..], b" ", &secret.bytes, b" "].concat();
            let planted = Source { name: source.name.clone(), bytes: planted, holds: source.holds };
            let found = leaks(&[planted], std::slice::from_ref(secret));
            assert!(!found.is_empty(), "a {:?} planted in {} is not found", secret.kind, source.name);
        }
    }
}
