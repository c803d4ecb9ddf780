//! The one table of all keys: what each may hold.
//!
//! Invariant: a key that is not in the table is refused, wherever it comes from; a value that its row does not admit
//! never reaches the typed structs. `deploy/onbill.toml` shows every row with these very words, and a test compares.
//! Relations between keys are not here (`relations.rs`, `directory.rs`), nor are defaults (`tables.rs`).

use std::fmt;
use std::net::SocketAddr;

use figment::value::Value;

use super::callers::{ALGORITHM_WORDS, SCOPE_WORDS};
use crate::domain::api_key::{ACTIVE_MAX, KeyDigest};
use crate::domain::webhook::{SECRET_PREFIX, SECRETS_MAX, SigningSecret};

/// What a key may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// `true` or `false`.
    Switch,
    /// An IP address with a port.
    SocketAddress,
    /// A whole number within bounds that are both included.
    Whole {
        /// The least.
        min: u32,
        /// The most.
        max: u32,
        /// What is counted.
        unit: &'static str,
    },
    /// One of these words.
    Word(&'static [&'static str]),
    /// A text of 1 to so many characters, none of them a control character.
    Text {
        /// Most characters.
        length_max: usize,
    },
    /// A list of texts.
    Texts {
        /// Most entries; the least is 1.
        count_max: usize,
        /// Fewest characters of an entry.
        length_min: usize,
        /// Most characters of an entry.
        length_max: usize,
    },
    /// A text that is never shown.
    Secret {
        /// Most characters.
        length_max: usize,
    },
    /// A list of some of these words, each once.
    Words(&'static [&'static str]),
    /// A key digest.
    Digest,
    /// One key digest, or two while a partner changes its key.
    Digests,
    /// One secret that signs events, or two while a partner changes it.
    Secrets,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The key; `*` stands for an id of the reader's choice.
    pub path: &'static str,
    /// What it may hold.
    pub allowed: Allowed,
}

const fn key(path: &'static str, allowed: Allowed) -> Key {
    Key { path, allowed }
}

const fn whole(min: u32, max: u32, unit: &'static str) -> Allowed {
    Allowed::Whole { min, max, unit }
}

const fn text(length_max: usize) -> Allowed {
    Allowed::Text { length_max }
}

const PATH: Allowed = text(4096);

