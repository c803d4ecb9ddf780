//! Events: what a partner is told when an outcome is final (contract section 7).
//!
//! Invariant: every final outcome makes exactly one event, in the same commit as the outcome. What an event says is
//! read from its transaction, which is final. Delivery is not here.

use super::Time;
use super::ids::PartnerId;
use super::transaction::{Kind, TransactionKey};

/// Bits of an id that are not its time.
const RANDOM_BITS: u32 = 80;

/// The id of an event: `evt_…`, the same at every delivery.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventId(String);

impl EventId {
    /// An id of these bits.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("evt_{bits:032x}"))
    }

    /// An id that begins with its time in milliseconds, and has 80 of these random bits behind it: ids of one time lie
    /// together, so that a store that has grown writes the newest part of its index and not all of it.
    #[must_use]
    pub fn at(at: Time, bits: u128) -> Self {
        let elapsed_ms = u64::try_from(at.as_millisecond()).unwrap_or_default();
        Self::from_bits((u128::from(elapsed_ms) << RANDOM_BITS) | (bits & ((1 << RANDOM_BITS) - 1)))
    }

    /// An id as it was stored.
    #[must_use]
    pub const fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether somebody waits for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The partner has an endpoint.
    Due,
    /// The partner has none: the event is kept and not sent.
    Skipped,
}

/// A final outcome, to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// Which transaction became final.
    pub key: TransactionKey,
    /// When.
    pub at: Time,
    /// Whether it is to be sent.
    pub delivery: Delivery,
}

impl Event {
    /// Whom it is for.
    #[must_use]
    pub const fn partner(&self) -> &PartnerId {
        &self.key.partner
    }

    /// Charge or refund.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.key.kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(elapsed_ms: i64, bits: u128) -> EventId {
        EventId::at(Time::from_millisecond(elapsed_ms).expect("in range"), bits)
    }

    #[test]
    fn ids_grow_with_time_whatever_was_drawn() {
        assert_eq!(at(1_700_000_000_000, u128::MAX).as_str(), "evt_018bcfe56800ffffffffffffffffffff");
        assert!(at(1_700_000_000_001, 0).as_str() > at(1_700_000_000_000, u128::MAX).as_str());
        assert_ne!(at(7, 1), at(7, 2));
        assert_eq!(at(-1, 5), at(0, 5), "a clock before 1970 is no reason to fail");
    }
}
