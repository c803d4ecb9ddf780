//! Stopping under load, and what health says meanwhile.
//!
//! Invariant: signals are real; clients do what they are told (they go where a gateway is ready, and do not keep a
//! connection that is to be closed), and then no request of theirs fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use onbill::faces::pb::v1 as pb;
use onbill::faces::pb::v1::transaction_service_client::TransactionServiceClient;
use serde_json::json;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::gateway::client::Partner;
use crate::gateway::grpc::{channel, keyed};
use crate::gateway::process::{Running, Setup, id, number};

/// How long a load balancer may take to notice: generous, since test machines are busy.
const NOTICE_MS: &str = "3000";

fn grpc_charge() -> pb::CreateTransactionRequest {
    pb::CreateTransactionRequest {
        ext_transaction_id: id("stop"),
        r#type: "MSISDN".to_owned(),
        address: number("01"),
        partner_product: "ott-basic".to_owned(),
        amount: "1".to_owned(),
        currency: "MXN".to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn no_request_fails_on_either_face_when_a_gateway_is_stopped_under_load() {
    let gateway = Setup::default().environment("ONBILL__SERVER__DRAIN_DELAY_MS", NOTICE_MS).start();
    let (ready, answered) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (demo, is_ready, count) = (Partner::demo(&gateway), Arc::clone(&ready), Arc::clone(&answered));
        clients.spawn(async move {
            while is_ready.load(Ordering::SeqCst) {
                let answer = demo.charge(&number("01"), &id("stop"), json!({})).await;
                assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("Success")), "{answer:?}");
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut client = TransactionServiceClient::new(channel(&gateway).await);
        let (is_ready, count) = (Arc::clone(&ready), Arc::clone(&answered));
        clients.spawn(async move {
            while is_ready.load(Ordering::SeqCst) {
                let answer = client.create_transaction(keyed(grpc_charge())).await.expect("an answer");
                assert_eq!(answer.into_inner().status, "Success");
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let since = Instant::now();
    while answered.load(Ordering::SeqCst) < 20 {
        assert!(since.elapsed() < Duration::from_mins(1));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gateway.terminate();
    // The load balancer.
    let admin = Partner::at(gateway.admin(), "");
    while admin.get("/readyz").await.status == 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let while_leaving = Partner::demo(&gateway).charge(&number("01"), &id("stop"), json!({})).await;
    assert_eq!((while_leaving.status, while_leaving.header("connection")), (200, "close"));
    ready.store(false, Ordering::SeqCst);
    while let Some(client) = clients.join_next().await {
        client.expect("no request has failed");
    }
    let stopped = tokio::task::spawn_blocking(move || gateway.stop()).await.expect("it stops");
    assert!(stopped.success());
}

async fn next(stream: &mut tonic::Streaming<tonic_health::pb::HealthCheckResponse>) -> ServingStatus {
    let told = tokio::time::timeout(Duration::from_secs(30), stream.message()).await.expect("in time");
    told.expect("no error").expect("a status").status()
}

#[tokio::test]
async fn health_is_told_for_each_service_and_to_those_who_watch() {
    let redis = crate::servers::redis::Server::start();
    let gateway = Setup::default()
        .environment("ONBILL__EPHEMERAL__STORE", "redis")
        .environment("ONBILL__REDIS__ADDRESSES", &redis.address())
        .environment("ONBILL__SERVER__DRAIN_DELAY_MS", NOTICE_MS)
        .start();
    let mut health = HealthClient::new(channel(&gateway).await);
    let asked = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let mut pins = health.watch(asked("onbill.v1.PinService")).await.expect("a stream").into_inner();
    let mut charges = health.watch(asked("onbill.v1.TransactionService")).await.expect("a stream").into_inner();
    let mut all = health.watch(asked("")).await.expect("a stream").into_inner();
    for stream in [&mut pins, &mut charges, &mut all] {
        let since = Instant::now();
        while next(stream).await != ServingStatus::Serving {
            assert!(since.elapsed() < Duration::from_secs(30));
        }
    }
    redis.kill();
    assert_eq!(next(&mut pins).await, ServingStatus::NotServing, "PINs need it");
    let ready = Partner::at(gateway.admin(), "").get("/readyz").await;
    assert_eq!(ready.status, 200, "charges go on");
    for line in ["ledger: ok\n", "ephemeral: degraded", "csp sandbox: ok\n", "audit: ok\n"] {
        assert!(ready.body.contains(line), "{line}: {}", ready.body);
    }
    redis.restart();
    assert_eq!(next(&mut pins).await, ServingStatus::Serving);
    gateway.terminate();
    for stream in [&mut pins, &mut charges, &mut all] {
        assert_eq!(next(stream).await, ServingStatus::NotServing, "it stops");
    }
    let leaving = Partner::at(gateway.admin(), "").get("/readyz").await;
    assert_eq!((leaving.status, leaving.body.as_str()), (503, "stopping\n"));
}

#[tokio::test]
async fn whoever_asks_twice_does_not_wait_for_load_balancers() {
    let gateway = Setup::default().environment("ONBILL__SERVER__DRAIN_DELAY_MS", "600000").start();
    gateway.terminate();
    let admin = Partner::at(gateway.admin(), "");
    while admin.get("/readyz").await.status == 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stopped = tokio::task::spawn_blocking(move || Running::stop(gateway)).await.expect("it stops");
    assert!(stopped.success());
}
