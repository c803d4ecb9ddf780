//! Bearer tokens: those that are good, those that are not, and an issuer that misbehaves.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::issuer::{Endpoint, Mood, Signer, encoded, now_s};
use super::{FORBIDDEN, NOBODY, over_grpc, over_json, routes, rpcs};
use crate::gateway::client::{Answer, Partner, charge};
use crate::gateway::process::{Running, Setup, id, number};
use crate::gateway::reload::reload;

const ISSUER: &str = "https://id.example/realms/ott";

fn config(endpoint: &Endpoint, more: &str) -> String {
    format!(
        "[sandbox]\nenabled = true\n[issuer.keycloak]\nissuer = \"{ISSUER}\"\njwks_url = \"{}\"\n\
         audiences = [\"onbill\"]\n\
         scope_claims = [\"scope\", \"realm_access.roles\", \"resource_access.onbill.roles\"]\n{more}\n\
         [issuer.keycloak.clients]\nshop-backend = \"demo-ott\"\nother-backend = \"other-ott\"\n",
        endpoint.url
    )
}

fn started(config: &str) -> Running {
    tokio::task::block_in_place(|| Setup::default().config(config).start())
}

/// An access token as Keycloak writes one, with these claims over it; null takes one away.
#[allow(clippy::needless_pass_by_value, reason = "callers write the claims in place")]
fn claims(change: Value) -> Value {
    let mut claims: Value =
        serde_json::from_str(include_str!("../../fixtures/keycloak-access-token.json")).expect("JSON");
    claims["iss"] = json!(ISSUER);
    (claims["iat"], claims["exp"]) = (json!(now_s()), json!(now_s() + 300));
    let table = claims.as_object_mut().expect("an object");
    for (name, value) in change.as_object().expect("an object") {
        if value.is_null() {
            table.remove(name);
        } else {
            table.insert(name.clone(), value.clone());
        }
    }
    claims
}

fn header(alg: &str, kid: &str) -> Value {
    json!({ "alg": alg, "typ": "JWT", "kid": kid })
}

