//! One request and its answer, and how far the request had come where there is none.
//!
//! Invariant: whoever gives up on a request and the connection that would write it agree, by one atomic word, whether it
//! can have been written. Before hyper has asked for the body of a request, not one byte of it has left: the head is
//! only flushed together with the first of the body, or after it (HTTP/1.1; heads are far below its buffer). Bounds: the
//! call's budget, the length of an answer, how long idle connections are kept.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use super::wire;
use crate::ports::Cause;
use crate::ports::csp::CallContext;

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long an idle connection is kept: shorter than servers usually keep theirs, since a request that meets a
/// connection that is being closed has an unclear outcome.
const IDLE_MAX: Duration = Duration::from_secs(4);
/// Idle connections that are kept.
const IDLE_CONNECTIONS_MAX: usize = 256;
/// Longest wait for a connection; the call's budget may end it earlier.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// There was no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// Not one byte of the request was written: no such name, no connection, no TLS, or no time.
    BeforeWriting(Cause),
    /// It may have been written, in part or whole.
    AfterWriting(Cause),
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    is_json: bool,
    body: Bytes,
}

impl Answered {
    /// The body, where it says that it is JSON.
    pub(super) fn json(&self) -> Option<&[u8]> {
        self.is_json.then_some(&self.body)
    }

    /// The code of a refusal.
    pub(super) fn code(&self) -> Option<String> {
        self.json().and_then(wire::read_code)
    }
}

/// Sends requests to one operator.
pub(super) struct Exchange {
    client: Client<HttpsConnector<HttpConnector>, Order>,
    url: Uri,
    api_key: Option<HeaderValue>,
}

impl Exchange {
    pub(super) fn new(url: Uri, api_key: Option<HeaderValue>, tls: ClientConfig) -> Self {
        let mut plain = HttpConnector::new();
        plain.enforce_http(false);
        plain.set_nodelay(true);
        plain.set_connect_timeout(Some(CONNECT_MAX));
        // HTTP/1.1 only: what is said above of bytes that have not left is not true of HTTP/2.
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector.wrap_connector(plain));
        Self { client, url, api_key }
    }

    /// Sends a request, and reads its answer, within the call's budget.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: String,
        call: &CallContext,
    ) -> Result<Answered, Failed> {
        let passage = Arc::new(Passage::default());
        if method == Method::GET {
            // Without a body nothing tells when it is written.
            passage.begin();
        }
        let exchanged = match self.request(method, path, body, call, &passage) {
            Ok(request) => tokio::time::timeout(call.budget, self.exchange(request)).await,
            Err(cause) => Ok(Err(cause)),
        };
        let cause = match exchanged {
            Ok(Ok(answered)) => return Ok(answered),
            Ok(Err(cause)) => cause,
            Err(_elapsed) => Cause::new(format!("no answer within {} ms", call.budget.as_millis())),
        };
        Err(if passage.give_up() { Failed::BeforeWriting(cause) } else { Failed::AfterWriting(cause) })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: String,
        call: &CallContext,
        passage: &Arc<Passage>,
    ) -> Result<Request<Order>, Cause> {
        let mut parts = self.url.clone().into_parts();
        let joined = format!("{}{path}", self.url.path().trim_end_matches('/'));
        parts.path_and_query = Some(PathAndQuery::try_from(joined).map_err(Cause::new)?);
        let mut request = Request::builder()
            .method(method)
            .uri(Uri::from_parts(parts).map_err(Cause::new)?)
            .header(ACCEPT, "application/json")
            .header("x-correlation-id", call.correlation.as_str())
            .header("traceparent", call.trace.to_w3c())
            .header("x-b3-traceid", call.trace.trace_id().to_string())
            .header("x-b3-spanid", call.trace.span_id().to_string())
            .header("x-b3-sampled", if call.trace.is_sampled() { "1" } else { "0" });
        if let Some(parent) = call.trace.parent_span_id() {
            request = request.header("x-b3-parentspanid", parent.to_string());
        }
        if let Some(state) = &call.trace_state {
            request = request.header("tracestate", state.as_str());
        }
        if let Some(key) = &self.api_key {
            request = request.header("x-api-key", key.clone());
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let order = Order { body: Bytes::from(body), passage: Arc::clone(passage) };
        request.body(order).map_err(Cause::new)
    }

    async fn exchange(&self, request: Request<Order>) -> Result<Answered, Cause> {
        let response = self.client.request(request).await.map_err(Cause::new)?;
        let (parts, body) = response.into_parts();
        let media_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        let is_json = media_type.eq_ignore_ascii_case("application/json");
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(Cause::new)?.to_bytes();
        Ok(Answered { status: parts.status.as_u16(), is_json, body })
    }
}

/// How far a request has come.
#[derive(Debug, Default)]
struct Passage(AtomicU8);

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Passage {
    /// Called when the request is about to be written. False: it has been given up, and must not be.
    fn begin(&self) -> bool {
        self.0.compare_exchange(WAITING, BEGUN, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Called when nobody waits for an answer any more. True: not one byte was written, and none will be.
    fn give_up(&self) -> bool {
        match self.0.compare_exchange(WAITING, GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(seen) => seen == GIVEN_UP,
        }
    }
}

/// The body of a request, which knows when it is asked for.
struct Order {
    body: Bytes,
    passage: Arc<Passage>,
}

/// A request that nobody waits for any more is not written.
#[derive(Debug, thiserror::Error)]
#[error("the request was given up before it was written")]
struct GivenUp;

impl Body for Order {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        if self.body.is_empty() {
            return Poll::Ready(None);
        }
        if !self.passage.begin() {
            return Poll::Ready(Some(Err(GivenUp)));
        }
        let body = std::mem::take(&mut self.body);
        Poll::Ready(Some(Ok(Frame::data(body))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.body.len()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_either_written_or_given_up_and_never_both() {
        let written = Passage::default();
        assert!(written.begin() && !written.give_up());
        let given_up = Passage::default();
        assert!(given_up.give_up() && !given_up.begin() && given_up.give_up());
    }

    #[tokio::test]
    async fn a_request_that_was_given_up_yields_no_byte() {
        let passage = Arc::new(Passage::default());
        assert!(passage.give_up());
        let order = Order { body: Bytes::from_static(b"{}"), passage };
        assert!(order.collect().await.is_err());
    }
}
