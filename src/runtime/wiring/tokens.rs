//! The issuers of bearer tokens.
//!
//! Invariant: an issuer whose settings and files are unchanged is kept, with the keys that it has, when a configuration
//! is read again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::adapters::tokens::{Issuer, IssuerSettings, Issuers, Source, SourceError};
use crate::ports::tokens::Tokens;
use crate::runtime::config::Config;
use crate::runtime::config::callers::{IssuerPlan, JwksAt};

/// An issuer whose tokens cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The file of authorities.
    #[error("issuer.{issuer}.ca_file: {path} cannot be read", path = .path.display())]
    File {
        /// Which issuer.
        issuer: String,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its keys cannot be asked for.
    #[error("issuer.{0}: its keys cannot be asked for")]
    Source(String, #[source] SourceError),
}

/// The issuers of a configuration.
#[derive(Default)]
pub struct KnownIssuers(Vec<Arc<Issuer>>);

impl KnownIssuers {
    /// What verifies their tokens.
    #[must_use]
    pub fn tokens(&self) -> Arc<dyn Tokens> {
        Arc::new(Issuers::new(self.0.iter().cloned()))
    }
}

/// The issuers of a configuration, and of those before it the ones that are the same.
///
/// # Errors
/// One that is new cannot be built.
pub fn issuers(config: &Config, before: &KnownIssuers) -> Result<KnownIssuers, IssuerError> {
    let built = config.issuers.iter().map(|plan| {
        let settings = settings(plan)?;
        match before.0.iter().find(|known| *known.settings() == settings) {
            Some(known) => Ok(Arc::clone(known)),
            None => {
                Issuer::begin(settings).map(Arc::new).map_err(|error| IssuerError::Source(plan.name.clone(), error))
            }
        }
    });
    built.collect::<Result<_, _>>().map(KnownIssuers)
}

fn settings(plan: &IssuerPlan) -> Result<IssuerSettings, IssuerError> {
    let source = match &plan.jwks {
        JwksAt::File(path) => Source::File(path.clone()),
        JwksAt::Url(url, ca_file) => {
            let read = |path: &PathBuf| {
                std::fs::read(path).map_err(|source| IssuerError::File {
                    issuer: plan.name.clone(),
                    path: path.clone(),
                    source,
                })
            };
            Source::Url { url: url.clone(), ca_pem: ca_file.as_ref().map(read).transpose()? }
        }
    };
    let [refresh, pause, timeout, stale_max] = plan.times();
    Ok(IssuerSettings {
        name: plan.name.clone(),
        issuer: plan.issuer.clone(),
        source,
        algorithms: plan.algorithms.clone(),
        types: plan.table.types.iter().map(|typ| typ.to_ascii_lowercase()).collect(),
        client_claim: plan.table.client_claim.clone(),
        scope_claims: plan.table.scope_claims.clone(),
        refresh,
        pause,
        timeout,
        stale_max,
    })
}
