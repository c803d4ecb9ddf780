//! Traces: what a collector gets, what the CSP is sent, and what a collector that is away costs.
//!
//! Invariant: the collector is a real one on this machine, or none at all.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;

use super::collector::{Collector, attribute};
use crate::gateway::client::Partner;
use crate::gateway::process::{Running, Setup, id, number};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn traced(url: &str) -> Setup {
    Setup::default()
        .environment("ONBILL__TRACES__ENDPOINT", url)
        .environment("ONBILL__TRACES__PAUSE_MS", "20")
        .environment("ONBILL__TRACES__SAMPLE_PER_MILLE", "1000")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a text");
        text
    })
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

const CREATE: &str = "onbill.v1.TransactionService/CreateTransaction";

async fn charge(partner: &Partner, headers: &[(&str, &str)]) -> u16 {
    let mut all = vec![("content-type", "application/json")];
    all.extend(headers);
    let body = crate::gateway::client::charge(&number("01"), &id("t"), json!({})).to_string();
    partner.send(http::Method::POST, "/transaction", &all, body).await.status
}

#[tokio::test]
async fn a_charge_is_one_tree_from_the_callers_span_to_the_ledgers_commits() {
    let collector = Collector::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let headers = directory.path().join("headers");
    std::fs::write(&headers, "x-collector-key: k-1\n").expect("a file");
    let gateway =
        traced(&collector.url()).environment("ONBILL__TRACES__HEADERS_FILE", headers.to_str().expect("UTF-8")).start();
    let demo = Partner::demo(&gateway);
    let w3c = format!("00-{TRACE}-{PARENT}-01");
    let parents: [&[(&str, &str)]; 2] =
        [&[("traceparent", &w3c)], &[("x-b3-traceid", TRACE), ("x-b3-spanid", PARENT), ("x-b3-sampled", "1")]];
    for (count, headers) in parents.into_iter().enumerate() {
        assert_eq!(charge(&demo, headers).await, 200);
        let spans = collector.wait("the charge", |spans| named(spans, CREATE).len() > count).await;
        let call = named(&spans, CREATE)[count];
        assert_eq!((hex(&call.trace_id), hex(&call.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
        for (name, value) in [
            ("rpc.system", "grpc"),
            ("rpc.service", "onbill.v1.TransactionService"),
            ("rpc.method", "CreateTransaction"),
            ("onbill.face", "json"),
            ("onbill.partner", "demo-ott"),
            ("onbill.status", "Success"),
        ] {
            assert_eq!(attribute(call, name), value, "{name}");
        }
        for (name, csp) in
            [("account", "sandbox"), ("ledger commit intent", ""), ("charge", "sandbox"), ("ledger commit outcome", "")]
        {
            let step = spans.iter().find(|span| span.name == name && span.parent_span_id == call.span_id);
            let step = step.unwrap_or_else(|| panic!("{name} is part of the call"));
            assert_eq!((&step.trace_id, attribute(step, "onbill.csp").as_str()), (&call.trace_id, csp), "{name}");
            assert!(step.start_time_unix_nano >= call.start_time_unix_nano);
            assert!(step.end_time_unix_nano >= step.start_time_unix_nano, "{name}");
        }
    }
    assert!(collector.keys().iter().all(|key| key == "k-1") && !collector.keys().is_empty());
    assert!(collector.resources()[0].contains("service.name"));
}

#[tokio::test]
async fn a_caller_decides_about_its_trace_and_what_nobody_waits_for_has_a_trace_of_its_own() {
    let collector = Collector::start().await;
    let gateway = traced(&collector.url()).start();
    let demo = Partner::demo(&gateway);
    assert_eq!(charge(&demo, &[("traceparent", &format!("00-{TRACE}-{PARENT}-00"))]).await, 200);
    demo.charge(&number("11"), &id("t"), json!({})).await;
    let spans = collector.wait("a reconciliation", |spans| !named(spans, "reconcile").is_empty()).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id) != TRACE), "its caller has said that it is not recorded");
    let alone = named(&spans, "reconcile")[0];
    assert!(alone.parent_span_id.is_empty());
    assert_eq!(attribute(alone, "onbill.reference").len(), 32);
    assert!(spans.iter().any(|span| span.name == "inquire" && span.parent_span_id == alone.span_id));
}

#[tokio::test]
async fn with_a_ratio_of_nothing_only_what_callers_record_is_recorded() {
    let collector = Collector::start().await;
    let gateway = traced(&collector.url()).environment("ONBILL__TRACES__SAMPLE_PER_MILLE", "0").start();
    let demo = Partner::demo(&gateway);
    for _ in 0..20 {
        assert_eq!(charge(&demo, &[]).await, 200);
    }
    assert_eq!(charge(&demo, &[("traceparent", &format!("00-{TRACE}-{PARENT}-01"))]).await, 200);
    let spans = collector.wait("the one", |spans| !named(spans, CREATE).is_empty()).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:?}");
}

/// An operator that takes one request's head, tells it and says nothing more.
fn deaf_operator() -> (String, mpsc::Receiver<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (told, heads) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
            let head = lines.map(Result::unwrap_or_default).take_while(|line| !line.is_empty()).collect();
            let _ = stream.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            if told.send(head).is_err() {
                return;
            }
        }
    });
    (url, heads)
}

