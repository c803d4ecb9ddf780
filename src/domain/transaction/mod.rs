//! Transactions: charges and refunds, and the only ways in which they change.
//!
//! Invariant: a record moves Pending → Success | Failure | Unknown | Released, Unknown → Success | Failure,
//! Released → Pending, and never otherwise; Success and Failure are final. Each change is one [`UnitOfWork`], which the
//! ledger commits whole or not at all. Nothing here calls a CSP or a store: these are the rules that `flows/` put in
//! order. Reading order: `request`, `admit`, `refund`, `replay`, `settle`.

use std::sync::Arc;

use super::Time;
use super::account::{AccountKey, SealedAccountId};
use super::address::{Address, AddressDigest};
use super::catalogue::{Violation, outcome};
use super::event::Event;
use super::ids::{AccountRef, ChargeCode, CspId, ExtTransactionId, InstanceId, PartnerId, ProductId, Reference};
use super::limits::{Counted, CounterChange};
use super::money::{Decimal, Money};

pub mod request;
pub mod admit;
pub mod refund;
pub mod replay;
pub mod settle;
pub mod decide;
pub mod forget;

use self::decide::Decision;

/// Most characters of the text that an outcome is answered with.
pub const MESSAGE_LENGTH_MAX: usize = 128;

/// A rule said no. Final, and all of it may be shown to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Fields are not as they must be, in the order in which they are listed.
    Invalid(Vec<Violation>),
    /// Ceased, unknown to the CSP, or an account id that is not ours.
    AccountNotFound,
    /// Suspended for non-payment or another billing issue.
    SuspendedNonPayment,
    /// Suspended because the phone was lost or stolen.
    SuspendedLostStolen,
    /// The CSP's own rule refuses the account.
    NotEligible,
    /// Wrong, expired, burnt or never sent.
    InvalidPin,
    /// The partner has no such product, or it cannot be charged at this CSP.
    UnknownProduct,
    /// The charge that a refund names does not exist.
    ChargeNotFound,
    /// The id belongs to another request.
    AlreadyUsed,
    /// No such transaction of this partner.
    TransactionNotFound,
    /// Too many in too short a time.
    TooMany {
        /// Seconds after which it is allowed again.
        retry_after_s: u32,
    },
}

/// Charge or refund. The two may share an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Money to the partner.
    Charge,
    /// Money back to the subscriber.
    Refund,
}

impl Kind {
    /// The word that callers read and write.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Refund => "refund",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "charge" => Some(Self::Charge),
            "refund" => Some(Self::Refund),
            _ => None,
        }
    }
}

/// What makes a transaction one: unique in the ledger, for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionKey {
    /// Whose it is.
    pub partner: PartnerId,
    /// Charge or refund.
    pub kind: Kind,
    /// The partner's own id.
    pub ext_transaction_id: ExtTransactionId,
}

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The intent is durable; the CSP may or may not have heard of it.
    Pending,
    /// Final: booked.
    Success,
    /// Final: not booked, and never will be.
    Failure,
    /// The CSP was asked and did not answer clearly. Callers see Pending.
    Unknown,
    /// The CSP is known to have done nothing, and the caller was told so (503). Callers do not see it.
    Released,
}

/// A state as callers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Final: booked.
    Success,
    /// Final: not booked.
    Failure,
    /// Not known yet; it becomes final by itself.
    Pending,
}

impl Status {
    /// The word that callers read and write.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Failure => "Failure",
            Self::Pending => "Pending",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "Success" => Some(Self::Success),
            "Failure" => Some(Self::Failure),
            "Pending" => Some(Self::Pending),
            _ => None,
        }
    }
}

impl State {
    /// What callers see of it; `None` where they see nothing.
    #[must_use]
    pub const fn status(self) -> Option<Status> {
        match self {
            Self::Success => Some(Status::Success),
            Self::Failure => Some(Status::Failure),
            Self::Pending | Self::Unknown => Some(Status::Pending),
            Self::Released => None,
        }
    }

    /// Whether it never changes again.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Success | Self::Failure => true,
            Self::Pending | Self::Unknown | Self::Released => false,
        }
    }

    /// Whether a record may go from this state to another.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending => !matches!(next, Self::Pending),
            Self::Unknown => matches!(next, Self::Success | Self::Failure),
            Self::Released => matches!(next, Self::Pending | Self::Failure),
            Self::Success | Self::Failure => false,
        }
    }
}

/// The fields by which "the same request" is decided (contract section 3), as they were sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Type and address, where they were sent. A record whose address was forgotten has none, as one without.
    pub address: Option<Address>,
    /// The account id, where it was sent.
    pub account_id: Option<SealedAccountId>,
    /// The product, as named.
    pub partner_product: ProductId,
    /// The amount by value: 10 and 10.00 are the same.
    pub amount: Decimal,
    /// The currency's code.
    pub currency: Arc<str>,
    /// The text for the bill; empty stands for absent.
    pub description: Arc<str>,
    /// The charge that a refund with an id of its own names.
    pub reference_id: Option<ExtTransactionId>,
}

/// Which version of the comparison a record was written under. A field added later enters for newer records only.
pub const COMPARED_VERSION: u8 = 1;

