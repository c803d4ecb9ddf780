//! Where the sandbox keeps its bills, its inboxes and its clock: in the data directory, or in one that gateways share.
//!
//! Invariant: gateways that share a directory open what is in it one after another, so that none finds a file half made.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::{CLOCK_FILE, WiringError};
use crate::adapters::clock::{ClockFileError, MovableSystemClock};
use crate::adapters::csp::sandbox::{BillError, Sandbox, Settings};
use crate::domain::ids::CspId;
use crate::runtime::config::Config;

/// Held by whoever opens what is in a shared directory.
const LOCK_FILE: &str = "opening.lock";

/// A place, for as long as it is opened.
pub(super) struct SandboxPlace {
    dir: PathBuf,
    /// The lock of a shared one.
    turn: Option<File>,
}

impl SandboxPlace {
    /// The place that the configuration names. It waits for others that open it.
    pub(super) fn of(config: &Config, data_dir: &Path) -> Result<Self, WiringError> {
        let shared = config.sandbox.dir.as_ref().filter(|_| config.sandbox.enabled);
        let Some(dir) = shared else { return Ok(Self { dir: data_dir.to_owned(), turn: None }) };
        let locked = || {
            std::fs::create_dir_all(dir)?;
            let lock = File::create(dir.join(LOCK_FILE))?;
            lock.lock()?;
            Ok(lock)
        };
        let turn = locked().map_err(|error| WiringError::SandboxDir(dir.clone(), error))?;
        Ok(Self { dir: dir.clone(), turn: Some(turn) })
    }

    /// Its clock.
    pub(super) fn clock(&self) -> Result<MovableSystemClock, ClockFileError> {
        let file = self.dir.join(CLOCK_FILE);
        if self.turn.is_some() { MovableSystemClock::open_shared(&file) } else { MovableSystemClock::open(&file) }
    }

    /// One of its CSPs.
    pub(super) fn csp(&self, id: &CspId, settings: Settings) -> Result<Sandbox, BillError> {
        let scripted = Sandbox::open(&self.dir.join(format!("csp-{id}.sqlite")), settings)?;
        if self.turn.is_none() {
            return Ok(scripted);
        }
        scripted.with_inboxes_in(&self.dir.join(format!("inbox-{id}.sqlite")))
    }
}
