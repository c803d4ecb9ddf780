//! `onbill ledger verify`: checks every invariant over the whole ledger and prints what it found.
//!
//! Invariant: it ends with 0 only where everything was read and nothing was found. What is found goes to standard
//! output as it is found; progress goes to standard error. What the invariants are is not here.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::{Found, Outcome, Place, chain, failed};
use crate::ports::inspection::{Finding, InspectionError, LedgerInspection, Progress, Verified};
use crate::ports::secrets::Secrets;

/// Arguments of `ledger verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Checked, in one snapshot, while the gateway may go on working: the file's structure, schema and
constraints; that no record is missing; for each record its state and fields, its amount
against its request, its postings (two, equal and opposite, exactly on success), its one
event (exactly when final), its refunds (sums, never above the charge) or its charge, and
its reference: the one that the permanent key gives its key (where the key is at hand),
and nobody else's.

Each finding names the record by partner, kind and id; addresses are not printed. Memory
stays bounded: sums of refunds go to a temporary file of SQLite, or a temporary table of
PostgreSQL, whose pages and indexes are pg_amcheck's matter.

With --json each line is one object: findings ({\"finding\": …}), then {\"summary\": …}.

Examples:
  onbill ledger verify --data-dir /var/lib/onbill
  onbill ledger verify --file backup.sqlite --key-file /var/lib/onbill/master.key
  onbill ledger verify --data-dir ./data --json | tail -1
  onbill ledger verify --config gateway.toml

Exit codes: 0 all is well, 1 something was found or could not be read, 2 wrong arguments."
)]
pub struct Arguments {
    /// Which ledger.
    #[command(flatten)]
    pub place: Place,
    /// The permanent key [default: master.key of the data directory].
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Answer in JSON, one object a line.
    #[arg(long)]
    pub json: bool,
}

/// A line of the answer in JSON.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Finding {
        rule: &'a str,
        partner: Option<&'a str>,
        kind: Option<&'a str>,
        ext_transaction_id: Option<&'a str>,
        record: Option<i64>,
        text: &'a str,
    },
    Summary {
        ok: bool,
        schema: i32,
        records: u64,
        postings: u64,
        events: u64,
        findings: u64,
        references_checked: bool,
    },
}

/// Verifies a ledger and prints what was found.
///
/// # Errors
/// An output that cannot be written to.
pub(super) fn run(
    arguments: &Arguments,
    found: &Found,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Outcome> {
    let key = match found.key(arguments.key_file.as_deref()) {
        Ok(key) => key,
        Err(error) => {
            writeln!(err, "onbill: {}", chain(&error))?;
            return Ok(Outcome::Failed);
        }
    };
    match verify(found.ledger.as_ref(), key.as_deref(), arguments.json, out, err) {
        Ok(verified) => {
            if arguments.json {
                summary_json(&verified, out)?;
            } else {
                summary(&verified, out)?;
            }
            Ok(if verified.findings == 0 { Outcome::Done } else { Outcome::Failed })
        }
        Err(error) => failed(error, err),
    }
}

/// Verifies and prints findings and progress, but no summary.
pub(super) fn verify(
    ledger: &dyn LedgerInspection,
    key: Option<&dyn Secrets>,
    json: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Verified, InspectionError> {
    ledger.verify(key, &mut |progress| match progress {
        Progress::Stage(stage) => writeln!(err, "{stage}"),
        Progress::Checked { records, of } => writeln!(err, "checked {records} of {of} records"),
        Progress::Found(finding) if json => finding_json(finding, out),
        Progress::Found(finding) => match &finding.record {
            Some(record) => writeln!(out, "{}: {record} {}", finding.rule, finding.text),
            None => writeln!(out, "{}: {}", finding.rule, finding.text),
        },
    })
}

fn finding_json(finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
    let record = finding.record.as_ref();
    let line = Line::Finding {
        rule: finding.rule,
        partner: record.map(|record| record.partner.as_str()),
        kind: record.map(|record| record.kind.as_str()),
        ext_transaction_id: record.map(|record| record.ext_transaction_id.as_str()),
        record: record.map(|record| record.sequence),
        text: &finding.text,
    };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}

fn summary_json(verified: &Verified, out: &mut dyn Write) -> io::Result<()> {
    let Verified { schema, records, postings, events, findings, references_checked } = *verified;
    let line = Line::Summary { ok: findings == 0, schema, records, postings, events, findings, references_checked };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}

pub(super) fn summary(verified: &Verified, out: &mut dyn Write) -> io::Result<()> {
    let Verified { schema, records, postings, events, findings, references_checked } = verified;
    let references =
        if *references_checked { "" } else { " (references not held against the key: it was not at hand)" };
    let verdict = match findings {
        0 => "ok".to_owned(),
        1 => "1 finding".to_owned(),
        findings => format!("{findings} findings"),
    };
    writeln!(out, "{verdict}: {records} records, {postings} postings, {events} events, schema {schema}{references}")
}
