//! Notifications with an id, seen from outside: a repeat does not text twice.
//!
//! Invariant: the phone's inbox is the judge, and not what the gateway says.

use std::sync::Arc;

use http::Method;
use onbill::faces::pb::v1 as pb;
use onbill::faces::pb::v1::notification_service_client::NotificationServiceClient;
use serde_json::{Value, json};
use tonic::{Code, Request};
use tonic_types::StatusExt;

use super::client::{Answer, Partner, invalid};
use super::grpc::channel;
use super::process::{Running, Setup, number};
use super::sick_csps::{PARTNER_KEY, configuration, order};
use crate::operator::Operator;

const REPLAYED: &str = "idempotency-replayed";

fn text(number: &str, message: &str, id: &Value) -> Value {
    json!({ "type": "MSISDN", "address": number, "message": message, "extNotificationId": id })
}

async fn notify(partner: &Partner, body: &Value) -> Answer {
    partner.post("/notification", body).await
}

#[tokio::test]
async fn the_same_notification_under_its_id_is_answered_again_and_texts_once() {
    let gateway = Running::sandbox();
    let (demo, other) = (Partner::demo(&gateway), Partner::other(&gateway));
    let number = number("01");
    let body = text(&number, "Welcome", &json!("n-1"));
    for replayed in ["", "true", "true"] {
        let answer = notify(&demo, &body).await;
        assert_eq!((answer.brief(), answer.header(REPLAYED)), ((201, ""), replayed));
    }
    assert_eq!(demo.inbox(&number).await.len(), 1);

    let used = invalid(&[("violation-on-extNotificationId", "already used by another notification")]);
    let elsewhere = super::process::number("01");
    for another in [text(&number, "Good-bye", &json!("n-1")), text(&elsewhere, "Welcome", &json!("n-1"))] {
        assert_eq!(notify(&demo, &another).await.brief(), (400, used.as_str()));
    }
    assert_eq!(notify(&other, &body).await.header(REPLAYED), "", "ids are each partner's own");
    assert_eq!(demo.inbox(&number).await.len(), 2);
    assert_eq!(demo.inbox(&elsewhere).await.len(), 0);

    demo.advance(86_401).await;
    let next_day = notify(&demo, &body).await;
    assert_eq!((next_day.status, next_day.header(REPLAYED)), (201, ""), "an id is remembered for a day");
}

#[tokio::test]
async fn an_id_is_optional_and_held_against_its_pattern() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let number = number("01");
    for absent in [json!({ "type": "MSISDN", "address": number, "message": "x" }), text(&number, "x", &Value::Null)] {
        for _ in 0..2 {
            let answer = notify(&demo, &absent).await;
            assert_eq!((answer.status, answer.header(REPLAYED)), (201, ""));
        }
    }
    assert_eq!(demo.inbox(&number).await.len(), 4, "without an id a repeat texts again");
    let pattern = ("violation-on-extNotificationId", "must match \"^[A-Za-z0-9._:-]{1,64}$\"");
    for malformed in ["", " ", "a b", "ü", &"x".repeat(65)] {
        let answer = notify(&demo, &text(&number, "x", &json!(malformed))).await;
        assert_eq!(answer.brief(), (400, invalid(&[pattern]).as_str()), "{malformed:?}");
    }
    let wrong = text(&number, "x", &json!(1));
    let not_text = invalid(&[("violation-on-extNotificationId", "must be a string")]);
    assert_eq!(notify(&demo, &wrong).await.brief(), (400, not_text.as_str()));
    let all = json!({ "type": "SMS", "extNotificationId": "" });
    let listed = [("violation-on-type", "type must be MSISDN"), ("violation-on-message", "must not be null"), pattern];
    assert_eq!(notify(&demo, &all).await.brief(), (400, invalid(&listed).as_str()), "in the order of the fields");
    assert_eq!(demo.inbox(&number).await.len(), 4);
}

