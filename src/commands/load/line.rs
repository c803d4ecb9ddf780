//! Connections to the target, and one exchange on one of them.
//!
//! Invariant: a call is sent once and never again from here. A connection that has broken is made anew by whoever needs
//! it next; many who share one make it once. What is read of one answer is bounded.
//!
//! HTTP/2 is spoken with `h2` itself and HTTP/1.1 with hyper's connections: a pool and its channels would cost more than
//! many a gateway does.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::Mutex;
use tower::ServiceExt as _;

use super::call::Raw;
use crate::commands::certify::connect::Connector;

/// Most bytes of an answer that are read: a page of 500 transactions is a tenth of it.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How many bytes an HTTP/2 connection may receive before it is read.
const WINDOW_BYTES: u32 = 1024 * 1024;
/// Wait before a connection is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// No connection came about.
    NotConnected(String),
    /// The connection broke.
    Lost(String),
    /// The server ended this stream alone.
    Reset(String),
}

impl Trouble {
    /// The code in reports.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotConnected(_) => "not-connected",
            Self::Lost(_) => "connection-lost",
            Self::Reset(_) => "stream-reset",
        }
    }

    /// What the system or the peer said.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::NotConnected(why) | Self::Lost(why) | Self::Reset(why) => why,
        }
    }
}

/// How the target is reached.
#[derive(Clone)]
pub struct Way {
    connector: Connector,
    target: Uri,
    connect_timeout: Duration,
}

impl Way {
    /// A way to a target.
    #[must_use]
    pub const fn new(connector: Connector, target: Uri, connect_timeout: Duration) -> Self {
        Self { connector, target, connect_timeout }
    }

    async fn connect(&self) -> Result<<Connector as tower::Service<Uri>>::Response, Trouble> {
        let connecting = self.connector.clone().oneshot(self.target.clone());
        match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(Ok(io)) => Ok(io),
            Ok(Err(error)) => Err(Trouble::NotConnected(crate::commands::chain(error.as_ref()))),
            Err(_) => Err(Trouble::NotConnected(format!("no connection within {:?}", self.connect_timeout))),
        }
    }

    async fn http1(&self) -> Result<http1::SendRequest<Full<Bytes>>, Trouble> {
        let (sender, connection) =
            http1::handshake(self.connect().await?).await.map_err(|error| not_connected(&error))?;
        // How it ends is told by the calls on it.
        tokio::spawn(async { drop(connection.await) });
        Ok(sender)
    }

    async fn http2(&self) -> Result<h2::client::SendRequest<Bytes>, Trouble> {
        let io = TokioIo::new(self.connect().await?);
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .enable_push(false)
            .handshake(io)
            .await
            .map_err(|error| not_connected(&error))?;
        tokio::spawn(async { drop(connection.await) });
        Ok(sender)
    }
}

/// An HTTP/2 connection that many use.
pub struct Shared {
    way: Way,
    /// The connection, and how many there were.
    current: Mutex<(u64, Option<h2::client::SendRequest<Bytes>>)>,
}

impl Shared {
    /// None yet.
    #[must_use]
    pub fn new(way: Way) -> Arc<Self> {
        Arc::new(Self { way, current: Mutex::new((0, None)) })
    }

    /// The connection after the one of this number, which somebody else may have made meanwhile.
    async fn after(&self, seen: u64) -> Result<(u64, h2::client::SendRequest<Bytes>), Trouble> {
        // Outside of the lock, so that all who wait for a target that is away wait side by side.
        again(self.made_after(seen)).await
    }

    async fn made_after(&self, seen: u64) -> Result<(u64, h2::client::SendRequest<Bytes>), Trouble> {
        let mut current = self.current.lock().await;
        if let (number, Some(sender)) = &*current
            && *number > seen
        {
            return Ok((*number, sender.clone()));
        }
        current.1 = None;
        let sender = self.way.http2().await?;
        *current = (current.0.saturating_add(1), Some(sender.clone()));
        Ok((current.0, sender))
    }
}

/// Waits after a failure, so that a target that is away is not asked without pause.
async fn again<T>(connecting: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let connected = connecting.await;
    if connected.is_err() {
        tokio::time::sleep(AGAIN_AFTER).await;
    }
    connected
}

