//! The messages of `onbill.csp.v1`: what is sent, and what an answer says.
//!
//! Invariant: generated types go no further than this folder. What is missing, malformed or unknown is read as nothing,
//! never as a default: an answer that cannot be read is judged as one.

use super::pb;
use super::verdict::Trouble;
use crate::domain::account::{Account, Eligibility, PaymentModel, Standing};
use crate::domain::address::{Address, Msisdn};
use crate::domain::ids::{AccountRef, ChargeCode, Reference};
use crate::domain::money::{Currency, Money};
use crate::domain::transaction::settle::Receipt;
use crate::ports::csp::{ChargeOrder, Identifier, Inquiry, RefundOrder, Sms, Voiding};

/// Most characters of a refusal's code.
const CODE_LENGTH_MAX: usize = 64;
/// Most characters of an account's name at its CSP.
const ACCOUNT_ID_LENGTH_MAX: usize = 256;

pub(super) fn account(who: &Identifier, product: Option<&ChargeCode>) -> pb::AccountRequest {
    use pb::account_request::Who;
    let who = match who {
        Identifier::Address(Address::Msisdn(number)) => Who::Msisdn(number.expose().to_owned()),
        Identifier::Address(Address::Email(email)) => Who::Email(email.expose().to_owned()),
        Identifier::Account(name) => Who::AccountId(name.as_str().to_owned()),
    };
    pb::AccountRequest { who: Some(who), charge_code: product.map(|code| code.as_str().to_owned()) }
}

pub(super) fn charge(order: &ChargeOrder) -> pb::ChargeRequest {
    pb::ChargeRequest {
        reference: order.reference.to_string(),
        account_id: order.account.as_str().to_owned(),
        charge_code: order.charge_code.as_str().to_owned(),
        money: Some(money(order.money)),
        description: order.bill_text.clone(),
    }
}

pub(super) fn refund(order: &RefundOrder) -> pb::RefundRequest {
    pb::RefundRequest {
        reference: order.reference.to_string(),
        charge_reference: order.charge.to_string(),
        account_id: order.account.as_str().to_owned(),
        charge_code: order.charge_code.as_str().to_owned(),
        money: Some(money(order.money)),
        description: order.bill_text.clone(),
    }
}

pub(super) fn notification(number: &Msisdn, message: &Sms) -> pb::NotifyRequest {
    pb::NotifyRequest {
        msisdn: number.expose().to_owned(),
        text: message.text.expose().to_owned(),
        sender: message.sender.clone(),
        language: message.language.clone(),
    }
}

fn money(money: Money) -> pb::Money {
    pb::Money { amount: money.to_string(), currency: money.currency.code().to_owned() }
}

pub(super) fn read_account(answer: pb::AccountResponse) -> Result<Option<Account>, Trouble> {
    use pb::account_response::Result as Said;
    match answer.result {
        Some(Said::Account(account)) => found(&account).map(Some).ok_or(Trouble::Unreadable),
        Some(Said::Unknown(pb::UnknownAccount {})) => Ok(None),
        None => Err(Trouble::Unreadable),
    }
}

fn found(account: &pb::Account) -> Option<Account> {
    let length = account.account_id.chars().count();
    if !(1..=ACCOUNT_ID_LENGTH_MAX).contains(&length) {
        return None;
    }
    Some(Account {
        reference: AccountRef::new(&account.account_id),
        standing: match account.standing() {
            pb::Standing::Active => Standing::Active,
            pb::Standing::Ceased => Standing::Ceased,
            pb::Standing::SuspendedNonPayment => Standing::SuspendedNonPayment,
            pb::Standing::SuspendedLostStolen => Standing::SuspendedLostStolen,
            pb::Standing::Unspecified => return None,
        },
        payment: match account.payment() {
            pb::Payment::Prepaid => PaymentModel::Prepaid,
            pb::Payment::Postpaid => PaymentModel::Postpaid,
            pb::Payment::Unspecified => return None,
        },
        eligibility: match account.eligibility() {
            pb::Eligibility::Eligible => Eligibility::Eligible,
            pb::Eligibility::NotEligible => Eligibility::NotEligible,
            pb::Eligibility::Unspecified => return None,
        },
    })
}

pub(super) fn read_charge(answer: pb::ChargeResponse) -> Result<Receipt, Trouble> {
    use pb::charge_response::Result as Said;
    match answer.result {
        Some(Said::Booked(booking)) => receipt(&booking).ok_or(Trouble::Unreadable),
        Some(Said::Refused(refusal)) => Err(Trouble::Refused(code(refusal))),
        None => Err(Trouble::Unreadable),
    }
}

pub(super) fn read_refund(answer: pb::RefundResponse) -> Result<Receipt, Trouble> {
    use pb::refund_response::Result as Said;
    match answer.result {
        Some(Said::Booked(booking)) => receipt(&booking).ok_or(Trouble::Unreadable),
        Some(Said::Refused(refusal)) => Err(Trouble::Refused(code(refusal))),
        None => Err(Trouble::Unreadable),
    }
}

pub(super) fn read_inquiry(answer: pb::InquireResponse) -> Result<Inquiry, Trouble> {
    use pb::inquire_response::Result as Said;
    match answer.result {
        Some(Said::Booked(booking)) => receipt(&booking).map(Inquiry::Booked).ok_or(Trouble::Unreadable),
        Some(Said::Refused(refusal)) => match code(refusal) {
            Some(code) => Ok(Inquiry::Refused { code }),
            None => Err(Trouble::Refused(None)),
        },
        Some(Said::Unknown(pb::UnknownReference {})) => Ok(Inquiry::NotKnown),
        None => Err(Trouble::Unreadable),
    }
}

pub(super) fn read_voiding(answer: pb::VoidResponse, not_applied: &[String]) -> Result<Voiding, Trouble> {
    use pb::void_response::Result as Said;
    match answer.result {
        Some(Said::Voided(pb::Voided {})) => Ok(Voiding::Void),
        Some(Said::Booked(booking)) => receipt(&booking).map(Voiding::Booked).ok_or(Trouble::Unreadable),
        // "Not applied" is said of the void itself; a refusal is of the charge or refund.
        Some(Said::Refused(refusal)) => match code(refusal) {
            Some(code) if !not_applied.contains(&code) => Ok(Voiding::Refused { code }),
            other => Err(Trouble::Refused(other)),
        },
        None => Err(Trouble::Unreadable),
    }
}

pub(super) fn read_notified(answer: pb::NotifyResponse) -> Result<(), Trouble> {
    use pb::notify_response::Result as Said;
    match answer.result {
        Some(Said::Sent(pb::Sent {})) => Ok(()),
        Some(Said::Refused(refusal)) => Err(Trouble::Refused(code(refusal))),
        None => Err(Trouble::Unreadable),
    }
}

fn receipt(booking: &pb::Booking) -> Option<Receipt> {
    let money = booking.money.as_ref()?;
    let money = Money::parse(&money.amount, Currency::from_code(&money.currency)?)?;
    Some(Receipt { reference: Reference::parse(&booking.reference)?, money })
}

fn code(refusal: pb::Refusal) -> Option<String> {
    let code = refusal.code;
    let is_one = (1..=CODE_LENGTH_MAX).contains(&code.chars().count()) && !code.chars().any(char::is_control);
    is_one.then_some(code)
}