#[tokio::test]
async fn who_is_refused_has_not_taken_the_id() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let ceased = text(&number("02"), "x", &json!("n-1"));
    assert_eq!(notify(&demo, &ceased).await.status, 404);
    let active = notify(&demo, &text(&number("01"), "x", &json!("n-1"))).await;
    assert_eq!((active.status, active.header(REPLAYED)), (201, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_one_texts_and_all_are_answered_in_the_end() {
    let gateway = Running::sandbox();
    let demo = Arc::new(Partner::demo(&gateway));
    // Every answer of this number's CSP takes a while.
    let number = number("13");
    let body = text(&number, "once", &json!("n-1"));
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let (demo, body) = (Arc::clone(&demo), body.clone());
            tokio::spawn(async move {
                for _ in 0..200 {
                    let answer = notify(&demo, &body).await;
                    if answer.status != 503 {
                        return answer;
                    }
                    assert_eq!(answer.header("retry-after"), "1");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                panic!("never anything but 503");
            })
        })
        .collect();
    let mut started = 0;
    for call in calls {
        let answer = call.await.expect("no panic");
        assert_eq!(answer.brief(), (201, ""));
        started += usize::from(answer.header(REPLAYED).is_empty());
    }
    assert_eq!((started, demo.inbox(&number).await.len()), (1, 1));
}

#[tokio::test]
async fn grpc_says_the_same_and_shares_the_id() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let number = number("01");
    let mut notifications = NotificationServiceClient::new(channel(&gateway).await);
    let mut message = pb::SendNotificationRequest {
        r#type: "MSISDN".to_owned(),
        address: number.clone(),
        message: "Welcome".to_owned(),
        ext_notification_id: Some("n-1".to_owned()),
    };
    let keyed = |message: &pb::SendNotificationRequest| {
        let mut request = Request::new(message.clone());
        request.metadata_mut().insert("x-api-key", "demo-key".parse().expect("a key"));
        request
    };
    let first = notifications.send_notification(keyed(&message)).await.expect("sent");
    assert!(first.metadata().get(REPLAYED).is_none());
    let again = notifications.send_notification(keyed(&message)).await.expect("sent before");
    assert_eq!(again.metadata().get(REPLAYED).expect("replayed"), "true");
    let over_json = notify(&demo, &text(&number, "Welcome", &json!("n-1"))).await;
    assert_eq!((over_json.status, over_json.header(REPLAYED)), (201, "true"));
    assert_eq!(demo.inbox(&number).await.len(), 1);

    message.message = "Good-bye".to_owned();
    let used = notifications.send_notification(keyed(&message)).await.expect_err("another notification");
    assert_eq!(used.code(), Code::AlreadyExists);
    let details = used.get_error_details();
    let violation = &details.bad_request().expect("BadRequest").field_violations[0];
    assert_eq!(
        (violation.field.as_str(), violation.reason.as_str()),
        ("ext_notification_id", "VIOLATION_ON_EXT_NOTIFICATION_ID")
    );
    message.ext_notification_id = Some(String::new());
    let malformed = notifications.send_notification(keyed(&message)).await.expect_err("no id");
    assert_eq!(malformed.code(), Code::InvalidArgument);
}

/// Texts that an operator has taken for a number.
async fn taken(operator: &Operator, number: &str) -> usize {
    let inbox = operator.client().get(&format!("/messages?address={number}")).await;
    inbox.json()["messages"].as_array().expect("messages").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_csp_did_not_take_may_be_sent_again_and_what_it_may_have_taken_never() {
    let operator = Operator::start(&[]);
    let config = configuration(&[("csp", "5551", &operator)]);
    let gateway = tokio::task::block_in_place(|| Setup::default().config(&config).start());
    let partner = Partner::with_key(&gateway, PARTNER_KEY);
    let number = "5551000001";
    let faults = [
        // What goes wrong, what repeats hear, and how many texts there are in the end.
        (json!({ "fault": "not-applied", "verb": "notify" }), 201, 1),
        (json!({ "fault": "cut-after", "verb": "notify" }), 503, 1),
        (json!({ "fault": "cut-before", "verb": "notify" }), 503, 0),
        (json!({ "fault": "status", "status": 500, "verb": "notify" }), 503, 0),
    ];
    let mut before = 0;
    for (count, (fault, repeat, texts)) in faults.into_iter().enumerate() {
        order(&operator, fault.clone()).await;
        let body = text(number, "hello", &json!(format!("n-{count}")));
        let first = notify(&partner, &body).await;
        assert_eq!((first.status, first.header("retry-after")), (503, "1"), "{fault}");
        for _ in 0..2 {
            assert_eq!(notify(&partner, &body).await.status, repeat, "{fault}");
        }
        assert_eq!(taken(&operator, number).await, before + texts, "{fault}");
        before += texts;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_caller_that_does_not_wait_finds_out_by_its_repeat() {
    let operator = Operator::start(&[]);
    let config =
        configuration(&[("csp", "5551", &operator)]).replace("call_timeout_ms = 1000", "call_timeout_ms = 5000");
    let gateway = tokio::task::block_in_place(|| Setup::default().config(&config).start());
    let partner = Partner::with_key(&gateway, PARTNER_KEY);
    let (number, body) = ("5551000001", text("5551000001", "hello", &json!("n-1")));
    order(&operator, json!({ "fault": "delay", "delayMs": 1500, "verb": "notify" })).await;
    let impatient = [("content-type", "application/json"), ("x-request-timeout-ms", "500")];
    let first = partner.send(Method::POST, "/notification", &impatient, body.to_string()).await;
    assert_eq!(first.status, 503, "its time was up");
    let mut answer = notify(&partner, &body).await;
    for _ in 0..600 {
        if answer.status != 503 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        answer = notify(&partner, &body).await;
    }
    assert_eq!((answer.status, answer.header(REPLAYED)), (201, "true"));
    assert_eq!(taken(&operator, number).await, 1);
}
