//! The outbox of the ledger's file.
//!
//! Invariant: what the writer has queued of claims and endings is committed together, after the units of work that
//! queued with it and in one transaction, so that a thousand deliveries cost no more commits than one; each is answered
//! after it is durable. A look that finds nothing due writes nothing. The statements of the outbox stand here.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::SqliteLedger;
use super::error::unavailable;
use super::rows::{self, Fields};
use crate::domain::Time;
use crate::domain::event::{Delivery, Event, EventId};
use crate::domain::ids::{ExtTransactionId, PartnerId};
use crate::domain::transaction::{Kind, TransactionKey};
use crate::ports::ledger::LedgerUnavailable;
use crate::ports::outbox::{Claim, Claimed, DeadLetter, Ending, Outbox, Resend};

/// Something to be written.
#[derive(Debug)]
pub(super) enum Write {
    /// Claims what is due.
    Claim(Claim),
    /// Ends a claim.
    End(EventId, u32, Ending),
    /// Makes events due again.
    Resend(Resend, Time),
}

/// What was written.
#[derive(Debug, Clone)]
pub(super) enum Written {
    /// These events are claimed.
    Claimed(Vec<Claimed>),
    /// So many rows have changed.
    Rows(usize),
}

/// Events that are due and may be claimed: a refund's waits for that of its charge.
const CLAIMABLE: &str = "SELECT o.seq FROM outbox o JOIN transactions t ON t.seq = o.transaction_seq \
     WHERE o.partner = ?1 AND o.delivery = 'due' AND o.next_attempt_at_us <= ?2 AND (t.kind = 'charge' OR NOT EXISTS (\
     SELECT 1 FROM transactions c JOIN outbox p ON p.transaction_seq = c.seq \
     WHERE c.partner = t.partner AND c.kind = 'charge' AND c.ext_id = coalesce(t.sent_reference_id, t.ext_id) \
     AND p.delivery = 'due')) ORDER BY o.next_attempt_at_us, o.seq LIMIT ?3";

/// Commits writes of the outbox in one transaction.
pub(super) fn commit(connection: &mut Connection, writes: Vec<Write>) -> Vec<Result<Written, LedgerUnavailable>> {
    let count = writes.len();
    match transact(connection, writes) {
        Ok(written) => written.into_iter().map(Ok).collect(),
        Err(error) => {
            let unavailable = unavailable(error);
            (0..count).map(|_| Err(unavailable.clone())).collect()
        }
    }
}

fn transact(connection: &mut Connection, writes: Vec<Write>) -> rusqlite::Result<Vec<Written>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let written = writes
        .into_iter()
        .map(|write| match write {
            Write::Claim(asked) => claim(&transaction, &asked).map(Written::Claimed),
            Write::End(id, attempts, ending) => end(&transaction, &id, attempts, &ending).map(Written::Rows),
            Write::Resend(which, now) => resend(&transaction, &which, now).map(Written::Rows),
        })
        .collect::<Result<Vec<_>, _>>()?;
    transaction.commit()?;
    Ok(written)
}

fn is_any_claimable(connection: &Connection, asked: &Claim) -> rusqlite::Result<bool> {
    connection.prepare_cached(CLAIMABLE)?.exists(params![asked.partner.as_str(), asked.now.as_microsecond(), 1])
}

