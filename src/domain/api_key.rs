//! API keys: how a partner is known by one.
//!
//! Invariant: a key itself is kept nowhere. What is kept is its SHA-256 digest, which is enough to recognise 256 random
//! bits and not enough to find them; so one digest and a look-up do, and no slow password hash is needed. A key that is
//! nobody's, one whose time is over and one of another partner cost the same: one digest and one look-up.
//! How keys are drawn, and where requests carry them, is not here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sha2::{Digest as _, Sha256};

use super::Time;
use super::caller::Grant;
use super::ids::PartnerId;
use super::scope::Scopes;

/// Most keys of a partner that are good at a time: the one in use, and the next.
pub const ACTIVE_MAX: usize = 2;
/// Bytes of a digest.
const DIGEST_BYTES: usize = 32;

/// SHA-256 of a key: of all its bytes as they stand in `X-API-KEY`, prefix included, without a line break.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyDigest([u8; DIGEST_BYTES]);

impl KeyDigest {
    /// The digest of a key.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let nibbles = text.chars().map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()));
        let nibbles: Vec<u8> = nibbles.collect::<Option<_>>()?;
        let (pairs, rest) = nibbles.as_chunks::<2>();
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| (high << 4) | low).collect();
        rest.is_empty().then_some(())?;
        bytes.try_into().ok().map(Self)
    }
}

/// 64 lower-case hexadecimal digits.
impl fmt::Display for KeyDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// The first 8 digits: enough to tell two keys apart, and to find the line of the configuration.
impl fmt::Debug for KeyDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(formatter, "{byte:02x}"))?;
        formatter.write_str("…")
    }
}

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// Whose it is, and what it is good for.
    pub grant: Grant,
    /// The moment from which on it is good no more. `None`: there is none.
    pub expires_at: Option<Time>,
}

impl KnownKey {
    /// A key of a partner that is good for everything, for ever.
    #[must_use]
    pub fn unlimited(partner: PartnerId) -> Self {
        Self { grant: Grant { partner, scopes: Scopes::all() }, expires_at: None }
    }

    /// Whether it is good at a moment.
    #[must_use]
    pub fn is_active(&self, now: Time) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// Whose key is whose.
#[derive(Debug, Clone, Default)]
pub struct PartnerKeys(BTreeMap<KeyDigest, KnownKey>);

impl PartnerKeys {
    /// Adds a key of a partner.
    ///
    /// # Errors
    /// The partner that has this key already: one key never stands for two, nor for two sets of scopes.
    pub fn insert(&mut self, digest: KeyDigest, known: KnownKey) -> Result<(), PartnerId> {
        if let Some(owner) = self.0.get(&digest) {
            return Err(owner.grant.partner.clone());
        }
        self.0.insert(digest, known);
        Ok(())
    }

    /// The partners that have keys.
    #[must_use]
    pub fn partners(&self) -> BTreeSet<&PartnerId> {
        self.0.values().map(|known| &known.grant.partner).collect()
    }

    /// How many keys of a partner are good at a moment.
    #[must_use]
    pub fn active_of(&self, partner: &PartnerId, now: Time) -> usize {
        self.0.values().filter(|known| known.grant.partner == *partner && known.is_active(now)).count()
    }

    /// What a key is good for at a moment, as it came in a request.
    #[must_use]
    pub fn grant(&self, key: &[u8], now: Time) -> Option<&Grant> {
        self.0.get(&KeyDigest::of(key)).filter(|known| known.is_active(now)).map(|known| &known.grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_sha_256_of_the_whole_key() {
        // FIPS 180-2, example B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(KeyDigest::of(b"abc").to_string(), abc);
        assert_eq!(KeyDigest::parse(abc), Some(KeyDigest::of(b"abc")));
        assert_eq!(KeyDigest::parse(&abc.to_uppercase()), Some(KeyDigest::of(b"abc")));
    }

    #[test]
    fn only_64_hexadecimal_digits_are_a_digest() {
        for text in ["", "ba78", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65), &"ä".repeat(32), &"a".repeat(66)] {
            assert_eq!(KeyDigest::parse(text), None, "{text}");
        }
    }

    #[test]
    fn debug_shows_the_beginning_of_a_digest_only() {
        assert_eq!(format!("{:?}", KeyDigest::of(b"abc")), "ba7816bf…");
    }

    #[test]
    fn one_key_is_one_partner_and_good_until_its_time_is_over() {
        let (one, other) = (PartnerId::new("one"), PartnerId::new("other"));
        let at = |second| Time::from_second(second).expect("a time");
        let lasting = |partner: &PartnerId| KnownKey::unlimited(partner.clone());
        let mut keys = PartnerKeys::default();
        assert_eq!(keys.insert(KeyDigest::of(b"first"), lasting(&one)), Ok(()));
        let ending = KnownKey { expires_at: Some(at(100)), ..lasting(&one) };
        assert_eq!(keys.insert(KeyDigest::of(b"second"), ending), Ok(()));
        assert_eq!(keys.insert(KeyDigest::of(b"first"), lasting(&other)), Err(one.clone()));
        let whose = |key: &[u8], now| keys.grant(key, at(now)).map(|grant| grant.partner.clone());
        assert_eq!(whose(b"first", 1_000), Some(one.clone()));
        assert_eq!(whose(b"First", 0), None);
        assert_eq!(whose(b"second", 99), Some(one.clone()));
        assert_eq!(whose(b"second", 100), None);
        assert_eq!((keys.active_of(&one, at(99)), keys.active_of(&one, at(100))), (2, 1));
        assert_eq!(keys.active_of(&other, at(0)), 0);
    }
}
