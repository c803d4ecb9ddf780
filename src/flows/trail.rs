//! What a call leaves behind of itself: its spans, and how much of its time its CSP took.
//!
//! Invariant: a trail changes nothing and waits for nothing. A call that is not recorded costs one shared counter and no
//! span. A span ends when it is dropped, so that what is cut short is recorded too. Nothing of a subscriber is put here.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::ids::CspId;
use crate::domain::trace::{Trace, TraceState};
use crate::ports::csp::CspError;
use crate::ports::spans::{Ended, Side, Spans, Value};

/// Where a piece of work stands in its trace.
#[derive(Clone)]
pub struct Trail {
    trace: Trace,
    /// What goes with the trace, of those before us.
    state: Option<TraceState>,
    /// `None`: this trace is not recorded.
    spans: Option<Arc<dyn Spans>>,
    share: Arc<CspShare>,
}

impl fmt::Debug for Trail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Trail").field("trace", &self.trace).finish_non_exhaustive()
    }
}

/// How much of a call's time its CSP took. One call asks one CSP at a time.
#[derive(Debug)]
struct CspShare {
    began: Instant,
    spent_us: AtomicU64,
    /// When the question began that is under way, in microseconds since `began`, and one more; 0: none is.
    since_us: AtomicU64,
}

impl CspShare {
    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn start(&self) {
        self.since_us.store(self.now_us().saturating_add(1), Ordering::Relaxed);
    }

    fn stop(&self) {
        let since = self.since_us.swap(0, Ordering::Relaxed);
        if since > 0 {
            self.spent_us.fetch_add(self.now_us().saturating_add(1).saturating_sub(since), Ordering::Relaxed);
        }
    }

    fn spent(&self) -> Duration {
        let since = self.since_us.load(Ordering::Relaxed);
        let under_way = if since > 0 { self.now_us().saturating_add(1).saturating_sub(since) } else { 0 };
        Duration::from_micros(self.spent_us.load(Ordering::Relaxed).saturating_add(under_way))
    }
}

impl Trail {
    /// A trail that is not recorded; the trace is sent on as it is.
    #[must_use]
    pub fn silent(trace: Trace) -> Self {
        let share = CspShare { began: Instant::now(), spent_us: AtomicU64::new(0), since_us: AtomicU64::new(0) };
        Self { trace, state: None, spans: None, share: Arc::new(share) }
    }

    /// The same trail with what its caller's trace carries.
    #[must_use]
    pub fn carrying(self, state: Option<TraceState>) -> Self {
        Self { state, ..self }
    }

    /// A trail for a piece of work, and its span. Whether it is recorded was decided by whoever began the trace; where
    /// nobody has decided, `spans` does.
    #[must_use]
    pub fn lead(trace: Trace, spans: Option<&Arc<dyn Spans>>, side: Side, name: &str) -> (Self, Span) {
        let silent = Self::silent(trace);
        let Some(spans) = spans else {
            return (silent, Span(None));
        };
        let trace = if trace.is_decided() { trace } else { trace.decided(spans.samples(trace.id())) };
        if !trace.is_sampled() {
            return (Self { trace, ..silent }, Span(None));
        }
        // A trace that began here has its first span's id already.
        let own = if trace.is_begun_here() { trace } else { trace.child(spans.fresh_id()) };
        let parent_id = (!trace.is_begun_here()).then(|| trace.span());
        let trail = Self { trace: own, spans: Some(Arc::clone(spans)), ..silent };
        let span = trail.open(Cow::Owned(name.to_owned()), side, own.span(), parent_id, spans);
        (trail, span)
    }

    /// The trace as it is sent on from here: the innermost span that is recorded is the parent of what follows.
    #[must_use]
    pub const fn trace(&self) -> Trace {
        self.trace
    }

    /// How much of the time until now went into questions to a CSP; `None` where none was asked.
    #[must_use]
    pub fn csp_time(&self) -> Option<Duration> {
        let spent = self.share.spent();
        (!spent.is_zero()).then_some(spent)
    }