/// Every key there is.
pub const KEYS: &[Key] = &[
    key("server.listen", Allowed::SocketAddress),
    key("server.admin_listen", Allowed::SocketAddress),
    key("server.admin_token_file", PATH),
    key("server.reflection", Allowed::Switch),
    key("server.data_dir", PATH),
    key("server.deadline_default_ms", whole(1, 600_000, "milliseconds")),
    key("server.deadline_min_ms", whole(1, 600_000, "milliseconds")),
    key("server.deadline_max_ms", whole(1, 600_000, "milliseconds")),
    key("server.connections_max", whole(1, 1_000_000, "connections")),
    key("server.connections_per_address_max", whole(1, 1_000_000, "connections")),
    key("server.admin_connections_max", whole(1, 10_000, "connections")),
    key("server.requests_in_flight_max", whole(1, 1_000_000, "requests")),
    key("server.watchers_max", whole(1, 1_000_000, "streams")),
    key("server.watchers_per_partner_max", whole(1, 1_000_000, "streams")),
    key("server.streams_per_connection_max", whole(1, 10_000, "streams")),
    key("server.header_bytes_max", whole(8_192, 1_048_576, "bytes")),
    key("server.headers_max", whole(16, 1_000, "headers")),
    key("server.header_read_timeout_ms", whole(100, 60_000, "milliseconds")),
    key("server.body_read_timeout_ms", whole(100, 60_000, "milliseconds")),
    key("server.idle_timeout_s", whole(1, 3_600, "seconds")),
    key("server.connection_age_max_s", whole(1, 86_400, "seconds")),
    key("server.drain_delay_ms", whole(0, 600_000, "milliseconds")),
    key("server.drain_s", whole(1, 600, "seconds")),
    key("server.tls.cert_file", PATH),
    key("server.tls.key_file", PATH),
    key("server.tls.client_ca_file", PATH),
    key("server.tls.client_crl_file", PATH),
    key("server.tls.client_auth", Allowed::Word(&["optional", "required"])),
    key("server.tls.handshake_timeout_ms", whole(100, 60_000, "milliseconds")),
    key("server.tls.handshakes_max", whole(1, 100_000, "handshakes")),
    key("server.tls.check_s", whole(1, 3_600, "seconds")),
    key("log.filter", text(1024)),
    key("log.format", Allowed::Word(&["text", "json"])),
    key("pin.ttl_s", whole(1, 86_400, "seconds")),
    key("pin.tries_max", whole(1, 20, "tries")),
    key("pin.sends_per_partner_max", whole(1, 1_000, "messages")),
    key("pin.sends_per_address_max", whole(1, 1_000, "messages")),
    key("pin.send_window_s", whole(1, 86_400, "seconds")),
    key("charge.lease_s", whole(1, 3_600, "seconds")),
    key("charge.attempts_max", whole(1, 20, "attempts")),
    key("charge.retry_pause_ms", whole(1, 10_000, "milliseconds")),
    key("reconcile.poll_ms", whole(10, 60_000, "milliseconds")),
    key("reconcile.batch_max", whole(1, 10_000, "transactions")),
    key("retention.address_months", whole(1, 1_200, "months")),
    key("retention.batch_max", whole(1, 10_000, "transactions")),
    key("keys.master_key_file", PATH),
    key("webhooks.ca_file", PATH),
    key("ephemeral.store", Allowed::Word(&["memory", "redis"])),
    key("redis.mode", Allowed::Word(&["standalone", "sentinel", "cluster"])),
    key("redis.addresses", Allowed::Texts { count_max: 64, length_min: 3, length_max: 261 }),
    key("redis.sentinel_master", text(64)),
    key("redis.user", text(128)),
    key("redis.password_file", PATH),
    key("redis.password", Allowed::Secret { length_max: 1024 }),
    key("redis.database", whole(0, 65_535, "the database's number")),
    key("redis.tls", Allowed::Switch),
    key("redis.ca_file", PATH),
    key("redis.connect_timeout_ms", whole(10, 60_000, "milliseconds")),
    key("redis.response_timeout_ms", whole(10, 60_000, "milliseconds")),
    key("redis.answers_kept_s", whole(0, 3_600, "seconds")),
    key("redis.key_prefix", text(64)),
    key("redis.gateways", whole(1, 1_000, "gateways")),
    key("ledger.store", Allowed::Word(&["sqlite", "postgres"])),
    key("postgres.url", Allowed::Secret { length_max: 4096 }),
    key("postgres.url_file", PATH),
    key("postgres.password", Allowed::Secret { length_max: 1024 }),
    key("postgres.password_file", PATH),
    key("postgres.tls", Allowed::Word(&["disable", "require", "verify-full"])),
    key("postgres.ca_file", PATH),
    key("postgres.readers_max", whole(2, 256, "connections")),
    key("postgres.writers", whole(1, 32, "connections")),
    key("postgres.queue_max", whole(16, 1_000_000, "units of work")),
    key("postgres.connect_timeout_ms", whole(100, 60_000, "milliseconds")),
    key("postgres.statement_timeout_ms", whole(100, 60_000, "milliseconds")),
    key("traces.endpoint", text(2048)),
    key("traces.sample_per_mille", whole(0, 1_000, "traces of a thousand")),
    key("traces.ca_file", PATH),
    key("traces.headers_file", PATH),
    key("traces.queue_max", whole(1, 1_000_000, "spans")),
    key("traces.batch_max", whole(1, 10_000, "spans")),
    key("traces.pause_ms", whole(10, 60_000, "milliseconds")),
    key("traces.timeout_ms", whole(10, 60_000, "milliseconds")),
    key("audit.enabled", Allowed::Switch),
    key("audit.dir", PATH),
    key("audit.file_mib_max", whole(1, 4_096, "mebibytes")),
    key("audit.queue_max", whole(16, 1_000_000, "entries")),
    key("audit.sync_ms", whole(10, 60_000, "milliseconds")),
    key("sandbox.enabled", Allowed::Switch),
    key("sandbox.dir", PATH),
    key("csp.*.adapter", Allowed::Word(&["sandbox", "http", "grpc"])),
    key("csp.*.url", text(2048)),
    key("csp.*.api_key_file", PATH),
    key("csp.*.api_key", Allowed::Secret { length_max: 1024 }),
    key("csp.*.ca_file", PATH),
    key("csp.*.client_cert_file", PATH),
    key("csp.*.client_key_file", PATH),
    key("csp.*.not_applied_codes", Allowed::Texts { count_max: 64, length_min: 1, length_max: 64 }),
    key("csp.*.currency", text(3)),
    key("csp.*.msisdn_pattern", text(256)),
    key("csp.*.prefixes", Allowed::Texts { count_max: 1_000, length_min: 0, length_max: 15 }),
    key("csp.*.takes_email", Allowed::Switch),
    key("csp.*.call_timeout_ms", whole(1, 60_000, "milliseconds")),
    key("csp.*.forget_after_s", whole(1, 604_800, "seconds")),
    key("csp.*.recovery", Allowed::Word(&["inquiry", "resend", "none"])),
    key("csp.*.refunds", Allowed::Word(&["partial", "whole", "none"])),
    key("csp.*.void", Allowed::Switch),
    key("csp.*.prepaid", Allowed::Switch),
    key("csp.*.amount_max", text(32)),
    key("csp.*.time_zone", text(64)),
    key("csp.*.limit.*.preset", Allowed::Word(&["psd2"])),
    key("csp.*.limit.*.each", Allowed::Texts { count_max: 3, length_min: 1, length_max: 16 }),
    key("csp.*.limit.*.partners", Allowed::Texts { count_max: 1_000, length_min: 1, length_max: 64 }),
    key("csp.*.limit.*.products", Allowed::Texts { count_max: 1_000, length_min: 1, length_max: 64 }),
    key("csp.*.limit.*.transaction_max", text(32)),
    key("csp.*.limit.*.day_max", text(32)),
    key("csp.*.limit.*.month_max", text(32)),
    key("csp.*.guard.calls_max", whole(1, 10_000, "calls")),
    key("csp.*.guard.inquiries_max", whole(1, 10_000, "calls")),
    key("csp.*.guard.queue_max", whole(1, 100_000, "calls")),
    key("csp.*.guard.queue_wait_ms", whole(1, 60_000, "milliseconds")),
    key("csp.*.guard.breaker", Allowed::Switch),
    key("csp.*.guard.window_ms", whole(100, 600_000, "milliseconds")),
    key("csp.*.guard.calls_min", whole(1, 100_000, "calls")),
    key("csp.*.guard.failure_percent", whole(1, 100, "per cent")),
    key("csp.*.guard.open_ms", whole(10, 600_000, "milliseconds")),
    key("csp.*.guard.probes", whole(1, 1_000, "calls")),
    key("csp.*.verdicts.*", text(128)),
    key("csp.*.test_numbers.pattern", text(256)),
    key("csp.*.test_numbers.sends_max", whole(1, 1_000_000, "messages")),
    key("csp.*.sms.sender", text(16)),
    key("csp.*.sms.language", text(35)),
    key("csp.*.sms.pin_text", text(480)),
    key("partner.*.key_sha256", Allowed::Digests),
    key("partner.*.key.*.sha256", Allowed::Digest),
    key("partner.*.key.*.expires_at", text(64)),
    key("partner.*.key.*.scopes", Allowed::Words(&SCOPE_WORDS)),
    key("partner.*.certificates", Allowed::Texts { count_max: 8, length_min: 5, length_max: 1_024 }),
    key("partner.*.certificate_scopes", Allowed::Words(&SCOPE_WORDS)),
    key("partner.*.certificate_required", Allowed::Switch),
    key("partner.*.csps", Allowed::Texts { count_max: 64, length_min: 1, length_max: 64 }),
    key("partner.*.pin_before_first_charge_minutes", whole(1, 525_600, "minutes")),
    key("partner.*.sms.sender", text(16)),
    key("partner.*.sms.language", text(35)),
    key("partner.*.sms.pin_text", text(480)),
    key("partner.*.webhook.url", text(2048)),
    key("partner.*.webhook.secrets", Allowed::Secrets),
    key("partner.*.webhook.allow_private", Allowed::Switch),
    key("partner.*.rate.per_second", whole(1, 1_000_000, "calls a second")),
    key("partner.*.rate.burst", whole(1, 1_000_000, "calls")),
    key("partner.*.product.*.charge_codes.*", text(64)),
    key("issuer.*.issuer", text(2_048)),
    key("issuer.*.jwks_url", text(2_048)),
    key("issuer.*.jwks_file", PATH),
    key("issuer.*.ca_file", PATH),
    key("issuer.*.audiences", Allowed::Texts { count_max: 16, length_min: 1, length_max: 256 }),
    key("issuer.*.algorithms", Allowed::Words(&ALGORITHM_WORDS)),
    key("issuer.*.types", Allowed::Texts { count_max: 8, length_min: 1, length_max: 64 }),
    key("issuer.*.client_claim", text(256)),
    key("issuer.*.scope_claims", Allowed::Texts { count_max: 8, length_min: 1, length_max: 256 }),
    key("issuer.*.scope_prefix", text(64)),
    key("issuer.*.leeway_s", whole(1, 300, "seconds")),
    key("issuer.*.refresh_s", whole(1, 86_400, "seconds")),
    key("issuer.*.pause_ms", whole(100, 600_000, "milliseconds")),
    key("issuer.*.timeout_ms", whole(100, 30_000, "milliseconds")),
    key("issuer.*.stale_max_s", whole(1, 2_592_000, "seconds")),
    key("issuer.*.clients.*", text(64)),
];

