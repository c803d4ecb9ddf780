//! The port of what a test may see and move behind the gateway: a phone's inbox and a CSP's bill.
//!
//! Invariant: only CSPs that are scripted for tests have it; nothing in the path of a charge uses it.

use async_trait::async_trait;

use super::Cause;
use crate::domain::Time;
use crate::domain::address::{Address, Msisdn};
use crate::domain::ids::{AccountRef, Reference};
use crate::domain::money::Money;

/// The sandbox CSP cannot answer.
#[derive(Debug, Clone)]
pub struct SandboxUnavailable(pub Cause);

/// A text message that a phone has received.
#[derive(Debug, Clone)]
pub struct ReceivedSms {
    /// The text, with the PIN where there is one.
    pub text: super::csp::SmsText,
    /// When it came.
    pub at: Time,
}

/// A line of a bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillLine {
    /// Under which reference it was booked.
    pub reference: Reference,
    /// The amount; negative on a refund.
    pub money: Money,
    /// The text.
    pub text: String,
    /// When it was booked.
    pub at: Time,
}

/// A line as the operator's own books have it, whoever's bill it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookedLine {
    /// Its place among all lines of all bills, rising, from 1.
    pub sequence: u64,
    /// Whose bill.
    pub number: Msisdn,
    /// The charge that it gives back; `None` on a charge.
    pub charge: Option<Reference>,
    /// What stands on the bill.
    pub line: BillLine,
}

/// A bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    /// Its lines, oldest first: the newest that fit.
    pub lines: Vec<BillLine>,
    /// The sum of all lines, those that did not fit included.
    pub total: Money,
}

/// A CSP that is scripted for tests.
#[async_trait]
pub trait SandboxCsp: Send + Sync {
    /// The CSP's own name of the account behind an address, whatever its standing. Known without asking anybody.
    fn account_of(&self, address: &Address) -> Option<AccountRef>;

    /// What a number has received, newest first, at most `messages_max`.
    async fn messages(&self, number: &Msisdn, messages_max: usize) -> Result<Vec<ReceivedSms>, SandboxUnavailable>;

    /// The bill of a number, with at most `lines_max` lines.
    async fn bill(&self, number: &Msisdn, lines_max: usize) -> Result<Bill, SandboxUnavailable>;

    /// The lines of all bills, former ones included, in the order in which they were booked: at most `lines_max` of
    /// those after a sequence.
    async fn booked(&self, after: u64, lines_max: usize) -> Result<Vec<BookedLine>, SandboxUnavailable>;

    /// The line that was booked under a reference.
    async fn line(&self, reference: &Reference) -> Result<Option<BookedLine>, SandboxUnavailable>;

    /// Makes a number as new: bill, balance, spending of the day, inbox.
    async fn reset(&self, number: &Msisdn) -> Result<(), SandboxUnavailable>;
}
