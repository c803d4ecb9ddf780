//! The port of a CSP: six verbs that every operator can be spoken to with.
//!
//! Invariant: an error says what may be done next. Only [`CspError::NotApplied`] allows the same request to be sent
//! again; after [`CspError::Unknown`] the CSP must be asked before anything else. Everything about an operator that is
//! data (currency, patterns, limits, verdicts, what it can do and what it promises) is its `CspProfile`, not here: a flow
//! asks the profile before it uses a verb that not every operator has (refund, inquire, void).

use std::time::Duration;

use async_trait::async_trait;

use super::Cause;
use crate::domain::account::Account;
use crate::domain::address::{Address, Msisdn};
use crate::domain::directory::PinSms;
use crate::domain::ids::{AccountRef, ChargeCode, CorrelationId, PartnerId, Reference};
use crate::domain::money::Money;
use crate::domain::trace::{Trace, TraceState};
use crate::domain::transaction::settle::Receipt;

/// Who is looked up.
#[derive(Debug, Clone)]
pub enum Identifier {
    /// By number or e-mail address.
    Address(Address),
    /// By the CSP's own name of the account.
    Account(AccountRef),
}

/// What goes with every call.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// On whose behalf; `None`: the gateway's own, as when it asks what became of something. Never sent on.
    pub partner: Option<PartnerId>,
    /// Sent on, so that both sides' logs can be put together.
    pub correlation: CorrelationId,
    /// The trace that the call is part of, sent on as W3C `traceparent` and as B3.
    pub trace: Trace,
    /// What the caller's trace carries, sent on as W3C `tracestate`.
    pub trace_state: Option<TraceState>,
    /// How long the call may take. The adapter gives up by itself and says so by its error.
    pub budget: Duration,
}

/// A charge to book.
#[derive(Debug, Clone)]
pub struct ChargeOrder {
    /// Its name, the same at every repeat: the CSP books a reference once.
    pub reference: Reference,
    /// Whose bill.
    pub account: AccountRef,
    /// What the CSP calls the product.
    pub charge_code: ChargeCode,
    /// How much, positive.
    pub money: Money,
    /// The text for the bill.
    pub bill_text: String,
}

/// A refund to book.
#[derive(Debug, Clone)]
pub struct RefundOrder {
    /// Its own name, the same at every repeat.
    pub reference: Reference,
    /// The name of the charge that it gives back.
    pub charge: Reference,
    /// Whose bill.
    pub account: AccountRef,
    /// What the CSP calls the product.
    pub charge_code: ChargeCode,
    /// How much to give back, positive.
    pub money: Money,
    /// The text for the bill.
    pub bill_text: String,
}

/// What a CSP knows of a reference.
#[derive(Debug, Clone)]
pub enum Inquiry {
    /// It is booked.
    Booked(Receipt),
    /// It was refused, with the CSP's own code.
    Refused {
        /// The CSP's own code.
        code: String,
    },
    /// It does not know the reference now. That is not yet "never".
    NotKnown,
}

/// What became of a reference that was to be void.
#[derive(Debug, Clone)]
pub enum Voiding {
    /// Nothing is booked under it, and nothing ever will be: a request that is still on its way is refused.
    Void,
    /// It was booked before, and stays so: a void takes nothing back.
    Booked(Receipt),
    /// It was refused before, with the CSP's own code.
    Refused {
        /// The CSP's own code.
        code: String,
    },
}

/// A text message.
#[derive(Debug, Clone)]
pub struct Sms {
    /// Who it is from, as the phone shows it; `None` leaves it to the CSP.
    pub sender: Option<String>,
    /// Language of the text, a BCP 47 tag; `None` where it is not known.
    pub language: Option<String>,
    /// The text.
    pub text: SmsText,
}

/// The text of a message: it may hold a PIN, so it does not print.
#[derive(Clone)]
pub struct SmsText(String);

impl SmsText {
    /// Wraps a text.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text. For the message itself only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SmsText {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SmsText(****)")
    }
}

impl Sms {
    /// A PIN message with its text filled in.
    #[must_use]
    pub fn of_pin(template: &PinSms, text: String) -> Self {
        Self {
            sender: Some(template.sender.clone()),
            language: Some(template.language.clone()),
            text: SmsText::new(text),
        }
    }
}

/// Why a CSP did not do, or may not have done, what it was asked.
#[derive(Debug, Clone)]
pub enum CspError {
    /// Nothing was applied and nothing is under way: not one byte was written, or the CSP said so in a way that its
    /// profile lists. The same request may be sent again under the same reference.
    NotApplied(Cause),
    /// The CSP said no, for good, with its own code.
    Refused {
        /// The CSP's own code; the profile turns it into public words.
        code: String,
    },
    /// Anything else: it may have been applied. Ask before anything else.
    Unknown(Cause),
}

/// An operator.
#[async_trait]
pub trait Csp: Send + Sync {
    /// Whether a charge or refund would be sent now, and could be answered within this time. Asked before an intent is made
    /// durable, so that what would be turned away costs no commit; it promises nothing.
    fn would_take(&self, time_left: Duration) -> Result<(), Cause>;

    /// What is known of the CSP without asking it, in a word for people. An adapter by itself knows nothing ill of it.
    fn standing(&self) -> &'static str {
        "ok"
    }

    /// Looks an account up, for a purchase of a product where one is named. `Ok(None)`: the CSP does not know it.
    async fn account(
        &self,
        who: &Identifier,
        product: Option<&ChargeCode>,
        call: &CallContext,
    ) -> Result<Option<Account>, CspError>;

    /// Books a charge, once for its reference.
    async fn charge(&self, order: &ChargeOrder, call: &CallContext) -> Result<Receipt, CspError>;

    /// Books a refund, once for its reference.
    async fn refund(&self, order: &RefundOrder, call: &CallContext) -> Result<Receipt, CspError>;

    /// Tells what is known of a reference.
    async fn inquire(&self, reference: &Reference, call: &CallContext) -> Result<Inquiry, CspError>;

    /// Makes a reference void that the CSP has not decided: nothing is ever booked under it. One that it has decided
    /// stays as it is, and is told. The same void may be asked for again.
    async fn void(&self, reference: &Reference, call: &CallContext) -> Result<Voiding, CspError>;

    /// Sends a text message.
    async fn notify(&self, number: &Msisdn, message: &Sms, call: &CallContext) -> Result<(), CspError>;
}
