//! What endpoints did not take: listed, sent again and tried by `onbill webhook`, over the operations port.

use serde_json::{Value, json};

use super::client::Partner;
use super::endpoint::{Endpoint, SECRET, with_endpoint};
use super::process::{Running, Setup, id, number};

/// Runs a command against a gateway: its exit code, its output and what it said to people.
async fn webhook(gateway: &Running, arguments: &[&str]) -> (i32, String, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_onbill"))
        .arg("webhook")
        .args(arguments)
        .args(["--admin", &format!("http://{}", gateway.admin())])
        .output()
        .await
        .expect("the built binary");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (output.status.code().expect("an exit code"), text(&output.stdout), text(&output.stderr))
}

async fn listing(gateway: &Running) -> Value {
    let (code, out, err) = webhook(gateway, &["list", "--json"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(!out.contains("whsec"), "{out}");
    serde_json::from_str(&out).expect("JSON")
}

/// Waits until there are so many dead letters.
async fn dead(gateway: &Running, count: usize) -> Value {
    let since = std::time::Instant::now();
    loop {
        let listing = listing(gateway).await;
        if listing["deadLetters"].as_array().expect("a list").len() == count {
            return listing;
        }
        assert!(since.elapsed().as_secs() < 30, "{listing}");
    }
}

#[tokio::test]
async fn an_endpoint_that_answers_410_is_left_alone_until_somebody_sends_again() {
    let endpoint = Endpoint::answering(&[410]).await;
    let gateway = with_endpoint(Setup::default(), "DEMO_OTT", &endpoint.url(), SECRET).start();
    let demo = Partner::demo(&gateway);
    let ids = [id("d"), id("d")];
    for (count, id) in ids.iter().enumerate() {
        demo.charge(&number("01"), id, json!({})).await;
        let listing = dead(&gateway, count + 1).await;
        assert_eq!(listing["endpoints"][0]["stopped"], true);
        let newest = &listing["deadLetters"][0];
        assert_eq!((&newest["extTransactionId"], &newest["kind"]), (&json!(id), &json!("charge")));
        assert_eq!((&newest["partner"], &newest["attempts"]), (&json!("demo-ott"), &json!(1)));
    }
    assert_eq!(endpoint.received().len(), 1, "the second was not sent");
    let (code, out, _) = webhook(&gateway, &["list", "--partner", "demo-ott"]).await;
    assert_eq!(code, 0);
    assert!(out.contains("stopped: it has answered 410") && out.contains("Dead letters: 2"), "{out}");
    assert!(out.contains("not sent: the endpoint has answered 410"), "{out}");

    let (code, out, _) = webhook(&gateway, &["resend", "--partner", "demo-ott"]).await;
    assert_eq!((code, out.as_str()), (0, "Events that are sent again: 2\n"));
    let received = endpoint.wait(3).await;
    let mut again: Vec<_> = received[1..].iter().map(|received| received.brief().0).collect();
    again.sort();
    let mut expected = ids.to_vec();
    expected.sort();
    assert_eq!(again, expected);
    assert_eq!(received[0].body, received[1..].iter().find(|r| r.brief().0 == ids[0]).expect("it came").body);
    let listing = dead(&gateway, 0).await;
    assert_eq!(listing["endpoints"][0]["stopped"], false);
}

#[tokio::test]
async fn an_event_that_was_delivered_can_be_sent_once_more() {
    let endpoint = Endpoint::new().await;
    let gateway = with_endpoint(Setup::default(), "DEMO_OTT", &endpoint.url(), SECRET).start();
    Partner::demo(&gateway).charge(&number("01"), &id("d"), json!({})).await;
    let event = endpoint.wait(1).await[0].header("webhook-id").to_owned();
    let resend = ["resend", "--partner", "demo-ott", event.as_str(), "--json"];
    let since = std::time::Instant::now();
    // The end of the first delivery may not be recorded yet.
    while webhook(&gateway, &resend).await != (0, "{\"resent\":1}\n".to_owned(), String::new()) {
        assert!(since.elapsed().as_secs() < 30);
    }
    assert_eq!(endpoint.wait(2).await[1].header("webhook-id"), event);
    let (code, out, _) = webhook(&gateway, &["resend", "--partner", "demo-ott", "evt_none"]).await;
    assert_eq!((code, out.as_str()), (1, "Events that are sent again: 0\n"));
}

#[tokio::test]
async fn a_test_event_is_signed_and_its_answer_is_printed() {
    let endpoint = Endpoint::answering(&[200, 418]).await;
    let gateway = with_endpoint(Setup::default(), "DEMO_OTT", &endpoint.url(), SECRET).start();
    let (code, out, _) = webhook(&gateway, &["test", "--partner", "demo-ott"]).await;
    assert_eq!(code, 0);
    assert!(out.ends_with(": delivered, answered 200\n"), "{out}");
    let received = endpoint.wait(1).await;
    assert!(received[0].is_signed_by(SECRET));
    assert_eq!(received[0].json()["type"], "onbill.test.v1");
    let (code, out, _) = webhook(&gateway, &["test", "--partner", "demo-ott", "--json"]).await;
    let tried: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &tried["delivered"], &tried["status"]), (1, &json!(false), &json!(418)));
}

#[tokio::test]
async fn a_private_address_is_not_called_unless_the_configuration_allows_it() {
    let endpoint = Endpoint::new().await;
    let port = endpoint.authority.rsplit(':').next().expect("a port");
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"] {
        let gateway = Setup::default()
            .environment("ONBILL__PARTNER__DEMO_OTT__WEBHOOK__URL", &format!("https://{host}:{port}/"))
            .environment("ONBILL__PARTNER__DEMO_OTT__WEBHOOK__SECRETS", SECRET)
            .start();
        let (code, out, _) = webhook(&gateway, &["test", "--partner", "demo-ott"]).await;
        assert_eq!(code, 1);
        assert!(out.contains("has no public address, and allow_private is off"), "{host}: {out}");
    }
    assert!(endpoint.received().is_empty());
}

#[tokio::test]
async fn who_has_no_endpoint_and_where_no_gateway_is() {
    let gateway = Running::sandbox();
    let (code, out, _) = webhook(&gateway, &["list"]).await;
    assert_eq!((code, out.as_str()), (0, "No endpoint is configured.\nDead letters: 0\n"));
    for order in ["resend", "test"] {
        let (code, out, err) = webhook(&gateway, &[order, "--partner", "demo-ott"]).await;
        assert_eq!((code, out.as_str()), (2, ""));
        assert_eq!(err, "there is no [partner.demo-ott.webhook] in the configuration\n");
    }
    let admin = Partner::at(gateway.admin(), "");
    let order = r#"{"partner":"demo-ott"}"#;
    let unasked = admin.send(http::Method::POST, "/webhooks/resend", &[("content-type", "text/plain")], order).await;
    assert_eq!(unasked.status, 415, "no page in a browser can send this");
    assert_eq!(admin.post_text("/webhooks/test", "{").await.status, 400);
    assert_eq!(admin.get("/webhooks?other=1").await.status, 400);
    assert_eq!(Partner::demo(&gateway).get("/webhooks").await.status, 404, "not on the main port");
    let address = gateway.admin().to_owned();
    assert!(gateway.stop().success());
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_onbill"))
        .args(["webhook", "list", "--admin", &format!("http://{address}")])
        .output()
        .expect("the built binary");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.starts_with(&format!("no gateway answers at http://{address}")), "{told}");
}
