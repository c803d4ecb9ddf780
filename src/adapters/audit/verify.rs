//! Checking an audit log, beside the gateway that writes it or long after it.
//!
//! Invariant: nothing is written. Every line is held against the one before, over all files; the first that does not hold is
//! told, and nothing after it is believed. What it cannot see: a log that was written anew as a whole together with its
//! head. Against that stand the heads that the gateway has told its own log, which can be given to it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use super::chain::{self, Hash, Read};
use super::file;
use crate::ports::audit::{Broken, Checked, Head};

/// Most bytes of a line: what is longer was not written by a gateway.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// Why a log could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It cannot be read.
    #[error("{path} cannot be read", path = .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is none.
    #[error("there is no audit log in {}", .0.display())]
    Nothing(PathBuf),
}

/// Checks the log of directories and files, in the order given; a directory is all of its files and what it remembers.
/// `heads` are places that the log must have.
///
/// # Errors
/// Something cannot be read.
pub fn check(places: &[PathBuf], heads: &[Head]) -> Result<Checked, CheckError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CheckError::File { path, source }
    };
    let mut checking = Checking { heads: heads.to_vec(), ..Checking::default() };
    let mut files = Vec::new();
    for place in places {
        if place.is_dir() {
            // Before the lines, so that what is written meanwhile is no contradiction.
            checking.heads.extend(file::remembered(place));
            let listed = file::list(place).map_err(failed(place))?;
            if listed.is_empty() {
                return Err(CheckError::Nothing(place.clone()));
            }
            files.extend(listed.into_iter().map(|(_, path)| path));
        } else {
            files.push(place.clone());
        }
    }
    let last = files.len();
    for (place, path) in files.iter().enumerate() {
        checking.file(path, place.saturating_add(1) == last).map_err(failed(path))?;
        if checking.found.broken.is_some() {
            return Ok(checking.found);
        }
    }
    Ok(checking.end(files.last().map_or(Path::new(""), PathBuf::as_path)))
}

#[derive(Default)]
struct Checking {
    found: Checked,
    /// What the next line follows; `None` before the first.
    before: Option<(u64, Hash)>,
    heads: Vec<Head>,
    line: u64,
}

impl Checking {
    fn file(&mut self, path: &Path, is_last: bool) -> io::Result<()> {
        let mut reader = BufReader::new(File::open(path)?);
        self.found.files = self.found.files.saturating_add(1);
        self.line = 0;
        let mut line = Vec::new();
        loop {
            line.clear();
            if io::Read::take(&mut reader, LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            self.line = self.line.saturating_add(1);
            let Some(text) = line.strip_suffix(b"\n") else {
                self.found.unfinished = is_last;
                if !is_last {
                    self.broken(path, "the line has no end, and another file follows".to_owned());
                }
                return Ok(());
            };
            if let Err(why) = self.line(text) {
                self.broken(path, why);
                return Ok(());
            }
        }
    }

    fn line(&mut self, text: &[u8]) -> Result<(), String> {
        let read = Read::of(text).ok_or("the line is none of an audit log")?;
        let seq = read.seq().ok_or("the line has no number")?;
        let begins =
            (read.text("what") == Some("file")).then(|| read.text("previous").and_then(chain::from_hex)).flatten();
        if self.line == 1 && begins.is_none() {
            return Err("the file does not begin with what it follows: its beginning was taken away".to_owned());
        }
        let (seq_before, hash_before) = match (self.before, begins) {
            (Some(before), Some(claimed)) if before.1 != claimed => {
                return Err("the file does not follow the one before: one between them is missing".to_owned());
            }
            (Some(before), _) => before,
            (None, Some(claimed)) => (seq.saturating_sub(1), claimed),
            (None, None) => return Err("the log does not begin with a beginning".to_owned()),
        };
        if !read.follows(&hash_before) {
            return Err("the hash does not fit: this line, or one before it, is not as it was written".to_owned());
        }
        if seq != seq_before.saturating_add(1) {
            return Err(format!("the number is {seq}, and {} was to come", seq_before.saturating_add(1)));
        }
        let hash = chain::to_hex(&read.hash);
        if let Some(head) = self.heads.iter().find(|head| head.seq == seq && head.hash != hash) {
            return Err(format!("entry {} was another one when it was written: the log was written anew", head.seq));
        }
        if self.before.is_none() {
            self.found.first_seq = seq;
        }
        if read.text("what") == Some("lost") {
            let count = read.text("count").and_then(|count| count.parse().ok()).unwrap_or(0);
            self.found.lost = self.found.lost.saturating_add(count);
        }
        self.before = Some((seq, read.hash));
        self.found.entries = self.found.entries.saturating_add(1);
        self.found.last = Some(Head { seq, hash });
        Ok(())
    }

    /// What is told where all lines hold: whether the end is missing.
    fn end(mut self, file: &Path) -> Checked {
        let last = self.found.last.as_ref().map_or(0, |last| last.seq);
        if let Some(head) = self.heads.iter().find(|head| head.seq > last) {
            let why =
                format!("the log ends with entry {last}, and entry {} was there: its end was taken away", head.seq);
            self.broken(file, why);
        }
        self.found
    }

    fn broken(&mut self, file: &Path, why: String) {
        self.found.broken = Some(Broken { file: file.to_owned(), line: self.line, why });
    }
}
