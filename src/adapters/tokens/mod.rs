//! Bearer tokens: signed JWTs (RFC 7515, RFC 7519), held against the keys that their issuers publish (RFC 7517).
//!
//! Invariant: a token's issuer is chosen by its `iss` alone, and only that issuer's keys and algorithms count. What a
//! header says of keys (`jwk`, `jku`, `x5u`, `x5c`) is never looked at. Nothing of a token is logged.

mod claims;
mod jws;
mod keys;
mod published;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Uri;

use self::jws::Jws;
use self::published::Published;
pub use self::source::SourceError;
use crate::domain::token::{Algorithm, Claims};
use crate::ports::tokens::{NotVerified, Tokens};

/// Longest token, in bytes: a Keycloak token with a hundred roles has half of it.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Where an issuer publishes its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// At a URL. What is trusted beside the public authorities is in PEM.
    Url {
        /// Where.
        url: Uri,
        /// Certificates of authorities.
        ca_pem: Option<Vec<u8>>,
    },
    /// In a file.
    File(PathBuf),
}

/// One issuer: two that are equal have the same keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// What it is called in the configuration, for logs and counters.
    pub name: String,
    /// Its `iss`.
    pub issuer: String,
    /// Where its keys are.
    pub source: Source,
    /// Which algorithms are allowed.
    pub algorithms: Vec<Algorithm>,
    /// `typ` of headers that are taken, in lower case.
    pub types: Vec<String>,
    /// The claim with the client.
    pub client_claim: String,
    /// The claims with words of scopes.
    pub scope_claims: Vec<String>,
    /// How often keys are fetched.
    pub refresh: Duration,
    /// The pause after an attempt: before a failed one is repeated, and before an unknown key makes another.
    pub pause: Duration,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How old keys may be that could not be fetched anew.
    pub stale_max: Duration,
}

/// One issuer, and its keys.
pub struct Issuer {
    settings: IssuerSettings,
    published: Published,
}

impl Issuer {
    /// Begins to fetch an issuer's keys. Called where a runtime runs; fetching ends when this is dropped.
    ///
    /// # Errors
    /// Certificates that cannot be used.
    pub fn begin(settings: IssuerSettings) -> Result<Self, SourceError> {
        let published = Published::begin(&settings)?;
        Ok(Self { settings, published })
    }

    /// What it was made of.
    #[must_use]
    pub const fn settings(&self) -> &IssuerSettings {
        &self.settings
    }

    async fn claims(&self, token: &Jws<'_>, payload: &serde_json::Value) -> Result<Claims, NotVerified> {
        if !token.typ.as_ref().is_none_or(|typ| self.settings.types.contains(typ)) {
            return Err(NotVerified::Malformed);
        }
        let allowed = Algorithm::from_word(&token.alg).filter(|word| self.settings.algorithms.contains(word));
        let algorithm = allowed.ok_or(NotVerified::Algorithm)?;
        let fitting = self.published.keys_for(token.kid.as_deref(), algorithm).await?;
        // More than one only where an issuer gives two keys one name.
        if !fitting.iter().any(|key| key.verifies(algorithm, token.signed, &token.signature)) {
            return Err(NotVerified::Signature);
        }
        Ok(claims::read(payload, &self.settings.client_claim, &self.settings.scope_claims))
    }
}

/// All issuers, by their `iss`.
pub struct Issuers(BTreeMap<String, Arc<Issuer>>);

impl Issuers {
    /// These issuers; of two with one `iss`, the last.
    #[must_use]
    pub fn new(issuers: impl IntoIterator<Item = Arc<Issuer>>) -> Self {
        Self(issuers.into_iter().map(|issuer| (issuer.settings.issuer.clone(), issuer)).collect())
    }
}

#[async_trait]
impl Tokens for Issuers {
    async fn claims(&self, token: &[u8]) -> Result<Claims, NotVerified> {
        let token = Jws::read(token).ok_or(NotVerified::Malformed)?;
        let payload = token.payload().ok_or(NotVerified::Malformed)?;
        let named = payload.get("iss").and_then(serde_json::Value::as_str).ok_or(NotVerified::UnknownIssuer)?;
        let issuer = self.0.get(named).ok_or(NotVerified::UnknownIssuer)?;
        issuer.claims(&token, &payload).await
    }
}
