//! The tables of the configuration as they are written, with their defaults.
//!
//! Invariant: every table refuses keys that it does not know, and a key that is left out has the default written here
//! and nowhere else. A value has its type and bounds already (`schema.rs`); whether values fit one another is not
//! judged here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::callers::{IssuerTable, KeyTable};
pub use super::csp::{Adapter, CspSmsTable, CspTable, GuardTable, RecoveryWord, RefundsWord, Secret, TestNumbersTable};
use super::postgres::{Ledger, Postgres};
use super::redis::{Ephemeral, Redis};
use super::seeing::{Audit, Traces};

/// The whole configuration as written.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tables {
    /// `[server]`
    pub server: Server,
    /// `[log]`
    pub log: Log,
    /// `[pin]`
    pub pin: Pin,
    /// `[charge]`
    pub charge: Charge,
    /// `[reconcile]`
    pub reconcile: Reconcile,
    /// `[retention]`
    pub retention: Retention,
    /// `[keys]`
    pub keys: Keys,
    /// `[webhooks]`
    pub webhooks: Webhooks,
    /// `[ephemeral]`
    pub ephemeral: Ephemeral,
    /// `[redis]`
    pub redis: Redis,
    /// `[ledger]`
    pub ledger: Ledger,
    /// `[postgres]`
    pub postgres: Postgres,
    /// `[traces]`
    pub traces: Traces,
    /// `[audit]`
    pub audit: Audit,
    /// `[sandbox]`
    pub sandbox: Sandbox,
    /// `[csp.<id>]`
    pub csp: BTreeMap<String, CspTable>,
    /// `[partner.<id>]`
    pub partner: BTreeMap<String, PartnerTable>,
    /// `[issuer.<id>]`
    pub issuer: BTreeMap<String, IssuerTable>,
}

/// Ports, deadlines and what bounds the load.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Where partners call, over both faces.
    pub listen: SocketAddr,
    /// Where those who run the gateway ask for health and metrics.
    pub admin_listen: SocketAddr,
    /// File of the token that those show who change something over the operations port.
    pub admin_token_file: Option<PathBuf>,
    /// Whether gRPC reflection is there. `None`: in a sandbox only.
    pub reflection: Option<bool>,
    /// Where the ledger and the permanent key are. `None` in a sandbox only: a temporary directory.
    pub data_dir: Option<PathBuf>,
    /// Milliseconds for a request that names no deadline.
    pub deadline_default_ms: u32,
    /// Fewest milliseconds that a request is given, whatever it names.
    pub deadline_min_ms: u32,
    /// Most milliseconds that a request is given, whatever it names.
    pub deadline_max_ms: u32,
    /// Most connections on the main port; one more takes the place of one without requests.
    pub connections_max: usize,
    /// Most of them from one address; one more takes the place of one of these without requests.
    pub connections_per_address_max: usize,
    /// Most connections on the operations port.
    pub admin_connections_max: usize,
    /// Most requests at work at a time; more are refused with `service-unavailable`.
    pub requests_in_flight_max: usize,
    /// Most streams of WatchTransaction at a time.
    pub watchers_max: usize,
    /// Most of them of one partner.
    pub watchers_per_partner_max: usize,
    /// Most requests at a time on one HTTP/2 connection.
    pub streams_per_connection_max: u32,
    /// Most bytes of a request's headers.
    pub header_bytes_max: u32,
    /// Most headers of a request.
    pub headers_max: usize,
    /// Milliseconds that the headers of a request may take to arrive.
    pub header_read_timeout_ms: u32,
    /// Milliseconds that the body of a JSON request may take to arrive.
    pub body_read_timeout_ms: u32,
    /// Seconds after which a connection without requests is closed.
    pub idle_timeout_s: u32,
    /// Seconds after which a connection takes no more requests. `None`: never.
    pub connection_age_max_s: Option<u32>,
    /// Milliseconds between "not ready" and the end of listening, at a shutdown.
    pub drain_delay_ms: u32,
    /// Seconds that requests at work are given at a shutdown.
    pub drain_s: u32,
    /// `[server.tls]`
    pub tls: TlsTable,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            admin_listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090),
            admin_token_file: None,
            reflection: None,
            data_dir: None,
            deadline_default_ms: 10_000,
            deadline_min_ms: 100,
            deadline_max_ms: 30_000,
            connections_max: 10_000,
            connections_per_address_max: 10_000,
            admin_connections_max: 64,
            requests_in_flight_max: 4_096,
            watchers_max: 4_096,
            watchers_per_partner_max: 1_024,
            streams_per_connection_max: 256,
            header_bytes_max: 16_384,
            headers_max: 100,
            header_read_timeout_ms: 10_000,
            body_read_timeout_ms: 10_000,
            idle_timeout_s: 300,
            connection_age_max_s: None,
            drain_delay_ms: 0,
            drain_s: 10,
            tls: TlsTable::default(),
        }
    }
}

/// Whether callers show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// Those who have one may.
    Optional,
    /// Nobody is let in without one.
    Required,
}

/// `[server.tls]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsTable {
    /// File of the certificate, and of those between it and its authority. `None`: no TLS.
    pub cert_file: Option<PathBuf>,
    /// File of its private key.
    pub key_file: Option<PathBuf>,
    /// File of the authorities whose client certificates are trusted. `None`: none is asked for.
    pub client_ca_file: Option<PathBuf>,
    /// File of their lists of revoked certificates. `None`: none is looked at.
    pub client_crl_file: Option<PathBuf>,
    /// Whether callers show certificates, where there are authorities.
    pub client_auth: ClientAuth,
    /// Milliseconds that a handshake may take, the wait for its turn included.
    pub handshake_timeout_ms: u32,
    /// Most handshakes at a time.
    pub handshakes_max: usize,
    /// Seconds between two looks for changed files.
    pub check_s: u32,
}

