//! Around an operator: what keeps one that hangs, crawls or dies from taking others along.
//!
//! Invariant: a call that is turned away here has applied nothing and says so. At most so many calls are under way, so
//! many wait and no longer than their bound; inquiries and voids have places of their own, so that neither they nor the
//! purchases can take all. No call outlives its budget by more than a grace, whatever the adapter behind does. When to
//! leave an operator alone is `domain::breaker`; whether to send again is decided above.

mod lane;
mod measures;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use lane::{Lane, Place};
use measures::{Measures, Outcome, Verb};

use crate::domain::account::Account;
use crate::domain::address::Msisdn;
use crate::domain::breaker::{Breaker, Ended, Phase, Rule, Ticket};
use crate::domain::ids::{ChargeCode, CspId, Reference};
use crate::domain::transaction::settle::Receipt;
use crate::ports::Cause;
use crate::ports::csp::{CallContext, ChargeOrder, Csp, CspError, Identifier, Inquiry, RefundOrder, Sms, Voiding};

/// How much longer than its budget a call may take before it is given up on: adapters are to notice by themselves, since
/// they know whether anything was sent.
const GRACE: Duration = Duration::from_millis(100);

/// Bounds around one operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Most calls under way at a time, inquiries and voids aside.
    pub calls_max: usize,
    /// Most inquiries and voids under way at a time.
    pub inquiries_max: usize,
    /// Most calls that wait for a place, of each of the two.
    pub queue_max: usize,
    /// How long one may wait, within its budget.
    pub queue_wait: Duration,
    /// When it is left alone; `None`: never.
    pub breaker: Option<Rule>,
}

/// An operator behind its bounds.
pub struct Guarded {
    csp: Arc<dyn Csp>,
    began: Instant,
    breaker: Option<Mutex<Breaker>>,
    calls: Lane,
    inquiries: Lane,
    measures: Measures,
}

impl Guarded {
    /// Puts bounds around an operator.
    #[must_use]
    pub fn new(id: &CspId, csp: Arc<dyn Csp>, settings: Settings) -> Self {
        let lane = |name, places_max| Lane::new(id, name, places_max, settings.queue_max, settings.queue_wait);
        Self {
            csp,
            began: Instant::now(),
            breaker: settings.breaker.map(|rule| Mutex::new(Breaker::new(rule))),
            calls: lane("calls", settings.calls_max),
            inquiries: lane("inquiries", settings.inquiries_max),
            measures: Measures::new(id),
        }
    }

    /// Lets a call through, with what is left of its budget.
    async fn enter(&self, verb: Verb, call: &CallContext) -> Result<(CallContext, Entered<'_>), CspError> {
        let entered = self.admit(verb, call).await;
        if let Err(turned_away) = &entered {
            self.measures.turned_away(verb);
            tracing::debug!(verb = verb.word(), why = turned_away, "a call to a CSP is turned away");
        }
        entered.map_err(|why| CspError::NotApplied(Cause::new(why)))
    }

