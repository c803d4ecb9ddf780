//! Events: what a partner is told when an outcome is final (contract section 7).
//!
//! Invariant: every final outcome makes exactly one event, in the same commit as the outcome. What an event says is
//! read from its transaction, which is final. Delivery is not here.

use super::Time;
use super::ids::PartnerId;
use super::transaction::{Kind, TransactionKey};

/// The id of an event: `evt_…`, the same at every delivery.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventId(String);

impl EventId {
    /// An id from 128 fresh random bits.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("evt_{bits:032x}"))
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