impl Default for TlsTable {
    fn default() -> Self {
        Self {
            cert_file: None,
            key_file: None,
            client_ca_file: None,
            client_crl_file: None,
            client_auth: ClientAuth::Optional,
            handshake_timeout_ms: 5_000,
            handshakes_max: 1_024,
            check_s: 10,
        }
    }
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// The log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// What is logged: directives of tracing's `EnvFilter`, for example `info,onbill=debug`.
    pub filter: String,
    /// How a line is written.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

/// PINs (contract section 5).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pin {
    /// Seconds that a PIN is good for.
    pub ttl_s: u32,
    /// The wrong try that burns it.
    pub tries_max: u8,
    /// Most sends a window for one partner and address.
    pub sends_per_partner_max: u32,
    /// Most sends a window for one address, over all partners.
    pub sends_per_address_max: u32,
    /// Length of the window in seconds.
    pub send_window_s: u32,
}

impl Default for Pin {
    fn default() -> Self {
        Self { ttl_s: 300, tries_max: 5, sends_per_partner_max: 3, sends_per_address_max: 10, send_window_s: 600 }
    }
}

/// Charges and refunds under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Charge {
    /// Seconds that a gateway has a transaction to itself. Longer than any request can take.
    pub lease_s: u32,
    /// Times that a request is sent which the CSP says it has not applied.
    pub attempts_max: u32,
    /// Milliseconds between two of them.
    pub retry_pause_ms: u32,
}

impl Default for Charge {
    fn default() -> Self {
        // The longest deadline and a CSP call that begins in its last moment, with room for two commits.
        Self { lease_s: 40, attempts_max: 4, retry_pause_ms: 50 }
    }
}

/// The worker that asks CSPs for outcomes that are not known.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reconcile {
    /// Milliseconds between two looks for transactions that are due.
    pub poll_ms: u32,
    /// Most transactions of one look.
    pub batch_max: u32,
}

impl Default for Reconcile {
    fn default() -> Self {
        Self { poll_ms: 200, batch_max: 64 }
    }
}

/// What the ledger forgets, and when.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Months after which the address of a transaction is replaced by its keyed digest. `None`: never.
    pub address_months: Option<u32>,
    /// Most transactions that are looked at in one step.
    pub batch_max: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { address_months: None, batch_max: 500 }
    }
}

/// Keys of the gateway itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// File of the permanent key from which references, account ids and PIN digests are made. `None`: in `data_dir`.
    pub master_key_file: Option<PathBuf>,
}

/// How events are carried to partners, whoever they are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhooks {
    /// File of certificates that are trusted beside the public authorities'.
    pub ca_file: Option<PathBuf>,
}

/// The built-in sandbox.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sandbox {
    /// Whether the sandbox's CSP, partners and services are there. Without a file it is.
    pub enabled: bool,
    /// Where its bill, its inboxes and its clock are, for several gateways of one machine. `None`: each has its own.
    pub dir: Option<PathBuf>,
}

/// `[partner.<id>]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PartnerTable {
    /// Digests of its API keys that are good for everything, for ever.
    pub key_sha256: Vec<String>,
    /// `[partner.<id>.key.<name>]`: keys with an end, or that are not good for everything.
    pub key: BTreeMap<String, KeyTable>,
    /// Names of its client certificates.
    pub certificates: Vec<String>,
    /// What they are good for. `None`: everything.
    pub certificate_scopes: Option<Vec<String>>,
    /// Whether its keys and tokens count only together with one of them.
    pub certificate_required: bool,
    /// Its CSPs; the first stands in where an address routes nowhere.
    pub csps: Vec<String>,
    /// Minutes within which a PIN must have been validated before a first charge.
    pub pin_before_first_charge_minutes: Option<u32>,
    /// Its own PIN message.
    pub sms: Option<PartnerSmsTable>,
    /// Where its events go.
    pub webhook: Option<WebhookTable>,
    /// How many calls it may make.
    pub rate: RateTable,
    /// What it sells.
    pub product: BTreeMap<String, ProductTable>,
}

/// `[partner.<id>.rate]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateTable {
    /// Calls a second, at all gateways together.
    pub per_second: u32,
    /// Most calls at once, after a while without any.
    pub burst: u32,
}

impl Default for RateTable {
    fn default() -> Self {
        Self { per_second: 5_000, burst: 10_000 }
    }
}

/// `[partner.<id>.sms]`: all of it or nothing, since a partner may have CSPs with different messages.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PartnerSmsTable {
    /// Who the message is from.
    pub sender: Option<String>,
    /// Language of the text.
    pub language: Option<String>,
    /// The text.
    pub pin_text: Option<String>,
}

/// `[partner.<id>.webhook]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookTable {
    /// Where events are posted to.
    pub url: Option<String>,
    /// What they are signed with.
    pub secrets: Vec<SecretText>,
    /// Whether the endpoint may be in a private network, and speak plain http.
    pub allow_private: bool,
}

/// A secret as it is written. It prints masked.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

/// `[partner.<id>.product.<id>]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProductTable {
    /// What each CSP calls it.
    pub charge_codes: BTreeMap<String, String>,
}