#[tokio::test]
async fn the_csp_is_sent_our_own_span_as_its_parent() {
    let collector = Collector::start().await;
    let (url, heads) = deaf_operator();
    let config = format!(
        "[sandbox]\nenabled = true\n[csp.op]\nadapter = 'http'\nurl = '{url}'\ncurrency = 'MXN'\n\
         msisdn_pattern = '^777[0-9]{{7}}$'\nprefixes = ['777']\nforget_after_s = 60\n[partner.demo-ott]\ncsps = ['sandbox', 'op']\n"
    );
    let gateway = traced(&collector.url()).config(&config).start();
    let demo = Partner::demo(&gateway);
    let body = json!({ "type": "MSISDN", "address": "7770000001" }).to_string();
    let w3c = format!("00-{TRACE}-{PARENT}-01");
    let headers = [
        ("content-type", "application/json"),
        ("traceparent", w3c.as_str()),
        ("tracestate", "rojo=00f067aa0ba902b7"),
        ("tracestate", "congo=t61rcWkgMzE"),
    ];
    demo.send(http::Method::POST, "/account/validate", &headers, body).await;
    let head = heads.recv_timeout(Duration::from_secs(30)).expect("the operator is asked");
    let sent = |name: &str| {
        let line = head.iter().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
        line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let spans = collector.wait("the question", |spans| !named(spans, "account").is_empty()).await;
    let asked = named(&spans, "account")[0];
    assert_eq!(sent("traceparent"), format!("00-{TRACE}-{}-01", hex(&asked.span_id)));
    assert_eq!((sent("x-b3-spanid"), sent("x-b3-parentspanid")), (hex(&asked.span_id), hex(&asked.parent_span_id)));
    assert_ne!(hex(&asked.span_id), PARENT);
    assert_eq!(sent("tracestate"), "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "as it came");

    // Without a trace of the same form it means nothing.
    for trace in [("x-trace", "none"), ("traceparent", "00-1-2-01"), ("x-b3-traceid", TRACE)] {
        let headers = [("content-type", "application/json"), ("tracestate", "a=1"), ("x-b3-spanid", PARENT), trace];
        let body = json!({ "type": "MSISDN", "address": "7770000002" }).to_string();
        demo.send(http::Method::POST, "/account/validate", &headers, body).await;
        let head = heads.recv_timeout(Duration::from_secs(30)).expect("the operator is asked");
        assert!(!head.iter().any(|line| line.to_ascii_lowercase().starts_with("tracestate:")), "{trace:?}: {head:?}");
    }
}

#[tokio::test]
async fn spans_go_over_tls_to_a_collector_that_is_trusted_and_to_no_other() {
    let collector = Collector::start().await;
    let (directory, strangers) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    crate::tls::certificate(directory.path());
    crate::tls::certificate(strangers.path());
    let authority = collector.url().trim_start_matches("http://").to_owned();
    let address = crate::tls::encrypted(directory.path(), authority).await;
    let url = format!("https://localhost:{}", address.port());
    let trusting = |file: &std::path::Path| {
        let file = file.join("cert.pem");
        traced(&url).environment("ONBILL__TRACES__CA_FILE", file.to_str().expect("UTF-8")).start()
    };
    // Another authority, the public ones, and no TLS at all.
    for gateway in [trusting(strangers.path()), traced(&url).start(), traced(&format!("http://{address}")).start()] {
        assert_eq!(charge(&Partner::demo(&gateway), &[]).await, 200, "nothing else is the worse for it");
        let since = Instant::now();
        while dropped(&gateway).await == 0 {
            assert!(since.elapsed() < Duration::from_secs(30), "they are dropped, and counted");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(collector.spans().len(), 0);
    let gateway = trusting(directory.path());
    assert_eq!(charge(&Partner::demo(&gateway), &[]).await, 200);
    collector.wait("a charge", |spans| !named(spans, CREATE).is_empty()).await;
    assert_eq!(dropped(&gateway).await, 0);
}

async fn dropped(gateway: &Running) -> u64 {
    let metrics = Partner::at(gateway.admin(), "").get("/metrics").await.body;
    let lines = metrics.lines().filter(|line| line.starts_with("onbill_spans_dropped_total{"));
    lines.map(|line| line.rsplit(' ').next().expect("a number").parse::<u64>().expect("a number")).sum()
}

#[tokio::test]
async fn a_collector_that_hangs_or_is_gone_costs_spans_and_nothing_else() {
    // It takes connections and says nothing, for as long as the test runs.
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a port");
    let gone = format!("http://127.0.0.1:{}", crate::servers::free_port());
    for url in [format!("http://{}", hanging.local_addr().expect("an address")), gone] {
        let gateway = traced(&url)
            .environment("ONBILL__TRACES__QUEUE_MAX", "16")
            .environment("ONBILL__TRACES__BATCH_MAX", "8")
            .environment("ONBILL__TRACES__TIMEOUT_MS", "60000")
            .start();
        let demo = Partner::demo(&gateway);
        for _ in 0..50 {
            assert_eq!(charge(&demo, &[]).await, 200, "{url}");
        }
        let since = Instant::now();
        while dropped(&gateway).await == 0 {
            assert!(since.elapsed() < Duration::from_mins(1), "{url}: what is lost is counted");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(gateway.stop().success(), "{url}: it waits for a collector for a bounded time");
    }
}

#[tokio::test]
async fn what_has_queued_at_a_stop_is_sent() {
    let collector = Collector::start().await;
    let gateway = traced(&collector.url()).environment("ONBILL__TRACES__PAUSE_MS", "60000").start();
    let demo = Partner::demo(&gateway);
    for _ in 0..5 {
        assert_eq!(charge(&demo, &[]).await, 200);
    }
    assert!(collector.spans().is_empty());
    let stopped = tokio::task::spawn_blocking(move || gateway.stop()).await.expect("it stops");
    assert!(stopped.success());
    assert_eq!(named(&collector.spans(), CREATE).len(), 5);
}
