//! POST /transaction: forms, the charge-or-refund table, and the order of checks.

use serde_json::json;

use super::client::{Partner, answered, invalid};
use super::process::{Running, id, number};

const NULL: &str = "must not be null";
const REFERENCE: (&str, &str) = ("reference-id-required", "Reference Id is required to proceed refund transaction");
const NEGATIVE: (&str, &str) = ("negative-amount", "Negative Amount is required to proceed refund transaction");

#[tokio::test]
async fn a_charge_is_answered_byte_for_byte_and_billed_once() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number, id) = (number("01"), id("c"));
    let answer = demo.charge(&number, &id, json!({ "description": "Films" })).await;
    assert_eq!(answer.brief(), (200, answered(&id, "Success", "Charge success").as_str()));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("idempotency-replayed"), "");
    let bill = demo.get(&format!("/sandbox/bill?address={number}")).await.json();
    assert_eq!((&bill["total"], &bill["lines"][0]["description"]), (&json!("9.99"), &json!("Films")));
    let status = demo.get(&format!("/transaction/{id}")).await.json();
    assert_eq!(status["amount"], "9.99");
    let keys: Vec<_> = status.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(keys, ["chargeDate", "currency", "amount", "message", "status"]);
    let date = status["chargeDate"].as_str().expect("a date");
    assert!(date.len() == 20 && date.ends_with('Z'), "{date}");
}

#[tokio::test]
async fn the_table_of_charges_and_refunds_decides_by_its_first_row() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let number = number("01");
    for (fields, expected) in [
        (json!({ "referenceId": "", "amount": "5" }), REFERENCE),
        (json!({ "referenceId": "", "amount": "-5", "extTransactionId": "" }), REFERENCE),
        (json!({ "extTransactionId": "", "amount": "-5" }), REFERENCE),
        (json!({ "extTransactionId": null, "amount": -5 }), REFERENCE),
        (json!({ "referenceId": "c", "amount": "5" }), NEGATIVE),
        (json!({ "referenceId": "c", "amount": "5", "extTransactionId": null }), NEGATIVE),
        (json!({ "referenceId": "c", "amount": 0 }), NEGATIVE),
        (json!({ "amount": "0" }), ("violation-on-amount", "must not be 0")),
        (json!({ "amount": "-0.0", "extTransactionId": null }), ("violation-on-amount", "must not be 0")),
        (json!({ "extTransactionId": null }), ("violation-on-extTransactionId", NULL)),
    ] {
        let answer = demo.charge(&number, &id("t"), fields.clone()).await;
        assert_eq!(answer.brief(), (400, invalid(&[expected]).as_str()), "{fields}");
    }
    let missing = r#"{"code":"invalid-charge-refund","message":"Original transaction not found"}"#;
    for fields in [json!({ "amount": "-5" }), json!({ "amount": "-5", "referenceId": "nothing" })] {
        let answer = demo.charge(&number, &id("t"), fields.clone()).await;
        assert_eq!(answer.brief(), (404, missing), "{fields}");
    }
    assert_eq!(demo.bill(&number).await.0, Vec::<String>::new(), "none of these moved money");
}

#[tokio::test]
async fn all_violations_of_a_request_are_listed_in_the_order_of_its_fields() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let answer = demo.post_text("/transaction", "{}").await;
    let expected = invalid(&[
        ("violation-on-extTransactionId", NULL),
        ("violation-on-type", NULL),
        ("violation-on-address", NULL),
        ("violation-on-partnerProduct", NULL),
        ("violation-on-amount", NULL),
        ("violation-on-currency", NULL),
    ]);
    assert_eq!(answer.brief(), (400, expected.as_str()));
    let body = r#"{"zebra":1,"currency":"pesos","amount":true,"address":"abc","type":"MSISDN","apple":null,
        "partnerProduct":7,"extTransactionId":"a b","description":[1],"type":"MSISDN"}"#;
    let answer = demo.post_text("/transaction", body).await;
    let expected = invalid(&[
        ("violation-on-extTransactionId", "must match \"^[A-Za-z0-9._:-]{1,64}$\""),
        // Of two types neither counts, so that the address cannot be held against one.
        ("violation-on-type", "duplicate field"),
        ("violation-on-partnerProduct", "must be a string"),
        ("violation-on-amount", "must be a decimal number"),
        ("violation-on-currency", "must match \"^[A-Z]{3}$\""),
        ("violation-on-description", "must be a string"),
        ("violation-on-zebra", "unknown field"),
        ("violation-on-apple", "unknown field"),
    ]);
    assert_eq!(answer.brief(), (400, expected.as_str()));
}

