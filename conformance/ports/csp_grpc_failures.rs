//! Claims about what the gRPC adapter makes of a CSP that misbehaves: a row for each way, and its verdict.
//!
//! Invariant: a verdict of "not applied" is checked against what the server has really seen of the message: nothing,
//! unless it has refused the stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use onbill::adapters::csp::grpc::{GrpcCsp, Settings};
use onbill::domain::ids::{AccountRef, ChargeCode, Reference};
use onbill::domain::money::Money;
use onbill::domain::transaction::settle::Receipt;
use onbill::ports::csp::{CallContext, ChargeOrder, Csp, CspError, Identifier, Inquiry};
use tokio::net::{TcpListener, TcpStream};

use super::csp::currency;
use super::csp_http_failures::{call, verdict};

/// The messages, compiled as any CSP would.
#[allow(missing_docs, dead_code, clippy::all, clippy::pedantic, clippy::restriction, clippy::nursery)]
mod pb {
    tonic::include_proto!("onbill.csp.v1");
}

const REFERENCE: &str = "000000000000000000000000000000ff";

fn reference() -> Reference {
    Reference::parse(REFERENCE).expect("a reference")
}

fn adapter(authority: &str, not_applied: &[&str]) -> GrpcCsp {
    let url = format!("http://{authority}").parse().expect("a URL");
    let api_key = Some(HeaderValue::from_static("grpc-key"));
    let not_applied = not_applied.iter().map(|word| (*word).to_owned()).collect();
    GrpcCsp::new(Settings { url, api_key, ca_pem: None, client_pem: None, not_applied }).expect("an adapter")
}

async fn charge(csp: &GrpcCsp) -> Result<Receipt, CspError> {
    let order = ChargeOrder {
        reference: reference(),
        account: AccountRef::new("sub-1"),
        charge_code: ChargeCode::new("BASIC"),
        money: Money::new(999, currency("MXN")),
        bill_text: "a film".to_owned(),
    };
    csp.charge(&order, &call()).await
}

/// What a server does with a call whose message it has read.
#[derive(Clone)]
enum Deed {
    /// Answers with these bytes as they are, and status 0.
    Answers(Vec<u8>),
    /// Ends with this status, in the headers alone or after them.
    Status(u16, StatusIn),
    /// Answers with another HTTP status, and no gRPC.
    Http(u16),
    /// Resets the stream for this reason.
    Resets(h2::Reason),
    /// Begins an answer and resets the stream.
    Begins(Vec<u8>),
    /// Closes the connection.
    Closes,
    /// Says nothing.
    IsSilent,
}

#[derive(Clone, Copy)]
enum StatusIn {
    Headers,
    Trailers,
}

/// A server that does the same with every call; it counts connections, and the bytes of messages that it has read.
struct Server {
    authority: String,
    seen: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn that(deed: Deed) -> Self {
        Self::with(deed, h2::server::Builder::new()).await
    }

    async fn with(deed: Deed, builder: h2::server::Builder) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let authority = listener.local_addr().expect("an address").to_string();
        let (seen, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let server = Self { authority, seen: Arc::clone(&seen), connections: Arc::clone(&connections) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, deed.clone(), builder.clone(), Arc::clone(&seen)));
            }
        });
        server
    }

    fn bytes_seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

