//! The port of bearer tokens: whether an issuer has signed one, and what it says.
//!
//! Invariant: claims come out only where the signature holds under a key that the token's own issuer publishes, by an
//! algorithm that is allowed and that fits the key. What the claims must say is a rule of the domain, not asked here.
//! An answer takes a bounded time, however slow an issuer is.

use async_trait::async_trait;

use crate::domain::token::Claims;

/// Why there are no claims. For logs and counters; callers hear the same of all but the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotVerified {
    /// It has not the form of a signed token, or is too long.
    Malformed,
    /// No issuer of that name is configured.
    UnknownIssuer,
    /// Its algorithm is not allowed, or does not fit the key.
    Algorithm,
    /// Its issuer publishes no such key.
    UnknownKey,
    /// The signature does not hold.
    Signature,
    /// No keys of its issuer have ever been had, or none that are recent enough: nobody can say.
    NoKeys,
}

impl NotVerified {
    /// In a word, for logs and counters.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownIssuer => "unknown_issuer",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::NoKeys => "no_keys",
        }
    }
}

/// Verifies bearer tokens.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// The claims of a token.
    ///
    /// # Errors
    /// Why it says nothing.
    async fn claims(&self, token: &[u8]) -> Result<Claims, NotVerified>;
}
