//! A port: HTTP/1.1 and HTTP/2 on one listener, with bounds around every connection.
//!
//! Invariant: connections are bounded in number, and each in the time that it may take to send a request's head, to be
//! without requests, and to be there at all; heads, streams and buffers are bounded in size. When the gateway stops,
//! requests that are under way are answered first, for a bounded time. What a request means is not here.

mod connections;
mod sips;
mod watched;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::connections::Limits;
use self::connections::{Connection, Connections, Told};
use self::sips::Sip;
use self::watched::{Answering, Underway, Watched};
use super::current::Current;
use super::tls::Tls;
use crate::faces::auth::Peer;

/// How long the listener rests after the system refused it a connection (no file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How much of a stream's body, and of all bodies of an HTTP/2 connection, may be on its way without being read: what a
/// connection can make the gateway keep.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// How much of an answer a stream keeps that is not sent yet.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Streams that a client has reset and that are not cleared away yet; one more ends the connection (rapid reset).
const RESETS_PENDING_MAX: usize = 20;
/// Streams that were reset since their client broke the protocol; one more ends the connection.
const RESETS_BY_US_MAX: usize = 128;
/// A client that is silent for so long is asked whether it is still there, and has so long to say so.
const PING_AFTER: Duration = Duration::from_mins(1);
const PING_ANSWER_MAX: Duration = Duration::from_secs(20);

/// Bounds of a port, from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// What bounds its connections.
    pub limits: Limits,
    /// Most streams of one HTTP/2 connection at a time.
    pub streams_max: u32,
    /// Most bytes of a request's head.
    pub head_bytes_max: u32,
    /// Most headers of a request.
    pub headers_max: usize,
    /// How long requests that are under way may take when the gateway stops.
    pub drain: Duration,
}

/// Answers requests of a port.
pub trait Answers: Clone + Send + Sync + 'static {
    /// The body of an answer.
    type Body: http_body::Body<Data = bytes::Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// Answers one request.
    fn answer(&self, request: http::Request<Incoming>) -> impl Future<Output = http::Response<Self::Body>> + Send;
}

/// Serves until `stop` is called, then answers what is under way. True: all of it was answered in time.
/// With `tls`, what is not encrypted is not served.
///
/// From `leaving` on, which may be called before, every answer over HTTP/1.1 asks its client to connect anew: clients that
/// keep connections have gone elsewhere before this gateway closes them.
pub async fn serve<A: Answers>(
    name: &'static str,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    answers: A,
    bounds: Bounds,
    stop: CancellationToken,
    leaving: CancellationToken,
) -> bool {
    let connections = Connections::new(name, bounds.limits);
    let tasks = TaskTracker::new();
    let builder = Arc::new(builder(&bounds));
    let mut looks = tokio::time::interval(connections.pause());
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            _ = looks.tick() => {
                connections.look();
                continue;
            }
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    refused(&connections, &error).await;
                    continue;
                }
            },
        };
        // At a bound: accepted and closed at once, so that its client hears of it.
        let Some(entry) = connections.enter(address(peer)) else { continue };
        let (builder, answers, tls) = (Arc::clone(&builder), answers.clone(), tls.clone());
        let leaving = leaving.clone();
        tasks.spawn(async move {
            let (connection, headers_max) = (Arc::clone(&entry.connection), bounds.headers_max);
            let service = Service { answers, connection, headers_max, peer: None, leaving };
            secured(&builder, stream, tls.as_deref(), service).await;
            drop(entry);
        });
    }
    drop(listener);
    tasks.close();
    connections.stop();
    let drained = tokio::time::timeout(bounds.drain, async {
        loop {
            tokio::select! {
                () = tasks.wait() => break,
                _ = looks.tick() => connections.look(),
            }
        }
    });
    drained.await.is_ok()
}