    /// A span of the gateway's own work.
    #[must_use]
    pub fn step(&self, name: &'static str) -> Span {
        self.begin(name, Side::Own).0
    }

    /// A question to a CSP: a span, and its part of the call's time.
    #[must_use]
    pub fn ask(&self, csp: &CspId, verb: &'static str) -> Asking {
        let (mut span, trace) = self.begin(verb, Side::Client);
        span.note("onbill.csp", || csp.as_str().to_owned().into());
        self.share.start();
        Asking { span, trace, state: self.state.clone(), share: Arc::clone(&self.share) }
    }

    fn begin(&self, name: &'static str, side: Side) -> (Span, Trace) {
        let Some(spans) = &self.spans else {
            return (Span(None), self.trace);
        };
        let id = spans.fresh_id();
        (self.open(Cow::Borrowed(name), side, id, Some(self.trace.span()), spans), self.trace.child(id))
    }

    fn open(
        &self,
        name: Cow<'static, str>,
        side: Side,
        span_id: u64,
        parent_id: Option<u64>,
        spans: &Arc<dyn Spans>,
    ) -> Span {
        let ended = Ended {
            name,
            side,
            trace_id: self.trace.id(),
            span_id,
            parent_id,
            began_unix_ns: spans.now_unix_ns(),
            took: Duration::ZERO,
            attributes: Vec::new(),
            failed: None,
        };
        Span(Some(Box::new(Open { ended, began: Instant::now(), spans: Arc::clone(spans) })))
    }
}

/// A span that has not ended, or nothing where its trace is not recorded. It ends when it is dropped.
pub struct Span(Option<Box<Open>>);

struct Open {
    ended: Ended,
    began: Instant,
    spans: Arc<dyn Spans>,
}

impl Span {
    /// Notes something. What is noted is made only if the span is recorded.
    pub fn note(&mut self, name: &'static str, value: impl FnOnce() -> Value) {
        if let Some(open) = &mut self.0 {
            open.ended.attributes.push((name, value()));
        }
    }

    /// It failed, with this word.
    pub fn fail(&mut self, why: &'static str) {
        if let Some(open) = &mut self.0 {
            open.ended.failed = Some(Cow::Borrowed(why));
        }
    }

    /// Ends it by a result: one that is none has failed.
    pub fn end<T, E>(mut self, result: Result<T, E>) -> Result<T, E> {
        if result.is_err() {
            self.fail("unavailable");
        }
        result
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            let Open { mut ended, began, spans } = *open;
            ended.took = began.elapsed();
            spans.take(ended);
        }
    }
}

/// A question to a CSP that is under way.
pub struct Asking {
    span: Span,
    trace: Trace,
    state: Option<TraceState>,
    share: Arc<CspShare>,
}

impl Asking {
    /// The trace that goes with the question: its span is the parent of the CSP's own.
    #[must_use]
    pub const fn trace(&self) -> Trace {
        self.trace
    }

    /// What goes with the trace, of those before us.
    #[must_use]
    pub fn state(&self) -> Option<TraceState> {
        self.state.clone()
    }