async fn serve(stream: TcpStream, deed: Deed, builder: h2::server::Builder, seen: Arc<AtomicUsize>) {
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let (close, mut closed) = tokio::sync::mpsc::channel::<()>(1);
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            _ = closed.recv() => return,
        };
        let Some(Ok((request, respond))) = accepted else { return };
        tokio::spawn(answer(request, respond, deed.clone(), Arc::clone(&seen), close.clone()));
    }
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    deed: Deed,
    seen: Arc<AtomicUsize>,
    close: tokio::sync::mpsc::Sender<()>,
) {
    assert_eq!(request.headers()["x-api-key"], "grpc-key");
    assert_eq!(request.headers()["x-correlation-id"], "test-1");
    assert_eq!(request.headers()["tracestate"], "rojo=1,congo=2");
    assert!(request.headers().contains_key("grpc-timeout"));
    let mut body = request.into_body();
    while let Some(Ok(data)) = body.data().await {
        seen.fetch_add(data.len(), Ordering::SeqCst);
        let _ = body.flow_control().release_capacity(data.len());
    }
    let head = || Response::builder().header("content-type", "application/grpc");
    let ended = |status: u16| HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), status.into())]);
    match deed {
        Deed::Answers(bytes) => {
            let mut stream = respond.send_response(head().body(()).expect("a head"), false).expect("sent");
            stream.send_data(bytes.into(), false).expect("sent");
            stream.send_trailers(ended(0)).expect("sent");
        }
        Deed::Status(status, StatusIn::Headers) => {
            let head = head().header("grpc-status", status).header("grpc-message", "x");
            respond.send_response(head.body(()).expect("a head"), true).expect("sent");
        }
        Deed::Status(status, StatusIn::Trailers) => {
            let mut stream = respond.send_response(head().body(()).expect("a head"), false).expect("sent");
            stream.send_trailers(ended(status)).expect("sent");
        }
        Deed::Http(status) => {
            let head = Response::builder().status(status).header("content-type", "text/html");
            let mut stream = respond.send_response(head.body(()).expect("a head"), false).expect("sent");
            stream.send_data(Bytes::from_static(b"oops"), true).expect("sent");
        }
        Deed::Resets(reason) => respond.send_reset(reason),
        Deed::Begins(bytes) => {
            let mut stream = respond.send_response(head().body(()).expect("a head"), false).expect("sent");
            stream.send_data(bytes.into(), false).expect("sent");
            tokio::task::yield_now().await;
            stream.send_reset(h2::Reason::INTERNAL_ERROR);
        }
        Deed::Closes => close.send(()).await.expect("open"),
        Deed::IsSilent => std::future::pending().await,
    }
}

/// A message as it travels: not compressed, its length, its bytes.
fn framed(message: &impl prost::Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).expect("short");
    [&[0], &length.to_be_bytes()[..], &bytes].concat()
}

fn booking(reference: &str, amount: &str, currency: &str) -> pb::Booking {
    let money = pb::Money { amount: amount.to_owned(), currency: currency.to_owned() };
    pb::Booking { reference: reference.to_owned(), money: Some(money), charge_reference: String::new() }
}

fn booked(reference: &str, amount: &str, currency: &str) -> Vec<u8> {
    let result = pb::charge_response::Result::Booked(booking(reference, amount, currency));
    framed(&pb::ChargeResponse { result: Some(result) })
}

fn refusal(code: &str) -> Vec<u8> {
    let refusal = pb::Refusal { code: code.to_owned(), message: "for people".to_owned() };
    framed(&pb::ChargeResponse { result: Some(pb::charge_response::Result::Refused(refusal)) })
}

