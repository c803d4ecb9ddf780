//! The system's clock, kept from going back.
//!
//! Invariant: two readings are in the order in which they were taken. Where the system's clock is set back, this one
//! goes on at half speed until the system's has caught up: it neither stands still, which would hold up everything that
//! falls due, nor stays ahead for ever.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::Time;
use crate::ports::clock::Clock;

/// The system's clock.
#[derive(Debug)]
pub struct SystemClock {
    mark: Mutex<Mark>,
}

/// The last moment at which the system's clock was ahead of all readings.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Microseconds since 1970.
    time_us: i64,
    /// The same moment by a clock that nobody sets.
    at: Instant,
}

impl Mark {
    /// The reading for a time of the system's clock, and the mark from then on.
    fn read(self, system_us: i64, at: Instant) -> (i64, Self) {
        let passed = at.saturating_duration_since(self.at).checked_div(2).unwrap_or_default();
        let floor_us = self.time_us.saturating_add(micros(passed));
        if system_us >= floor_us {
            return (system_us, Self { time_us: system_us, at });
        }
        (floor_us, self)
    }
}

impl SystemClock {
    /// Starts with what the system's clock says now.
    #[must_use]
    pub fn new() -> Self {
        Self { mark: Mutex::new(Mark { time_us: Time::now().as_microsecond(), at: Instant::now() }) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        let (reading_us, next) = mark.read(Time::now().as_microsecond(), Instant::now());
        *mark = next;
        Time::from_microsecond(reading_us).unwrap_or(Time::MAX)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_goes_on_at_half_speed_until_the_system_has_caught_up() {
        let start = Instant::now();
        let mut mark = Mark { time_us: 10_000, at: start };
        for (passed_us, system_us, expected_us) in [
            (100, 10_100, 10_100),
            (200, 9_200, 10_150),
            (201, 9_201, 10_150),
            (400, 9_400, 10_250),
            (2_000, 11_000, 11_050),
            (2_200, 11_200, 11_200),
            (2_300, 11_300, 11_300),
        ] {
            let (reading_us, next) = mark.read(system_us, start + Duration::from_micros(passed_us));
            assert_eq!(reading_us, expected_us, "after {passed_us} µs");
            mark = next;
        }
    }

    #[test]
    fn readings_are_whole_microseconds() {
        let now = SystemClock::new().now();
        assert_eq!(Time::from_microsecond(now.as_microsecond()).ok(), Some(now));
    }
}