#[tokio::test]
async fn the_order_of_checks_decides_which_error_is_seen() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (suspended, unknown) = (number("03"), number("99"));
    for (number, fields, status, code) in [
        // Syntax before account, account before product, product before the id.
        (&unknown, json!({ "currency": "pesos" }), 400, "invalid-request"),
        (&unknown, json!({ "partnerProduct": "none" }), 404, "account-not-found"),
        (&suspended, json!({ "partnerProduct": "none" }), 400, "suspended-non-payment"),
        (&number("04"), json!({}), 400, "suspended-lost-stolen"),
        (&number("05"), json!({ "partnerProduct": "none" }), 400, "eligibility-failed csp"),
        (&number("01"), json!({ "partnerProduct": "none" }), 400, "invalid-partner-product"),
        (&number("02"), json!({}), 404, "account-not-found"),
        (&number("01"), json!({ "accountId": "acc_nonsense" }), 404, "account-not-found"),
    ] {
        let answer = demo.charge(number, &id("o"), fields.clone()).await;
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{number} {fields}");
    }
}

#[tokio::test]
async fn an_account_id_charges_the_account_and_must_be_that_of_the_address() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number, other) = (number("01"), number("01"));
    let validated = demo.post("/account/validate", &json!({ "type": "MSISDN", "address": number })).await;
    assert_eq!(validated.brief(), (200, r#"{"status":"ACTIVE","type":"postpaid"}"#));
    let account = validated.header("x-account-id").to_owned();
    assert!(!account.is_empty() && !account.contains(&number));
    let alone = json!({ "type": null, "address": null, "accountId": account });
    assert_eq!(demo.charge("", &id("a"), alone).await.json()["status"], "Success");
    let beside = json!({ "accountId": account });
    assert_eq!(demo.charge(&number, &id("a"), beside.clone()).await.json()["status"], "Success");
    let answer = demo.charge(&other, &id("a"), beside.clone()).await;
    let expected = invalid(&[("violation-on-accountId", "must be the account of the address")]);
    assert_eq!(answer.brief(), (400, expected.as_str()));
    let stranger = Partner::other(&gateway).charge(&number, &id("a"), beside).await;
    assert_eq!(stranger.json()["code"], "account-not-found", "an id is good for one partner only");
    assert_eq!(demo.bill(&number).await.0.len(), 2);
}

#[tokio::test]
async fn an_email_address_is_the_same_account() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let number = number("20");
    let email = json!({ "type": "EMAIL", "address": format!("{number}@sandbox.example") });
    let by_number = demo.post("/account/validate", &json!({ "type": "MSISDN", "address": number })).await;
    let by_email = demo.post("/account/validate", &email).await;
    assert_eq!(by_email.header("x-account-id"), by_number.header("x-account-id"));
    assert_eq!(demo.charge(&number, &id("e"), email.clone()).await.json()["status"], "Success");
    assert_eq!(demo.bill(&number).await.1, "9.99");
    let malformed = json!({ "type": "EMAIL", "address": "no address" });
    let expected = invalid(&[("violation-on-address", "must be a well-formed email address")]);
    assert_eq!(demo.post("/account/validate", &malformed).await.brief(), (400, expected.as_str()));
    let expected = invalid(&[("violation-on-type", "type must be MSISDN")]);
    assert_eq!(demo.post("/pin", &email).await.brief(), (400, expected.as_str()));
}
