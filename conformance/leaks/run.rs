//! What is done before anything is searched: a gateway with every secret that there can be, and all that is done with it.
//!
//! Invariant: every secret is one that works, and is used on both faces; beside them go marks, which are no secrets and
//! show that a place is one where a leak would be found.

use std::path::{Path, PathBuf};
use std::process::Output;

use http::Method;
use onbill::domain::api_key::KeyDigest;
use onbill::faces::pb::v1 as pb;
use onbill::faces::pb::v1::pin_service_client::PinServiceClient;
use onbill::faces::pb::v1::transaction_service_client::TransactionServiceClient;
use serde_json::json;
use tonic::Request;
use tonic::transport::Endpoint as Remote;

use super::recorder::Recorder;
use crate::gateway::callers::issuer::{self, Mood, Signer};
use crate::gateway::client::{Partner, charge};
use crate::gateway::endpoint::{Endpoint, SECRET, with_endpoint};
use crate::gateway::process::{Running, Setup, number};
use crate::seeing::collector::Collector;

pub const KEY: &str = "demo-key";
/// The webhook's secret from before it was changed.
pub const OLD_SECRET: &str = "whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH";
/// What the collector, the operations port, and stores want to see.
pub const COLLECTOR_KEY: &str = "collector-key-4417";
pub const ADMIN_TOKEN: &str = "operations-token-0123456789";
/// A key that is over, and one that is good for little.
pub const OVER_KEY: &str = "key-that-is-over";
pub const NARROW_KEY: &str = "key-that-reads";
/// Secrets that stand in configuration files, and where they do not fit.
pub const WRITTEN: [&str; 6] = [
    "redis-secret-1",
    "postgres-secret-2",
    "postgres-url-secret-3",
    "csp-secret-4",
    "whsec_bm90LWVub3VnaA",
    "key-in-place-of-a-digest",
];
/// A file with every secret that a file may hold.
const FULL: &str = r#"
[sandbox]
enabled = true
[redis]
addresses = ["redis.example:6379"]
password = "redis-secret-1"
[postgres]
url = "postgresql://onbill:postgres-url-secret-3@db1/onbill"
password = "postgres-secret-2"
[csp.north]
adapter = "http"
url = "https://csp.example"
api_key = "csp-secret-4"
currency = "EUR"
msisdn_pattern = "^[0-9]{9}$"
prefixes = ["9"]
forget_after_s = 60
[partner.demo-ott.webhook]
url = "https://ott.example"
secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH"]
"#;
/// A file with secrets in the wrong form, or in the wrong place.
const WRONG: &str = r#"
[sandbox]
enabled = true
[redis]
addresses = ["redis.example:6379"]
password = ["redis-secret-1"]
[postgres]
url = ["postgresql://onbill:postgres-url-secret-3@db1/onbill"]
password = { a = "postgres-secret-2" }
[csp.north]
adapter = "http"
url = "https://user:csp-secret-4@csp.example"
api_key = ["csp-secret-4"]
currency = "EUR"
msisdn_pattern = "^[0-9]{9}$"
prefixes = ["9"]
forget_after_s = 60
[partner.demo-ott.webhook]
url = "https://ott.example"
secrets = ["whsec_bm90LWVub3VnaA"]
[partner.other-ott]
key_sha256 = ["key-in-place-of-a-digest"]
"#;

/// Marks: what is no secret, and goes where secrets must not.
pub const CORRELATION: &str = "mark-of-a-correlation";
pub const TRANSACTION: &str = "mark-of-a-transaction";
pub const NAME: &str = "mark-of-a-run";

