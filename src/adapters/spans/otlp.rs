//! Spans to a collector: OTLP over gRPC.
//!
//! Invariant: taking a span is one attempt to put it into a bounded queue; a task sends what has queued, one message at a
//! time and each within its time. A collector that is slow, gone or refuses costs spans, which are counted, and nothing
//! else: nothing is sent twice, nothing is kept on disk, and no call ever waits here. At the end what has queued is sent
//! within a bounded time. Which spans there are is decided above.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Uri;
use metrics::{Counter, counter};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::ports::measures::{SPANS_DROPPED, SPANS_SENT};
use crate::ports::spans::{Ended, Side, Spans, Value};

/// How long what has queued may take at the end.
const FLUSH_MAX: Duration = Duration::from_secs(3);
/// The flag of a span whose trace is recorded (W3C Trace Context).
const SAMPLED: u32 = 1;
/// The parts of a ratio.
const RATIO_PARTS: u64 = 1_000;

/// How a collector is spoken to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it is.
    pub endpoint: Uri,
    /// Certificates that are trusted beside the public authorities'.
    pub ca_pem: Option<Vec<u8>>,
    /// What goes with each message.
    pub headers: MetadataMap,
    /// Of a thousand traces that nobody has decided about, how many are recorded.
    pub sample_per_mille: u32,
    /// Most spans that wait.
    pub queue_max: usize,
    /// Most spans of one message.
    pub batch_max: usize,
    /// How long spans wait for others to go with.
    pub pause: Duration,
    /// How long one message may take.
    pub timeout: Duration,
    /// What the spans are of: this running gateway.
    pub instance: String,
}

/// The queue to a collector.
pub struct OtlpSpans {
    queue: mpsc::Sender<Ended>,
    /// Traces whose lower 63 bits are less are recorded.
    below: u64,
    ids: AtomicU64,
    full: Counter,
}

/// Sends what has queued.
pub struct Exporter {
    queue: mpsc::Receiver<Ended>,
    client: TraceServiceClient<Channel>,
    headers: MetadataMap,
    resource: Resource,
    batch_max: usize,
    pause: Duration,
    timeout: Duration,
    sent: Counter,
    refused: Counter,
    unreachable: Counter,
    is_failing: bool,
}

