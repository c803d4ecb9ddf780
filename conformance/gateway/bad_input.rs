//! Input of all kinds that is not what it should be: a clear 400, and nothing stored.

use http::Method;
use serde_json::json;

use super::client::{Partner, charge, invalid};
use super::process::{Running, id, number};

const JSON: (&str, &str) = ("content-type", "application/json");
const OBJECT: (&str, &str) = ("violation-on-body", "must be a JSON object of at most 65536 bytes");

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused_as_a_whole() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let large = format!("{{\"type\":\"{}\"}}", "x".repeat(1_000_000));
    let deep = "[".repeat(50_000);
    let nested = format!("{{\"type\":{}1{}}}", "[".repeat(20_000), "]".repeat(20_000));
    for (body, violation) in [
        (&b""[..], OBJECT),
        (b"null", OBJECT),
        (b"[]", OBJECT),
        (b"{", OBJECT),
        (b"{} {}", OBJECT),
        (b"{'type':1}", OBJECT),
        (large.as_bytes(), OBJECT),
        (deep.as_bytes(), OBJECT),
        (b"{\"type\":\"\xff\xfe\"}", ("violation-on-body", "must be UTF-8")),
    ] {
        let answer = demo.send(Method::POST, "/pin", &[JSON], body.to_vec()).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(20)]).into_owned();
        assert_eq!(answer.brief(), (400, invalid(&[violation]).as_str()), "{shown}");
    }
    let answer = demo.send(Method::POST, "/pin", &[JSON], nested).await;
    let expected = invalid(&[("violation-on-type", "must be a string"), ("violation-on-address", "must not be null")]);
    assert_eq!(answer.brief(), (400, expected.as_str()));
}

#[tokio::test]
async fn content_types_other_than_json_are_refused() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let body = json!({ "type": "MSISDN", "address": number("01") }).to_string();
    for (content_type, status) in [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ("Application/JSON;charset=\"UTF-8\"", 201),
        ("application/json; charset=latin1", 400),
        ("text/plain", 400),
        ("application/jsonp", 400),
        ("", 400),
    ] {
        let answer = demo.send(Method::POST, "/pin", &[("content-type", content_type)], body.clone()).await;
        assert_eq!(answer.status, status, "{content_type}");
        if status == 400 {
            let expected = invalid(&[("violation-on-body", "must be application/json")]);
            assert_eq!(answer.body, expected, "{content_type}");
        }
    }
}

#[tokio::test]
async fn amounts_keep_every_digit_and_follow_the_grammar() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let number = number("01");
    let decimal = "must be a decimal number";
    let two = "must have at most 2 decimals";
    for (amount, reason) in [
        ("1e-3", decimal),
        ("1E3", decimal),
        ("\"NaN\"", decimal),
        ("\"Infinity\"", decimal),
        ("\"+1\"", decimal),
        ("\"1,5\"", decimal),
        ("\" 1\"", decimal),
        ("true", decimal),
        ("[1]", decimal),
        ("{}", decimal),
        ("1000000000000", decimal),
        ("0.1000000000000000000", decimal),
        ("0.10000000000000001", two),
        ("\"0.10000000000000001\"", two),
        ("9.999", two),
        ("null", "must not be null"),
        ("\"\"", "must not be null"),
    ] {
        let body = charge(&number, "amount", json!({ "amount": "@" })).to_string().replace("\"@\"", amount);
        let answer = demo.post_text("/transaction", &body).await;
        assert_eq!(answer.brief(), (400, invalid(&[("violation-on-amount", reason)]).as_str()), "{amount}");
    }
    assert_eq!(demo.get("/transaction/amount").await.status, 404, "nothing was stored");
    for (amount, printed) in
        [("0.10000000000000000", "0.1"), ("\"10.00\"", "10.0"), ("999999999999.99", "999999999999.99")]
    {
        let id = id("a");
        let body = charge(&number, &id, json!({ "amount": "@" })).to_string().replace("\"@\"", amount);
        assert_eq!(demo.post_text("/transaction", &body).await.status, 200, "{amount}");
        assert_eq!(demo.get(&format!("/transaction/{id}")).await.json()["amount"], printed);
    }
}

#[tokio::test]
async fn ids_in_paths_are_found_or_they_are_not() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let not_found = r#"{"code":"transaction-not-found","message":"Transaction not found"}"#;
    let long = "x".repeat(65);
    for path in ["nothing", "a%20b", "%ff", "%zz", "%00", "a%2Fb", "..", "ü", &long] {
        let encoded = path.replace('ü', "%C3%BC");
        let answer = demo.get(&format!("/transaction/{encoded}")).await;
        assert_eq!(answer.brief(), (404, not_found), "{path}");
    }
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_are_told_without_a_key() {
    let gateway = Running::sandbox();
    let nobody = Partner::with_key(&gateway, "wrong-key");
    let none = [("x-api-key", "")];
    for (method, path, status, code, allow) in [
        (Method::GET, "/nothing", 404, "not-found", ""),
        (Method::GET, "/", 404, "not-found", ""),
        (Method::POST, "/pin/", 404, "not-found", ""),
        (Method::GET, "/transaction/", 404, "not-found", ""),
        (Method::GET, "/pin", 405, "method-not-allowed", "POST"),
        (Method::DELETE, "/transaction/x", 405, "method-not-allowed", "GET"),
        (Method::OPTIONS, "/transactions", 405, "method-not-allowed", "GET"),
    ] {
        let answer = nobody.send(method.clone(), path, &none, "").await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{method} {path}");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
        assert!(!answer.header("x-correlation-id").is_empty());
    }
    let openapi = nobody.send(Method::GET, "/openapi.json", &none, "").await;
    assert_eq!((openapi.status, &openapi.json()["openapi"]), (200, &json!("3.1.0")));
}

#[tokio::test]
async fn correlation_ids_are_echoed_or_made() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let longest = "c".repeat(128);
    let too_long = "c".repeat(129);
    for (sent, kept) in
        [("abc-1.2:3_4", true), (longest.as_str(), true), (too_long.as_str(), false), ("a b", false), ("", false)]
    {
        let answer = demo.send(Method::GET, "/transactions", &[("x-correlation-id", sent)], "").await;
        let echoed = answer.header("x-correlation-id");
        assert_eq!(echoed == sent && !sent.is_empty(), kept, "{sent}");
        assert!(!echoed.is_empty());
    }
}
