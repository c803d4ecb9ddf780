//! `onbill audit`: whether the audit log is as it was written.
//!
//! Invariant: nothing is written; it may look at the log of a gateway that runs. What it cannot see is said where it is
//! explained: README, "Seeing inside".

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;

use super::{Outcome, chain};
use crate::ports::audit::{Checked, Head};
use crate::runtime::wiring::recorders;

/// Commands about the audit log.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check that nothing in an audit log was changed, moved, added or taken away.
    #[command(after_help = "A directory is all of its files, and is held against the end that it remembers. Files are
checked in the order given; the first may begin anywhere, the others must follow.

Examples:
  onbill audit verify /var/lib/onbill/audit
  onbill audit verify audit-000007.jsonl audit-000008.jsonl
  onbill audit verify --head 1234:5d41… /var/lib/onbill/audit    must hold what the log said

Exit codes: 0 every line holds, 1 one does not, or it cannot be read, 2 wrong arguments.")]
    Verify(Verify),
}

/// Arguments of `audit verify`.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// Directories and files.
    #[arg(value_name = "DIR|FILE", required = true)]
    pub places: Vec<PathBuf>,
    /// An entry that must be there, as the gateway's own log has told it (audit_head).
    #[arg(long = "head", value_name = "SEQ:HASH", value_parser = head)]
    pub heads: Vec<Head>,
    /// Answer in JSON.
    #[arg(long)]
    pub json: bool,
}

fn head(text: &str) -> Result<Head, String> {
    Head::parse(text).ok_or_else(|| "must be a number, a colon and 64 hexadecimal digits".to_owned())
}

/// Runs a command.
///
/// # Errors
/// An output that cannot be written to.
pub fn run(command: &Command, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let Command::Verify(arguments) = command;
    let checked = match recorders::verify(&arguments.places, &arguments.heads) {
        Ok(checked) => checked,
        Err(error) => {
            writeln!(err, "onbill: {}", chain(&error))?;
            return Ok(Outcome::Failed);
        }
    };
    if arguments.json { in_json(out, &checked) } else { in_words(out, &checked) }?;
    Ok(if checked.broken.is_some() { Outcome::Failed } else { Outcome::Done })
}

fn in_json(out: &mut dyn Write, checked: &Checked) -> io::Result<()> {
    let broken = checked
        .broken
        .as_ref()
        .map(|broken| json!({ "file": broken.file.display().to_string(), "line": broken.line, "why": broken.why }));
    let last = checked.last.as_ref().map(|last| json!({ "seq": last.seq, "hash": last.hash }));
    let answer = json!({
        "holds": checked.broken.is_none(),
        "files": checked.files,
        "entries": checked.entries,
        "firstSeq": checked.first_seq,
        "last": last,
        "unfinished": checked.unfinished,
        "lost": checked.lost,
        "broken": broken,
    });
    writeln!(out, "{answer}")
}

fn in_words(out: &mut dyn Write, checked: &Checked) -> io::Result<()> {
    let (files, entries) = (checked.files, checked.entries);
    if checked.first_seq > 1 {
        writeln!(out, "It begins with entry {}: earlier files were taken away, or not given.", checked.first_seq)?;
    }
    if checked.unfinished {
        writeln!(out, "The last line has no end: it is being written, or the gateway was killed over it.")?;
    }
    if checked.lost > 0 {
        writeln!(out, "The gateway says that it has lost {} entries.", checked.lost)?;
    }
    match (&checked.broken, &checked.last) {
        (Some(broken), _) => {
            let (file, line, why) = (broken.file.display(), broken.line, &broken.why);
            writeln!(out, "Broken: {file}, line {line}: {why}. {entries} entries before it hold.")
        }
        (None, Some(last)) => {
            writeln!(out, "All {entries} entries of {files} files hold. The last is {}:{}", last.seq, last.hash)
        }
        (None, None) => writeln!(out, "There are no entries."),
    }
}
