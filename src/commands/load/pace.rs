//! When calls begin: one after the other's answer, or by the clock.
//!
//! Invariant: with a rate, a call's time counts from when it was due and not from when it could be sent, and the
//! schedule waits for no answer. A target that stalls is thus charged with every call that it held up (what is known as
//! coordinated omission is corrected). Calls that were due and could not be sent are counted, with what they have waited.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// Longest time between two looks at the clock; shorter where calls are due sooner.
const NAP_MAX: Duration = Duration::from_millis(2);
/// How long calls that were due at the end may still wait to be taken up.
const GRACE: Duration = Duration::from_secs(1);
const NANOS_PER_S: u128 = 1_000_000_000;

/// How long, how many, how fast.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    /// Calls that begin within it are not measured.
    pub warm_up: Duration,
    /// Measured time, warm-up not included.
    pub duration: Option<Duration>,
    /// Measured calls at most.
    pub calls_max: Option<u64>,
    /// Calls a second, if by the clock.
    pub rate_per_s: Option<u32>,
}

/// A call that is due.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// From when on its time counts.
    pub due: Instant,
    /// Whether it is after the warm-up.
    pub measured: bool,
}

/// Gives out turns.
#[derive(Debug)]
pub struct Pace {
    begun: Instant,
    span: Span,
    /// Turns that were taken: all of them by the clock, measured ones without.
    taken: AtomicU64,
    stopped: AtomicBool,
    due: Semaphore,
}

impl Pace {
    /// It begins now.
    #[must_use]
    pub fn begin(span: Span) -> Self {
        let (taken, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { begun: Instant::now(), span, taken, stopped, due: Semaphore::new(0) }
    }

    /// When the first measured call begins.
    #[must_use]
    pub fn measured_from(&self) -> Instant {
        later(self.begun, self.span.warm_up)
    }

    /// Gives out no more turns.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.due.close();
    }

    /// The next turn, as soon as it is due; `None` at the end.
    pub async fn next(&self) -> Option<Turn> {
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        match self.span.rate_per_s {
            None => self.next_at_once(),
            Some(rate_per_s) => {
                self.due.acquire().await.ok()?.forget();
                let place = self.taken.fetch_add(1, Ordering::Relaxed);
                let due = later(self.begun, offset(place, rate_per_s));
                Some(Turn { due, measured: due >= self.measured_from() })
            }
        }
    }

    fn next_at_once(&self) -> Option<Turn> {
        let (now, from) = (Instant::now(), self.measured_from());
        if now < from {
            return Some(Turn { due: now, measured: false });
        }
        if self.span.duration.is_some_and(|duration| now >= later(from, duration)) {
            return None;
        }
        let place = self.taken.fetch_add(1, Ordering::Relaxed);
        let enough = self.span.calls_max.is_some_and(|calls_max| place >= calls_max);
        (!enough).then_some(Turn { due: now, measured: true })
    }

    /// All turns that there are to be by the clock, warm-up included.
    fn scheduled(&self, rate_per_s: u32) -> u64 {
        let within = |time: Duration| {
            let turns = time.as_nanos().saturating_mul(u128::from(rate_per_s)).div_ceil(NANOS_PER_S);
            u64::try_from(turns).unwrap_or(u64::MAX)
        };
        let warm_up = within(self.span.warm_up);
        let by_time = self.span.duration.map(|duration| within(self.span.warm_up.saturating_add(duration)));
        let by_count = self.span.calls_max.map(|calls_max| warm_up.saturating_add(calls_max));
        by_time.into_iter().chain(by_count).min().unwrap_or(warm_up)
    }

