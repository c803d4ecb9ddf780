//! Every statement that works on the ledger's tables.
//!
//! Invariant: SQL is written here and in the schema, and nowhere else; values are always bound, never pasted in. Each
//! write names exactly the columns that its change may touch. Whether a change may be made is not decided here, the cap
//! of a charge's refunds excepted: that is decided where it is written, so that nothing can come between.

use std::cmp::min;
use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::super::days::day_begins_us;
use super::super::judge::Stored;
use super::super::words;
use super::rows::{self, Fields};
use crate::domain::Time;
use crate::domain::account::{AccountKey, SealedAccountId};
use crate::domain::address::Address;
use crate::domain::event::Event;
use crate::domain::ids::ExtTransactionId;
use crate::domain::limits::{self, CounterChange, CounterName};
use crate::domain::transaction::decide::Decision;
use crate::domain::transaction::{
    BookAccount, COMPARED_VERSION, Hold, Kind, Posting, Status, Transaction, TransactionKey,
};
use crate::ports::ledger::{Cursor, ListQuery, Listed};

/// Bytes that a probe writes: more than one unit of work needs, so that a probe that succeeds speaks for a unit.
const PROBE_BYTES: u32 = 64 * 1024;

/// The record under a key, as far as a unit of work is judged by it, and its sequence.
pub(super) fn find(connection: &Connection, key: &TransactionKey) -> rusqlite::Result<Option<(i64, Stored)>> {
    connection
        .prepare_cached(
            "SELECT seq, state, version, reference FROM transactions WHERE partner = ?1 AND kind = ?2 AND ext_id = ?3",
        )?
        .query_row(params![key.partner.as_str(), key.kind.word(), key.ext_transaction_id.as_str()], |row| {
            let mut fields = Fields::of(row);
            let sequence = fields.number()?;
            let (state, version, reference) = (fields.state()?, fields.number()?, fields.reference()?);
            Ok((sequence, Stored { state, version, reference }))
        })
        .optional()
}

/// Writes a new record and answers its sequence.
pub(super) fn insert(connection: &Connection, record: &Transaction, version: u32) -> rusqlite::Result<i64> {
    let sent = &record.compared;
    connection
        .prepare_cached(
            "INSERT INTO transactions (partner, kind, ext_id, reference, state, version, lease_owner, lease_until_us, \
             due_at_us, sent_before_us, inquiries, failure, private_note, stuck, accepted_at_us, csp, account_ref, \
             charge_code, amount_minor, currency, compared_version, sent_address_type, sent_address, sent_account_id, \
             sent_product, sent_amount, sent_currency, sent_description, sent_reference_id, counted) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, \
             ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30)",
        )?
        .execute(params![
            record.key.partner.as_str(),
            record.key.kind.word(),
            record.key.ext_transaction_id.as_str(),
            record.reference.as_bytes(),
            words::state_word(record.state),
            version,
            record.lease.as_ref().map(|lease| lease.owner.as_str()),
            record.lease.as_ref().map(|lease| lease.until.as_microsecond()),
            record.due_at.map(Time::as_microsecond),
            record.sent_before.as_microsecond(),
            record.inquiries,
            record.failure.as_deref(),
            record.private_note.as_deref(),
            record.stuck.as_deref(),
            record.accepted_at.as_microsecond(),
            record.account.csp.as_str(),
            record.account.reference.as_str(),
            record.charge_code.as_str(),
            record.money.minor,
            record.money.currency.code(),
            COMPARED_VERSION,
            sent.address.as_ref().map(Address::type_word),
            sent.address.as_ref().map(Address::expose),
            sent.account_id.as_ref().map(SealedAccountId::as_str),
            sent.partner_product.as_str(),
            sent.amount.to_string(),
            &*sent.currency,
            &*sent.description,
            sent.reference_id.as_ref().map(ExtTransactionId::as_str),
            limits::to_text(&record.counted),
        ])?;
    Ok(connection.last_insert_rowid())
}

