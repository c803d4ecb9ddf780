//! What those who run the gateway ask of its ledger.
//!
//! Invariant: everything here is asked through the connections for lists, so that no charge waits for it. References
//! have no index, since only people ask by them: stuck and due records are looked through first, and only then all others.

use async_trait::async_trait;

use super::PostgresLedger;
use super::error::Trouble;
use super::pool::{Does, Pool};
use super::rows::{self, Fields, TRANSACTION};
use crate::domain::ids::Reference;
use crate::domain::transaction::Transaction;
use crate::ports::ledger::LedgerUnavailable;
use crate::ports::oversight::{Oversight, Unresolved};

/// Where a reference is looked for, the smallest set first.
const PLACES: [&str; 3] = ["t.stuck IS NOT NULL", "t.due_at_us IS NOT NULL", "TRUE"];

#[async_trait]
impl Oversight for PostgresLedger {
    async fn by_reference(&self, reference: &Reference) -> Result<Option<Transaction>, LedgerUnavailable> {
        Ok(by_reference(&self.lists, reference).await?)
    }

    async fn unresolved(&self) -> Result<Unresolved, LedgerUnavailable> {
        Ok(unresolved(&self.lists).await?)
    }
}

async fn by_reference(pool: &Pool, reference: &Reference) -> Result<Option<Transaction>, Trouble> {
    for place in PLACES {
        let text = format!("SELECT {TRANSACTION} FROM transactions AS t WHERE {place} AND t.reference = $1 LIMIT 1");
        let rows = pool.query(Does::Read, &text, &[&reference.as_bytes().as_slice()]).await?;
        if let Some(row) = rows.first() {
            return rows::transaction(&mut Fields::of(row)).map(Some);
        }
    }
    Ok(None)
}

async fn unresolved(pool: &Pool) -> Result<Unresolved, Trouble> {
    let text = "SELECT (SELECT count(*) FROM transactions WHERE stuck IS NOT NULL), \
         (SELECT count(*) FROM transactions WHERE state IN ('pending', 'unknown') AND state = 'unknown'), \
         (SELECT min(accepted_at_us) FROM transactions \
          WHERE state IN ('pending', 'unknown') AND state = 'unknown'), \
         (SELECT min(accepted_at_us) FROM transactions WHERE state IN ('pending', 'unknown')), \
         (SELECT count(*) FROM outbox WHERE delivery = 'due'), \
         (SELECT min(at_us) FROM outbox WHERE delivery = 'due'), \
         (SELECT count(*) FROM outbox WHERE delivery = 'dead')";
    let rows = pool.query(Does::Read, text, &[]).await?;
    let row = rows.first().ok_or(Trouble::Unreadable(0))?;
    let mut fields = Fields::of(row);
    Ok(Unresolved {
        stuck: fields.number()?,
        unknown: fields.number()?,
        oldest_unknown_at: fields.time_or_null()?,
        oldest_pending_at: fields.time_or_null()?,
        due_events: fields.number()?,
        oldest_due_at: fields.time_or_null()?,
        dead_letters: fields.number()?,
    })
}
