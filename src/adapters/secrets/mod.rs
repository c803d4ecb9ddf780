//! Secrets: random draws, keyed digests and sealed texts, all from one key of 256 bits.
//!
//! Invariant: the key and what is derived from it never leave this folder, and none of it prints. The same key gives
//! the same references and sealed texts for ever: references name money at the CSPs (design: the reference), so a lost
//! key means that a restored ledger could not find what it has already sent. Where the key is kept is `key_file`.

mod keyring;
mod key_file;
mod draw;
mod certificate;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

pub use certificate::CertificateKey;
pub use draw::{SeededDraw, SystemDraw};
pub use key_file::SecretsError;

use draw::{Draw, mixed};
use keyring::Keyring;

use crate::domain::Time;
use crate::domain::address::Msisdn;
use crate::domain::event::EventId;
use crate::domain::ids::{CorrelationId, PartnerId, Reference};
use crate::domain::pin::{Pin, PinDigest};
use crate::domain::transaction::TransactionKey;
use crate::ports::secrets::{Purpose, Secrets};

/// Bytes of the key that everything is derived from.
pub const KEY_LENGTH: usize = 32;

/// Draws from `D`, digests and seals under one key.
pub struct KeyedSecrets<D> {
    keyring: Keyring,
    draw: D,
    /// Steps of the jitter: a counter, since it only has to spread.
    jitter: AtomicU64,
}

/// Secrets that nobody can guess: the operating system draws.
pub type SystemSecrets = KeyedSecrets<SystemDraw>;

/// Secrets that can be replayed, for tests and simulation: everybody who knows the seed knows them all.
pub type SeededSecrets = KeyedSecrets<SeededDraw>;

impl SystemSecrets {
    /// Uses the key in this file, and makes one there if there is no file: 32 random bytes, readable by the owner only.
    ///
    /// # Errors
    /// The file cannot be read or made, is not of 32 bytes, or the operating system has no random bytes.
    pub fn open(key_file: &Path) -> Result<Self, SecretsError> {
        let draw = SystemDraw::checked()?;
        Ok(Self::with(&key_file::open(key_file, &draw)?, draw))
    }

    /// Uses a key that is kept elsewhere.
    ///
    /// # Errors
    /// The operating system has no random bytes.
    pub fn from_key(key: &[u8; KEY_LENGTH]) -> Result<Self, SecretsError> {
        Ok(Self::with(key, SystemDraw::checked()?))
    }
}

impl SeededSecrets {
    /// The secrets of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let draw = SeededDraw::new(seed);
        let mut key = [0; KEY_LENGTH];
        draw.fill(&mut key);
        Self::with(&key, draw)
    }
}

impl<D: Draw> KeyedSecrets<D> {
    fn with(key: &[u8; KEY_LENGTH], draw: D) -> Self {
        let mut start = [0; 8];
        draw.fill(&mut start);
        Self { keyring: Keyring::derive(key), draw, jitter: AtomicU64::new(u64::from_be_bytes(start)) }
    }

    fn bits_32(&self) -> u32 {
        let mut bits = [0; 4];
        self.draw.fill(&mut bits);
        u32::from_be_bytes(bits)
    }
}

impl<D> fmt::Debug for KeyedSecrets<D> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyedSecrets(****)")
    }
}

impl<D: Draw> Secrets for KeyedSecrets<D> {
    fn fresh_pin(&self) -> Pin {
        loop {
            if let Some(pin) = pin_from(self.bits_32()) {
                return pin;
            }
        }
    }

    fn fresh_event_id(&self, now: Time) -> EventId {
        EventId::at(now, self.draw.id_bits())
    }

    fn fresh_correlation_id(&self) -> CorrelationId {
        CorrelationId::from_bits(self.draw.id_bits())
    }

    fn jitter(&self) -> u16 {
        let step = self.jitter.fetch_add(1, Ordering::Relaxed);
        u16::try_from(mixed(step) & 1023).unwrap_or_default()
    }

    fn pin_digest(&self, partner: &PartnerId, number: &Msisdn, pin: &Pin) -> PinDigest {
        self.keyring.pin_digest(partner, number, pin)
    }

    fn reference(&self, key: &TransactionKey) -> Reference {
        self.keyring.reference(key)
    }

    fn name_digest(&self, parts: &[&str]) -> [u8; 16] {
        self.keyring.name_digest(parts)
    }

    fn seal(&self, purpose: Purpose, partner: &PartnerId, plain: &[u8]) -> String {
        self.keyring.seal(purpose, partner, plain)
    }

    fn open(&self, purpose: Purpose, partner: &PartnerId, sealed: &str) -> Option<Vec<u8>> {
        self.keyring.open(purpose, partner, sealed)
    }
}

/// PINs that there are.
const PINS: u32 = 1_000_000;
/// Draws from here on are thrown away: each PIN comes of exactly 4294 of those below.
const DRAWS_FAIR: u32 = 4_294_000_000;

fn pin_from(draw: u32) -> Option<Pin> {
    (draw < DRAWS_FAIR).then(|| Pin::new(format!("{:06}", draw % PINS)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_pin_is_as_likely_as_any_other() {
        assert_eq!(u64::from(DRAWS_FAIR), u64::from(PINS) * (u64::from(u32::MAX) / u64::from(PINS)));
        for (draw, pin) in [
            (0, Some("000000")),
            (42, Some("000042")),
            (999_999, Some("999999")),
            (1_000_000, Some("000000")),
            (DRAWS_FAIR - 1, Some("999999")),
            (DRAWS_FAIR, None),
            (u32::MAX, None),
        ] {
            assert_eq!(pin_from(draw).as_ref().map(Pin::expose), pin, "{draw}");
        }
    }

    #[test]
    fn one_seed_gives_one_sequence_and_another_seed_another() {
        let sequence = |seed| {
            let secrets = SeededSecrets::new(seed);
            let pins: Vec<_> = (0..4).map(|_| secrets.fresh_pin().expose().to_owned()).collect();
            (
                pins,
                secrets.fresh_event_id(Time::UNIX_EPOCH),
                secrets.fresh_correlation_id().as_str().to_owned(),
                secrets.jitter(),
            )
        };
        assert_eq!(sequence(7), sequence(7));
        assert_ne!(sequence(7), sequence(8));
    }

    #[test]
    fn what_the_system_draws_does_not_repeat() {
        let secrets = SystemSecrets::from_key(&[1; KEY_LENGTH]).expect("random bytes");
        let ids: BTreeSet<_> = (0..100).map(|_| secrets.fresh_event_id(Time::UNIX_EPOCH).as_str().to_owned()).collect();
        assert_eq!(ids.len(), 100);
        let pin = secrets.fresh_pin();
        assert!(pin.expose().len() == 6 && pin.expose().bytes().all(|digit| digit.is_ascii_digit()));
    }

    #[test]
    fn jitter_spreads_over_its_whole_range() {
        let secrets = SeededSecrets::new(1);
        let drawn: BTreeSet<_> = (0..20_000).map(|_| secrets.jitter()).collect();
        assert_eq!((drawn.len(), drawn.first(), drawn.last()), (1024, Some(&0), Some(&1023)));
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", SeededSecrets::new(1)), "KeyedSecrets(****)");
    }
}
