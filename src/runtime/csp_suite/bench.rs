//! How a question is put to the CSP, judged and shown.
//!
//! Invariant: every question is a step of the report, with what was expected and what came; numbers, addresses and names
//! of accounts are in none. A request that was not applied is sent again, a few times, as a gateway would.

use std::time::{Duration, Instant};

use super::{Step, Subject, Terms, Verdict};
use crate::domain::account::Account;
use crate::domain::address::{Address, Msisdn};
use crate::domain::ids::{AccountRef, CorrelationId, Reference};
use crate::domain::money::Money;
use crate::domain::trace::Trace;
use crate::domain::transaction::settle::Receipt;
use crate::ports::csp::{CallContext, ChargeOrder, Csp, CspError, Identifier, Inquiry, RefundOrder};

/// Longest wait for one answer: far above what a gateway grants, so that a slow CSP is told as slow and not as silent.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How often a request is sent that was not applied.
const ATTEMPTS_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// What a charge or refund must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Booked, as it was sent.
    Booked,
    /// Refused, with whatever code.
    Refused,
}

/// What an inquiry must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Booked, with this amount.
    Booked(Money),
    /// Not known.
    Nothing,
    /// Refused, or not known.
    NotBooked,
    /// Booked with this amount, or not known yet.
    Perhaps(Money),
}

/// Puts questions and keeps the answers.
pub(super) struct Bench {
    pub(super) csp: std::sync::Arc<dyn Csp>,
    pub(super) subject: Subject,
    pub(super) terms: Terms,
    /// The first charge of the run that was booked.
    pub(super) first: Option<ChargeOrder>,
    run: String,
    asked: u32,
    steps: Vec<Step>,
}

impl Bench {
    pub(super) fn new(subject: &Subject, terms: &Terms, run_id: &str) -> Self {
        Self {
            csp: std::sync::Arc::clone(&subject.csp),
            subject: subject.clone(),
            terms: terms.clone(),
            first: None,
            run: run_id.to_owned(),
            asked: 0,
            steps: Vec::new(),
        }
    }

    /// The verdict by the steps so far.
    pub(super) fn verdict(&self) -> Verdict {
        if self.steps.iter().all(|step| step.held) { Verdict::Passed } else { Verdict::Failed }
    }

    pub(super) fn take_steps(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }

    /// What goes with a call.
    pub(super) fn call(&mut self) -> CallContext {
        self.asked = self.asked.saturating_add(1);
        let correlation = CorrelationId::parse(&format!("{}-{}", self.run, self.asked));
        let correlation = correlation.expect("a run id of letters and digits makes a correlation id");
        CallContext {
            trace: Trace::begun_by(&correlation),
            correlation,
            partner: None,
            trace_state: None,
            budget: ANSWER_MAX,
        }
    }

    /// Keeps a step.
    pub(super) fn note(
        &mut self,
        name: &str,
        call: &'static str,
        request: String,
        (expected, actual): (String, String),
        held: bool,
        begun: Instant,
    ) -> bool {
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.steps.push(Step { name: name.to_owned(), call, request, expected, actual, held, elapsed_ms });
        held
    }

    /// Looks an account up that must be there.
    pub(super) async fn account_of(&mut self, name: &str, number: &Msisdn) -> Option<Account> {
        let who = Identifier::Address(Address::Msisdn(number.clone()));
        self.account(name, &who, "an account", Option::is_some).await
    }

    /// Looks an account up.
    pub(super) async fn account(
        &mut self,
        name: &str,
        who: &Identifier,
        expected: &str,
        will_do: impl FnOnce(&Option<Account>) -> bool,
    ) -> Option<Account> {
        let (call, begun) = (self.call(), Instant::now());
        let code = self.terms.charge_code.clone();
        let answer = self.csp.account(who, Some(&code), &call).await;
        let request = match who {
            Identifier::Address(Address::Msisdn(_)) => "by number",
            Identifier::Address(Address::Email(_)) => "by e-mail address",
            Identifier::Account(_) => "by the CSP's own name of it",
        };
        let actual = match &answer {
            Ok(Some(account)) => shown_account(account),
            Ok(None) => "nobody".to_owned(),
            Err(error) => shown_error(error),
        };
        let held = answer.as_ref().is_ok_and(will_do);
        self.note(name, "account", request.to_owned(), (expected.to_owned(), actual), held, begun);
        answer.ok().flatten()
    }

    /// A charge of the agreed amount, under a fresh reference.
    pub(super) fn order(&self, account: &AccountRef) -> ChargeOrder {
        self.order_of(account, self.terms.amount)
    }

    /// A charge of some amount, under a fresh reference.
    pub(super) fn order_of(&self, account: &AccountRef, money: Money) -> ChargeOrder {
        ChargeOrder {
            reference: fresh_reference(),
            account: account.clone(),
            charge_code: self.terms.charge_code.clone(),
            money,
            bill_text: "onbill certify".to_owned(),
        }
    }