async fn get(gateway: &Running, token: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [("x-api-key", ""), ("authorization", authorization.as_str())];
    Partner::demo(gateway).send(Method::GET, "/transactions", &headers, "").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_keycloaks_layout_is_its_clients_partner_with_the_scopes_of_all_named_claims() {
    let signer = Signer::rsa();
    let endpoint = Endpoint::start(Mood::Keys(vec![signer.jwk("1")])).await;
    let gateway = started(&config(&endpoint, ""));
    let token = signer.token(&header("RS256", "1"), &claims(json!({})));
    let authorization = format!("Bearer {token}");
    let bearer = [("authorization", authorization.as_str())];
    let demo = Partner::demo(&gateway);
    let charged = id("token");
    let headers = [("x-api-key", ""), ("authorization", &authorization), ("content-type", "application/json")];
    let body = charge(&number("01"), &charged, json!({})).to_string();
    let answer = demo.send(Method::POST, "/transaction", &headers, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(demo.get(&format!("/transaction/{charged}")).await.status == 200, "it is the partner's of the key as well");
    let granted = ["Account", "Transaction"];
    for path in rpcs() {
        let may = granted.iter().any(|service| path.contains(&format!("{service}Service")));
        let seen = over_grpc(gateway.authority(), path, &bearer).await;
        assert_eq!((seen.grpc == "7", seen.grpc == "16"), (!may, false), "{path}: {seen:?}");
    }
    for (method, path) in routes(gateway.authority()).await {
        let may = path.starts_with("/account") || path.starts_with("/transaction");
        let seen = over_json(gateway.authority(), &method, &path, &bearer).await;
        assert_eq!((seen.status, seen.body.as_str()) == FORBIDDEN, !may, "{method} {path}: {seen:?}");
        assert_ne!(seen.status, 401, "{method} {path}");
    }
    let others = signer.token(&header("RS256", "1"), &claims(json!({ "azp": "other-backend" })));
    let list = get(&gateway, &others).await;
    assert_eq!(list.brief(), (200, r#"{"transactions":[],"nextPageToken":""}"#), "another client, another partner");
    let log = gateway.log();
    assert!(!log.contains("eyJ"), "{log}");
    assert_eq!(endpoint.asked(), 1, "one fetch for all of them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_algorithm_of_the_list_is_taken_with_a_key_of_its_kind_and_no_other() {
    let (rsa, ec, ed) = (Signer::rsa(), Signer::ec(), Signer::ed());
    let keys = vec![rsa.jwk("rsa"), ec.jwk("ec"), ed.jwk("ed")];
    let endpoint = Endpoint::start(Mood::Keys(keys)).await;
    let gateway = started(&config(&endpoint, ""));
    let good = [("RS256", "rsa", &rsa), ("PS256", "rsa", &rsa), ("ES256", "ec", &ec), ("EdDSA", "ed", &ed)];
    for (alg, kid, signer) in good {
        let token = signer.token(&header(alg, kid), &claims(json!({})));
        assert_eq!(get(&gateway, &token).await.status, 200, "{alg}");
        for (_, other, _) in good.iter().filter(|(_, other, _)| *other != kid) {
            let token = signer.token(&header(alg, other), &claims(json!({})));
            assert_eq!(get(&gateway, &token).await.brief(), NOBODY, "{alg} with {other}");
        }
    }
    let token = ec.token(&json!({ "alg": "ES256", "typ": "at+JWT", "kid": "ec" }), &claims(json!({ "typ": null })));
    assert_eq!(get(&gateway, &token).await.status, 200, "RFC 9068");
    reload(&gateway, &config(&endpoint, "algorithms = [\"ES256\"]")).await;
    for (alg, kid, signer) in good {
        let token = signer.token(&header(alg, kid), &claims(json!({})));
        let expected = if alg == "ES256" { 200 } else { 401 };
        assert_eq!(get(&gateway, &token).await.status, expected, "{alg}, where ES256 alone is allowed");
    }
}

/// Tokens that are none, each for one reason.
fn forgeries(right: &Signer, stranger: &Signer) -> Vec<(&'static str, String)> {
    let head = header("RS256", "1");
    let with = |change: Value| right.token(&head, &claims(change));
    let under = |head: Value| right.token(&head, &claims(json!({})));
    let good = with(json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let said = encoded(claims(json!({ "azp": "other-backend" })).to_string());
    let none = encoded(json!({ "alg": "none", "typ": "JWT", "kid": "1" }).to_string());
    // The public key as a shared secret: what it would be good for where the token may choose.
    let hs = encoded(header("HS256", "1").to_string());
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, right.jwk("1").to_string().as_bytes());
    let mac = ring::hmac::sign(&secret, format!("{hs}.{}", parts[1]).as_bytes());
    vec![
        ("signed by a stranger", stranger.token(&head, &claims(json!({})))),
        ("another's claims under its signature", format!("{}.{said}.{}", parts[0], parts[2])),
        ("without a signature", format!("{}.{}.", parts[0], parts[1])),
        ("alg none", format!("{none}.{}.", parts[1])),
        ("alg none with a signature", format!("{none}.{}.{}", parts[1], parts[2])),
        ("alg HS256 under the public key", format!("{hs}.{}.{}", parts[1], encoded(mac))),
        ("an unknown key", under(header("RS256", "2"))),
        (
            "a key of its own",
            stranger.token(&json!({ "alg": "RS256", "kid": "9", "jwk": stranger.jwk("9") }), &claims(json!({}))),
        ),
        ("a header that must be understood", under(json!({ "alg": "RS256", "kid": "1", "crit": ["exp"], "exp": 1 }))),
        ("another type", under(json!({ "alg": "RS256", "kid": "1", "typ": "dpop+jwt" }))),
        ("over", with(json!({ "exp": now_s() - 31 }))),
        ("without an end", with(json!({ "exp": null }))),
        ("an end that is a text", with(json!({ "exp": "9999999999" }))),
        ("not begun", with(json!({ "nbf": now_s() + 3_600 }))),
        ("for somebody else", with(json!({ "aud": "account" }))),
        ("for nobody", with(json!({ "aud": null }))),
        ("of another realm", with(json!({ "iss": "https://id.example/realms/other" }))),
        ("of no issuer", with(json!({ "iss": null }))),
        ("an ID token", with(json!({ "typ": "ID" }))),
        ("a refresh token", with(json!({ "typ": "Refresh" }))),
        ("bound to a key", with(json!({ "cnf": { "x5t#S256": "AAAA" } }))),
        ("an unknown client", with(json!({ "azp": "stranger" }))),
        ("no client", with(json!({ "azp": null }))),
        ("a partner's id for a client", with(json!({ "azp": "demo-ott" }))),
        ("too long", with(json!({ "padding": "x".repeat(9_000) }))),
        ("cut off", good[..good.len() - 4].to_owned()),
        ("four parts", format!("{good}.{}", parts[2])),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_wrong_in_any_way_is_nobody_on_both_faces() {
    let (right, stranger) = (Signer::rsa(), Signer::rsa());
    let endpoint = Endpoint::start(Mood::Keys(vec![right.jwk("1")])).await;
    let gateway = started(&config(&endpoint, ""));
    assert_eq!(get(&gateway, &right.token(&header("RS256", "1"), &claims(json!({})))).await.status, 200);
    for (why, token) in forgeries(&right, &stranger) {
        assert_eq!(get(&gateway, &token).await.brief(), NOBODY, "{why}");
        let authorization = format!("Bearer {token}");
        let path = "/onbill.v1.TransactionService/ListTransactions";
        let seen = over_grpc(gateway.authority(), path, &[("authorization", &authorization)]).await;
        assert_eq!(seen.grpc, "16", "{why}: {seen:?}");
    }
    assert_eq!(endpoint.asked(), 1, "none of them had the keys fetched within the pause");
    let metrics = Partner::at(gateway.admin(), "").get("/metrics").await.body;
    for why in ["signature", "expired", "audience", "client", "unknown_key", "algorithm", "malformed", "bound", "kind"]
    {
        let counted = format!("onbill_callers_refused_total{{why=\"{why}\"}}");
        assert!(metrics.contains(&counted), "{counted} in {metrics}");
    }
}

/// Asks until the answer has this status, as long as a busy machine may need.
async fn until(gateway: &Running, token: &str, status: u16, why: &str) {
    for _ in 0..300 {
        if get(gateway, token).await.status == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{why}: never {status}; its log: {}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_and_an_endpoint_that_lies_or_dies_takes_none_away() {
    let (one, two) = (Signer::ed(), Signer::ed());
    let endpoint = Endpoint::start(Mood::Keys(vec![one.jwk("1")])).await;
    let gateway = started(&config(&endpoint, "refresh_s = 1\npause_ms = 100\ntimeout_ms = 500"));
    let first = one.token(&header("EdDSA", "1"), &claims(json!({})));
    let second = two.token(&header("EdDSA", "2"), &claims(json!({})));
    until(&gateway, &first, 200, "the first key").await;
    endpoint.now(Mood::Keys(vec![one.jwk("1"), two.jwk("2")]));
    until(&gateway, &second, 200, "the next key").await;
    assert_eq!(get(&gateway, &first).await.status, 200, "both while it rotates");
    endpoint.now(Mood::Keys(vec![two.jwk("2")]));
    until(&gateway, &first, 401, "the old key is gone").await;
    let lies = [
        Mood::Dies,
        Mood::Says(500, "{\"keys\":[]}".to_owned()),
        Mood::Says(302, "{\"keys\":[]}".to_owned()),
        Mood::Says(200, "<html>Login</html>".to_owned()),
        Mood::Says(200, format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(400_000))),
        Mood::Hangs,
    ];
    for lie in lies {
        let asked = endpoint.asked();
        endpoint.now(lie);
        while endpoint.asked() < asked + 3 {
            assert_eq!(get(&gateway, &second).await.status, 200, "a known key goes on being good");
        }
        assert_eq!(get(&gateway, &first).await.brief(), NOBODY);
    }
    endpoint.now(Mood::Keys(vec![]));
    until(&gateway, &second, 401, "an empty set revokes").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_endpoint_holds_up_those_alone_whose_key_is_unknown() {
    let (known, unknown) = (Signer::ed(), Signer::ed());
    let endpoint = Endpoint::start(Mood::Keys(vec![known.jwk("1")])).await;
    let gateway = started(&config(&endpoint, "refresh_s = 86400\npause_ms = 100\ntimeout_ms = 20000"));
    let good = known.token(&header("EdDSA", "1"), &claims(json!({})));
    let strange = unknown.token(&header("EdDSA", "2"), &claims(json!({})));
    until(&gateway, &good, 200, "the first fetch").await;
    endpoint.now(Mood::Hangs);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let asked = endpoint.asked();
    let waiting = get(&gateway, &strange);
    tokio::pin!(waiting);
    let quick = async {
        while endpoint.asked() == asked {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for _ in 0..20 {
            assert_eq!(get(&gateway, &good).await.status, 200);
            assert_eq!(Partner::demo(&gateway).get("/transactions").await.status, 200);
        }
    };
    tokio::select! {
        answer = &mut waiting => panic!("it did not wait: {answer:?}"),
        () = quick => {}
    }
    assert_eq!(endpoint.asked(), asked + 1, "one fetch, whoever asks");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_tokens_are_unavailable_and_api_keys_are_not() {
    let signer = Signer::ed();
    let endpoint = Endpoint::start(Mood::Says(503, String::new())).await;
    let gateway = started(&config(&endpoint, "refresh_s = 86400\npause_ms = 100\ntimeout_ms = 500"));
    let token = signer.token(&header("EdDSA", "1"), &claims(json!({})));
    let answer = get(&gateway, &token).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{answer:?}");
    assert_eq!(Partner::demo(&gateway).get("/transactions").await.status, 200);
    endpoint.now(Mood::Keys(vec![signer.jwk("1")]));
    until(&gateway, &token, 200, "the endpoint is back").await;
    let asked = endpoint.asked();
    reload(
        &gateway,
        &(config(&endpoint, "refresh_s = 86400\npause_ms = 100\ntimeout_ms = 500") + "[pin]\nttl_s = 60\n"),
    )
    .await;
    assert_eq!(get(&gateway, &token).await.status, 200);
    assert_eq!(endpoint.asked(), asked, "an issuer that is the same keeps its keys");
    let before = config(&endpoint, "refresh_s = 86400\npause_ms = 100\ntimeout_ms = 500").replace("shop-backend", "x");
    reload(&gateway, &before).await;
    assert_eq!(get(&gateway, &token).await.brief(), NOBODY, "its client is nobody's any more");
}
