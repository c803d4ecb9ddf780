//! What JSON becomes: fields, findings, headers.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::Full;
use proptest::prelude::{any, proptest};

use super::super::JsonFace;
use super::{Read, Recorder, found, get, post};

const ANY: u32 = u32::MAX;
const BODY_OBJECT: &str = "must be a JSON object of at most 65536 bytes";

/// Posts a transaction and tells what the service saw.
async fn seen_of(body: impl Into<Bytes>) -> super::Seen {
    let recorder = Recorder::default();
    let read = post(&recorder.face(), "/transaction", body).await;
    assert_eq!(read.status, 200, "{}", read.body);
    recorder.last()
}

#[tokio::test]
async fn a_body_becomes_the_message() {
    let body = r#" {"extTransactionId":"t-1","type":"MSISDN","address":"5550100001","amount":9.99,
        "currency":"MXN","description":"a\nb\u00e9\ud83d\ude00","referenceId":"","partnerProduct":null} "#;
    let seen = seen_of(body).await;
    assert_eq!(found(&seen.findings), []);
    assert_eq!(
        seen.message,
        "CreateTransactionRequest { ext_transaction_id: \"t-1\", r#type: \"MSISDN\", address: \"5550100001\", \
         account_id: \"\", partner_product: \"\", amount: \"9.99\", currency: \"MXN\", \
         description: \"a\\nbé😀\", reference_id: Some(\"\") }"
    );
}

#[tokio::test]
async fn an_amount_keeps_every_digit_of_its_text() {
    for (json, text) in [
        ("\"9.99\"", "9.99"),
        ("123456789012345678901234567890.123456789012345678", "123456789012345678901234567890.123456789012345678"),
        ("0.10000000000000000", "0.10000000000000000"),
        ("1e-3", "1e-3"),
        ("-0", "-0"),
        ("1E400", "1E400"),
        ("\"NaN\"", "NaN"),
        ("\"\"", ""),
    ] {
        let seen = seen_of(format!("{{\"amount\":{json}}}")).await;
        assert_eq!(found(&seen.findings), [], "{json}");
        assert!(seen.message.contains(&format!("amount: {text:?}")), "{json}: {}", seen.message);
    }
}

