//! WatchTransaction: what stands now, each change, and the end of the stream.
//!
//! Invariant: what is waited for is an event of the gateway; no test here measures time.

use std::time::Duration;

use onbill::faces::pb::v1 as pb;
use onbill::faces::pb::v1::transaction_service_client::TransactionServiceClient;
use serde_json::json;
use tonic::{Code, Streaming};

use super::client::Partner;
use super::grpc::{channel, keyed};
use super::process::{Running, Setup, id, number};

fn request(id: &str, kind: &str) -> tonic::Request<pb::WatchTransactionRequest> {
    keyed(pb::WatchTransactionRequest { ext_transaction_id: id.to_owned(), kind: kind.to_owned() })
}

pub async fn watch(gateway: &Running, id: &str) -> Streaming<pb::WatchTransactionResponse> {
    let mut client = TransactionServiceClient::new(channel(gateway).await);
    client.watch_transaction(request(id, "")).await.expect("a stream").into_inner()
}

/// Everything that a stream tells until it ends.
pub async fn all(mut stream: Streaming<pb::WatchTransactionResponse>) -> Vec<(String, String)> {
    let mut told = Vec::new();
    while let Some(one) = stream.message().await.expect("no error") {
        assert!(one.charge_date.is_some_and(|date| date.nanos == 0 && date.seconds > 0));
        told.push((one.status, one.message));
    }
    told
}

fn words(told: &[(&str, &str)]) -> Vec<(String, String)> {
    told.iter().map(|(status, message)| ((*status).to_owned(), (*message).to_owned())).collect()
}

#[tokio::test]
async fn a_final_transaction_is_told_once_and_the_stream_ends() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number, id) = (number("01"), id("w"));
    demo.charge(&number, &id, json!({})).await;
    demo.charge(&number, &id, json!({ "amount": "-9.99" })).await;
    for kind in ["charge", "refund"] {
        let mut client = TransactionServiceClient::new(channel(&gateway).await);
        let mut stream = client.watch_transaction(request(&id, kind)).await.expect("a stream").into_inner();
        let told = stream.message().await.expect("an answer").expect("one");
        let seen = (told.ext_transaction_id.as_str(), told.kind.as_str(), told.status.as_str(), told.message.as_str());
        assert_eq!(seen, (id.as_str(), kind, "Success", "Charge success"));
        assert_eq!(stream.message().await.expect("the end"), None);
    }
}

#[tokio::test]
async fn what_reconciliation_settles_is_told_and_ends_the_stream() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    for (condition, last) in [("11", ("Success", "Charge success")), ("12", ("Failure", "Charge not confirmed"))] {
        let (number, id) = (number(condition), id("w"));
        assert_eq!(demo.charge(&number, &id, json!({})).await.json()["status"], "Pending");
        let told = all(watch(&gateway, &id).await).await;
        assert_eq!(told, words(&[("Pending", "Charge pending"), last]), "condition {condition}");
    }
}

#[tokio::test]
async fn what_cannot_be_seen_cannot_be_watched() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let other = Partner::other(&gateway);
    let (number, released, others) = (number("15"), id("w"), id("w"));
    assert_eq!(demo.charge(&number, &released, json!({})).await.status, 503);
    other.charge(&super::process::number("01"), &others, json!({})).await;
    let mut client = TransactionServiceClient::new(channel(&gateway).await);
    for unseen in ["nothing", "not an id", "", &released, &others] {
        let status = client.watch_transaction(request(unseen, "")).await.expect_err("not found");
        assert_eq!((status.code(), status.message()), (Code::NotFound, "Transaction not found"), "{unseen}");
    }
    let status = client.watch_transaction(request(&released, "both")).await.expect_err("no such kind");
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_named_deadline_ends_the_stream() {
    // The CSP promises nothing: the outcome stays unknown.
    let gateway = Setup::default().environment("ONBILL__CSP__SANDBOX__FORGET_AFTER_S", "604800").start();
    let demo = Partner::demo(&gateway);
    let (number, id) = (number("12"), id("w"));
    demo.charge(&number, &id, json!({})).await;
    let mut client = TransactionServiceClient::new(channel(&gateway).await);
    let mut asked = request(&id, "");
    asked.metadata_mut().insert("grpc-timeout", "300m".parse().expect("a deadline"));
    let mut stream = client.watch_transaction(asked).await.expect("a stream").into_inner();
    assert_eq!(stream.message().await.expect("an answer").expect("one").status, "Pending");
    let status = stream.message().await.expect_err("its time is up");
    assert!([Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled].contains(&status.code()), "{status:?}");
}

#[tokio::test]
async fn streams_have_bounds_of_their_own_and_a_place_that_is_given_back_is_free_again() {
    // The CSP promises nothing: the outcome stays unknown.
    let gateway = Setup::default()
        .environment("ONBILL__CSP__SANDBOX__FORGET_AFTER_S", "604800")
        .environment("ONBILL__SERVER__WATCHERS_MAX", "3")
        .environment("ONBILL__SERVER__WATCHERS_PER_PARTNER_MAX", "2")
        .start();
    let id = id("w");
    for partner in [Partner::demo(&gateway), Partner::other(&gateway)] {
        assert_eq!(partner.charge(&number("12"), &id, json!({})).await.json()["status"], "Pending");
    }
    let mut client = TransactionServiceClient::new(channel(&gateway).await);
    let mut begun = async |key: &'static str| {
        let mut asked = request(&id, "");
        asked.metadata_mut().insert("x-api-key", key.parse().expect("a key"));
        let mut stream = client.watch_transaction(asked).await?.into_inner();
        assert_eq!(stream.message().await?.expect("one").status, "Pending");
        Ok::<_, tonic::Status>(stream)
    };
    let first = begun("demo-key").await.expect("a place");
    let _second = begun("demo-key").await.expect("a place");
    let status = begun("demo-key").await.expect_err("this partner has too many");
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "Too many requests."));
    let third = begun("other-key").await.expect("a place that the greedy one did not get");
    let status = begun("other-key").await.expect_err("there are too many in all");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "Service unavailable."));
    drop((first, third));
    // The gateway hears of it a moment later.
    for key in ["demo-key", "other-key"] {
        let mut again = begun(key).await;
        for _ in 0..500 {
            if again.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            again = begun(key).await;
        }
        drop(again.expect("a place that was given back"));
    }
}

#[tokio::test]
async fn watchers_do_not_keep_a_gateway_from_stopping() {
    let gateway = Setup::default().environment("ONBILL__CSP__SANDBOX__FORGET_AFTER_S", "604800").start();
    let demo = Partner::demo(&gateway);
    let (number, id) = (number("12"), id("w"));
    demo.charge(&number, &id, json!({})).await;
    let mut stream = watch(&gateway, &id).await;
    assert_eq!(stream.message().await.expect("an answer").expect("one").status, "Pending");
    let stopped = tokio::task::spawn_blocking(move || gateway.stop());
    let end = tokio::time::timeout(Duration::from_secs(5), stream.message()).await.expect("it ends at once");
    assert_eq!(end.expect_err("the gateway stops").code(), Code::Unavailable);
    assert!(stopped.await.expect("a status").success());
}
