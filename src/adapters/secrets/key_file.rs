//! The file of the key: made once, then only read.
//!
//! Invariant: a key is durable before anything is derived from it, a file that is there is never written over, and two
//! gateways that start at once end up with the same key. A file of a wrong length is refused and left as it is: it may
//! be all that is left of the key.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::KEY_LENGTH;
use super::draw::Draw;

/// Why there are no secrets.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file of the key is there and cannot be read.
    #[error("the key file {0} cannot be read")]
    Unreadable(PathBuf, #[source] io::Error),
    /// It is not a key.
    #[error("the key file {file} has {length} bytes, a key has {KEY_LENGTH}; restore it from a backup")]
    WrongLength {
        /// The file.
        file: PathBuf,
        /// Bytes in it.
        length: u64,
    },
    /// There is no file, and none can be made.
    #[error("the key file {0} cannot be made")]
    NotMade(PathBuf, #[source] io::Error),
    /// The operating system's random source does not answer.
    #[error("the operating system gives no random bytes")]
    NoRandomBytes(#[source] getrandom::Error),
}

/// The key in a file, made if there is none.
pub(super) fn open(file: &Path, draw: &impl Draw) -> Result<[u8; KEY_LENGTH], SecretsError> {
    if let Some(key) = read(file)? {
        return Ok(key);
    }
    make(file, draw).map_err(|error| SecretsError::NotMade(file.to_owned(), error))?;
    let vanished = || SecretsError::Unreadable(file.to_owned(), io::ErrorKind::NotFound.into());
    read(file)?.ok_or_else(vanished)
}

/// `None` where there is no file.
fn read(file: &Path) -> Result<Option<[u8; KEY_LENGTH]>, SecretsError> {
    let unreadable = |error| SecretsError::Unreadable(file.to_owned(), error);
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let length = opened.metadata().map_err(unreadable)?.len();
    let mut bytes = Vec::with_capacity(KEY_LENGTH);
    let bound = u64::try_from(KEY_LENGTH).unwrap_or(u64::MAX).saturating_add(1);
    opened.take(bound).read_to_end(&mut bytes).map_err(unreadable)?;
    let key = bytes.try_into().map_err(|_| SecretsError::WrongLength { file: file.to_owned(), length })?;
    Ok(Some(key))
}

/// Writes a fresh key beside the file and links it into place, which fails where another was quicker: its key counts.
fn make(file: &Path, draw: &impl Draw) -> io::Result<()> {
    let mut key = [0; KEY_LENGTH];
    draw.fill(&mut key);
    let mut name = [0; 8];
    draw.fill(&mut name);
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{:016x}.new", u64::from_be_bytes(name)));
    let beside = PathBuf::from(beside);

    let linked = write_new(&beside, &key).and_then(|()| match fs::hard_link(&beside, file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = fs::remove_file(&beside);
    linked.and(removed)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn write_new(file: &Path, key: &[u8]) -> io::Result<()> {
    let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    written.write_all(key)?;
    written.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::draw::SeededDraw;
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_only_and_then_only_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        let made = open(&file, &SeededDraw::new(1)).expect("a key is made");
        let read = open(&file, &SeededDraw::new(2)).expect("a key is read");
        assert_eq!(made, read);
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn of_two_that_make_a_key_at_once_the_first_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        make(&file, &SeededDraw::new(1)).expect("the first");
        let first = read(&file).expect("readable");
        make(&file, &SeededDraw::new(2)).expect("the second finds the first's");
        assert_eq!(read(&file).expect("readable"), first);
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        for length in [0, 31, 33, 4096] {
            fs::write(&file, vec![1; length]).expect("a file");
            let refused = open(&file, &SeededDraw::new(1)).expect_err("not a key");
            let SecretsError::WrongLength { length: found, .. } = refused else { panic!("{refused:?}") };
            assert_eq!(found, u64::try_from(length).expect("small"));
            assert_eq!(fs::read(&file).expect("still there").len(), length);
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = open(&folder.path().join("gone/key"), &SeededDraw::new(1)).expect_err("no folder");
        assert!(error.to_string().contains("gone/key"), "{error}");
    }
}
