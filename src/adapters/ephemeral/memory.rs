//! Short-lived state in the gateway's own memory: for one gateway on one machine.
//!
//! Invariant: all that a verb decides it decides under one lock, so that concurrent tries never get more than the rules
//! allow; no lock is held while anything waits. Memory is bounded: at the bound nothing more is taken in and the verb
//! answers `EphemeralUnavailable`, except that proofs and answers make room by the oldest. Flights are timed
//! by real time, PINs by the `now` that is handed in. Final answers are kept for a minute, the newest of them, so that a repeat
//! costs the ledger nothing.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::expiring::Expiring;
use super::number::Number;
use crate::domain::Time;
use crate::domain::address::Msisdn;
use crate::domain::directory::SendQuota;
use crate::domain::ids::PartnerId;
use crate::domain::notification::{self, Claim, ContentDigest, NotificationKey, Taken};
use crate::domain::pin::{PinDigest, StoredPin, Verdict};
use crate::domain::rate::{Bucket, SharedRate};
use crate::domain::transaction::{Compared, TransactionKey};
use crate::ports::Cause;
use crate::ports::ephemeral::{Ephemeral, EphemeralUnavailable, FinalAnswer, Flight, Issued, PinSlot, Texted, Ticket};

/// Locks that the entries of each kind are spread over, so that cores seldom wait for one another.
const SHARDS: usize = 16;
/// Longest time that a flight may be given or waited for: a bound for the sum of moments, far above any deadline.
const FLIGHT_MAX: Duration = Duration::from_hours(24);
/// How long a final answer is kept for repeats: a caller that repeats does so within seconds.
const ANSWER_KEPT: Duration = Duration::from_mins(1);

/// How much is kept at most.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Numbers with PINs or sends that count.
    pub numbers_max: usize,
    /// Numbers with proofs that a PIN was right.
    pub proofs_max: usize,
    /// Minutes that a proof is kept: at least what the most patient partner asks for.
    pub proofs_kept_minutes: u32,
    /// Flights at one time.
    pub flights_max: usize,
    /// Ids of notifications that are remembered.
    pub notifications_max: usize,
    /// Final answers that are kept for repeats.
    pub answers_max: usize,
}

impl Default for Bounds {
    /// Some hundred megabytes when all of it is used: PINs for 300 numbers a second, a day of proofs, and five
    /// notifications with an id a second.
    fn default() -> Self {
        Self {
            numbers_max: 200_000,
            proofs_max: 200_000,
            proofs_kept_minutes: 1440,
            flights_max: 100_000,
            notifications_max: 500_000,
            answers_max: 32_768,
        }
    }
}

/// Short-lived state in memory.
pub struct MemoryEphemeral {
    numbers: Shards<Expiring<Msisdn, Number, Time>>,
    proofs: Shards<Expiring<Msisdn, Proofs, Time>>,
    proofs_kept: SignedDuration,
    flights: Shards<Expiring<TransactionKey, Underway, Instant>>,
    notifications: Shards<Expiring<NotificationKey, Notified, Time>>,
    answers: Shards<Expiring<TransactionKey, Kept, Instant>>,
    /// What is left of the rates. As many as there are partners, which are configured and few.
    buckets: Mutex<HashMap<PartnerId, Bucket>>,
}

/// When a PIN of a number was last right, for each partner. There are few.
type Proofs = Vec<(PartnerId, Time)>;

/// A flight. Nobody waits for most, so what waiters need is made by the first of them.
struct Underway {
    ticket: Ticket,
    ended: Option<Arc<Notify>>,
}

/// The request that has taken the id of a notification.
struct Notified {
    content: ContentDigest,
    ticket: Ticket,
    is_sent: bool,
}

/// A final answer, and the request that it was given to.
struct Kept {
    request: Compared,
    answer: FinalAnswer,
}

