//! What only gRPC has: metadata, statuses with details, broken messages, health and reflection.

use onbill::faces::pb::v1 as pb;
use onbill::faces::pb::v1::account_service_client::AccountServiceClient;
use onbill::faces::pb::v1::pin_service_client::PinServiceClient;
use onbill::faces::pb::v1::transaction_service_client::TransactionServiceClient;
use serde_json::json;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::client::Partner;
use super::process::{Running, id, number};

pub async fn channel(gateway: &Running) -> Channel {
    let uri = format!("http://{}", gateway.authority());
    Channel::from_shared(uri).expect("a URI").connect().await.expect("a connection")
}

pub fn keyed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-api-key", "demo-key".parse().expect("a key"));
    request
}

fn charge(number: &str, id: &str, amount: &str) -> pb::CreateTransactionRequest {
    pb::CreateTransactionRequest {
        ext_transaction_id: id.to_owned(),
        r#type: "MSISDN".to_owned(),
        address: number.to_owned(),
        partner_product: "ott-basic".to_owned(),
        amount: amount.to_owned(),
        currency: "MXN".to_owned(),
        ..Default::default()
    }
}

fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().expect("ErrorInfo");
    assert_eq!(info.domain, "onbill");
    info.reason.clone()
}

#[tokio::test]
async fn a_charge_over_one_face_replays_over_the_other() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let mut client = TransactionServiceClient::new(channel(&gateway).await);
    let (number, id) = (number("01"), id("g"));
    let first = client.create_transaction(keyed(charge(&number, &id, "9.99"))).await.expect("an answer");
    assert!(first.metadata().get("idempotency-replayed").is_none());
    assert!(first.metadata().get("x-correlation-id").is_some());
    assert_eq!(first.get_ref().status, "Success");
    let replay = demo.charge(&number, &id, json!({ "amount": 9.99 })).await;
    assert_eq!((replay.status, replay.header("idempotency-replayed")), (200, "true"));
    let again = client.create_transaction(keyed(charge(&number, &id, "9.990"))).await.expect("an answer");
    assert_eq!(again.metadata().get("idempotency-replayed").expect("replayed"), "true");
    let other = client.create_transaction(keyed(charge(&number, &id, "1"))).await.expect_err("used");
    assert_eq!((other.code(), reason(&other).as_str()), (Code::AlreadyExists, "INVALID_REQUEST"));
    assert_eq!(demo.bill(&number).await.0, ["9.99"]);
}

#[tokio::test]
async fn errors_carry_their_details() {
    let gateway = Running::sandbox();
    let mut accounts = AccountServiceClient::new(channel(&gateway).await);
    let request = |type_word: &str, address: &str| pb::ValidateAccountRequest {
        r#type: type_word.to_owned(),
        address: address.to_owned(),
        ..Default::default()
    };
    let eligibility = accounts.validate_account(keyed(request("MSISDN", &number("05")))).await.expect_err("refused");
    assert_eq!(eligibility.code(), Code::FailedPrecondition);
    assert_eq!(reason(&eligibility), "ELIGIBILITY_FAILED_CSP");
    let details = eligibility.get_error_details();
    assert_eq!(details.error_info().expect("ErrorInfo").metadata["code"], "eligibility-failed csp");
    let empty = accounts.validate_account(keyed(request("", ""))).await.expect_err("refused");
    let details = empty.get_error_details();
    let listed: Vec<_> = details.bad_request().expect("BadRequest").field_violations.iter().collect();
    let seen: Vec<_> = listed.iter().map(|v| (v.field.as_str(), v.reason.as_str(), v.description.as_str())).collect();
    assert_eq!(
        seen,
        [("type", "VIOLATION_ON_TYPE", "must not be null"), ("address", "VIOLATION_ON_ADDRESS", "must not be null")]
    );
    let nobody = accounts.validate_account(request("MSISDN", "5550100001")).await.expect_err("no key");
    assert_eq!((nobody.code(), reason(&nobody).as_str()), (Code::Unauthenticated, "AUTHORIZATION_FAILURE"));
    let answer = accounts.validate_account(keyed(request("MSISDN", &number("06")))).await.expect("an answer");
    let answer = answer.into_inner();
    assert_eq!((answer.status.as_str(), answer.r#type.as_str()), ("ACTIVE", "prepaid"));
    assert!(answer.account_id.starts_with("acc_"));
}

#[tokio::test]
async fn a_quota_that_is_used_up_says_when_to_come_back() {
    let gateway = Running::sandbox();
    let mut pins = PinServiceClient::new(channel(&gateway).await);
    let number = number("16");
    let request = || keyed(pb::SendPinRequest { r#type: "MSISDN".to_owned(), address: number.clone() });
    for _ in 0..3 {
        pins.send_pin(request()).await.expect("sent");
    }
    let refused = pins.send_pin(request()).await.expect_err("refused");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "TOO_MANY_REQUESTS"));
    let details = refused.get_error_details();
    let wait = details.retry_info().expect("RetryInfo").retry_delay.expect("a delay");
    assert!((1..=600).contains(&wait.as_secs()));
}

/// Posts bytes as a gRPC message, as no generated client would.
async fn raw(gateway: &Running, path: &str, message: &[u8]) -> (String, Status) {
    use http_body_util::{BodyExt as _, Full};
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).expect("small").to_be_bytes());
    frame.extend(message);
    let connector = hyper_util::client::legacy::connect::HttpConnector::new();
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build::<_, Full<bytes::Bytes>>(connector);
    let request = http::Request::post(format!("http://{}{path}", gateway.authority()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-api-key", "demo-key")
        .body(Full::new(frame.into()))
        .expect("a request");
    let response = client.request(request).await.expect("an answer");
    let status = Status::from_header_map(response.headers());
    let http = response.status().to_string();
    let trailers = response.into_body().collect().await.expect("a body").trailers().cloned().unwrap_or_default();
    (http, status.or_else(|| Status::from_header_map(&trailers)).expect("a status"))
}

#[tokio::test]
async fn messages_that_cannot_be_read_are_the_callers_fault() {
    let gateway = Running::sandbox();
    let path = "/onbill.v1.PinService/SendPin";
    let large = vec![0_u8; 70_000];
    for (message, description) in [
        (&[0x0a, 0x02, 0xff, 0xfe][..], "must be UTF-8"),
        (&[0x0a, 0x7f, 0x00], "must be a protobuf message of at most 65536 bytes"),
        (&large, "must be a protobuf message of at most 65536 bytes"),
    ] {
        let (_, status) = raw(&gateway, path, message).await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
        let details = status.get_error_details();
        let violation = &details.bad_request().expect("BadRequest").field_violations[0];
        assert_eq!((violation.field.as_str(), violation.description.as_str()), ("body", description));
    }
    for path in ["/onbill.v1.PinService/Nothing", "/onbill.v1.Nothing/Nothing", "/grpc.health.v1.Health/Nothing"] {
        let (_, status) = raw(&gateway, path, &[]).await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, "NOT_FOUND"), "{path}");
    }
}

#[tokio::test]
async fn health_answers_without_a_key() {
    let gateway = Running::sandbox();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel(&gateway).await);
    for service in ["", "onbill.v1.TransactionService"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await.expect("an answer").into_inner();
        assert_eq!(answer.status, 1, "SERVING: {service}");
    }
    let request = tonic_health::pb::HealthCheckRequest { service: "nothing".to_owned() };
    assert_eq!(health.check(request).await.expect_err("unknown").code(), Code::NotFound);
}
