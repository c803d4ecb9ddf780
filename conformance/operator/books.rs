//! Claims about the operator's own doors: its key, its bill, its clock, and what it leaves behind.

use serde_json::json;

use super::{KEY, Operator, all_lines};
use crate::gateway::client::Partner;

fn charge(account: &str, reference: &str, amount: &str) -> serde_json::Value {
    json!({ "transactionId": reference, "accountId": account, "chargeCode": "X", "amount": amount, "currency": "MXN",
            "description": "a film" })
}

async fn account_of(client: &Partner, number: &str) -> String {
    let found = client.post("/account/validate", &json!({ "type": "MSISDN", "address": number })).await;
    assert_eq!(found.status, 200, "{found:?}");
    found.json()["accountId"].as_str().expect("a name").to_owned()
}

#[tokio::test]
async fn without_its_key_an_operator_tells_nothing_but_that_it_lives() {
    let operator = Operator::start(&[]);
    for key in ["", "wrong", "operator-ke"] {
        let stranger = Partner::at(operator.authority(), key);
        for path in ["/bill", "/messages?address=5550100001", "/transaction/00", "/nowhere"] {
            assert_eq!(stranger.get(path).await.status, 401, "{key:?} {path}");
        }
        assert_eq!(stranger.get("/healthz").await.status, 200);
    }
    assert_eq!(Partner::at(operator.authority(), KEY).get("/bill").await.status, 200);
}

#[tokio::test]
async fn a_bill_outlives_a_killed_operator_and_a_stop_in_order_ends_with_0() {
    let folder = tempfile::tempdir().expect("a folder");
    let operator = Operator::start_in(folder.path(), &[]);
    let client = operator.client();
    let account = account_of(&client, "5550100001").await;
    let (one, other) = ("0".repeat(31) + "1", "0".repeat(31) + "2");
    let booked = client.post("/transaction", &charge(&account, &one, "9.99")).await;
    let expected = json!({ "transactionId": one, "status": "booked", "amount": "9.99", "currency": "MXN" });
    assert_eq!((booked.status, booked.json()), (200, expected.clone()));
    operator.kill();

    let operator = Operator::start_in(folder.path(), &[]);
    let client = operator.client();
    assert_eq!(client.get(&format!("/transaction/{one}")).await.json(), expected);
    assert_eq!(client.post("/transaction", &charge(&account, &one, "9.99")).await.json(), expected);
    let mut refund = charge(&account, &other, "-4.5");
    refund["referenceId"] = json!(one);
    let refunded = client.post("/transaction", &refund).await;
    assert_eq!(
        (refunded.json()["amount"].clone(), refunded.json()["referenceId"].clone()),
        (json!("-4.5"), json!(one))
    );
    assert_eq!(client.get(&format!("/transaction/{other}")).await.json(), refunded.json());
    let lines = all_lines(&client).await;
    let seen: Vec<_> = lines.iter().map(|line| (line.reference.clone(), line.amount.as_str())).collect();
    assert_eq!(seen, [(one, "9.99"), (other, "-4.5")]);
    assert_eq!(client.get("/bill?address=5550100001").await.json()["total"], "5.49");
    assert!(operator.stop().success());
}

#[tokio::test]
async fn what_the_wire_does_not_allow_moves_nothing() {
    let operator = Operator::start(&[]);
    let client = operator.client();
    let account = account_of(&client, "5550100001").await;
    let reference = "0".repeat(32);
    for body in [
        json!({}),
        json!([]),
        charge(&account, "short", "9.99"),
        charge(&account, &reference, "9.999"),
        charge(&account, &reference, "1e3"),
        charge(&account, &reference, ""),
    ] {
        assert_eq!(client.post("/transaction", &body).await.status, 400, "{body}");
    }
    assert_eq!(client.post_text("/transaction", &format!("\"{}\"", "x".repeat(70_000))).await.status, 400);
    assert_eq!(client.get(&format!("/transaction/{reference}")).await.json()["code"], "unknown-transaction");
    assert_eq!(client.get("/nowhere").await.json()["code"], "not-found");
    assert!(all_lines(&client).await.is_empty());
}

#[tokio::test]
async fn a_standing_clock_moves_only_when_it_is_moved() {
    let operator = Operator::start(&["--standing-clock", "2026-03-10T12:00:00Z"]);
    let client = operator.client();
    assert_eq!(client.get("/clock").await.json()["now"], "2026-03-10T12:00:00Z");
    let moved = client.post("/clock/advance", &json!({ "seconds": 60 })).await;
    assert_eq!((moved.status, moved.json()["now"].clone()), (200, json!("2026-03-10T12:01:00Z")));
    for seconds in [0, -1, 2_592_000] {
        assert_eq!(client.post("/clock/advance", &json!({ "seconds": seconds })).await.status, 400, "{seconds}");
    }
}
