//! A copy of the ledger, made while the gateway works.
//!
//! Invariant: the copy is the ledger at one moment, and it appears under its name only when it is complete and durable;
//! a file that is there is never written over. It is one file without a log beside it. Whether its records are sound is
//! for verification to say, and when to make a copy for whoever runs the gateway.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::inspect::unreadable;
use crate::ports::inspection::InspectionError;

/// What the file is called until it is complete.
const UNFINISHED: &str = ".unfinished";

/// Copies what a connection sees.
pub(super) fn backup(source: &Connection, target: &Path) -> Result<(), InspectionError> {
    if target.symlink_metadata().is_ok() {
        return Err(InspectionError::Exists(target.to_owned()));
    }
    let unfinished = unfinished(target);
    let cannot = |source| InspectionError::Unwritable { file: target.to_owned(), source };
    match make_private(&unfinished) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(InspectionError::Exists(unfinished)),
        Err(error) => return Err(cannot(error)),
    }
    let finished = copy(source, &unfinished).and_then(|()| {
        publish(&unfinished, target).map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                InspectionError::Exists(target.to_owned())
            } else {
                cannot(error)
            }
        })
    });
    // Linked under its name, or of no use: either way this one goes.
    let removed = fs::remove_file(&unfinished).map_err(cannot);
    finished.and(removed)
}

fn unfinished(target: &Path) -> PathBuf {
    let mut name: OsString = target.as_os_str().to_owned();
    name.push(UNFINISHED);
    PathBuf::from(name)
}

/// Personal data: only its owner may read it.
fn make_private(file: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(file).map(drop)
}

/// All pages in one step: a copy in parts would begin anew with each commit of the gateway, and readers of a
/// write-ahead log hold nobody up.
fn copy(source: &Connection, file: &Path) -> Result<(), InspectionError> {
    let write = || -> rusqlite::Result<(StepResult, String)> {
        let mut copy = Connection::open(file)?;
        let step = Backup::new(source, &mut copy)?.step(-1)?;
        // One file that can be opened from a medium that cannot be written to; the gateway changes it back.
        let mode = "PRAGMA journal_mode = DELETE";
        copy.query_row(mode, [], |_| Ok(()))?;
        let found = copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok((step, found))
    };
    match write().map_err(unreadable)? {
        (StepResult::Done, found) if found == "ok" => Ok(()),
        (StepResult::Done, found) => Err(InspectionError::Unreadable(format!("the copy is damaged: {found}"))),
        (step, _) => Err(InspectionError::Unreadable(format!("the copy stopped: {step:?}"))),
    }
}

/// Makes the copy durable and gives it its name, which fails where somebody else was quicker.
fn publish(unfinished: &Path, target: &Path) -> io::Result<()> {
    File::open(unfinished)?.sync_all()?;
    fs::hard_link(unfinished, target)?;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
