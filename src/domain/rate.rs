//! Shared rates: how much of a partner's rate one gateway may take for itself.
//!
//! Invariant: over any time, all gateways together are granted at most the burst and what has flowed in since. The bucket
//! is counted in thousandths of a call and in milliseconds, whole numbers both, so that every store computes the same.
//! Who asks when, and what a gateway does with its share, is not here.

use super::Time;

/// A rate that gateways share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedRate {
    /// Calls a second that flow in.
    pub per_second: u32,
    /// Most calls that the bucket holds.
    pub burst: u32,
}

/// Thousandths of a call.
const CALL: u64 = 1_000;
/// How far the moment of a bucket may lie ahead of a gateway's clock. What is further ahead was written by a clock that
/// was wrong, and would hold the rate up until that moment came.
pub const AHEAD_MAX_MS: i64 = 10_000;

/// What is left of a rate at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Thousandths of a call that are left.
    level: u64,
    /// The latest moment that it was filled up to, in milliseconds of the epoch.
    at_ms: i64,
}

impl SharedRate {
    fn full(self) -> u64 {
        u64::from(self.burst).saturating_mul(CALL)
    }

    /// Milliseconds after which an empty bucket is full, and so as good as none at all.
    #[must_use]
    pub fn fills_within_ms(self) -> u64 {
        self.full().div_ceil(u64::from(self.per_second.max(1)))
    }
}

impl Bucket {
    /// A full bucket, as a partner has it that nobody has asked for yet.
    #[must_use]
    pub fn full(rate: SharedRate, now: Time) -> Self {
        Self { level: rate.full(), at_ms: now.as_millisecond() }
    }

    /// Lets in what has flowed since, and takes up to `wanted` calls out: how many, and what is left.
    #[must_use]
    pub fn lease(self, rate: SharedRate, wanted: u32, now: Time) -> (u32, Self) {
        let now_ms = now.as_millisecond();
        let is_wrong = self.at_ms.saturating_sub(now_ms) > AHEAD_MAX_MS;
        let at_ms = if is_wrong { now_ms } else { self.at_ms.max(now_ms) };
        let passed_ms = u64::try_from(at_ms.saturating_sub(self.at_ms)).unwrap_or(0);
        let inflow = passed_ms.saturating_mul(u64::from(rate.per_second));
        let level = self.level.saturating_add(inflow).min(rate.full());
        let whole = u32::try_from(level.checked_div(CALL).unwrap_or(0)).unwrap_or(u32::MAX);
        let granted = whole.min(wanted);
        let taken = u64::from(granted).saturating_mul(CALL);
        (granted, Self { level: level.saturating_sub(taken), at_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: SharedRate = SharedRate { per_second: 10, burst: 20 };

    fn at_ms(milliseconds: i64) -> Time {
        Time::from_millisecond(1_700_000_000_000_i64.saturating_add(milliseconds)).expect("in range")
    }

    #[test]
    fn the_burst_and_then_what_flows_in_and_no_more() {
        let mut bucket = Bucket::full(RATE, at_ms(0));
        for (now, wanted, expected) in [
            (0, 15, 15),
            (0, 15, 5),
            (0, 15, 0),
            (99, 15, 0),
            (100, 15, 1),
            (350, 15, 2),
            (400, 15, 1),
            (60_000, 15, 15),
            (60_000, 15, 5),
        ] {
            let (granted, left) = bucket.lease(RATE, wanted, at_ms(now));
            assert_eq!(granted, expected, "{wanted} at {now}");
            bucket = left;
        }
    }

    #[test]
    fn a_clock_behind_lets_nothing_flow_in_twice_and_one_far_ahead_holds_up_nobody() {
        let (_, empty) = Bucket::full(RATE, at_ms(0)).lease(RATE, 20, at_ms(1_000));
        let (behind, left) = empty.lease(RATE, 20, at_ms(0));
        assert_eq!((behind, left.lease(RATE, 20, at_ms(1_000)).0), (0, 0));
        let (_, ahead) = Bucket::full(RATE, at_ms(0)).lease(RATE, 20, at_ms(3_600_000));
        let (_, seen) = ahead.lease(RATE, 20, at_ms(0));
        assert_eq!(seen.lease(RATE, 20, at_ms(500)).0, 5);
    }

    #[test]
    fn a_smaller_burst_holds_at_once() {
        let smaller = SharedRate { per_second: 10, burst: 3 };
        assert_eq!(Bucket::full(RATE, at_ms(0)).lease(smaller, 20, at_ms(0)).0, 3);
        assert_eq!((RATE.fills_within_ms(), smaller.fills_within_ms()), (2_000, 300));
    }
}
