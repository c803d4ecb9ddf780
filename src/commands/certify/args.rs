//! The command line of `onbill certify`.
//!
//! Invariant: what a newcomer must know stands in `--help`, and every bound is checked here, before anything is sent.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::csp::CspArgs;
use super::faces::Face;
use super::select::Selection;
use super::verify::VerifyArgs;

const USAGE: &str = "\
onbill certify --target <URL> --api-key <KEY> [OPTIONS]
       onbill certify --list | --accounts-example
       onbill certify verify <FILE> [--key <BASE64>]
       onbill certify csp --protocol <http|grpc> --url <URL> --accounts <FILE> [OPTIONS]";

const AFTER_HELP: &str = "\
EXAMPLES
  A sandbox (`onbill serve` starts one), both faces, with a report:
    onbill certify --target http://127.0.0.1:8080 --api-key demo-key --report report/
  Any other gateway: say which number is in which condition, and how to read the PIN that a number was sent:
    onbill certify --accounts-example > accounts.toml     # then put in your numbers
    onbill certify --target https://gateway.example --accounts accounts.toml --pin-command ./read-pin
  Only what a failed run has named, with the key out of sight:
    ONBILL_API_KEY=… onbill certify --target https://gateway.example --case 14,19-23 --face json

WHAT IS CHECKED
  The 28 use cases that certify an OTT, on each face: status, headers and body of every answer (on gRPC status,
  ErrorInfo and BadRequest), what it did to the customer's bill and phone, and that a charge over one face replays
  over the other. A sandbox is found by itself; in it the run uses fresh numbers, reads inbox and bill, and moves
  the clock. Elsewhere effects that cannot be seen are told as \"not checked (needs …)\", and case 12 waits until
  its PIN has expired. The run posts real charges.

EXIT CODE
  0  every case holds
  1  a case failed
  2  the run could not begin: target not reachable, key not taken, not a gateway, wrong options
  3  no case failed, but not all could be checked (with --strict: nor all effects)";

/// Certify a gateway against the 28 use cases.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools)] // Each is a flag of its own on the command line.
#[command(after_help = AFTER_HELP, override_usage = USAGE, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct CertifyArgs {
    /// What else can be certified.
    #[command(subcommand)]
    pub other: Option<Other>,

    /// The gateway: http://HOST:PORT or https://HOST:PORT.
    #[arg(long, value_name = "URL", required_unless_present_any = ["list", "accounts_example"])]
    pub target: Option<String>,

    /// Its gRPC face, where that has an address of its own.
    #[arg(long, value_name = "URL")]
    pub grpc_target: Option<String>,

    /// The partner's API key.
    #[arg(long, value_name = "KEY", env = "ONBILL_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,

    /// Which face to certify.
    #[arg(long, value_enum, default_value_t = Faces::Both)]
    pub face: Faces,

    /// Which cases: numbers and ranges, for example 14,19-23.
    #[arg(long = "case", value_name = "CASES")]
    pub cases: Option<Selection>,

    /// List the cases and end.
    #[arg(long)]
    pub list: bool,

    /// Write the outcome (or the list) as JSON to standard output, and progress to standard error.
    #[arg(long)]
    pub json: bool,

    /// Write index.html, report.json and junit.xml into this directory.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,

    /// Who runs this, for the report.
    #[arg(long, value_name = "NAME", env = "USER", hide_env = true, default_value = "unknown")]
    pub by: String,

    /// Which number is in which condition (TOML).
    #[arg(long, value_name = "FILE")]
    pub accounts: Option<PathBuf>,

    /// Print a file for --accounts to begin with, and end.
    #[arg(long)]
    pub accounts_example: bool,

    /// Command that prints the newest PIN of the number it gets as its last argument; without it, and without a sandbox, the PIN is asked for at the terminal.
    #[arg(long, value_name = "CMD")]
    pub pin_command: Option<String>,

    /// Seconds after which the gateway's PINs expire.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub pin_ttl: u32,

    /// Longest wait for one answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=600))]
    pub timeout: u16,

    /// Cases that run at a time.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: u16,

    /// How often a case is begun where the connection breaks; after that it counts as failed.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub attempts: u8,

    /// Certificates to trust besides the public ones (PEM), for https.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Exit with 3 also where a case holds but an effect of it could not be seen.
    #[arg(long)]
    pub strict: bool,

    /// No colours, as with the environment's NO_COLOR.
    #[arg(long, env = "NO_COLOR", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub no_color: bool,
}

/// What can be certified beside a gateway.
#[derive(Debug, Subcommand)]
pub enum Other {
    /// Certify a CSP: its API, or its adapter process.
    Csp(Box<CspArgs>),
    /// Check the signature of an OTT's certificate.
    Verify(VerifyArgs),
}

/// Which faces to certify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Faces {
    /// gRPC.
    Grpc,
    /// HTTP/JSON.
    Json,
    /// Both, and that they agree.
    Both,
}

impl Faces {
    /// The faces as a list.
    #[must_use]
    pub fn list(self) -> Vec<Face> {
        match self {
            Self::Grpc => vec![Face::Grpc],
            Self::Json => vec![Face::Json],
            Self::Both => vec![Face::Json, Face::Grpc],
        }
    }
}