/// Writes what a released record is taken up with: what its new intent has decided anew, and nothing of its request.
pub(super) fn take_up(connection: &Connection, sequence: i64, record: &Transaction) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE transactions SET accepted_at_us = ?2, csp = ?3, account_ref = ?4, charge_code = ?5, \
             amount_minor = ?6, currency = ?7, counted = ?8 WHERE seq = ?1",
        )?
        .execute(params![
            sequence,
            record.accepted_at.as_microsecond(),
            record.account.csp.as_str(),
            record.account.reference.as_str(),
            record.charge_code.as_str(),
            record.money.minor,
            record.money.currency.code(),
            limits::to_text(&record.counted),
        ])
        .map(drop)
}

/// Writes where a record has moved to. What refunds hold of it is not touched: only holds change that.
pub(super) fn advance(
    connection: &Connection,
    sequence: i64,
    record: &Transaction,
    version: u32,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE transactions SET state = ?2, version = ?3, lease_owner = ?4, lease_until_us = ?5, due_at_us = ?6, \
             sent_before_us = ?7, inquiries = ?8, failure = ?9, private_note = ?10, stuck = ?11 WHERE seq = ?1",
        )?
        .execute(params![
            sequence,
            words::state_word(record.state),
            version,
            record.lease.as_ref().map(|lease| lease.owner.as_str()),
            record.lease.as_ref().map(|lease| lease.until.as_microsecond()),
            record.due_at.map(Time::as_microsecond),
            record.sent_before.as_microsecond(),
            record.inquiries,
            record.failure.as_deref(),
            record.private_note.as_deref(),
            record.stuck.as_deref(),
        ])
        .map(drop)
}

/// Writes a note on a final record.
pub(super) fn note(connection: &Connection, sequence: i64, record: &Transaction, version: u32) -> rusqlite::Result<()> {
    let (word, digest) = record.forgotten.as_ref().map(words::digest_words).unzip();
    connection
        .prepare_cached(
            "UPDATE transactions SET version = ?2, private_note = ?3, stuck = ?4, \
             sent_address_type = coalesce(?5, sent_address_type), sent_address = coalesce(?6, sent_address) \
             WHERE seq = ?1",
        )?
        .execute(params![sequence, version, record.private_note.as_deref(), record.stuck.as_deref(), word, digest])
        .map(drop)
}

/// Changes a refund's share of its charge; `false`, with nothing written, where the charge is not there, is not
/// Success, or has no room.
pub(super) fn take_share(connection: &Connection, hold: &Hold) -> rusqlite::Result<bool> {
    let key = &hold.charge;
    connection
        .prepare_cached(
            "UPDATE transactions SET refunds_held_minor = refunds_held_minor + ?4, \
             refunds_done_minor = refunds_done_minor + ?5 \
             WHERE partner = ?1 AND kind = ?2 AND ext_id = ?3 AND state = 'success' \
             AND refunds_held_minor + ?4 BETWEEN 0 AND amount_minor \
             AND refunds_done_minor + ?5 BETWEEN 0 AND refunds_held_minor + ?4",
        )?
        .execute(params![
            key.partner.as_str(),
            key.kind.word(),
            key.ext_transaction_id.as_str(),
            hold.held_minor,
            hold.done_minor,
        ])
        .map(|changed| changed == 1)
}

/// Minor units that a counter stands at; one that is not there stands at none.
pub(super) fn used_minor(connection: &Connection, counter: &CounterName) -> rusqlite::Result<i64> {
    let found = connection
        .prepare_cached("SELECT used_minor FROM counters WHERE name = ?1")?
        .query_row([counter.as_str()], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Changes a counter. Whether it has room was looked at before.
pub(super) fn count(connection: &Connection, change: &CounterChange) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO counters (name, used_minor) VALUES (?1, ?2) \
             ON CONFLICT (name) DO UPDATE SET used_minor = used_minor + excluded.used_minor",
        )?
        .execute(params![change.counter.as_str(), change.by_minor])
        .map(drop)
}