    async fn admit(&self, verb: Verb, call: &CallContext) -> Result<(CallContext, Entered<'_>), &'static str> {
        const LEFT_ALONE: &str = "the CSP has failed too often and is left alone for a while";
        let asked = Instant::now();
        // Before it waits: for an operator that is left alone there is nothing to wait for.
        if !self.breaker().is_none_or(|breaker| breaker.would_admit(self.now_ms())) {
            return Err(LEFT_ALONE);
        }
        let lane = match verb {
            Verb::Inquire | Verb::Void => &self.inquiries,
            Verb::Account | Verb::Charge | Verb::Refund | Verb::Notify => &self.calls,
        };
        let place = lane.place(call.budget).await.ok_or("too many calls to the CSP are under way")?;
        let budget = call.budget.checked_sub(asked.elapsed()).filter(|left| !left.is_zero());
        let budget = budget.ok_or("the time for the call ran out while it waited")?;
        let ticket = match self.breaker() {
            None => None,
            Some(mut breaker) => Some(breaker.admit(self.now_ms()).ok_or(LEFT_ALONE)?),
        };
        self.show_phase();
        let deadline = budget.saturating_add(GRACE);
        Ok((CallContext { budget, ..call.clone() }, Entered { guarded: self, verb, ticket, deadline, _place: place }))
    }

    fn breaker(&self) -> Option<MutexGuard<'_, Breaker>> {
        self.breaker.as_ref().map(|breaker| breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ended(&self, ticket: Option<Ticket>, ended: Ended) {
        if let (Some(mut breaker), Some(ticket)) = (self.breaker(), ticket) {
            breaker.ended(ticket, ended, self.now_ms());
        }
        self.show_phase();
    }

    fn show_phase(&self) {
        if let Some(breaker) = self.breaker() {
            self.measures.phase(breaker.phase(self.now_ms()));
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A call that was let through. One that is dropped before it has run counts as one that nobody has waited for.
struct Entered<'a> {
    guarded: &'a Guarded,
    verb: Verb,
    ticket: Option<Ticket>,
    deadline: Duration,
    _place: Place,
}

impl Entered<'_> {
    async fn run<T>(mut self, work: impl Future<Output = Result<T, CspError>> + Send) -> Result<T, CspError> {
        let began = Instant::now();
        let answer = tokio::time::timeout(self.deadline, work).await.unwrap_or_else(|_elapsed| {
            let said = format!("no answer within {} ms", self.deadline.as_millis());
            Err(CspError::Unknown(Cause::new(said)))
        });
        let (outcome, ended) = match &answer {
            Ok(_) => (Outcome::Ok, Ended::Answered),
            Err(CspError::Refused { .. }) => (Outcome::Refused, Ended::Answered),
            Err(CspError::NotApplied(_)) => (Outcome::NotApplied, Ended::Failed),
            Err(CspError::Unknown(_)) => (Outcome::Unknown, Ended::Failed),
        };
        self.guarded.measures.ended(self.verb, outcome, began.elapsed());
        self.guarded.ended(self.ticket.take(), ended);
        answer
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.guarded.ended(Some(ticket), Ended::Abandoned);
        }
    }
}

#[async_trait]
impl Csp for Guarded {
    fn standing(&self) -> &'static str {
        match self.breaker().map(|breaker| breaker.phase(self.now_ms())) {
            None | Some(Phase::Closed) => "ok",
            Some(Phase::HalfOpen) => "degraded, it has failed and is being tried again",
            Some(Phase::Open) => "degraded, it fails and is left alone for a while",
        }
    }

    async fn account(
        &self,
        who: &Identifier,
        product: Option<&ChargeCode>,
        call: &CallContext,
    ) -> Result<Option<Account>, CspError> {
        let (call, entered) = self.enter(Verb::Account, call).await?;
        entered.run(self.csp.account(who, product, &call)).await
    }

    async fn charge(&self, order: &ChargeOrder, call: &CallContext) -> Result<Receipt, CspError> {
        let (call, entered) = self.enter(Verb::Charge, call).await?;
        entered.run(self.csp.charge(order, &call)).await
    }

    async fn refund(&self, order: &RefundOrder, call: &CallContext) -> Result<Receipt, CspError> {
        let (call, entered) = self.enter(Verb::Refund, call).await?;
        entered.run(self.csp.refund(order, &call)).await
    }

    async fn inquire(&self, reference: &Reference, call: &CallContext) -> Result<Inquiry, CspError> {
        let (call, entered) = self.enter(Verb::Inquire, call).await?;
        entered.run(self.csp.inquire(reference, &call)).await
    }

    async fn void(&self, reference: &Reference, call: &CallContext) -> Result<Voiding, CspError> {
        let (call, entered) = self.enter(Verb::Void, call).await?;
        entered.run(self.csp.void(reference, &call)).await
    }

    async fn notify(&self, number: &Msisdn, message: &Sms, call: &CallContext) -> Result<(), CspError> {
        let (call, entered) = self.enter(Verb::Notify, call).await?;
        entered.run(self.csp.notify(number, message, &call)).await
    }
}
