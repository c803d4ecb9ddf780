//! The CSP API v1: orders as it carries them, and answers as it writes them.
//!
//! Invariant: the words are those of `deploy/csp/csp-api-v1.yaml` and stand nowhere else on this side. An amount that is
//! answered has the sign with which it was sent: negative on a refund.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::orders::{Answer, Booked, Order};
use super::routes::Reply;
use crate::domain::account::{Account, Eligibility, Standing};
use crate::domain::address::{Address, Email, Msisdn};
use crate::domain::ids::{AccountRef, ChargeCode, Reference};
use crate::domain::money::{Currency, Money};
use crate::ports::csp::{ChargeOrder, Identifier, RefundOrder, Sms, SmsText};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccountBody {
    #[serde(rename = "type")]
    kind: Option<String>,
    address: Option<String>,
    account_id: Option<String>,
    charge_code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TransactionBody {
    transaction_id: String,
    account_id: String,
    charge_code: String,
    amount: String,
    currency: String,
    #[serde(default)]
    description: String,
    reference_id: Option<String>,
}

#[derive(Deserialize)]
struct NotificationBody {
    #[serde(rename = "type")]
    kind: String,
    address: String,
    message: String,
    sender: Option<String>,
    language: Option<String>,
}

/// Reads POST /account/validate.
pub(super) fn account(body: &[u8]) -> Option<Order> {
    let body: AccountBody = serde_json::from_slice(body).ok()?;
    let who = match (body.kind.as_deref(), body.address, body.account_id) {
        (Some("MSISDN"), Some(number), None) => Identifier::Address(Address::Msisdn(Msisdn::new(&number))),
        (Some("EMAIL"), Some(email), None) => Identifier::Address(Address::Email(Email::parse(&email)?)),
        (None, None, Some(name)) => Identifier::Account(AccountRef::new(&name)),
        _ => return None,
    };
    Some(Order::Account(who, body.charge_code.as_deref().map(ChargeCode::new)))
}

/// Reads POST /transaction.
pub(super) fn transaction(body: &[u8]) -> Option<Order> {
    let body: TransactionBody = serde_json::from_slice(body).ok()?;
    let reference = Reference::parse(&body.transaction_id)?;
    let account = AccountRef::new(&body.account_id);
    let charge_code = ChargeCode::new(&body.charge_code);
    let money = Money::parse(&body.amount, Currency::from_code(&body.currency)?)?;
    let bill_text = body.description;
    Some(match body.reference_id {
        None => Order::Charge(ChargeOrder { reference, account, charge_code, money, bill_text }),
        Some(charge) => {
            let charge = Reference::parse(&charge)?;
            let money = money.negated();
            Order::Refund(RefundOrder { reference, charge, account, charge_code, money, bill_text })
        }
    })
}

/// Reads what follows `/transaction/` in GET.
pub(super) fn inquiry(id: &str) -> Option<Order> {
    Reference::parse(id).map(Order::Inquire)
}

/// Reads what follows `/transaction/` in POST: an id and `/void`.
pub(super) fn void(rest: &str) -> Option<Order> {
    Reference::parse(rest.strip_suffix("/void")?).map(Order::Void)
}

/// Reads POST /notification.
pub(super) fn notification(body: &[u8]) -> Option<Order> {
    let body: NotificationBody = serde_json::from_slice(body).ok()?;
    let message = Sms { sender: body.sender, language: body.language, text: SmsText::new(body.message) };
    (body.kind == "MSISDN").then(|| Order::Notify(Msisdn::new(&body.address), message))
}

/// Writes an answer.
pub(super) fn reply(answer: &Answer) -> Reply {
    let of = |reference: &Reference, status: &str| json!({ "transactionId": reference.to_string(), "status": status });
    match answer {
        Answer::Account(None) => Reply::refusal(StatusCode::NOT_FOUND, "unknown-account"),
        Answer::Account(Some(account)) => known(account),
        Answer::Booked(line) => booked(line),
        Answer::Refused(code) => Reply::refusal(status_of(code), code),
        Answer::WasRefused(reference, code) => {
            let mut body = of(reference, "refused");
            put(&mut body, "code", code.clone());
            Reply::ok(body)
        }
        Answer::NotKnown => Reply::refusal(StatusCode::NOT_FOUND, "unknown-transaction"),
        Answer::Void(reference) => Reply::ok(of(reference, "void")),
        Answer::Sent => Reply { status: StatusCode::CREATED, body: None },
        Answer::NotApplied => Reply::refusal(StatusCode::SERVICE_UNAVAILABLE, "not-applied"),
    }
}

fn known(account: &Account) -> Reply {
    Reply::ok(json!({
        "accountId": account.reference.as_str(),
        "status": match account.standing {
            Standing::Active => "ACTIVE",
            Standing::Ceased => "CEASED",
            Standing::SuspendedNonPayment => "SUSPENDED_NON_PAYMENT",
            Standing::SuspendedLostStolen => "SUSPENDED_LOST_STOLEN",
        },
        "type": account.payment.word(),
        "eligible": account.eligibility == Eligibility::Eligible,
    }))
}

fn booked(Booked { receipt, charge }: &Booked) -> Reply {
    let money = if charge.is_some() { receipt.money.negated() } else { receipt.money };
    let mut body = json!({
        "transactionId": receipt.reference.to_string(),
        "status": "booked",
        "amount": money.to_string(),
        "currency": money.currency.code(),
    });
    if let Some(charge) = charge {
        put(&mut body, "referenceId", charge.to_string());
    }
    Reply::ok(body)
}

fn put(body: &mut Value, name: &str, text: String) {
    if let Value::Object(fields) = body {
        fields.insert(name.to_owned(), Value::from(text));
    }
}

/// A refusal is an answer: it comes with 404, 409 or 422, never with what a proxy would say.
fn status_of(code: &str) -> StatusCode {
    match code {
        "unknown-account" => StatusCode::NOT_FOUND,
        "reference-reused" | "reference-void" => StatusCode::CONFLICT,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}
