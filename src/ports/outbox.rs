//! The port of the outbox: the ledger's events on their way to partners.
//!
//! Invariant: an event is claimed before it is sent, and nobody else claims it while the lease lasts; a claim that its
//! owner does not end runs out and the event is sent again, so that each is delivered at least once. A refund's event is
//! not claimed before that of its charge was delivered or given up. Events enter the outbox with their outcome, by the
//! ledger's commit, and no other way.

use async_trait::async_trait;

use super::ledger::LedgerUnavailable;
use crate::domain::Time;
use crate::domain::event::{Event, EventId};
use crate::domain::ids::PartnerId;
use crate::domain::transaction::Transaction;

/// Which events to claim.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Whose.
    pub partner: PartnerId,
    /// Due at this time or earlier.
    pub now: Time,
    /// The claim's end: from then on they are anybody's.
    pub until: Time,
    /// Most of them.
    pub rows_max: u32,
}

/// An event that was claimed, with what it tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The event.
    pub event: Event,
    /// Which attempt this is; the first is 1. It names the claim when its end is recorded.
    pub attempts: u32,
    /// The transaction that became final.
    pub transaction: Transaction,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The event has arrived.
    Delivered,
    /// It is due again.
    Again {
        /// When.
        at: Time,
        /// Why, for the people who run the gateway.
        note: String,
    },
    /// It is on the list of dead letters.
    Dead {
        /// Why.
        note: String,
    },
}

/// An event that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event.
    pub event: Event,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it was given up.
    pub note: String,
}

/// What to send again.
#[derive(Debug, Clone)]
pub enum Resend {
    /// This event of this partner, delivered or dead.
    One(PartnerId, EventId),
    /// All dead letters of this partner.
    DeadOf(PartnerId),
}

/// Events on their way.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Claims events that are due, longest due first.
    async fn claim(&self, claim: &Claim) -> Result<Vec<Claimed>, LedgerUnavailable>;

    /// Records how attempt number `attempts` ended. False: the claim was not that one's any more, and nothing changed.
    async fn end(&self, id: &EventId, attempts: u32, ending: Ending) -> Result<bool, LedgerUnavailable>;

    /// Dead letters, of one partner or of all, newest first.
    async fn dead(&self, partner: Option<&PartnerId>, rows_max: u32) -> Result<Vec<DeadLetter>, LedgerUnavailable>;

    /// Makes events due at `now`, as if they had never been tried; answers how many.
    async fn resend(&self, which: &Resend, now: Time) -> Result<u64, LedgerUnavailable>;
}
