//! A collector: it takes spans over OTLP, as the published protos say, and keeps them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::{Request, Response, Status};

/// What it got.
#[derive(Default)]
struct Got {
    spans: Vec<Span>,
    resources: Vec<String>,
    keys: Vec<String>,
}

/// A collector that runs until the test ends.
#[derive(Clone)]
pub struct Collector {
    address: SocketAddr,
    got: Arc<Mutex<Got>>,
}

struct Taking(Arc<Mutex<Got>>);

#[tonic::async_trait]
impl TraceService for Taking {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let key = request.metadata().get("x-collector-key").map(|key| key.to_str().expect("text").to_owned());
        let mut got = self.0.lock().expect("no panic");
        got.keys.extend(key);
        for resource in request.into_inner().resource_spans {
            got.resources.push(format!("{:?}", resource.resource));
            got.spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let got = Arc::new(Mutex::new(Got::default()));
        let service = TraceServiceServer::new(Taking(Arc::clone(&got)));
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        Self { address, got }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.got.lock().expect("no panic").spans.clone()
    }

    /// What they are of, as text.
    pub fn resources(&self) -> Vec<String> {
        self.got.lock().expect("no panic").resources.clone()
    }

    /// The keys that came with them.
    pub fn keys(&self) -> Vec<String> {
        self.got.lock().expect("no panic").keys.clone()
    }

    /// Waits until spans are as they are looked for.
    pub async fn wait(&self, what: &str, found: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let since = Instant::now();
        loop {
            let spans = self.spans();
            if found(&spans) {
                return spans;
            }
            let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
            assert!(since.elapsed() < Duration::from_mins(1), "{what} did not come: {names:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A span's attribute as text; empty where it has none.
pub fn attribute(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|found| found.value.clone()).and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}
