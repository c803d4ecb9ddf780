//! How a connection to a gateway comes about.
//!
//! Invariant: one place decides what is trusted, for both faces. Nothing is known here of HTTP or gRPC.

use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tonic::transport::{Channel, Endpoint};

/// Opens connections for the JSON face.
pub type Connector = HttpConnector;

/// A connector.
///
/// # Errors
/// One line, where the certificates cannot be used.
pub fn connector(_ca_pem: Option<&[u8]>, timeout: Duration) -> Result<Connector, String> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(timeout));
    Ok(connector)
}

/// A channel for the gRPC face; it connects at its first call, and again whenever it must.
///
/// # Errors
/// One line, where URL or certificates cannot be used.
pub fn channel(url: &Uri, _ca_pem: Option<&[u8]>, timeout: Duration) -> Result<Channel, String> {
    let endpoint = Endpoint::from(url.clone()).connect_timeout(timeout).tcp_nodelay(true);
    Ok(endpoint.connect_lazy())
}
