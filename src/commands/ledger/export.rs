//! `onbill ledger export`: one line a transaction, for finance.
//!
//! Invariant: amounts are exact decimals with their sign, and no address or account is written. In CSV no text of
//! somebody else begins as a formula would, so that a spreadsheet shows it and runs nothing; JSON lines have each text
//! as it is. Transactions that callers cannot see (nothing happened) are left out.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::{Outcome, Place, failed};
use crate::domain::Time;
use crate::domain::ids::{ExtTransactionId, PartnerId};
use crate::domain::money::Money;
use crate::domain::transaction::Status;
use crate::ports::inspection::{ExportQuery, Exported, InspectionError, LedgerInspection};

/// Arguments of `ledger export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Columns: accepted_at, partner, kind, ext_transaction_id, reference, refunds_of, csp, product,
charge_code, amount (negative on a refund), currency, status, message, refunded (what
refunds have given back of a charge), settled_at, settled_by (a person, if one decided).
Times are UTC, RFC 3339. Sums count lines with the status Success.

CSV is RFC 4180 with a header. A text that begins with = + - @ or a control character gets
an apostrophe in front, so that no spreadsheet takes it for a formula; amounts do not.

Examples:
  onbill ledger export --data-dir /var/lib/onbill --format csv --out november.csv \\
    --since 2026-11-01T00:00:00Z --until 2026-12-01T00:00:00Z
  onbill ledger export --file backup.sqlite --format jsonl --partner demo-ott

Exit codes: 0 written, 1 not written whole, 2 wrong arguments.")]
pub struct Arguments {
    /// Which ledger.
    #[command(flatten)]
    pub place: Place,
    /// How lines are written.
    #[arg(long, value_name = "AS")]
    pub format: Format,
    /// Only this partner's.
    #[arg(long, value_name = "ID")]
    pub partner: Option<String>,
    /// Accepted at this time or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub since: Option<Time>,
    /// Accepted before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub until: Option<Time>,
    /// A file that does not exist yet [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// RFC 4180, with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// The header of the CSV, in the order of [`Line::cells`].
const HEADER: &str = "accepted_at,partner,kind,ext_transaction_id,reference,refunds_of,csp,product,charge_code,amount,\
                      currency,status,message,refunded,settled_at,settled_by\r\n";

/// A transaction as finance reads it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    accepted_at: String,
    partner: &'a str,
    kind: &'static str,
    ext_transaction_id: &'a str,
    reference: String,
    refunds_of: Option<&'a str>,
    csp: &'a str,
    product: &'a str,
    charge_code: &'a str,
    amount: String,
    currency: &'a str,
    status: &'static str,
    message: &'a str,
    refunded: String,
    settled_at: Option<String>,
    settled_by: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn of(exported: &'a Exported) -> Self {
        let record = &exported.transaction;
        let key = &record.key;
        let named = record.compared.reference_id.as_ref().map(ExtTransactionId::as_str);
        Self {
            accepted_at: record.accepted_at.to_string(),
            partner: key.partner.as_str(),
            kind: key.kind.word(),
            ext_transaction_id: key.ext_transaction_id.as_str(),
            reference: record.reference.to_string(),
            refunds_of: record.charge_key().map(|_| named.unwrap_or(key.ext_transaction_id.as_str())),
            csp: record.account.csp.as_str(),
            product: record.compared.partner_product.as_str(),
            charge_code: record.charge_code.as_str(),
            amount: record.signed_money().to_string(),
            currency: record.money.currency.code(),
            status: record.state.status().map_or("", Status::word),
            message: record.message(),
            refunded: Money::new(record.refunds_done_minor, record.money.currency).to_string(),
            settled_at: exported.settled_at.map(|at| at.to_string()),
            settled_by: exported.settled_by.as_deref(),
        }
    }

    /// The cells of a line of CSV: what is ours as it is, what is somebody's text disarmed.
    fn cells(&self) -> [Cow<'_, str>; 16] {
        [
            Cow::Borrowed(self.accepted_at.as_str()),
            disarmed(self.partner),
            Cow::Borrowed(self.kind),
            disarmed(self.ext_transaction_id),
            Cow::Borrowed(self.reference.as_str()),
            disarmed(self.refunds_of.unwrap_or_default()),
            disarmed(self.csp),
            disarmed(self.product),
            disarmed(self.charge_code),
            Cow::Borrowed(self.amount.as_str()),
            Cow::Borrowed(self.currency),
            Cow::Borrowed(self.status),
            disarmed(self.message),
            Cow::Borrowed(self.refunded.as_str()),
            Cow::Borrowed(self.settled_at.as_deref().unwrap_or_default()),
            disarmed(self.settled_by.unwrap_or_default()),
        ]
    }
}

