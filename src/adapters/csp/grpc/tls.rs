//! TLS to a CSP: whom we trust, and who we say we are.
//!
//! Invariant: the public authorities are trusted and, beside them, those of the CSP's own file; a file that holds no
//! certificate is refused, never ignored.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::SettingsError;

/// How TLS is spoken.
pub(super) fn config(
    ca_pem: Option<&[u8]>,
    identity_pem: Option<(&[u8], &[u8])>,
) -> Result<ClientConfig, SettingsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(ca_pem)?);
    Ok(match identity_pem {
        None => builder.with_no_client_auth(),
        Some((certificates_pem, key_pem)) => {
            let key = PrivateKeyDer::from_pem_slice(key_pem);
            let key = key.map_err(|error| SettingsError::Certificates(error.to_string()))?;
            builder.with_client_auth_cert(certificates(certificates_pem)?, key)?
        }
    })
}

fn roots(ca_pem: Option<&[u8]>) -> Result<RootCertStore, SettingsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in ca_pem.map(certificates).transpose()?.unwrap_or_default() {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = read.map_err(|error| SettingsError::Certificates(error.to_string()))?;
    if found.is_empty() { Err(SettingsError::Certificates("there is none".to_owned())) } else { Ok(found) }
}
