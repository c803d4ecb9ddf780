//! Faults on order: which request is to go wrong, how, and how often.
//!
//! Invariant: an order for a fault is used up request by request, the oldest that fits first; a fault changes whether a
//! request is done, when, and what is heard of it, never what the operator books for a reference. How that is said on a
//! wire is not here. Bounds: orders that are kept, and how long a fault may take.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Protocol;
use super::orders::{self, Answer, Booked, Order, SILENCE, Silent};
use super::routes::{Operator, Reply, invalid};
use crate::domain::address::{Address, Msisdn};
use crate::domain::ids::{AccountRef, CorrelationId, Reference};
use crate::ports::csp::Identifier;

/// Orders for faults that are kept.
const ORDERS_MAX: usize = 1000;
/// Longest delay.
const DELAY_MS_MAX: u64 = 600_000;
/// What a wrong receipt says.
const WRONG_AMOUNT_MINOR: i64 = 12_345_678;
const WRONG_REFERENCE: Reference = Reference::from_bytes([0xff; 16]);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// Done, and never answered.
    AnswerLost,
    /// Not done, and never answered.
    RequestLost,
    /// The connection is closed, nothing is done.
    CutBefore,
    /// Done, then the connection is closed.
    CutAfter,
    /// Done, then the connection is closed in the middle of the answer.
    CutAnswer,
    /// Done, and answered after `delayMs`.
    Delay,
    /// The connection is closed at once, and it is done after `delayMs`.
    Late,
    /// Done twice under its one reference; the second answer is given.
    Twice,
    /// Not done, and answered so that it may be sent again.
    NotApplied,
    /// Answered with `status`, done where `applied` says so.
    Status,
    /// Done, and answered with another amount.
    WrongAmount,
    /// Done, and answered with another reference.
    WrongReference,
    /// Done, and answered with half of the answer's text or message.
    BrokenJson,
}

/// An order for a fault, as it is given.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    fault: Kind,
    /// account, charge, refund, inquire or notify; any where there is none.
    #[serde(default)]
    verb: Option<String>,
    /// Requests about this number only.
    #[serde(default)]
    address: Option<String>,
    /// Requests under this reference only.
    #[serde(default)]
    reference: Option<String>,
    /// From which of the requests that fit it goes wrong, from 1.
    #[serde(default = "one")]
    nth: u32,
    /// How many of them go wrong.
    #[serde(default = "one")]
    count: u32,
    #[serde(default)]
    delay_ms: u64,
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    applied: bool,
}

const fn one() -> u32 {
    1
}

/// An order that is kept.
#[derive(Debug, Clone)]
struct Kept {
    wanted: Wanted,
    /// The account of its number.
    account: Option<AccountRef>,
}

/// What befalls one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    kind: Kind,
    delay: Duration,
    status: u16,
    applied: bool,
}

impl Fault {
    /// Whether it is done behind the caller's back.
    pub(super) fn is_late(self) -> bool {
        self.kind == Kind::Late
    }
}

/// All orders for faults.
#[derive(Default)]
pub(super) struct Faults(Mutex<Vec<Kept>>);

impl Faults {
    /// What is to befall a request, if anything.
    pub(super) fn take(&self, order: &Order) -> Option<Fault> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter_mut().position(|kept| {
            if !kept.fits(order) {
                return false;
            }
            kept.wanted.nth = kept.wanted.nth.saturating_sub(1);
            kept.wanted.nth == 0
        })?;
        let found = kept.get_mut(at)?;
        // The next that fits goes wrong too.
        found.wanted.nth = 1;
        found.wanted.count = found.wanted.count.saturating_sub(1);
        let fault = Fault {
            kind: found.wanted.fault,
            delay: Duration::from_millis(found.wanted.delay_ms),
            status: found.wanted.status.unwrap_or_default(),
            applied: found.wanted.applied,
        };
        if found.wanted.count == 0 {
            kept.remove(at);
        }
        Some(fault)
    }
}

impl Kept {
    fn fits(&self, order: &Order) -> bool {
        let (verb, reference) = match order {
            Order::Account(..) => ("account", None),
            Order::Charge(order) => ("charge", Some(order.reference)),
            Order::Refund(order) => ("refund", Some(order.reference)),
            Order::Inquire(reference) => ("inquire", Some(*reference)),
            Order::Void(reference) => ("void", Some(*reference)),
            Order::Notify(..) => ("notify", None),
        };
        let reference = reference.map(|reference| reference.to_string());
        let is_number = |number: &Msisdn| self.wanted.address.as_deref() == Some(number.expose());
        let is_account = |name: &AccountRef| self.account.as_ref() == Some(name);
        let of_address = match order {
            Order::Account(Identifier::Address(Address::Msisdn(number)), _) | Order::Notify(number, _) => {
                is_number(number)
            }
            Order::Account(Identifier::Account(name), _) => is_account(name),
            Order::Charge(order) => is_account(&order.account),
            Order::Refund(order) => is_account(&order.account),
            Order::Account(Identifier::Address(Address::Email(_)), _) | Order::Inquire(_) | Order::Void(_) => false,
        };
        self.wanted.verb.as_deref().is_none_or(|wanted| wanted == verb)
            && (self.wanted.reference.is_none() || self.wanted.reference == reference)
            && (self.wanted.address.is_none() || of_address)
    }
}

