//! Idempotency: the same request again, another request under its key, and many at once.

use serde_json::json;
use tokio::task::JoinHandle;

use super::client::{Answer, Partner, invalid};
use super::outcomes::settled;
use super::process::{Running, Setup, id, number};

#[tokio::test]
async fn the_same_request_is_answered_again_byte_for_byte_and_never_done_again() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number, id) = (number("01"), id("r"));
    let first = demo.charge(&number, &id, json!({ "amount": "10" })).await;
    // By value: 10, 10.00 and "10.0" are one amount.
    for amount in [json!("10"), json!("10.00"), json!(10)] {
        let again = demo.charge(&number, &id, json!({ "amount": amount })).await;
        assert_eq!((again.brief(), again.header("idempotency-replayed")), (first.brief(), "true"));
    }
    assert_eq!(demo.bill(&number).await.0, ["10.0"]);
}

#[tokio::test]
async fn another_request_under_a_used_id_is_refused_field_by_field() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (first, second, id) = (number("01"), number("01"), id("u"));
    assert_eq!(demo.charge(&first, &id, json!({})).await.status, 200);
    let used = invalid(&[("violation-on-extTransactionId", "already used by another transaction")]);
    for (number, fields) in [
        (&first, json!({ "amount": "10" })),
        (&second, json!({})),
        (&first, json!({ "partnerProduct": "ott-premium" })),
        (&first, json!({ "description": "another text" })),
    ] {
        let answer = demo.charge(number, &id, fields.clone()).await;
        assert_eq!(answer.brief(), (400, used.as_str()), "{fields}");
    }
    let product = demo.charge(&first, &id, json!({ "partnerProduct": "none" })).await;
    assert_eq!(product.json()["code"], "invalid-partner-product", "the product is looked at before the id");
    assert_eq!(demo.bill(&second).await.0, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_duplicates_is_one_charge_with_one_answer() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    // Every answer of this CSP takes a quarter of a second, so that all duplicates meet the first one in flight.
    let (number, id) = (number("13"), id("s"));
    let calls = (0..50).map(|_| {
        let (demo, number, id) = (demo.clone(), number.clone(), id.clone());
        tokio::spawn(async move { demo.charge(&number, &id, json!({})).await })
    });
    let mut started = 0;
    for call in calls.collect::<Vec<_>>() {
        let answer = call.await.expect("an answer");
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("Success")));
        started += u32::from(answer.header("idempotency-replayed").is_empty());
    }
    assert_eq!(started, 1, "only one call started the work");
    assert_eq!(demo.bill(&number).await.0.len(), 1);
}

/// A charge that is sent and not answered yet, once it can be seen.
pub(crate) async fn under_way(partner: &Partner, number: &str, id: &str) -> JoinHandle<Answer> {
    let first = tokio::spawn({
        let (partner, number, id) = (partner.clone(), number.to_owned(), id.to_owned());
        async move { partner.charge(&number, &id, json!({})).await }
    });
    while partner.get(&format!("/transaction/{id}")).await.status == 404 && !first.is_finished() {
        tokio::task::yield_now().await;
    }
    first
}

/// The same charge again, from a caller who has little time.
pub(crate) async fn in_haste(partner: &Partner, number: &str, id: &str) -> Answer {
    let body = super::client::charge(number, id, json!({})).to_string();
    let headers = [("content-type", "application/json"), ("x-request-timeout-ms", "100")];
    partner.send(http::Method::POST, "/transaction", &headers, body).await
}

#[tokio::test]
async fn a_duplicate_past_its_deadline_hears_pending() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number, id) = (number("13"), id("d"));
    let first = under_way(&demo, &number, &id).await;
    let duplicate = in_haste(&demo, &number, &id).await;
    assert_eq!(duplicate.status, 200);
    assert_eq!(duplicate.header("idempotency-replayed"), "true");
    assert_eq!(first.await.expect("an answer").json()["status"], "Success");
    assert_eq!(demo.bill(&number).await.0.len(), 1);
}

#[tokio::test]
async fn what_a_duplicate_was_told_pending_becomes_final_though_the_first_could_have_been_given_up() {
    // The CSP cannot be reached, and is asked again after a rest in which the duplicate's time runs out.
    let gateway = Setup::default().environment("ONBILL__CHARGE__RETRY_PAUSE_MS", "500").start();
    let demo = Partner::demo(&gateway);
    let (number, id) = (number("15"), id("p"));
    let first = under_way(&demo, &number, &id).await;
    for duplicate in futures_util::future::join_all((0..3).map(|_| in_haste(&demo, &number, &id))).await {
        assert_eq!((duplicate.status, &duplicate.json()["status"]), (200, &json!("Pending")));
    }
    let first = first.await.expect("an answer");
    assert_eq!((first.status, &first.json()["status"]), (200, &json!("Pending")), "it cannot be given up any more");
    let seen = settled(&demo, &id).await;
    assert_eq!((&seen["status"], &seen["message"]), (&json!("Failure"), &json!("Charge not confirmed")));
    assert_eq!(demo.bill(&number).await.0, Vec::<String>::new());
}

#[tokio::test]
async fn replays_are_found_after_a_restart_and_under_a_configuration_that_would_refuse_them() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let (number, id) = (number("01"), id("x"));
    let before = Setup::default().data_dir(directory.path()).start();
    let first = Partner::demo(&before).charge(&number, &id, json!({})).await;
    let account = Partner::demo(&before)
        .post("/account/validate", &json!({ "type": "MSISDN", "address": number }))
        .await
        .header("x-account-id")
        .to_owned();
    assert!(before.stop().success());
    let after = Setup::default()
        .data_dir(directory.path())
        .environment("ONBILL__CSP__SANDBOX__MSISDN_PATTERN", "^[0-9]{11}$")
        .start();
    let demo = Partner::demo(&after);
    let again = demo.charge(&number, &id, json!({})).await;
    assert_eq!((again.brief(), again.header("idempotency-replayed")), (first.brief(), "true"));
    let fresh = demo.charge(&number, "fresh", json!({})).await;
    assert_eq!(fresh.status, 400, "a new request is held against the new pattern");
    let by_account = json!({ "type": null, "address": null, "accountId": account });
    assert_eq!(demo.charge("", "fresh", by_account).await.status, 200, "account ids outlive a restart");
}