/// Writes the double entry of a transaction.
pub(super) fn post(connection: &Connection, sequence: i64, postings: &[Posting]) -> rusqlite::Result<()> {
    if postings.is_empty() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(
        "INSERT INTO postings (transaction_seq, line, book, owner, account_ref, minor, currency) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for (line, posting) in (1_u32..).zip(postings) {
        let (book, owner, account_ref) = match &posting.account {
            BookAccount::Subscriber(csp, reference) => ("subscriber", csp.as_str(), Some(reference.as_str())),
            BookAccount::Partner(partner) => ("partner", partner.as_str(), None),
        };
        let (minor, currency) = (posting.money.minor, posting.money.currency);
        statement.execute(params![sequence, line, book, owner, account_ref, minor, currency.code()])?;
    }
    Ok(())
}

/// Puts the event of a transaction into the outbox.
pub(super) fn tell(connection: &Connection, sequence: i64, event: &Event) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO outbox (event_id, transaction_seq, partner, at_us, delivery, next_attempt_at_us) \
             VALUES (?1, ?2, ?3, ?4, ?5, CASE ?5 WHEN 'due' THEN ?4 END)",
        )?
        .execute(params![
            event.id.as_str(),
            sequence,
            event.partner().as_str(),
            event.at.as_microsecond(),
            words::delivery_word(event.delivery),
        ])
        .map(drop)
}

/// Keeps what a person has decided about a transaction.
pub(super) fn decide(connection: &Connection, sequence: i64, decision: &Decision) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO decisions (transaction_seq, decided_at_us, decided_as, decided_by, evidence) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            sequence,
            decision.at.as_microsecond(),
            decision.verdict.word(),
            &*decision.by,
            &*decision.evidence,
        ])
        .map(drop)
}

/// The record under a key.
pub(super) fn recall(connection: &Connection, key: &TransactionKey) -> rusqlite::Result<Option<Transaction>> {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        format!("SELECT {} FROM transactions WHERE partner = ?1 AND kind = ?2 AND ext_id = ?3", rows::TRANSACTION)
    });
    connection
        .prepare_cached(&TEXT)?
        .query_row(params![key.partner.as_str(), key.kind.word(), key.ext_transaction_id.as_str()], |row| {
            rows::transaction(&mut Fields::of(row))
        })
        .optional()
}

/// Records whose time has come, oldest due first.
pub(super) fn due(connection: &Connection, now: Time, rows_max: u32) -> rusqlite::Result<Vec<Transaction>> {
    connection
        .prepare_cached(&due_text())?
        .query_map(params![now.as_microsecond(), rows_max], |row| rows::transaction(&mut Fields::of(row)))?
        .collect()
}

/// The statement of what is due.
pub(super) fn due_text() -> String {
    format!("SELECT {} FROM transactions WHERE due_at_us <= ?1 ORDER BY due_at_us, seq LIMIT ?2", rows::TRANSACTION)
}

/// A page of a partner's records, newest first.
pub(super) fn list(connection: &Connection, query: &ListQuery) -> rusqlite::Result<Vec<Listed>> {
    let since_us = query.since.map_or(i64::MIN, ceiling_us);
    let before = before(query);
    if let Some(account) = &query.account {
        return list_of_account(connection, query, account, since_us, before);
    }
    let partner = query.partner.as_str();
    connection
        .prepare_cached(&list_text(query))?
        .query_map(params![partner, since_us, before.accepted_at_us, before.sequence, query.rows_max], listed)?
        .collect()
}

