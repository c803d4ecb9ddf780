//! The binary: arguments to command.
//!
//! Invariant: this is the only place that ends the process, and it does so with 0, 1 or 2, or with 3 where `certify`
//! could not check everything. What a command does is in the library; a command's arguments are beside it.

use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};

use onbill::commands::{self, Outcome};
use onbill::runtime::config::Environment;

/// onbill: a carrier-billing gateway
///
#[derive(Debug, Parser)]
#[command(
    name = "onbill",
    version,
    long_about = "onbill: a carrier-billing gateway

Partners (OTTs) sell on the phone bill of their customers' operators (CSPs), over gRPC
or JSON. onbill checks accounts, proves numbers with a PIN, and posts charges and
refunds exactly once.",
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Start here: onbill serve     a sandbox with demo keys, nothing to set up

Exit codes: 0 done, 1 failed while running, 2 wrong arguments or configuration,
3 nothing failed but not all could be checked (certify)."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Plain(Plain),
    /// Certify a gateway against the 28 use cases, or a CSP.
    Certify(Box<commands::certify::CertifyArgs>),
}

/// Commands that write to an output and end in an outcome.
#[derive(Debug, clap::Subcommand)]
enum Plain {
    /// Run the gateway.
    Serve(commands::serve::Arguments),
    /// Run the sandbox CSP as an operator of its own, for tests.
    SandboxCsp(commands::sandbox_csp::Arguments),
    /// Be an OTT that shows the 28 use cases in a sandbox, or breaks some on order.
    DemoOtt(commands::demo_ott::Arguments),
    /// Put a gateway under load and measure it.
    Load(Box<commands::load::Arguments>),
    /// Check a configuration file.
    #[command(subcommand, arg_required_else_help = true)]
    Config(commands::config::Command),
    /// Make API keys.
    #[command(subcommand, arg_required_else_help = true)]
    Key(commands::key::Command),
    /// Check, copy, export and settle what the ledger holds.
    #[command(subcommand, arg_required_else_help = true)]
    Ledger(commands::ledger::Command),
    /// Bring the ledger's database to the schema of this release.
    Migrate(commands::migrate::Arguments),
    /// List and send again what partners' endpoints did not take.
    #[command(subcommand, arg_required_else_help = true)]
    Webhook(commands::webhook::Command),
    /// Check the audit log.
    #[command(subcommand, arg_required_else_help = true)]
    Audit(commands::audit::Command),
    /// Print a completion script for a shell.
    Completions(commands::completions::Arguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let command = match cli.command {
        Command::Certify(arguments) => return certify(*arguments),
        Command::Plain(command) => command,
    };
    // Not locked: the threads of a gateway log to the same streams.
    let (mut out, mut err) = (io::stdout(), io::stderr());
    match run(command, &mut out, &mut err).and_then(|outcome| out.flush().map(|()| outcome)) {
        Ok(outcome) => outcome.into(),
        // Whoever read the output has left, and has seen what it wanted to see.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Outcome::Failed.into(),
        Err(error) => {
            // Where even this cannot be written, the exit code is all there is.
            let _ = writeln!(err, "onbill: the output cannot be written: {error}");
            Outcome::Failed.into()
        }
    }
}

/// The certifier has verdicts of its own to end with.
fn certify(arguments: commands::certify::CertifyArgs) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(commands::certify::run_command(arguments)),
        Err(_) => Outcome::Failed.into(),
    }
}

fn run(command: Plain, out: &mut dyn io::Write, err: &mut dyn io::Write) -> io::Result<Outcome> {
    match command {
        Plain::Serve(arguments) => commands::serve::run(arguments, Environment::of_process(), out, err),
        Plain::SandboxCsp(arguments) => commands::sandbox_csp::run(arguments, out, err),
        Plain::DemoOtt(arguments) => commands::demo_ott::run(&arguments, out, err),
        Plain::Load(arguments) => commands::load::run(&arguments, out, err),
        Plain::Config(commands::config::Command::Check(arguments)) => {
            commands::config::check(&arguments, Environment::of_process(), out, err)
        }
        Plain::Key(commands::key::Command::New(arguments)) => commands::key::new(&arguments, out, err),
        Plain::Ledger(command) => commands::ledger::run(&command, &Environment::of_process(), out, err),
        Plain::Migrate(arguments) => commands::migrate::run(&arguments, Environment::of_process(), out, err),
        Plain::Webhook(command) => commands::webhook::run(&command, out, err),
        Plain::Audit(command) => commands::audit::run(&command, out, err),
        Plain::Completions(arguments) => commands::completions::run(&arguments, Cli::command(), out),
    }
}
