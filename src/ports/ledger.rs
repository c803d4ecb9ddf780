//! The port of the ledger: the system of record.
//!
//! Invariant: the ledger alone decides uniqueness, and answers only after what it answers is durable. A unit of work is
//! committed whole or not at all, and only if what it expects is there: the record's absence or version, room for
//! a refund's hold under its charge, and room under the ceilings of counters. Caches and locks elsewhere only make it fast.

use async_trait::async_trait;

use super::Cause;
use crate::domain::Time;
use crate::domain::account::AccountKey;
use crate::domain::ids::PartnerId;
use crate::domain::transaction::{Kind, Status, Transaction, TransactionKey, UnitOfWork};

/// What became of a unit of work that was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// It is durable. The record has this version now.
    Done {
        /// Version to expect at the next change.
        version: u32,
    },
    /// What it expected is not there: nothing was written. Reload and decide again.
    Conflict,
    /// All that it expected is there, but a counter has no room: nothing was written.
    Over {
        /// The place of the first such counter among those of the unit.
        counter: usize,
    },
}

/// The ledger cannot answer. After a commit: nothing is known to be written, and nothing may be acknowledged.
#[derive(Debug, Clone)]
pub struct LedgerUnavailable(pub Cause);

/// Where a page of a list begins: just after this row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// When its transaction was accepted, in microseconds since 1970.
    pub accepted_at_us: i64,
    /// The ledger's own number of it, which tells apart what was accepted in one microsecond.
    pub sequence: i64,
}

/// Which transactions to list.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// Whose.
    pub partner: PartnerId,
    /// Accepted at this time or later.
    pub since: Option<Time>,
    /// Accepted before this time.
    pub until: Option<Time>,
    /// With this status, as callers see it.
    pub status: Option<Status>,
    /// Charges or refunds only.
    pub kind: Option<Kind>,
    /// Of this account.
    pub account: Option<AccountKey>,
    /// After this row.
    pub after: Option<Cursor>,
    /// Most rows.
    pub rows_max: u32,
}

/// A row of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The record.
    pub transaction: Transaction,
    /// Where the next page would begin if this were the last row of its page.
    pub cursor: Cursor,
}

/// The system of record.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Commits a unit of work; answers after it is durable.
    async fn commit(&self, unit: UnitOfWork) -> Result<Commit, LedgerUnavailable>;

    /// The record under a key, in whatever state.
    async fn recall(&self, key: &TransactionKey) -> Result<Option<Transaction>, LedgerUnavailable>;

    /// The records under several keys, those that are there, in any order: for whoever watches many at once.
    async fn recall_all(&self, keys: &[TransactionKey]) -> Result<Vec<Transaction>, LedgerUnavailable>;

    /// Records that callers can see (released ones are not among them), newest first.
    async fn list(&self, query: &ListQuery) -> Result<Vec<Listed>, LedgerUnavailable>;

    /// Records that somebody must look at: their `due_at` is `now` or earlier. Oldest due first.
    async fn due(&self, now: Time, rows_max: u32) -> Result<Vec<Transaction>, LedgerUnavailable>;

    /// All records in whatever state, in the order in which they were begun: those after a number of the ledger's own (0:
    /// from the first on). For whoever has to look at every one, a bounded number at a time.
    async fn walk(&self, after: i64, rows_max: u32) -> Result<Vec<Listed>, LedgerUnavailable>;

    /// Whether the ledger would take a commit now.
    async fn check(&self) -> Result<(), LedgerUnavailable>;
}
