//! A gateway on Redis, seen from outside: what it does while Redis is away, and that it finds it again.
//!
//! Invariant: Redis may go at any moment; a charge never hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::client::{Answer, Partner, answered};
use super::process::{Running, Setup, id, number};
use crate::servers::redis::{Cluster, Server};

/// Longest wait for what must come by itself: generous, since test machines are busy.
const PATIENCE: Duration = Duration::from_mins(1);
const UNAVAILABLE: (u16, &str) = (503, r#"{"code":"service-unavailable","message":"Service unavailable."}"#);

fn gateway_on(server: &Server) -> Running {
    Setup::default()
        .environment("ONBILL__EPHEMERAL__STORE", "redis")
        .environment("ONBILL__REDIS__ADDRESSES", &server.address())
        .environment("ONBILL__REDIS__RESPONSE_TIMEOUT_MS", "200")
        .environment("ONBILL__REDIS__CONNECT_TIMEOUT_MS", "200")
        .start()
}

async fn send(partner: &Partner, number: &str) -> Answer {
    partner.post("/pin", &json!({ "type": "MSISDN", "address": number })).await
}

async fn validate(partner: &Partner, number: &str, pin: &str) -> Answer {
    partner.post("/pin/validation", &json!({ "type": "MSISDN", "address": number, "pin": pin })).await
}

async fn charge(partner: &Partner, number: &str) {
    let id = id("redis");
    for replay in ["", "true"] {
        let answer = partner.charge(number, &id, json!({})).await;
        assert_eq!(answer.brief(), (200, answered(&id, "Success", "Charge success").as_str()));
        assert_eq!(answer.header("idempotency-replayed"), replay);
    }
}

async fn until_pins_are_sent(partner: &Partner, number: &str) {
    let since = Instant::now();
    loop {
        let answer = send(partner, number).await;
        if answer.status == 201 {
            return;
        }
        assert_eq!(answer.brief(), UNAVAILABLE);
        assert!(since.elapsed() < PATIENCE, "Redis is back, and PINs are not");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// While Redis is away: PIN calls may be repeated later, charges go on, and whoever runs the gateway can see it.
async fn goes_on_without(gateway: &Running, number: &str) {
    let (demo, admin) = (Partner::demo(gateway), Partner::at(gateway.admin(), ""));
    for refused in [send(&demo, number).await, validate(&demo, number, "000000").await] {
        assert_eq!(refused.brief(), UNAVAILABLE);
        assert_eq!(refused.header("retry-after"), "1");
    }
    let body = json!({ "type": "MSISDN", "address": number, "message": "x", "extNotificationId": id("away") });
    let refused = demo.post("/notification", &body).await;
    assert_eq!((refused.brief(), refused.header("retry-after")), (UNAVAILABLE, "1"), "it could text twice");
    for _ in 0..3 {
        charge(&demo, number).await;
    }
    let ready = admin.get("/readyz").await;
    assert_eq!(ready.status, 200, "it is degraded and not unready: {}", ready.body);
    assert!(ready.body.starts_with("ledger: ok\nephemeral: degraded"), "{}", ready.body);
    until_measured(&admin, 0).await;
    let metrics = admin.get("/metrics").await.body;
    assert!(metrics.contains("\nonbill_flights_missed_total "), "{metrics}");
}

async fn until_measured(admin: &Partner, up: u8) {
    let since = Instant::now();
    while !admin.get("/metrics").await.body.contains(&format!("onbill_ephemeral_up {up}\n")) {
        assert!(since.elapsed() < PATIENCE, "onbill_ephemeral_up does not become {up}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn without_redis_charges_go_on_and_pins_come_back_with_it() {
    let server = Server::start();
    let gateway = gateway_on(&server);
    let (demo, admin) = (Partner::demo(&gateway), Partner::at(gateway.admin(), ""));
    let number = number("01");
    until_pins_are_sent(&demo, &number).await;
    let pin = demo.pin(&number).await;
    assert_eq!(validate(&demo, &number, &pin).await.status, 201);
    charge(&demo, &number).await;
    assert!(admin.get("/readyz").await.body.starts_with("ledger: ok\nephemeral: ok\n"));

    server.kill();
    goes_on_without(&gateway, &number).await;
    server.restart();
    until_pins_are_sent(&demo, &number).await;
    until_measured(&admin, 1).await;

    server.pause();
    goes_on_without(&gateway, &number).await;
    server.resume();
    until_pins_are_sent(&demo, &number).await;
    let pin = demo.pin(&number).await;
    server.flush();
    charge(&demo, &number).await;
    let lost = validate(&demo, &number, &pin).await;
    assert_eq!(lost.brief(), (400, r#"{"code":"invalid-pin","message":"Invalid pin"}"#), "a flush costs the PINs");
}

#[tokio::test]
async fn a_gateway_starts_before_its_redis() {
    let server = Server::start();
    server.kill();
    let gateway = gateway_on(&server);
    let number = number("01");
    goes_on_without(&gateway, &number).await;
    server.restart();
    until_pins_are_sent(&Partner::demo(&gateway), &number).await;
}

#[tokio::test]
async fn a_charge_costs_two_round_trips_and_a_pin_call_one() {
    let server = Server::start();
    let gateway = gateway_on(&server);
    let demo = Partner::demo(&gateway);
    let number = number("01");
    until_pins_are_sent(&demo, &number).await;
    let pin = demo.pin(&number).await;
    assert_eq!(validate(&demo, &number, &pin).await.status, 201);
    demo.charge(&number, &id("warm"), json!({})).await;
    server.ask::<()>(&["CONFIG", "RESETSTAT"]).expect("an answer");
    // Scripts call GET, SET and DEL themselves, without a round trip.
    let asked = || ["eval", "evalsha", "exists", "hget"].map(|command| server.calls(command));
    for charges in 1..=3 {
        demo.charge(&number, &id("counted"), json!({})).await;
        assert_eq!(asked(), [0, 2 * charges, 0, 0]);
    }
    assert_eq!(send(&demo, &number).await.status, 201);
    let pin = demo.pin(&number).await;
    assert_eq!(asked(), [0, 7, 0, 0]);
    assert_eq!(validate(&demo, &number, &pin).await.status, 201);
    assert_eq!(asked(), [0, 8, 0, 0]);
}

#[tokio::test]
async fn a_gateway_finds_its_cluster() {
    let cluster = Cluster::start();
    let addresses: Vec<_> = cluster.nodes().iter().map(Server::address).collect();
    let gateway = Setup::default()
        .environment("ONBILL__EPHEMERAL__STORE", "redis")
        .environment("ONBILL__REDIS__MODE", "cluster")
        .environment("ONBILL__REDIS__ADDRESSES", &addresses.join(","))
        .environment("ONBILL__REDIS__KEY_PREFIX", "of-the-test")
        .start();
    let demo = Partner::demo(&gateway);
    for _ in 0..8 {
        let number = number("01");
        until_pins_are_sent(&demo, &number).await;
        let pin = demo.pin(&number).await;
        assert_eq!(validate(&demo, &number, &pin).await.status, 201);
        charge(&demo, &number).await;
    }
    let keys: Vec<_> = cluster.nodes().iter().flat_map(Server::keys).collect();
    assert_eq!(keys.iter().filter(|key| key.starts_with("of-the-test:1:pin:{")).count(), 8, "{keys:?}");
}

#[tokio::test]
async fn a_password_is_read_from_its_file_and_shown_nowhere() {
    const PASSWORD: &str = "a-password-of-the-test";
    let server = Server::with_user("onbill", PASSWORD, &["~*", "&*", "+@all"], &[]);
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let file = directory.path().join("password");
    let gateway_with = |password: &str| {
        std::fs::write(&file, format!("{password}\n")).expect("a file");
        Setup::default()
            .environment("ONBILL__EPHEMERAL__STORE", "redis")
            .environment("ONBILL__REDIS__ADDRESSES", &server.address())
            .environment("ONBILL__REDIS__USER", "onbill")
            .environment("ONBILL__REDIS__PASSWORD_FILE", file.to_str().expect("UTF-8"))
            .start()
    };
    let (right, wrong) = (gateway_with(PASSWORD), gateway_with("a-wrong-password"));
    until_pins_are_sent(&Partner::demo(&right), &number("01")).await;
    assert_eq!(send(&Partner::demo(&wrong), &number("01")).await.brief(), UNAVAILABLE);
    for gateway in [&right, &wrong] {
        let ready = Partner::at(gateway.admin(), "").get("/readyz").await.body;
        let told = format!("{ready}{}", gateway.log());
        assert!(!told.contains("password-of-the-test") && !told.contains("a-wrong-password"), "{told}");
    }
    assert!(wrong.log().contains("Redis is away"), "{}", wrong.log());
}

/// Redis flushed, stopped in the middle, killed and started again, a few times over.
fn come_and_go(server: &Server) {
    let a_while = || std::thread::sleep(Duration::from_millis(60));
    for _ in 0..3 {
        server.flush();
        a_while();
        server.pause();
        a_while();
        server.resume();
        a_while();
        server.kill();
        a_while();
        server.restart();
        a_while();
    }
}

/// Charges until told to stop, each id twice at once: how many there were.
async fn charge_until(gone: Arc<AtomicBool>, demo: Partner, number: String) -> usize {
    let mut charges = 0;
    while !gone.load(Ordering::Relaxed) {
        let id = id("come-and-go");
        let twice = tokio::join!(demo.charge(&number, &id, json!({})), demo.charge(&number, &id, json!({})));
        let expected = answered(&id, "Success", "Charge success");
        assert_eq!((twice.0.brief(), twice.1.brief()), ((200, expected.as_str()), (200, expected.as_str())));
        charges += 1;
    }
    charges
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_charge_fails_or_is_doubled_while_redis_comes_and_goes() {
    let server = Arc::new(Server::start());
    let gateway = gateway_on(&server);
    let (demo, gone) = (Partner::demo(&gateway), Arc::new(AtomicBool::new(false)));
    until_pins_are_sent(&demo, &number("01")).await;
    let numbers: Vec<_> = (0..8).map(|_| number("01")).collect();
    let charging: Vec<_> = numbers
        .iter()
        .map(|number| tokio::spawn(charge_until(Arc::clone(&gone), demo.clone(), number.clone())))
        .collect();
    let going = tokio::task::spawn_blocking(move || come_and_go(&server));
    going.await.expect("no panic");
    gone.store(true, Ordering::Relaxed);
    for (number, charging) in numbers.iter().zip(charging) {
        let charges = charging.await.expect("each charge succeeds");
        let (lines, _) = demo.bill(number).await;
        assert!(charges > 0 && lines.len() == charges, "{charges} charges, and {} lines of the bill", lines.len());
    }
}