/// What a caller holds of a connection.
pub enum Line {
    /// HTTP/1.1: its own.
    Own(Way, Option<http1::SendRequest<Full<Bytes>>>),
    /// HTTP/2: a share, and the number of the connection that it is of.
    Share(Arc<Shared>, u64, Option<h2::client::SendRequest<Bytes>>),
}

impl Line {
    /// A connection of its own, not made yet.
    #[must_use]
    pub const fn own(way: Way) -> Self {
        Self::Own(way, None)
    }

    /// A share of one.
    #[must_use]
    pub const fn share(shared: Arc<Shared>) -> Self {
        Self::Share(shared, 0, None)
    }

    /// Connects if need be.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn ready(&mut self) -> Result<(), Trouble> {
        match self {
            Self::Own(way, kept) => {
                let usable = match kept {
                    Some(sender) => sender.ready().await.is_ok(),
                    None => false,
                };
                if !usable {
                    *kept = Some(again(way.http1()).await?);
                }
            }
            Self::Share(shared, number, kept) => {
                let mut usable = None;
                if let Some(sender) = kept.take() {
                    usable = sender.ready().await.ok();
                }
                if usable.is_none() {
                    let (newer, sender) = shared.after(*number).await?;
                    *number = newer;
                    usable = Some(sender.ready().await.map_err(|error| broken(&error))?);
                }
                *kept = usable;
            }
        }
        Ok(())
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn exchange(&mut self, request: Request<Bytes>) -> Result<Raw, Trouble> {
        self.ready().await?;
        match self {
            Self::Own(_, kept) => {
                // Taken out: an exchange that is given up leaves a connection that nobody can use any more.
                let Some(mut sender) = kept.take() else { return Err(Trouble::Lost(String::new())) };
                let raw = in_http1(&mut sender, request).await?;
                *kept = Some(sender);
                Ok(raw)
            }
            Self::Share(_, _, kept) => {
                let Some(sender) = kept.as_mut() else { return Err(Trouble::Lost(String::new())) };
                in_http2(sender, request).await
            }
        }
    }
}

async fn in_http1(sender: &mut http1::SendRequest<Full<Bytes>>, request: Request<Bytes>) -> Result<Raw, Trouble> {
    let lost = |error: &dyn std::error::Error| Trouble::Lost(crate::commands::chain(error));
    let response = sender.send_request(request.map(Full::new)).await.map_err(|error| lost(&error))?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|error| lost(error.as_ref()))?;
    Ok(Raw { status: parts.status, headers: parts.headers, body: body.to_bytes() })
}

async fn in_http2(sender: &mut h2::client::SendRequest<Bytes>, request: Request<Bytes>) -> Result<Raw, Trouble> {
    let (parts, body) = request.into_parts();
    let ends = body.is_empty();
    let (answering, mut stream) =
        sender.send_request(Request::from_parts(parts, ()), ends).map_err(|error| broken(&error))?;
    if !ends {
        stream.send_data(body, true).map_err(|error| broken(&error))?;
    }
    let (parts, mut body) = answering.await.map_err(|error| broken(&error))?.into_parts();
    let (mut first, mut more) = (Bytes::new(), BytesMut::new());
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(|error| broken(&error))?;
        // An answer of ours is one frame: copied only where it is not.
        drop(body.flow_control().release_capacity(chunk.len()));
        if first.is_empty() {
            first = chunk;
        } else {
            more.extend_from_slice(&chunk);
        }
        if first.len().saturating_add(more.len()) > BODY_BYTES_MAX {
            return Err(Trouble::Lost(format!("an answer of more than {BODY_BYTES_MAX} bytes")));
        }
    }
    let mut headers = parts.headers;
    if let Some(trailers) = body.trailers().await.map_err(|error| broken(&error))? {
        headers.extend(trailers);
    }
    let body = if more.is_empty() { first } else { [first.as_ref(), more.as_ref()].concat().into() };
    Ok(Raw { status: parts.status, headers, body })
}

fn not_connected(error: &dyn std::error::Error) -> Trouble {
    Trouble::NotConnected(crate::commands::chain(error))
}

fn broken(error: &h2::Error) -> Trouble {
    let why = crate::commands::chain(error);
    if error.is_reset() { Trouble::Reset(why) } else { Trouble::Lost(why) }
}