#[tokio::test]
async fn every_answer_of_a_misbehaving_adapter_process_has_its_verdict() {
    use Deed::{Answers, Begins, Closes, Http, IsSilent, Resets};
    let right = booked(REFERENCE, "9.99", "MXN");
    let receipt = "Receipt { reference: Reference([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255]), money: Money { \
                   minor: 999, currency: MXN } }";
    let empty_booking = pb::charge_response::Result::Booked(pb::Booking::default());
    for (why, deed, expected) in [
        ("a booking", Answers(right.clone()), receipt),
        ("a refusal", Answers(refusal("daily-limit")), "refused daily-limit"),
        ("a refusal without a code", Answers(refusal("")), "unknown"),
        ("a refusal whose code is none", Answers(refusal("new\nline")), "unknown"),
        ("a refusal with too long a code", Answers(refusal(&"x".repeat(65))), "unknown"),
        ("a listed code", Answers(refusal("not-applied")), "not applied"),
        ("no result", Answers(framed(&pb::ChargeResponse { result: None })), "unknown"),
        ("an empty booking", Answers(framed(&pb::ChargeResponse { result: Some(empty_booking) })), "unknown"),
        ("an amount that is none", Answers(booked(REFERENCE, "9,99", "MXN")), "unknown"),
        ("too many decimals", Answers(booked(REFERENCE, "9.999", "MXN")), "unknown"),
        ("a currency that is none", Answers(booked(REFERENCE, "9.99", "XXQ")), "unknown"),
        ("a reference that is none", Answers(booked("mine", "9.99", "MXN")), "unknown"),
        ("no message", Answers(vec![]), "unknown"),
        ("half a message", Answers(right[..right.len() - 3].to_vec()), "unknown"),
        ("another message", Answers(vec![0, 0, 0, 0, 3, 0xff, 0xff, 0xff]), "unknown"),
        ("compressed, which nobody asked for", Answers(vec![1, 0, 0, 0, 1, 0]), "unknown"),
        ("too long an answer", Answers([&[0, 0, 2, 0, 0][..], &[0; 4096]].concat()), "unknown"),
        ("a broken proxy", Http(502), "unknown"),
        ("a busy proxy", Http(429), "unknown"),
        ("a closed proxy", Http(503), "unknown"),
        ("a proxy that knows no such path", Http(404), "unknown"),
        ("a page", Http(200), "unknown"),
        ("the stream is refused", Resets(h2::Reason::REFUSED_STREAM), "not applied"),
        ("the stream is cancelled", Resets(h2::Reason::CANCEL), "unknown"),
        ("the stream is broken", Resets(h2::Reason::INTERNAL_ERROR), "unknown"),
        ("the stream is ended for no reason", Resets(h2::Reason::NO_ERROR), "unknown"),
        ("half an answer, then a reset", Begins(right[..right.len() - 3].to_vec()), "unknown"),
        ("an answer without an end", Begins(right.clone()), "unknown"),
        ("closed without an answer", Closes, "unknown"),
        ("silence", IsSilent, "unknown"),
    ] {
        let server = Server::that(deed).await;
        let answer = charge(&adapter(&server.authority, &["not-applied"])).await;
        assert_eq!(verdict(&answer), expected, "{why}: {answer:?}");
        assert!(server.bytes_seen() > 0, "{why}");
    }
}

