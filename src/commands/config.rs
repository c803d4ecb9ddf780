//! `onbill config check`: says whether a gateway would start with a configuration, without starting one.
//!
//! Invariant: it reads what `onbill serve --config` would read, the environment included, and comes to the same
//! verdict. What only starting can show is not looked at: whether ports are free and directories can be written to.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::Outcome;
use crate::runtime::config::effective::Effective;
use crate::runtime::config::problem::{Problem, Problems};
use crate::runtime::config::{Config, Environment, Overrides, Sources};

/// Commands about the configuration.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Say whether the gateway would start with a file, and if not, why.
    #[command(after_help = "The environment (ONBILL__SECTION__KEY) counts exactly as it does for serve. Nothing is
started; no port, directory or CSP is touched.

Examples:
  onbill config check deploy/onbill.toml
  onbill config check --show gateway.toml      all settings in effect
  ONBILL__SERVER__DRAIN_S=30 onbill config check gateway.toml

Exit codes: 0 it would start, 1 the answer could not be written, 2 it would not start.")]
    Check(Check),
}

/// Arguments of `config check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The file (TOML); deploy/onbill.toml shows every key.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print every setting in effect and where it came from.
    #[arg(long)]
    pub show: bool,
    /// Answer in JSON, on standard output, problems too.
    #[arg(long)]
    pub json: bool,
}

/// The answer in JSON.
#[derive(Serialize)]
struct Answer<'a> {
    ok: bool,
    problems: &'a [Problem],
    #[serde(skip_serializing_if = "Option::is_none")]
    effective: Option<&'a Effective>,
}

/// Checks a file and says what came of it.
///
/// # Errors
/// An output that cannot be written to.
pub fn check(
    arguments: &Check,
    environment: Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Outcome> {
    let sources = Sources { file: Some(arguments.file.clone()), environment, overrides: Overrides::default() };
    let loaded = Config::load(&sources);
    if arguments.json {
        return answer_json(arguments, &loaded, out);
    }
    match loaded {
        Ok(config) => {
            writeln!(out, "ok: {}: {}", arguments.file.display(), summary(&config))?;
            if arguments.show {
                write!(out, "{}", config.effective)?;
            }
            Ok(Outcome::Done)
        }
        Err(problems) => {
            writeln!(err, "{problems}")?;
            Ok(Outcome::Refused)
        }
    }
}

fn answer_json(arguments: &Check, loaded: &Result<Config, Problems>, out: &mut dyn Write) -> io::Result<Outcome> {
    let (answer, outcome) = match loaded {
        Ok(config) => {
            let effective = arguments.show.then_some(&config.effective);
            (Answer { ok: true, problems: &[], effective }, Outcome::Done)
        }
        Err(Problems(problems)) => (Answer { ok: false, problems, effective: None }, Outcome::Refused),
    };
    serde_json::to_writer_pretty(&mut *out, &answer)?;
    writeln!(out)?;
    Ok(outcome)
}

/// What the configuration amounts to, in a line.
fn summary(config: &Config) -> String {
    let ids = |ids: Vec<String>| format!("{} ({})", ids.len(), ids.join(", "));
    let csps = ids(config.directory.csps().map(|csp| csp.id.to_string()).collect());
    let partners = ids(config.directory.partners().map(|partner| partner.id.to_string()).collect());
    let sandbox = if config.sandbox.enabled { "on" } else { "off" };
    format!("CSPs: {csps}; partners: {partners}; sandbox {sandbox}")
}
