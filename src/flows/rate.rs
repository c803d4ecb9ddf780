//! The story of a partner's rate: who may call now, at this gateway and at all of them together.
//!
//! Invariant: all gateways of one Redis together let through at most the burst, what has flowed in since, and what each
//! of them holds in hand, which is less than a slice; no call waits for Redis while there is a call in hand. While Redis
//! is away each gateway keeps to its own share. What a bucket is, is `domain::rate`; here it is only shared out.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::domain::directory::{Directory, Partner};
use crate::domain::ids::PartnerId;
use crate::domain::rate::SharedRate;
use crate::ports::clock::Clock;
use crate::ports::ephemeral::Ephemeral;

/// How long a gateway keeps to its own share after the store did not answer: its calls do not wait for it meanwhile.
const AWAY: Duration = Duration::from_millis(250);
/// Shortest and longest rest after the store had nothing left: what flows in meanwhile is what can be asked for.
const DRY_MIN: Duration = Duration::from_millis(20);
const DRY_MAX: Duration = Duration::from_secs(1);

type Limiter = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, StateInformationMiddleware>;

/// Who else works at the same rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody: the gateway counts by itself.
    Alone,
    /// So many gateways in all, over the store of short-lived state.
    Among(NonZeroU32),
}

/// A partner's quota as it stands, for its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The quota.
    pub rate: SharedRate,
    /// Calls that this gateway would still let through at once, as far as it knows: others may have used some.
    pub left: u32,
    /// Seconds until it is whole again, or, where nothing is left, until a call makes sense.
    pub reset_s: u32,
}

/// Over the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// How it stands: nothing is left.
    pub standing: Standing,
}

/// The rates of a directory's partners.
pub struct Rates {
    sharing: Sharing,
    meters: HashMap<PartnerId, Arc<Meter>, RandomState>,
}

impl Rates {
    /// Meters of a directory's partners; those of `before` go on where their rate is the same.
    #[must_use]
    pub fn new(directory: &Directory, sharing: Sharing, before: Option<&Self>) -> Self {
        let meter = |partner: &Arc<Partner>| {
            let known = before.and_then(|before| before.meters.get(&partner.id));
            let same = known.filter(|meter| meter.rate == partner.rate);
            let meter = same.cloned().unwrap_or_else(|| Arc::new(Meter::new(partner.rate, sharing)));
            (partner.id.clone(), meter)
        };
        Self { sharing, meters: directory.partners().map(meter).collect() }
    }

    /// The same for another directory.
    #[must_use]
    pub fn reconfigured(&self, directory: &Directory) -> Self {
        Self::new(directory, self.sharing, Some(self))
    }

    /// Counts a call of a partner, or refuses it. A partner that is not of the directory has no rate to be over.
    ///
    /// # Errors
    /// It is over its rate.
    pub async fn admit(
        &self,
        partner: &PartnerId,
        store: &Arc<dyn Ephemeral>,
        clock: &dyn Clock,
    ) -> Result<Option<Standing>, Over> {
        match self.meters.get(partner) {
            Some(meter) => meter.admit(partner, store, clock).await.map(Some),
            None => Ok(None),
        }
    }
}

/// What one partner has used at this gateway.
struct Meter {
    rate: SharedRate,
    /// The whole rate: what a gateway that is alone goes by, and what others go by to tell how much is left.
    whole: Limiter,
    shared: Option<Shared>,
}

/// The gateway's part in a rate that others share.
struct Shared {
    slice: u32,
    hand: Mutex<Hand>,
    /// Held by whoever asks the store, so that all others wait for one answer.
    asking: tokio::sync::Mutex<()>,
    own_share: Limiter,
}

/// What was leased and is not used yet.
struct Hand {
    calls: u32,
    /// The store had nothing left: it is not asked again before this.
    dry_until: Instant,
    /// The store did not answer: until then the own share counts.
    away_until: Instant,
}

/// What a look at the hand says.
enum Look {
    Taken,
    Dry,
    Away,
    Empty,
}

fn limiter(rate: SharedRate) -> Limiter {
    let count = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::per_second(count(rate.per_second)).allow_burst(count(rate.burst));
    RateLimiter::direct_with_clock(quota, MonotonicClock).with_middleware()
}

/// How many calls a gateway takes for itself at a time: a hundredth, so that asking costs nothing, and never more than an
/// eighth of the burst, so that others find something.
fn slice(rate: SharedRate) -> u32 {
    let hundredth = rate.burst.max(rate.per_second).div_euclid(100);
    hundredth.min(rate.burst.div_euclid(8)).max(1)
}

