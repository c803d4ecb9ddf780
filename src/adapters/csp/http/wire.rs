//! The JSON of the CSP API: what is sent, and what an answer says.
//!
//! Invariant: the words are those of `deploy/csp/csp-api-v1.yaml` and stand nowhere else on this side. What is missing,
//! malformed or unknown is read as nothing, never as a default: an answer that cannot be read is judged as one.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::account::{Account, Eligibility, PaymentModel, Standing};
use crate::domain::address::{Address, Msisdn};
use crate::domain::ids::{AccountRef, ChargeCode, Reference};
use crate::domain::money::{Currency, Money};
use crate::domain::transaction::settle::Receipt;
use crate::ports::csp::{ChargeOrder, Identifier, RefundOrder, Sms};

/// With 404, of an account: there is none.
pub(super) const UNKNOWN_ACCOUNT: &str = "unknown-account";
/// With 404, of an inquiry: not known now.
pub(super) const UNKNOWN_TRANSACTION: &str = "unknown-transaction";
/// Most characters of a refusal's code.
const CODE_LENGTH_MAX: usize = 64;
/// Most characters of an account's name at its CSP.
const ACCOUNT_ID_LENGTH_MAX: usize = 256;

/// The body of POST /account/validate.
pub(super) fn account(who: &Identifier, product: Option<&ChargeCode>) -> String {
    let mut body = match who {
        Identifier::Address(Address::Msisdn(number)) => json!({ "type": "MSISDN", "address": number.expose() }),
        Identifier::Address(Address::Email(email)) => json!({ "type": "EMAIL", "address": email.expose() }),
        Identifier::Account(name) => json!({ "accountId": name.as_str() }),
    };
    if let (Some(code), Value::Object(fields)) = (product, &mut body) {
        fields.insert("chargeCode".to_owned(), Value::from(code.as_str()));
    }
    body.to_string()
}

/// The body of POST /transaction for a charge.
pub(super) fn charge(order: &ChargeOrder) -> String {
    json!({
        "transactionId": order.reference.to_string(),
        "accountId": order.account.as_str(),
        "chargeCode": order.charge_code.as_str(),
        "amount": order.money.to_string(),
        "currency": order.money.currency.code(),
        "description": order.bill_text,
    })
    .to_string()
}

/// The body of POST /transaction for a refund.
pub(super) fn refund(order: &RefundOrder) -> String {
    json!({
        "transactionId": order.reference.to_string(),
        "accountId": order.account.as_str(),
        "chargeCode": order.charge_code.as_str(),
        "amount": order.money.negated().to_string(),
        "currency": order.money.currency.code(),
        "description": order.bill_text,
        "referenceId": order.charge.to_string(),
    })
    .to_string()
}

/// The body of POST /transaction/{transactionId}/void: the path says it all.
pub(super) fn void() -> String {
    json!({}).to_string()
}

/// The body of POST /notification.
pub(super) fn notification(number: &Msisdn, message: &Sms) -> String {
    let mut fields = Map::new();
    fields.insert("type".to_owned(), Value::from("MSISDN"));
    fields.insert("address".to_owned(), Value::from(number.expose()));
    fields.insert("message".to_owned(), Value::from(message.text.expose()));
    for (name, text) in [("sender", &message.sender), ("language", &message.language)] {
        if let Some(text) = text {
            fields.insert(name.to_owned(), Value::from(text.as_str()));
        }
    }
    Value::Object(fields).to_string()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccountAnswer {
    account_id: String,
    status: String,
    #[serde(rename = "type")]
    payment: String,
    eligible: bool,
}

/// Reads an account.
pub(super) fn read_account(text: &[u8]) -> Option<Account> {
    let answer: AccountAnswer = serde_json::from_slice(text).ok()?;
    if answer.account_id.is_empty() || answer.account_id.chars().count() > ACCOUNT_ID_LENGTH_MAX {
        return None;
    }
    Some(Account {
        reference: AccountRef::new(&answer.account_id),
        standing: match answer.status.as_str() {
            "ACTIVE" => Standing::Active,
            "CEASED" => Standing::Ceased,
            "SUSPENDED_NON_PAYMENT" => Standing::SuspendedNonPayment,
            "SUSPENDED_LOST_STOLEN" => Standing::SuspendedLostStolen,
            _ => return None,
        },
        payment: match answer.payment.as_str() {
            "prepaid" => PaymentModel::Prepaid,
            "postpaid" => PaymentModel::Postpaid,
            _ => return None,
        },
        eligibility: if answer.eligible { Eligibility::Eligible } else { Eligibility::NotEligible },
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TransactionAnswer {
    transaction_id: String,
    status: String,
    amount: Option<String>,
    currency: Option<String>,
    reference_id: Option<String>,
    code: Option<String>,
}

/// A booking as it was answered.
pub(super) struct Booked {
    /// Reference and amount, with the sign that it came with.
    pub(super) receipt: Receipt,
    /// Whether it names a charge that it gives back.
    pub(super) is_refund: bool,
}

impl Booked {
    /// Reads a booking.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let answer: TransactionAnswer = serde_json::from_slice(text).ok()?;
        if answer.status != "booked" {
            return None;
        }
        let currency = Currency::from_code(answer.currency.as_deref()?)?;
        let money = Money::parse(answer.amount.as_deref()?, currency)?;
        let receipt = Receipt { reference: Reference::parse(&answer.transaction_id)?, money };
        Some(Self { receipt, is_refund: answer.reference_id.is_some() })
    }

    /// The receipt as the port has it: what a refund gives back is positive there.
    pub(super) fn positive(self) -> Receipt {
        if self.is_refund { given_back(self.receipt) } else { self.receipt }
    }
}

/// A refund travels as a negative amount; a receipt has what was given back. A CSP that answers a positive amount has
/// booked something else, and so it reads.
pub(super) fn given_back(receipt: Receipt) -> Receipt {
    let money = Money { minor: receipt.money.minor.saturating_neg(), ..receipt.money };
    Receipt { money, ..receipt }
}

/// Whether an answer says that a reference is void.
pub(super) fn is_void(text: &[u8], reference: Reference) -> bool {
    let answer: Option<TransactionAnswer> = serde_json::from_slice(text).ok();
    answer.is_some_and(|answer| answer.status == "void" && Reference::parse(&answer.transaction_id) == Some(reference))
}

/// Reads what an inquiry says of a transaction that was refused. Of another transaction it says nothing.
pub(super) fn read_refused(text: &[u8], reference: Reference) -> Option<String> {
    let answer: TransactionAnswer = serde_json::from_slice(text).ok()?;
    let is_ours = answer.status == "refused" && Reference::parse(&answer.transaction_id) == Some(reference);
    answer.code.filter(|code| is_ours && is_code(code))
}

#[derive(Deserialize)]
struct RefusalAnswer {
    code: String,
}

/// Reads the code of a refusal.
pub(super) fn read_code(text: &[u8]) -> Option<String> {
    let answer: RefusalAnswer = serde_json::from_slice(text).ok()?;
    is_code(&answer.code).then_some(answer.code)
}

fn is_code(code: &str) -> bool {
    (1..=CODE_LENGTH_MAX).contains(&code.chars().count()) && !code.chars().any(char::is_control)
}
