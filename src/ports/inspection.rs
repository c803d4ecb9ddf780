//! What people who run the gateway ask of a ledger at rest or at work: is it whole, what is in it, make me a copy.
//!
//! Invariant: nothing here changes a record, and nothing that is handed out names an address or an account. Everything
//! streams: what is read is handed on line by line, however large the ledger is. Settling is not here: it goes through
//! the running gateway.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::secrets::Secrets;
use crate::domain::Time;
use crate::domain::ids::{PartnerId, Reference};
use crate::domain::money::Currency;
use crate::domain::transaction::Transaction;

/// Why a ledger could not be looked at, or no further.
#[derive(Debug, thiserror::Error)]
pub enum InspectionError {
    /// There is none.
    #[error("there is no ledger: {} does not exist", .0.display())]
    Missing(PathBuf),
    /// It cannot be opened; the text says what to do.
    #[error("{0}")]
    Refused(String),
    /// It stopped to answer.
    #[error("the ledger cannot be read: {0}")]
    Unreadable(String),
    /// The target of a copy is there already. Nothing is written over.
    #[error("{} exists already, and is not written over: name another file", .0.display())]
    Exists(PathBuf),
    /// The copy cannot be written.
    #[error("{} cannot be written: {source}", file.display())]
    Unwritable {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Whoever was handed the lines could not take one.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// A record by its key, as far as it could be read. It stands in for a key whose row may be damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The ledger's own number of the record.
    pub sequence: i64,
    /// Whose.
    pub partner: String,
    /// `charge` or `refund`.
    pub kind: String,
    /// The partner's own id.
    pub ext_transaction_id: String,
}

impl fmt::Display for Named {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {} (record {})", self.partner, self.kind, self.ext_transaction_id, self.sequence)
    }
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which invariant is broken, in one word.
    pub rule: &'static str,
    /// Of which record; `None` where it is the file's.
    pub record: Option<Named>,
    /// What was found and what should be there. Without addresses.
    pub text: String,
}

/// What a verification says while it works.
#[derive(Debug)]
pub enum Progress<'a> {
    /// What it begins to do.
    Stage(&'a str),
    /// So many records of so many are checked.
    Checked {
        /// Checked so far.
        records: u64,
        /// There are about as many.
        of: u64,
    },
    /// It has found something.
    Found(&'a Finding),
}

/// What a verification has looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Version of the file's schema.
    pub schema: i32,
    /// Records.
    pub records: u64,
    /// Lines of the double entry.
    pub postings: u64,
    /// Events.
    pub events: u64,
    /// What was found.
    pub findings: u64,
    /// Whether the references were held against the permanent key.
    pub references_checked: bool,
}

/// Which transactions finance wants.
#[derive(Debug, Clone, Default)]
pub struct ExportQuery {
    /// Whose; `None` for all.
    pub partner: Option<PartnerId>,
    /// Accepted at this time or later.
    pub since: Option<Time>,
    /// Accepted before this time.
    pub until: Option<Time>,
}

/// A transaction for finance.
#[derive(Debug, Clone)]
pub struct Exported {
    /// The record.
    pub transaction: Transaction,
    /// When it became final.
    pub settled_at: Option<Time>,
    /// Who decided, where a person did.
    pub settled_by: Option<String>,
}

/// A record that needs a person, without anything personal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckRecord {
    /// Its key.
    pub record: Named,
    /// The name under which the CSP knows it.
    pub reference: Reference,
    /// The CSP to ask.
    pub csp: String,
    /// Its state's word.
    pub state: &'static str,
    /// The amount with its sign.
    pub amount: String,
    /// The currency.
    pub currency: Currency,
    /// When the request was accepted.
    pub accepted_at: Time,
    /// How often the CSP was asked.
    pub inquiries: u32,
    /// Why it is stuck.
    pub why: String,
    /// What the CSP said last.
    pub note: Option<String>,
}

/// A ledger as a file, beside a gateway that may be working on it.
pub trait LedgerInspection {
    /// Checks every invariant over the whole file, in one snapshot of it. With secrets, references too.
    ///
    /// # Errors
    /// There is nothing to read, or the output breaks. Damage is a finding, not an error.
    fn verify(
        &self,
        secrets: Option<&dyn Secrets>,
        tell: &mut dyn FnMut(&Progress<'_>) -> io::Result<()>,
    ) -> Result<Verified, InspectionError>;

    /// Hands out what callers can see, oldest first, and answers how many there were.
    ///
    /// # Errors
    /// The ledger cannot be read, or the output breaks.
    fn export(
        &self,
        query: &ExportQuery,
        line: &mut dyn FnMut(&Exported) -> io::Result<()>,
    ) -> Result<u64, InspectionError>;

    /// Records that need a person, oldest first, at most so many.
    ///
    /// # Errors
    /// The ledger cannot be read.
    fn stuck(&self, rows_max: u32) -> Result<Vec<StuckRecord>, InspectionError>;

    /// Copies the ledger as it is at one moment to a file that does not exist yet. The copy appears under its name only
    /// when it is complete, durable and structurally whole.
    ///
    /// # Errors
    /// The target exists or cannot be written, or the ledger cannot be read.
    fn backup(&self, target: &Path) -> Result<(), InspectionError>;
}