/// Answers POST, GET and DELETE /faults.
pub(super) async fn answer(operator: &Operator, method: &Method, body: &[u8]) -> Reply {
    let faults = &operator.faults().0;
    match *method {
        Method::POST => order(operator, body).await.unwrap_or_else(invalid),
        Method::GET => {
            let kept = faults.lock().unwrap_or_else(PoisonError::into_inner);
            Reply::ok(json!({ "faults": kept.iter().map(|kept| &kept.wanted).collect::<Vec<_>>() }))
        }
        Method::DELETE => {
            faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
            Reply { status: StatusCode::NO_CONTENT, body: None }
        }
        _ => Reply::refusal(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"),
    }
}

/// Keeps an order; `None` where it is none, or one too many.
async fn order(operator: &Operator, body: &[u8]) -> Option<Reply> {
    let wanted: Wanted = serde_json::from_slice(body).ok()?;
    let verbs = ["account", "charge", "refund", "inquire", "notify"];
    let known_verb = wanted.verb.as_deref().is_none_or(|verb| verbs.contains(&verb));
    let has_status = wanted.status.is_some_and(|status| match operator.protocol() {
        Protocol::Http => (200..=599).contains(&status),
        Protocol::Grpc => (1..=16).contains(&status),
    });
    let in_bounds = wanted.nth >= 1 && wanted.count >= 1 && wanted.delay_ms <= DELAY_MS_MAX;
    if !known_verb || !in_bounds || has_status != (wanted.fault == Kind::Status) {
        return None;
    }
    let account = match &wanted.address {
        None => None,
        Some(address) => Some(account_of(operator, address).await?),
    };
    let mut kept = operator.faults().0.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() >= ORDERS_MAX {
        return None;
    }
    kept.push(Kept { wanted, account });
    Some(Reply { status: StatusCode::CREATED, body: None })
}

async fn account_of(operator: &Operator, address: &str) -> Option<AccountRef> {
    let who = Identifier::Address(Address::Msisdn(Msisdn::new(address)));
    let call = orders::call(CorrelationId::parse("faults")?);
    Some(operator.csp().account(&who, None, &call).await.ok()??.reference)
}

/// What is heard of a request.
#[derive(Debug, Clone)]
pub(super) enum Heard {
    /// An answer.
    Answer(Answer),
    /// An answer that does not arrive as it was given.
    Spoiled(Answer, Spoil),
    /// A status of the wire, with no word of the operator's.
    Status(u16),
    /// Nothing.
    Nothing,
    /// The connection is cut.
    Cut,
}

/// How an answer is spoiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoil {
    /// Its first half comes, and then its end.
    Broken,
    /// Its first half comes, and then no end.
    Cut,
}

/// What is heard where nothing goes wrong.
pub(super) fn heard(done: Result<Answer, Silent>) -> Heard {
    done.map_or(Heard::Nothing, Heard::Answer)
}

/// Has an order done in the way that its fault says.
pub(super) async fn play(fault: Fault, order: &Order, operator: &Operator, correlation: CorrelationId) -> Heard {
    let done = || order.done_by(operator, correlation.clone());
    match fault.kind {
        Kind::RequestLost => silence().await,
        Kind::CutBefore => Heard::Cut,
        Kind::NotApplied => Heard::Answer(Answer::NotApplied),
        Kind::Status => {
            if fault.applied && done().await.is_err() {
                return Heard::Nothing;
            }
            Heard::Status(fault.status)
        }
        Kind::AnswerLost => match done().await {
            Ok(_) => silence().await,
            Err(Silent) => Heard::Nothing,
        },
        Kind::CutAfter => done().await.map_or(Heard::Nothing, |_| Heard::Cut),
        Kind::Twice => match done().await {
            Ok(_) => heard(done().await),
            Err(Silent) => Heard::Nothing,
        },
        Kind::Delay => {
            let answer = done().await;
            tokio::time::sleep(fault.delay).await;
            heard(answer)
        }
        Kind::Late => {
            tokio::time::sleep(fault.delay).await;
            heard(done().await)
        }
        Kind::CutAnswer => done().await.map_or(Heard::Nothing, |answer| Heard::Spoiled(answer, Spoil::Cut)),
        Kind::BrokenJson => done().await.map_or(Heard::Nothing, |answer| Heard::Spoiled(answer, Spoil::Broken)),
        Kind::WrongAmount | Kind::WrongReference => heard(done().await.map(|answer| wrong(fault.kind, answer))),
    }
}

async fn silence() -> Heard {
    tokio::time::sleep(SILENCE).await;
    Heard::Nothing
}

/// An answer that is not the one that was to be given.
fn wrong(kind: Kind, mut answer: Answer) -> Answer {
    if let Answer::Booked(Booked { receipt, .. }) = &mut answer {
        if kind == Kind::WrongAmount {
            receipt.money.minor = WRONG_AMOUNT_MINOR;
        } else {
            receipt.reference = WRONG_REFERENCE;
        }
    }
    answer
}
