//! Nothing leaks: a whole certification, both ways round and over both faces, with the log as loud as it goes; then
//! everything that the gateway has written, shown, sent or answered is searched for every number and PIN that was used, and
//! for every secret: keys, tokens, secrets of webhooks, of the TLS port, of stores and of operations.
//!
//! Invariant: [`sources`] is the one list of places; whatever is added to the gateway that writes or shows something is
//! added there. What is searched for is recorded on the wire. Every place is shown to be one in which a leak would be
//! found: by marks that went there the way a leak would, and by secrets that are planted in it.

mod recorder;
mod run;
mod scan;

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use self::run::{
    ADMIN_TOKEN, COLLECTOR_KEY, CORRELATION, KEY, NAME, NARROW_KEY, OLD_SECRET, OVER_KEY, Run, TRANSACTION, WRITTEN,
};
use crate::gateway::client::Partner;
use crate::gateway::endpoint::SECRET;
use scan::{Kind, Secret, Source, leaks};

/// How long what is written behind the gateway's back may take to be there: generous, since test machines are busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// Marks, and the places of which each must be found in at least one, as a leak would be. The text is what the name of the
/// place holds.
const MARKED: [(&str, &str); 20] = [
    ("the log", CORRELATION),
    ("the traces", CORRELATION),
    ("/audit/audit-", CORRELATION),
    ("refusals over JSON", CORRELATION),
    ("refusals over gRPC", "Not authorized."),
    ("an event", TRANSACTION),
    ("ledger.sqlite", TRANSACTION),
    ("csp-sandbox", "ott-basic"),
    ("certification.sqlite", NAME),
    ("certification page", NAME),
    ("certification report", NAME),
    ("/metrics", "demo-ott"),
    ("/readyz", "ledger"),
    ("/webhooks", "demo-ott"),
    ("onbill webhook list", "demo-ott"),
    ("onbill config check --show", "keycloak"),
    ("onbill config check --show of all", "redis.example"),
    ("onbill config check of what is wrong", "csp.north.api_key"),
    ("certify/", "extTransactionId"),
    ("onbill ledger export", TRANSACTION),
];

/// Where something could leak to. What is new in the gateway is added here.
async fn sources(run: &Run) -> Vec<Source> {
    let admin = Partner::at(run.gateway.admin(), "");
    let shown = format!("Bearer {ADMIN_TOKEN}");
    let mut all = vec![Source::new("the log", run.gateway.log())];
    for path in ["/metrics", "/readyz", "/healthz", "/webhooks", "/webhooks?partner=demo-ott"] {
        let answer = admin.send(http::Method::GET, path, &[("authorization", &shown)], "").await;
        assert_eq!(answer.status, 200, "{path}");
        all.push(Source::new(path, format!("{:?}{}", answer.headers, answer.body)));
    }
    let spans = run.collector.spans().into_iter().flat_map(|span| span.encode_to_vec()).collect::<Vec<_>>();
    all.push(Source::new("the traces", spans));
    all.push(Source::new("what traces are of", run.collector.resources().concat()));
    all.extend(run.pages.iter().map(|(name, page)| Source::new(name, page.as_bytes())));
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
    let keys = [KEY, "other-key", OVER_KEY, NARROW_KEY, SECRET, OLD_SECRET, COLLECTOR_KEY, ADMIN_TOKEN, &run.cookie];
    let mut all: Vec<Secret> = keys.into_iter().chain(WRITTEN).map(|key| Secret::new(Kind::Key, key)).collect();
    all.extend(run.recorder.numbers().into_iter().map(|number| Secret::new(Kind::Number, number)));
    all.extend(run.recorder.pins().into_iter().map(|pin| Secret::new(Kind::Pin, pin)));
    for secret in [SECRET, OLD_SECRET] {
        let bytes = STANDARD.decode(secret.trim_start_matches("whsec_")).expect("base64");
        all.push(Secret::new(Kind::Key, bytes));
    }
    for token in &run.tokens {
        // The signature by itself too: with it, and what anybody can guess of the rest, a token is made again.
        all.push(Secret::new(Kind::Token, token.as_str()));
        all.push(Secret::new(Kind::Token, token.rsplit('.').next().expect("three parts")));
    }
    for file in ["master.key", "certificate.key"] {
        let bytes = std::fs::read(run.own.path().join("data").join(file)).expect("a key");
        all.push(Secret::new(Kind::Key, bytes));
    }
    let pem = std::fs::read(run.own.path().join("key.pem")).expect("a key");
    let key = PrivateKeyDer::from_pem_slice(&pem).expect("a key");
    all.push(Secret::new(Kind::TlsKey, key.secret_der()));
    let lines = String::from_utf8(pem).expect("PEM");
    let lines = lines.lines().filter(|line| line.len() > 20 && !line.contains("-----"));
    all.extend(lines.map(|line| Secret::new(Kind::TlsKey, line)));
    all
}

/// Whether a mark is where it must be, found the way secrets are looked for.
fn is_marked(sources: &[Source], place: &str, mark: &str) -> bool {
    let mut here = sources.iter().filter(|source| source.name.contains(place));
    let mark = [Secret::new(Kind::Key, mark)];
    here.any(|source| !leaks(&[Source::new("a place", source.bytes.clone())], &mark).is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_number_pin_or_secret_of_a_whole_certification_is_anywhere_but_where_it_belongs() {
    let run = run::run().await;
    let since = Instant::now();
    // What is written behind the gateway's back comes when it comes.
    let sources = loop {
        let sources = sources(&run).await;
        let missing: Vec<_> = MARKED.iter().filter(|(place, mark)| !is_marked(&sources, place, mark)).collect();
        if missing.is_empty() {
            break sources;
        }
        assert!(since.elapsed() < PATIENCE, "not looked at, or nothing is found there: {missing:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let secrets = secrets(&run);
    let count = |kind: Kind| secrets.iter().filter(|secret| secret.kind == kind).count();
    assert!(count(Kind::Number) > 60 && count(Kind::Pin) > 15, "{} {}", count(Kind::Number), count(Kind::Pin));
    assert!(count(Kind::Token) == 10 && count(Kind::TlsKey) > 3, "{} {}", count(Kind::Token), count(Kind::TlsKey));
    let log = run.gateway.log();
    assert!(log.contains(r#""level":"DEBUG""#), "a quiet log leaks nothing");
    assert!(!log.contains("panicked"), "a panic is a fault of its own");
    let found = leaks(&sources, &secrets);
    assert!(found.is_empty(), "{} leaks, among them:\n{}", found.len(), found[..found.len().min(20)].join("\n"));

    for source in &sources {
        let mut planted = Vec::new();
        for secret in secrets.iter().filter(|secret| !source.holds.contains(&secret.kind)) {
            // Some of each kind; all would take long.
            planted.push(secret.kind);
            if planted.iter().filter(|kind| **kind == secret.kind).count() % 20 != 1 {
                continue;
            }
            let bytes = [&source.bytes[..], b" ", &secret.bytes, b" "].concat();
            let planted = Source { name: source.name.clone(), bytes, holds: source.holds };
            let found = leaks(&[planted], std::slice::from_ref(secret));
            assert!(!found.is_empty(), "a {:?} planted in {} is not found", secret.kind, source.name);
        }
    }
}
