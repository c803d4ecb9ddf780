//! The port of everything that must be unguessable: PIN digits, ids, keyed digests and sealed texts.
//!
//! Invariant: keys never leave the adapter. What is drawn here is not drawn anywhere else, so that a test can replay it.

use crate::domain::Time;
use crate::domain::address::Msisdn;
use crate::domain::event::EventId;
use crate::domain::ids::{CorrelationId, PartnerId, Reference};
use crate::domain::pin::{Pin, PinDigest};
use crate::domain::transaction::TransactionKey;

/// What a sealed text is for. A text sealed for one purpose cannot be opened for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The gateway's opaque id of an account.
    AccountId,
    /// Where a page of a list begins.
    PageToken,
}

/// Draws, digests and seals.
pub trait Secrets: Send + Sync {
    /// A fresh PIN of six digits, each as likely as any other.
    fn fresh_pin(&self) -> Pin;

    /// A fresh id for an event of this moment.
    fn fresh_event_id(&self, now: Time) -> EventId;

    /// A fresh correlation id, for a request that came without one.
    fn fresh_correlation_id(&self) -> CorrelationId;

    /// 0 to 1023, to spread things out in time. It guards nothing.
    fn jitter(&self) -> u16;

    /// The keyed digest that binds partner, number and PIN.
    fn pin_digest(&self, partner: &PartnerId, number: &Msisdn, pin: &Pin) -> PinDigest;

    /// The reference of a key: a keyed digest of 128 bits, the same for ever.
    fn reference(&self, key: &TransactionKey) -> Reference;

    /// The keyed digest of what a name in a store of many gateways is made of: the same parts give the same digest on
    /// each of them, and it tells nobody else what they are.
    fn name_digest(&self, parts: &[&str]) -> [u8; 16];

    /// Seals bytes for a partner: the same bytes give the same text, and nobody else can make or read one. The text is
    /// of `[A-Za-z0-9_-]`.
    fn seal(&self, purpose: Purpose, partner: &PartnerId, plain: &[u8]) -> String;

    /// Opens a sealed text; `None` where it was not sealed here for this purpose and partner.
    fn open(&self, purpose: Purpose, partner: &PartnerId, sealed: &str) -> Option<Vec<u8>>;
}
