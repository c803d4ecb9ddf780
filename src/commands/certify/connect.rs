//! How a connection to a gateway comes about.
//!
//! Invariant: one place decides what is trusted, for both faces: the public authorities, and what `--ca` adds. Nothing
//! is known here of what travels on the connection.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

/// Opens connections for the JSON face.
pub type Connector = HttpsConnector<HttpConnector>;

/// The version of HTTP that an https server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A connector for http and https.
///
/// # Errors
/// One line, where the certificates cannot be used.
pub fn connector(ca_pem: Option<&[u8]>, timeout: Duration, protocol: Protocol) -> Result<Connector, String> {
    let mut plain = HttpConnector::new();
    plain.enforce_http(false);
    plain.set_nodelay(true);
    plain.set_connect_timeout(Some(timeout));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(ca_pem)?)
        .with_no_client_auth();
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    Ok(match protocol {
        Protocol::Http1 => builder.enable_http1().wrap_connector(plain),
        Protocol::Http2 => builder.enable_http2().wrap_connector(plain),
    })
}

/// A channel for the gRPC face; it connects at its first call, and again whenever it must.
///
/// # Errors
/// One line, where URL or certificates cannot be used.
pub fn channel(url: &Uri, ca_pem: Option<&[u8]>, timeout: Duration) -> Result<Channel, String> {
    let mut endpoint = Endpoint::from(url.clone()).connect_timeout(timeout).tcp_nodelay(true);
    if url.scheme_str() == Some("https") {
        // Read here too, so that a bad file is told before the first call.
        roots(ca_pem)?;
        let mut tls = ClientTlsConfig::new().with_webpki_roots();
        if let Some(pem) = ca_pem {
            tls = tls.ca_certificate(Certificate::from_pem(pem));
        }
        endpoint = endpoint.tls_config(tls).map_err(|error| error.to_string())?;
    }
    Ok(endpoint.connect_lazy())
}

fn roots(ca_pem: Option<&[u8]>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let Some(pem) = ca_pem else { return Ok(roots) };
    let mut added = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("--ca: {error}"))?;
        roots.add(certificate).map_err(|error| format!("--ca: {error}"))?;
        added = added.saturating_add(1);
    }
    if added == 0 { Err("--ca: no certificate in the file".to_owned()) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let connector = |ca_pem| connector(ca_pem, Duration::from_secs(1), Protocol::Http1);
        assert!(connector(Some(b"no certificate")).is_err());
        assert!(connector(None).is_ok());
    }
}
