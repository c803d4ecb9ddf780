//! Opens connections to addresses that were looked at.
//!
//! Invariant: the address that is judged is the very address that is connected to. A name is looked up here, each of its
//! addresses is judged, and only those that pass are tried, so that no second look-up can come between; an address
//! written as a number, in whatever spelling, goes the same way. TLS and HTTP are not here.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

use crate::domain::public_address::Addresses;

/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL names no host: the configuration was not checked.
    #[error("the URL names no host")]
    NoHost,
    /// The name cannot be looked up.
    #[error("the name {0} cannot be looked up")]
    LookUp(String, #[source] io::Error),
    /// None of its addresses may be connected to.
    #[error("{0} has no public address, and allow_private is off")]
    NotPublic(String),
    /// None of its addresses answers.
    #[error("no connection to {0}")]
    Connect(SocketAddr, #[source] io::Error),
}

/// A connector that judges addresses.
#[derive(Debug, Clone, Copy)]
pub struct CheckedConnector {
    addresses: Addresses,
}

impl CheckedConnector {
    /// A connector to these addresses.
    pub const fn new(addresses: Addresses) -> Self {
        Self { addresses }
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        let host = uri.host().ok_or(ConnectError::NoHost)?;
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let found = tokio::net::lookup_host((host, port)).await;
        let found = found.map_err(|error| ConnectError::LookUp(host.to_owned(), error))?;
        let admitted = found.filter(|address| self.addresses.admit(address.ip())).take(ADDRESSES_MAX);
        let mut failed = ConnectError::NotPublic(host.to_owned());
        for address in admitted {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Without it only the last packet may be held back a little.
                    let _ = stream.set_nodelay(true);
                    return Ok(TokioIo::new(stream));
                }
                Err(error) => failed = ConnectError::Connect(address, error),
            }
        }
        Err(failed)
    }
}

impl Service<Uri> for CheckedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.connect(uri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn connect(addresses: Addresses, uri: &str) -> Result<TokioIo<TcpStream>, ConnectError> {
        CheckedConnector::new(addresses).connect(uri.parse().expect("a URI")).await
    }

    #[tokio::test]
    async fn a_private_address_is_refused_in_every_spelling_even_where_somebody_listens() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        for host in
            ["127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"]
        {
            for scheme in ["http", "https"] {
                let uri = format!("{scheme}://{host}:{port}/");
                let refused = connect(Addresses::Public, &uri).await.expect_err(&uri);
                assert!(matches!(refused, ConnectError::NotPublic(_) | ConnectError::LookUp(..)), "{uri}: {refused}");
            }
        }
        connect(Addresses::Any, &format!("http://127.0.0.1:{port}/")).await.expect("it may be anywhere");
        let refused = connect(Addresses::Public, &format!("http://127.0.0.1:{port}/")).await.expect_err("refused");
        assert_eq!(refused.to_string(), "127.0.0.1 has no public address, and allow_private is off");
    }
}
