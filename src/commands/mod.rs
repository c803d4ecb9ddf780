//! What the binary does: one file a command.
//!
//! Invariant: a command is a client of the public API or of the runtime, never of the flows. It writes to the output
//! that it is given and answers with an [`Outcome`]; only `main` ends the process.

pub mod admin_token;
pub mod serve;
pub mod sandbox_csp;
pub mod certify;
pub mod demo_ott;
pub mod load;
pub mod config;
pub mod key;
pub mod ledger;
pub mod migrate;
pub mod webhook;
pub mod audit;
pub mod completions;

use std::process::ExitCode;

/// An error with everything that caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it was asked.
    Done,
    /// Something failed while it ran.
    Failed,
    /// It was asked wrongly: its arguments or its configuration.
    Refused,
}

/// 0, 1 and 2, as `onbill --help` says. 2 is also what wrong arguments end with.
impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Failed => Self::from(1),
            Outcome::Refused => Self::from(2),
        }
    }
}
