//! Claims about what the HTTP adapter makes of a CSP that misbehaves: a row for each way, and its verdict.
//!
//! Invariant: a verdict of "not applied" is checked against what the server has really seen of the request: nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderValue;
use onbill::adapters::csp::http::{ClientPem, HttpCsp, Settings};
use onbill::domain::ids::{AccountRef, ChargeCode, CorrelationId, Reference};
use onbill::domain::money::Money;
use onbill::domain::trace::{Trace, TraceState};
use onbill::domain::transaction::settle::Receipt;
use onbill::ports::csp::{CallContext, ChargeOrder, Csp, CspError, Identifier, Inquiry, RefundOrder, Voiding};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::csp::currency;
use super::csp_http::adapter;
use crate::tls::{certificate, encrypted_for_those_with};

const BUDGET: Duration = Duration::from_millis(400);
const REFERENCE: &str = "000000000000000000000000000000ff";

pub(super) fn call() -> CallContext {
    let correlation = CorrelationId::parse("test-1").expect("well formed");
    let trace_state = TraceState::of_lines(["rojo=1,congo=2"].into_iter());
    CallContext { trace: Trace::begun_by(&correlation), correlation, partner: None, trace_state, budget: BUDGET }
}

fn reference() -> Reference {
    Reference::parse(REFERENCE).expect("a reference")
}

async fn charge(csp: &HttpCsp) -> Result<Receipt, CspError> {
    let order = ChargeOrder {
        reference: reference(),
        account: AccountRef::new("sub-1"),
        charge_code: ChargeCode::new("BASIC"),
        money: Money::new(999, currency("MXN")),
        bill_text: "a film".to_owned(),
    };
    csp.charge(&order, &call()).await
}

async fn refund(csp: &HttpCsp) -> Result<Receipt, CspError> {
    let order = RefundOrder {
        reference: reference(),
        charge: Reference::from_bytes([1; 16]),
        account: AccountRef::new("sub-1"),
        charge_code: ChargeCode::new("BASIC"),
        money: Money::new(999, currency("MXN")),
        bill_text: "a film".to_owned(),
    };
    csp.refund(&order, &call()).await
}

pub(super) fn verdict<T: std::fmt::Debug>(answer: &Result<T, CspError>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(CspError::NotApplied(_)) => "not applied".to_owned(),
        Err(CspError::Refused { code }) => format!("refused {code}"),
        Err(CspError::Unknown(_)) => "unknown".to_owned(),
    }
}

/// What a server does with a request that it has read.
#[derive(Clone)]
enum Deed {
    /// Writes these bytes and keeps the connection.
    Writes(String),
    /// Writes these bytes and closes.
    WritesAndCloses(String),
    /// Closes with a reset.
    Resets,
    /// Says nothing.
    IsSilent,
}

/// A server that does the same with every request; it counts the bytes that it has read.
struct Server {
    authority: String,
    seen: Arc<AtomicUsize>,
}

impl Server {
    async fn that(deed: Deed) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let authority = listener.local_addr().expect("an address").to_string();
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, deed.clone(), Arc::clone(&counter)));
            }
        });
        Self { authority, seen }
    }

    fn bytes_seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, deed: Deed, seen: Arc<AtomicUsize>) {
    let mut request = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
        seen.fetch_add(count, Ordering::SeqCst);
        request.extend_from_slice(&buffer[..count]);
        if !is_whole(&request) {
            continue;
        }
        request.clear();
        match &deed {
            Deed::Writes(text) => stream.write_all(text.as_bytes()).await.expect("written"),
            Deed::WritesAndCloses(text) => {
                stream.write_all(text.as_bytes()).await.expect("written");
                return;
            }
            Deed::Resets => {
                socket_reset(stream);
                return;
            }
            Deed::IsSilent => {}
        }
    }
}

/// Whether a request is there with the body that it announces.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// Bytes that nobody has read make the system answer a close with a reset.
fn socket_reset(stream: TcpStream) {
    #[expect(deprecated, reason = "lingering for no time is what makes it a reset")]
    stream.set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(stream);
}