#[tokio::test]
async fn a_field_that_cannot_be_read_is_found_once_and_left_out() {
    let string = "must be a string";
    for (body, expected) in [
        (r#"{"type":5}"#, vec![(2, "violation-on-type", string)]),
        (r#"{"type":true}"#, vec![(2, "violation-on-type", string)]),
        (r#"{"type":["MSISDN"]}"#, vec![(2, "violation-on-type", string)]),
        (r#"{"type":{"a":1}}"#, vec![(2, "violation-on-type", string)]),
        (r#"{"type":"\ud800"}"#, vec![(2, "violation-on-type", string)]),
        (r#"{"type":"\udc00\ud800"}"#, vec![(2, "violation-on-type", string)]),
        (r#"{"amount":true}"#, vec![(6, "violation-on-amount", "must be a decimal number")]),
        (r#"{"amount":[1]}"#, vec![(6, "violation-on-amount", "must be a decimal number")]),
        (r#"{"amount":"\ud800"}"#, vec![(6, "violation-on-amount", "must be a decimal number")]),
        (r#"{"type":"A","type":"A"}"#, vec![(2, "violation-on-type", "duplicate field")]),
        (r#"{"type":null,"type":"A","type":5}"#, vec![(2, "violation-on-type", "duplicate field")]),
        (r#"{"ext_transaction_id":"1"}"#, vec![(ANY, "violation-on-ext_transaction_id", "unknown field")]),
        (r#"{"Type":null}"#, vec![(ANY, "violation-on-Type", "unknown field")]),
        (r#"{"":1}"#, vec![(ANY, "violation-on-", "unknown field")]),
        (
            r#"{"zebra":1,"currency":5,"apple":{"a":[1]},"extTransactionId":[]}"#,
            vec![
                (1, "violation-on-extTransactionId", string),
                (7, "violation-on-currency", string),
                (ANY, "violation-on-zebra", "unknown field"),
                (ANY, "violation-on-apple", "unknown field"),
            ],
        ),
    ] {
        let seen = seen_of(body).await;
        let expected: Vec<_> = expected.into_iter().map(|(p, c, r)| (p, c.to_owned(), r.to_owned())).collect();
        assert_eq!(found(&seen.findings), expected, "{body}");
        assert!(!seen.findings.whole_body, "{body}");
        assert!(seen.message.contains("type: \"\"") && seen.message.contains("amount: \"\""), "{}", seen.message);
    }
}

#[tokio::test]
async fn what_is_no_json_object_is_one_finding() {
    let deep = |open: &str, n: usize| open.repeat(n).into_bytes();
    let closed = format!("{{\"type\":{}{}}}x", "[".repeat(30_000), "]".repeat(30_000));
    let large = format!("{{\"type\":\"{}\"}}", "x".repeat(1 << 20));
    for (body, reason) in [
        (b"".to_vec(), BODY_OBJECT),
        (b"null".to_vec(), BODY_OBJECT),
        (b"[]".to_vec(), BODY_OBJECT),
        (b"[{}]".to_vec(), BODY_OBJECT),
        (b"\"{}\"".to_vec(), BODY_OBJECT),
        (b"{} {}".to_vec(), BODY_OBJECT),
        (b"{\"type\":\"A\"".to_vec(), BODY_OBJECT),
        (b"{\"type\":\"A\",}".to_vec(), BODY_OBJECT),
        (b"{'type':\"A\"}".to_vec(), BODY_OBJECT),
        (b"{\"type\":NaN}".to_vec(), BODY_OBJECT),
        (b"{\"amount\":01}".to_vec(), BODY_OBJECT),
        (b"{\"amount\":.5}".to_vec(), BODY_OBJECT),
        (b"{\"type\":\"\x01\"}".to_vec(), BODY_OBJECT),
        (b"{\"\\ud800\":1}".to_vec(), BODY_OBJECT),
        (b"\xef\xbb\xbf{}".to_vec(), BODY_OBJECT),
        (b"{\"type\":\"\xff\"}".to_vec(), "must be UTF-8"),
        (b"{\"type\":\"\xed\xa0\x80\"}".to_vec(), "must be UTF-8"),
        (deep("[", 60_000), BODY_OBJECT),
        (deep("[", 100_000), BODY_OBJECT),
        (deep("{\"a\":", 12_000), BODY_OBJECT),
        (closed.into_bytes(), BODY_OBJECT),
        (large.into_bytes(), BODY_OBJECT),
    ] {
        let shown: String = String::from_utf8_lossy(&body).chars().take(40).collect();
        let seen = seen_of(body).await;
        assert_eq!(found(&seen.findings), [(0, "violation-on-body".to_owned(), reason.to_owned())], "{shown}");
        assert!(seen.findings.whole_body, "{shown}");
        assert!(seen.message.contains("ext_transaction_id: \"\""), "{shown}");
    }
}

#[tokio::test]
async fn deep_nesting_below_an_unknown_name_is_skipped() {
    let nested = format!("{{\"x\":{}{},\"type\":\"A\"}}", "[".repeat(30_000), "]".repeat(30_000));
    let seen = seen_of(nested).await;
    assert_eq!(found(&seen.findings), [(ANY, "violation-on-x".to_owned(), "unknown field".to_owned())]);
    assert!(seen.message.contains("type: \"A\""));
}

#[tokio::test]
async fn a_body_of_65536_bytes_is_read_and_one_more_is_not() {
    for (length, whole_body) in [(65_536_usize, false), (65_537, true)] {
        let frame = "{\"type\":\"\"}".len();
        let seen = seen_of(format!("{{\"type\":\"{}\"}}", "x".repeat(length - frame))).await;
        assert_eq!(seen.findings.whole_body, whole_body, "{length}");
    }
}

#[tokio::test]
async fn a_content_type_that_is_not_json_is_one_finding() {
    let recorder = Recorder::default();
    let face = recorder.face();
    for content_type in [None, Some("text/plain"), Some("application/json; charset=utf-16")] {
        let mut request = Request::post("/pin").body(Full::new(Bytes::from_static(b"{}"))).expect("a request");
        if let Some(value) = content_type {
            request.headers_mut().insert("content-type", value.parse().expect("a value"));
        }
        let read = Read::of(face.answer(request).await).await;
        assert_eq!(read.status, 201);
        let expected = [(0, "violation-on-body".to_owned(), "must be application/json".to_owned())];
        assert_eq!(found(&recorder.last().findings), expected);
    }
}

#[tokio::test]
async fn query_parameters_become_fields() {
    let recorder = Recorder::default();
    let face = recorder.face();
    let read =
        get(&face, "/transactions?pageSize=3&pageToken=a%2Bb+c&since=2020-05-18T17:05:03%2B02:00&until=&status").await;
    assert_eq!(read.status, 200);
    let seen = recorder.last();
    assert_eq!(found(&seen.findings), []);
    assert_eq!(
        seen.message,
        "ListTransactionsRequest { page_size: Some(3), page_token: \"a+b c\", \
         since: Some(Timestamp { seconds: 1589814303, nanos: 0 }), until: None, status: \"\", account_id: \"\" }"
    );
}

#[tokio::test]
async fn query_parameters_that_cannot_be_read_are_found() {
    let recorder = Recorder::default();
    let face = recorder.face();
    for (query, expected) in [
        ("pageSize=ten", (1, "violation-on-pageSize", "must be between 1 and 500")),
        ("pageSize=1.5", (1, "violation-on-pageSize", "must be between 1 and 500")),
        ("pageSize=99999999999999999999", (1, "violation-on-pageSize", "must be between 1 and 500")),
        ("pageSize=%31%", (1, "violation-on-pageSize", "must be between 1 and 500")),
        ("pageSize=1&pageSize=1", (1, "violation-on-pageSize", "duplicate field")),
        ("status=&status=Success", (5, "violation-on-status", "duplicate field")),
        ("pageToken=%ff", (2, "violation-on-pageToken", "must be a string")),
        ("pageToken=%zz", (2, "violation-on-pageToken", "must be a string")),
        ("since=yesterday", (3, "violation-on-since", "must be an RFC 3339 time")),
        ("since=%ff", (3, "violation-on-since", "must be an RFC 3339 time")),
        ("page_size=3", (ANY, "violation-on-page_size", "unknown field")),
        ("%70age=3", (ANY, "violation-on-page", "unknown field")),
        ("%ff=", (ANY, "violation-on-%ff", "unknown field")),
        ("=", (ANY, "violation-on-", "unknown field")),
    ] {
        get(&face, &format!("/transactions?&{query}&")).await;
        let (position, code, reason) = expected;
        assert_eq!(found(&recorder.last().findings), [(position, code.to_owned(), reason.to_owned())], "{query}");
    }
}

#[tokio::test]
async fn a_query_beside_a_body_is_unknown_and_so_is_a_path_variable_in_a_query() {
    let recorder = Recorder::default();
    let face = recorder.face();
    post(&face, "/pin?type=MSISDN", r#"{"type":"MSISDN"}"#).await;
    let unknown = |name: &str| [(ANY, format!("violation-on-{name}"), "unknown field".to_owned())];
    assert_eq!(found(&recorder.last().findings), unknown("type"));
    get(&face, "/transaction/a?extTransactionId=b").await;
    assert_eq!(found(&recorder.last().findings), unknown("extTransactionId"));
    assert!(recorder.last().message.contains("ext_transaction_id: \"a\""));
}

#[tokio::test]
async fn path_variables_are_decoded_and_never_refused() {
    let recorder = Recorder::default();
    let face = recorder.face();
    for (path, id) in
        [("a:b", "a:b"), ("a+b", "a+b"), ("a%2Fb", "a/b"), ("%C3%A9", "é"), ("%ff", "%ff"), ("%", "%"), ("%00", "\0")]
    {
        let read = get(&face, &format!("/transaction/{path}?kind=refund")).await;
        assert_eq!(read.status, 200, "{path}");
        let seen = recorder.last();
        assert_eq!(found(&seen.findings), []);
        let expected = format!("GetTransactionRequest {{ ext_transaction_id: {id:?}, kind: \"refund\" }}");
        assert_eq!(seen.message, expected, "{path}");
    }
}

#[tokio::test]
async fn headers_and_extensions_go_on_to_the_service() {
    let recorder = Recorder::default();
    let request = Request::post("/pin")
        .header("content-type", "application/json")
        .header("X-API-KEY", "demo-key")
        .header("traceparent", "00-1-2-01")
        .header("x-request-timeout-ms", "500")
        .header("grpc-timeout", "1n")
        .header("grpc-encoding", "gzip")
        .header("grpc-accept-encoding", "gzip")
        .header("content-length", "2")
        .extension(7_u32)
        .body(Full::new(Bytes::from_static(b"{}")));
    let read = Read::of(recorder.face().answer(request.expect("a request")).await).await;
    assert_eq!(read.status, 201);
    let seen = recorder.last();
    assert_eq!(seen.extension, Some(7));
    assert_eq!(seen.headers["x-api-key"], "demo-key");
    assert_eq!(seen.headers["traceparent"], "00-1-2-01");
    assert_eq!(seen.headers["x-request-timeout-ms"], "500");
    assert!(!seen.headers.keys().any(|name| name.as_str().starts_with("grpc-")), "{:?}", seen.headers);
}

/// A body that never ends.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// A body that breaks off.
struct Broken;

impl http_body::Body for Broken {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(Some(Err("reset")))
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_503_and_one_that_breaks_off_is_a_finding() {
    let recorder = Recorder::default();
    let face = recorder.face().waiting(Duration::from_millis(1));
    let request = Request::post("/pin").header("content-type", "application/json");
    let read = Read::of(face.answer(request.body(Endless).expect("a request")).await).await;
    assert_eq!((read.status, read.header("retry-after"), recorder.count()), (503, Some("1"), 0));
    let request = Request::post("/pin").header("content-type", "application/json");
    face.answer(request.body(Broken).expect("a request")).await;
    assert!(recorder.last().findings.whole_body);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in any::<Vec<u8>>(), query in "[a-zA-Z%=&+0-9]{0,40}", path in "[!-~]{0,20}") {
        static FACE: LazyLock<JsonFace> = LazyLock::new(|| Recorder::default().face());
        let face = &*FACE;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            assert_eq!(post(face, "/pin", body).await.status, 201);
            assert_eq!(get(face, &format!("/transactions?{query}")).await.status, 200);
            if let Ok(uri) = format!("/transaction/{path}").parse::<http::Uri>() {
                let request = Request::get(uri).body(Full::<Bytes>::default()).expect("a request");
                assert!([200, 404].contains(&face.answer(request).await.status().as_u16()));
            }
        });
    }

    #[test]
    fn any_string_reaches_the_service_as_it_was(text in any::<String>()) {
        static SERVED: LazyLock<(Recorder, JsonFace)> = LazyLock::new(|| {
            let recorder = Recorder::default();
            let face = recorder.face();
            (recorder, face)
        });
        let (recorder, face) = &*SERVED;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let body = serde_json::json!({ "description": text, "extTransactionId": text }).to_string();
        let read = runtime.block_on(post(face, "/transaction", body));
        let echoed: serde_json::Value = serde_json::from_str(&read.body).expect("JSON");
        assert_eq!(echoed["extTransactionId"], text);
        assert!(recorder.last().message.contains(&format!("description: {text:?}")));
    }
}

#[tokio::test]
async fn a_request_can_be_answered_on_any_thread() {
    let face = Recorder::default().face();
    let task = tokio::spawn(async move { get(&face, "/transactions").await.status });
    assert_eq!(task.await.expect("no panic"), 200);
}