    /// Ends it by what the CSP said.
    pub fn end<T>(mut self, said: Result<T, CspError>) -> Result<T, CspError> {
        let outcome = match &said {
            Ok(_) => "ok",
            Err(CspError::Refused { .. }) => "refused",
            Err(CspError::NotApplied(_)) => "not_applied",
            Err(CspError::Unknown(_)) => "unknown",
        };
        self.span.note("onbill.outcome", || outcome.into());
        if matches!(said, Err(CspError::NotApplied(_) | CspError::Unknown(_))) {
            self.span.fail(outcome);
        }
        said
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.share.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::ports::Cause;

    /// Keeps what it takes; records what nobody has decided about only where it is told to.
    struct Kept {
        samples: bool,
        next: AtomicU64,
        taken: Mutex<Vec<Ended>>,
    }

    impl Spans for Kept {
        fn samples(&self, _trace_id: u128) -> bool {
            self.samples
        }

        fn fresh_id(&self) -> u64 {
            self.next.fetch_add(1, Ordering::Relaxed).saturating_add(1)
        }

        fn now_unix_ns(&self) -> u64 {
            1
        }

        fn take(&self, span: Ended) {
            self.taken.lock().expect("no panic").push(span);
        }
    }

    fn kept(samples: bool) -> (Arc<Kept>, Arc<dyn Spans>) {
        let kept = Arc::new(Kept { samples, next: AtomicU64::new(0), taken: Mutex::default() });
        (Arc::clone(&kept), kept)
    }

    fn received(flags: &str) -> Trace {
        Trace::from_w3c(&format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}")).expect("well formed")
    }

    fn begun() -> Trace {
        Trace::begun_by(&crate::domain::ids::CorrelationId::parse("c").expect("well formed"))
    }

    #[test]
    fn whether_a_call_is_recorded_is_its_parents_choice_and_else_the_ratios() {
        for (trace, samples, recorded) in [
            (received("01"), false, true),
            (received("00"), true, false),
            (begun(), true, true),
            (begun(), false, false),
        ] {
            let (kept, spans) = kept(samples);
            let (trail, span) = Trail::lead(trace, Some(&spans), Side::Server, "call");
            assert_eq!(trail.trace().is_sampled(), recorded, "what is sent on says the same: {trace:?}");
            drop(trail.step("step"));
            drop(span);
            let taken = kept.taken.lock().expect("no panic").len();
            assert_eq!(taken, if recorded { 2 } else { 0 }, "{trace:?}");
        }
        let (trail, _span) = Trail::lead(received("01"), None, Side::Server, "call");
        assert_eq!(trail.trace(), received("01"), "where nothing is recorded a trace is sent on as it came");
    }

    #[test]
    fn spans_hang_together_from_the_callers_to_the_csps() {
        let (kept, spans) = kept(true);
        let (trail, span) = Trail::lead(received("01"), Some(&spans), Side::Server, "call");
        let asking = trail.ask(&CspId::new("op"), "charge");
        let sent_on = asking.trace();
        let said: Result<(), _> = asking.end(Err(CspError::Unknown(Cause::new("gone"))));
        assert!(said.is_err());
        drop(span);
        let taken = kept.taken.lock().expect("no panic");
        let [asked, call] = taken.as_slice() else { panic!("two spans: {taken:?}") };
        assert_eq!(call.parent_id, Some(0x00f0_67aa_0ba9_02b7));
        assert_eq!((asked.parent_id, asked.trace_id), (Some(call.span_id), call.trace_id));
        assert_eq!((sent_on.span(), sent_on.id()), (asked.span_id, call.trace_id));
        assert_eq!(asked.failed.as_deref(), Some("unknown"));
        assert!(asked.attributes.contains(&("onbill.csp", "op".to_owned().into())));
    }

    #[test]
    fn a_trace_that_begins_here_has_no_parent() {
        let (kept, spans) = kept(true);
        let (trail, span) = Trail::lead(begun(), Some(&spans), Side::Server, "call");
        drop(span);
        let taken = kept.taken.lock().expect("no panic");
        assert_eq!((taken[0].parent_id, taken[0].span_id), (None, trail.trace().span()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_csps_share_is_what_questions_took_those_under_way_included() {
        let trail = Trail::silent(begun());
        assert_eq!(trail.csp_time(), None);
        tokio::time::advance(Duration::from_millis(5)).await;
        let asking = trail.ask(&CspId::new("op"), "account");
        tokio::time::advance(Duration::from_millis(20)).await;
        asking.end(Ok(())).expect("ok");
        tokio::time::advance(Duration::from_millis(5)).await;
        assert_eq!(trail.csp_time(), Some(Duration::from_millis(20)));
        let _asking = trail.ask(&CspId::new("op"), "charge");
        tokio::time::advance(Duration::from_millis(30)).await;
        assert_eq!(trail.csp_time(), Some(Duration::from_millis(50)));
    }
}
