//! The port of state that may be lost at any moment without harm to money: PINs, who works on which key, what was
//! answered last, and which notifications were sent.
//!
//! Invariant: nothing here decides whether money moves. Losing it costs PINs in flight and a little speed. `now` is
//! always an argument, so that the gateway's clock rules; a store's own expiry only collects garbage. Each verb is one
//! round trip.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Cause;
use crate::domain::Time;
use crate::domain::address::Msisdn;
use crate::domain::directory::SendQuota;
use crate::domain::ids::{InstanceId, PartnerId};
use crate::domain::notification::{Claim, ContentDigest, NotificationKey};
use crate::domain::pin::{PinDigest, StoredPin, Verdict};
use crate::domain::rate::SharedRate;
use crate::domain::transaction::{Compared, Status, TransactionKey};

/// The store cannot answer. Charges go on without it; PIN calls are refused with 503.
#[derive(Debug, Clone)]
pub struct EphemeralUnavailable(pub Cause);

/// Whose PIN: PINs and tries belong to a partner and a number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PinSlot {
    /// The partner.
    pub partner: PartnerId,
    /// The number.
    pub number: Msisdn,
}

/// What came of keeping a new PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issued {
    /// It is kept, the one before is void, and the send is counted.
    Kept,
    /// One send too many: nothing changed.
    QuotaReached {
        /// Seconds after which a send is allowed again.
        retry_after_s: u32,
    },
}

/// Names one attempt to work on a key, so that nobody ends the flight of somebody else: one that is late would, once its
/// time is up and the next has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket(String);

impl Ticket {
    /// The ticket of an attempt that a running gateway has numbered.
    #[must_use]
    pub fn new(instance: &InstanceId, number: u64) -> Self {
        Self(format!("{}-{number}", instance.as_str()))
    }

    /// As a store keeps it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What came of asking to work on a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flight {
    /// Nobody else does: it is ours until it is ended, or its time is up.
    Begun,
    /// Somebody else does.
    Underway,
    /// There is no need: the same request was answered a short while ago.
    Answered(FinalAnswer),
}

/// The answer of a transaction whose outcome is final, and durable in the ledger. It never changes, so that who still
/// knows it may give it again without asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalAnswer {
    /// Success or Failure.
    pub status: Status,
    /// The text for people.
    pub description: Arc<str>,
}

/// What came of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Texted {
    /// The CSP has taken it.
    Sent,
    /// It is certain that it was not sent.
    NotSent,
}

/// Short-lived shared state.
#[async_trait]
pub trait Ephemeral: Send + Sync {
    /// Keeps a new PIN if the quotas allow one more send, and counts the send.
    async fn issue_pin(
        &self,
        slot: &PinSlot,
        pin: StoredPin,
        quota: SendQuota,
        now: Time,
    ) -> Result<Issued, EphemeralUnavailable>;

    /// Judges a try by the rules of `domain::pin`, keeps what they say, and remembers when one was right.
    async fn redeem_pin(&self, slot: &PinSlot, offered: &PinDigest, now: Time)
    -> Result<Verdict, EphemeralUnavailable>;

    /// When a PIN of this slot was last right, within the last `within_minutes`.
    async fn pin_proved_at(
        &self,
        slot: &PinSlot,
        within_minutes: u32,
        now: Time,
    ) -> Result<Option<Time>, EphemeralUnavailable>;

    /// Forgets PINs, tries and counted sends of a number, for all partners.
    async fn forget_number(&self, number: &Msisdn) -> Result<(), EphemeralUnavailable>;

    /// Asks to be the only one who works on a key, for at most `ttl`. Where `request` is given and a flight of the very
    /// same request has left its final answer, a store that still knows it may answer that instead; another request under
    /// the key is never answered so.
    async fn begin_flight(
        &self,
        key: &TransactionKey,
        request: Option<&Compared>,
        ticket: &Ticket,
        ttl: Duration,
    ) -> Result<Flight, EphemeralUnavailable>;

    /// Ends the flight that was begun with this ticket, if it still is, and wakes those who wait for it. Worth calling
    /// after a beginning of which the answer did not come. `left` is what it has come to, where that is final and
    /// durable: a store may keep it for repeats of the request, for a while.
    async fn end_flight(&self, key: &TransactionKey, ticket: &Ticket, left: Option<(&Compared, &FinalAnswer)>);

    /// Waits until the flight of a key has ended, or for `wait_max`, whichever is first.
    async fn await_flight(&self, key: &TransactionKey, wait_max: Duration) -> Result<(), EphemeralUnavailable>;

    /// Takes the id of a notification, by the rules of `domain::notification`, for a request with this content.
    async fn claim_notification(
        &self,
        key: &NotificationKey,
        content: &ContentDigest,
        ticket: &Ticket,
        now: Time,
    ) -> Result<Claim, EphemeralUnavailable>;

    /// Says what came of the text for which an id was taken with this ticket: it is remembered, or the id is free again.
    /// `NotSent` is worth telling after a claim of which the answer did not come.
    async fn settle_notification(&self, key: &NotificationKey, ticket: &Ticket, texted: Texted);

    /// Takes up to `wanted` calls of a partner's rate for this gateway alone, by the rules of `domain::rate`: how many it
    /// got. For a worker that fetches a share now and then, not for every call.
    async fn lease_rate(
        &self,
        partner: &PartnerId,
        rate: SharedRate,
        wanted: u32,
        now: Time,
    ) -> Result<u32, EphemeralUnavailable>;

    /// Whether the store answers.
    async fn check(&self) -> Result<(), EphemeralUnavailable>;
}
