//! TLS to a CSP: whom we trust, and who we say we are.
//!
//! Invariant: the public authorities are trusted and, beside them, those of the CSP's own file; a file that holds no
//! certificate is refused, never ignored.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// A certificate and its key, in PEM. The key does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientPem {
    /// The certificate, and those between it and its authority.
    pub certificates: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for ClientPem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ClientPem(****)")
    }
}

/// TLS cannot be spoken with these settings.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificates that are trusted.
    #[error("the certificates of ca_file cannot be used: {0}")]
    Certificates(String),
    /// The certificate that we show.
    #[error("client_cert_file and client_key_file cannot be used: {0}")]
    ClientCertificate(String),
    /// TLS itself.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// How TLS is spoken.
///
/// # Errors
/// Certificates or keys that cannot be used.
pub fn config(ca_pem: Option<&[u8]>, client_pem: Option<&ClientPem>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(ca_pem)?);
    let Some(pem) = client_pem else {
        return Ok(builder.with_no_client_auth());
    };
    let certificates = certificates(&pem.certificates).map_err(TlsError::ClientCertificate)?;
    let key =
        PrivateKeyDer::from_pem_slice(&pem.key).map_err(|error| TlsError::ClientCertificate(error.to_string()))?;
    Ok(builder.with_client_auth_cert(certificates, key)?)
}

fn roots(ca_pem: Option<&[u8]>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in ca_pem.map(certificates).transpose().map_err(TlsError::Certificates)?.unwrap_or_default() {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = read.map_err(|error| error.to_string())?;
    if found.is_empty() { Err("there is none".to_owned()) } else { Ok(found) }
}