/// Who works on a record, and until when nobody else may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The gateway that works on it.
    pub owner: InstanceId,
    /// From this moment on it is anybody's.
    pub until: Time,
}

/// A charge or a refund, as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// What makes it one.
    pub key: TransactionKey,
    /// The name under which the CSP knows it: the same for ever.
    pub reference: Reference,
    /// Where it stands.
    pub state: State,
    /// Counts the changes of this record. A change names the version that it was decided on.
    pub version: u32,
    /// The request, as far as it is compared.
    pub compared: Compared,
    /// What stands for the address of the request, once that is kept no longer.
    pub forgotten: Option<AddressDigest>,
    /// The account it is booked to.
    pub account: AccountKey,
    /// What the CSP calls the product.
    pub charge_code: ChargeCode,
    /// The amount, always positive.
    pub money: Money,
    /// The counters that a charge is counted on; of a refund, those of its charge. Fixed with the intent.
    pub counted: Vec<Counted>,
    /// When the request was accepted. Callers see it in whole seconds, as `chargeDate`.
    pub accepted_at: Time,
    /// Why it failed, in public words; `None` unless it failed.
    pub failure: Option<Arc<str>>,
    /// The CSP's own refusal code or what was unclear: for the people who run the gateway, never for callers.
    pub private_note: Option<Arc<str>>,
    /// Charges: minor units that refunds hold or have given back. Never more than the charge.
    pub refunds_held_minor: i64,
    /// Charges: minor units that refunds which are Success have given back.
    pub refunds_done_minor: i64,
    /// Who works on it.
    pub lease: Option<Lease>,
    /// When somebody must look at it again: the end of its lease, or the next inquiry. `None`: nobody need.
    pub due_at: Option<Time>,
    /// No request for this transaction leaves a gateway after this moment, so far.
    pub sent_before: Time,
    /// How often the CSP was asked for the outcome.
    pub inquiries: u32,
    /// Why the outcome cannot be found out without a person; `None` unless it is on the list of stuck ones.
    pub stuck: Option<Arc<str>>,
}

impl Transaction {
    /// The text that answers carry for it.
    #[must_use]
    pub fn message(&self) -> &str {
        match self.state {
            State::Success => outcome::SUCCESS,
            State::Failure => self.failure.as_deref().unwrap_or(outcome::DECLINED),
            State::Pending | State::Unknown | State::Released => outcome::PENDING,
        }
    }

    /// The amount with its sign: negative on a refund.
    #[must_use]
    pub const fn signed_money(&self) -> Money {
        match self.key.kind {
            Kind::Charge => self.money,
            Kind::Refund => self.money.negated(),
        }
    }

    /// The key of the charge that a refund gives back; `None` on a charge.
    #[must_use]
    pub fn charge_key(&self) -> Option<TransactionKey> {
        match self.key.kind {
            Kind::Charge => None,
            Kind::Refund => Some(TransactionKey {
                partner: self.key.partner.clone(),
                kind: Kind::Charge,
                ext_transaction_id: self
                    .compared
                    .reference_id
                    .clone()
                    .unwrap_or_else(|| self.key.ext_transaction_id.clone()),
            }),
        }
    }

    /// The text for the bill: the description, else the product.
    #[must_use]
    pub fn bill_text(&self) -> &str {
        if self.compared.description.is_empty() {
            self.compared.partner_product.as_str()
        } else {
            &self.compared.description
        }
    }
}

/// An account of the double entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BookAccount {
    /// What a subscriber owes.
    Subscriber(CspId, AccountRef),
    /// What a partner is to receive.
    Partner(PartnerId),
}

/// One side of the double entry. All postings of a transaction sum to zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// Which account.
    pub account: BookAccount,
    /// How much it gains, in minor units; negative where it loses.
    pub money: Money,
}

/// A refund's share of its charge, taken or given back. The store refuses to let the shares exceed the charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The charge. It must be `Success`.
    pub charge: TransactionKey,
    /// Minor units by which what is held changes.
    pub held_minor: i64,
    /// Minor units by which what is given back for good changes.
    pub done_minor: i64,
}

/// What the store must find before it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// No record under the key.
    Absent,
    /// A record of this version.
    Version(u32),
}

/// One change of one transaction with everything that belongs to it: committed whole, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitOfWork {
    /// The record as it shall be. The store counts its version up.
    pub transaction: Transaction,
    /// What must be there before.
    pub expected: Expected,
    /// The refund's share of its charge.
    pub hold: Option<Hold>,
    /// What counters of spend limits gain or lose. No two are of one counter.
    pub counters: Vec<CounterChange>,
    /// The double entry; empty unless money moved.
    pub postings: Vec<Posting>,
    /// The event that tells the partner; `None` unless the outcome is final.
    pub event: Option<Event>,
    /// Who decided on the outcome, and why; `None` unless a person did.
    pub decision: Option<Decision>,
}

impl UnitOfWork {
    /// A change of the record alone.
    #[must_use]
    pub const fn of(transaction: Transaction, expected: Expected) -> Self {
        Self {
            transaction,
            expected,
            hold: None,
            counters: Vec::new(),
            postings: Vec::new(),
            event: None,
            decision: None,
        }
    }
}

#[cfg(test)]
pub(crate) mod samples;
