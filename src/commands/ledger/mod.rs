//! `onbill ledger`: what people who keep the books ask of the ledger, one file a command.
//!
//! Invariant: nothing here writes to a ledger. All but `settle` read the file beside a gateway that may be running, and
//! take no lock; `settle` asks the running gateway. No address or account is printed.

pub mod backup;
pub mod export;
pub mod settle;
pub mod stuck;
pub mod verify;

use std::io::{self, Write};
use std::path::PathBuf;

use super::{Outcome, chain};
use crate::ports::inspection::{InspectionError, LedgerInspection};
use crate::ports::secrets::Secrets;
use crate::runtime::wiring::{self, WiringError};

/// Commands about the ledger.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check every invariant over the whole ledger.
    Verify(verify::Arguments),
    /// Copy the ledger while the gateway runs.
    Backup(backup::Arguments),
    /// Write transactions as CSV or JSON lines, for finance.
    Export(export::Arguments),
    /// List the records that need a person.
    Stuck(stuck::Arguments),
    /// Settle a stuck record, through the running gateway.
    Settle(settle::Arguments),
}

/// Where the ledger is.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Place {
    /// The gateway's data directory; the gateway may be running.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// A ledger's file, a backup say.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

impl Place {
    fn open(&self) -> Box<dyn LedgerInspection> {
        match (&self.data_dir, &self.file) {
            (Some(directory), _) => wiring::inspection_of(directory),
            (None, file) => wiring::inspection(file.as_deref().unwrap_or(std::path::Path::new(""))),
        }
    }

    /// The permanent key: the one that is named, or else the one of the data directory, where there is one.
    fn key(&self, named: Option<&std::path::Path>) -> Result<Option<Box<dyn Secrets>>, WiringError> {
        match (named, &self.data_dir) {
            (Some(file), _) => wiring::key(file).map(Some),
            (None, Some(directory)) => wiring::key_of(directory),
            (None, None) => Ok(None),
        }
    }
}

/// Runs a command.
///
/// # Errors
/// An output that cannot be written to.
pub fn run(command: &Command, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    match command {
        Command::Verify(arguments) => verify::run(arguments, out, err),
        Command::Backup(arguments) => backup::run(arguments, out, err),
        Command::Export(arguments) => export::run(arguments, out, err),
        Command::Stuck(arguments) => stuck::run(arguments, out, err),
        Command::Settle(arguments) => settle::run(arguments, out, err),
    }
}

/// Says why a ledger could not be looked at. An output that broke goes to whoever reads the exit code.
fn failed(error: InspectionError, err: &mut dyn Write) -> io::Result<Outcome> {
    match error {
        InspectionError::Output(error) => Err(error),
        other => {
            writeln!(err, "onbill: {}", chain(&other))?;
            Ok(Outcome::Failed)
        }
    }
}