impl MemoryEphemeral {
    /// Empty, with these bounds.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let share = |entries_max: usize| entries_max.div_ceil(SHARDS);
        let kept_s = i64::from(bounds.proofs_kept_minutes).saturating_mul(60);
        Self {
            numbers: Shards::new(|| Expiring::new(share(bounds.numbers_max))),
            proofs: Shards::new(|| Expiring::new(share(bounds.proofs_max))),
            proofs_kept: SignedDuration::from_secs(kept_s),
            flights: Shards::new(|| Expiring::new(share(bounds.flights_max))),
            notifications: Shards::new(|| Expiring::new(share(bounds.notifications_max))),
            answers: Shards::new(|| Expiring::new(share(bounds.answers_max))),
            buckets: Mutex::default(),
        }
    }

    /// What the very same request was answered a short while ago.
    fn answered(&self, key: &TransactionKey, request: &Compared, now: Instant) -> Option<FinalAnswer> {
        let mut answers = self.answers.of(key);
        let (until, kept) = answers.get_mut(key)?;
        (until > now && kept.request == *request).then(|| kept.answer.clone())
    }

    fn prove(&self, slot: &PinSlot, now: Time) {
        let due = now.checked_add(self.proofs_kept).unwrap_or(Time::MAX);
        let mut proofs = self.proofs.of(&slot.number);
        let mut proved = proofs.remove(&slot.number).map(|(_, proved)| proved).unwrap_or_default();
        proved.retain(|(partner, at)| *partner != slot.partner && now.duration_since(*at) < self.proofs_kept);
        proved.push((slot.partner.clone(), now));
        proofs.put_over_oldest(slot.number.clone(), proved, due, now);
    }
}

#[async_trait]
impl Ephemeral for MemoryEphemeral {
    async fn issue_pin(
        &self,
        slot: &PinSlot,
        pin: StoredPin,
        quota: SendQuota,
        now: Time,
    ) -> Result<Issued, EphemeralUnavailable> {
        let mut numbers = self.numbers.of(&slot.number);
        let mut number = numbers.remove(&slot.number).map(|(_, number)| number).unwrap_or_default();
        let issued = number.issue(&slot.partner, pin, quota, now);
        let due = number.due();
        numbers.put(slot.number.clone(), number, due, now).map_err(unavailable)?;
        Ok(issued)
    }

    async fn redeem_pin(
        &self,
        slot: &PinSlot,
        offered: &PinDigest,
        now: Time,
    ) -> Result<Verdict, EphemeralUnavailable> {
        let verdict = {
            let mut numbers = self.numbers.of(&slot.number);
            match numbers.get_mut(&slot.number) {
                Some((_, number)) => number.redeem(&slot.partner, offered, now),
                None => Verdict::Wrong,
            }
        };
        if verdict == Verdict::Right {
            self.prove(slot, now);
        }
        Ok(verdict)
    }

    async fn pin_proved_at(
        &self,
        slot: &PinSlot,
        within_minutes: u32,
        now: Time,
    ) -> Result<Option<Time>, EphemeralUnavailable> {
        let within = SignedDuration::from_secs(i64::from(within_minutes).saturating_mul(60));
        let mut proofs = self.proofs.of(&slot.number);
        let Some((_, proved)) = proofs.get_mut(&slot.number) else {
            return Ok(None);
        };
        let own = proved.iter().find(|(partner, _)| *partner == slot.partner);
        Ok(own.map(|(_, at)| *at).filter(|at| now.duration_since(*at) < within))
    }

    async fn forget_number(&self, number: &Msisdn) -> Result<(), EphemeralUnavailable> {
        self.numbers.of(number).remove(number);
        self.proofs.of(number).remove(number);
        Ok(())
    }

    async fn begin_flight(
        &self,
        key: &TransactionKey,
        request: Option<&Compared>,
        ticket: &Ticket,
        ttl: Duration,
    ) -> Result<Flight, EphemeralUnavailable> {
        let now = Instant::now();
        if let Some(answer) = request.and_then(|request| self.answered(key, request, now)) {
            return Ok(Flight::Answered(answer));
        }
        let mut flights = self.flights.of(key);
        if flights.get_mut(key).is_some_and(|(until, _)| until > now) {
            return Ok(Flight::Underway);
        }
        let until = now.checked_add(ttl.min(FLIGHT_MAX)).unwrap_or(now);
        let underway = Underway { ticket: ticket.clone(), ended: None };
        flights.put(key.clone(), underway, until, now).map_err(unavailable)?;
        Ok(Flight::Begun)
    }

