//! Another configuration for a gateway that runs: on SIGHUP the file is read again.
//!
//! Invariant: a configuration is taken whole or not at all, and no request is dropped or sees parts of two. What cannot
//! change while the gateway runs (addresses, stores, keys, the load that it takes) keeps a configuration from being taken
//! where it differs, by name, so that what runs is always what one file says. Environment and command line are those of
//! the start. CSPs that are the same keep their adapters, with connections and what is known of them, and issuers
//! that are the same keep their keys.

use std::sync::Arc;

use metrics::counter;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use super::config::effective::Effective;
use super::config::problem::Problems;
use super::config::{Config, Sources};
use super::current::Successor;
use super::lifecycle::{Faces, LifeError};
use super::tls::Tls;
use super::wiring::{self, Adapters, KnownIssuers, WiringError};
use crate::ports::audit::{Audit, Entry, Who};
use crate::ports::measures::RELOADS;

/// Tables that may change while the gateway runs.
const CHANGEABLE: [&str; 4] = ["csp", "issuer", "partner", "pin"];

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// It is none that a gateway could run with.
    #[error("{0}")]
    Wrong(Problems),
    /// It says something else of what cannot change.
    #[error("{} cannot change while the gateway runs: restart it, or put the old value back", .0.join(", "))]
    Fixed(Vec<String>),
    /// Something that it names cannot be built.
    #[error(transparent)]
    Wiring(#[from] WiringError),
    /// The faces cannot be built.
    #[error(transparent)]
    Faces(#[from] LifeError),
    /// The reading broke off.
    #[error("it could not be read")]
    Read(#[from] tokio::task::JoinError),
}

/// What it takes to change a gateway that runs.
pub struct Reloader {
    /// Where the configuration is read from.
    pub sources: Sources,
    /// What is in effect.
    pub effective: Effective,
    /// How the CSPs are spoken to.
    pub adapters: Adapters,
    /// The issuers whose tokens are taken.
    pub issuers: KnownIssuers,
    /// TLS of the main port: its files are looked at as well, whatever becomes of the configuration.
    pub tls: Option<Arc<Tls>>,
    /// What the faces of all configurations have in common.
    pub faces: Faces,
    /// Puts the new in place of the old.
    pub successor: Successor,
    /// Where it is written down.
    pub audit: Option<Arc<dyn Audit>>,
}

impl Reloader {
    /// Reads the configuration again each time it is asked to, until `stop` is called.
    pub async fn listen(mut self, mut asked: Signal, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                received = asked.recv() => if received.is_none() { return },
            }
            if let Some(tls) = &self.tls {
                tls.look();
            }
            match self.reload().await {
                Ok(()) => {
                    tracing::info!("the configuration was read again and is in effect");
                    counter!(RELOADS.name, "outcome" => "taken").increment(1);
                    self.note("taken");
                }
                Err(error) => {
                    let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    tracing::error!(%error, why, "the configuration was read again and not taken; the old one stays");
                    counter!(RELOADS.name, "outcome" => "refused").increment(1);
                    self.note("refused");
                }
            }
        }
    }

    fn note(&self, outcome: &'static str) {
        if let Some(audit) = &self.audit {
            let details = vec![("settings", self.effective.digest())];
            audit.note(Entry { who: Who::Gateway, what: "reload".into(), outcome: outcome.into(), details });
        }
    }

    async fn reload(&mut self) -> Result<(), NotTaken> {
        let sources = self.sources.clone();
        let config = tokio::task::spawn_blocking(move || Config::load(&sources)).await?.map_err(NotTaken::Wrong)?;
        let fixed = fixed_differences(&self.effective, &config.effective);
        if !fixed.is_empty() {
            return Err(NotTaken::Fixed(fixed));
        }
        let (gateway, adapters) = wiring::rewire(&config, &self.successor.gateway(), &self.adapters)?;
        let issuers = wiring::issuers(&config, &self.issuers).map_err(WiringError::Issuer)?;
        let living = self.faces.around(&config, Arc::new(gateway), issuers.tokens())?;
        self.successor.succeed(living);
        (self.adapters, self.issuers, self.effective) = (adapters, issuers, config.effective);
        Ok(())
    }
}

/// Keys outside the tables that may change, of which the two say different things.
fn fixed_differences(old: &Effective, new: &Effective) -> Vec<String> {
    let is_fixed = |key: &str| !CHANGEABLE.contains(&key.split('.').next().unwrap_or_default());
    let fixed = |effective: &Effective| {
        let entries = effective.0.iter().filter(|entry| is_fixed(&entry.key));
        entries.map(|entry| (entry.key.clone(), entry.value.clone())).collect::<Vec<_>>()
    };
    let (old, new) = (fixed(old), fixed(new));
    let mut differing: Vec<String> =
        old.iter().filter(|entry| !new.contains(entry)).map(|(key, _)| key.clone()).collect();
    differing.extend(new.iter().filter(|entry| !old.contains(entry)).map(|(key, _)| key.clone()));
    differing.sort();
    differing.dedup();
    differing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::config::Environment;

    fn with(name: &str, value: &str) -> Effective {
        let environment = Environment::of([(name, value)]);
        let sources = Sources { file: None, environment, overrides: crate::runtime::config::Overrides::default() };
        Config::load(&sources).expect("a configuration").effective
    }

    #[test]
    fn what_cannot_change_is_named_and_all_else_may() {
        let plain = with("ONBILL__LOG__FILTER", "");
        for (name, value, fixed) in [
            ("ONBILL__SERVER__LISTEN", "127.0.0.1:1", vec!["server.listen"]),
            ("ONBILL__SERVER__DATA_DIR", "/d", vec!["server.data_dir"]),
            ("ONBILL__KEYS__MASTER_KEY_FILE", "/k", vec!["keys.master_key_file"]),
            ("ONBILL__CHARGE__LEASE_S", "50", vec!["charge.lease_s"]),
            ("ONBILL__PIN__TTL_S", "60", vec![]),
            ("ONBILL__CSP__SANDBOX__PREFIXES", "555", vec![]),
            ("ONBILL__PARTNER__DEMO_OTT__PIN_BEFORE_FIRST_CHARGE_MINUTES", "5", vec![]),
        ] {
            assert_eq!(fixed_differences(&plain, &with(name, value)), fixed, "{name}");
        }
    }
}