/// The same of one account: day by day, the newest first, through the days on which the partner had any transactions.
fn list_of_account(
    connection: &Connection,
    query: &ListQuery,
    account: &AccountKey,
    since_us: i64,
    mut before: Cursor,
) -> rusqlite::Result<Vec<Listed>> {
    let (partner, csp, reference) = (query.partner.as_str(), account.csp.as_str(), account.reference.as_str());
    let mut of_day = connection.prepare_cached(&list_text(query))?;
    let mut newest_day = connection.prepare_cached(DAY_TEXT)?;
    let mut found = Vec::new();
    let mut rows_left = query.rows_max;
    while rows_left > 0 {
        let values = params![partner, since_us, before.accepted_at_us, before.sequence];
        let Some(day) = newest_day.query_row(values, |row| row.get::<_, i64>(0)).optional()? else { break };
        let values = params![partner, since_us, before.accepted_at_us, before.sequence, rows_left, csp, reference, day];
        let begun = found.len();
        for row in of_day.query_map(values, listed)? {
            found.push(row?);
        }
        let count = u32::try_from(found.len().saturating_sub(begun)).unwrap_or(u32::MAX);
        rows_left = rows_left.saturating_sub(count);
        before = Cursor { accepted_at_us: day_begins_us(day), sequence: i64::MIN };
    }
    Ok(found)
}

/// The newest day on which a partner has any record.
pub(super) const DAY_TEXT: &str = "SELECT accepted_at_us / 86400000000 FROM transactions \
     WHERE partner = ?1 AND accepted_at_us >= ?2 AND (accepted_at_us, seq) < (?3, ?4) \
     ORDER BY accepted_at_us DESC, seq DESC LIMIT 1";

/// Records in the order in which they were begun, whatever they are.
pub(super) fn walk(connection: &Connection, after: i64, rows_max: u32) -> rusqlite::Result<Vec<Listed>> {
    let text = format!("SELECT seq, {} FROM transactions WHERE seq > ?1 ORDER BY seq LIMIT ?2", rows::TRANSACTION);
    connection.prepare_cached(&text)?.query_map(params![after, rows_max], listed)?.collect()
}

fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    let mut fields = Fields::of(row);
    let sequence = fields.number()?;
    let transaction = rows::transaction(&mut fields)?;
    let accepted_at_us = transaction.accepted_at.as_microsecond();
    Ok(Listed { transaction, cursor: Cursor { accepted_at_us, sequence } })
}

/// The statement of a list: one of a few texts, so that each filter can have an index of its own. That of an account is of
/// one day.
pub(super) fn list_text(query: &ListQuery) -> String {
    // SQLite cannot tell how few records one day of one account has, and is told which index to take.
    let (index, account) = if query.account.is_some() {
        (
            "INDEXED BY transactions_by_account",
            "AND csp = ?6 AND account_ref = ?7 AND accepted_at_us / 86400000000 = ?8",
        )
    } else {
        ("", "")
    };
    let status = match query.status {
        None => "AND state <> 'released'",
        Some(Status::Success) => "AND state = 'success'",
        Some(Status::Failure) => "AND state = 'failure'",
        Some(Status::Pending) => "AND state IN ('pending', 'unknown')",
    };
    // The plus keeps SQLite from the index of refunds where that of a status is the smaller one.
    let kind = match (query.kind, query.status) {
        (None, _) => "",
        (Some(Kind::Charge), _) => "AND kind = 'charge'",
        (Some(Kind::Refund), None | Some(Status::Success)) => "AND kind = 'refund'",
        (Some(Kind::Refund), Some(Status::Failure | Status::Pending)) => "AND +kind = 'refund'",
    };
    format!(
        "SELECT seq, {} FROM transactions {index} WHERE partner = ?1 AND accepted_at_us >= ?2 \
         AND (accepted_at_us, seq) < (?3, ?4) {account} {status} {kind} \
         ORDER BY accepted_at_us DESC, seq DESC LIMIT ?5",
        rows::TRANSACTION
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

/// Ends every lease: whoever held one is gone. Its record is due at once, before all others.
pub(super) fn end_leases(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE transactions SET lease_owner = NULL, lease_until_us = NULL, due_at_us = 0 \
         WHERE due_at_us IS NOT NULL AND lease_until_us IS NOT NULL",
        [],
    )
}

/// Writes as much as a unit of work may need.
pub(super) fn fill_probe(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("INSERT INTO probe (filler) VALUES (zeroblob(?1))")?.execute([PROBE_BYTES]).map(drop)
}

/// Gives back what probes have written.
pub(super) fn clear_probe(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM probe")?.execute([]).map(drop)
}