/// Stands for any id in a path of [`KEYS`].
pub const ANY_ID: &str = "*";

/// What is found at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A key with a value.
    Value(Allowed),
    /// A table with these keys, in the order of [`KEYS`].
    Table(Vec<&'static str>),
    /// Nothing: there is no such key.
    Nothing,
}

/// What a path is, in the words of [`KEYS`].
#[must_use]
pub fn place<S: AsRef<str>>(path: &[S]) -> Place {
    let mut children: Vec<&'static str> = Vec::new();
    for key in KEYS {
        let mut pattern = key.path.split('.');
        let fits = path.iter().all(|segment| pattern.next().is_some_and(|p| p == ANY_ID || p == segment.as_ref()));
        match (fits, pattern.next()) {
            (false, _) => {}
            (true, None) => return Place::Value(key.allowed),
            (true, Some(child)) if children.contains(&child) => {}
            (true, Some(child)) => children.push(child),
        }
    }
    if children.is_empty() { Place::Nothing } else { Place::Table(children) }
}

/// The form of the ids that name the entries of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdForm {
    /// CSPs and partners: they become part of records, logs and metrics.
    Plain,
    /// Products, as requests name them.
    Product,
    /// Codes of a CSP, clients of an issuer.
    Code,
}

impl IdForm {
    /// The form of the ids in the table at a path.
    #[must_use]
    pub fn of<S: AsRef<str>>(table: &[S]) -> Self {
        match table.last().map(AsRef::as_ref) {
            Some("product") => Self::Product,
            Some("verdicts" | "clients") => Self::Code,
            _ => Self::Plain,
        }
    }

