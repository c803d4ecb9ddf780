//! What is read of records: one by its key, lists, and what is due.
//!
//! Invariant: values are always bound, never pasted in; a list is one of a few texts, so that each filter can have an
//! index of its own. Everything is read from the server that takes writes, so that nobody sees less than was answered.

use std::cmp::min;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::days::day_begins_us;
use super::error::Trouble;
use super::pool::{Does, Pool};
use super::rows::{self, Fields, TRANSACTION, stored};
use super::statements::OF_KEY;
use crate::domain::Time;
use crate::domain::account::AccountKey;
use crate::domain::transaction::{Kind, Status, Transaction, TransactionKey};
use crate::ports::ledger::{Cursor, ListQuery, Listed};

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
    if let Some(account) = &query.account {
        return list_of_account(pool, query, account, since_us, before).await;
    }
    let (partner, rows_max) = (stored(query.partner.as_str()), i64::from(query.rows_max));
    let values: [&(dyn ToSql + Sync); 5] = [&partner, &since_us, &before.accepted_at_us, &before.sequence, &rows_max];
    let rows = pool.query(Does::Read, &list_text(query), &values).await?;
    rows.iter().map(listed).collect()
}

/// The same of one account: some days at a time, and more the further back, beginning with the newest day on which the
/// partner had any transactions.
async fn list_of_account(
    pool: &Pool,
    query: &ListQuery,
    account: &AccountKey,
    since_us: i64,
    mut before: Cursor,
) -> Result<Vec<Listed>, Trouble> {
    let text = account_text(query);
    let partner = stored(query.partner.as_str());
    let (csp, reference) = (stored(account.csp.as_str()), stored(account.reference.as_str()));
    let mut found: Vec<Listed> = Vec::new();
    let mut rows_left = i64::from(query.rows_max);
    let mut days = 1_i64;
    while rows_left > 0 {
        let bounds: [&(dyn ToSql + Sync); 4] = [&partner, &since_us, &before.accepted_at_us, &before.sequence];
        let newest = pool.query(Does::Read, DAY_TEXT, &bounds).await?;
        let Some(row) = newest.first() else { break };
        let last: i64 = row.try_get(0)?;
        let first = last.saturating_sub(days).saturating_add(1);
        let values: [&(dyn ToSql + Sync); 9] = [
            &partner,
            &since_us,
            &before.accepted_at_us,
            &before.sequence,
            &rows_left,
            &csp,
            &reference,
            &first,
            &last,
        ];
        let rows = pool.query(Does::Read, &text, &values).await?;
        rows_left = rows_left.saturating_sub(i64::try_from(rows.len()).unwrap_or(i64::MAX));
        for row in &rows {
            found.push(listed(row)?);
        }
        before = Cursor { accepted_at_us: day_begins_us(first), sequence: i64::MIN };
        days = min(days.saturating_mul(4), DAYS_MAX);
    }
    Ok(found)
}

/// Most days that are asked for at once, each with a look at the index.
const DAYS_MAX: i64 = 256;

/// The newest day on which a partner has any record.
const DAY_TEXT: &str = "SELECT t.accepted_at_us / 86400000000 FROM transactions AS t \
     WHERE t.partner = $1 AND t.accepted_at_us >= $2 AND (t.accepted_at_us, t.seq) < ($3, $4) \
     ORDER BY t.accepted_at_us DESC, t.seq DESC LIMIT 1";

/// Days of one account. The partner is compared in a way for which no index is of use, so that the one of days is taken even
/// where there are no statistics yet.
fn account_text(query: &ListQuery) -> String {
    let filters = filters(query);
    format!(
        "SELECT t.seq, {TRANSACTION} FROM generate_series($8::bigint, $9::bigint) AS d (day) CROSS JOIN LATERAL \
         (SELECT * FROM transactions AS t WHERE t.accepted_at_us / 86400000000 = d.day AND t.account_ref = $7 \
          AND t.csp = $6 AND t.partner || '' = $1 AND t.accepted_at_us >= $2 AND (t.accepted_at_us, t.seq) < ($3, $4) \
          {filters} ORDER BY t.accepted_at_us DESC, t.seq DESC LIMIT $5) AS t \
         ORDER BY t.accepted_at_us DESC, t.seq DESC LIMIT $5"
    )
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
    format!(
        "SELECT t.seq, {TRANSACTION} FROM transactions AS t WHERE t.partner = $1 AND t.accepted_at_us >= $2 \
         AND (t.accepted_at_us, t.seq) < ($3, $4) {} ORDER BY t.accepted_at_us DESC, t.seq DESC LIMIT $5",
        filters(query)
    )
}

fn filters(query: &ListQuery) -> String {
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
    format!("{status} {kind}")
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
