//! The port of the audit log: who did what, with which outcome, for those who have to answer for it later.
//!
//! Invariant: noting waits for nothing; what does not fit is counted, and the log itself says how many it has lost. An
//! entry holds no PIN, key or text of a message, and addresses only masked: whoever makes one leaves them out.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::domain::ids::PartnerId;

/// Who has done something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A partner.
    Partner(PartnerId),
    /// Somebody at the operations port, by the name that they gave.
    Operator(String),
    /// The gateway itself, or a signal that it got.
    Gateway,
    /// Somebody who has shown nothing that is known.
    Nobody,
}

/// Something that was done, or tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub who: Who,
    /// What: the RPC's name, or a word for it.
    pub what: Cow<'static, str>,
    /// What came of it: a status, an error code, or `ok`.
    pub outcome: Cow<'static, str>,
    /// What else is known, in the order in which it is written.
    pub details: Vec<(&'static str, String)>,
}

/// A call that was turned away for who its caller is. They are counted and written together, so that a flood of them
/// fills no disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// Whose key it was; `None` where nobody's was shown.
    pub partner: Option<PartnerId>,
    /// What was asked for: the name of an RPC that there is.
    pub what: String,
    /// The error code.
    pub code: &'static str,
}

/// Keeps the log.
pub trait Audit: Send + Sync {
    /// Takes an entry. Never waits.
    fn note(&self, entry: Entry);

    /// Counts a refusal. Never waits longer than another one takes to be counted.
    fn refuse(&self, refused: Refused);

    /// Whether what was taken last could be written.
    fn is_well(&self) -> bool;
}

/// A place in the log, as it was told at the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The number of its entry.
    pub seq: u64,
    /// That entry's hash: 64 hexadecimal digits.
    pub hash: String,
}

impl Head {
    /// Reads `SEQ:HASH`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, hash) = text.split_once(':')?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hash.then_some(Self { seq: seq.parse().ok()?, hash: hash.to_owned() })
    }
}

/// The first thing in a log that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// In which file.
    pub file: PathBuf,
    /// In which line, counted from 1.
    pub line: u64,
    /// What is wrong.
    pub why: String,
}

/// What was found when a log was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Files that were read.
    pub files: u64,
    /// Entries that hold.
    pub entries: u64,
    /// The number of the first entry; 1 where nothing was taken away before it.
    pub first_seq: u64,
    /// The last entry that holds.
    pub last: Option<Head>,
    /// Whether the last line has no end: it is being written, or whoever wrote it was killed.
    pub unfinished: bool,
    /// Entries that the log says it has lost.
    pub lost: u64,
    /// Where it is broken.
    pub broken: Option<Broken>,
}