    /// Lets turns be taken when they are due, on a thread of its own: a timer of the runtime rounds to milliseconds.
    /// Answers with what each turn has waited that was due and was never taken.
    pub fn keep(&self) -> Vec<Duration> {
        let Some(rate_per_s) = self.span.rate_per_s else { return Vec::new() };
        let scheduled = self.scheduled(rate_per_s);
        let mut given = 0_u64;
        while given < scheduled && !self.stopped.load(Ordering::Relaxed) {
            let now = Instant::now();
            let elapsed = now.saturating_duration_since(self.begun);
            let due = turns_within(elapsed, rate_per_s).min(scheduled);
            // A semaphore holds far more permits than a laggard ever owes; what does not fit waits for the next look.
            let more = usize::try_from(due.saturating_sub(given)).unwrap_or(usize::MAX).min(self.room());
            self.due.add_permits(more);
            given = given.saturating_add(u64::try_from(more).unwrap_or_default());
            let next = later(self.begun, offset(given, rate_per_s));
            std::thread::sleep(next.saturating_duration_since(Instant::now()).min(NAP_MAX));
        }
        let until = later(Instant::now(), GRACE);
        while self.taken.load(Ordering::Relaxed) < given && Instant::now() < until && !self.due.is_closed() {
            std::thread::sleep(NAP_MAX);
        }
        self.stop();
        self.left_over(given, rate_per_s)
    }

    fn room(&self) -> usize {
        Semaphore::MAX_PERMITS.saturating_sub(self.due.available_permits())
    }

    fn left_over(&self, given: u64, rate_per_s: u32) -> Vec<Duration> {
        let (now, from) = (Instant::now(), self.measured_from());
        (self.taken.load(Ordering::Relaxed)..given)
            .map(|place| later(self.begun, offset(place, rate_per_s)))
            .filter(|due| *due >= from)
            .map(|due| now.saturating_duration_since(due))
            .collect()
    }
}

/// How long after the beginning a turn is due.
fn offset(place: u64, rate_per_s: u32) -> Duration {
    let nanos = u128::from(place).saturating_mul(NANOS_PER_S).checked_div(u128::from(rate_per_s)).unwrap_or_default();
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Turns that are due so long after the beginning: the first at once.
fn turns_within(elapsed: Duration, rate_per_s: u32) -> u64 {
    let turns = elapsed.as_nanos().saturating_mul(u128::from(rate_per_s)).checked_div(NANOS_PER_S).unwrap_or_default();
    u64::try_from(turns).unwrap_or(u64::MAX).saturating_add(1)
}

fn later(time: Instant, by: Duration) -> Instant {
    time.checked_add(by).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_once(calls_max: u64) -> Span {
        Span { calls_max: Some(calls_max), ..Span::default() }
    }

    #[tokio::test]
    async fn calls_in_a_row_end_with_their_number() {
        let pace = Pace::begin(at_once(3));
        for _ in 0..3 {
            assert!(pace.next().await.is_some_and(|turn| turn.measured));
        }
        assert!(pace.next().await.is_none());
    }

    #[tokio::test]
    async fn what_is_stopped_gives_no_more_turns() {
        let pace = Pace::begin(at_once(3));
        pace.stop();
        assert!(pace.next().await.is_none());
    }

    #[test]
    fn turns_are_due_at_even_distances_whatever_the_rate() {
        for (place, rate_per_s, micros) in [(0, 7, 0), (7, 7, 1_000_000), (1, 1000, 1000), (3, 1_000_000, 3)] {
            assert_eq!(offset(place, rate_per_s), Duration::from_micros(micros));
            assert!(turns_within(offset(place, rate_per_s), rate_per_s) > place, "{place} at {rate_per_s}");
        }
        let span = Span {
            warm_up: Duration::from_secs(1),
            duration: Some(Duration::from_secs(2)),
            calls_max: Some(1_500),
            rate_per_s: Some(1000),
        };
        assert_eq!(Pace::begin(span).scheduled(1000), 2_500);
        assert_eq!(Pace::begin(Span { calls_max: None, ..span }).scheduled(1000), 3_000);
    }

    #[tokio::test]
    async fn turns_that_nobody_takes_are_left_over_with_their_wait() {
        let span = Span { calls_max: Some(5), rate_per_s: Some(1_000_000), ..Span::default() };
        let pace = std::sync::Arc::new(Pace::begin(span));
        let keeper = std::sync::Arc::clone(&pace);
        let kept = tokio::task::spawn_blocking(move || keeper.keep());
        let turn = pace.next().await.expect("a turn");
        assert!(turn.measured && turn.due >= pace.begun);
        let left = kept.await.expect("no panic");
        assert_eq!(left.len(), 4);
        assert!(left.iter().all(|waited| *waited >= GRACE), "{left:?}");
        assert!(pace.next().await.is_none());
    }
}
