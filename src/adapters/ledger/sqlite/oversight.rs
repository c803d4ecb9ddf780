//! What those who run the gateway ask of its ledger.
//!
//! Invariant: everything here runs on the threads for lists, so that no charge waits for it. References have no index,
//! since only people ask by them: stuck and due records are looked through first, and only then all others.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _};

use super::SqliteLedger;
use super::rows::{self, Fields};
use crate::domain::ids::Reference;
use crate::domain::transaction::Transaction;
use crate::ports::ledger::LedgerUnavailable;
use crate::ports::oversight::{Oversight, Unresolved};

/// Where a reference is looked for, the smallest set first.
const PLACES: [&str; 3] = ["stuck IS NOT NULL", "due_at_us IS NOT NULL", "TRUE"];

#[async_trait]
impl Oversight for SqliteLedger {
    async fn by_reference(&self, reference: &Reference) -> Result<Option<Transaction>, LedgerUnavailable> {
        let reference = *reference;
        self.readers.lists.read(move |connection| by_reference(connection, &reference)).await
    }

    async fn unresolved(&self) -> Result<Unresolved, LedgerUnavailable> {
        self.readers.lists.read(unresolved).await
    }
}

fn by_reference(connection: &Connection, reference: &Reference) -> rusqlite::Result<Option<Transaction>> {
    for place in PLACES {
        let text = format!("SELECT {} FROM transactions WHERE {place} AND reference = ?1 LIMIT 1", rows::TRANSACTION);
        let found = connection
            .prepare_cached(&text)?
            .query_row([reference.as_bytes()], |row| rows::transaction(&mut Fields::of(row)))
            .optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn unresolved(connection: &Connection) -> rusqlite::Result<Unresolved> {
    connection
        .prepare_cached(
            "SELECT (SELECT count(*) FROM transactions WHERE stuck IS NOT NULL), \
             (SELECT count(*) FROM transactions WHERE state IN ('pending', 'unknown') AND state = 'unknown'), \
             (SELECT min(accepted_at_us) FROM transactions \
              WHERE state IN ('pending', 'unknown') AND state = 'unknown'), \
             (SELECT min(accepted_at_us) FROM transactions WHERE state IN ('pending', 'unknown')), \
             (SELECT count(*) FROM outbox WHERE delivery = 'due'), \
             (SELECT min(at_us) FROM outbox WHERE delivery = 'due'), \
             (SELECT count(*) FROM outbox WHERE delivery = 'dead')",
        )?
        .query_row([], |row| {
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
        })
}
