//! Events: what partners' endpoints get, in which order, how often and signed how.
//!
//! Invariant: endpoints are real ones on this machine; due times are moved by the gateway's clock and never waited for.

use std::time::{Duration, Instant};

use serde_json::json;

use super::client::Partner;
use super::endpoint::{Endpoint, SECRET, with_endpoint};
use super::process::{Running, Setup, id, number};
use crate::tls::{certificate, encrypted};

/// More than the first pause between two attempts, its spread included.
const FIRST_PAUSE_S: u32 = 6;
/// More than the second.
const SECOND_PAUSE_S: u32 = 331;

fn start(endpoint: &Endpoint) -> Running {
    with_endpoint(Setup::default(), "DEMO_OTT", &endpoint.url(), SECRET).start()
}

/// Waits until so many attempts have ended this way, and are recorded.
async fn recorded(gateway: &Running, outcome: &str, count: usize) {
    let admin = Partner::at(gateway.admin(), "");
    let line = format!("onbill_event_deliveries_total{{partner=\"demo-ott\",outcome=\"{outcome}\"}} {count}\n");
    let since = Instant::now();
    while !admin.get("/metrics").await.body.contains(&line) {
        assert!(since.elapsed() < Duration::from_secs(30), "{line} is not seen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn words(id: &str, kind: &str, status: &str) -> (String, String, String) {
    (id.to_owned(), kind.to_owned(), status.to_owned())
}

#[tokio::test]
async fn an_event_reads_as_the_contract_says_and_its_data_is_a_listed_transaction() {
    let endpoint = Endpoint::new().await;
    let gateway = start(&endpoint);
    let demo = Partner::demo(&gateway);
    for (condition, status, r#type) in [("01", "Success", "succeeded"), ("08", "Failure", "failed")] {
        let before = endpoint.received().len();
        let (number, id) = (number(condition), id("e"));
        demo.charge(&number, &id, json!({})).await;
        let received = endpoint.wait(before + 1).await;
        let event = &received[before];
        assert_eq!(event.brief(), words(&id, "charge", status));
        assert_eq!((event.path.as_str(), event.header("content-type")), ("/events", "application/cloudevents+json"));
        assert!(event.is_signed_by(SECRET), "{event:?}");
        let json = event.json();
        assert_eq!(event.header("webhook-id"), json["id"]);
        assert!(json["id"].as_str().is_some_and(|id| id.starts_with("evt_")));
        let keys: Vec<_> = json.as_object().expect("an object").keys().map(String::as_str).collect();
        let expected = ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"];
        assert_eq!(keys, expected);
        assert_eq!(
            (&json["specversion"], &json["source"], &json["subject"]),
            (&json!("1.0"), &json!("onbill"), &json!(id))
        );
        assert_eq!(json["type"], format!("onbill.transaction.{type}.v1"));
        assert!(json["time"].as_str().is_some_and(|time| time.ends_with('Z')));
        assert_eq!(json["datacontenttype"], "application/json");
        let list = demo.get("/transactions?pageSize=1").await.body;
        let row = list.strip_prefix(r#"{"transactions":["#).and_then(|rest| rest.split_once("],")).expect("a row").0;
        assert!(event.body.ends_with(&format!(r#","data":{row}}}"#)), "{}\n{row}", event.body);
    }
}

#[tokio::test]
async fn over_https_an_event_goes_only_to_an_endpoint_whose_authority_is_trusted() {
    let endpoint = Endpoint::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    certificate(directory.path());
    let address = encrypted(directory.path(), endpoint.authority.clone()).await;
    let url = format!("https://localhost:{}/events", address.port());
    let trusted = directory.path().join("cert.pem");
    let stranger = with_endpoint(Setup::default(), "DEMO_OTT", &url, SECRET).start();
    let demo = Partner::demo(&stranger);
    demo.charge(&number("01"), &id("e"), json!({})).await;
    recorded(&stranger, "again", 1).await;
    assert!(endpoint.received().is_empty(), "nothing is sent to who cannot be trusted");
    let friend = with_endpoint(Setup::default(), "DEMO_OTT", &url, SECRET)
        .environment("ONBILL__WEBHOOKS__CA_FILE", trusted.to_str().expect("UTF-8"))
        .start();
    let told = id("e");
    Partner::demo(&friend).charge(&number("01"), &told, json!({})).await;
    let received = endpoint.wait(1).await;
    assert_eq!(received[0].brief(), words(&told, "charge", "Success"));
    assert!(received[0].is_signed_by(SECRET));
}

#[tokio::test]
async fn what_was_pending_is_told_once_when_it_is_final() {
    let endpoint = Endpoint::new().await;
    let gateway = start(&endpoint);
    let demo = Partner::demo(&gateway);
    let (lost, never) = (id("e"), id("e"));
    demo.charge(&number("11"), &lost, json!({})).await;
    demo.charge(&number("12"), &never, json!({})).await;
    let mut told: Vec<_> = endpoint.wait(2).await.iter().map(super::endpoint::Received::brief).collect();
    told.sort();
    let mut expected = [words(&lost, "charge", "Success"), words(&never, "charge", "Failure")];
    expected.sort();
    assert_eq!(told, expected);
    assert_eq!(demo.charge(&number("15"), &id("e"), json!({})).await.status, 503);
    let booked = id("e");
    demo.charge(&number("01"), &booked, json!({})).await;
    assert_eq!(endpoint.wait(3).await[2].brief().0, booked, "what was released makes no event");
}

#[tokio::test]
async fn a_refund_is_told_after_its_charge_even_where_the_charge_has_to_wait() {
    let endpoint = Endpoint::answering(&[500, 500]).await;
    let gateway = start(&endpoint);
    let demo = Partner::demo(&gateway);
    let (number, charged, refunded) = (number("01"), id("e"), id("e"));
    demo.charge(&number, &charged, json!({})).await;
    endpoint.wait(1).await;
    demo.charge(&number, &refunded, json!({ "amount": "-4", "referenceId": charged })).await;
    demo.charge(&number, &charged, json!({ "amount": "-5.99" })).await;
    recorded(&gateway, "again", 1).await;
    demo.advance(FIRST_PAUSE_S).await;
    recorded(&gateway, "again", 2).await;
    demo.advance(SECOND_PAUSE_S).await;
    let received = endpoint.wait(5).await;
    let told: Vec<_> = received.iter().map(|received| (received.status, received.brief())).collect();
    let charge = words(&charged, "charge", "Success");
    assert_eq!(told[..3], [(500, charge.clone()), (500, charge.clone()), (204, charge)]);
    let mut refunds = [told[3].1.clone(), told[4].1.clone()];
    refunds.sort();
    let mut expected = [words(&refunded, "refund", "Success"), words(&charged, "refund", "Success")];
    expected.sort();
    assert_eq!(refunds, expected);
    let of_own_id = received[3..].iter().find(|received| received.brief().0 == refunded).expect("it came").json();
    assert_eq!((&of_own_id["data"]["referenceId"], &of_own_id["data"]["amount"]), (&json!(charged), &json!("-4.0")));
    assert_eq!(of_own_id["data"].get("refundedAmount"), None);
}

#[tokio::test]
async fn what_fails_is_sent_again_with_the_same_id_and_body() {
    let endpoint = Endpoint::answering(&[500, 302, 404]).await;
    let gateway = start(&endpoint);
    let demo = Partner::demo(&gateway);
    demo.charge(&number("01"), &id("e"), json!({})).await;
    for (count, pause_s) in [(1, FIRST_PAUSE_S), (2, SECOND_PAUSE_S), (3, 1_981)] {
        recorded(&gateway, "again", count).await;
        demo.advance(pause_s).await;
    }
    let received = endpoint.wait(4).await;
    let statuses: Vec<_> = received.iter().map(|received| received.status).collect();
    assert_eq!(statuses, [500, 302, 404, 204]);
    for again in &received {
        assert_eq!((&again.body, again.header("webhook-id")), (&received[0].body, received[0].header("webhook-id")));
        assert_eq!(again.path, "/events", "a redirect is not followed");
        assert!(again.is_signed_by(SECRET), "signed with the real time, whatever the gateway's clock says");
    }
}

#[tokio::test]
async fn a_crash_loses_no_event() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let endpoint = Endpoint::answering(&[503]).await;
    let start = || {
        let setup = Setup::default().data_dir(directory.path());
        with_endpoint(setup, "DEMO_OTT", &endpoint.url(), SECRET).start()
    };
    let gateway = start();
    let demo = Partner::demo(&gateway);
    demo.charge(&number("01"), &id("e"), json!({})).await;
    endpoint.wait(1).await;
    gateway.kill();
    let gateway = start();
    // Long enough for the claim to run out, if the end of the first attempt was not recorded any more.
    Partner::demo(&gateway).advance(SECOND_PAUSE_S).await;
    let received = endpoint.wait(2).await;
    assert_eq!(received[0].body, received[1].body);
}

#[tokio::test]
async fn while_secrets_change_each_event_is_signed_by_both() {
    let next = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let endpoint = Endpoint::new().await;
    let secrets = format!("{SECRET},{next}");
    let gateway = with_endpoint(Setup::default(), "DEMO_OTT", &endpoint.url(), &secrets).start();
    Partner::demo(&gateway).charge(&number("01"), &id("e"), json!({})).await;
    let received = endpoint.wait(1).await;
    assert!(received[0].is_signed_by(SECRET) && received[0].is_signed_by(next));
    assert!(!received[0].is_signed_by("whsec_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA="));
    assert!(!gateway.log().contains("whsec_M"), "secrets are not logged");
}

#[tokio::test]
async fn a_dead_endpoint_slows_nobody_else() {
    let dead = Endpoint::answering(&[0; 200]).await;
    let alive = Endpoint::new().await;
    let setup = with_endpoint(Setup::default(), "DEMO_OTT", &dead.url(), SECRET);
    let gateway = with_endpoint(setup, "OTHER_OTT", &alive.url(), SECRET).start();
    let (demo, other) = (Partner::demo(&gateway), Partner::other(&gateway));
    for _ in 0..20 {
        assert_eq!(demo.charge(&number("01"), &id("e"), json!({})).await.json()["status"], "Success");
    }
    dead.wait(8).await;
    for _ in 0..20 {
        other.charge(&number("01"), &id("e"), json!({})).await;
    }
    alive.wait(20).await;
    assert_eq!(dead.received().len(), 8, "no more at a time than one endpoint may have");
}