fn answer(status: &str, media_type: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn booked(reference: &str, amount: &str, currency: &str) -> String {
    let body = format!(
        r#"{{"transactionId":"{reference}","status":"booked","amount":"{amount}","currency":"{currency}","new":1}}"#
    );
    answer("200 OK", "application/json; charset=utf-8", &body)
}

#[tokio::test]
async fn every_answer_of_a_misbehaving_csp_has_its_verdict() {
    use Deed::{IsSilent, Resets, Writes, WritesAndCloses};
    let json = |status: &str, body: &str| answer(status, "application/json", body);
    let right = booked(REFERENCE, "9.99", "MXN");
    let receipt = "Receipt { reference: Reference([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255]), money: Money { \
                   minor: 999, currency: MXN } }";
    for (why, deed, expected) in [
        ("a booking", Writes(right.clone()), receipt),
        ("a booking, and no more", WritesAndCloses(right.clone()), receipt),
        ("a refusal", Writes(json("422 X", r#"{"code":"daily-limit"}"#)), "refused daily-limit"),
        (
            "a refusal that is not found",
            Writes(json("404 X", r#"{"code":"unknown-account"}"#)),
            "refused unknown-account",
        ),
        ("a refusal without a code", Writes(json("422 X", "{}")), "unknown"),
        ("a refusal with an empty code", Writes(json("422 X", r#"{"code":""}"#)), "unknown"),
        ("a refusal that is no JSON", Writes(answer("404 X", "text/html", r#"{"code":"x"}"#)), "unknown"),
        ("another key is wanted", Writes(json("401 X", r#"{"code":"not-authorized"}"#)), "unknown"),
        ("too many requests", Writes(json("429 X", r#"{"code":"busy"}"#)), "unknown"),
        ("a listed code", Writes(json("503 X", r#"{"code":"not-applied"}"#)), "not applied"),
        ("another code", Writes(json("503 X", r#"{"code":"maintenance"}"#)), "unknown"),
        ("a broken server", Writes(answer("500 X", "text/html", "oops")), "unknown"),
        ("a broken proxy", Writes(answer("502 X", "text/html", "oops")), "unknown"),
        ("a redirect", Writes("HTTP/1.1 307 X\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n".to_owned()), "unknown"),
        ("success without a body", Writes("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()), "unknown"),
        ("broken JSON", Writes(json("200 OK", r#"{"transactionId":"#)), "unknown"),
        ("another media type", Writes(answer("200 OK", "text/plain", "ok")), "unknown"),
        ("no status", Writes(json("200 OK", &format!(r#"{{"transactionId":"{REFERENCE}"}}"#))), "unknown"),
        ("an amount that is none", Writes(booked(REFERENCE, "9,99", "MXN")), "unknown"),
        ("too many decimals", Writes(booked(REFERENCE, "9.999", "MXN")), "unknown"),
        ("a currency that is none", Writes(booked(REFERENCE, "9.99", "XXQ")), "unknown"),
        ("too long an answer", Writes(json("200 OK", &" ".repeat(70_000))), "unknown"),
        ("no HTTP", WritesAndCloses("SSH-2.0-x\r\n".to_owned()), "unknown"),
        ("half an answer", WritesAndCloses(right[..right.len() - 9].to_owned()), "unknown"),
        ("closed without an answer", WritesAndCloses(String::new()), "unknown"),
        ("reset without an answer", Resets, "unknown"),
        ("silence", IsSilent, "unknown"),
    ] {
        let server = Server::that(deed).await;
        assert_eq!(verdict(&charge(&adapter(&server.authority)).await), expected, "{why}");
        assert!(server.bytes_seen() > 0, "{why}");
    }
}

#[tokio::test]
async fn a_receipt_that_is_not_for_what_was_sent_is_handed_on_for_the_echo_check() {
    let other = "000000000000000000000000000000aa";
    for (reference, amount, code) in [(REFERENCE, "9.98", "MXN"), (other, "9.99", "MXN"), (REFERENCE, "9.99", "USD")] {
        let server = Server::that(Deed::Writes(booked(reference, amount, code))).await;
        let money = Money::parse(amount, currency(code)).expect("an amount");
        let expected = Receipt { reference: Reference::parse(reference).expect("a reference"), money };
        assert_eq!(charge(&adapter(&server.authority)).await.expect("handed on"), expected);
    }
    let positive = Server::that(Deed::Writes(booked(REFERENCE, "9.99", "MXN"))).await;
    let receipt = refund(&adapter(&positive.authority)).await.expect("handed on");
    assert_eq!(receipt.money.minor, -999, "a refund that was booked as a charge is not what was sent");
    let negative = Server::that(Deed::Writes(booked(REFERENCE, "-9.99", "MXN"))).await;
    assert_eq!(refund(&adapter(&negative.authority)).await.expect("handed on").money.minor, 999);
}

#[tokio::test]
async fn where_not_one_byte_was_written_nothing_was_applied() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address").to_string()
    };
    assert_eq!(verdict(&charge(&adapter(&nobody)).await), "not applied", "connection refused");
    assert_eq!(verdict(&charge(&adapter("nobody.invalid:80")).await), "not applied", "no such name");

    // It shakes no hands in TLS, so that nothing of the request gets to it.
    let plain = Server::that(Deed::WritesAndCloses("not TLS".to_owned())).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = silent.local_addr().map(|address| (silent, address.to_string())).expect("an address");
    for (why, authority) in [("no TLS", &plain.authority), ("no time for TLS", &silent.1)] {
        let url = format!("https://{authority}").parse().expect("a URL");
        let key = Some(HeaderValue::from_static("k"));
        let csp = HttpCsp::new(Settings { url, api_key: key, ca_pem: None, client_pem: None, not_applied: vec![] })
            .expect("an adapter");
        assert_eq!(verdict(&charge(&csp).await), "not applied", "{why}");
    }
}

#[tokio::test]
async fn a_connection_is_used_again_and_one_that_was_closed_meanwhile_is_judged_by_what_was_written() {
    let kept = Server::that(Deed::Writes(booked(REFERENCE, "9.99", "MXN"))).await;
    let csp = adapter(&kept.authority);
    for _ in 0..3 {
        charge(&csp).await.expect("booked");
    }
    let closing = Server::that(Deed::WritesAndCloses(booked(REFERENCE, "9.99", "MXN"))).await;
    let csp = adapter(&closing.authority);
    for _ in 0..50 {
        let before = closing.bytes_seen();
        match charge(&csp).await {
            Ok(_) | Err(CspError::Unknown(_)) => {}
            Err(CspError::NotApplied(cause)) => {
                assert_eq!(closing.bytes_seen(), before, "something was seen: {cause:?}");
            }
            Err(CspError::Refused { code }) => panic!("{code}"),
        }
    }
}

#[tokio::test]
async fn only_the_csps_own_word_makes_a_reference_not_known() {
    for (why, text, expected) in [
        ("not known", answer("404 X", "application/json", r#"{"code":"unknown-transaction"}"#), "NotKnown"),
        ("a proxy's 404", answer("404 X", "text/html", "not found"), "unknown"),
        ("another 404", answer("404 X", "application/json", r#"{"code":"not-found"}"#), "refused not-found"),
        ("gone", answer("410 X", "application/json", r#"{"code":"unknown-transaction"}"#), "unknown"),
        ("broken", answer("500 X", "application/json", r#"{"code":"unknown-transaction"}"#), "unknown"),
        ("empty", answer("200 OK", "application/json", "{}"), "unknown"),
        (
            "refused",
            answer(
                "200 OK",
                "application/json",
                &format!(r#"{{"transactionId":"{REFERENCE}","status":"refused","code":"daily-limit"}}"#),
            ),
            "Refused { code: \"daily-limit\" }",
        ),
        (
            "another's refusal",
            answer(
                "200 OK",
                "application/json",
                r#"{"transactionId":"000000000000000000000000000000aa","status":"refused","code":"daily-limit"}"#,
            ),
            "unknown",
        ),
    ] {
        let server = Server::that(Deed::Writes(text)).await;
        let inquired = adapter(&server.authority).inquire(&reference(), &call()).await;
        assert_eq!(verdict(&inquired), expected, "{why}");
    }
    let body = format!(
        r#"{{"transactionId":"{REFERENCE}","status":"booked","amount":"-9.99","currency":"MXN","referenceId":"{REFERENCE}"}}"#
    );
    let server = Server::that(Deed::Writes(answer("200 OK", "application/json", &body))).await;
    let inquired = adapter(&server.authority).inquire(&reference(), &call()).await.expect("an answer");
    assert!(matches!(inquired, Inquiry::Booked(receipt) if receipt.money.minor == 999), "{inquired:?}");
}

#[tokio::test]
async fn only_the_csps_own_word_makes_a_reference_void() {
    let of = |reference: &str, status: &str| {
        let body = format!(r#"{{"transactionId":"{reference}","status":"{status}","code":"daily-limit"}}"#);
        answer("200 OK", "application/json", &body)
    };
    for (why, text, expected) in [
        ("void", of(REFERENCE, "void"), "Void"),
        ("another's", of("000000000000000000000000000000aa", "void"), "unknown"),
        ("refused before", of(REFERENCE, "refused"), "Refused { code: \"daily-limit\" }"),
        ("another word", of(REFERENCE, "voided"), "unknown"),
        ("no content", "HTTP/1.1 204 X\r\n\r\n".to_owned(), "unknown"),
        ("no such path", answer("404 X", "text/html", "not found"), "unknown"),
        ("broken", answer("500 X", "application/json", "{}"), "unknown"),
        ("not applied", answer("503 X", "application/json", r#"{"code":"not-applied"}"#), "not applied"),
    ] {
        let server = Server::that(Deed::Writes(text)).await;
        let voided = adapter(&server.authority).void(&reference(), &call()).await;
        assert_eq!(verdict(&voided), expected, "{why}");
    }
    let server = Server::that(Deed::Writes(booked(REFERENCE, "9.99", "MXN"))).await;
    let voided = adapter(&server.authority).void(&reference(), &call()).await.expect("an answer");
    assert!(matches!(voided, Voiding::Booked(receipt) if receipt.money.minor == 999), "{voided:?}");
}

#[tokio::test]
async fn only_the_csps_own_word_makes_an_account_nobody() {
    let account = |status: &str| {
        let body = format!(r#"{{"accountId":"a","status":"{status}","type":"prepaid","eligible":true}}"#);
        answer("200 OK", "application/json", &body)
    };
    for (why, text, expected) in [
        ("nobody", answer("404 X", "application/json", r#"{"code":"unknown-account"}"#), Some(false)),
        ("somebody", account("CEASED"), Some(true)),
        ("a standing that is none", account("ASLEEP"), None),
        ("a proxy's 404", answer("404 X", "text/html", "not found"), None),
        ("another 404", answer("404 X", "application/json", r#"{"code":"not-found"}"#), None),
        ("no name", answer("200 OK", "application/json", r#"{"accountId":""}"#), None),
    ] {
        let server = Server::that(Deed::Writes(text)).await;
        let who = Identifier::Account(AccountRef::new("a"));
        let found = adapter(&server.authority).account(&who, None, &call()).await;
        assert_eq!(found.ok().map(|found| found.is_some()), expected, "{why}");
    }
}

#[tokio::test]
async fn an_operator_that_asks_for_a_certificate_is_shown_the_one_that_is_configured_and_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, others) = (folder.path().join("own"), folder.path().join("others"));
    for directory in [&own, &others] {
        std::fs::create_dir(directory).expect("a directory");
        certificate(directory);
    }
    let plain = Server::that(Deed::Writes(booked(REFERENCE, "9.99", "MXN"))).await;
    let operator = encrypted_for_those_with(&own, plain.authority.clone()).await;
    let read = |directory: &std::path::Path, name| std::fs::read(directory.join(name)).expect("a file");
    let shown = |directory: &std::path::Path| {
        Some(ClientPem { certificates: read(directory, "cert.pem"), key: read(directory, "key.pem") })
    };
    for (why, client_pem, verdicts) in [
        ("its own", shown(&own), &["booked"][..]),
        // With TLS 1.3 the refusal of a certificate comes after the handshake, and perhaps after the request.
        ("none", None, &["not applied", "unknown"]),
        ("another's", shown(&others), &["not applied", "unknown"]),
    ] {
        let url = format!("https://localhost:{}", operator.port()).parse().expect("a URL");
        let ca_pem = Some(read(&own, "cert.pem"));
        let csp = HttpCsp::new(Settings { url, api_key: None, ca_pem, client_pem, not_applied: vec![] });
        let answer = charge(&csp.expect("an adapter")).await;
        let verdict = if answer.is_ok() { "booked".to_owned() } else { verdict(&answer) };
        assert!(verdicts.contains(&verdict.as_str()), "{why}: {answer:?}");
    }
}

#[tokio::test]
async fn a_call_carries_its_trace_in_both_forms_and_its_correlation_id() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let authority = listener.local_addr().expect("an address").to_string();
    let seen = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = Vec::new();
        while !is_whole(&request) {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await.expect("a request");
            request.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&request).to_ascii_lowercase()
    });
    let trace = Trace::from_b3("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", Some("00000000000000ff"), None);
    let call = CallContext { trace: trace.expect("well formed"), ..call() };
    let csp = adapter(&authority);
    let inquired = tokio::spawn(async move { csp.inquire(&reference(), &call).await });
    let request = seen.await.expect("no panic");
    for header in [
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "x-b3-traceid: 4bf92f3577b34da6a3ce929d0e0e4736",
        "x-b3-spanid: 00f067aa0ba902b7",
        "x-b3-parentspanid: 00000000000000ff",
        "x-b3-sampled: 1",
        "tracestate: rojo=1,congo=2",
        "x-correlation-id: test-1",
        "x-api-key: operator-key",
    ] {
        assert!(request.contains(&format!("\r\n{header}\r\n")), "{header} is not in {request}");
    }
    assert!(inquired.await.expect("no panic").is_err());
}