/// The system has no room for a connection: one that has nothing to do gives way.
async fn refused(connections: &Connections, error: &std::io::Error) {
    let made_room = connections.yield_one();
    tracing::warn!(%error, made_room, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// The address that is counted by: an IPv4 address is the same however it is written.
const fn address(peer: SocketAddr) -> std::net::IpAddr {
    peer.ip().to_canonical()
}

fn builder(bounds: &Bounds) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Its own bound counts a connection without requests too; `connections` tells the two apart.
        .header_read_timeout(None)
        .max_headers(bounds.headers_max)
        .max_buf_size(usize::try_from(bounds.head_bytes_max).unwrap_or(usize::MAX));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(bounds.streams_max)
        .max_header_list_size(bounds.head_bytes_max)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(RESETS_BY_US_MAX)
        .keep_alive_interval(Some(PING_AFTER))
        .keep_alive_timeout(PING_ANSWER_MAX);
    builder
}

/// One connection, encrypted where there is TLS.
async fn secured<A: Answers>(
    builder: &Builder<TokioExecutor>,
    stream: TcpStream,
    tls: Option<&Tls>,
    service: Service<A>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "small packets may be held back");
    }
    let Some(tls) = tls else {
        return attend(builder, stream, service).await;
    };
    // Nothing is under way before the handshake is done, so whatever the connection is told ends it.
    let accepted = tokio::select! {
        accepted = tls.accept(stream) => accepted,
        _told = poll_fn(|context| service.connection.poll_heard(context)) => None,
    };
    if let Some((stream, peer)) = accepted {
        attend(builder, stream, Service { peer, ..service }).await;
    }
}

/// Serves one connection until it ends, or is told to.
async fn attend<S, A>(builder: &Builder<TokioExecutor>, stream: S, service: Service<A>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    A: Answers,
{
    let connection = Arc::clone(&service.connection);
    let sip = Sip::new();
    let io = TokioIo::new(Watched::new(stream, sip.clone(), Arc::clone(&connection)));
    let mut served = pin!(builder.serve_connection(io, service));
    let (mut has_given_way, mut was_shared) = (false, false);
    poll_fn(|context| {
        // Of many requests that are answered at a time the first would be written alone, and so would the second: the
        // connection lets the others go first, once, and writes what they have left in one piece.
        if connection.is_shared() && !has_given_way {
            has_given_way = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        has_given_way = false;
        if was_shared {
            sip.refill();
        }
        loop {
            let polled = served.as_mut().poll(context);
            // Seen right after they were read: when the next are, all of these may be answered.
            was_shared |= connection.is_shared();
            if let Poll::Ready(ended) = polled {
                // A connection that breaks is its client's matter; what it had started goes on.
                if let Err(error) = ended {
                    tracing::debug!(error, "a connection ended early");
                }
                return Poll::Ready(());
            }
            match connection.poll_heard(context) {
                Poll::Ready(Told::Go) => served.as_mut().graceful_shutdown(),
                Poll::Ready(Told::End) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

/// The answers of a port as hyper asks for them.
struct Service<A> {
    answers: A,
    connection: Arc<Connection>,
    headers_max: usize,
    /// Who is at the other end, where it has shown a certificate.
    peer: Option<Peer>,
    /// Called once the gateway is asked to stop.
    leaving: CancellationToken,
}

impl<A: Answers> hyper::service::Service<http::Request<Incoming>> for Service<A> {
    type Response = http::Response<Answering<A::Body>>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: http::Request<Incoming>) -> Self::Future {
        if let Some(peer) = &self.peer {
            request.extensions_mut().insert(peer.clone());
        }
        let underway = Underway::begin(&self.connection);
        if request.headers().len() > self.headers_max {
            let mut refusal = http::Response::new(Answering::new(None, underway));
            *refusal.status_mut() = http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Box::pin(async { Ok(refusal) });
        }
        let answers = self.answers.clone();
        let (leaving, is_http1) = (self.leaving.clone(), request.version() < http::Version::HTTP_2);
        Box::pin(async move {
            let mut response = answers.answer(request).await;
            if is_http1 && leaving.is_cancelled() {
                response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| Answering::new(Some(body), underway)))
        })
    }
}

impl Answers for Current {
    type Body = tonic::body::Body;

    async fn answer(&self, request: http::Request<Incoming>) -> http::Response<Self::Body> {
        // Taken anew for each request: a connection may outlive a configuration.
        self.front().answer(request).await
    }
}
