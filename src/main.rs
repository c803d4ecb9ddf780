//! The binary: arguments to command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use onbill::commands::certify::{self, CertifyArgs};

/// A carrier-billing gateway.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Certify a gateway against the 28 use cases.
    Certify(Box<CertifyArgs>),
}

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Certify(args) => certify::run_command(*args).await,
    }
}
