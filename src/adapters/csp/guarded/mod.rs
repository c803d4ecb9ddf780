//! Around an operator: what keeps one that hangs, crawls or dies from taking others along.
//!
//! Invariant: a call that is turned away here has applied nothing and says so. At most so many calls are under way, so
//! many wait and no longer than their bound; inquiries and voids have places of their own, so that neither they nor the
//! purchases can take all. A call that has waited until its time would run out before the operator
//! answers is not begun. No call outlives its budget by more than a grace, whatever the adapter behind does. When to
//! leave an operator alone is `domain::breaker`; whether to send again is decided above.

mod lane;
mod measures;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use lane::{Lane, Place, Step};
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
    /// Microseconds that its answers take at least, of late: it falls at once and rises slowly.
    answers_us: AtomicU64,
    measures: Measures,
}

/// A call that has waited so long may have too little time left. One that has not is sent, however little it has: the
/// operator alone knows what it does in that time.
const WAITED_MIN: Duration = Duration::from_millis(1);
/// Why calls are turned away.
const LEFT_ALONE: &str = "the CSP has failed too often and is left alone for a while";
const FULL: &str = "too many calls to the CSP are under way";
const TOO_LATE: &str = "the time for the call would run out before the CSP answers";

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
            answers_us: AtomicU64::new(0),
            measures: Measures::new(id),
        }
    }

    /// Whether the operator could answer within this time. Where it seems that it could not, the next caller is believed
    /// a little more, so that nobody is turned away for what was true long ago.
    fn could_answer_within(&self, time_left: Duration) -> bool {
        let least_us = self.answers_us.load(Ordering::Relaxed);
        let could = time_left.as_micros() >= u128::from(least_us);
        if !could {
            self.answers_us.store(least_us.saturating_sub(least_us.div_ceil(8)), Ordering::Relaxed);
        }
        could
    }

    fn answered_after(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let least_us = self.answers_us.load(Ordering::Relaxed);
        let risen = least_us.saturating_add(took_us.saturating_sub(least_us).div_euclid(16));
        let now_us = if least_us == 0 { took_us } else { risen.min(took_us) };
        self.answers_us.store(now_us, Ordering::Relaxed);
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
        let asked = Instant::now();
        // Before it waits: for an operator that is left alone there is nothing to wait for.
        if !self.breaker().is_none_or(|breaker| breaker.would_admit(self.at_ms(asked))) {
            return Err(LEFT_ALONE);
        }
        let lane = match verb {
            Verb::Inquire | Verb::Void => &self.inquiries,
            Verb::Account | Verb::Charge | Verb::Refund | Verb::Notify => &self.calls,
        };
        let step = match verb {
            Verb::Account | Verb::Inquire => Step::First,
            Verb::Charge | Verb::Refund | Verb::Notify | Verb::Void => Step::Later,
        };
        let (place, admitted) = match lane.place_at_once(step, call.partner.as_ref()) {
            Ok(place) => (place, asked),
            Err(waiting) => (waiting.place(lane, call.budget).await.ok_or(FULL)?, Instant::now()),
        };
        let waited = admitted.saturating_duration_since(asked);
        let budget = call.budget.checked_sub(waited).filter(|left| !left.is_zero()).ok_or(TOO_LATE)?;
        if waited >= WAITED_MIN && !self.could_answer_within(budget) {
            return Err(TOO_LATE);
        }
        let ticket = match self.breaker() {
            None => None,
            Some(mut breaker) => Some(breaker.admit(self.at_ms(admitted)).ok_or(LEFT_ALONE)?),
        };
        self.show_phase(admitted);
        let entered = Entered { guarded: self, verb, ticket, began: admitted, budget, _place: place };
        Ok((CallContext { budget, ..call.clone() }, entered))
    }

    fn breaker(&self) -> Option<MutexGuard<'_, Breaker>> {
        self.breaker.as_ref().map(|breaker| breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ended(&self, ticket: Option<Ticket>, ended: Ended, at: Instant) {
        if let (Some(mut breaker), Some(ticket)) = (self.breaker(), ticket) {
            breaker.ended(ticket, ended, self.at_ms(at));
        }
        self.show_phase(at);
    }

    fn show_phase(&self, at: Instant) {
        if let Some(breaker) = self.breaker() {
            self.measures.phase(breaker.phase(self.at_ms(at)));
        }
    }

    fn at_ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    fn now_ms(&self) -> u64 {
        self.at_ms(Instant::now())
    }
}

/// A call that was let through. One that is dropped before it has run counts as one that nobody has waited for.
struct Entered<'a> {
    guarded: &'a Guarded,
    verb: Verb,
    ticket: Option<Ticket>,
    began: Instant,
    budget: Duration,
    _place: Place,
}

impl Entered<'_> {
    async fn run<T>(mut self, work: impl Future<Output = Result<T, CspError>> + Send) -> Result<T, CspError> {
        let waits = self.budget.saturating_add(GRACE);
        let until = self.began.checked_add(waits).unwrap_or(self.began);
        let answer = tokio::time::timeout_at(until, work).await.unwrap_or_else(|_elapsed| {
            let said = format!("no answer within {} ms", waits.as_millis());
            Err(CspError::Unknown(Cause::new(said)))
        });
        let (outcome, ended) = match &answer {
            Ok(_) => (Outcome::Ok, Ended::Answered),
            Err(CspError::Refused { .. }) => (Outcome::Refused, Ended::Answered),
            Err(CspError::NotApplied(_)) => (Outcome::NotApplied, Ended::Failed),
            Err(CspError::Unknown(_)) => (Outcome::Unknown, Ended::Failed),
        };
        let now = Instant::now();
        let took = now.saturating_duration_since(self.began);
        self.guarded.measures.ended(self.verb, outcome, took);
        if ended == Ended::Answered {
            self.guarded.answered_after(took);
        }
        self.guarded.ended(self.ticket.take(), ended, now);
        answer
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.guarded.ended(Some(ticket), Ended::Abandoned, Instant::now());
        }
    }
}

#[async_trait]
impl Csp for Guarded {
    fn would_take(&self, time_left: Duration) -> Result<(), Cause> {
        let left_alone = self.breaker().is_some_and(|breaker| !breaker.would_admit(self.now_ms()));
        let why = match (left_alone, self.calls.is_full(), self.could_answer_within(time_left)) {
            (true, _, _) => LEFT_ALONE,
            (_, true, _) => FULL,
            (_, _, false) => TOO_LATE,
            (false, false, true) => return Ok(()),
        };
        Err(Cause::new(why))
    }

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