impl Meter {
    fn new(rate: SharedRate, sharing: Sharing) -> Self {
        let shared = |gateways: NonZeroU32| {
            let share = |number: u32| number.div_ceil(gateways.get());
            let now = Instant::now();
            Shared {
                slice: slice(rate),
                hand: Mutex::new(Hand { calls: 0, dry_until: now, away_until: now }),
                asking: tokio::sync::Mutex::new(()),
                own_share: limiter(SharedRate { per_second: share(rate.per_second), burst: share(rate.burst) }),
            }
        };
        let shared = match sharing {
            Sharing::Alone => None,
            Sharing::Among(gateways) => Some(shared(gateways)),
        };
        Self { rate, whole: limiter(rate), shared }
    }

    async fn admit(
        &self,
        partner: &PartnerId,
        store: &Arc<dyn Ephemeral>,
        clock: &dyn Clock,
    ) -> Result<Standing, Over> {
        if let Some(shared) = &self.shared {
            Box::pin(shared.take(partner, self.rate, store, clock)).await.map_err(|wait| self.over(wait))?;
        }
        let left = match self.whole.check() {
            Ok(left) => left.remaining_burst_capacity(),
            // What all gateways share was counted already.
            Err(_until) if self.shared.is_some() => 0,
            Err(until) => return Err(self.over(until.wait_time_from(MonotonicClock.now()))),
        };
        let used = self.rate.burst.saturating_sub(left);
        Ok(Standing { rate: self.rate, left, reset_s: used.div_ceil(self.rate.per_second.max(1)) })
    }

    fn over(&self, wait: Duration) -> Over {
        let whole_s = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
        let reset_s = whole_s.saturating_add(u32::from(wait.subsec_nanos() > 0)).max(1);
        Over { standing: Standing { rate: self.rate, left: 0, reset_s } }
    }
}

impl Shared {
    /// Takes a call from the hand, or has the store fill it first. `Err`: how long to wait.
    async fn take(
        &self,
        partner: &PartnerId,
        rate: SharedRate,
        store: &Arc<dyn Ephemeral>,
        clock: &dyn Clock,
    ) -> Result<(), Duration> {
        let mut look = self.look();
        if matches!(look, Look::Empty) {
            let _asking = self.asking.lock().await;
            // Somebody else may have filled it meanwhile.
            look = self.look();
            if matches!(look, Look::Empty) {
                let leased = store.lease_rate(partner, rate, self.slice, clock.now()).await;
                look = self.put(rate, leased.map_err(|_away| ()));
            }
        }
        match look {
            Look::Taken => Ok(()),
            Look::Away => self.own_share.check().map(|_left| ()).map_err(|until| {
                let now = MonotonicClock.now();
                until.wait_time_from(now)
            }),
            Look::Dry | Look::Empty => Err(refill(rate)),
        }
    }

    fn look(&self) -> Look {
        let (mut hand, now) = (self.hand(), Instant::now());
        match hand.calls.checked_sub(1) {
            Some(rest) => {
                hand.calls = rest;
                Look::Taken
            }
            None if now < hand.dry_until => Look::Dry,
            None if now < hand.away_until => Look::Away,
            None => Look::Empty,
        }
    }

    /// Puts what the store said into the hand, and takes one call out where there is one.
    fn put(&self, rate: SharedRate, leased: Result<u32, ()>) -> Look {
        let (mut hand, now) = (self.hand(), Instant::now());
        let later = |wait| now.checked_add(wait).unwrap_or(now);
        match leased {
            Err(()) => {
                hand.away_until = later(AWAY);
                Look::Away
            }
            Ok(0) => {
                hand.dry_until = later(refill(rate).clamp(DRY_MIN, DRY_MAX));
                Look::Dry
            }
            Ok(calls) => {
                hand.calls = hand.calls.saturating_add(calls.saturating_sub(1));
                Look::Taken
            }
        }
    }

    fn hand(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long one call takes to flow in.
fn refill(rate: SharedRate) -> Duration {
    Duration::from_secs(1).checked_div(rate.per_second.max(1)).unwrap_or(DRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_small_beside_the_burst_and_one_where_that_is_small() {
        for (per_second, burst, expected) in
            [(1, 1, 1), (10, 10, 1), (100, 15, 1), (1_000, 100, 10), (5_000, 10_000, 100), (1_000_000, 8, 1)]
        {
            assert_eq!(slice(SharedRate { per_second, burst }), expected, "{per_second} {burst}");
        }
    }

    #[test]
    fn a_gateway_alone_lets_the_burst_through_and_tells_what_is_left() {
        let meter = Meter::new(SharedRate { per_second: 1, burst: 3 }, Sharing::Alone);
        let left: Vec<_> =
            (0..5).map(|_| meter.whole.check().map(|left| left.remaining_burst_capacity()).ok()).collect();
        assert_eq!(left, [Some(2), Some(1), Some(0), None, None]);
        let over = meter.over(Duration::from_millis(1_001));
        assert_eq!((over.standing.left, over.standing.reset_s), (0, 2));
        assert_eq!(meter.over(Duration::ZERO).standing.reset_s, 1);
    }
}
