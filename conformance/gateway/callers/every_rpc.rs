//! Every RPC, over both faces, for everybody who may not.

use std::fmt::Write as _;

use onbill::domain::api_key::KeyDigest;
use onbill::domain::scope::Scope;
use onbill::faces::auth::methods::SCOPES;
use serde_json::Value;

use super::{FORBIDDEN, NOBODY, Seen, over_grpc, over_json, routes, rpcs};
use crate::gateway::client::Partner;
use crate::gateway::process::{Running, Setup, id, number};
use crate::gateway::reload::reload;

fn config(stolen: bool) -> String {
    let digest = |key: &str| KeyDigest::of(key.as_bytes());
    let mut text = format!(
        "[sandbox]\nenabled = true\n[partner.other-ott.rate]\nper_second = 1\nburst = 1\n[partner.new-ott]\ncsps = [\"sandbox\"]\n\
         [partner.new-ott.product.film.charge_codes]\nsandbox = \"FILM\"\n\
         [partner.new-ott.key.old]\nsha256 = \"{}\"\nexpires_at = \"2020-01-01T00:00:00Z\"\n\
         [partner.new-ott.key.reader]\nsha256 = \"{}\"\nscopes = [\"transactions:read\"]\n",
        digest("expired-key"),
        digest("reader-key"),
    );
    if stolen {
        let digest = digest("stolen-key");
        let table = "[partner.new-ott.key.stolen]\nexpires_at = \"2199-01-01T00:00:00Z\"";
        writeln!(text, "{table}\nsha256 = \"{digest}\"").expect("a text");
    }
    text
}