    /// Whether an id has this form.
    #[must_use]
    pub fn admits(self, id: &str) -> bool {
        let length = id.chars().count();
        let form = match self {
            Self::Plain => id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_'),
            Self::Product => id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b)),
            Self::Code => !id.chars().any(char::is_control),
        };
        form && (1..=64).contains(&length)
    }
}

impl fmt::Display for IdForm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Plain => "1 to 64 of a-z, 0-9, - and _",
            Self::Product => "1 to 64 of A-Z, a-z, 0-9, '.', '_', ':' and '-'",
            Self::Code => "1 to 64 characters",
        })
    }
}

impl Allowed {
    /// Whether a value is admitted.
    #[must_use]
    pub fn admits(self, value: &Value) -> bool {
        match self {
            Self::Switch => value.to_bool().is_some(),
            Self::SocketAddress => value.as_str().is_some_and(|text| text.parse::<SocketAddr>().is_ok()),
            Self::Whole { min, max, .. } => {
                whole_number(value).is_some_and(|number| (i128::from(min)..=i128::from(max)).contains(&number))
            }
            Self::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Self::Text { length_max } | Self::Secret { length_max } => {
                value.as_str().is_some_and(|text| is_text(text, 1, length_max))
            }
            Self::Texts { count_max, length_min, length_max } => {
                is_list(value, count_max, |text| is_text(text, length_min, length_max))
            }
            Self::Words(words) => {
                is_list(value, words.len(), |word| words.contains(&word)) && {
                    let listed = value.as_array().unwrap_or_default();
                    let sent: std::collections::BTreeSet<_> = listed.iter().filter_map(Value::as_str).collect();
                    sent.len() == listed.len()
                }
            }
            Self::Digest => value.as_str().is_some_and(|text| KeyDigest::parse(text).is_some()),
            Self::Digests => is_list(value, ACTIVE_MAX, |text| KeyDigest::parse(text).is_some()),
            Self::Secrets => is_list(value, SECRETS_MAX, |text| SigningSecret::parse(text).is_some()),
        }
    }

