//! The command line of `onbill load`.
//!
//! Invariant: what a newcomer must know stands in `--help`, and every bound is checked here, before anything is sent.

use std::path::PathBuf;

use clap::ValueEnum;

use super::book::Ids;
use super::mix::Mix;

const AFTER_HELP: &str = "\
Examples:
  onbill load --target http://127.0.0.1:8080 --api-key demo-key --duration 30
  onbill load --target https://gateway.example --numbers numbers.txt --rate 200 --mix validate:1
  onbill load --target http://127.0.0.1:8080 --api-key demo-key --face json --mix charge:1 \\
      --in-flight 128 --requests 100000 --json > report.json

The mix is made of validate, charge, replay (a charge that was taken, sent again as it was), refund
(a small part of one), get, list, pin and notify, each with its share. Each call is sent once.
What is about a charge names one that was taken; --prepare makes some beforehand.

With --rate calls begin by the clock, whatever the target does, and latency counts from when a call
was due: a target that stalls is charged with all that it held up. Without, --in-flight calls are
always under way, and a target that stalls is asked less. Connections are open before measuring.

At the end every charge and refund that was answered is looked up: each must be there, with its
amount, and in the final status that was told. Ctrl-C ends the calls early, and a second one the
looking up.

THE RUN POSTS REAL CHARGES where the target is no sandbox.

Exit codes: 0 all went well, 1 unexpected errors or something was lost, 2 it could not begin:
wrong arguments, target not reachable, key not taken.";

/// Put a gateway under load and measure it.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// The gateway: http://HOST:PORT or https://HOST:PORT.
    #[arg(long, value_name = "URL")]
    pub target: String,
    /// The partner's API key.
    #[arg(long, value_name = "KEY", env = "ONBILL_API_KEY", hide_env_values = true, conflicts_with = "api_key_file")]
    pub api_key: Option<String>,
    /// A file that holds the key and nothing else.
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Over which face.
    #[arg(long, value_enum, default_value_t = Faces::Grpc)]
    pub face: Faces,
    /// The version of HTTP for JSON; gRPC is always on 2.
    #[arg(long, value_name = "VERSION", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub json_http: u8,
    /// What is called, with shares.
    #[arg(long, value_name = "CALL:SHARE,...", default_value = "validate:60,charge:30,get:10")]
    pub mix: Mix,
    /// Calls a second, by the clock.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: Option<u32>,
    /// Calls under way; with --rate the most that may be [default: 64, with --rate 1024].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=20_000))]
    pub in_flight: Option<u16>,
    /// HTTP/2 connections [default: one for 64 in flight]; HTTP/1.1 has one a call under way.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=20_000))]
    pub connections: Option<u16>,
    /// Threads that make calls.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Measured seconds [default: 10, unless --requests is given].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=604_800))]
    pub duration: Option<u32>,
    /// Measured calls.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub requests: Option<u64>,
    /// Seconds before measuring begins.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(..=3600))]
    pub warm_up: u32,
    /// Charges that are made before [default: 1000 if the mix is about charges that are there].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=100_000_000))]
    pub prepare: Option<u64>,
    /// What is looked up at the end: all, none, or about so many.
    #[arg(long, value_name = "all|none|N", default_value = "all", value_parser = check)]
    pub check: u64,
    /// Last two digits of the sandbox numbers that are charged: what their accounts are like.
    #[arg(long, value_name = "DIGITS", default_value = "01", value_parser = condition, conflicts_with = "numbers")]
    pub condition: String,
    /// Numbers to use, one a line.
    #[arg(long, value_name = "FILE")]
    pub numbers: Option<PathBuf>,
    /// What is bought.
    #[arg(long, value_name = "ID", default_value = "ott-basic")]
    pub product: String,
    /// What it costs.
    #[arg(long, value_name = "AMOUNT", default_value = "9.99", value_parser = amount)]
    pub amount: String,
    /// In which currency.
    #[arg(long, value_name = "CODE", default_value = "MXN")]
    pub currency: String,
    /// How ids are made: in the order of time, or all over the keys.
    #[arg(long, value_enum, default_value_t = Ids::Ordered)]
    pub ids: Ids,
    /// The name that ids begin with [default: eight random letters].
    #[arg(long, value_name = "NAME", value_parser = run_name)]
    pub run: Option<String>,
    /// So many charges were made by an earlier run of this name, with the same options.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "run", value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    pub known: u64,
    /// Error codes that are no reason to end with 1, as in too-many-requests,service-unavailable.
    #[arg(long, value_name = "CODE,...", value_delimiter = ',')]
    pub expect: Vec<String>,
    /// Longest wait for one answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=600))]
    pub timeout: u16,
    /// Certificates to trust besides the public ones (PEM), for https.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Processes of this machine whose processor time and memory are reported.
    #[arg(long, value_name = "PID,...", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Vec<u32>,
    /// Do not ask first whether it is a gateway: for servers that answer one call only.
    #[arg(long)]
    pub any_target: bool,
    /// Write the report as JSON.
    #[arg(long)]
    pub json: bool,
    /// No progress on standard error.
    #[arg(long)]
    pub quiet: bool,
}

/// Which faces are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Faces {
    /// gRPC.
    Grpc,
    /// HTTP/JSON.
    Json,
    /// Both, half of the calls in flight each.
    Both,
}

fn check(text: &str) -> Result<u64, String> {
    match text {
        "all" => Ok(u64::MAX),
        "none" => Ok(0),
        number => number.parse().map_err(|_| "all, none, or a number".to_owned()),
    }
}

fn condition(text: &str) -> Result<String, String> {
    let two_digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if two_digits { Ok(text.to_owned()) } else { Err("two digits".to_owned()) }
}

fn amount(text: &str) -> Result<String, String> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_some = text.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    if digits(whole) && digits(decimals) && is_some {
        Ok(text.to_owned())
    } else {
        Err("a decimal number above 0".to_owned())
    }
}

fn run_name(text: &str) -> Result<String, String> {
    let fits = (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if fits { Ok(text.to_owned()) } else { Err("1 to 20 letters and digits".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_command_line_are_held_against_their_bounds() {
        assert_eq!([check("all"), check("none"), check("5")], [Ok(u64::MAX), Ok(0), Ok(5)]);
        assert!(check("some").is_err());
        assert!(condition("01").is_ok() && condition("1").is_err() && condition("a1").is_err());
        assert!(["1", "0.5", "10.00"].iter().all(|text| amount(text).is_ok()));
        assert!(["0", "0.00", "-1", "1e3", "", ".5", "1."].iter().all(|text| amount(text).is_err()));
        assert!(run_name("abc1").is_ok() && run_name("a-b").is_err() && run_name("").is_err());
    }
}
