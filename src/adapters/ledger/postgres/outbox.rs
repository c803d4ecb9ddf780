//! The outbox of the ledger's database.
//!
//! Invariant: a claim takes rows that nobody else is taking, so that each event is in one claim only; it is answered
//! after it is durable, and so is the end of one. A look that finds nothing due writes nothing. The statements of the
//! outbox stand here, but for the one that puts events into it.

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::PostgresLedger;
use super::error::Trouble;
use super::pool::{Does, Pool};
use super::rows::{self, Fields, TRANSACTION, stored};
use crate::domain::Time;
use crate::domain::event::{Delivery, Event, EventId};
use crate::domain::ids::PartnerId;
use crate::ports::ledger::LedgerUnavailable;
use crate::ports::outbox::{Claim, Claimed, DeadLetter, Ending, Outbox, Resend};

/// Claims events that are due, longest due first: a refund's waits for that of its charge. What another gateway is
/// claiming this very moment is passed over.
fn claim_text() -> String {
    format!(
        "WITH due AS (SELECT o.seq, o.next_attempt_at_us AS due_at_us FROM outbox AS o \
          JOIN transactions AS t ON t.seq = o.transaction_seq \
          WHERE o.partner = $1 AND o.delivery = 'due' AND o.next_attempt_at_us <= $2 \
          AND (t.kind = 'charge' OR NOT EXISTS (SELECT 1 FROM transactions AS c \
           JOIN outbox AS p ON p.transaction_seq = c.seq WHERE c.ext_id = coalesce(t.sent_reference_id, t.ext_id) \
           AND c.kind = 'charge' AND c.partner || '' = t.partner AND p.delivery = 'due')) \
          ORDER BY o.next_attempt_at_us, o.seq LIMIT $3 FOR UPDATE OF o SKIP LOCKED), \
         claimed AS (UPDATE outbox AS o SET attempts = o.attempts + 1, next_attempt_at_us = $4 FROM due \
          WHERE o.seq = due.seq RETURNING o.seq, due.due_at_us, o.event_id, o.at_us, o.attempts, o.transaction_seq) \
         SELECT n.event_id, n.at_us, n.attempts, {TRANSACTION} FROM claimed AS n \
         JOIN transactions AS t ON t.seq = n.transaction_seq ORDER BY n.due_at_us, n.seq"
    )
}

async fn claim(pool: &Pool, asked: &Claim) -> Result<Vec<Claimed>, Trouble> {
    let (partner, rows_max) = (stored(asked.partner.as_str()), i64::from(asked.rows_max));
    let (now_us, until_us) = (asked.now.as_microsecond(), asked.until.as_microsecond());
    let rows = pool.query(Does::Write, &claim_text(), &[&partner, &now_us, &rows_max, &until_us]).await?;
    rows.iter().map(claimed).collect()
}

fn claimed(row: &Row) -> Result<Claimed, Trouble> {
    let mut fields = Fields::of(row);
    let (id, at) = (EventId::from_stored(fields.string()?), fields.time()?);
    let attempts = fields.number()?;
    let transaction = rows::transaction(&mut fields)?;
    let event = Event { id, key: transaction.key.clone(), at, delivery: Delivery::Due };
    Ok(Claimed { event, attempts, transaction })
}

async fn end(pool: &Pool, id: &EventId, attempts: u32, ending: &Ending) -> Result<bool, Trouble> {
    let (word, at_us, note) = match ending {
        Ending::Delivered => ("delivered", None, None),
        Ending::Again { at, note } => ("due", Some(at.as_microsecond()), Some(stored(note))),
        Ending::Dead { note } => ("dead", None, Some(stored(note))),
    };
    let text = "UPDATE outbox SET delivery = $3, next_attempt_at_us = $4, last_error = $5 \
         WHERE event_id = $1 AND attempts = $2 AND delivery = 'due' RETURNING seq";
    let id = stored(id.as_str());
    let rows = pool.query(Does::Write, text, &[&id, &i64::from(attempts), &word, &at_us, &note]).await?;
    Ok(!rows.is_empty())
}

async fn dead(pool: &Pool, partner: Option<&PartnerId>, rows_max: u32) -> Result<Vec<DeadLetter>, Trouble> {
    let whose = if partner.is_some() { "AND o.partner = $2" } else { "" };
    let text = format!(
        "SELECT o.event_id, o.at_us, o.attempts, o.last_error, t.partner, t.kind, t.ext_id FROM outbox AS o \
         JOIN transactions AS t ON t.seq = o.transaction_seq WHERE o.delivery = 'dead' {whose} \
         ORDER BY o.at_us DESC, o.seq DESC LIMIT $1"
    );
    let (rows_max, partner) = (i64::from(rows_max), partner.map(|partner| stored(partner.as_str())));
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&rows_max];
    values.extend(partner.iter().map(|partner| -> &(dyn ToSql + Sync) { partner }));
    let rows = pool.query(Does::Read, &text, &values).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            let (id, at) = (EventId::from_stored(fields.string()?), fields.time()?);
            let (attempts, note) = (fields.number()?, fields.string()?);
            Ok(DeadLetter { event: Event { id, key: fields.key()?, at, delivery: Delivery::Due }, attempts, note })
        })
        .collect()
}

async fn resend(pool: &Pool, which: &Resend, now: Time) -> Result<usize, Trouble> {
    let now_us = now.as_microsecond();
    let rows = match which {
        Resend::One(partner, id) => {
            let text = "UPDATE outbox SET delivery = 'due', attempts = 0, next_attempt_at_us = $2 \
                 WHERE event_id = $1 AND partner = $3 AND delivery IN ('delivered', 'dead') RETURNING seq";
            let (id, partner) = (stored(id.as_str()), stored(partner.as_str()));
            pool.query(Does::Write, text, &[&id, &now_us, &partner]).await?
        }
        Resend::DeadOf(partner) => {
            let text = "UPDATE outbox SET delivery = 'due', attempts = 0, next_attempt_at_us = $2 \
                 WHERE partner = $1 AND delivery = 'dead' RETURNING seq";
            pool.query(Does::Write, text, &[&stored(partner.as_str()), &now_us]).await?
        }
    };
    Ok(rows.len())
}

#[async_trait]
impl Outbox for PostgresLedger {
    async fn claim(&self, asked: &Claim) -> Result<Vec<Claimed>, LedgerUnavailable> {
        Ok(claim(&self.lists, asked).await?)
    }

    async fn end(&self, id: &EventId, attempts: u32, ending: Ending) -> Result<bool, LedgerUnavailable> {
        Ok(end(&self.lists, id, attempts, &ending).await?)
    }

    async fn dead(&self, partner: Option<&PartnerId>, rows_max: u32) -> Result<Vec<DeadLetter>, LedgerUnavailable> {
        Ok(dead(&self.lists, partner, rows_max).await?)
    }

    async fn resend(&self, which: &Resend, now: Time) -> Result<u64, LedgerUnavailable> {
        Ok(u64::try_from(resend(&self.lists, which, now).await?).unwrap_or(u64::MAX))
    }
}
