//! The files of the audit log, as the one thread that writes them knows them.
//!
//! Invariant: what was appended is whole lines, or nothing of them; the chain goes on over files and starts. The head (the
//! last line that is surely on the disk) lies in a file of its own, so that a log that was cut short afterwards is found
//! out unless that file was changed as well.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::chain::{self, GENESIS, Hash, Read};
use crate::domain::Time;
use crate::ports::audit::{Entry, Head, Who};

/// Who may read a file: it says which partner did what.
const OWNER_ONLY: u32 = 0o600;
/// What the names of the files begin with.
const PREFIX: &str = "audit-";
/// What they end with.
const SUFFIX: &str = ".jsonl";
/// The file of the head.
const HEAD: &str = "audit.head";
/// The file that says whose directory it is.
const LOCK: &str = "audit.lock";

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory, or a file in it.
    #[error("the audit log in {path} cannot be opened", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another gateway writes there.
    #[error("another gateway keeps its audit log in {}: give each a directory of its own", .0.display())]
    Locked(PathBuf),
    /// No thread.
    #[error("the thread of the audit log cannot be started")]
    Thread(#[source] io::Error),
}

/// The files of a directory, oldest first, with their numbers.
pub(super) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
        if let Some(number) = number.and_then(|digits| digits.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

/// The head that a directory remembers.
pub(super) fn remembered(dir: &Path) -> Option<Head> {
    Head::parse(fs::read_to_string(dir.join(HEAD)).ok()?.trim())
}

pub(super) struct Files {
    dir: PathBuf,
    /// Held for as long as the log is written.
    _lock: File,
    file: Option<File>,
    number: u64,
    /// The number of the file that the gateway's own log was told of last.
    said: u64,
    length: u64,
    length_max: u64,
    seq: u64,
    hash: Hash,
    is_synced: bool,
}

impl Files {
    pub(super) fn open(dir: &Path, length_max: u64) -> Result<Self, OpenError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::File { path, source }
        };
        fs::create_dir_all(dir).map_err(failed(dir))?;
        let lock_file = dir.join(LOCK);
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&lock_file).map_err(failed(&lock_file))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(OpenError::Locked(dir.to_owned())),
            Err(fs::TryLockError::Error(error)) => return Err(failed(&lock_file)(error)),
        }
        let mut files = Self {
            dir: dir.to_owned(),
            _lock: lock,
            file: None,
            number: 0,
            said: 0,
            length: 0,
            length_max,
            seq: 0,
            hash: GENESIS,
            is_synced: true,
        };
        let last = list(dir).map_err(failed(dir))?.pop();
        let found = match last {
            Some((number, path)) => files.take_up(number, &path).map_err(failed(&path))?,
            None => Vec::new(),
        };
        if !found.is_empty() {
            let at = Time::now();
            let found: Vec<_> = found.into_iter().map(|entry| (at, entry)).collect();
            files.append(&found).map_err(failed(dir))?;
        }
        Ok(files)
    }

    /// Takes up where the newest file ends. Answers what is to be written down about that.
    fn take_up(&mut self, number: u64, path: &Path) -> io::Result<Vec<Entry>> {
        let bytes = fs::read(path)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end.saturating_add(1));
        let mut notes = Vec::new();
        let note = |what: &'static str, details: Vec<(&'static str, String)>| Entry {
            who: Who::Gateway,
            what: what.into(),
            outcome: "noted".into(),
            details,
        };
        let mut file = OpenOptions::new().write(true).open(path)?;
        let torn = bytes.len().saturating_sub(whole);
        if torn > 0 {
            file.set_len(u64::try_from(whole).unwrap_or_default())?;
            notes.push(note("torn line cut off", vec![("bytes", torn.to_string())]));
        }
        let last = bytes.get(..whole).unwrap_or_default().trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
        let remembered = remembered(&self.dir);
        self.number = number;
        if let Some((seq, hash)) = last.and_then(Read::of).and_then(|read| Some((read.seq()?, read.hash))) {
            (self.seq, self.hash) = (seq, hash);
            self.length = file.seek(SeekFrom::End(0))?;
            self.file = Some(file);
            if let Some(head) = remembered.filter(|head| head.seq > seq) {
                notes.push(note("entries are missing", vec![("expected", head.seq.to_string())]));
            }
        } else {
            // Nothing can follow what is no line: another file begins after what is remembered.
            if let Some((seq, hash)) = remembered.and_then(|head| Some((head.seq, chain::from_hex(&head.hash)?))) {
                (self.seq, self.hash) = (seq, hash);
            }
            notes.push(note("last line unreadable", vec![("file", number.to_string())]));
        }
        Ok(notes)
    }

    /// Appends entries: all of them, or none.
    pub(super) fn append(&mut self, entries: &[(Time, Entry)]) -> io::Result<()> {
        if self.file.is_none() || self.length >= self.length_max {
            self.begin_file()?;
        }
        let (mut lines, mut seq, mut hash) = (Vec::new(), self.seq, self.hash);
        for (at, entry) in entries {
            seq = seq.saturating_add(1);
            hash = chain::append(&mut lines, &hash, &chain::body(seq, *at, entry));
        }
        self.write(&lines)?;
        (self.seq, self.hash) = (seq, hash);
        Ok(())
    }

    fn begin_file(&mut self) -> io::Result<()> {
        self.sync()?;
        let number = self.number.saturating_add(1);
        let path = self.dir.join(format!("{PREFIX}{number:06}{SUFFIX}"));
        let file = OpenOptions::new().create_new(true).write(true).mode(OWNER_ONLY).open(&path);
        // One that is there already was begun when the disk refused its first line.
        let file = match file {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                OpenOptions::new().write(true).truncate(true).open(&path)?
            }
            other => other?,
        };
        (self.file, self.length) = (Some(file), 0);
        let entry = Entry {
            who: Who::Gateway,
            what: "file".into(),
            outcome: "begun".into(),
            details: vec![("file", number.to_string()), ("previous", chain::to_hex(&self.hash))],
        };
        let (mut line, seq) = (Vec::new(), self.seq.saturating_add(1));
        let hash = chain::append(&mut line, &self.hash, &chain::body(seq, Time::now(), &entry));
        if let Err(error) = self.write(&line) {
            self.file = None;
            return Err(error);
        }
        (self.number, self.seq, self.hash) = (number, seq, hash);
        // The name of the file is to outlive a power failure as well.
        File::open(&self.dir)?.sync_all()
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Err(io::Error::other("no file is open"));
        };
        if let Err(error) = file.write_all(lines) {
            // What was written of it is no line, and nothing may follow it.
            if file.set_len(self.length).and_then(|()| file.seek(SeekFrom::Start(self.length))).is_err() {
                self.file = None;
            }
            return Err(error);
        }
        self.length = self.length.saturating_add(u64::try_from(lines.len()).unwrap_or(u64::MAX));
        self.is_synced = false;
        Ok(())
    }

    /// Has the disk keep what was written, and remembers it as the head.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let Some(file) = self.file.as_ref().filter(|_| !self.is_synced) else {
            return Ok(());
        };
        file.sync_data()?;
        let Head { seq, hash } = self.head();
        let (new, kept) = (self.dir.join("audit.head.new"), self.dir.join(HEAD));
        fs::write(&new, format!("{seq}:{hash}\n"))?;
        fs::rename(new, kept)?;
        self.is_synced = true;
        Ok(())
    }

    pub(super) fn head(&self) -> Head {
        Head { seq: self.seq, hash: chain::to_hex(&self.hash) }
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) const fn said(&self) -> u64 {
        self.said
    }

    pub(super) const fn say(&mut self) {
        self.said = self.number;
    }
}
