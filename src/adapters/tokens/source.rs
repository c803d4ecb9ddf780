//! Fetches the set of keys of an issuer, from its URL or file.
//!
//! Invariant: one answer of 200, of a bounded length, within the caller's time; no redirect is followed, since keys come
//! from where the configuration says and from nowhere else.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt as _;

use super::Source;

/// Longest set of keys.
const SET_BYTES_MAX: usize = 256 * 1024;
/// Who calls.
const AGENT: &str = concat!("onbill/", env!("CARGO_PKG_VERSION"));

/// An issuer's keys cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The certificates that are trusted.
    #[error("the certificates of ca_file cannot be used: {0}")]
    Certificates(String),
    /// TLS itself.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Where keys are fetched from.
pub(super) enum Fetcher {
    Url { uri: Uri, client: Box<Client<HttpsConnector<HttpConnector>, Empty<Bytes>>> },
    File(PathBuf),
}

impl Fetcher {
    pub(super) fn new(source: &Source) -> Result<Self, SourceError> {
        let (uri, ca_pem) = match source {
            Source::File(path) => return Ok(Self::File(path.clone())),
            Source::Url { url, ca_pem } => (url.clone(), ca_pem.as_deref()),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(ca_pem)?)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        // A connection for each: they are minutes apart.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self::Url { uri, client: Box::new(client) })
    }

    /// The bytes of the set, or why there are none.
    pub(super) async fn fetch(&self) -> Result<Bytes, String> {
        match self {
            Self::Url { uri, client } => {
                let request = Request::get(uri).header(ACCEPT, "application/json").header(USER_AGENT, AGENT);
                let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
                let response = client.request(request).await.map_err(|error| chain(&error))?;
                if response.status() != StatusCode::OK {
                    return Err(format!("it answered {}", response.status()));
                }
                let body = Limited::new(response.into_body(), SET_BYTES_MAX).collect().await;
                Ok(body.map_err(|error| chain(error.as_ref()))?.to_bytes())
            }
            Self::File(path) => {
                let file = tokio::fs::File::open(path).await.map_err(|error| error.to_string())?;
                let most = u64::try_from(SET_BYTES_MAX).unwrap_or(u64::MAX);
                let mut bytes = Vec::new();
                file.take(most.saturating_add(1)).read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
                if bytes.len() > SET_BYTES_MAX {
                    return Err(format!("it is longer than {SET_BYTES_MAX} bytes"));
                }
                Ok(Bytes::from(bytes))
            }
        }
    }
}

fn roots(ca_pem: Option<&[u8]>) -> Result<RootCertStore, SourceError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let Some(pem) = ca_pem else { return Ok(roots) };
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = read.map_err(|error| SourceError::Certificates(error.to_string()))?;
    if found.is_empty() {
        return Err(SourceError::Certificates("there is none".to_owned()));
    }
    for certificate in found {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// An error with all that caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
