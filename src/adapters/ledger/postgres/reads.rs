//! What is read of records: one by its key, lists, and what is due.
//!
//! Invariant: values are always bound, never pasted in; a list is one of a few texts, so that each filter can have an
//! index of its own. Everything is read from the server that takes writes, so that nobody sees less than was answered.

use std::cmp::min;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::error::Trouble;
use super::pool::{Does, Pool};
use super::rows::{self, Fields, TRANSACTION, stored};
use super::statements::OF_KEY;
use crate::domain::Time;
use crate::domain::transaction::{Kind, Status, Transaction, TransactionKey};
use crate::ports::ledger::{Cursor, ListQuery, Listed};

/// The record under a key.
pub(super) async fn recall(pool: &Pool, key: &TransactionKey) -> Result<Option<Transaction>, Trouble> {
    Ok(recall_all(pool, std::slice::from_ref(key)).await?.pop())
}

/// The records under several keys, in one question.
pub(super) async fn recall_all(pool: &Pool, keys: &[TransactionKey]) -> Result<Vec<Transaction>, Trouble> {
    let text = format!(
        "SELECT {TRANSACTION} FROM unnest($1::text[], $2::text[], $3::text[]) AS k (partner, kind, ext_id) \
         JOIN transactions AS t ON {OF_KEY}"
    );
    let partners: Vec<_> = keys.iter().map(|key| stored(key.partner.as_str())).collect();
    let kinds: Vec<&str> = keys.iter().map(|key| key.kind.word()).collect();
    let ids: Vec<&str> = keys.iter().map(|key| key.ext_transaction_id.as_str()).collect();
    let rows = pool.query(Does::Read, &text, &[&partners, &kinds, &ids]).await?;
    rows.iter().map(|row| rows::transaction(&mut Fields::of(row))).collect()
}

/// Records whose time has come, oldest due first.
pub(super) async fn due(pool: &Pool, now: Time, rows_max: u32) -> Result<Vec<Transaction>, Trouble> {
    let text = format!(
        "SELECT {TRANSACTION} FROM transactions AS t WHERE t.due_at_us <= $1 ORDER BY t.due_at_us, t.seq LIMIT $2"
    );
    let rows = pool.query(Does::Read, &text, &[&now.as_microsecond(), &i64::from(rows_max)]).await?;
    rows.iter().map(|row| rows::transaction(&mut Fields::of(row))).collect()
}

/// A page of a partner's records, newest first.
pub(super) async fn list(pool: &Pool, query: &ListQuery) -> Result<Vec<Listed>, Trouble> {
    let since_us = query.since.map_or(i64::MIN, ceiling_us);
    let before = before(query);
    let (partner, rows_max) = (stored(query.partner.as_str()), i64::from(query.rows_max));
    let account = query.account.as_ref().map(|key| [stored(key.csp.as_str()), stored(key.reference.as_str())]);
    let mut values: Vec<&(dyn ToSql + Sync)> =
        vec![&partner, &since_us, &before.accepted_at_us, &before.sequence, &rows_max];
    values.extend(account.iter().flatten().map(|text| -> &(dyn ToSql + Sync) { text }));
    let rows = pool.query(Does::Read, &list_text(query), &values).await?;
    rows.iter().map(listed).collect()
}

/// Records in the order in which they were begun, whatever they are.
pub(super) async fn walk(pool: &Pool, after: i64, rows_max: u32) -> Result<Vec<Listed>, Trouble> {
    let text = format!("SELECT t.seq, {TRANSACTION} FROM transactions AS t WHERE t.seq > $1 ORDER BY t.seq LIMIT $2");
    let rows = pool.query(Does::Read, &text, &[&after, &i64::from(rows_max)]).await?;
    rows.iter().map(listed).collect()
}

fn listed(row: &Row) -> Result<Listed, Trouble> {
    let mut fields = Fields::of(row);
    let sequence = fields.number()?;
    let transaction = rows::transaction(&mut fields)?;
    let accepted_at_us = transaction.accepted_at.as_microsecond();
    Ok(Listed { transaction, cursor: Cursor { accepted_at_us, sequence } })
}

fn list_text(query: &ListQuery) -> String {
    let account = if query.account.is_some() { "AND t.csp = $6 AND t.account_ref = $7" } else { "" };
    let status = match query.status {
        None => "AND t.state <> 'released'",
        Some(Status::Success) => "AND t.state = 'success'",
        Some(Status::Failure) => "AND t.state = 'failure'",
        Some(Status::Pending) => "AND t.state IN ('pending', 'unknown')",
    };
    let kind = match query.kind {
        None => "",
        Some(Kind::Charge) => "AND t.kind = 'charge'",
        Some(Kind::Refund) => "AND t.kind = 'refund'",
    };
    format!(
        "SELECT t.seq, {TRANSACTION} FROM transactions AS t WHERE t.partner = $1 AND t.accepted_at_us >= $2 \
         AND (t.accepted_at_us, t.seq) < ($3, $4) {account} {status} {kind} \
         ORDER BY t.accepted_at_us DESC, t.seq DESC LIMIT $5"
    )
}

/// The place before which a list begins: the cursor or the end of the time asked for, whichever is earlier.
fn before(query: &ListQuery) -> Cursor {
    let end = |accepted_at_us| Cursor { accepted_at_us, sequence: i64::MIN };
    let until =
        query.until.map_or(Cursor { accepted_at_us: i64::MAX, sequence: i64::MAX }, |until| end(ceiling_us(until)));
    match query.after {
        Some(after) => {
            let place = |cursor: Cursor| (cursor.accepted_at_us, cursor.sequence);
            let (accepted_at_us, sequence) = min(place(after), place(until));
            Cursor { accepted_at_us, sequence }
        }
        None => until,
    }
}

/// The first whole microsecond that is not earlier: records are kept in whole ones, bounds may be finer.
fn ceiling_us(time: Time) -> i64 {
    let whole_us = time.as_microsecond();
    let is_later = Time::from_microsecond(whole_us).is_ok_and(|whole| whole < time);
    if is_later { whole_us.saturating_add(1) } else { whole_us }
}