    /// The value that a text from the environment stands for. What cannot be read stays a text, to be refused.
    #[must_use]
    pub fn read(self, text: &str) -> Value {
        match self {
            Self::Switch => text.parse::<bool>().map_or_else(|_| Value::from(text), Value::from),
            Self::Whole { .. } => text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from),
            Self::Texts { .. } | Self::Words(_) | Self::Digests | Self::Secrets => Value::from(read_list(text)),
            Self::SocketAddress | Self::Word(_) | Self::Text { .. } | Self::Secret { .. } | Self::Digest => {
                Value::from(text)
            }
        }
    }

    /// Whether a refused value may be shown. Somebody may have put a key where its digest belongs.
    #[must_use]
    pub const fn may_be_shown(self) -> bool {
        !matches!(self, Self::Digest | Self::Digests | Self::Secrets | Self::Secret { .. })
    }
}

/// Entries between commas; brackets around them, and double quotes around each, are optional.
fn read_list(text: &str) -> Vec<String> {
    let text = text.trim();
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let unquoted = |entry: &str| {
        let entry = entry.trim();
        entry.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(entry).to_owned()
    };
    inner.split(',').map(unquoted).collect()
}

/// A whole number of either sign; what does not fit an `i128` is as good as none.
fn whole_number(value: &Value) -> Option<i128> {
    value.to_i128().or_else(|| i128::try_from(value.to_u128()?).ok())
}