/// A text that no spreadsheet takes for a formula. They look past leading spaces.
fn disarmed(text: &str) -> Cow<'_, str> {
    let begins_a_formula = |character: char| "=+-@＝＋－＠".contains(character);
    let first = text.trim_start().chars().next();
    let is_armed = first.is_some_and(begins_a_formula) || text.chars().next().is_some_and(char::is_control);
    if is_armed { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// A cell as RFC 4180 writes it.
fn quoted(cell: &str) -> Cow<'_, str> {
    if cell.contains(['"', ',', '\r', '\n']) {
        Cow::Owned(format!("\"{}\"", cell.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(cell)
    }
}

fn write_csv(line: &Line<'_>, out: &mut dyn Write) -> io::Result<()> {
    let cells = line.cells();
    let cells: Vec<Cow<'_, str>> = cells.iter().map(|cell| quoted(cell)).collect();
    write!(out, "{}\r\n", cells.join(","))
}

fn write_json(line: &Line<'_>, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// Writes what is asked for.
///
/// # Errors
/// An output that cannot be written to.
pub(super) fn run(
    arguments: &Arguments,
    ledger: &dyn LedgerInspection,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Outcome> {
    let Some(target) = &arguments.out else {
        return match export(arguments, ledger, out) {
            Ok(_) => Ok(Outcome::Done),
            Err(error) => failed(error, err),
        };
    };
    let file = match OpenOptions::new().write(true).create_new(true).open(target) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return failed(InspectionError::Exists(target.clone()), err);
        }
        Err(source) => return failed(InspectionError::Unwritable { file: target.clone(), source }, err),
    };
    let mut file = BufWriter::new(file);
    let written = export(arguments, ledger, &mut file).and_then(|lines| {
        file.flush()?;
        Ok(lines)
    });
    match written {
        Ok(lines) => {
            writeln!(out, "{lines} transactions written to {}", target.display())?;
            Ok(Outcome::Done)
        }
        Err(error) => {
            // Half an export would be taken for a whole one.
            let removed = std::fs::remove_file(target);
            let error = match error {
                InspectionError::Output(source) => InspectionError::Unwritable { file: target.clone(), source },
                other => other,
            };
            if removed.is_err() {
                writeln!(err, "onbill: {} is not whole and could not be removed", target.display())?;
            }
            failed(error, err)
        }
    }
}

fn export(arguments: &Arguments, ledger: &dyn LedgerInspection, out: &mut dyn Write) -> Result<u64, InspectionError> {
    let query = ExportQuery {
        partner: arguments.partner.as_deref().map(PartnerId::new),
        since: arguments.since,
        until: arguments.until,
    };
    // Standard output is flushed at each line otherwise.
    let mut out = BufWriter::new(out);
    let mut begun = false;
    let lines = ledger.export(&query, &mut |exported| {
        let line = Line::of(exported);
        match arguments.format {
            Format::Jsonl => write_json(&line, &mut out),
            Format::Csv => {
                if !begun {
                    out.write_all(HEADER.as_bytes())?;
                }
                begun = true;
                write_csv(&line, &mut out)
            }
        }
    })?;
    if arguments.format == Format::Csv && !begun {
        out.write_all(HEADER.as_bytes())?;
    }
    out.flush()?;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_begins_as_a_formula_would() {
        for (text, shown) in [
            ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM", "'@SUM"),
            ("  =1", "'  =1"),
            ("\t=1", "'\t=1"),
            ("\rx", "'\rx"),
            ("＝1", "'＝1"),
            ("a=b", "a=b"),
            ("", ""),
            ("films", "films"),
        ] {
            assert_eq!(disarmed(text), shown, "{text:?}");
        }
    }

    #[test]
    fn cells_are_quoted_where_they_would_break_the_line() {
        for (cell, written) in
            [("a", "a"), ("a,b", "\"a,b\""), ("say \"x\"", "\"say \"\"x\"\"\""), ("a\nb", "\"a\nb\""), ("", "")]
        {
            assert_eq!(quoted(cell), written);
        }
    }

    #[test]
    fn the_header_has_a_name_for_each_cell() {
        assert_eq!(HEADER.trim_end().split(',').count(), 16);
    }
}
