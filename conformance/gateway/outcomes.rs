//! Outcomes that are not clear at once: lost answers, requests that never arrive, a CSP that is away.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Partner, answered};
use super::process::{Running, Setup, id, number};

/// Asks until a transaction is final, for as long as the contract allows and a busy machine needs.
pub(super) async fn settled(partner: &Partner, id: &str) -> Value {
    let since = Instant::now();
    loop {
        let seen = partner.get(&format!("/transaction/{id}")).await.json();
        if seen["status"] != "Pending" || since.elapsed() > Duration::from_secs(20) {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_lost_answer_is_pending_and_then_success_with_one_bill_line() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number, id) = (number("11"), id("l"));
    let answer = demo.charge(&number, &id, json!({})).await;
    assert_eq!(answer.brief(), (200, answered(&id, "Pending", "Charge pending").as_str()));
    let seen = settled(&demo, &id).await;
    assert_eq!((&seen["status"], &seen["message"]), (&json!("Success"), &json!("Charge success")));
    let replay = demo.charge(&number, &id, json!({})).await;
    assert_eq!(replay.brief(), (200, answered(&id, "Success", "Charge success").as_str()));
    assert_eq!(demo.bill(&number).await.0.len(), 1);
}

#[tokio::test]
async fn a_charge_that_never_arrives_fails_and_is_never_billed() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number, id) = (number("12"), id("n"));
    assert_eq!(demo.charge(&number, &id, json!({})).await.json()["status"], "Pending");
    let seen = settled(&demo, &id).await;
    assert_eq!((&seen["status"], &seen["message"]), (&json!("Failure"), &json!("Charge not confirmed")));
    assert_eq!(demo.bill(&number).await.0, Vec::<String>::new());
}

#[tokio::test]
async fn what_was_not_applied_is_sent_again_within_the_call() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number, id) = (number("14"), id("t"));
    assert_eq!(demo.charge(&number, &id, json!({})).await.json()["status"], "Success");
    assert_eq!(demo.bill(&number).await.0.len(), 1);
}

#[tokio::test]
async fn a_csp_that_cannot_be_reached_is_503_and_nothing_happened() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number, id) = (number("15"), id("u"));
    for _ in 0..2 {
        let answer = demo.charge(&number, &id, json!({})).await;
        let body = r#"{"code":"service-unavailable","message":"Service unavailable."}"#;
        assert_eq!((answer.brief(), answer.header("retry-after")), ((503, body), "1"));
    }
    assert_eq!(demo.get(&format!("/transaction/{id}")).await.status, 404, "it cannot be seen");
    let refund = demo.charge(&number, &id, json!({ "amount": "-9.99" })).await;
    assert_eq!(refund.json()["code"], "invalid-charge-refund");
    let another = demo.charge(&number, &id, json!({ "amount": "1" })).await;
    assert_eq!(another.status, 400, "the id belongs to the request that may be sent again");
    assert_eq!(demo.bill(&number).await.0, Vec::<String>::new());
}

#[tokio::test]
async fn a_caller_that_hangs_up_stops_nothing() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number, id) = (number("13"), id("h"));
    let call = tokio::spawn({
        let (demo, number, id) = (demo.clone(), number.clone(), id.clone());
        async move { demo.charge(&number, &id, json!({})).await }
    });
    let since = Instant::now();
    while demo.get(&format!("/transaction/{id}")).await.status == 404 && since.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    call.abort();
    assert_eq!(settled(&demo, &id).await["status"], "Success");
    assert_eq!(demo.bill(&number).await.0.len(), 1);
}

#[tokio::test]
async fn a_clock_that_jumps_does_not_fail_a_charge_that_is_on_its_way() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number, id) = (number("13"), id("j"));
    let call = tokio::spawn({
        let (demo, number, id) = (demo.clone(), number.clone(), id.clone());
        async move { demo.charge(&number, &id, json!({})).await }
    });
    while demo.get(&format!("/transaction/{id}")).await.status == 404 && !call.is_finished() {
        tokio::task::yield_now().await;
    }
    // Twice past every lease and promise, while the CSP takes its quarter of a second.
    demo.advance(400).await;
    demo.advance(400).await;
    assert_eq!(call.await.expect("an answer").json()["status"], "Success");
    assert_eq!(settled(&demo, &id).await["status"], "Success");
    assert_eq!(demo.bill(&number).await.0.len(), 1);
}

#[tokio::test]
async fn what_a_crash_leaves_is_taken_up_at_the_next_start() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let gateway = Setup::default().data_dir(directory.path()).start();
    let demo = Partner::demo(&gateway);
    let (booked, never) = (number("11"), number("12"));
    let (lost, gone) = (id("k"), id("k"));
    let calls = [(booked.clone(), lost.clone()), (never.clone(), gone.clone())].map(|(number, id)| {
        let demo = demo.clone();
        tokio::spawn(async move { demo.charge(&number, &id, json!({})).await })
    });
    for id in [&lost, &gone] {
        while demo.get(&format!("/transaction/{id}")).await.status == 404 {
            tokio::task::yield_now().await;
        }
    }
    gateway.kill();
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    let gateway = Setup::default().data_dir(directory.path()).start();
    let demo = Partner::demo(&gateway);
    assert_eq!(settled(&demo, &gone).await["status"], "Failure");
    let bill = demo.bill(&booked).await.0.len();
    let expected = if bill == 1 { "Success" } else { "Failure" };
    assert_eq!(settled(&demo, &lost).await["status"], expected, "the ledger says what the bill says");
    assert_eq!(demo.bill(&never).await.0.len(), 0);
}