    /// Sends a charge.
    pub(super) async fn charge(&mut self, name: &str, order: &ChargeOrder, wanted: Wanted) -> bool {
        let (mut call, begun) = (self.call(), Instant::now());
        let mut answer = self.csp.charge(order, &call).await;
        for _ in 1..ATTEMPTS_MAX {
            if !matches!(answer, Err(CspError::NotApplied(_))) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            call = self.call();
            answer = self.csp.charge(order, &call).await;
        }
        let sent = Receipt { reference: order.reference, money: order.money };
        self.note_receipt(name, "charge", (sent, wanted), &answer, begun)
    }

    /// Sends a refund.
    pub(super) async fn refund(&mut self, name: &str, order: &RefundOrder, wanted: Wanted) -> bool {
        let (mut call, begun) = (self.call(), Instant::now());
        let mut answer = self.csp.refund(order, &call).await;
        for _ in 1..ATTEMPTS_MAX {
            if !matches!(answer, Err(CspError::NotApplied(_))) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            call = self.call();
            answer = self.csp.refund(order, &call).await;
        }
        let sent = Receipt { reference: order.reference, money: order.money };
        self.note_receipt(name, "refund", (sent, wanted), &answer, begun)
    }

    fn note_receipt(
        &mut self,
        name: &str,
        call: &'static str,
        (sent, wanted): (Receipt, Wanted),
        answer: &Result<Receipt, CspError>,
        begun: Instant,
    ) -> bool {
        let request = format!("{} {} under {}", sent.money, sent.money.currency, sent.reference);
        let actual = shown_receipt(answer);
        let (expected, held) = match wanted {
            Wanted::Booked => (shown_receipt(&Ok(sent)), answer.as_ref().is_ok_and(|receipt| *receipt == sent)),
            Wanted::Refused => ("refused, with a code".to_owned(), matches!(answer, Err(CspError::Refused { .. }))),
        };
        self.note(name, call, request, (expected, actual), held, begun)
    }

    /// Asks for a reference, where the CSP can be asked at all.
    pub(super) async fn inquire(&mut self, name: &str, reference: Reference, known: Known) -> bool {
        if self.terms.recovery != crate::runtime::config::tables::RecoveryWord::Inquiry {
            return true;
        }
        let (call, begun) = (self.call(), Instant::now());
        let answer = self.csp.inquire(&reference, &call).await;
        let booked = |money: Money| shown_receipt(&Ok(Receipt { reference, money }));
        let is = |money: Money| {
            let receipt = Receipt { reference, money };
            matches!(&answer, Ok(Inquiry::Booked(booked)) if *booked == receipt)
        };
        let not_known = matches!(&answer, Ok(Inquiry::NotKnown));
        let (expected, held) = match known {
            Known::Booked(money) => (booked(money), is(money)),
            Known::Nothing => ("not known".to_owned(), not_known),
            Known::NotBooked => {
                ("refused, or not known".to_owned(), not_known || matches!(&answer, Ok(Inquiry::Refused { .. })))
            }
            Known::Perhaps(money) => (format!("{}, or not known", booked(money)), not_known || is(money)),
        };
        let actual = match &answer {
            Ok(Inquiry::Booked(receipt)) => shown_receipt(&Ok(*receipt)),
            Ok(Inquiry::Refused { code }) => format!("refused: {code}"),
            Ok(Inquiry::NotKnown) => "not known".to_owned(),
            Err(error) => shown_error(error),
        };
        self.note(name, "inquire", format!("reference {reference}"), (expected, actual), held, begun)
    }
}

/// A refund of a part of a charge, under a fresh reference.
pub(super) fn refund_of(charge: &ChargeOrder, minor: i64) -> RefundOrder {
    RefundOrder {
        reference: fresh_reference(),
        charge: charge.reference,
        account: charge.account.clone(),
        charge_code: charge.charge_code.clone(),
        money: Money::new(minor, charge.money.currency),
        bill_text: "onbill certify".to_owned(),
    }
}

/// A reference that no other run will use.
pub(super) fn fresh_reference() -> Reference {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system's random source answers");
    Reference::from_bytes(bytes)
}

pub(super) fn shown_account(account: &Account) -> String {
    let Account { reference: _, standing, payment, eligibility } = account;
    format!("{standing:?}, {}, {eligibility:?}", payment.word())
}

pub(super) fn shown_receipt(answer: &Result<Receipt, CspError>) -> String {
    match answer {
        Ok(Receipt { reference, money }) => format!("booked {money} {} under {reference}", money.currency),
        Err(error) => shown_error(error),
    }
}

pub(super) fn shown_error(error: &CspError) -> String {
    match error {
        CspError::NotApplied(cause) => format!("not applied: {}", cause.to_note()),
        CspError::Refused { code } => format!("refused: {code}"),
        CspError::Unknown(cause) => format!("no clear answer: {}", cause.to_note()),
    }
}
