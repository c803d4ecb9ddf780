//! Refunds: whole, in parts, many at once, and never more than their charge.

use serde_json::json;

use super::client::{Partner, answered, invalid};
use super::process::{Running, id, number};

#[tokio::test]
async fn a_refund_under_the_charges_own_id_gives_it_back_once() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number, id) = (number("01"), id("c"));
    demo.charge(&number, &id, json!({})).await;
    let refund = demo.charge(&number, &id, json!({ "amount": "-9.99" })).await;
    assert_eq!(refund.brief(), (200, answered(&id, "Success", "Charge success").as_str()));
    let again = demo.charge(&number, &id, json!({ "amount": "-9.99" })).await;
    assert_eq!((again.brief(), again.header("idempotency-replayed")), (refund.brief(), "true"));
    assert_eq!(demo.bill(&number).await, (vec!["9.99".to_owned(), "-9.99".to_owned()], "0.0".to_owned()));
    let seen = demo.get(&format!("/transaction/{id}?kind=refund")).await.json();
    assert_eq!(seen["amount"], "-9.99");
    assert_eq!(demo.get(&format!("/transaction/{id}")).await.json()["amount"], "9.99");
}

#[tokio::test]
async fn refunds_in_parts_need_ids_of_their_own_and_stop_at_the_charge() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number, charge) = (number("01"), id("c"));
    demo.charge(&number, &charge, json!({ "amount": "10" })).await;
    let part = |amount: &str| json!({ "amount": amount, "referenceId": charge });
    assert_eq!(demo.charge(&number, &id("p"), part("-5.5")).await.json()["status"], "Success");
    let too_much = invalid(&[("refund-exceeds-charge", "must be at most 4.5")]);
    assert_eq!(demo.charge(&number, &id("p"), part("-4.51")).await.brief(), (400, too_much.as_str()));
    assert_eq!(demo.charge(&number, &id("p"), part("-4.5")).await.json()["status"], "Success");
    let nothing_left = invalid(&[("refund-exceeds-charge", "must be at most 0.0")]);
    assert_eq!(demo.charge(&number, &id("p"), part("-0.01")).await.brief(), (400, nothing_left.as_str()));
    assert_eq!(demo.bill(&number).await.1, "0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_refunds_at_once_keep_the_cap() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number, charge) = (number("01"), id("c"));
    demo.charge(&number, &charge, json!({ "amount": "10" })).await;
    let calls = (0..100).map(|_| {
        let (demo, number, id) = (demo.clone(), number.clone(), id("p"));
        let fields = json!({ "amount": "-0.30", "referenceId": charge });
        tokio::spawn(async move { demo.charge(&number, &id, fields).await })
    });
    let mut booked = 0;
    for call in calls.collect::<Vec<_>>() {
        let answer = call.await.expect("an answer");
        booked += u32::from(answer.status == 200 && answer.json()["status"] == "Success");
    }
    assert_eq!(booked, 33, "33 times 0.30 fit into 10");
    assert_eq!(demo.bill(&number).await.1, "0.1");
}

#[tokio::test]
async fn a_refund_must_be_its_charges_in_product_currency_and_account() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number_of_charge, charge) = (number("01"), id("c"));
    demo.charge(&number_of_charge, &charge, json!({})).await;
    let the_charges = "must be the charge's";
    for (address, fields, violation) in [
        (number("01"), json!({}), "violation-on-address"),
        (number_of_charge.clone(), json!({ "partnerProduct": "ott-premium" }), "violation-on-partnerProduct"),
        (number_of_charge.clone(), json!({ "currency": "USD" }), "violation-on-currency"),
    ] {
        let mut fields = fields;
        fields["amount"] = json!("-1");
        fields["referenceId"] = json!(charge);
        let answer = demo.charge(&address, &id("p"), fields.clone()).await;
        assert_eq!(answer.brief(), (400, invalid(&[(violation, the_charges)]).as_str()), "{fields}");
    }
}

#[tokio::test]
async fn only_a_charge_that_is_success_can_be_refunded() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number, charge) = (number("08"), id("c"));
    assert_eq!(demo.charge(&number, &charge, json!({})).await.json()["description"], "Insufficient funds");
    let answer = demo.charge(&number, &charge, json!({ "amount": "-9.99" })).await;
    assert_eq!(answer.brief(), (400, invalid(&[("charge-not-refundable", "charge is not Success")]).as_str()));
}

#[tokio::test]
async fn a_refund_gives_prepaid_balance_and_the_days_limit_back() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    for (condition, most, text) in [("06", "200", "Insufficient funds"), ("07", "1000", "Over spending daily limit")] {
        let (number, first) = (number(condition), id("c"));
        assert_eq!(demo.charge(&number, &first, json!({ "amount": most })).await.json()["status"], "Success");
        let refused = demo.charge(&number, &id("c"), json!({ "amount": "0.01" })).await.json();
        assert_eq!((&refused["status"], &refused["description"]), (&json!("Failure"), &json!(text)));
        let back = json!({ "amount": format!("-{most}") });
        assert_eq!(demo.charge(&number, &first, back).await.json()["status"], "Success");
        assert_eq!(demo.charge(&number, &id("c"), json!({ "amount": most })).await.json()["status"], "Success");
    }
}
