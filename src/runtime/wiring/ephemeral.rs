//! Short-lived state: in the gateway's memory, or in Redis.
//!
//! Invariant: proofs are kept for as long as the most patient partner asks for, and not at all where nobody does.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::adapters::ephemeral::redis::{RedisEphemeral, Settings, SettingsError, Tls, Topology};
use crate::adapters::ephemeral::{Bounds, MemoryEphemeral};
use crate::domain::directory::Directory;
use crate::ports::ephemeral::Ephemeral;
use crate::ports::secrets::Secrets;
use crate::runtime::config::Config;
use crate::runtime::config::redis::{EphemeralStore, Redis, RedisMode};

/// Why short-lived state cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum EphemeralError {
    /// A file that a key names.
    #[error("redis.{key}: {path} cannot be read", path = .path.display())]
    File {
        /// Which key.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A password that is not a text. It is not shown.
    #[error("redis.password_file: the password must be UTF-8, at least one character")]
    Password,
    /// Certificates that are none, say.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// Builds what the configuration names. Called where a runtime runs.
pub(super) fn ephemeral(config: &Config, secrets: &Arc<dyn Secrets>) -> Result<Arc<dyn Ephemeral>, EphemeralError> {
    let proofs_kept_minutes = proofs_kept_minutes(&config.directory);
    Ok(match config.ephemeral.store {
        EphemeralStore::Memory => Arc::new(MemoryEphemeral::new(Bounds { proofs_kept_minutes, ..Bounds::default() })),
        EphemeralStore::Redis => {
            let kept = Duration::from_secs(u64::from(proofs_kept_minutes).saturating_mul(60));
            Arc::new(RedisEphemeral::open(&settings(&config.redis, kept)?, Arc::clone(secrets))?)
        }
    })
}

fn proofs_kept_minutes(directory: &Directory) -> u32 {
    directory.partners().filter_map(|partner| partner.pin_before_first_charge_minutes).max().unwrap_or(0)
}

fn settings(redis: &Redis, proofs_kept: Duration) -> Result<Settings, EphemeralError> {
    let read = |key: &'static str, path: &Path| {
        std::fs::read(path).map_err(|source| EphemeralError::File { key, path: path.into(), source })
    };
    let password = match (&redis.password, &redis.password_file) {
        (Some(password), _) => Some(password.expose().to_owned()),
        (None, Some(file)) => {
            let text = String::from_utf8(read("password_file", file)?).map_err(|_| EphemeralError::Password)?;
            let password = text.trim_end_matches(['\r', '\n']);
            if password.is_empty() {
                return Err(EphemeralError::Password);
            }
            Some(password.to_owned())
        }
        (None, None) => None,
    };
    let milliseconds = |count: u32| Duration::from_millis(u64::from(count));
    Ok(Settings {
        topology: match redis.mode {
            RedisMode::Standalone => Topology::Standalone,
            RedisMode::Sentinel => Topology::Sentinel { master: redis.sentinel_master.clone().unwrap_or_default() },
            RedisMode::Cluster => Topology::Cluster,
        },
        addresses: redis.hosts(),
        user: redis.user.clone(),
        password,
        database: redis.database,
        tls: match (redis.tls, &redis.ca_file) {
            (false, _) => Tls::Off,
            (true, None) => Tls::Public,
            (true, Some(file)) => Tls::Own(read("ca_file", file)?),
        },
        connect_timeout: milliseconds(redis.connect_timeout_ms),
        response_timeout: milliseconds(redis.response_timeout_ms),
        key_prefix: redis.key_prefix.clone(),
        proofs_kept,
        answers_kept: Duration::from_secs(u64::from(redis.answers_kept_s)),
    })
}
