//! A clock that stands until it is moved, for tests and simulation.
//!
//! Invariant: it moves only when it is told to, and only forward.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::MOVED_S_MAX;
use crate::domain::Time;
use crate::ports::clock::{Clock, MovableClock, OutOfRange};

/// A hand-driven clock.
#[derive(Debug)]
pub struct ManualClock {
    /// Microseconds since 1970.
    now_us: AtomicI64,
    /// Seconds moved by [`MovableClock::advance`] so far.
    advanced_s: AtomicI64,
}

impl ManualClock {
    /// A clock that shows this time.
    #[must_use]
    pub fn new(now: Time) -> Self {
        Self { now_us: AtomicI64::new(now.as_microsecond()), advanced_s: AtomicI64::new(0) }
    }

    /// Lets time pass, as far as one likes: unlike [`MovableClock::advance`] it has no bound.
    pub fn pass(&self, duration: Duration) {
        let passed_us = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        // The closure always answers, so the update cannot fail.
        let _ =
            self.now_us.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| Some(now.saturating_add(passed_us)));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        Time::from_microsecond(self.now_us.load(Ordering::Acquire)).unwrap_or(Time::MAX)
    }
}

impl MovableClock for ManualClock {
    fn advance(&self, seconds: i64) -> Result<Time, OutOfRange> {
        let step = u64::try_from(seconds).ok().filter(|step| *step > 0).ok_or(OutOfRange)?;
        let further = |moved: i64| moved.checked_add(seconds).filter(|total| *total <= MOVED_S_MAX);
        self.advanced_s.fetch_update(Ordering::AcqRel, Ordering::Acquire, further).map_err(|_| OutOfRange)?;
        self.pass(Duration::from_secs(step));
        Ok(self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_by_hand_only() {
        let start = Time::from_second(1_700_000_000).expect("in range");
        let clock = ManualClock::new(start);
        assert_eq!(clock.now(), start);
        clock.pass(Duration::from_millis(1500));
        assert_eq!(clock.now().as_millisecond(), 1_700_000_001_500);
    }

    #[test]
    fn it_advances_at_most_thirty_days_in_all() {
        let clock = ManualClock::new(Time::UNIX_EPOCH);
        for (seconds, moved) in
            [(0, false), (-1, false), (MOVED_S_MAX + 1, false), (MOVED_S_MAX, true), (1, false), (i64::MAX, false)]
        {
            assert_eq!(clock.advance(seconds).is_ok(), moved, "{seconds}");
        }
        assert_eq!(clock.now().as_second(), MOVED_S_MAX);
    }
}
