//! `onbill ledger stuck`: the records whose outcome only a person can find out.
//!
//! Invariant: what is listed is enough to ask the CSP (its reference, amount and time) and names no address. The list
//! is bounded, and says so where it was cut.

use std::io::{self, Write};

use serde::Serialize;

use super::{Outcome, Place, failed};
use crate::domain::Time;
use crate::ports::inspection::{LedgerInspection, StuckRecord};

/// Most records that are listed: more than anybody settles in a day.
const ROWS_MAX: u32 = 10_000;

/// Arguments of `ledger stuck`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A record is stuck where the CSP gives no clear answer about it, or contradicts an outcome that
is final. Callers see the first kind as Pending until a person has asked the CSP, by the
reference, and settles it with onbill ledger settle. A contradicted outcome stays: it is
corrected at the CSP, or with a refund.

Examples:
  onbill ledger stuck --data-dir /var/lib/onbill
  onbill ledger stuck --data-dir /var/lib/onbill --json
  onbill ledger stuck --config gateway.toml

Exit codes: 0 listed (also where there are none), 1 the ledger cannot be read,
2 wrong arguments.")]
pub struct Arguments {
    /// Which ledger.
    #[command(flatten)]
    pub place: Place,
    /// Answer in JSON: count, oldest_age_s, complete, records.
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    count: usize,
    oldest_age_s: Option<i64>,
    complete: bool,
    records: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    reference: String,
    partner: &'a str,
    kind: &'a str,
    ext_transaction_id: &'a str,
    csp: &'a str,
    state: &'a str,
    amount: &'a str,
    currency: &'a str,
    accepted_at: String,
    age_s: i64,
    inquiries: u32,
    why: &'a str,
    note: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn of(stuck: &'a StuckRecord, now: Time) -> Self {
        Self {
            reference: stuck.reference.to_string(),
            partner: &stuck.record.partner,
            kind: &stuck.record.kind,
            ext_transaction_id: &stuck.record.ext_transaction_id,
            csp: &stuck.csp,
            state: stuck.state,
            amount: &stuck.amount,
            currency: stuck.currency.code(),
            accepted_at: stuck.accepted_at.to_string(),
            age_s: age_s(stuck.accepted_at, now),
            inquiries: stuck.inquiries,
            why: &stuck.why,
            note: stuck.note.as_deref(),
        }
    }
}

/// Whole seconds since; none where the gateway's clock was ahead.
fn age_s(accepted_at: Time, now: Time) -> i64 {
    now.as_second().saturating_sub(accepted_at.as_second()).max(0)
}

/// Lists what is stuck.
///
/// # Errors
/// An output that cannot be written to.
pub(super) fn run(
    arguments: &Arguments,
    ledger: &dyn LedgerInspection,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Outcome> {
    let stuck = match ledger.stuck(ROWS_MAX) {
        Ok(stuck) => stuck,
        Err(error) => return failed(error, err),
    };
    let now = Time::now();
    let rows: Vec<Row<'_>> = stuck.iter().map(|stuck| Row::of(stuck, now)).collect();
    let complete = u32::try_from(rows.len()).is_ok_and(|count| count < ROWS_MAX);
    if arguments.json {
        let oldest_age_s = rows.first().map(|row| row.age_s);
        let answer = Answer { count: rows.len(), oldest_age_s, complete, records: rows };
        serde_json::to_writer_pretty(&mut *out, &answer)?;
        writeln!(out)?;
        return Ok(Outcome::Done);
    }
    let Some(oldest) = rows.first() else {
        writeln!(out, "nothing is stuck")?;
        return Ok(Outcome::Done);
    };
    let more = if complete { "" } else { ", and more" };
    writeln!(out, "{} stuck{more}; the oldest for {} s", rows.len(), oldest.age_s)?;
    for row in &rows {
        let note = row.note.filter(|note| *note != row.why).map(|note| format!(" ({note})")).unwrap_or_default();
        writeln!(
            out,
            "{}  {} {} {}  {} {} at {}, {}, {}: {}{note}",
            row.reference,
            row.partner,
            row.kind,
            row.ext_transaction_id,
            row.amount,
            row.currency,
            row.csp,
            row.accepted_at,
            row.state,
            row.why
        )?;
    }
    Ok(Outcome::Done)
}
