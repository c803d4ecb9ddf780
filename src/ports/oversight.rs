//! What those who run the gateway ask of the ledger that it works with.
//!
//! Invariant: what is asked here is rare and moves nothing; it may take longer than what a charge asks, and no charge
//! waits for it. What is asked of a ledger as a file is in `inspection`.

use async_trait::async_trait;

use super::ledger::LedgerUnavailable;
use crate::domain::Time;
use crate::domain::ids::Reference;
use crate::domain::transaction::Transaction;

/// What waits for an outcome longer than it should.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unresolved {
    /// Records that need a person.
    pub stuck: u64,
    /// Records whose outcome is unknown.
    pub unknown: u64,
    /// When the oldest one was accepted whose outcome is unknown.
    pub oldest_unknown_at: Option<Time>,
    /// When the oldest one was accepted that is Pending for its partner, whoever works on it.
    pub oldest_pending_at: Option<Time>,
    /// Events that wait to be delivered.
    pub due_events: u64,
    /// When the oldest of them came to be.
    pub oldest_due_at: Option<Time>,
    /// Events that were given up.
    pub dead_letters: u64,
}

/// The system of record, as those who run the gateway see it.
#[async_trait]
pub trait Oversight: Send + Sync {
    /// The record that a CSP knows under a reference. Fast for those that are stuck or due; for any other the whole
    /// ledger is read.
    async fn by_reference(&self, reference: &Reference) -> Result<Option<Transaction>, LedgerUnavailable>;

    /// What waits for an outcome.
    async fn unresolved(&self) -> Result<Unresolved, LedgerUnavailable>;
}
