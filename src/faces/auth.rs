//! Who calls: an API key, looked up by its digest.
//!
//! Invariant: only digests of keys are in memory, and a wrong key costs the same work as a right one of another
//! partner. What a partner may do is not here.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use sha2::{Digest, Sha256};

use crate::domain::directory::Partner;

/// The header, and the metadata key, that carries an API key.
pub const API_KEY_HEADER: &str = "x-api-key";

/// SHA-256 of an API key, as the configuration holds it.
pub type KeyDigest = [u8; 32];

/// The digest of an API key: over its bytes as they are sent.
#[must_use]
pub fn digest(key: &[u8]) -> KeyDigest {
    Sha256::digest(key).into()
}

/// Which key is whose.
#[derive(Debug, Clone, Default)]
pub struct Keys(Arc<HashMap<KeyDigest, Arc<Partner>>>);

impl Keys {
    /// Keys of 256 random bits need no slow hash: their digests cannot be guessed either.
    #[must_use]
    pub fn new(keys: HashMap<KeyDigest, Arc<Partner>>) -> Self {
        Self(Arc::new(keys))
    }

    /// The partner whose key the request carries; `None` where it carries none, a wrong one, or more than one.
    #[must_use]
    pub fn partner(&self, headers: &HeaderMap) -> Option<&Arc<Partner>> {
        let mut keys = headers.get_all(API_KEY_HEADER).iter();
        let key = keys.next()?;
        if keys.next().is_some() {
            return None;
        }
        self.0.get(&digest(key.as_bytes()))
    }
}
