//! The exclusive lock on the data directory.
//!
//! Invariant: at most one process has a data directory, and it has it for as long as it lives; the system ends the lock
//! with the process, however it dies. Commands that write therefore go through the running gateway. Readers of the
//! file need no lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::OpenError;

/// The file in the data directory that is locked. It stays empty, and stays there.
const LOCK_FILE: &str = "onbill.lock";

/// A data directory that nobody else has. Dropping it gives the directory back.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    directory: PathBuf,
    _file: File,
}

impl DirectoryLock {
    /// Makes the directory where it is missing, and locks it.
    pub(super) fn take(directory: &Path) -> Result<Self, OpenError> {
        let cannot = |source| OpenError::Directory { directory: directory.to_owned(), source };
        make_directory(directory).map_err(cannot)?;
        let file = open_private(&directory.join(LOCK_FILE)).map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { directory: directory.to_owned(), _file: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { directory: directory.to_owned() }),
            Err(TryLockError::Error(source)) => Err(cannot(source)),
        }
    }

    /// A file in the directory, made where it is missing, so that only its owner can read it: it holds personal data.
    /// SQLite gives its side files the same permissions.
    pub(super) fn private_file(&self, name: &str) -> Result<PathBuf, OpenError> {
        let path = self.directory.join(name);
        open_private(&path).map_err(|source| OpenError::Directory { directory: path.clone(), source })?;
        Ok(path)
    }
}

#[cfg(unix)]
fn make_directory(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    if directory.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // The directory's own name must outlive a loss of power, as everything in it will.
    match directory.canonicalize()?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(not(unix))]
fn make_directory(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)
}

fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}
