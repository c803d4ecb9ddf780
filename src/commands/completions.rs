//! `onbill completions`: prints a script that completes the command line in a shell.
//!
//! Invariant: the script is made from the same description as `--help`, so a new command is in it without an edit here.

use std::io::{self, Write};

use clap_complete::{Generator as _, Shell};

use super::Outcome;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  onbill completions bash > /etc/bash_completion.d/onbill
  onbill completions zsh > \"${fpath[1]}/_onbill\"
  onbill completions fish > ~/.config/fish/completions/onbill.fish")]
pub struct Arguments {
    /// The shell.
    pub shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// An output that cannot be written to.
pub fn run(arguments: &Arguments, mut command: clap::Command, out: &mut dyn Write) -> io::Result<Outcome> {
    let name = command.get_name().to_owned();
    command.set_bin_name(name);
    command.build();
    // Into memory first: the generator does not take an output that may fail.
    let mut script = Vec::new();
    arguments.shell.generate(&command, &mut script);
    out.write_all(&script)?;
    Ok(Outcome::Done)
}
