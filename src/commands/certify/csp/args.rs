//! The command line of `onbill certify csp`.
//!
//! Invariant: what a newcomer must know stands in `--help`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

const USAGE: &str = "\
onbill certify csp --protocol <http|grpc> --url <URL> --accounts <FILE> [OPTIONS]
       onbill certify csp --list | --accounts-example";

const AFTER_HELP: &str = "\
EXAMPLES
  The sandbox CSP, over gRPC (deploy/csp/README.md goes on from here):
    onbill sandbox-csp --data-dir ./operator --protocol grpc &
    onbill certify csp --accounts-example > accounts.toml
    onbill certify csp --protocol grpc --url http://127.0.0.1:8090 --accounts accounts.toml
  A CSP of your own, with reports, its key out of sight:
    ONBILL_CSP_API_KEY=… onbill certify csp --protocol http --url https://test.csp.example/api \\
      --accounts accounts.toml --report report/

WHAT IS CHECKED
  That the CSP keeps what a gateway relies on: accounts, charges booked once under their reference, refunds up to
  their charge, inquiries, void references, callers that hang up, broken connections, time, keys, messages; through
  the very adapter that the gateway uses. What the file of accounts says that it lacks is \"not offered\", and not
  passed. The run makes real charges on the test accounts, and gives back what it can.

EXIT CODE
  0  every case holds, those aside that are about what is not offered
  1  a case failed
  2  the run could not begin: wrong options, files that cannot be read
  3  no case failed, but not all could be checked";

/// Certify a CSP: its API, or its adapter process.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools)] // Each is a flag of its own on the command line.
#[command(after_help = AFTER_HELP, override_usage = USAGE)]
pub struct CspArgs {
    /// How it is spoken to.
    #[arg(long, value_enum, required_unless_present_any = ["list", "accounts_example"])]
    pub protocol: Option<Speaks>,

    /// Where its API begins, or its adapter process is: http://HOST:PORT or https://HOST:PORT.
    #[arg(long, value_name = "URL", required_unless_present_any = ["list", "accounts_example"])]
    pub url: Option<String>,

    /// What it can do, and its test accounts (TOML).
    #[arg(long, value_name = "FILE")]
    pub accounts: Option<PathBuf>,

    /// Print a file for --accounts to begin with, and end.
    #[arg(long)]
    pub accounts_example: bool,

    /// The key that it asks for.
    #[arg(long, value_name = "KEY", env = "ONBILL_CSP_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,

    /// File of that key; nothing else is in it.
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// Certificates to trust besides the public ones (PEM), for https.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Our own certificate (PEM), where it asks for one.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_cert: Option<PathBuf>,

    /// Key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,

    /// Which cases: numbers and ranges, for example 10,18-23.
    #[arg(long = "case", value_name = "CASES")]
    pub cases: Option<Ranges>,

    /// List the cases and end.
    #[arg(long)]
    pub list: bool,

    /// Write the outcome as JSON to standard output, and progress to standard error.
    #[arg(long)]
    pub json: bool,

    /// Write index.html, report.json and junit.xml into this directory.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,

    /// Who runs this, for the report.
    #[arg(long, value_name = "NAME", env = "USER", hide_env = true, default_value = "unknown")]
    pub by: String,

    /// No colours, as with the environment's NO_COLOR.
    #[arg(long, env = "NO_COLOR", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub no_color: bool,
}

impl CspArgs {
    /// Whether a case is wanted.
    #[must_use]
    pub fn wants(&self, id: u8) -> bool {
        self.cases.as_ref().is_none_or(|ranges| ranges.0.iter().any(|(first, last)| (*first..=*last).contains(&id)))
    }

    /// The protocol in words.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self.protocol {
            Some(Speaks::Grpc) => "gRPC",
            Some(Speaks::Http) | None => "HTTP",
        }
    }
}

/// How a CSP is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Speaks {
    /// The CSP API v1, deploy/csp/csp-api-v1.yaml.
    Http,
    /// onbill.csp.v1, proto/onbill/csp/v1/csp.proto.
    Grpc,
}

/// Cases as they are chosen: `10,18-23`.
#[derive(Debug, Clone)]
pub struct Ranges(Vec<(u8, u8)>);

impl FromStr for Ranges {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let known = |id: &u8| crate::runtime::csp_suite::CASES.iter().any(|case| case.id == *id);
            text.trim().parse().ok().filter(known).ok_or_else(|| format!("{text:?} is no case: see --list"))
        };
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last { Err(format!("{part}: the range ends before it begins")) } else { Ok((first, last)) }
        };
        text.split(',').map(range).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_chosen_by_number_and_range() {
        assert_eq!("10, 18-23".parse::<Ranges>().expect("cases").0, [(10, 10), (18, 23)]);
        for text in ["", "0", "x", "5-3", "200"] {
            assert!(text.parse::<Ranges>().is_err(), "{text:?}");
        }
    }
}
