//! What those who run the gateway do: settle by hand, and watch what is not settled.
//!
//! Invariant: a person's outcome is decided on by the same rule, committed by the same ledger and told by the same event
//! as any other; a record that has moved on meanwhile is read and judged again. Who may ask is not decided here.

use crate::domain::ids::Reference;
use crate::domain::transaction::Transaction;
use crate::domain::transaction::decide::{self, Decision, NotForAPerson};
use crate::ports::Cause;
use crate::ports::ledger::{Commit, LedgerUnavailable};
use crate::ports::oversight::{Oversight, Unresolved};

use super::Gateway;

/// Most times a decision is tried anew because the gateway has changed the record meanwhile.
const CONFLICTS_MAX: u32 = 5;

/// Why nothing was settled.
#[derive(Debug, Clone)]
pub enum NotSettled {
    /// No record has this reference.
    NotFound,
    /// The record is not for a person to settle.
    Refused(NotForAPerson),
    /// The ledger cannot say. Nothing is known to be written: look again.
    Unavailable(Cause),
}

impl From<LedgerUnavailable> for NotSettled {
    fn from(error: LedgerUnavailable) -> Self {
        Self::Unavailable(error.0)
    }
}

/// Settles the stuck record of a reference as a person has decided.
///
/// # Errors
/// See [`NotSettled`].
pub async fn settle(
    gateway: &Gateway,
    oversight: &dyn Oversight,
    reference: &Reference,
    decision: &Decision,
) -> Result<Transaction, NotSettled> {
    for _ in 0..CONFLICTS_MAX {
        let record = oversight.by_reference(reference).await?.ok_or(NotSettled::NotFound)?;
        let unit = decide::by_person(&record, decision.clone(), &gateway.moment(&record.key.partner))
            .map_err(NotSettled::Refused)?;
        let next = unit.transaction.clone();
        if let Commit::Done { version } = gateway.ledger.commit(unit).await? {
            tracing::warn!(%reference, by = %decision.by, verdict = decision.verdict.word(), "settled by a person");
            let settled = Transaction { version, ..next };
            gateway.announce(&settled);
            return Ok(settled);
        }
    }
    Err(NotSettled::Unavailable(Cause::new("the record was changed again and again")))
}

/// For how many seconds the oldest of each kind waits; 0 where nothing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ages {
    /// Of an outcome that is unknown.
    pub unknown_s: i64,
    /// Of an outcome that its partner does not know.
    pub pending_s: i64,
    /// Of an event that is not delivered.
    pub event_s: i64,
}

/// What waits, and since when.
///
/// # Errors
/// The ledger cannot answer.
pub async fn unresolved(gateway: &Gateway, oversight: &dyn Oversight) -> Result<(Unresolved, Ages), LedgerUnavailable> {
    let unresolved = oversight.unresolved().await?;
    let now = gateway.clock.now().as_second();
    let age = |at: Option<crate::domain::Time>| at.map_or(0, |at| now.saturating_sub(at.as_second()).max(0));
    let ages = Ages {
        unknown_s: age(unresolved.oldest_unknown_at),
        pending_s: age(unresolved.oldest_pending_at),
        event_s: age(unresolved.oldest_due_at),
    };
    Ok((unresolved, ages))
}
