//! `onbill migrate`: brings the ledger's database to the schema of this release.
//!
//! Invariant: it ends with 0 only where a gateway of this release may start. Several may run at once, and gateways may be
//! at work meanwhile: what a release adds, the one before it does not see. What the steps are is not here.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::{Outcome, chain};
use crate::runtime::config::{Config, Environment, Overrides, Sources};
use crate::runtime::wiring::ledger::{self, Migration};

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "With ledger.store = \"postgres\" the schema is made and kept up by this command, and never by
a start: a gateway that finds an older one says so and does not start. Run it with the new
release, before its first gateway starts. Gateways of the release before go on working: a
step only adds what they do not see. It may be run by several at once, and again; a table
that is in use is waited for briefly, and the step tried again.

The user needs the right to create tables; gateways need only to read and write them.
A ledger in SQLite is brought up to date by the gateway that opens it.

Examples:
  onbill migrate --config gateway.toml
  onbill migrate --config gateway.toml --check    would a gateway of this release start?
  onbill migrate --config gateway.toml --json

Exit codes: 0 up to date, 1 not, or the database cannot be reached, 2 wrong arguments or
configuration.")]
pub struct Arguments {
    /// Configuration file (TOML), as serve reads it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only say what there is; change nothing.
    #[arg(long)]
    pub check: bool,
    /// Answer in JSON: store, schema_before, schema, schema_needed, up_to_date.
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Answer {
    store: &'static str,
    schema_before: Option<i32>,
    schema: Option<i32>,
    schema_needed: Option<i32>,
    up_to_date: bool,
}

/// Migrates.
///
/// # Errors
/// An output that cannot be written to.
pub fn run(
    arguments: &Arguments,
    environment: Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Outcome> {
    let sources = Sources { file: arguments.config.clone(), environment, overrides: Overrides::default() };
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(problems) => {
            writeln!(err, "onbill cannot migrate with this configuration:\n{problems}")?;
            return Ok(Outcome::Refused);
        }
    };
    match ledger::migrate(&config, arguments.check) {
        Ok(migration) if arguments.json => answer_json(migration, out),
        Ok(migration) => answer(migration, out),
        Err(error) => {
            writeln!(err, "onbill: {}", chain(&error))?;
            Ok(Outcome::Failed)
        }
    }
}

fn answer(migration: Migration, out: &mut dyn Write) -> io::Result<Outcome> {
    let Migration::Database { before, now, needed, is_admitted } = migration else {
        writeln!(out, "the ledger is in SQLite: the gateway that opens it brings it up to date")?;
        return Ok(Outcome::Done);
    };
    if !is_admitted {
        writeln!(out, "schema {now}, and this release needs {needed}: not up to date")?;
        return Ok(Outcome::Failed);
    }
    match (before == now, now > needed) {
        (false, _) => writeln!(out, "schema {before} is now {now}")?,
        (true, true) => writeln!(out, "schema {now} is newer than this release's {needed}, and lets it work")?,
        (true, false) => writeln!(out, "schema {now}: up to date")?,
    }
    Ok(Outcome::Done)
}

fn answer_json(migration: Migration, out: &mut dyn Write) -> io::Result<Outcome> {
    let answer = match migration {
        Migration::ByItself => {
            Answer { store: "sqlite", schema_before: None, schema: None, schema_needed: None, up_to_date: true }
        }
        Migration::Database { before, now, needed, is_admitted } => Answer {
            store: "postgres",
            schema_before: Some(before),
            schema: Some(now),
            schema_needed: Some(needed),
            up_to_date: is_admitted,
        },
    };
    serde_json::to_writer(&mut *out, &answer)?;
    writeln!(out)?;
    Ok(if answer.up_to_date { Outcome::Done } else { Outcome::Failed })
}