fn claim(connection: &Connection, asked: &Claim) -> rusqlite::Result<Vec<Claimed>> {
    let due: Vec<i64> = connection
        .prepare_cached(CLAIMABLE)?
        .query_map(params![asked.partner.as_str(), asked.now.as_microsecond(), asked.rows_max], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut claimed = Vec::with_capacity(due.len());
    for sequence in due {
        connection
            .prepare_cached("UPDATE outbox SET attempts = attempts + 1, next_attempt_at_us = ?2 WHERE seq = ?1")?
            .execute(params![sequence, asked.until.as_microsecond()])?;
        claimed.extend(read(connection, sequence)?);
    }
    Ok(claimed)
}

fn read(connection: &Connection, sequence: i64) -> rusqlite::Result<Option<Claimed>> {
    let told = connection
        .prepare_cached("SELECT event_id, at_us, attempts, transaction_seq FROM outbox WHERE seq = ?1")?
        .query_row([sequence], |row| {
            let mut fields = Fields::of(row);
            let (id, at) = (EventId::from_stored(fields.string()?), fields.time()?);
            Ok((id, at, fields.number::<u32>()?, fields.number::<i64>()?))
        })
        .optional()?;
    let Some((id, at, attempts, transaction_sequence)) = told else {
        return Ok(None);
    };
    let transaction = connection
        .prepare_cached(&format!("SELECT {} FROM transactions WHERE seq = ?1", rows::TRANSACTION))?
        .query_row([transaction_sequence], |row| rows::transaction(&mut Fields::of(row)))?;
    let event = Event { id, key: transaction.key.clone(), at, delivery: Delivery::Due };
    Ok(Some(Claimed { event, attempts, transaction }))
}

fn end(connection: &Connection, id: &EventId, attempts: u32, ending: &Ending) -> rusqlite::Result<usize> {
    let (word, at_us, note) = match ending {
        Ending::Delivered => ("delivered", None, None),
        Ending::Again { at, note } => ("due", Some(at.as_microsecond()), Some(note)),
        Ending::Dead { note } => ("dead", None, Some(note)),
    };
    connection
        .prepare_cached(
            "UPDATE outbox SET delivery = ?3, next_attempt_at_us = ?4, last_error = ?5 \
             WHERE event_id = ?1 AND attempts = ?2 AND delivery = 'due'",
        )?
        .execute(params![id.as_str(), attempts, word, at_us, note])
}

fn resend(connection: &Connection, which: &Resend, now: Time) -> rusqlite::Result<usize> {
    let now_us = now.as_microsecond();
    match which {
        Resend::One(partner, id) => connection
            .prepare_cached(
                "UPDATE outbox SET delivery = 'due', attempts = 0, next_attempt_at_us = ?2 \
                 WHERE event_id = ?1 AND partner = ?3 AND delivery IN ('delivered', 'dead')",
            )?
            .execute(params![id.as_str(), now_us, partner.as_str()]),
        Resend::DeadOf(partner) => connection
            .prepare_cached(
                "UPDATE outbox SET delivery = 'due', attempts = 0, next_attempt_at_us = ?2 \
                 WHERE partner = ?1 AND delivery = 'dead'",
            )?
            .execute(params![partner.as_str(), now_us]),
    }
}

fn dead(connection: &Connection, partner: Option<&PartnerId>, rows_max: u32) -> rusqlite::Result<Vec<DeadLetter>> {
    let whose = if partner.is_some() { "AND o.partner = ?2" } else { "AND ?2 IS NULL" };
    connection
        .prepare_cached(&format!(
            "SELECT o.event_id, o.at_us, o.attempts, o.last_error, t.partner, t.kind, t.ext_id FROM outbox o \
             JOIN transactions t ON t.seq = o.transaction_seq WHERE o.delivery = 'dead' {whose} \
             ORDER BY o.at_us DESC, o.seq DESC LIMIT ?1"
        ))?
        .query_map(params![rows_max, partner.map(PartnerId::as_str)], |row| {
            let mut fields = Fields::of(row);
            let (id, at) = (EventId::from_stored(fields.string()?), fields.time()?);
            let (attempts, note) = (fields.number()?, fields.string()?);
            let key = TransactionKey {
                partner: fields.text(|text| Some(PartnerId::new(text)))?,
                kind: fields.text(Kind::from_word)?,
                ext_transaction_id: fields.text(ExtTransactionId::parse)?,
            };
            Ok(DeadLetter { event: Event { id, key, at, delivery: Delivery::Due }, attempts, note })
        })?
        .collect()
}

impl SqliteLedger {
    async fn write_outbox(&self, write: Write) -> Result<Written, LedgerUnavailable> {
        self.writer.outbox(write).await
    }
}

#[async_trait]
impl Outbox for SqliteLedger {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Claimed>, LedgerUnavailable> {
        let asked = claim.clone();
        if !self.readers.lists.read(move |connection| is_any_claimable(connection, &asked)).await? {
            return Ok(Vec::new());
        }
        match self.write_outbox(Write::Claim(claim.clone())).await? {
            Written::Claimed(claimed) => Ok(claimed),
            Written::Rows(_) => Ok(Vec::new()),
        }
    }

    async fn end(&self, id: &EventId, attempts: u32, ending: Ending) -> Result<bool, LedgerUnavailable> {
        let written = self.write_outbox(Write::End(id.clone(), attempts, ending)).await?;
        Ok(matches!(written, Written::Rows(1..)))
    }

    async fn dead(&self, partner: Option<&PartnerId>, rows_max: u32) -> Result<Vec<DeadLetter>, LedgerUnavailable> {
        let partner = partner.cloned();
        self.readers.lists.read(move |connection| dead(connection, partner.as_ref(), rows_max)).await
    }

    async fn resend(&self, which: &Resend, now: Time) -> Result<u64, LedgerUnavailable> {
        match self.write_outbox(Write::Resend(which.clone(), now)).await? {
            Written::Rows(count) => Ok(u64::try_from(count).unwrap_or(u64::MAX)),
            Written::Claimed(_) => Ok(0),
        }
    }
}