    async fn end_flight(&self, key: &TransactionKey, ticket: &Ticket, left: Option<(&Compared, &FinalAnswer)>) {
        if let Some((request, answer)) = left {
            let now = Instant::now();
            let kept = Kept { request: request.clone(), answer: answer.clone() };
            let until = now.checked_add(ANSWER_KEPT).unwrap_or(now);
            self.answers.of(key).put_over_oldest(key.clone(), kept, until, now);
        }
        let mut flights = self.flights.of(key);
        if flights.get_mut(key).is_none_or(|(_, underway)| underway.ticket != *ticket) {
            return;
        }
        if let Some((_, Underway { ended: Some(ended), .. })) = flights.remove(key) {
            ended.notify_waiters();
        }
    }

    async fn await_flight(&self, key: &TransactionKey, wait_max: Duration) -> Result<(), EphemeralUnavailable> {
        let (ended, until) = {
            let mut flights = self.flights.of(key);
            let Some((until, underway)) = flights.get_mut(key) else {
                return Ok(());
            };
            let ended = Arc::clone(underway.ended.get_or_insert_default());
            // Made under the lock: from here on it hears of the end, however soon that comes.
            (ended.notified_owned(), until)
        };
        let deadline = Instant::now().checked_add(wait_max.min(FLIGHT_MAX)).map_or(until, |latest| latest.min(until));
        // Woken, waited out or run out: in each case the caller looks at the record again.
        let _ = tokio::time::timeout_at(deadline, ended).await;
        Ok(())
    }

    async fn claim_notification(
        &self,
        key: &NotificationKey,
        content: &ContentDigest,
        ticket: &Ticket,
        now: Time,
    ) -> Result<Claim, EphemeralUnavailable> {
        let mut notifications = self.notifications.of(key);
        let taken = notifications.get_mut(key).map(|(until, notified)| Taken {
            content: notified.content,
            is_sent: notified.is_sent,
            until,
        });
        let claim = notification::claim(taken, *content, now);
        if claim == Claim::Begun {
            let notified = Notified { content: *content, ticket: ticket.clone(), is_sent: false };
            let until = notification::remembered_until(now);
            notifications.put(key.clone(), notified, until, now).map_err(unavailable)?;
        }
        Ok(claim)
    }

    async fn settle_notification(&self, key: &NotificationKey, ticket: &Ticket, texted: Texted) {
        let mut notifications = self.notifications.of(key);
        match (notifications.get_mut(key), texted) {
            (Some((_, notified)), _) if notified.ticket != *ticket || notified.is_sent => {}
            (Some((_, notified)), Texted::Sent) => notified.is_sent = true,
            (Some(_), Texted::NotSent) => {
                notifications.remove(key);
            }
            (None, Texted::Sent | Texted::NotSent) => {}
        }
    }

    async fn lease_rate(
        &self,
        partner: &PartnerId,
        rate: SharedRate,
        wanted: u32,
        now: Time,
    ) -> Result<u32, EphemeralUnavailable> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(partner.clone()).or_insert_with(|| Bucket::full(rate, now));
        let (granted, left) = bucket.lease(rate, wanted, now);
        *bucket = left;
        Ok(granted)
    }

    async fn check(&self) -> Result<(), EphemeralUnavailable> {
        Ok(())
    }
}

fn unavailable(full: super::expiring::Full) -> EphemeralUnavailable {
    EphemeralUnavailable(Cause::new(full))
}

/// Maps that share the entries by the hash of their key, each under a lock of its own.
struct Shards<S> {
    shards: [Mutex<S>; SHARDS],
    hasher: RandomState,
}

impl<S> Shards<S> {
    fn new(make: impl Fn() -> S) -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::new(make())), hasher: RandomState::new() }
    }

    /// The shard of a key, locked. A panic elsewhere cannot have left it half changed: nothing in here panics midway.
    fn of(&self, key: &impl Hash) -> MutexGuard<'_, S> {
        let shards = u64::try_from(SHARDS).unwrap_or(1);
        let place = self.hasher.hash_one(key).checked_rem(shards).unwrap_or_default();
        let shard = usize::try_from(place).ok().and_then(|place| self.shards.get(place));
        shard.expect("a remainder is less than its divisor").lock().unwrap_or_else(PoisonError::into_inner)
    }
}
