//! What one gateway settles is seen and told by another, once.

use std::time::Duration;

use onbill::faces::pb::v1 as pb;
use onbill::faces::pb::v1::transaction_service_client::TransactionServiceClient;
use serde_json::json;

use super::fleet::{Fleet, PARTNER_KEY, shared, status};
use super::stores::Stores;
use crate::gateway::endpoint::{Endpoint, SECRET};
use crate::gateway::grpc::channel;
use crate::gateway::process::{id, number};

/// Longest wait for what must come by itself: generous, since test machines are busy.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_at_one_gateway_sees_what_another_settles() {
    let fleet = shared();
    // It looks for work once at its start, and then not for a minute: it cannot be the one that settles.
    let idle = fleet.another("ONBILL__RECONCILE__POLL_MS", "60000");
    let partners = fleet.partners();
    for (condition, last) in [("11", ("Success", "Charge success")), ("12", ("Failure", "Charge not confirmed"))] {
        let (number, id) = (number(condition), id("watched"));
        assert_eq!(status(&partners[0].charge(&number, &id, json!({})).await), "Pending");
        let request = pb::WatchTransactionRequest { ext_transaction_id: id, kind: String::new() };
        let mut request = tonic::Request::new(request);
        request.metadata_mut().insert("x-api-key", PARTNER_KEY.parse().expect("a key"));
        let mut client = TransactionServiceClient::new(channel(&idle).await);
        let mut stream = client.watch_transaction(request).await.expect("a stream").into_inner();
        let mut told = Vec::new();
        let listen = async {
            while let Some(one) = stream.message().await.expect("no error") {
                told.push((one.status, one.message));
            }
        };
        tokio::time::timeout(PATIENCE, listen).await.expect("the stream ends with the outcome");
        let expected = [("Pending", "Charge pending"), last].map(|(word, text)| (word.to_owned(), text.to_owned()));
        assert_eq!(told, expected, "condition {condition}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_delivered_once_whoever_has_booked_it() {
    let endpoint = Endpoint::new().await;
    let webhook = format!(
        "[partner.ott.webhook]\nurl = \"{}\"\nsecrets = [\"{SECRET}\"]\nallow_private = true\n",
        endpoint.url()
    );
    let fleet = Fleet::start(3, Stores::beside_others(), &webhook);
    let partners = fleet.partners();
    let numbers: Vec<_> = (0..4).map(|_| number("01")).chain([number("11"), number("12")]).collect();
    let mut calls = tokio::task::JoinSet::new();
    for turn in 0..60 {
        let (partner, number) = (partners[turn % 3].clone(), numbers[turn % numbers.len()].clone());
        calls.spawn(async move {
            let id = id("told");
            assert_eq!(partner.charge(&number, &id, json!({})).await.status, 200);
            id
        });
    }
    let mut charged = calls.join_all().await;
    endpoint.wait(charged.len()).await;
    // Nothing is due any more, so that whatever came twice would have come by now.
    let since = std::time::Instant::now();
    while fleet.stores.database.number("SELECT count(*) FROM outbox WHERE delivery <> 'delivered'") > 0 {
        assert!(since.elapsed() < PATIENCE, "some events are never recorded as delivered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut told: Vec<_> = endpoint.received().iter().map(|event| event.brief().0).collect();
    told.sort();
    charged.sort();
    assert_eq!(told, charged, "each once");
}
