//! Connections that are slow, silent, many or malformed, over raw sockets.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::client::Partner;
use super::super::process::{Running, Setup};
use super::{counted, serves};

/// Longest wait for what must come in the end: generous, since test machines are busy.
const PATIENCE: Duration = Duration::from_mins(1);
/// The beginning of an HTTP/2 connection: preface and empty SETTINGS.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

fn started(server: &str) -> Running {
    let config = format!("[sandbox]\nenabled = true\n[server]\n{server}");
    tokio::task::block_in_place(|| Setup::default().config(&config).start())
}

async fn connect(gateway: &Running) -> TcpStream {
    TcpStream::connect(gateway.authority()).await.expect("a connection")
}

/// What comes until the connection is closed. A reset is an end as well.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    let read = async {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            received.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("it is closed in the end");
    received
}

/// Waits until the gateway has counted so much.
async fn until_counted(gateway: &Running, name: &str, labels: &[&str], least: u64) {
    for _ in 0..1200 {
        if counted(gateway, name, labels).await >= least {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name} {labels:?} never came to {least}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_do_not_arrive_are_cut_off_and_connections_that_say_nothing() {
    let gateway = started("header_read_timeout_ms = 300\nidle_timeout_s = 3600\n");
    let mut slow = Vec::new();
    for begin in [&b""[..], b"GET /openapi.json HTTP/1.1\r\nhost: x\r\nx-", b"P", b"PRI * HTTP/2.0\r\n"] {
        let mut stream = connect(&gateway).await;
        stream.write_all(begin).await.expect("it is sent");
        slow.push(stream);
    }
    let mut dripping = connect(&gateway).await;
    dripping.write_all(b"GET /openapi.json HTTP/1.1\r\n").await.expect("it is sent");
    let drip = tokio::spawn(async move {
        let mut sent = 0_u32;
        while sent < 3000 && dripping.write_all(b"x: y\r\n").await.is_ok() {
            sent += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        sent
    });
    let mut between = connect(&gateway).await;
    between.write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is sent");
    let mut first = [0; 12];
    between.read_exact(&mut first).await.expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 404");
    for stream in &mut slow {
        until_closed(stream).await;
    }
    assert!(drip.await.expect("no panic") < 3000, "one byte after the other is cut off as well");
    assert!(counted(&gateway, "onbill_connections_ended_total", &["port=\"main\"", "bound=\"head\""]).await >= 5);
    // The one that has had an answer is idle and not slow: it may stay. Its second head is bounded as its first was.
    between.write_all(b"GET /nothing HTTP/1.1\r\n").await.expect("it is still there");
    let rest = until_closed(&mut between).await;
    assert!(!String::from_utf8_lossy(&rest).contains("HTTP/1.1"), "no second answer");
    assert!(serves(&Partner::demo(&gateway)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_arrive_is_503_and_costs_nobody_without_a_key() {
    let gateway = started("body_read_timeout_ms = 300\nrequests_in_flight_max = 4\n");
    let head = |key: &str| {
        format!(
            "POST /pin HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n\
             connection: close\r\ncontent-length: 60\r\n\r\n{{"
        )
    };
    let mut strangers = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(&gateway).await;
        stream.write_all(head("wrong").as_bytes()).await.expect("it is sent");
        strangers.push(stream);
    }
    assert!(serves(&Partner::demo(&gateway)).await, "20 bodies without a key hold none of 4 places");
    for stream in &mut strangers {
        let answer = String::from_utf8_lossy(&until_closed(stream).await).into_owned();
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    let mut slow = connect(&gateway).await;
    slow.write_all(head("demo-key").as_bytes()).await.expect("it is sent");
    let answer = String::from_utf8_lossy(&until_closed(&mut slow).await).into_owned();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_too_large_or_have_too_many_headers_are_431_on_both_versions() {
    let gateway = started("headers_max = 50\n");
    let large = format!("GET /nothing HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET /nothing HTTP/1.1\r\nhost: x\r\n{}\r\n", "x-many: y\r\n".repeat(60));
    let endless = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(100_000));
    for (head, status) in [(large, "431"), (many, "431"), (endless, "431")] {
        let mut stream = connect(&gateway).await;
        // It may be answered before it is all sent.
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = String::from_utf8_lossy(&until_closed(&mut stream).await).into_owned();
        assert!(answer.is_empty() || answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build_http::<http_body_util::Empty<bytes::Bytes>>();
    for (name, count, length) in [("x-large", 1, 20_000), ("x-many", 60, 1)] {
        let mut request = http::Request::get(format!("http://{}/nothing", gateway.authority()));
        for _ in 0..count {
            request = request.header(name, "x".repeat(length));
        }
        let answer = client.request(request.body(http_body_util::Empty::new()).expect("a request")).await;
        assert_eq!(answer.expect("an answer").status(), 431, "{name}");
    }
    assert!(serves(&Partner::demo(&gateway)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_silent_connections_at_the_bound_lock_nobody_out() {
    let gateway = started("connections_max = 600\nheader_read_timeout_ms = 60000\n");
    let mut silent = Vec::new();
    for turn in 0..1000 {
        let mut stream = connect(&gateway).await;
        if turn % 2 == 0 {
            stream.write_all(HTTP2).await.expect("it is sent");
        }
        silent.push(stream);
        if turn % 250 == 249 {
            assert!(serves(&Partner::demo(&gateway)).await, "after {turn}");
        }
    }
    let room = counted(&gateway, "onbill_connections_ended_total", &["port=\"main\"", "bound=\"room\""]).await;
    assert!(room >= 400, "{room} have given way");
    assert!(counted(&gateway, "onbill_connections{port=\"main\"", &[]).await <= 600);
    let admin = Partner::at(gateway.admin(), "none");
    assert_eq!(admin.get("/healthz").await.status, 200);
    let mut oldest = silent.swap_remove(1);
    assert!(until_closed(&mut oldest).await.is_empty());
}

/// With a place for one connection, whose request is under way, the next is closed at once and counted by the bound.
async fn the_next_is_closed_at_once(setting: &str, bound: &str) {
    let gateway = started(&format!("{setting} = 1\n"));
    let demo = Partner::demo(&gateway);
    let slow = tokio::spawn({
        let (demo, number) = (demo.clone(), super::super::process::number("13"));
        async move { demo.charge(&number, "busy", serde_json::json!({})).await }
    });
    until_counted(&gateway, "onbill_requests_in_flight", &[], 1).await;
    let mut another = connect(&gateway).await;
    assert!(until_closed(&mut another).await.is_empty(), "it is closed at once");
    assert_eq!(slow.await.expect("no panic").status, 200);
    until_counted(&gateway, "onbill_connections_ended_total", &[&format!("bound=\"{bound}\"")], 1).await;
    assert_eq!(Partner::at(gateway.admin(), "none").get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_a_request_under_way_is_never_cut_off_for_another() {
    the_next_is_closed_at_once("connections_max", "full").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_whose_connections_all_have_requests_gets_no_more() {
    the_next_is_closed_at_once("connections_per_address_max", "address").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_so_many_connections_and_no_more() {
    let gateway = started("connections_per_address_max = 2\n");
    let mut held = (connect(&gateway).await, connect(&gateway).await);
    until_counted(&gateway, "onbill_connections", &["port=\"main\""], 2).await;
    let mut third = connect(&gateway).await;
    third.write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("it is sent");
    assert!(String::from_utf8_lossy(&until_closed(&mut third).await).starts_with("HTTP/1.1 404"));
    assert!(until_closed(&mut held.0).await.is_empty(), "it has given way to the third");
    until_counted(&gateway, "onbill_connections_ended_total", &["bound=\"room\""], 1).await;
    assert!(counted(&gateway, "onbill_connections{port=\"main\"", &[]).await <= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_without_requests_are_asked_to_go_and_then_closed() {
    let gateway = started("idle_timeout_s = 1\n");
    let mut first = connect(&gateway).await;
    first.write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is sent");
    assert!(String::from_utf8_lossy(&until_closed(&mut first).await).starts_with("HTTP/1.1 404"));
    let mut second = connect(&gateway).await;
    second.write_all(HTTP2).await.expect("it is sent");
    let received = until_closed(&mut second).await;
    let mut rest = &received[..];
    let mut frames = Vec::new();
    while let [a, b, c, kind, ..] = *rest {
        frames.push(kind);
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    assert!(frames.contains(&7), "HTTP/2 is told with GOAWAY: {frames:?}");
    until_counted(&gateway, "onbill_connections_ended_total", &["bound=\"idle\""], 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_connection_answers_what_it_has_begun_and_takes_no_more() {
    let gateway = started("connection_age_max_s = 1\n");
    let demo = Partner::demo(&gateway);
    // One connection after the other, and not one request is lost with them. Answers take 250 ms, one after the other, so
    // that one is always under way when its connection becomes too old.
    let asked = serde_json::json!({ "type": "MSISDN", "address": super::super::process::number("13") });
    let mut last = 0;
    for _ in 0..200 {
        let answer = demo.post("/account/validate", &asked).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        last += usize::from(answer.header("connection") == "close");
        if last >= 2 {
            return;
        }
    }
    panic!("no connection grew old");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_reset_as_fast_as_they_are_opened_end_their_connection() {
    let gateway = started("");
    let mut stream = connect(&gateway).await;
    stream.write_all(HTTP2).await.expect("it is sent");
    // GET / with the static table, END_STREAM and END_HEADERS; then RST_STREAM, CANCEL.
    let mut attack = Vec::new();
    for stream in (1..4001_u32).step_by(2) {
        attack.extend_from_slice(&[0, 0, 4, 1, 5]);
        attack.extend_from_slice(&stream.to_be_bytes());
        attack.extend_from_slice(&[0x82, 0x84, 0x86, 0x41 & 0x86]);
        attack.extend_from_slice(&[0, 0, 4, 3, 0]);
        attack.extend_from_slice(&stream.to_be_bytes());
        attack.extend_from_slice(&[0, 0, 0, 8]);
    }
    let _ = stream.write_all(&attack).await;
    until_closed(&mut stream).await;
    assert!(serves(&Partner::demo(&gateway)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn continuations_without_an_end_are_cut_off() {
    let gateway = started("");
    let mut stream = connect(&gateway).await;
    stream.write_all(HTTP2).await.expect("it is sent");
    let mut flood = vec![0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82];
    for _ in 0..10_000 {
        // A CONTINUATION with one literal header, and without END_HEADERS.
        flood.extend_from_slice(&[0, 0, 5, 9, 0, 0, 0, 0, 1, 0x00, 1, b'a', 1, b'b']);
    }
    let _ = stream.write_all(&flood).await;
    until_closed(&mut stream).await;
    assert!(serves(&Partner::demo(&gateway)).await);
}
