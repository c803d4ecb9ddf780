//! The sandbox CSP as a process of its own: an operator to be spoken to over HTTP or gRPC.
//!
//! Invariant: it is the same scripted operator as the gateway's own (contract section 6), behind the wire of
//! `deploy/csp/csp-api-v1.yaml` or of `proto/onbill/csp/v1/csp.proto`; what it has booked is in a file of its own and outlives it and every gateway. Once it
//! has read a request it works on it, whether or not the caller still waits. No real money moves.

mod connections;
mod routes;
mod orders;
mod json;
mod grpc;
mod faults;
mod books;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::routes::Operator;
use super::wiring::{self, WiringError};
use crate::domain::Time;
use crate::domain::api_key::KeyDigest;
use crate::domain::money::Currency;

/// The file of the bill in the data directory.
const BILL_FILE: &str = "csp-bill.sqlite";

/// How gateways speak to the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The CSP API v1, over HTTP/1.1.
    Http,
    /// `onbill.csp.v1`, over HTTP/2; the doors for whoever tests stay on HTTP/1.1, on the same port.
    Grpc,
}

/// How the operator is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How gateways speak to it.
    pub protocol: Protocol,
    /// Where its bill is; made if it is not there.
    pub data_dir: PathBuf,
    /// The key that it asks for; `None` asks for none.
    pub api_key: Option<KeyDigest>,
    /// The currency of its bills.
    pub currency: Currency,
    /// A time at which its clock stands until it is moved; `None` is the system's clock.
    pub standing_at: Option<Time>,
}

/// What an operator that listens says of itself.
#[derive(Debug, Clone)]
pub struct Listening {
    /// Where it listens, with the port that it really has.
    pub listen: SocketAddr,
    /// The file of its bill.
    pub bill: PathBuf,
}

/// Why it did not start, or did not stop in order.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The data directory cannot be made.
    #[error("--data-dir: {path} cannot be made", path = .0.display())]
    DataDir(PathBuf, #[source] io::Error),
    /// The bill or the clock.
    #[error(transparent)]
    Wiring(#[from] WiringError),
    /// The address cannot be listened on.
    #[error("--listen: cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// Signals or threads.
    #[error("the system refused")]
    Io(#[from] io::Error),
}

/// Runs the operator until it is told to stop (SIGTERM or SIGINT). `told` is called once it listens.
///
/// # Errors
/// What kept it from starting.
pub fn run(options: &Options, told: impl FnOnce(&Listening)) -> Result<(), OperatorError> {
    let make = |path: &Path| std::fs::create_dir_all(path);
    make(&options.data_dir).map_err(|error| OperatorError::DataDir(options.data_dir.clone(), error))?;
    let bill = options.data_dir.join(BILL_FILE);
    let scripted = wiring::scripted_csp(&options.data_dir, &bill, options.currency, options.standing_at)?;
    let operator = Arc::new(Operator::new(scripted, options.api_key, options.protocol));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let listener =
            TcpListener::bind(options.listen).await.map_err(|error| OperatorError::Listen(options.listen, error))?;
        told(&Listening { listen: listener.local_addr()?, bill });
        let stop = CancellationToken::new();
        let server = tokio::spawn(connections::serve(listener, operator, stop.clone()));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
        server.await.map_err(io::Error::other)?;
        Ok(())
    })
}
