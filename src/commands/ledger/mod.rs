//! `onbill ledger`: what people who keep the books ask of the ledger, one file a command.
//!
//! Invariant: nothing here writes to a ledger. All but `settle` read the store beside gateways that may be running, and
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
use crate::runtime::config::problem::Problems;
use crate::runtime::config::{Config, Environment, Overrides, Sources};
use crate::runtime::wiring::ledger::LedgerError;
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
    Settle(Box<settle::Arguments>),
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
    /// The gateway's configuration: the ledger that it names, in PostgreSQL too.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A ledger to be looked at, and where its permanent key would be.
struct Found {
    ledger: Box<dyn LedgerInspection>,
    key_file: Option<PathBuf>,
}

/// Why there is nothing to look at.
enum NotFound {
    /// The configuration is wrong.
    Refused(Problems),
    /// What it names cannot be reached.
    Failed(LedgerError),
}

impl Place {
    fn find(&self, environment: &Environment) -> Result<Found, NotFound> {
        if let Some(file) = &self.config {
            let sources =
                Sources { file: Some(file.clone()), environment: environment.clone(), overrides: Overrides::default() };
            let config = Config::load(&sources).map_err(NotFound::Refused)?;
            let ledger = wiring::ledger::inspection_of_config(&config).map_err(NotFound::Failed)?;
            return Ok(Found { ledger, key_file: wiring::key_file_of(&config) });
        }
        Ok(match (&self.data_dir, &self.file) {
            (Some(directory), _) => Found {
                ledger: wiring::inspection_of(directory),
                key_file: Some(directory.join(wiring::MASTER_KEY_FILE)),
            },
            (None, file) => {
                let file = file.as_deref().unwrap_or(std::path::Path::new(""));
                Found { ledger: wiring::inspection(file), key_file: None }
            }
        })
    }
}

impl Found {
    /// The permanent key: the one that is named, or else the ledger's own, where there is one.
    fn key(&self, named: Option<&std::path::Path>) -> Result<Option<Box<dyn Secrets>>, WiringError> {
        match (named, &self.key_file) {
            (Some(file), _) => wiring::key(file).map(Some),
            (None, Some(file)) if file.is_file() => wiring::key(file).map(Some),
            (None, Some(_) | None) => Ok(None),
        }
    }
}

/// Runs a command.
///
/// # Errors
/// An output that cannot be written to.
pub fn run(
    command: &Command,
    environment: &Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Outcome> {
    let place = match command {
        Command::Verify(arguments) => &arguments.place,
        Command::Backup(arguments) => &arguments.place,
        Command::Export(arguments) => &arguments.place,
        Command::Stuck(arguments) => &arguments.place,
        Command::Settle(arguments) => return settle::run(arguments, out, err),
    };
    let found = match place.find(environment) {
        Ok(found) => found,
        Err(NotFound::Refused(problems)) => {
            writeln!(err, "onbill cannot find a ledger by this configuration:\n{problems}")?;
            return Ok(Outcome::Refused);
        }
        Err(NotFound::Failed(error)) => {
            writeln!(err, "onbill: {}", chain(&error))?;
            return Ok(Outcome::Failed);
        }
    };
    match command {
        Command::Verify(arguments) => verify::run(arguments, &found, out, err),
        Command::Backup(arguments) => backup::run(arguments, &found, out, err),
        Command::Export(arguments) => export::run(arguments, found.ledger.as_ref(), out, err),
        Command::Stuck(arguments) => stuck::run(arguments, found.ledger.as_ref(), out, err),
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
