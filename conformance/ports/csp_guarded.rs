//! Claims about the bounds around an operator, with an operator behind them that does as it is told.
//!
//! Invariant: time is paused, and what reached the operator is counted by the operator itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use onbill::adapters::csp::guarded::{Guarded, Settings};
use onbill::domain::account::Account;
use onbill::domain::address::Msisdn;
use onbill::domain::breaker::Rule;
use onbill::domain::ids::{AccountRef, ChargeCode, CorrelationId, CspId, Reference};
use onbill::domain::money::Money;
use onbill::domain::trace::Trace;
use onbill::domain::transaction::settle::Receipt;
use onbill::ports::Cause;
use onbill::ports::csp::{
    CallContext, ChargeOrder, Csp, CspError, Identifier, Inquiry, RefundOrder, Sms, SmsText, Voiding,
};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::csp::{Rig, currency, sandbox_rig_behind};

const BUDGET: Duration = Duration::from_millis(300);
const SETTINGS: Settings = Settings {
    calls_max: 2,
    inquiries_max: 1,
    queue_max: 1,
    queue_wait: Duration::from_millis(50),
    breaker: Some(Rule { window_ms: 1_000, calls_min: 4, failure_percent: 50, open_ms: 500, probes: 1 }),
};

/// The sandbox behind bounds: the contract suite runs on it as on the bare one.
pub(super) fn rig() -> Rig {
    sandbox_rig_behind(|sandbox| Arc::new(Guarded::new(&CspId::new("sandbox"), sandbox, SETTINGS_OF_SUITE)))
}

const SETTINGS_OF_SUITE: Settings = Settings { calls_max: 256, queue_max: 1_000, breaker: None, ..SETTINGS };

/// An operator that answers, hangs for ever, or fails.
#[derive(Default)]
struct Told {
    hangs: AtomicBool,
    fails: AtomicBool,
    seen: AtomicUsize,
    budget_ms: AtomicUsize,
}

impl Told {
    async fn answer<T>(&self, call: &CallContext, answer: T) -> Result<T, CspError> {
        self.seen.fetch_add(1, Ordering::SeqCst);
        self.budget_ms.store(usize::try_from(call.budget.as_millis()).expect("short"), Ordering::SeqCst);
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.fails.load(Ordering::SeqCst) { Err(CspError::Unknown(Cause::new("500"))) } else { Ok(answer) }
    }

    fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Csp for Told {
    fn would_take(&self, _time_left: Duration) -> Result<(), Cause> {
        Ok(())
    }

    async fn account(
        &self,
        _: &Identifier,
        _: Option<&ChargeCode>,
        call: &CallContext,
    ) -> Result<Option<Account>, CspError> {
        self.answer(call, None).await
    }

    async fn charge(&self, order: &ChargeOrder, call: &CallContext) -> Result<Receipt, CspError> {
        self.answer(call, Receipt { reference: order.reference, money: order.money }).await
    }

    async fn refund(&self, order: &RefundOrder, call: &CallContext) -> Result<Receipt, CspError> {
        self.answer(call, Receipt { reference: order.reference, money: order.money }).await
    }

    async fn inquire(&self, _: &Reference, call: &CallContext) -> Result<Inquiry, CspError> {
        self.answer(call, Inquiry::NotKnown).await
    }

    async fn void(&self, _: &Reference, call: &CallContext) -> Result<Voiding, CspError> {
        self.answer(call, Voiding::Void).await
    }

    async fn notify(&self, _: &Msisdn, _: &Sms, call: &CallContext) -> Result<(), CspError> {
        self.answer(call, ()).await
    }
}

fn call() -> CallContext {
    let correlation = CorrelationId::parse("test").expect("well formed");
    CallContext { trace: Trace::begun_by(&correlation), correlation, partner: None, trace_state: None, budget: BUDGET }
}

fn guarded() -> (Arc<Told>, Arc<Guarded>) {
    let told = Arc::new(Told::default());
    let guarded = Guarded::new(&CspId::new("told"), told.clone(), SETTINGS);
    (told, Arc::new(guarded))
}

async fn charge(csp: &Guarded) -> Result<Receipt, CspError> {
    let order = ChargeOrder {
        reference: Reference::from_bytes([1; 16]),
        account: AccountRef::new("a"),
        charge_code: ChargeCode::new("BASIC"),
        money: Money::new(999, currency("MXN")),
        bill_text: String::new(),
    };
    csp.charge(&order, &call()).await
}

async fn inquire(csp: &Guarded) -> Result<Inquiry, CspError> {
    csp.inquire(&Reference::from_bytes([1; 16]), &call()).await
}

fn under_way(csp: &Arc<Guarded>) -> JoinHandle<Result<Receipt, CspError>> {
    let csp = Arc::clone(csp);
    tokio::spawn(async move { charge(&csp).await })
}

fn verdict<T>(answer: &Result<T, CspError>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(CspError::NotApplied(_)) => "not applied",
        Err(CspError::Refused { .. }) => "refused",
        Err(CspError::Unknown(_)) => "unknown",
    }
}