fn is_text(text: &str, length_min: usize, length_max: usize) -> bool {
    (length_min..=length_max).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn is_list(value: &Value, count_max: usize, admits: impl Fn(&str) -> bool) -> bool {
    value.as_array().is_some_and(|entries| {
        (1..=count_max).contains(&entries.len()) && entries.iter().all(|entry| entry.as_str().is_some_and(&admits))
    })
}

/// What is allowed, in words that complete "must be".
impl fmt::Display for Allowed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch => formatter.write_str("true or false"),
            Self::SocketAddress => formatter.write_str("an IP address with a port, like 127.0.0.1:8080"),
            Self::Whole { min, max, unit } => write!(formatter, "a whole number from {min} to {max} ({unit})"),
            Self::Word([only]) => write!(formatter, "{only:?}"),
            Self::Word(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
                write!(formatter, "one of {}", quoted.join(", "))
            }
            Self::Text { length_max } | Self::Secret { length_max } => {
                write!(formatter, "a text of 1 to {length_max} characters")
            }
            Self::Texts { count_max, length_min, length_max } => {
                write!(formatter, "a list of 1 to {count_max} texts of {length_min} to {length_max} characters")
            }
            Self::Words(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
                write!(formatter, "a list of some of {}, each once", quoted.join(", "))
            }
            Self::Digest => formatter.write_str("a SHA-256 digest of 64 hexadecimal digits"),
            Self::Digests => {
                write!(
                    formatter,
                    "a list of 1 to {ACTIVE_MAX} SHA-256 digests of 64 hexadecimal digits each: the key in use and the next"
                )
            }
            Self::Secrets => {
                write!(
                    formatter,
                    "a list of 1 to {SECRETS_MAX} secrets, each {SECRET_PREFIX} and 24 to 64 bytes in base64"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_value_a_table_or_nothing() {
        for (path, expected) in [
            ("server.drain_s", Place::Value(whole(1, 600, "seconds"))),
            ("log", Place::Table(vec!["filter", "format"])),
            (
                "csp.anything",
                Place::Table(vec![
                    "adapter",
                    "url",
                    "api_key_file",
                    "api_key",
                    "ca_file",
                    "client_cert_file",
                    "client_key_file",
                    "not_applied_codes",
                    "currency",
                    "msisdn_pattern",
                    "prefixes",
                    "takes_email",
                    "call_timeout_ms",
                    "forget_after_s",
                    "recovery",
                    "refunds",
                    "void",
                    "prepaid",
                    "amount_max",
                    "time_zone",
                    "limit",
                    "guard",
                    "verdicts",
                    "test_numbers",
                    "sms",
                ]),
            ),
            ("csp.anything.verdicts", Place::Table(vec![ANY_ID])),
            ("csp.anything.verdicts.code", Place::Value(text(128))),
            ("csp.anything.verdicts.code.deeper", Place::Nothing),
            ("server.drain", Place::Nothing),
            ("servers", Place::Nothing),
        ] {
            assert_eq!(place(&path.split('.').collect::<Vec<_>>()), expected, "{path}");
        }
    }

    #[test]
    fn a_value_is_admitted_up_to_its_bounds_and_no_further() {
        let list = |entries: &[&str]| Value::from(entries.iter().map(ToString::to_string).collect::<Vec<_>>());
        let digest = "a".repeat(64);
        let texts = Allowed::Texts { count_max: 2, length_min: 0, length_max: 3 };
        for (allowed, value, admitted) in [
            (whole(1, 9, "x"), Value::from(1_u32), true),
            (whole(1, 9, "x"), Value::from(9_i64), true),
            (whole(1, 9, "x"), Value::from(0_u32), false),
            (whole(1, 9, "x"), Value::from(10_u32), false),
            (whole(1, 9, "x"), Value::from(-1_i32), false),
            (whole(1, 9, "x"), Value::from(1.5_f64), false),
            (whole(1, 9, "x"), Value::from("1"), false),
            (text(3), Value::from("abc"), true),
            (text(3), Value::from("äöü"), true),
            (text(3), Value::from("abcd"), false),
            (text(3), Value::from(""), false),
            (text(3), Value::from("a\nb"), false),
            (text(3), Value::from(1_u32), false),
            (Allowed::Switch, Value::from(true), true),
            (Allowed::Switch, Value::from("yes"), false),
            (Allowed::Word(&["a", "b"]), Value::from("b"), true),
            (Allowed::Word(&["a", "b"]), Value::from("B"), false),
            (Allowed::SocketAddress, Value::from("[::1]:0"), true),
            (Allowed::SocketAddress, Value::from("localhost:8080"), false),
            (Allowed::SocketAddress, Value::from("127.0.0.1"), false),
            (texts, list(&[""]), true),
            (texts, list(&["abc", "d"]), true),
            (texts, list(&["abcd"]), false),
            (texts, list(&["a", "b", "c"]), false),
            (texts, list(&[]), false),
            (texts, Value::from("a"), false),
            (Allowed::Digests, list(&[&digest]), true),
            (Allowed::Digests, list(&[&digest, "onb_x"]), false),
            (Allowed::Digests, list(&[&digest, &digest, &digest]), false),
        ] {
            assert_eq!(allowed.admits(&value), admitted, "{allowed}: {value:?}");
        }
    }

    #[test]
    fn a_text_of_the_environment_becomes_the_type_of_its_key() {
        let texts = Allowed::Texts { count_max: 9, length_min: 0, length_max: 9 };
        let list = |entries: &[&str]| Value::from(entries.iter().map(ToString::to_string).collect::<Vec<_>>());
        for (allowed, read, expected) in [
            (whole(1, 9, "x"), "7", Value::from(7_u64)),
            (whole(1, 9, "x"), "seven", Value::from("seven")),
            (text(9), "7", Value::from("7")),
            (text(9), "true", Value::from("true")),
            (Allowed::Switch, "true", Value::from(true)),
            (Allowed::Switch, "1", Value::from("1")),
            (texts, "a,b", list(&["a", "b"])),
            (texts, r#"["a", "b"]"#, list(&["a", "b"])),
            (texts, r#"[""]"#, list(&[""])),
            (texts, "12", list(&["12"])),
            (Allowed::Digests, "1e5", list(&["1e5"])),
        ] {
            assert_eq!(allowed.read(read).to_actual(), expected.to_actual(), "{allowed}: {read}");
            assert_eq!(format!("{:?}", untagged(&allowed.read(read))), format!("{:?}", untagged(&expected)), "{read}");
        }
    }

    /// The value as JSON: tags of two values are never the same.
    fn untagged(value: &Value) -> serde_json::Value {
        serde_json::to_value(value).expect("a configuration value is JSON")
    }
}
