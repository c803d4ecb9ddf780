//! Short-lived state and secrets as one life of a gateway reaches them.
//!
//! Invariant: the store behind may be empty again at any moment, and may not answer; its verbs are the real adapter's,
//! except that it keeps final answers in some runs, as the stores of gateways do; here they are kept and lost by the plan.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onbill::adapters::ephemeral::{Bounds, MemoryEphemeral};
use onbill::adapters::secrets::SeededSecrets;
use onbill::domain::Time;
use onbill::domain::address::Msisdn;
use onbill::domain::directory::SendQuota;
use onbill::domain::event::EventId;
use onbill::domain::ids::{CorrelationId, PartnerId, Reference};
use onbill::domain::notification::{Claim, ContentDigest, NotificationKey};
use onbill::domain::pin::{Pin, PinDigest, StoredPin, Verdict};
use onbill::domain::rate::SharedRate;
use onbill::domain::transaction::{Compared, TransactionKey};
use onbill::ports::ephemeral::{Ephemeral, EphemeralUnavailable, FinalAnswer, Flight, Issued, PinSlot, Texted, Ticket};
use onbill::ports::secrets::{Purpose, Secrets};

use super::mutation::Mutation;
use super::world::{Place, cause};

/// Short-lived state that can be lost as a whole.
pub struct Lossy(Mutex<Arc<Kept>>);

/// What is lost at once.
pub struct Kept {
    store: MemoryEphemeral,
    answers: Mutex<HashMap<TransactionKey, (Compared, FinalAnswer)>>,
}

impl Kept {
    /// The final answer of the very same request.
    fn answer(&self, key: &TransactionKey, request: &Compared) -> Option<FinalAnswer> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(key).filter(|(answered, _)| answered == request).map(|(_, answer)| answer.clone())
    }

    fn keep(&self, key: &TransactionKey, (request, answer): (&Compared, &FinalAnswer)) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(key.clone(), (request.clone(), answer.clone()));
    }
}

impl Lossy {
    pub fn new() -> Self {
        Self(Mutex::new(fresh()))
    }

    /// All of it is gone.
    pub fn wipe(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fresh();
    }

    fn now(&self) -> Arc<Kept> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn fresh() -> Arc<Kept> {
    let bounds = Bounds {
        numbers_max: 100,
        proofs_max: 100,
        proofs_kept_minutes: 1,
        flights_max: 10_000,
        notifications_max: 100,
        answers_max: 0,
    };
    Arc::new(Kept { store: MemoryEphemeral::new(bounds), answers: Mutex::default() })
}

/// Short-lived state as one life reaches it.
pub struct EphemeralPort {
    pub place: Place,
    pub store: Arc<Lossy>,
}

impl EphemeralPort {
    async fn reach(&self) -> Result<Arc<Kept>, EphemeralUnavailable> {
        self.place.step().await;
        self.place.world.travel(4).await;
        let (now_ms, plan) = (self.place.world.now_ms(), &self.place.world.plan);
        let is_out = plan.ephemeral_outages_ms.iter().any(|(from, until)| (*from..*until).contains(&now_ms));
        if (is_out && self.place.world.faults_are_on()) || self.place.world.strikes(plan.ephemeral_down) {
            return Err(EphemeralUnavailable(cause("short-lived state is away")));
        }
        Ok(self.store.now())
    }
}

#[async_trait]
impl Ephemeral for EphemeralPort {
    async fn issue_pin(
        &self,
        slot: &PinSlot,
        pin: StoredPin,
        quota: SendQuota,
        now: Time,
    ) -> Result<Issued, EphemeralUnavailable> {
        self.reach().await?.store.issue_pin(slot, pin, quota, now).await
    }

    async fn redeem_pin(
        &self,
        slot: &PinSlot,
        offered: &PinDigest,
        now: Time,
    ) -> Result<Verdict, EphemeralUnavailable> {
        self.reach().await?.store.redeem_pin(slot, offered, now).await
    }

    async fn pin_proved_at(
        &self,
        slot: &PinSlot,
        within_minutes: u32,
        now: Time,
    ) -> Result<Option<Time>, EphemeralUnavailable> {
        self.reach().await?.store.pin_proved_at(slot, within_minutes, now).await
    }

