//! Connections of the sandbox CSP: HTTP/1.1, kept alive, bounded in number.
//!
//! Invariant: a request that has been read is worked on to its end, also while the operator stops; what an answer is,
//! and whether there is one, is decided in `routes`. A connection whose request is to have no answer is closed.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::routes::{self, Operator};

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
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_READ_MAX);
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
        let service = {
            let operator = Arc::clone(&operator);
            service_fn(move |request| routes::answer(Arc::clone(&operator), request))
        };
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A connection that ends early is its client's matter, or was meant to.
            let _ = connection.await;
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
