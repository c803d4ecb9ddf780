//! `onbill ledger backup`: copies the ledger while the gateway runs, and checks the copy.
//!
//! Invariant: it ends with 0 only where the copy is complete, durable and without a finding; nothing is written over.
//! A copy with findings is kept: it is as good as its original. Restoring is a matter of copying, told in the help.

use std::io::{self, Write};
use std::path::PathBuf;

use super::{Found, Outcome, Place, chain, failed, verify};
use crate::runtime::wiring;

/// Arguments of `ledger backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "The copy is the ledger at one moment, in one file, readable by its owner only: it holds
personal data. The gateway goes on working. The permanent key is not in it: keep a copy of
master.key too, apart from the backups, since without it nothing that was sent to a CSP
can be found again.

A ledger in PostgreSQL is copied with PostgreSQL's own tools: pg_dump, or pg_basebackup with
WAL archiving; this command says so and does nothing.

To restore: stop the gateway; move ledger.sqlite, ledger.sqlite-wal and ledger.sqlite-shm
out of the data directory; copy the backup there as ledger.sqlite, beside the master.key
that it was made with; run onbill ledger verify; start the gateway.

What a restore loses: every record of everything after the backup. Partners get 404 for
those transactions, their events are not sent again, and refunds of lost charges are
refused until the charges are known again. Money stays safe all the same: a request that
a partner repeats is sent to its CSP under the same reference as the first time, since the
reference follows from partner, kind and id by the permanent key, and the CSP, which has
booked that reference, books it no second time and confirms it.

Examples:
  onbill ledger backup --data-dir /var/lib/onbill --to /backup/ledger-$(date +%F).sqlite
  onbill ledger verify --file /backup/ledger-2026-11-22.sqlite

Exit codes: 0 copied and checked, 1 not copied, or the copy has findings, 2 wrong arguments.")]
pub struct Arguments {
    /// Which ledger.
    #[command(flatten)]
    pub place: Place,
    /// The copy; it must not exist yet.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
}

/// Copies a ledger and verifies the copy.
///
/// # Errors
/// An output that cannot be written to.
pub(super) fn run(
    arguments: &Arguments,
    found: &Found,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Outcome> {
    let key = match found.key(None) {
        Ok(key) => key,
        Err(error) => {
            writeln!(err, "onbill: {}", chain(&error))?;
            return Ok(Outcome::Failed);
        }
    };
    if let Err(error) = found.ledger.backup(&arguments.to) {
        return failed(error, err);
    }
    writeln!(out, "copied to {}", arguments.to.display())?;
    match verify::verify(wiring::inspection(&arguments.to).as_ref(), key.as_deref(), false, out, err) {
        Ok(verified) => {
            verify::summary(&verified, out)?;
            Ok(if verified.findings == 0 { Outcome::Done } else { Outcome::Failed })
        }
        Err(error) => failed(error, err),
    }
}
