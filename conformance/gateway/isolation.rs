//! Keys and partners: nothing of another's, and nothing without a key.

use http::Method;
use serde_json::json;

use super::client::Partner;
use super::process::{Running, id, number};

#[tokio::test]
async fn without_a_valid_key_everything_is_401_before_anything_else() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let body = r#"{"code":"authorization-failure","message":"Not authorized."}"#;
    for key in ["", "wrong", "demo-key ", "DEMO-KEY", "demo-keydemo-key"] {
        for (method, path) in [
            (Method::POST, "/account/validate"),
            (Method::POST, "/pin"),
            (Method::POST, "/pin/validation"),
            (Method::POST, "/transaction"),
            (Method::GET, "/transaction/x"),
            (Method::GET, "/transactions"),
            (Method::POST, "/notification"),
            (Method::GET, "/sandbox/bill"),
        ] {
            // Neither the broken body nor the missing fields are mentioned.
            let answer = demo.send(method, path, &[("x-api-key", key.trim_end())], "{ broken").await;
            let expected = if key == "demo-key " { answer.status } else { 401 };
            assert_eq!(answer.status, expected, "{key} {path}");
            if answer.status == 401 {
                assert_eq!(answer.body, body);
            }
        }
    }
    let bearer = [("x-api-key", ""), ("authorization", "Bearer demo-key")];
    assert_eq!(demo.send(Method::GET, "/transactions", &bearer, "").await.status, 401);
    let two = [("x-api-key", "demo-key"), ("x-api-key", "other-key")];
    assert_eq!(demo.send(Method::GET, "/transactions", &two, "").await.status, 401, "two keys are none");
}

#[tokio::test]
async fn partners_share_ids_and_see_nothing_of_one_another() {
    let gateway = Running::sandbox();
    let (demo, other) = (Partner::demo(&gateway), Partner::other(&gateway));
    let (number, id) = (number("01"), id("i"));
    assert_eq!(demo.charge(&number, &id, json!({})).await.status, 200);
    assert_eq!(other.get(&format!("/transaction/{id}")).await.status, 404);
    assert!(!other.get("/transactions").await.body.contains(&id));
    let refund = other.charge(&number, &id, json!({ "amount": "-9.99" })).await;
    assert_eq!(refund.json()["code"], "invalid-charge-refund");
    let own = other.charge(&number, &id, json!({ "amount": "5" })).await;
    assert_eq!((own.status, own.header("idempotency-replayed")), (200, ""), "the id is free for the other partner");
    assert_eq!(demo.get(&format!("/transaction/{id}")).await.json()["amount"], "9.99");
    assert_eq!(demo.bill(&number).await.1, "14.99");
}

#[tokio::test]
async fn numbers_and_pins_are_in_no_log() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let mut numbers = Vec::new();
    for condition in ["01", "03", "08", "11", "12", "15"] {
        let number = number(condition);
        demo.post("/pin", &json!({ "type": "MSISDN", "address": number })).await;
        demo.charge(&number, &id("i"), json!({})).await;
        numbers.push(number);
    }
    let pin = demo.pin(&numbers[0]).await;
    let log = gateway.log();
    for number in numbers {
        assert!(!log.contains(&number), "a number in the log: {log}");
    }
    assert!(!log.contains(&pin) && !log.contains("demo-key"), "a secret in the log: {log}");
}