/// Opens a queue and what sends from it. No connection is made before there is something to send.
///
/// # Errors
/// Certificates that cannot be used.
pub fn open(settings: Settings) -> Result<(Arc<OtlpSpans>, Exporter), tonic::transport::Error> {
    let mut endpoint = Endpoint::from(settings.endpoint.clone())
        .connect_timeout(settings.timeout)
        .timeout(settings.timeout)
        .user_agent(concat!("onbill/", env!("CARGO_PKG_VERSION")))?;
    if settings.endpoint.scheme_str() == Some("https") {
        let mut tls = ClientTlsConfig::new().with_webpki_roots();
        if let Some(pem) = &settings.ca_pem {
            tls = tls.ca_certificate(Certificate::from_pem(pem));
        }
        endpoint = endpoint.tls_config(tls)?;
    }
    let dropped = |reason: &'static str| counter!(SPANS_DROPPED.name, "reason" => reason);
    let (queue, receiver) = mpsc::channel(settings.queue_max);
    let spans = OtlpSpans {
        queue,
        below: below(settings.sample_per_mille),
        ids: AtomicU64::new(seed()),
        full: dropped("queue"),
    };
    let named = |key: &str, text: String| KeyValue { value: Some(text_value(text)), ..key_value(key) };
    let resource = Resource {
        attributes: vec![
            named("service.name", "onbill".to_owned()),
            named("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            named("service.instance.id", settings.instance),
        ],
        ..Resource::default()
    };
    let exporter = Exporter {
        queue: receiver,
        client: TraceServiceClient::new(endpoint.connect_lazy()),
        headers: settings.headers,
        resource,
        batch_max: settings.batch_max,
        pause: settings.pause,
        timeout: settings.timeout,
        sent: counter!(SPANS_SENT.name),
        refused: dropped("refused"),
        unreachable: dropped("unreachable"),
        is_failing: false,
    };
    Ok((Arc::new(spans), exporter))
}

/// The bound below which a trace is recorded, for so many of a thousand. The same rule as OpenTelemetry's
/// `TraceIdRatioBased`: gateways and other programs with one ratio record the same traces.
fn below(per_mille: u32) -> u64 {
    let parts = u64::from(per_mille).min(RATIO_PARTS);
    let whole = 1_u64 << 63;
    let part = whole.checked_div(RATIO_PARTS).unwrap_or_default();
    if parts == RATIO_PARTS { whole } else { part.saturating_mul(parts) }
}

/// Where the ids of this process begin.
fn seed() -> u64 {
    getrandom::u64().unwrap_or_else(|_| now_unix_ns())
}

fn now_unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl Spans for OtlpSpans {
    fn samples(&self, trace_id: u128) -> bool {
        let low = u64::try_from(trace_id & u128::from(u64::MAX)).unwrap_or(u64::MAX);
        (low >> 1) < self.below
    }

    /// SplitMix64 over a counter: ids of one process never repeat, and those of two are far apart.
    fn fresh_id(&self) -> u64 {
        let step = self.ids.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (step ^ (step >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).max(1)
    }

    fn now_unix_ns(&self) -> u64 {
        now_unix_ns()
    }

    fn take(&self, span: Ended) {
        if self.queue.try_send(span).is_err() {
            self.full.increment(1);
        }
    }
}

impl Exporter {
    /// Sends until `stop` is called; then what has queued, within a bounded time.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(self.batch_max);
        loop {
            let room = self.batch_max.saturating_sub(batch.len());
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                taken = self.queue.recv_many(&mut batch, room) => if taken == 0 { return },
            }
            if batch.len() < self.batch_max {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(self.pause) => {}
                }
                while batch.len() < self.batch_max
                    && let Ok(more) = self.queue.try_recv()
                {
                    batch.push(more);
                }
            }
            self.send(std::mem::take(&mut batch), &stop).await;
        }
        self.flush(batch, &stop).await;
    }

    /// What is not sent in time is dropped, and counted.
    async fn flush(mut self, mut batch: Vec<Ended>, stop: &CancellationToken) {
        self.queue.close();
        while let Ok(more) = self.queue.try_recv() {
            batch.push(more);
        }
        let until = tokio::time::Instant::now().checked_add(FLUSH_MAX);
        while !batch.is_empty() {
            let rest = batch.split_off(batch.len().min(self.batch_max));
            let left = until.map(|until| until.saturating_duration_since(tokio::time::Instant::now()));
            match left.filter(|left| !left.is_zero()) {
                Some(left) => {
                    self.timeout = self.timeout.min(left);
                    self.send(batch, stop).await;
                }
                None => self.unreachable.increment(u64::try_from(batch.len()).unwrap_or(u64::MAX)),
            }
            batch = rest;
        }
    }

    /// Sends one message. One that is under way when the gateway stops has the time that all have then.
    async fn send(&mut self, batch: Vec<Ended>, stop: &CancellationToken) {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let scope = InstrumentationScope { name: "onbill".to_owned(), ..InstrumentationScope::default() };
        let spans = batch.into_iter().map(span).collect();
        let scope_spans = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
        let resource_spans = vec![ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![scope_spans],
            ..ResourceSpans::default()
        }];
        let mut request = tonic::Request::new(ExportTraceServiceRequest { resource_spans });
        *request.metadata_mut() = self.headers.clone();
        let stopping = async {
            stop.cancelled().await;
            tokio::time::sleep(FLUSH_MAX).await;
        };
        let answered = tokio::select! {
            answered = self.client.export(request) => Some(answered),
            () = tokio::time::sleep(self.timeout) => None,
            () = stopping => None,
        };
        match answered {
            Some(Ok(answer)) => {
                let refused = answer.into_inner().partial_success.map_or(0, |partial| partial.rejected_spans);
                let refused = u64::try_from(refused).unwrap_or_default().min(count);
                self.sent.increment(count.saturating_sub(refused));
                self.refused.increment(refused);
                self.show(None);
            }
            Some(Err(status)) if status.code() == tonic::Code::Unavailable => {
                self.unreachable.increment(count);
                self.show(Some(status.message()));
            }
            Some(Err(status)) => {
                self.refused.increment(count);
                self.show(Some(status.message()));
            }
            None => {
                self.unreachable.increment(count);
                self.show(Some("no answer in time"));
            }
        }
    }

    /// Says so where the collector has begun to fail, or to answer again.
    fn show(&mut self, failed: Option<&str>) {
        match failed {
            Some(why) if !self.is_failing => {
                tracing::warn!(why, "the collector takes no spans; they are dropped until it does");
            }
            None if self.is_failing => tracing::info!("the collector takes spans again"),
            Some(_) | None => {}
        }
        self.is_failing = failed.is_some();
    }
}

