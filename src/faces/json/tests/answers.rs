//! What answers and errors become.

use std::sync::Arc;

use http::Method;
use prost_types::Timestamp;

use super::super::framed::Framed;
use super::super::{JsonFace, JsonFaceError};
use super::{Recorder, get, post, send};
use crate::domain::catalogue::{ErrorCode, Violation, field, reason};
use crate::faces::pb;
use crate::faces::pb::v1::Transaction;
use crate::faces::status::ApiError;

#[tokio::test]
async fn a_page_is_printed_in_field_order_with_absent_optionals_left_out() {
    let row = Transaction {
        ext_transaction_id: "t-2".to_owned(),
        kind: "refund".to_owned(),
        reference_id: Some("t-1".to_owned()),
        charge_date: Some(Timestamp { seconds: 1_589_814_303, nanos: 0 }),
        currency: "MXN".to_owned(),
        amount: "-9.99".to_owned(),
        refunded_amount: None,
        message: "Say \"hi\"\n\\ \u{1f} é/".to_owned(),
        status: "Success".to_owned(),
        partner_product: String::new(),
    };
    let charge = Transaction { refunded_amount: Some("0.0".to_owned()), ..Transaction::default() };
    let recorder = Recorder { page: vec![row, charge], ..Recorder::default() };
    let read = get(&recorder.face(), "/transactions").await;
    assert_eq!(
        read.body,
        concat!(
            r#"{"transactions":[{"extTransactionId":"t-2","kind":"refund","referenceId":"t-1","#,
            r#""chargeDate":"2020-05-18T15:05:03Z","currency":"MXN","amount":"-9.99","#,
            r#""message":"Say \"hi\"\n\\ \u001f é/","status":"Success","partnerProduct":""},"#,
            r#"{"extTransactionId":"","kind":"","currency":"","amount":"","refundedAmount":"0.0","#,
            r#""message":"","status":"","partnerProduct":""}],"nextPageToken":""}"#
        )
    );
    assert_eq!(read.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn an_empty_page_has_its_empty_fields() {
    let read = get(&Recorder::default().face(), "/transactions").await;
    assert_eq!(read.body, r#"{"transactions":[],"nextPageToken":""}"#);
    assert_eq!(read.header("grpc-status"), None);
}

#[tokio::test]
async fn one_transaction_is_printed_as_certified() {
    let read = get(&Recorder::default().face(), "/transaction/1").await;
    let expected = r#"{"chargeDate":"2020-05-18T15:05:03Z","currency":"MXN","amount":"1500.0","message":"Over spending daily limit","status":"Failure"}"#;
    assert_eq!((read.status, read.body.as_str()), (200, expected));
}

#[tokio::test]
async fn a_header_field_is_in_its_header_and_not_in_the_body() {
    let read = post(&Recorder::default().face(), "/account/validate", "{}").await;
    assert_eq!(read.body, r#"{"status":"ACTIVE","type":"postpaid"}"#);
    assert_eq!(read.header("x-account-id"), Some("acc_1"));
}

#[tokio::test]
async fn a_201_is_empty_and_keeps_the_headers_of_the_service() {
    let read = post(&Recorder::default().face(), "/pin", "{}").await;
    assert_eq!((read.status, read.body.as_str()), (201, ""));
    assert_eq!(read.header("content-length"), Some("0"));
    assert_eq!(read.header("content-type"), None);
    assert_eq!(read.header("x-correlation-id"), Some("c-1"));
}

#[tokio::test]
async fn errors_are_those_of_the_catalogue() {
    let violations =
        vec![Violation::missing(field::TYPE), Violation::on(field::CURRENCY, reason::must_match("^[A-Z]{3}$"))];
    for (error, status, body) in [
        (ApiError::new(ErrorCode::InvalidPin), 400, r#"{"code":"invalid-pin","message":"Invalid pin"}"#),
        (
            ApiError::new(ErrorCode::EligibilityFailedCsp),
            400,
            r#"{"code":"eligibility-failed csp","message":"You are not eligible to subscribe to this service based on rules set by your CSP"}"#,
        ),
        (
            ApiError::invalid(violations),
            400,
            concat!(
                r#"{"code":"invalid-request","message":"Invalid request.","validationErrors":["#,
                r#"{"code":"violation-on-type","reason":"must not be null"},"#,
                r#"{"code":"violation-on-currency","reason":"must match \"^[A-Z]{3}$\""}]}"#
            ),
        ),
        (
            ApiError::invalid(vec![Violation::negative_amount()]),
            400,
            r#"{"code":"invalid-request","message":"Invalid request","validationErrors":[{"code":"negative-amount","reason":"Negative Amount is required to proceed refund transaction"}]}"#,
        ),
        (ApiError::new(ErrorCode::SystemError), 500, r#"{"code":"system-error","message":"System error."}"#),
    ] {
        let recorder = Recorder { error: Some(error), ..Recorder::default() };
        let read = post(&recorder.face(), "/pin/validation", "{}").await;
        assert_eq!((read.status, read.body.as_str()), (status, body));
        assert_eq!(read.header("content-type"), Some("application/json"));
        assert!(!read.headers.keys().any(|name| name.as_str().starts_with("grpc-")), "{:?}", read.headers);
    }
}

#[tokio::test]
async fn errors_have_the_headers_that_go_with_them() {
    let limited = ApiError::new(ErrorCode::TooManyRequests).retry_after(7);
    for (error, header, value) in [
        (ApiError::new(ErrorCode::AuthorizationFailure), "www-authenticate", "ApiKey realm=\"onbill\""),
        (limited, "retry-after", "7"),
    ] {
        let recorder = Recorder { error: Some(error), ..Recorder::default() };
        let read = get(&recorder.face(), "/transactions").await;
        assert_eq!(read.header(header), Some(value));
    }
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_answered_without_a_call() {
    let recorder = Recorder::default();
    let face = recorder.face();
    let not_found = r#"{"code":"not-found","message":"Not found."}"#;
    for path in
        ["/", "/pins", "/pin/", "//pin", "/transaction/", "/transaction//", "/transaction/a/b", "/PIN", "/sandbox/bill"]
    {
        let read = get(&face, path).await;
        assert_eq!((read.status, read.body.as_str()), (404, not_found), "{path}");
    }
    let not_allowed = r#"{"code":"method-not-allowed","message":"Method not allowed."}"#;
    for (method, path, allow) in [
        (Method::GET, "/pin", "POST"),
        (Method::HEAD, "/pin", "POST"),
        (Method::OPTIONS, "/transaction", "POST"),
        (Method::TRACE, "/transactions", "GET"),
        (Method::POST, "/transaction/1", "GET"),
        (Method::from_bytes(b"BREW").expect("a method"), "/transactions", "GET"),
        (Method::POST, "/openapi.json", "GET"),
    ] {
        let read = send(&face, method, path).await;
        assert_eq!((read.status, read.body.as_str()), (405, not_allowed), "{path}");
        assert_eq!(read.header("allow"), Some(allow), "{path}");
    }
    assert_eq!(recorder.count(), 0);
}

#[tokio::test]
async fn a_service_that_answers_nonsense_is_a_system_error() {
    for frames in
        [&b""[..], b"\0\0\0\0\x05\x0a", b"\x01\0\0\0\0", b"\0\0\0\0\x02\xff\xff", b"\0\0\0\0\x04\x0a\x02\xff\xfe"]
    {
        let frames = bytes::Bytes::from_static(frames);
        let service = tower::service_fn(move |_: http::Request<tonic::body::Body>| {
            let body = tonic::body::Body::new(http_body_util::Full::new(frames.clone()));
            async { Ok::<_, std::convert::Infallible>(http::Response::new(body)) }
        });
        let services = ["onbill.v1.TransactionService"];
        let face = JsonFace::new(pb::DESCRIPTORS, &services, Arc::new(Framed(service)), "1").expect("it can be served");
        let read = get(&face, "/transaction/1").await;
        assert_eq!((read.status, read.body.as_str()), (500, r#"{"code":"system-error","message":"System error."}"#));
    }
}

#[test]
fn a_service_that_is_not_in_the_protos_stops_the_start() {
    let service = tower::service_fn(|_: http::Request<tonic::body::Body>| async {
        Ok::<_, std::convert::Infallible>(http::Response::new(tonic::body::Body::empty()))
    });
    let face = JsonFace::new(pb::DESCRIPTORS, &["onbill.v1.NoService"], Arc::new(Framed(service)), "1");
    assert!(matches!(face, Err(JsonFaceError::UnknownService(name)) if name == "onbill.v1.NoService"));
}