/// Lets everything that is ready run.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_for_which_there_is_no_place_has_applied_nothing_and_says_so_in_time() {
    let (told, csp) = guarded();
    told.hangs.store(true, Ordering::SeqCst);
    let hanging = [under_way(&csp), under_way(&csp)];
    settle().await;
    let waiting = under_way(&csp);
    settle().await;
    let began = Instant::now();
    assert_eq!(verdict(&charge(&csp).await), "not applied", "the queue is full");
    assert_eq!(began.elapsed(), Duration::ZERO, "and it is told at once");
    assert_eq!(verdict(&waiting.await.expect("no panic")), "not applied");
    assert_eq!(began.elapsed(), SETTINGS.queue_wait, "one that waits does so no longer than it may");
    assert_eq!(told.seen(), 2, "nothing of what was turned away has reached the operator");
    for call in hanging {
        assert_eq!(verdict(&call.await.expect("no panic")), "unknown", "an adapter that overruns is given up on");
    }
    told.hangs.store(false, Ordering::SeqCst);
    assert_eq!(verdict(&charge(&csp).await), "ok", "places are given back");
}

#[tokio::test(start_paused = true)]
async fn purchases_and_inquiries_take_no_places_from_one_another() {
    let (told, csp) = guarded();
    told.hangs.store(true, Ordering::SeqCst);
    let charges = [under_way(&csp), under_way(&csp)];
    settle().await;
    let inquiry = tokio::spawn({
        let csp = Arc::clone(&csp);
        async move { inquire(&csp).await }
    });
    settle().await;
    assert_eq!(told.seen(), 3, "all places for purchases are taken, and the inquiry got through");
    charges.iter().for_each(JoinHandle::abort);
    settle().await;
    told.hangs.store(false, Ordering::SeqCst);
    assert_eq!(verdict(&charge(&csp).await), "ok", "the place for inquiries is taken, and the charge got through");
    assert_eq!(verdict(&inquiry.await.expect("no panic")), "unknown");
}

#[tokio::test(start_paused = true)]
async fn what_waits_has_less_time_left_and_what_is_dropped_gives_its_place_back() {
    let (told, csp) = guarded();
    told.hangs.store(true, Ordering::SeqCst);
    let hanging = [under_way(&csp), under_way(&csp)];
    settle().await;
    let waiting = under_way(&csp);
    settle().await;
    told.hangs.store(false, Ordering::SeqCst);
    tokio::time::advance(Duration::from_millis(30)).await;
    hanging.iter().for_each(JoinHandle::abort);
    assert_eq!(verdict(&waiting.await.expect("no panic")), "ok");
    assert_eq!(told.budget_ms.load(Ordering::SeqCst), 270);
}

#[tokio::test(start_paused = true)]
async fn an_operator_that_fails_is_left_alone_and_used_again_once_it_answers() {
    let (told, csp) = guarded();
    told.fails.store(true, Ordering::SeqCst);
    for _ in 0..4 {
        assert_eq!(verdict(&charge(&csp).await), "unknown");
    }
    let sms = Sms { sender: None, language: None, text: SmsText::new("hello".to_owned()) };
    let number = Msisdn::new("5550100001");
    assert_eq!(verdict(&charge(&csp).await), "not applied");
    assert_eq!(verdict(&inquire(&csp).await), "not applied");
    assert_eq!(verdict(&csp.notify(&number, &sms, &call()).await), "not applied");
    assert_eq!(told.seen(), 4, "it is left alone by all verbs");
    tokio::time::advance(Duration::from_millis(500)).await;
    assert_eq!(verdict(&charge(&csp).await), "unknown", "a probe");
    assert_eq!(verdict(&charge(&csp).await), "not applied", "which has failed");
    told.fails.store(false, Ordering::SeqCst);
    tokio::time::advance(Duration::from_millis(500)).await;
    for _ in 0..9 {
        assert_eq!(verdict(&charge(&csp).await), "ok");
    }
    assert_eq!(told.seen(), 14);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_nobody_waits_for_leaves_room_for_the_next() {
    let (told, csp) = guarded();
    told.fails.store(true, Ordering::SeqCst);
    for _ in 0..4 {
        assert_eq!(verdict(&charge(&csp).await), "unknown");
    }
    told.fails.store(false, Ordering::SeqCst);
    told.hangs.store(true, Ordering::SeqCst);
    tokio::time::advance(Duration::from_millis(500)).await;
    let probe = under_way(&csp);
    settle().await;
    assert_eq!(verdict(&charge(&csp).await), "not applied", "one probe at a time");
    probe.abort();
    settle().await;
    told.hangs.store(false, Ordering::SeqCst);
    assert_eq!(verdict(&charge(&csp).await), "ok");
}