/// A run: the gateway, what stood before it, what its clients said, and what they were known by.
pub struct Run {
    pub gateway: Running,
    pub recorder: Recorder,
    pub endpoint: Endpoint,
    pub collector: Collector,
    pub own: tempfile::TempDir,
    pub outputs: Vec<(&'static str, Output)>,
    pub statuses: Vec<u8>,
    /// The certification's page and its reports, as a browser has seen them.
    pub pages: Vec<(String, String)>,
    pub cookie: String,
    pub tokens: Vec<String>,
}

/// Certifies the gateway and an OTT, and does what no certification does.
pub async fn run() -> Run {
    let own = tempfile::TempDir::new().expect("a directory");
    let endpoint = Endpoint::new().await;
    let collector = Collector::start().await;
    let signer = Signer::ec();
    let keys = issuer::Endpoint::start(Mood::Keys(vec![signer.jwk("1")])).await;
    let setup = setup(own.path(), &endpoint, &collector, &keys);
    let gateway = tokio::task::block_in_place(|| setup.start());
    let recorder = Recorder::before(gateway.authority(), &own.path().join("cert.pem")).await;
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
    let tokens = tokens(&signer);
    let demo = Partner::at(recorder.address(), KEY);
    known_by_tokens(&demo, &tokens).await;
    let (pages, cookie) = certified_in_a_browser(&demo).await;
    odd_requests(&demo).await;
    let statuses = refused_over_grpc(&url, &tokens).await;
    outputs.extend(said_of(&gateway, own.path()).await);
    endpoint.wait(1).await;
    Run { gateway, recorder, endpoint, collector, own, outputs, statuses, pages, cookie, tokens }
}

/// What commands print of a gateway and its configuration.
async fn said_of(gateway: &Running, own: &Path) -> Vec<(&'static str, Output)> {
    let folder = |name: &str| own.join(name).display().to_string();
    let mut outputs = Vec::new();
    let admin = format!("http://{}", gateway.admin());
    let token_file = folder("admin.token");
    let asked = ["--admin", &admin, "--admin-token-file", &token_file];
    let (data, audit) = (folder("data"), folder("data/audit"));
    let (config, full, wrong) = (folder("onbill.toml"), folder("full.toml"), folder("wrong.toml"));
    let reference = "0".repeat(32);
    let broken = folder("broken.toml");
    for (name, code, arguments) in [
        ("onbill ledger stuck", 0, vec!["ledger", "stuck", "--data-dir", &data]),
        ("onbill ledger verify", 0, vec!["ledger", "verify", "--data-dir", &data]),
        ("onbill ledger export", 0, vec!["ledger", "export", "--data-dir", &data, "--format", "jsonl"]),
        ("onbill audit verify", 0, vec!["audit", "verify", &audit]),
        ("onbill webhook list", 0, [&["webhook", "list"][..], &asked].concat()),
        ("onbill webhook list --json", 0, [&["webhook", "list", "--json"][..], &asked].concat()),
        ("onbill webhook test", 0, [&["webhook", "test", "--partner", "demo-ott"][..], &asked].concat()),
        ("onbill webhook resend", 0, [&["webhook", "resend", "--partner", "demo-ott"][..], &asked].concat()),
        (
            "onbill ledger settle",
            1,
            [&["ledger", "settle", &reference, "--as", "success", "--evidence", "e", "--by", "b"][..], &asked].concat(),
        ),
        ("onbill config check --show", 0, vec!["config", "check", "--show", &config]),
        ("onbill config check --show --json", 0, vec!["config", "check", "--show", "--json", &config]),
        ("onbill config check --show of all", 0, vec!["config", "check", "--show", &full]),
        ("onbill config check of what is wrong", 2, vec!["config", "check", "--show", &wrong]),
        ("onbill config check --json of what is wrong", 2, vec!["config", "check", "--json", &wrong]),
        ("onbill config check of what is broken", 2, vec!["config", "check", &broken]),
    ] {
        let output = onbill(arguments.into_iter().map(str::to_owned).collect()).await;
        assert_eq!(output.status.code(), Some(code), "{name}: {output:?}");
        outputs.push((name, output));
    }
    outputs
}

/// A gateway that knows its callers in every way, with files of secrets in a directory.
fn setup(own: &Path, endpoint: &Endpoint, collector: &Collector, keys: &issuer::Endpoint) -> Setup {
    crate::tls::certificate(own);
    let file = |name: &str, text: &str| -> PathBuf {
        std::fs::write(own.join(name), text).expect("a file");
        own.join(name)
    };
    let headers = file("headers", &format!("x-collector-key: {COLLECTOR_KEY}\n"));
    let admin = file("admin.token", ADMIN_TOKEN);
    let [over, narrow] = [OVER_KEY, NARROW_KEY].map(|key| KeyDigest::of(key.as_bytes()));
    let text = format!(
        "[sandbox]\nenabled = true\n[server]\nadmin_token_file = \"{}\"\n\
         [server.tls]\ncert_file = \"{}\"\nkey_file = \"{}\"\n\
         [traces]\nendpoint = \"{}\"\nheaders_file = \"{}\"\npause_ms = 10\nsample_per_mille = 1000\n\
         [partner.other-ott.key.over]\nsha256 = \"{over}\"\nexpires_at = \"2020-01-01T00:00:00Z\"\n\
         [partner.other-ott.key.narrow]\nsha256 = \"{narrow}\"\nscopes = [\"transactions:read\"]\n\
         [issuer.keycloak]\nissuer = \"https://id.example\"\njwks_url = \"{}\"\naudiences = [\"onbill\"]\n\
         [issuer.keycloak.clients]\nshop = \"demo-ott\"\n",
        admin.display(),
        own.join("cert.pem").display(),
        own.join("key.pem").display(),
        collector.url(),
        headers.display(),
        keys.url,
    );
    file("onbill.toml", &text);
    file("full.toml", FULL);
    file("wrong.toml", WRONG);
    file("broken.toml", "[redis]\npassword = \"redis-secret-1\n");
    let setup = Setup::default()
        .config(&text)
        .data_dir(&own.join("data"))
        .environment("ONBILL__LOG__FILTER", "trace")
        .environment("ONBILL__LOG__FORMAT", "json");
    with_endpoint(setup, "DEMO_OTT", &endpoint.url(), &format!("{SECRET},{OLD_SECRET}"))
}

async fn onbill(arguments: Vec<String>) -> Output {
    let ended = tokio::process::Command::new(env!("CARGO_BIN_EXE_onbill"))
        .args(arguments)
        .env("ONBILL_API_KEY", KEY)
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(std::time::Duration::from_mins(5), ended).await.expect("it ends").expect("the built binary")
}

/// Good ones, one that is over, one of another issuer's key and one that is cut short.
fn tokens(signer: &Signer) -> Vec<String> {
    let header = json!({ "alg": "ES256", "typ": "JWT", "kid": "1" });
    let claims = |exp: i64, scope: &str| {
        json!({ "iss": "https://id.example", "aud": "onbill", "azp": "shop", "sub": "s", "scope": scope,
                "iat": issuer::now_s(), "exp": issuer::now_s() + exp })
    };
    let all = "onbill:accounts onbill:transactions:write onbill:transactions:read";
    let good = signer.token(&header, &claims(3_000, all));
    let narrow = signer.token(&header, &claims(3_000, "onbill:accounts"));
    let over = signer.token(&header, &claims(-3_000, all));
    let forged = Signer::ec().token(&header, &claims(3_000, all));
    let cut = good[..good.len() - 4].to_owned();
    vec![good, narrow, over, forged, cut]
}

/// Calls with each token and key, good or not, and with marks on them.
async fn known_by_tokens(demo: &Partner, tokens: &[String]) {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let marked = |id: String| charge(&number("01"), &id, json!({}));
    let mut statuses = Vec::new();
    for (count, token) in tokens.iter().enumerate() {
        let authorization = format!("Bearer {token}");
        let headers = [
            ("x-api-key", ""),
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
            ("x-correlation-id", CORRELATION),
            ("traceparent", parent),
        ];
        let body = marked(format!("{TRANSACTION}-{count}")).to_string();
        statuses.push(demo.send(Method::POST, "/transaction", &headers, body).await.status);
    }
    assert_eq!(statuses, [200, 403, 401, 401, 401]);
    for key in [OVER_KEY, NARROW_KEY] {
        let headers = [("x-api-key", key), ("content-type", "application/json"), ("x-correlation-id", CORRELATION)];
        let refused =
            demo.send(Method::POST, "/transaction", &headers, marked(key.len().to_string()).to_string()).await;
        assert!([401, 403].contains(&refused.status), "{refused:?}");
    }
}

/// What a browser sees of a run, with the cookie of its session.
async fn certified_in_a_browser(demo: &Partner) -> (Vec<(String, String)>, String) {
    let form = ("content-type", "application/x-www-form-urlencoded");
    let entry = format!("key={KEY}");
    let right = demo.send(Method::POST, "/certification/sign-in", &[("x-api-key", ""), form], entry).await;
    let cookie = right.header("set-cookie").split(';').next().expect("a cookie").to_owned();
    let run = demo.post("/certification/runs", &json!({ "name": NAME })).await.json();
    let run = run["runId"].as_str().unwrap_or_else(|| panic!("{run}")).to_owned();
    let number = number("01");
    let addressed = json!({ "type": "MSISDN", "address": number });
    let headers = [("x-certification-run", run.as_str()), ("content-type", "application/json")];
    for path in ["/account/validate", "/pin"] {
        demo.send(Method::POST, path, &headers, addressed.to_string()).await;
    }
    let typed = json!({ "type": "MSISDN", "address": number, "pin": demo.pin(&number).await });
    demo.send(Method::POST, "/pin/validation", &headers, typed.to_string()).await;
    demo.send(Method::POST, "/transaction", &headers, charge(&number, "in-a-run", json!({})).to_string()).await;
    demo.post(&format!("/certification/runs/{run}/finish"), &json!({})).await;
    let mut pages = Vec::new();
    let signed_in = [("x-api-key", ""), ("cookie", cookie.as_str())];
    for page in ["", &format!("run/{run}"), &format!("run/{run}/report.html"), &format!("run/{run}/report.json")] {
        let seen = demo.send(Method::GET, &format!("/certification/{page}"), &signed_in, "").await;
        assert_eq!(seen.status, 200, "{page}");
        pages.push((format!("the certification page /{page}"), format!("{:?}{}", seen.headers, seen.body)));
    }
    let report = demo.get(&format!("/certification/runs/{run}/report?format=junit")).await;
    pages.push(("the certification report".to_owned(), report.body));
    (pages, cookie)
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
async fn refused_over_grpc(url: &str, tokens: &[String]) -> Vec<u8> {
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
        for token in &tokens[1..] {
            let mut request = Request::new(request.clone());
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a token"));
            keep(&money.create_transaction(request).await.expect_err("refused"));
        }
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
