//! PINs, seen from outside: one answer for everything that is not the PIN, and quotas.

use serde_json::json;

use super::client::{Answer, Partner, invalid};
use super::process::{Running, number};

const INVALID: (u16, &str) = (400, r#"{"code":"invalid-pin","message":"Invalid pin"}"#);

async fn send(partner: &Partner, number: &str) -> Answer {
    partner.post("/pin", &json!({ "type": "MSISDN", "address": number })).await
}

async fn validate(partner: &Partner, number: &str, pin: &str) -> Answer {
    partner.post("/pin/validation", &json!({ "type": "MSISDN", "address": number, "pin": pin })).await
}

fn wrong(pin: &str) -> &'static str {
    if pin == "000000" { "000001" } else { "000000" }
}

#[tokio::test]
async fn a_pin_is_right_again_and_again_until_it_expires() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let number = number("01");
    let sent = send(&demo, &number).await;
    assert_eq!((sent.brief(), sent.header("content-length")), ((201, ""), "0"));
    let pin = demo.pin(&number).await;
    assert_eq!(validate(&demo, &number, wrong(&pin)).await.brief(), INVALID);
    for _ in 0..2 {
        let right = validate(&demo, &number, &pin).await;
        assert_eq!((right.brief(), right.header("content-length")), ((201, ""), "0"));
    }
    demo.advance(299).await;
    assert_eq!(validate(&demo, &number, &pin).await.status, 201);
    demo.advance(2).await;
    assert_eq!(validate(&demo, &number, &pin).await.brief(), INVALID);
}

#[tokio::test]
async fn the_fifth_wrong_try_burns_a_pin_whatever_it_looks_like() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let number = number("01");
    send(&demo, &number).await;
    let pin = demo.pin(&number).await;
    for text in [wrong(&pin), "x", "12345678901234567890", "ü"] {
        assert_eq!(validate(&demo, &number, text).await.brief(), INVALID, "{text}");
    }
    assert_eq!(validate(&demo, &number, &pin).await.status, 201, "four wrong tries do not burn it");
    assert_eq!(validate(&demo, &number, wrong(&pin)).await.brief(), INVALID);
    assert_eq!(validate(&demo, &number, &pin).await.brief(), INVALID, "the fifth does");
    let never_sent = super::process::number("01");
    assert_eq!(validate(&demo, &never_sent, "123456").await.brief(), INVALID);
    let empty = validate(&demo, &number, "").await;
    assert_eq!(empty.brief(), (400, invalid(&[("violation-on-pin", "must not be null")]).as_str()));
}

#[tokio::test]
async fn a_new_pin_replaces_the_old_and_belongs_to_its_partner() {
    let gateway = Running::sandbox();
    let (demo, other) = (Partner::demo(&gateway), Partner::other(&gateway));
    let number = number("01");
    send(&demo, &number).await;
    let old = demo.pin(&number).await;
    assert_eq!(validate(&other, &number, &old).await.brief(), INVALID);
    send(&demo, &number).await;
    let new = demo.pin(&number).await;
    if old != new {
        assert_eq!(validate(&demo, &number, &old).await.brief(), INVALID);
    }
    assert_eq!(validate(&demo, &number, &new).await.status, 201);
}

#[tokio::test]
async fn sends_are_limited_by_partner_and_by_address_and_forgotten_after_the_window() {
    let gateway = Running::sandbox();
    let (demo, number) = (Partner::demo(&gateway), number("16"));
    for _ in 0..3 {
        assert_eq!(send(&demo, &number).await.status, 201);
    }
    let refused = send(&demo, &number).await;
    assert_eq!(refused.brief(), (429, r#"{"code":"too-many-requests","message":"Too many requests."}"#));
    let wait: u32 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=600).contains(&wait));
    assert_eq!(send(&Partner::other(&gateway), &number).await.status, 201, "the quota is each partner's own");
    assert_eq!(demo.inbox(&number).await.len(), 4, "a refused send texts nobody");
    demo.advance(601).await;
    assert_eq!(send(&demo, &number).await.status, 201);
    let reset = demo.post("/sandbox/reset", &json!({ "address": number })).await;
    assert_eq!((reset.brief(), demo.inbox(&number).await.len()), ((201, ""), 0));
    for _ in 0..3 {
        assert_eq!(send(&demo, &number).await.status, 201, "a reset number has its quota back");
    }
}

#[tokio::test]
async fn who_can_be_texted_depends_on_standing() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    for (condition, pin, notification) in
        [("01", 201, 201), ("02", 404, 404), ("03", 400, 201), ("04", 400, 201), ("05", 201, 201), ("99", 404, 404)]
    {
        let number = number(condition);
        assert_eq!(send(&demo, &number).await.status, pin, "{condition}");
        let text = json!({ "type": "MSISDN", "address": number, "message": "Hello" });
        assert_eq!(demo.post("/notification", &text).await.status, notification, "{condition}");
        let received = usize::from(pin == 201) + usize::from(notification == 201);
        assert_eq!(demo.inbox(&number).await.len(), received, "{condition}");
    }
}

#[tokio::test]
async fn a_notification_has_1_to_480_characters() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let number = number("01");
    for (message, status) in [("", 400), ("x", 201), (&*"ü".repeat(480), 201), (&*"x".repeat(481), 400)] {
        let body = json!({ "type": "MSISDN", "address": number, "message": message });
        assert_eq!(demo.post("/notification", &body).await.status, status, "{}", message.len());
    }
    assert_eq!(demo.inbox(&number).await.len(), 2);
}