    async fn forget_number(&self, number: &Msisdn) -> Result<(), EphemeralUnavailable> {
        self.reach().await?.store.forget_number(number).await
    }

    async fn begin_flight(
        &self,
        key: &TransactionKey,
        request: Option<&Compared>,
        ticket: &Ticket,
        ttl: Duration,
    ) -> Result<Flight, EphemeralUnavailable> {
        let kept = self.reach().await?;
        let begun = match request.and_then(|request| kept.answer(key, request)) {
            Some(answer) => Ok(Flight::Answered(answer)),
            None => kept.store.begin_flight(key, request, ticket, ttl).await,
        };
        self.place.step().await;
        if self.place.world.strikes(self.place.world.plan.ephemeral_answer_lost) {
            return Err(EphemeralUnavailable(cause("the answer of short-lived state was lost")));
        }
        if self.place.world.mutation == Mutation::NoUniqueness { Ok(Flight::Begun) } else { begun }
    }

    async fn end_flight(&self, key: &TransactionKey, ticket: &Ticket, left: Option<(&Compared, &FinalAnswer)>) {
        if let Ok(kept) = self.reach().await {
            if let Some(left) = left.filter(|_| self.place.world.plan.keeps_answers) {
                kept.keep(key, left);
            }
            kept.store.end_flight(key, ticket, left).await;
        }
        self.place.step().await;
    }

    async fn await_flight(&self, key: &TransactionKey, wait_max: Duration) -> Result<(), EphemeralUnavailable> {
        let waited = self.reach().await?.store.await_flight(key, wait_max).await;
        self.place.step().await;
        waited
    }

    async fn claim_notification(
        &self,
        key: &NotificationKey,
        content: &ContentDigest,
        ticket: &Ticket,
        now: Time,
    ) -> Result<Claim, EphemeralUnavailable> {
        self.reach().await?.store.claim_notification(key, content, ticket, now).await
    }

    async fn settle_notification(&self, key: &NotificationKey, ticket: &Ticket, texted: Texted) {
        if let Ok(kept) = self.reach().await {
            kept.store.settle_notification(key, ticket, texted).await;
        }
    }

    async fn lease_rate(
        &self,
        partner: &PartnerId,
        rate: SharedRate,
        wanted: u32,
        now: Time,
    ) -> Result<u32, EphemeralUnavailable> {
        self.reach().await?.store.lease_rate(partner, rate, wanted, now).await
    }

    async fn check(&self) -> Result<(), EphemeralUnavailable> {
        self.reach().await?.store.check().await
    }
}

/// Secrets that a seed decides, broken where the mutation says so.
pub struct SecretsPort {
    pub secrets: Arc<SeededSecrets>,
    pub mutation: Mutation,
    pub drawn: AtomicU64,
}

impl Secrets for SecretsPort {
    fn fresh_pin(&self) -> Pin {
        self.secrets.fresh_pin()
    }

    fn fresh_event_id(&self, now: Time) -> EventId {
        self.secrets.fresh_event_id(now)
    }

    fn fresh_correlation_id(&self) -> CorrelationId {
        self.secrets.fresh_correlation_id()
    }

    fn jitter(&self) -> u16 {
        self.secrets.jitter()
    }

    fn pin_digest(&self, partner: &PartnerId, number: &Msisdn, pin: &Pin) -> PinDigest {
        self.secrets.pin_digest(partner, number, pin)
    }

    fn reference(&self, key: &TransactionKey) -> Reference {
        let reference = self.secrets.reference(key);
        if self.mutation != Mutation::ReferencePerAttempt {
            return reference;
        }
        let drawn = u128::from(self.drawn.fetch_add(1, Ordering::Relaxed));
        Reference::from_bytes((u128::from_be_bytes(*reference.as_bytes()) ^ drawn).to_be_bytes())
    }

    fn name_digest(&self, parts: &[&str]) -> [u8; 16] {
        self.secrets.name_digest(parts)
    }

    fn seal(&self, purpose: Purpose, partner: &PartnerId, plain: &[u8]) -> String {
        self.secrets.seal(purpose, partner, plain)
    }

    fn open(&self, purpose: Purpose, partner: &PartnerId, sealed: &str) -> Option<Vec<u8>> {
        self.secrets.open(purpose, partner, sealed)
    }
}