/// Everything that makes a caller nobody.
fn bad() -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UifQ.c2ln";
    let bearer = Box::leak(format!("Bearer {token}").into_boxed_str());
    let long = Box::leak("k".repeat(2_000).into_boxed_str());
    vec![
        ("none", vec![]),
        ("stolen, and taken out since", vec![("x-api-key", "stolen-key")]),
        ("expired", vec![("x-api-key", "expired-key")]),
        ("nobody's", vec![("x-api-key", "wrong-key")]),
        ("empty", vec![("x-api-key", "")]),
        ("too long", vec![("x-api-key", long)]),
        ("another case", vec![("x-api-key", "DEMO-KEY")]),
        (
            "a digest in place of its key",
            vec![("x-api-key", "2a97516c354b68848cdbd8f54a226a0a55b21ed138e207ad6c5cbb9c00aa5aea")],
        ),
        ("the same key twice", vec![("x-api-key", "demo-key"), ("x-api-key", "demo-key")]),
        ("two partners' keys", vec![("x-api-key", "demo-key"), ("x-api-key", "other-key")]),
        ("two keys in one header", vec![("x-api-key", "demo-key, other-key")]),
        ("a key and a token", vec![("x-api-key", "demo-key"), ("authorization", bearer)]),
        ("a key and a password", vec![("x-api-key", "demo-key"), ("authorization", "Basic ZGVtbzprZXk=")]),
        ("a key as a token", vec![("authorization", "Bearer demo-key")]),
        ("a token that nobody here has issued", vec![("authorization", bearer)]),
        ("a token twice", vec![("authorization", bearer), ("authorization", bearer)]),
        ("a scheme without a token", vec![("authorization", "Bearer")]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_every_rpc_of_both_faces_every_bad_credential_is_the_same_nobody() {
    let gateway = tokio::task::block_in_place(|| Setup::default().config(&config(true)).start());
    let before = Partner::with_key(&gateway, "stolen-key").get("/transactions").await;
    assert_eq!(before.status, 200, "it was good once");
    reload(&gateway, &config(false)).await;
    let authority = gateway.authority();
    let routes = routes(authority).await;
    assert!(routes.len() >= 16, "{routes:?}");
    let (mut first_grpc, mut first_json): (Option<Seen>, Option<Seen>) = (None, None);
    for (why, headers) in bad() {
        for path in rpcs() {
            let seen = over_grpc(authority, path, &headers).await;
            assert_eq!((seen.status, seen.grpc.as_str()), (200, "16"), "{why}: {path}");
            let same = first_grpc.get_or_insert_with(|| seen.clone());
            assert_eq!(&seen, same, "{why}: {path}");
        }
        for (method, path) in &routes {
            let seen = over_json(authority, method, path, &headers).await;
            assert_eq!((seen.status, seen.body.as_str()), NOBODY, "{why}: {method} {path}");
            let same = first_json.get_or_insert_with(|| seen.clone());
            assert_eq!(&seen, same, "{why}: {method} {path}");
        }
    }
    let log = gateway.log();
    assert!(
        !["stolen-key", "expired-key", "wrong-key", "demo-key", "eyJ"].iter().any(|key| log.contains(key)),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_does_what_its_scopes_say_on_both_faces_and_sees_nothing_of_another_partner() {
    let gateway = tokio::task::block_in_place(|| Setup::default().config(&config(false)).start());
    let authority = gateway.authority();
    let headers = [("x-api-key", "reader-key")];
    for (path, scope) in SCOPES {
        let seen = over_grpc(authority, path, &headers).await;
        assert_eq!(seen.grpc == "7", scope != Scope::TransactionsRead, "{path}: {seen:?}");
        assert_ne!(seen.grpc, "16", "{path}");
    }
    for (method, path) in routes(authority).await {
        let seen = over_json(authority, &method, &path, &headers).await;
        let reads = path.starts_with("/transaction") && method == "GET";
        assert_eq!((seen.status, seen.body.as_str()) == FORBIDDEN, !reads, "{method} {path}: {seen:?}");
    }
    let demo = Partner::demo(&gateway);
    let mine = id("mine");
    assert_eq!(demo.charge(&number("01"), &mine, serde_json::json!({})).await.status, 200);
    let reader = Partner::with_key(&gateway, "reader-key");
    let (theirs, none) = (reader.get(&format!("/transaction/{mine}")).await, reader.get("/transaction/none").await);
    assert_eq!((theirs.status, &theirs.body), (404, &none.body), "another's is as good as none");
    assert_eq!(reader.get("/transactions").await.body, r#"{"transactions":[],"nextPageToken":""}"#);
}

/// What the gateway's own description says of an answer's status and code.
fn is_described(document: &Value, method: &str, path: &str, seen: &Seen) -> bool {
    let paths = document["paths"].as_object().expect("paths");
    let (_, operations) = paths.iter().find(|(known, _)| known.replace(['{', '}'], "") == path).expect("a path");
    let described = &operations[method.to_lowercase()]["responses"][seen.status.to_string()];
    let described = match described["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).expect("a reference leads somewhere"),
        None => described,
    };
    let codes = &described["content"]["application/json"]["schema"]["properties"]["code"]["enum"];
    let code = serde_json::from_str::<Value>(&seen.body).map_or(Value::Null, |body| body["code"].clone());
    described.is_object() && (code.is_null() || codes.as_array().is_some_and(|codes| codes.contains(&code)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_of_every_route_is_described() {
    let gateway = tokio::task::block_in_place(|| Setup::default().config(&config(false)).start());
    let authority = gateway.authority();
    let document: Value =
        serde_json::from_str(&over_json(authority, "GET", "/openapi.json", &[]).await.body).expect("JSON");
    let large = "x".repeat(20_000);
    let mut met = std::collections::BTreeSet::new();
    for (method, path) in routes(authority).await {
        for headers in [
            vec![],
            vec![("x-api-key", "reader-key")],
            vec![("x-api-key", "other-key")],
            vec![("x-api-key", "demo-key")],
            vec![("x-api-key", "demo-key"), ("content-type", "application/json")],
            vec![("x-api-key", "demo-key"), ("x-large", &large)],
        ] {
            let seen = over_json(authority, &method, &path, &headers).await;
            assert!(is_described(&document, &method, &path, &seen), "{method} {path} {seen:?}");
            met.insert(seen.status);
        }
    }
    for status in [400, 401, 403, 404, 429, 431] {
        assert!(met.contains(&status), "{status} was not met: {met:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_the_sandbox_its_rpcs_and_reflection_are_not_there_unless_reflection_is_switched_on() {
    let outside = |more: &str| {
        let digest = KeyDigest::of(b"a-key");
        let text = format!(
            "{more}[csp.one]\nadapter = \"http\"\nurl = \"http://127.0.0.1:1\"\ncurrency = \"MXN\"\n\
             msisdn_pattern = \"^[0-9]{{10}}$\"\n[partner.my-ott]\nkey_sha256 = [\"{digest}\"]\ncsps = [\"one\"]\n"
        );
        tokio::task::block_in_place(|| Setup::default().config(&text).start())
    };
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let key = [("x-api-key", "a-key")];
    let gateway = outside("");
    for path in rpcs().filter(|path| path.contains("Sandbox") || path.contains("Certification")).chain([reflection]) {
        assert_eq!(over_grpc(gateway.authority(), path, &key).await.grpc, "12", "{path}");
    }
    for path in ["/sandbox/bill", "/sandbox/messages", "/certification/", "/certification/runs"] {
        assert_eq!(over_json(gateway.authority(), "GET", path, &key).await.status, 404, "{path}");
    }
    let gateway = outside("[server]\nreflection = true\n");
    assert_ne!(over_grpc(gateway.authority(), reflection, &[]).await.grpc, "12");
    let sandbox = Running::sandbox();
    assert_ne!(over_grpc(sandbox.authority(), reflection, &[]).await.grpc, "12", "in the sandbox it is there");
}
