//! TLS on the main port: certificates, whom clients must be certified by, and handshakes.
//!
//! Invariant: TLS 1.2 and 1.3 only, with the suites listed here and no others. Files may change while the gateway runs:
//! what is new and fits is used from the next handshake on, what does not fit changes nothing and is told loudly, and
//! connections that are open go on. A handshake takes a bounded time, and so many at a time. Certificates of partners
//! are mapped at each request (`faces/auth`), not here.

mod files;
mod peer;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use metrics::{counter, gauge};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use self::files::Files;
use super::config::tables::{ClientAuth, TlsTable};
use crate::faces::auth::Peer;
use crate::ports::measures::{TLS_EXPIRES, TLS_HANDSHAKES, TLS_RELOADS};

/// What both sides may agree on. All of them authenticate what they encrypt, and keep what was sent secret even from who
/// steals the private key later.
const SUITES: [rustls::SupportedCipherSuite; 9] = [
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];
/// What is spoken inside.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 22;
/// Most bytes that are read of somebody who speaks no TLS, and how long, so that the end of the connection is a clean one.
const REST_BYTES_MAX: u64 = 64 * 1024;
const REST_MAX: Duration = Duration::from_secs(1);

/// Why TLS cannot be spoken with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("server.tls.{key}: {path} cannot be read: {source}", path = .path.display())]
    File {
        /// Which key names it.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not hold what it should.
    #[error("server.tls.{key}: {why}")]
    Content {
        /// Which key names it.
        key: &'static str,
        /// Why.
        why: String,
    },
    /// The certificate and the key do not fit, or the library refuses them.
    #[error("server.tls: the certificate and its key cannot be used: {0}")]
    Pair(#[from] rustls::Error),
    /// The authorities of clients, or their lists of revoked certificates.
    #[error("server.tls.client_ca_file or client_crl_file: {0}")]
    Authorities(#[from] rustls::server::VerifierBuilderError),
}

/// TLS of the main port.
pub struct Tls {
    table: TlsTable,
    current: RwLock<(Files, Arc<ServerConfig>)>,
    handshakes: Semaphore,
    asked: Notify,
}

impl Tls {
    /// TLS by a table that names a certificate; `None` where it names none.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub fn begin(table: &TlsTable) -> Result<Option<Arc<Self>>, TlsError> {
        let Some(files) = Files::read(table)? else { return Ok(None) };
        let config = Arc::new(config(&files, table.client_auth)?);
        note_ends(&files);
        Ok(Some(Arc::new(Self {
            table: table.clone(),
            current: RwLock::new((files, config)),
            handshakes: Semaphore::new(table.handshakes_max),
            asked: Notify::new(),
        })))
    }

    /// Has the files looked at now.
    pub fn look(&self) {
        self.asked.notify_one();
    }

    /// Looks at the files now and then, and when asked to, until `stop` is called.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let pause = Duration::from_secs(u64::from(self.table.check_s));
        let mut told = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.asked.notified() => told = None,
                () = tokio::time::sleep(pause) => {}
            }
            let tls = Arc::clone(&self);
            let renewed = tokio::task::spawn_blocking(move || tls.renew()).await;
            match renewed {
                Ok(Ok(false)) => told = None,
                Ok(Ok(true)) => {
                    told = None;
                    tracing::info!("the TLS files have changed and are in effect");
                    counter!(TLS_RELOADS.name, "outcome" => "taken").increment(1);
                }
                Ok(Err(error)) => {
                    let error = error.to_string();
                    // The same again and again is told once.
                    if told.as_ref() != Some(&error) {
                        tracing::error!(error, "the TLS files have changed and cannot be used; the old ones stay");
                        counter!(TLS_RELOADS.name, "outcome" => "refused").increment(1);
                        told = Some(error);
                    }
                }
                Err(error) => tracing::error!(%error, "the TLS files could not be looked at"),
            }
        }
    }

    /// Reads the files, and uses them where they are others. True: they were.
    fn renew(&self) -> Result<bool, TlsError> {
        let Some(files) = Files::read(&self.table)? else { return Ok(false) };
        if self.current.read().unwrap_or_else(PoisonError::into_inner).0 == files {
            return Ok(false);
        }
        let config = Arc::new(config(&files, self.table.client_auth)?);
        note_ends(&files);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (files, config);
        Ok(true)
    }

    /// Has a connection encrypted; `None` where that does not succeed in time. With it, what its client has shown.
    pub async fn accept(&self, stream: TcpStream) -> Option<(TlsStream<TcpStream>, Option<Peer>)> {
        let most = Duration::from_millis(u64::from(self.table.handshake_timeout_ms));
        let shaken = tokio::time::timeout(most, self.shake(stream)).await;
        let (outcome, stream) = match shaken {
            Ok(Ok(Some(stream))) => ("done", Some(stream)),
            Ok(Ok(None)) => ("no_tls", None),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                ("failed", None)
            }
            Err(_elapsed) => ("timed_out", None),
        };
        counter!(TLS_HANDSHAKES.name, "outcome" => outcome).increment(1);
        let stream = stream?;
        match peer::of(&stream) {
            Ok(peer) => Some((stream, peer)),
            Err(why) => {
                tracing::warn!(why, "a client certificate of a trusted authority cannot be read; it is turned away");
                None
            }
        }
    }

    async fn shake(&self, mut stream: TcpStream) -> io::Result<Option<TlsStream<TcpStream>>> {
        let mut first = [0];
        // Who says nothing takes nobody's turn.
        if stream.peek(&mut first).await? == 0 {
            return Ok(None);
        }
        if first != [HANDSHAKE] {
            stream.shutdown().await?;
            // Bytes that nobody reads would turn the end into a reset.
            let mut rest = stream.take(REST_BYTES_MAX);
            let _ = tokio::time::timeout(REST_MAX, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
            return Ok(None);
        }
        let _turn = self.handshakes.acquire().await.map_err(io::Error::other)?;
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).1);
        TlsAcceptor::from(config).accept(stream).await.map(Some)
    }
}

fn note_ends(files: &Files) {
    let now = crate::domain::Time::now();
    for list in files.revoked().ok().flatten().unwrap_or_default() {
        match peer::next_update(&list) {
            Ok(Some(end)) if end <= now => {
                tracing::warn!(%end, "a list of revoked client certificates is past its next update: it still counts");
            }
            Ok(_) => {}
            Err(why) => tracing::warn!(why, "a list of revoked client certificates cannot be read whole"),
        }
    }
    if let Some(end) = files.ends_at() {
        // Seconds of this century are far below what a float holds exactly.
        gauge!(TLS_EXPIRES.name).set(end.duration_since(crate::domain::Time::UNIX_EPOCH).as_secs_f64());
        if end <= crate::domain::Time::now() {
            tracing::warn!(%end, "the TLS certificate of the main port is over: clients will not take it");
        }
    }
}

fn config(files: &Files, client_auth: ClientAuth) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: SUITES.to_vec(),
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..default_provider()
    });
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&TLS13, &TLS12])?;
    let builder = match files.authorities()? {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            // A certificate of which no list tells is turned away, up to the authority itself; that a list is past its
            // next update is told and changes nothing: no renewal that was forgotten may lock everybody out.
            let verifier = verifier.with_crls(files.revoked()?.unwrap_or_default());
            let verifier = match client_auth {
                ClientAuth::Required => verifier,
                ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_single_cert(files.chain()?, files.key()?)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(config)
}
