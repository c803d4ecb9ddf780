//! Carries events over HTTP/1.1, with the headers of Standard Webhooks 1.0.
//!
//! Invariant: one attempt ends within [`ATTEMPT_MAX`], reads a bounded answer and follows no redirect. It is signed with
//! the real time, since receivers refuse what is old by their own clocks. Endpoints that may be anywhere and those that
//! must be public never share a connection.

mod connect;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};

use self::connect::CheckedConnector;
use crate::domain::public_address::Addresses;
use crate::ports::Cause;
use crate::ports::clock::Clock;
use crate::ports::courier::{Answer, Courier, Letter, NoAnswer};

/// Longest time from looking the name up to the head of the answer (contract section 7).
pub const ATTEMPT_MAX: Duration = Duration::from_secs(15);
/// Longest time that the rest of an answer is read for: it decides nothing.
const REST_MAX: Duration = Duration::from_secs(1);
/// Most bytes of an answer's body that are read; a longer one costs its connection.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// Most bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Idle connections that are kept for each endpoint, and how long.
const IDLE_CONNECTIONS_MAX: usize = 4;
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Media type of a CloudEvent in structured mode.
const CLOUD_EVENT: &str = "application/cloudevents+json";
/// Who calls.
const AGENT: &str = concat!("onbill/", env!("CARGO_PKG_VERSION"));

type HttpClient = Client<HttpsConnector<CheckedConnector>, Full<Bytes>>;

/// A courier over HTTP.
pub struct HttpCourier {
    public: HttpClient,
    any: HttpClient,
    clock: Arc<dyn Clock>,
}

impl HttpCourier {
    /// A courier that trusts these authorities. `clock` tells the real time.
    ///
    /// # Errors
    /// The TLS library refuses its own defaults.
    pub fn new(clock: Arc<dyn Clock>, authorities: RootCertStore) -> Result<Self, rustls::Error> {
        Ok(Self {
            public: client(Addresses::Public, authorities.clone())?,
            any: client(Addresses::Any, authorities)?,
            clock,
        })
    }

    async fn exchange(&self, letter: &Letter<'_>) -> Result<Response<Incoming>, Cause> {
        let timestamp_s = self.clock.now().as_second();
        let request = Request::post(letter.webhook.url.as_ref())
            .header(CONTENT_TYPE, HeaderValue::from_static(CLOUD_EVENT))
            .header(USER_AGENT, HeaderValue::from_static(AGENT))
            .header("webhook-id", letter.id)
            .header("webhook-timestamp", timestamp_s)
            .header("webhook-signature", letter.webhook.signatures(letter.id, timestamp_s, letter.body))
            .body(Full::new(Bytes::copy_from_slice(letter.body.as_bytes())))
            .map_err(Cause::new)?;
        let client = match letter.webhook.addresses {
            Addresses::Public => &self.public,
            Addresses::Any => &self.any,
        };
        client.request(request).await.map_err(Cause::new)
    }
}

fn client(addresses: Addresses, authorities: RootCertStore) -> Result<HttpClient, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(CheckedConnector::new(addresses));
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_MAX)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .http1_max_buf_size(HEAD_BYTES_MAX)
        .build(connector))
}

/// The beginning of a body. Reading it to its end lets the connection be used again.
async fn beginning(mut body: Incoming) -> String {
    let mut read = Vec::new();
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            if let Some(data) = frame.data_ref() {
                let room = BODY_BYTES_MAX.saturating_sub(read.len());
                read.extend(data.iter().take(room));
            }
            if read.len() >= BODY_BYTES_MAX {
                break;
            }
        }
    };
    // What has not come by then is not waited for.
    let _ = tokio::time::timeout(REST_MAX, reading).await;
    String::from_utf8_lossy(&read).into_owned()
}

#[async_trait]
impl Courier for HttpCourier {
    async fn deliver(&self, letter: &Letter<'_>) -> Result<Answer, NoAnswer> {
        let answered = tokio::time::timeout(ATTEMPT_MAX, self.exchange(letter)).await;
        let too_late = |_| NoAnswer(Cause::new(format!("no answer within {} seconds", ATTEMPT_MAX.as_secs())));
        let response = answered.map_err(too_late)?.map_err(NoAnswer)?;
        let (head, body) = response.into_parts();
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Answer { status: head.status.as_u16(), retry_after, beginning: beginning(body).await })
    }
}
