//! The main port: HTTP/1.1 and HTTP/2 on one listener, both faces behind it.
//!
//! Invariant: connections are bounded in number, and each in the time it may take to send a request's head; when the
//! gateway stops, requests that are under way are answered first, for a bounded time. What a request means is not here.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::current::Current;
use super::tls::Tls;
use crate::faces::auth::Peer;

/// How long the listener rests after the system refused it a connection (no file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Most bytes of a request's head.
const HEAD_BYTES_MAX: u32 = 16 * 1024;

/// Bounds of the main port, from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most connections at a time; more wait in the system's queue.
    pub connections_max: usize,
    /// Most streams of one HTTP/2 connection at a time.
    pub streams_max: u32,
    /// How long a request's head may take to arrive.
    pub head_read_timeout: Duration,
    /// How long requests that are under way may take when the gateway stops.
    pub drain: Duration,
}

/// Serves until `stop` is called, then answers what is under way. True: all of it was answered in time.
/// With `tls`, what is not encrypted is not served.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    front: Current,
    bounds: Bounds,
    stop: CancellationToken,
) -> bool {
    let connections = Arc::new(Semaphore::new(bounds.connections_max));
    let graceful = GracefulShutdown::new();
    let builder = builder(&bounds);
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = Arc::clone(&connections).acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _peer)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (builder, front, watcher, tls) = (builder.clone(), front.clone(), graceful.watcher(), tls.clone());
        tokio::spawn(async move {
            secured(stream, tls.as_deref(), &builder, front, watcher).await;
            drop(permit);
        });
    }
    drop(listener);
    tokio::time::timeout(bounds.drain, graceful.shutdown()).await.is_ok()
}

fn builder(bounds: &Bounds) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_read_timeout)
        .max_buf_size(usize::try_from(HEAD_BYTES_MAX).unwrap_or(usize::MAX));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(bounds.streams_max)
        .max_header_list_size(HEAD_BYTES_MAX)
        .keep_alive_interval(Some(Duration::from_mins(1)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// One connection, encrypted where there is TLS.
async fn secured(
    stream: TcpStream,
    tls: Option<&Tls>,
    builder: &Builder<TokioExecutor>,
    front: Current,
    watcher: Watcher,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "small packets may be held back");
    }
    let Some(tls) = tls else {
        return connect(builder, stream, FrontService { front, peer: None }, watcher).await;
    };
    if let Some((stream, peer)) = tls.accept(stream).await {
        connect(builder, stream, FrontService { front, peer }, watcher).await;
    }
}

/// One connection with its service, to its end.
async fn connect<S>(builder: &Builder<TokioExecutor>, stream: S, service: FrontService, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connection = watcher.watch(builder.serve_connection(TokioIo::new(stream), service));
    // A connection that breaks is its client's matter; what it had started goes on.
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The front of the moment as hyper calls it.
#[derive(Clone)]
struct FrontService {
    front: Current,
    /// Who is at the other end, where it has shown a certificate.
    peer: Option<Peer>,
}

impl hyper::service::Service<http::Request<Incoming>> for FrontService {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<http::Response<tonic::body::Body>, Infallible>> + Send>>;

    fn call(&self, mut request: http::Request<Incoming>) -> Self::Future {
        // Taken anew for each request: a connection may outlive a configuration.
        let front = self.front.front();
        if let Some(peer) = &self.peer {
            request.extensions_mut().insert(peer.clone());
        }
        Box::pin(async move { Ok(front.answer(request).await) })
    }
}
