//! `[ephemeral]` and `[redis]`: where short-lived state is kept.
//!
//! Invariant: settings that cannot stand together, like a database number in a Cluster, stop the start; a Redis that is
//! away does not. What `[redis]` says is judged only where it is used.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::shape::Report;
use super::tables::{Secret, Tables};

/// Where short-lived state is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EphemeralStore {
    /// In the gateway's own memory: one gateway.
    Memory,
    /// In Redis: any number of gateways.
    Redis,
}

/// Short-lived state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ephemeral {
    /// Where it is kept.
    pub store: EphemeralStore,
}

impl Default for Ephemeral {
    fn default() -> Self {
        Self { store: EphemeralStore::Memory }
    }
}

/// Which servers of Redis there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedisMode {
    /// One.
    Standalone,
    /// A master that Sentinels name.
    Sentinel,
    /// A Cluster.
    Cluster,
}

/// How Redis is reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    /// Which servers there are.
    pub mode: RedisMode,
    /// Hosts and ports of the server, the Sentinels, or nodes of the Cluster.
    pub addresses: Option<Vec<String>>,
    /// What the Sentinels call the master.
    pub sentinel_master: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// File of the password.
    pub password_file: Option<PathBuf>,
    /// The password itself; it wins over the file.
    pub password: Option<Secret>,
    /// The number of the database.
    pub database: u32,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// File of the only certificates that are trusted then.
    pub ca_file: Option<PathBuf>,
    /// Milliseconds that a connection may take.
    pub connect_timeout_ms: u32,
    /// Milliseconds that an answer may take.
    pub response_timeout_ms: u32,
    /// Seconds that final answers are kept for repeats.
    pub answers_kept_s: u32,
    /// What the name of each key begins with.
    pub key_prefix: String,
    /// How many gateways share it.
    pub gateways: u32,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            mode: RedisMode::Standalone,
            addresses: None,
            sentinel_master: None,
            user: None,
            password_file: None,
            password: None,
            database: 0,
            tls: false,
            ca_file: None,
            connect_timeout_ms: 1_000,
            response_timeout_ms: 500,
            answers_kept_s: 60,
            key_prefix: "onbill".to_owned(),
            gateways: 1,
        }
    }
}

impl Redis {
    /// Hosts and ports. An address that is none was refused by `check`.
    #[must_use]
    pub fn hosts(&self) -> Vec<(String, u16)> {
        self.addresses.iter().flatten().filter_map(|text| host_and_port(text)).collect()
    }
}

/// A host and its port; the brackets around an IPv6 address are not part of it.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let bare = if is_bracketed { host.trim_start_matches('[').trim_end_matches(']') } else { host };
    let is_host = !bare.is_empty() && (is_bracketed || !bare.contains(':')) && !bare.contains(['/', '@', ' ']);
    let port = port.parse().ok().filter(|port| *port != 0)?;
    is_host.then(|| (bare.to_owned(), port))
}

/// Reports what cannot stand together, where Redis is used.
pub(super) fn check(tables: &Tables, report: &mut Report) {
    if tables.ephemeral.store != EphemeralStore::Redis {
        return;
    }
    let redis = &tables.redis;
    addresses(redis, report);
    match (redis.mode, &redis.sentinel_master) {
        (RedisMode::Sentinel, None) => {
            report.at(&["redis", "sentinel_master"], "must be set where redis.mode is \"sentinel\"");
        }
        (RedisMode::Standalone | RedisMode::Cluster, Some(_)) => {
            report.at(&["redis", "sentinel_master"], "is of the mode \"sentinel\" only");
        }
        (RedisMode::Sentinel, Some(_)) | (RedisMode::Standalone | RedisMode::Cluster, None) => {}
    }
    if redis.mode == RedisMode::Cluster && redis.database != 0 {
        let text = format!("is {}, must be 0 where redis.mode is \"cluster\": a Cluster has no other", redis.database);
        report.at(&["redis", "database"], text);
    }
    if redis.user.is_some() && redis.password.is_none() && redis.password_file.is_none() {
        report.at(&["redis", "user"], "has no password: redis.password_file or redis.password must be set");
    }
    if redis.ca_file.is_some() && !redis.tls {
        report.at(&["redis", "ca_file"], "trusts nobody where redis.tls is false");
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if !redis.key_prefix.bytes().all(is_plain) {
        let text = format!("is {:?}, must be of A-Z, a-z, 0-9, '.', '_', ':' and '-'", redis.key_prefix);
        report.at(&["redis", "key_prefix"], text);
    }
    let (late_ms, deadline_ms) = (redis.response_timeout_ms, tables.server.deadline_default_ms);
    if late_ms >= deadline_ms {
        let text = format!("is {late_ms}, must be less than server.deadline_default_ms, {deadline_ms}");
        report.at(&["redis", "response_timeout_ms"], text);
    }
}

fn addresses(redis: &Redis, report: &mut Report) {
    let path = ["redis", "addresses"];
    let Some(addresses) = &redis.addresses else {
        report.at(&path, "must be set where ephemeral.store is \"redis\"");
        return;
    };
    if let Some(text) = addresses.iter().find(|text| host_and_port(text).is_none()) {
        report.at(&path, format!("holds {text:?}, must be hosts with their ports, like redis.example:6379"));
    } else if redis.mode == RedisMode::Standalone && addresses.len() > 1 {
        let text = format!("are {}, must be one where redis.mode is \"standalone\"", addresses.len());
        report.at(&path, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, expected) in [
            ("redis.example:6379", Some(("redis.example", 6379))),
            ("10.0.0.1:1", Some(("10.0.0.1", 1))),
            ("[::1]:6379", Some(("::1", 6379))),
            ("::1:6379", None),
            ("redis.example", None),
            ("redis.example:0", None),
            ("redis.example:65536", None),
            (":6379", None),
            ("redis://redis.example:6379", None),
            ("user@redis.example:6379", None),
        ] {
            let found = host_and_port(text);
            assert_eq!(found.as_ref().map(|(host, port)| (host.as_str(), *port)), expected, "{text}");
        }
    }
}
