//! The way to the ledger's server: where it is, how it is spoken to, and what each connection is set to.
//!
//! Invariant: only a server that takes writes is used, so that after a failover the new primary is found by itself; a
//! host that does not answer costs its time-out and no more. A commit that is answered is on the disk of the primary,
//! whatever the server's own setting says. The password is in no error and in no log.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::task::AbortHandle;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{OpenError, Trouble};

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Not at all: the same machine, or a network that is somebody else's matter.
    Disable,
    /// Encrypted, and the server's certificate is of a trusted authority, whatever name is in it.
    Require,
    /// The name in the certificate is the host's, too.
    VerifyFull,
}

/// What is needed to speak to the server.
#[derive(Clone)]
pub struct Settings {
    /// As libpq reads it; several hosts are tried in their order.
    pub url: String,
    /// The password; it wins over the URL's.
    pub password: Option<String>,
    /// How the connection is protected.
    pub tls: Tls,
    /// Authorities that are trusted instead of the public ones, in PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Connections that read.
    pub readers_max: usize,
    /// Connections that write, each one batch at a time.
    pub writers: usize,
    /// Units of work that may wait to be written.
    pub queue_max: usize,
    /// How long one host may take to be connected to.
    pub connect_timeout: Duration,
    /// How long one statement may take.
    pub statement_timeout: Duration,
}

/// The URL may hold a password.
impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Settings").field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// How long an idle connection is silent before the system asks whether the other side is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);

/// Connects.
#[derive(Clone)]
pub(super) struct Connector {
    /// One for each host.
    hosts: Arc<[Config]>,
    tls: Option<MakeRustlsConnect>,
    connect_timeout: Duration,
    statement_timeout: Duration,
}

impl Connector {
    pub(super) fn new(settings: &Settings) -> Result<Self, OpenError> {
        let url: Config = settings.url.parse().map_err(|error: tokio_postgres::Error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            OpenError::Url(format!("{error}{source}"))
        })?;
        let hosts: Arc<[Config]> = hosts(&url, settings).into();
        if hosts.is_empty() {
            return Err(OpenError::NoHost);
        }
        let tls = match settings.tls {
            Tls::Disable => None,
            Tls::Require | Tls::VerifyFull => Some(MakeRustlsConnect::new(client_config(settings)?)),
        };
        Ok(Self {
            hosts,
            tls,
            connect_timeout: settings.connect_timeout,
            statement_timeout: settings.statement_timeout,
        })
    }

    /// How long connecting may take, if every host is tried in vain.
    pub(super) fn patience(&self) -> Duration {
        let hosts = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        self.connect_timeout.saturating_mul(hosts.saturating_add(1))
    }

    /// How long one statement may take.
    pub(super) const fn statement_timeout(&self) -> Duration {
        self.statement_timeout
    }

    /// Connects to the first host that takes writes.
    pub(super) async fn connect(&self) -> Result<Connection, Trouble> {
        let mut last = Trouble::Connection("no host".to_owned());
        for host in &*self.hosts {
            match tokio::time::timeout(self.connect_timeout, self.connect_to(host)).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(trouble)) => last = trouble,
                Err(_) => last = Trouble::Slow(self.connect_timeout),
            }
        }
        Err(last)
    }

    async fn connect_to(&self, host: &Config) -> Result<Connection, Trouble> {
        let (client, carrier) = match &self.tls {
            None => {
                let (client, connection) = host.connect(NoTls).await?;
                (client, tokio::spawn(ended(connection)))
            }
            Some(tls) => {
                let (client, connection) = host.connect(tls.clone()).await?;
                (client, tokio::spawn(ended(connection)))
            }
        };
        let connection = Connection { client, carrier: Carrier(carrier.abort_handle()) };
        connection.client.batch_execute(&session(self.statement_timeout)).await?;
        Ok(connection)
    }
}

/// A connection. Dropping it closes it at once, whatever the server is doing.
pub(super) struct Connection {
    /// To speak to the server with.
    pub(super) client: Client,
    #[expect(dead_code, reason = "it is held to be dropped")]
    carrier: Carrier,
}

/// The task that carries a connection.
struct Carrier(AbortHandle);

impl Drop for Carrier {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Carries a connection to its end. Whoever used it hears of the end by what was not answered.
async fn ended(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(cause = %Trouble::from(error), "a connection to PostgreSQL has ended");
    }
}

/// What each connection is set to. A transaction that its gateway has left open holds its rows no longer than this.
/// Statements are planned each time, unless a connection is told otherwise: a plan that was made while the tables were
/// small would be kept until the server's statistics are made anew, slower with every record.
fn session(statement_timeout: Duration) -> String {
    let timeout_ms = statement_timeout.as_millis();
    let idle_ms = statement_timeout.saturating_mul(2).as_millis();
    format!(
        "SET statement_timeout = {timeout_ms}; SET lock_timeout = {timeout_ms}; \
         SET plan_cache_mode = force_custom_plan; \
         SET idle_in_transaction_session_timeout = {idle_ms}; \
         SELECT set_config('synchronous_commit', 'on', false) \
         WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')"
    )
}

/// The settings of each host of a URL.
fn hosts(url: &Config, settings: &Settings) -> Vec<Config> {
    let (names, addresses, ports) = (url.get_hosts(), url.get_hostaddrs(), url.get_ports());
    (0..names.len().max(addresses.len()))
        .map(|place| {
            let mut one = Config::new();
            let is_socket = match names.get(place) {
                Some(Host::Tcp(name)) => {
                    one.host(name);
                    false
                }
                Some(Host::Unix(path)) => {
                    one.host_path(path);
                    true
                }
                None => false,
            };
            if let Some(address) = addresses.get(place) {
                one.hostaddr(*address);
            }
            if let Some(port) = ports.get(place).or_else(|| ports.first()) {
                one.port(*port);
            }
            let password = settings.password.as_ref().map(String::as_bytes).or_else(|| url.get_password());
            password.map(|password| one.password(password));
            url.get_user().map(|user| one.user(user));
            url.get_dbname().map(|name| one.dbname(name));
            url.get_options().map(|options| one.options(options));
            one.application_name(url.get_application_name().unwrap_or("onbill"))
                .connect_timeout(settings.connect_timeout)
                .tcp_user_timeout(settings.statement_timeout.saturating_mul(2))
                .keepalives_idle(KEEPALIVE_IDLE)
                .target_session_attrs(TargetSessionAttrs::ReadWrite)
                // A socket of this machine needs no protection and has no name to check.
                .ssl_mode(if settings.tls == Tls::Disable || is_socket { SslMode::Disable } else { SslMode::Require });
            one
        })
        .collect()
}

fn client_config(settings: &Settings) -> Result<ClientConfig, OpenError> {
    let refuse = |text: String| OpenError::Authorities(text);
    let mut roots = RootCertStore::empty();
    match &settings.ca_pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
                roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(refuse("it holds none".to_owned()));
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(error.to_string()))?;
    if settings.tls == Tls::VerifyFull {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| refuse(error.to_string()))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(inner))).with_no_client_auth())
}

/// Checks everything of a certificate but the name in it.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is checked last: the chain is good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
