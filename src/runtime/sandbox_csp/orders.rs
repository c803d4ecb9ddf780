//! What a CSP is asked to do: read from the wire, done by the scripted operator, and what that reads like on the wire.
//!
//! Invariant: the words are those of `deploy/csp/csp-api-v1.yaml` and stand nowhere else on this side. An amount that is
//! answered has the sign with which it was sent: negative on a refund.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::routes::{Operator, Reply, Silent};
use crate::domain::account::{Account, Eligibility, Standing};
use crate::domain::address::{Address, Email, Msisdn};
use crate::domain::ids::{AccountRef, ChargeCode, CorrelationId, Reference};
use crate::domain::money::{Currency, Money};
use crate::domain::trace::Trace;
use crate::domain::transaction::settle::Receipt;
use crate::ports::csp::{CallContext, ChargeOrder, CspError, Identifier, Inquiry, RefundOrder, Sms, SmsText, Voiding};

/// How long a request is held that is scripted to have no answer, before its connection is closed.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// One request of a gateway.
#[derive(Debug, Clone)]
pub(super) enum Order {
    /// POST /account/validate
    Account(Identifier, Option<ChargeCode>),
    /// POST /transaction without `referenceId`
    Charge(ChargeOrder),
    /// POST /transaction with `referenceId`
    Refund(RefundOrder),
    /// GET /transaction/{transactionId}
    Inquire(Reference),
    /// POST /transaction/{transactionId}/void
    Void(Reference),
    /// POST /notification
    Notify(Msisdn, Sms),
}

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

impl Order {
    /// Reads POST /account/validate.
    pub(super) fn account(body: &[u8]) -> Option<Self> {
        let body: AccountBody = serde_json::from_slice(body).ok()?;
        let who = match (body.kind.as_deref(), body.address, body.account_id) {
            (Some("MSISDN"), Some(number), None) => Identifier::Address(Address::Msisdn(Msisdn::new(&number))),
            (Some("EMAIL"), Some(email), None) => Identifier::Address(Address::Email(Email::parse(&email)?)),
            (None, None, Some(name)) => Identifier::Account(AccountRef::new(&name)),
            _ => return None,
        };
        Some(Self::Account(who, body.charge_code.as_deref().map(ChargeCode::new)))
    }

    /// Reads POST /transaction.
    pub(super) fn transaction(body: &[u8]) -> Option<Self> {
        let body: TransactionBody = serde_json::from_slice(body).ok()?;
        let reference = Reference::parse(&body.transaction_id)?;
        let account = AccountRef::new(&body.account_id);
        let charge_code = ChargeCode::new(&body.charge_code);
        let money = Money::parse(&body.amount, Currency::from_code(&body.currency)?)?;
        let bill_text = body.description;
        Some(match body.reference_id {
            None => Self::Charge(ChargeOrder { reference, account, charge_code, money, bill_text }),
            Some(charge) => {
                let charge = Reference::parse(&charge)?;
                let money = money.negated();
                Self::Refund(RefundOrder { reference, charge, account, charge_code, money, bill_text })
            }
        })
    }

    /// Reads GET /transaction/{transactionId}.
    pub(super) fn inquiry(id: &str) -> Option<Self> {
        Reference::parse(id).map(Self::Inquire)
    }

    /// Reads POST /transaction/{transactionId}/void.
    pub(super) fn void(id: &str) -> Option<Self> {
        Reference::parse(id).map(Self::Void)
    }

    /// Reads POST /notification.
    pub(super) fn notification(body: &[u8]) -> Option<Self> {
        let body: NotificationBody = serde_json::from_slice(body).ok()?;
        let message = Sms { sender: body.sender, language: body.language, text: SmsText::new(body.message) };
        (body.kind == "MSISDN").then(|| Self::Notify(Msisdn::new(&body.address), message))
    }

    /// Has it done.
    pub(super) async fn done_by(&self, operator: &Operator, correlation: CorrelationId) -> Result<Reply, Silent> {
        let call = call(correlation);
        let csp = operator.csp();
        let done = match self {
            Self::Account(who, product) => {
                csp.account(who, product.as_ref(), &call).await.map(|found| found.as_ref().map_or_else(unknown, known))
            }
            Self::Charge(order) => csp.charge(order, &call).await.map(|receipt| booked(&receipt, None)),
            Self::Refund(order) => csp.refund(order, &call).await.map(|receipt| booked(&receipt, Some(order.charge))),
            Self::Inquire(reference) => match csp.inquire(reference, &call).await {
                Ok(Inquiry::Booked(receipt)) => Ok(booked_before(&receipt, operator).await?),
                Ok(Inquiry::Refused { code }) => Ok(refused_before(*reference, &code)),
                Ok(Inquiry::NotKnown) => Ok(Reply::refusal(StatusCode::NOT_FOUND, "unknown-transaction")),
                Err(error) => Err(error),
            },
            Self::Void(reference) => match csp.void(reference, &call).await {
                Ok(Voiding::Void) => Ok(Reply::ok(json!({ "transactionId": reference.to_string(), "status": "void" }))),
                Ok(Voiding::Booked(receipt)) => Ok(booked_before(&receipt, operator).await?),
                Ok(Voiding::Refused { code }) => Ok(refused_before(*reference, &code)),
                Err(error) => Err(error),
            },
            Self::Notify(number, message) => {
                let created = |()| Reply { status: StatusCode::CREATED, body: None };
                csp.notify(number, message, &call).await.map(created)
            }
        };
        done.or_else(|error| match error {
            CspError::NotApplied(_) => Ok(Reply::refusal(StatusCode::SERVICE_UNAVAILABLE, "not-applied")),
            CspError::Refused { code } => Ok(Reply::refusal(status_of(&code), &code)),
            CspError::Unknown(_) => Err(Silent),
        })
    }
}

/// What goes with a call to the scripted operator.
pub(super) fn call(correlation: CorrelationId) -> CallContext {
    CallContext { trace: Trace::begun_by(&correlation), correlation, budget: SILENCE }
}

/// A booking of an earlier request, which the bill knows better.
async fn booked_before(receipt: &Receipt, operator: &Operator) -> Result<Reply, Silent> {
    let line = operator.back().line(&receipt.reference).await.map_err(|_| Silent)?.ok_or(Silent)?;
    Ok(booked(receipt, line.charge))
}

fn refused_before(reference: Reference, code: &str) -> Reply {
    Reply::ok(json!({ "transactionId": reference.to_string(), "status": "refused", "code": code }))
}

fn unknown() -> Reply {
    Reply::refusal(StatusCode::NOT_FOUND, "unknown-account")
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

fn booked(receipt: &Receipt, charge: Option<Reference>) -> Reply {
    let money = if charge.is_some() { receipt.money.negated() } else { receipt.money };
    let mut body = json!({
        "transactionId": receipt.reference.to_string(),
        "status": "booked",
        "amount": money.to_string(),
        "currency": money.currency.code(),
    });
    if let (Some(charge), Value::Object(fields)) = (charge, &mut body) {
        fields.insert("referenceId".to_owned(), Value::from(charge.to_string()));
    }
    Reply::ok(body)
}

/// A refusal is an answer: it comes with 404, 409 or 422, never with what a proxy would say.
fn status_of(code: &str) -> StatusCode {
    match code {
        "unknown-account" => StatusCode::NOT_FOUND,
        "reference-reused" | "reference-void" => StatusCode::CONFLICT,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}