#[tokio::test]
async fn no_status_is_a_refusal_and_only_listed_ones_that_the_csp_alone_can_say_are_not_applied() {
    let names = ["PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "UNAVAILABLE", "INTERNAL", "ABORTED"];
    for place in [StatusIn::Headers, StatusIn::Trailers] {
        for status in 0..=17 {
            let server = Server::that(Deed::Status(status, place)).await;
            let answer = charge(&adapter(&server.authority, &["not-applied"])).await;
            assert_eq!(verdict(&answer), "unknown", "{status}: {answer:?}");
            let expected = if [7, 8, 16].contains(&status) { "not applied" } else { "unknown" };
            let answer = charge(&adapter(&server.authority, &names)).await;
            assert_eq!(verdict(&answer), expected, "{status}, listed: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_receipt_that_is_not_for_what_was_sent_is_handed_on_for_the_echo_check() {
    let other = "000000000000000000000000000000aa";
    for (reference, amount, code) in
        [(REFERENCE, "9.98", "MXN"), (other, "9.99", "MXN"), (REFERENCE, "9.99", "USD"), (REFERENCE, "-9.99", "MXN")]
    {
        let server = Server::that(Deed::Answers(booked(reference, amount, code))).await;
        let money = Money::parse(amount, currency(code)).expect("an amount");
        let expected = Receipt { reference: Reference::parse(reference).expect("a reference"), money };
        assert_eq!(charge(&adapter(&server.authority, &[])).await.expect("handed on"), expected);
    }
}

#[tokio::test]
async fn where_no_byte_of_the_message_was_written_nothing_was_applied() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address").to_string()
    };
    assert_eq!(verdict(&charge(&adapter(&nobody, &[])).await), "not applied", "connection refused");
    assert_eq!(verdict(&charge(&adapter("nobody.invalid:80", &[])).await), "not applied", "no such name");

    // It works on one call at a time, and on that for ever.
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(1);
    let narrow = Server::with(Deed::IsSilent, builder).await;
    let csp = Arc::new(adapter(&narrow.authority, &[]));
    let first = tokio::spawn({
        let csp = Arc::clone(&csp);
        async move { csp.inquire(&reference(), &CallContext { budget: Duration::from_mins(1), ..call() }).await }
    });
    while narrow.bytes_seen() == 0 {
        tokio::task::yield_now().await;
    }
    let before = narrow.bytes_seen();
    assert_eq!(verdict(&charge(&csp).await), "not applied", "no room");
    assert_eq!(narrow.bytes_seen(), before);
    first.abort();

    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    for scheme in ["https", "http"] {
        let authority = silent.local_addr().expect("an address");
        let settings = Settings {
            url: format!("{scheme}://{authority}").parse().expect("a URL"),
            api_key: None,
            ca_pem: None,
            client_pem: None,
            not_applied: vec![],
        };
        let answer = charge(&GrpcCsp::new(settings).expect("an adapter")).await;
        // Without TLS the message may be on its way before the other side has said a word.
        let expected = if scheme == "https" { "not applied" } else { "unknown" };
        assert_eq!(verdict(&answer), expected, "{scheme}: {answer:?}");
    }
}

#[tokio::test]
async fn one_connection_carries_all_calls_and_is_made_anew_when_it_has_died() {
    let server = Server::that(Deed::Answers(booked(REFERENCE, "9.99", "MXN"))).await;
    let csp = Arc::new(adapter(&server.authority, &[]));
    charge(&csp).await.expect("booked");
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let csp = Arc::clone(&csp);
            tokio::spawn(async move { charge(&csp).await.is_ok() })
        })
        .collect();
    for call in calls {
        assert!(call.await.expect("no panic"));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);

    let closing = Server::that(Deed::Closes).await;
    let csp = adapter(&closing.authority, &[]);
    for _ in 0..20 {
        let before = closing.bytes_seen();
        match charge(&csp).await {
            Err(CspError::Unknown(_)) => {}
            Err(CspError::NotApplied(cause)) => {
                assert_eq!(closing.bytes_seen(), before, "something was seen: {cause:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(closing.connections.load(Ordering::SeqCst) > 1);
}

#[tokio::test]
async fn a_connection_that_gives_no_answers_is_left_for_another() {
    let server = Server::that(Deed::IsSilent).await;
    let csp = adapter(&server.authority, &[]);
    let hasty = CallContext { budget: Duration::from_millis(50), ..call() };
    for _ in 0..7 {
        let asked = csp.inquire(&reference(), &hasty).await;
        assert!(matches!(asked, Err(CspError::Unknown(_) | CspError::NotApplied(_))), "{asked:?}");
    }
    assert!(server.connections.load(Ordering::SeqCst) > 1);
}

#[tokio::test]
async fn only_the_csps_own_word_makes_a_reference_not_known() {
    use pb::inquire_response::Result as Said;
    let inquired = |result: Option<Said>| Deed::Answers(framed(&pb::InquireResponse { result }));
    let refused = |code: &str| Said::Refused(pb::Refusal { code: code.to_owned(), message: String::new() });
    for (why, deed, expected) in [
        ("not known", inquired(Some(Said::Unknown(pb::UnknownReference {}))), "NotKnown"),
        ("refused", inquired(Some(refused("daily-limit"))), "Refused { code: \"daily-limit\" }"),
        ("refused without a code", inquired(Some(refused(""))), "unknown"),
        ("nothing", inquired(None), "unknown"),
        ("a status", Deed::Status(5, StatusIn::Trailers), "unknown"),
        ("a proxy's 404", Deed::Http(404), "unknown"),
        ("not implemented", Deed::Status(12, StatusIn::Headers), "unknown"),
    ] {
        let server = Server::that(deed).await;
        let answer = adapter(&server.authority, &[]).inquire(&reference(), &call()).await;
        assert_eq!(verdict(&answer), expected, "{why}");
    }
    let booked = inquired(Some(Said::Booked(booking(REFERENCE, "9.99", "MXN"))));
    let server = Server::that(booked).await;
    let answer = adapter(&server.authority, &[]).inquire(&reference(), &call()).await.expect("an answer");
    assert!(matches!(answer, Inquiry::Booked(receipt) if receipt.money.minor == 999), "{answer:?}");
}

#[tokio::test]
async fn only_the_csps_own_word_makes_a_reference_void() {
    use pb::void_response::Result as Said;
    let answered = |result: Option<Said>| Deed::Answers(framed(&pb::VoidResponse { result }));
    let refused = |code: &str| Said::Refused(pb::Refusal { code: code.to_owned(), message: String::new() });
    let receipt = "Booked(Receipt { reference: Reference([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255]), money: \
                   Money { minor: 999, currency: MXN } })";
    for (why, deed, expected) in [
        ("void", answered(Some(Said::Voided(pb::Voided {}))), "Void"),
        ("booked before", answered(Some(Said::Booked(booking(REFERENCE, "9.99", "MXN")))), receipt),
        ("refused before", answered(Some(refused("daily-limit"))), "Refused { code: \"daily-limit\" }"),
        ("refused without a code", answered(Some(refused(""))), "unknown"),
        ("not applied", answered(Some(refused("not-applied"))), "not applied"),
        ("nothing", answered(None), "unknown"),
        ("not implemented", Deed::Status(12, StatusIn::Headers), "unknown"),
        ("the stream is refused", Deed::Resets(h2::Reason::REFUSED_STREAM), "not applied"),
    ] {
        let server = Server::that(deed).await;
        let answer = adapter(&server.authority, &["not-applied"]).void(&reference(), &call()).await;
        assert_eq!(verdict(&answer), expected, "{why}");
    }
}

#[tokio::test]
async fn only_the_csps_own_word_makes_an_account_nobody() {
    use pb::account_response::Result as Said;
    let answered = |result: Option<Said>| Deed::Answers(framed(&pb::AccountResponse { result }));
    let whole = pb::Account { account_id: "a".to_owned(), standing: 2, payment: 1, eligibility: 1 };
    for (why, deed, expected) in [
        ("nobody", answered(Some(Said::Unknown(pb::UnknownAccount {}))), Some(false)),
        ("somebody", answered(Some(Said::Account(whole.clone()))), Some(true)),
        ("nothing", answered(None), None),
        ("not found", Deed::Status(5, StatusIn::Trailers), None),
        ("no name", answered(Some(Said::Account(pb::Account { account_id: String::new(), ..whole.clone() }))), None),
        ("no standing", answered(Some(Said::Account(pb::Account { standing: 0, ..whole.clone() }))), None),
        ("a standing that is none", answered(Some(Said::Account(pb::Account { standing: 9, ..whole.clone() }))), None),
        ("no payment", answered(Some(Said::Account(pb::Account { payment: 0, ..whole.clone() }))), None),
        ("no eligibility", answered(Some(Said::Account(pb::Account { eligibility: 0, ..whole }))), None),
    ] {
        let server = Server::that(deed).await;
        let who = Identifier::Account(AccountRef::new("a"));
        let found = adapter(&server.authority, &[]).account(&who, None, &call()).await;
        assert_eq!(found.ok().map(|found| found.is_some()), expected, "{why}");
    }
}