fn key_value(key: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), ..KeyValue::default() }
}

const fn text_value(text: String) -> AnyValue {
    AnyValue { value: Some(Any::StringValue(text)) }
}

fn attribute((key, value): (&'static str, Value)) -> KeyValue {
    let value = match value {
        Value::Text(text) => text_value(text.into_owned()),
        Value::Whole(number) => AnyValue { value: Some(Any::IntValue(number)) },
    };
    KeyValue { value: Some(value), ..key_value(key) }
}

fn span(ended: Ended) -> Span {
    let took_ns = u64::try_from(ended.took.as_nanos()).unwrap_or(u64::MAX);
    let kind = match ended.side {
        Side::Server => SpanKind::Server,
        Side::Client => SpanKind::Client,
        Side::Own => SpanKind::Internal,
    };
    let status = ended.failed.map(|why| Status { message: why.into_owned(), code: StatusCode::Error.into() });
    Span {
        trace_id: ended.trace_id.to_be_bytes().to_vec(),
        span_id: ended.span_id.to_be_bytes().to_vec(),
        parent_span_id: ended.parent_id.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),
        flags: SAMPLED,
        name: ended.name.into_owned(),
        kind: kind.into(),
        start_time_unix_nano: ended.began_unix_ns,
        end_time_unix_nano: ended.began_unix_ns.saturating_add(took_ns),
        attributes: ended.attributes.into_iter().map(attribute).collect(),
        status,
        ..Span::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_traces_as_many_are_recorded_as_the_ratio_says() {
        for (per_mille, least, most) in [(0, 0, 0), (10, 800, 1200), (500, 49_000, 51_000), (1_000, 100_000, 100_000)] {
            let bound = below(per_mille);
            let ids = AtomicU64::new(7);
            let (queue, _receiver) = mpsc::channel(1);
            let spans = OtlpSpans { queue, below: bound, ids, full: Counter::noop() };
            let recorded = (0..100_000).filter(|_| spans.samples(u128::from(spans.fresh_id()))).count();
            assert!((least..=most).contains(&recorded), "{per_mille}: {recorded}");
        }
    }

    #[test]
    fn a_full_queue_drops_and_does_not_wait() {
        let (queue, mut receiver) = mpsc::channel(1);
        let spans = OtlpSpans { queue, below: 0, ids: AtomicU64::new(1), full: Counter::noop() };
        let ended = Ended {
            name: "a".into(),
            side: Side::Own,
            trace_id: 1,
            span_id: 2,
            parent_id: None,
            began_unix_ns: 3,
            took: Duration::from_nanos(4),
            attributes: Vec::new(),
            failed: None,
        };
        spans.take(ended.clone());
        spans.take(ended);
        assert!(receiver.try_recv().is_ok());
        assert!(receiver.try_recv().is_err());
    }
}
