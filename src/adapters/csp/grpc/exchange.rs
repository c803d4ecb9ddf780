//! One call and its answer, and how far the call had come where there is none.
//!
//! Invariant: a call is written once; whether any of it was written is told by its [`Passage`], and whether the CSP has
//! refused its stream by HTTP/2 itself. One connection carries all calls; it is made anew when it ends, and when several
//! calls in a row have had no answer on it, since it may be dead without saying so. Bounds: the call's budget, the length
//! of an answer, how long an idle connection is kept.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Response, Status};

use super::passage::{Order, Passage};
use super::pb::csp_service_client::CspServiceClient;
use crate::ports::Cause;
use crate::ports::csp::CallContext;

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long an idle connection is kept: shorter than servers usually keep theirs.
const IDLE_MAX: Duration = Duration::from_secs(4);
/// Longest wait for a connection; the call's budget may end it earlier.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Calls in a row without an answer after which a new connection is made.
const UNANSWERED_MAX: u32 = 3;

/// There was no answer that the CSP gave.
#[derive(Debug)]
pub(super) enum Failed {
    /// No byte of the message was written: no such name, no connection, no TLS, or no time.
    BeforeWriting(Cause),
    /// The CSP has refused the stream: it has not looked at the call (RFC 9113, section 8.7).
    StreamRefused(Cause),
    /// It may have been written, in part or whole.
    AfterWriting(Cause),
    /// A status: the CSP's, or one that a library has made of what it got.
    Status(Status),
}

/// The generated client on one call's line.
pub(super) type CallClient = CspServiceClient<Line>;

type Connections = Client<HttpsConnector<HttpConnector>, Order>;

/// Sends calls to one operator.
pub(super) struct Exchange {
    connector: HttpsConnector<HttpConnector>,
    connections: RwLock<Connections>,
    unanswered: AtomicU32,
    url: Uri,
    api_key: Option<MetadataValue<Ascii>>,
}

impl Exchange {
    pub(super) fn new(url: Uri, api_key: Option<MetadataValue<Ascii>>, tls: ClientConfig) -> Self {
        let mut plain = HttpConnector::new();
        plain.enforce_http(false);
        plain.set_nodelay(true);
        plain.set_connect_timeout(Some(CONNECT_MAX));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http2().wrap_connector(plain);
        let connections = RwLock::new(connections(&connector));
        Self { connector, connections, unanswered: AtomicU32::new(0), url, api_key }
    }

    /// Makes a call, and reads its answer, within the call's budget.
    pub(super) async fn call<M, A, F>(
        &self,
        message: M,
        call: &CallContext,
        method: impl FnOnce(CallClient, Request<M>) -> F,
    ) -> Result<A, Failed>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let passage = Arc::new(Passage::default());
        let client = self.connections.read().unwrap_or_else(PoisonError::into_inner).clone();
        let line = Line { client, passage: Arc::clone(&passage) };
        let client = CspServiceClient::with_origin(line, self.url.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        let answered = match self.request(message, call) {
            Ok(request) => tokio::time::timeout(call.budget, method(client, request)).await,
            Err(cause) => return Err(Failed::BeforeWriting(cause)),
        };
        match answered {
            Ok(Ok(response)) => {
                self.unanswered.store(0, Ordering::Relaxed);
                Ok(response.into_inner())
            }
            Ok(Err(status)) => {
                self.unanswered.store(0, Ordering::Relaxed);
                Err(failed(status, &passage))
            }
            Err(_elapsed) => {
                self.count_unanswered();
                let cause = Cause::new(format!("no answer within {} ms", call.budget.as_millis()));
                Err(if passage.give_up() { Failed::BeforeWriting(cause) } else { Failed::AfterWriting(cause) })
            }
        }
    }

    fn request<M>(&self, message: M, call: &CallContext) -> Result<Request<M>, Cause> {
        let mut request = Request::new(message);
        request.set_timeout(call.budget);
        let metadata = request.metadata_mut();
        let trace = call.trace;
        for (name, text) in [
            ("x-correlation-id", call.correlation.as_str().to_owned()),
            ("traceparent", trace.to_w3c()),
            ("x-b3-traceid", trace.trace_id().to_string()),
            ("x-b3-spanid", trace.span_id().to_string()),
            ("x-b3-sampled", if trace.is_sampled() { "1" } else { "0" }.to_owned()),
        ] {
            metadata.insert(name, text.parse().map_err(Cause::new)?);
        }
        if let Some(parent) = trace.parent_span_id() {
            metadata.insert("x-b3-parentspanid", parent.to_string().parse().map_err(Cause::new)?);
        }
        if let Some(state) = &call.trace_state {
            metadata.insert("tracestate", state.as_str().parse().map_err(Cause::new)?);
        }
        if let Some(key) = &self.api_key {
            metadata.insert("x-api-key", key.clone());
        }
        Ok(request)
    }

    /// Calls that are on the old connection end there.
    fn count_unanswered(&self) {
        if self.unanswered.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= UNANSWERED_MAX {
            self.unanswered.store(0, Ordering::Relaxed);
            *self.connections.write().unwrap_or_else(PoisonError::into_inner) = connections(&self.connector);
        }
    }
}

fn connections(connector: &HttpsConnector<HttpConnector>) -> Connections {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_MAX)
        .http2_only(true)
        .build(connector.clone())
}

/// Tells how a call failed that ended in a status.
fn failed(status: Status, passage: &Passage) -> Failed {
    if stream_was_refused(&status) {
        return Failed::StreamRefused(Cause::new(status));
    }
    if passage.give_up() { Failed::BeforeWriting(Cause::new(status)) } else { Failed::Status(status) }
}

fn stream_was_refused(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_reset() && error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        source = error.source();
    }
    false
}

/// The way of one call to the connection.
#[derive(Clone)]
pub(super) struct Line {
    client: Connections,
    passage: Arc<Passage>,
}

impl tower::Service<http::Request<tonic::body::Body>> for Line {
    type Response = http::Response<Incoming>;
    type Error = hyper_util::client::legacy::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let passage = Arc::clone(&self.passage);
        Box::pin(self.client.request(request.map(|body| Order { body, passage })))
    }
}
