//! What a CSP is asked to do, done by the scripted operator, and what it answers, whatever wire it came over.
//!
//! Invariant: nothing here knows a wire; `json` and `grpc` read orders and write answers. An amount is positive, of
//! charges and refunds alike.

use std::time::Duration;

use super::routes::Operator;
use crate::domain::account::Account;
use crate::domain::address::Msisdn;
use crate::domain::ids::{ChargeCode, CorrelationId, Reference};
use crate::domain::trace::Trace;
use crate::domain::transaction::settle::Receipt;
use crate::ports::csp::{CallContext, ChargeOrder, CspError, Identifier, Inquiry, RefundOrder, Sms, Voiding};

/// How long a request is held that is scripted to have no answer, before that is made plain.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// One request of a gateway.
#[derive(Debug, Clone)]
pub(super) enum Order {
    /// Looks an account up, for a product where one is named.
    Account(Identifier, Option<ChargeCode>),
    /// Books a charge.
    Charge(ChargeOrder),
    /// Books a refund.
    Refund(RefundOrder),
    /// Asks for a reference.
    Inquire(Reference),
    /// Makes a reference void.
    Void(Reference),
    /// Sends a text message.
    Notify(Msisdn, Sms),
}

/// What the operator says to it.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// The account; `None`: nobody.
    Account(Option<Account>),
    /// It is booked.
    Booked(Booked),
    /// It is refused, with this code.
    Refused(String),
    /// What was asked for was refused before.
    WasRefused(Reference, String),
    /// What was asked for is not known.
    NotKnown,
    /// The reference is void.
    Void(Reference),
    /// The message is on its way.
    Sent,
    /// Nothing was applied; it may be sent again.
    NotApplied,
}

/// A line of the bill.
#[derive(Debug, Clone, Copy)]
pub(super) struct Booked {
    /// Its reference and its amount.
    pub(super) receipt: Receipt,
    /// Of a refund, its charge.
    pub(super) charge: Option<Reference>,
}

/// The operator is scripted to give no answer.
#[derive(Debug)]
pub(super) struct Silent;

impl Order {
    /// Has it done.
    pub(super) async fn done_by(&self, operator: &Operator, correlation: CorrelationId) -> Result<Answer, Silent> {
        let call = call(correlation);
        let csp = operator.csp();
        let done = match self {
            Self::Account(who, product) => csp.account(who, product.as_ref(), &call).await.map(Answer::Account),
            Self::Charge(order) => {
                csp.charge(order, &call).await.map(|receipt| Answer::Booked(Booked { receipt, charge: None }))
            }
            Self::Refund(order) => {
                let charge = Some(order.charge);
                csp.refund(order, &call).await.map(|receipt| Answer::Booked(Booked { receipt, charge }))
            }
            Self::Inquire(reference) => match csp.inquire(reference, &call).await {
                Ok(Inquiry::Booked(receipt)) => Ok(Answer::Booked(booked_before(receipt, operator).await?)),
                Ok(Inquiry::Refused { code }) => Ok(Answer::WasRefused(*reference, code)),
                Ok(Inquiry::NotKnown) => Ok(Answer::NotKnown),
                Err(error) => Err(error),
            },
            Self::Void(reference) => match csp.void(reference, &call).await {
                Ok(Voiding::Void) => Ok(Answer::Void(*reference)),
                Ok(Voiding::Booked(receipt)) => Ok(Answer::Booked(booked_before(receipt, operator).await?)),
                Ok(Voiding::Refused { code }) => Ok(Answer::WasRefused(*reference, code)),
                Err(error) => Err(error),
            },
            Self::Notify(number, message) => csp.notify(number, message, &call).await.map(|()| Answer::Sent),
        };
        done.or_else(|error| match error {
            CspError::NotApplied(_) => Ok(Answer::NotApplied),
            CspError::Refused { code } => Ok(Answer::Refused(code)),
            CspError::Unknown(_) => Err(Silent),
        })
    }
}

/// What goes with a call to the scripted operator.
pub(super) fn call(correlation: CorrelationId) -> CallContext {
    CallContext { trace: Trace::begun_by(&correlation), correlation, partner: None, trace_state: None, budget: SILENCE }
}

/// A booking of an earlier request, which the bill knows better.
async fn booked_before(receipt: Receipt, operator: &Operator) -> Result<Booked, Silent> {
    let line = operator.back().line(&receipt.reference).await.map_err(|_| Silent)?.ok_or(Silent)?;
    Ok(Booked { receipt, charge: line.charge })
}
