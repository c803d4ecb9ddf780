//! The files that TLS is made of.
//!
//! Invariant: they are compared by what is in them, so that any way of putting new ones there is noticed (a rename, a
//! symbolic link, a write), and nothing is noticed where nothing has changed. A private key does not print.

use std::io::Read as _;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::{TlsError, peer};
use crate::domain::Time;
use crate::runtime::config::tables::TlsTable;

/// Most bytes of one file: a bundle of all public authorities is a third of it.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What is in the files.
#[derive(PartialEq, Eq)]
pub(super) struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
    client_crl: Option<Vec<u8>>,
}

impl Files {
    /// Reads those that a table names; `None` where it names no certificate.
    pub(super) fn read(table: &TlsTable) -> Result<Option<Self>, TlsError> {
        let (Some(cert), Some(key)) = (&table.cert_file, &table.key_file) else { return Ok(None) };
        let client_ca = table.client_ca_file.as_deref().map(|path| read("client_ca_file", path)).transpose()?;
        let client_crl = table.client_crl_file.as_deref().map(|path| read("client_crl_file", path)).transpose()?;
        Ok(Some(Self { cert: read("cert_file", cert)?, key: read("key_file", key)?, client_ca, client_crl }))
    }

    pub(super) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates("cert_file", &self.cert)
    }

    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        // What is wrong with it is told without a byte of it.
        let why = "it holds no private key in PEM that can be read".to_owned();
        PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| TlsError::Content { key: "key_file", why })
    }

    pub(super) fn authorities(&self) -> Result<Option<RootCertStore>, TlsError> {
        let Some(pem) = &self.client_ca else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        for certificate in certificates("client_ca_file", pem)? {
            roots
                .add(certificate)
                .map_err(|error| TlsError::Content { key: "client_ca_file", why: error.to_string() })?;
        }
        Ok(Some(roots))
    }

    /// The lists of revoked certificates; `None` where none are looked at.
    pub(super) fn revoked(&self) -> Result<Option<Vec<CertificateRevocationListDer<'static>>>, TlsError> {
        const KEY: &str = "client_crl_file";
        let Some(pem) = &self.client_crl else { return Ok(None) };
        let read: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
        let lists =
            read.map_err(|error| TlsError::Content { key: KEY, why: format!("it cannot be read as PEM: {error}") })?;
        if lists.is_empty() {
            return Err(TlsError::Content {
                key: KEY,
                why: "it holds no list of revoked certificates in PEM".to_owned(),
            });
        }
        Ok(Some(lists))
    }

    /// When the certificate ends, where it can be read.
    pub(super) fn ends_at(&self) -> Option<Time> {
        let chain = self.chain().ok()?;
        peer::read(chain.first()?).ok().map(|certificate| certificate.not_after)
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::File { key, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(TlsError::Content { key, why: format!("it is longer than {FILE_BYTES_MAX} bytes") });
    }
    Ok(bytes)
}

fn certificates(key: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = read.map_err(|error| TlsError::Content { key, why: format!("it cannot be read as PEM: {error}") })?;
    if found.is_empty() {
        return Err(TlsError::Content { key, why: "it holds no certificate in PEM".to_owned() });
    }
    Ok(found)
}
