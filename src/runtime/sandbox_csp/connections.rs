//! Connections of the sandbox CSP: HTTP/1.1, and HTTP/2 where it speaks gRPC; kept alive, bounded in number.
//!
//! Invariant: a request that has been read is worked on to its end, also while the operator stops; what an answer is,
//! and whether there is one, is decided in `routes` and `grpc`. A connection that is to be cut is closed at once.

use std::sync::Arc;
use std::time::Duration;

use http::Version;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::routes::{self, Operator};
use super::{Protocol, grpc};

/// Most connections at a time; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 4096;
/// How long a request's head may take to arrive.
const HEAD_READ_MAX: Duration = Duration::from_secs(30);
/// How long requests that are under way may take when the operator stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the listener rests after the system refused it a connection (no file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` is called, then finishes what is under way.
pub(super) async fn serve(listener: TcpListener, operator: Arc<Operator>, stop: CancellationToken) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    if operator.protocol() == Protocol::Http {
        builder = builder.http1_only();
    }
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_READ_MAX);
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = Arc::clone(&connections).acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Without it answers are merely slower.
        let _ = stream.set_nodelay(true);
        let cut = CancellationToken::new();
        let service = {
            let (operator, cut) = (Arc::clone(&operator), cut.clone());
            service_fn(move |request: http::Request<Incoming>| {
                let (operator, cut) = (Arc::clone(&operator), cut.clone());
                async move {
                    match request.version() {
                        Version::HTTP_2 => grpc::answer(operator, cut, request).await,
                        _ => routes::answer(operator, request).await,
                    }
                }
            })
        };
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
        tokio::spawn(async move {
            tokio::select! {
                // A connection that ends early is its client's matter, or was meant to.
                _ = connection => {}
                () = cut.cancelled() => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    let tasks = operator.tasks();
    tasks.close();
    let finished = async {
        graceful.shutdown().await;
        tasks.wait().await;
    };
    // What is still silent then is scripted to be.
    let _ = tokio::time::timeout(DRAIN, finished).await;
}
