//! Reading transactions back: one by its id, or page by page.
//!
//! Invariant: a partner sees its own transactions only, and never a released one. A page token is sealed for its
//! partner together with the filters that it belongs to, so that it can neither be made up nor used for another list.

use super::{Caller, Gateway, Stop, account};
use crate::domain::Time;
use crate::domain::account::AccountKey;
use crate::domain::catalogue::{Violation, field, reason};
use crate::domain::ids::ExtTransactionId;
use crate::domain::transaction::{Kind, Refusal, Status, Transaction, TransactionKey};
use crate::ports::ledger::{Cursor, ListQuery};
use crate::ports::secrets::Purpose;

/// Rows on a page that names no size.
const PAGE_SIZE_DEFAULT: u32 = 50;
/// Most rows on a page.
const PAGE_SIZE_MAX: i64 = 500;

/// Reads the word for charge or refund; empty stands for charge.
pub fn read_kind(word: &str) -> Result<Kind, Vec<Violation>> {
    if word.is_empty() {
        return Ok(Kind::Charge);
    }
    Kind::from_word(word).ok_or_else(|| vec![Violation::on(field::KIND, reason::ONE_OF_KIND)])
}

/// Use cases 24 and 25: one transaction as it stands.
pub async fn get(gateway: &Gateway, caller: &Caller, id: &str, kind: Kind) -> Result<Transaction, Stop> {
    let ext_transaction_id = ExtTransactionId::parse(id).ok_or(Refusal::TransactionNotFound)?;
    let key = TransactionKey { partner: caller.partner.id.clone(), kind, ext_transaction_id };
    let record = gateway.ledger.recall(&key).await?;
    let visible = record.filter(|record| record.state.status().is_some());
    visible.ok_or_else(|| Refusal::TransactionNotFound.into())
}

/// A list as it was asked for.
#[derive(Debug, Clone)]
pub struct RawList<'a> {
    /// Rows on a page, where one was named.
    pub page_size: Option<i32>,
    /// Token of the page, or empty.
    pub page_token: &'a str,
    /// Start, inclusive; `Err` where it was no time.
    pub since: Option<Result<Time, ()>>,
    /// End, exclusive; `Err` where it was no time.
    pub until: Option<Result<Time, ()>>,
    /// Status, or empty.
    pub status: &'a str,
    /// Account id, or empty.
    pub account_id: &'a str,
}

/// A list that can be asked for.
#[derive(Debug, Clone)]
pub struct ReadList {
    query: ListQuery,
    account_id: Option<String>,
    filters: String,
}

/// Reads what to list.
///
/// # Errors
/// Every violation, in the order of the fields.
pub fn read_list(gateway: &Gateway, caller: &Caller, raw: &RawList<'_>) -> Result<ReadList, Vec<Violation>> {
    let mut violations = Vec::new();
    let size = raw.page_size.map_or(i64::from(PAGE_SIZE_DEFAULT), i64::from);
    let rows_max = u32::try_from(size).ok().filter(|_| (1..=PAGE_SIZE_MAX).contains(&size));
    if rows_max.is_none() {
        violations.push(Violation::on(field::PAGE_SIZE, reason::between(1, PAGE_SIZE_MAX, "")));
    }
    let since = read_time(raw.since, field::SINCE);
    let until = read_time(raw.until, field::UNTIL);
    let filters = format!("{:?} {:?} {} {}", raw.since, raw.until, raw.status, raw.account_id);
    let after = match raw.page_token {
        "" => None,
        token => {
            let opened = open_token(gateway, caller, token, &filters);
            if opened.is_none() {
                violations.push(Violation::on(field::PAGE_TOKEN, reason::NOT_VALID));
            }
            opened
        }
    };
    let status = Status::from_word(raw.status);
    violations.extend(since.as_ref().err().cloned());
    violations.extend(until.as_ref().err().cloned());
    if status.is_none() && !raw.status.is_empty() {
        violations.push(Violation::on(field::STATUS, reason::ONE_OF_STATUS));
    }
    match (violations.is_empty(), since, until, rows_max) {
        (true, Ok(since), Ok(until), Some(rows_max)) => Ok(ReadList {
            query: ListQuery {
                partner: caller.partner.id.clone(),
                since,
                until,
                status,
                kind: None,
                account: None,
                after,
                rows_max,
            },
            account_id: (!raw.account_id.is_empty()).then(|| raw.account_id.to_owned()),
            filters,
        }),
        _ => Err(violations),
    }
}

fn read_time(raw: Option<Result<Time, ()>>, name: &'static str) -> Result<Option<Time>, Violation> {
    match raw {
        None => Ok(None),
        Some(Ok(time)) => Ok(Some(time)),
        Some(Err(())) => Err(Violation::on(name, reason::TIME)),
    }
}

/// One page of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// Its rows, newest first.
    pub transactions: Vec<Transaction>,
    /// Token of the next page; empty on the last.
    pub next_page_token: String,
}

/// Lists a partner's transactions, newest first.
pub async fn list(gateway: &Gateway, caller: &Caller, asked: ReadList) -> Result<Page, Stop> {
    let mut query = asked.query;
    if let Some(sealed) = &asked.account_id {
        let key: AccountKey = account::unseal(gateway, caller, sealed).ok_or(Refusal::AccountNotFound)?;
        query.account = Some(key);
    }
    let page_size = query.rows_max;
    // One row more than the page tells whether there is a next one.
    query.rows_max = page_size.saturating_add(1);
    let mut rows = gateway.ledger.list(&query).await?;
    let page_size = usize::try_from(page_size).unwrap_or(usize::MAX);
    let more = rows.len() > page_size;
    rows.truncate(page_size);
    let next_page_token = match rows.last() {
        Some(last) if more => seal_token(gateway, caller, last.cursor, &asked.filters),
        Some(_) | None => String::new(),
    };
    Ok(Page { transactions: rows.into_iter().map(|row| row.transaction).collect(), next_page_token })
}

fn seal_token(gateway: &Gateway, caller: &Caller, cursor: Cursor, filters: &str) -> String {
    let plain = format!("{} {} {filters}", cursor.accepted_at_us, cursor.sequence);
    gateway.secrets.seal(Purpose::PageToken, &caller.partner.id, plain.as_bytes())
}

fn open_token(gateway: &Gateway, caller: &Caller, token: &str, filters: &str) -> Option<Cursor> {
    let plain = gateway.secrets.open(Purpose::PageToken, &caller.partner.id, token)?;
    let plain = String::from_utf8(plain).ok()?;
    let mut parts = plain.splitn(3, ' ');
    let accepted_at_us = parts.next()?.parse().ok()?;
    let sequence = parts.next()?.parse().ok()?;
    (parts.next()? == filters).then_some(Cursor { accepted_at_us, sequence })
}
