//! Short-lived state in Redis: for any number of gateways.
//!
//! Invariant: a verb is one round trip and is decided in Redis, in one step, so that concurrent tries on any gateways never
//! get more than the rules allow. The rules are those of `domain::pin`, `domain::rate` and `domain::notification`,
//! retold in `scripts/`; the contract suite holds both against the same claims. Redis may be flushed, restarted or away at any time: verbs then
//! answer `EphemeralUnavailable` within the bound, or find nothing, and nothing has to be repaired afterwards. What is
//! kept, and under which names, is `keys.rs`.

mod connect;
mod keys;
mod link;
mod scripts;
mod waiters;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, FromRedisValue, Value};
use tokio::time::Instant;

pub use connect::{Settings, SettingsError, Tls, Topology};

use connect::Connector;
use keys::{FlightId, GRACE, Keys};
use link::{Link, NoAnswer};
use scripts::Scripts;
use waiters::Waiters;

use crate::domain::Time;
use crate::domain::address::Msisdn;
use crate::domain::directory::SendQuota;
use crate::domain::ids::PartnerId;
use crate::domain::notification::{self, Claim, ContentDigest, NotificationKey};
use crate::domain::pin::{PinDigest, StoredPin, Verdict};
use crate::domain::rate::{AHEAD_MAX_MS, SharedRate};
use crate::domain::transaction::{Compared, Status, TransactionKey};
use crate::ports::Cause;
use crate::ports::ephemeral::{Ephemeral, EphemeralUnavailable, FinalAnswer, Flight, Issued, PinSlot, Texted, Ticket};
use crate::ports::secrets::Secrets;

/// Rest before the first further look at a flight that somebody else is on; it doubles.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
/// Longest rest between two looks: what another gateway's end is heard late by, at most.
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(80);

/// Said of an answer that a gateway of another release, or somebody else, may have left.
const NOT_UNDERSTOOD: &str = "Redis answered what no gateway of this release understands";

/// Short-lived state in Redis.
pub struct RedisEphemeral {
    link: Arc<Link>,
    keys: Keys,
    scripts: Scripts,
    waiters: Waiters,
    proofs_kept: Duration,
    answers_kept: Duration,
}

impl RedisEphemeral {
    /// Begins to connect, and goes on as long as it takes. Called where a runtime runs.
    ///
    /// # Errors
    /// The settings can never work.
    pub fn open(settings: &Settings, secrets: Arc<dyn Secrets>) -> Result<Self, SettingsError> {
        let connector = Connector::new(settings)?;
        Ok(Self {
            link: Link::open(connector, settings),
            keys: Keys::new(&settings.key_prefix, secrets),
            scripts: Scripts::new(),
            waiters: Waiters::default(),
            proofs_kept: settings.proofs_kept,
            answers_kept: settings.answers_kept,
        })
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, EphemeralUnavailable> {
        read(self.link.send(command).await)
    }

    /// The digest of a request whose answer may be known; empty where answers are not kept, or none is asked for.
    fn content(&self, request: Option<&Compared>) -> Vec<u8> {
        let request = request.filter(|_| !self.answers_kept.is_zero());
        request.map(|request| self.keys.content(request).to_vec()).unwrap_or_default()
    }

    async fn is_underway(&self, id: FlightId) -> Result<bool, EphemeralUnavailable> {
        self.ask(redis::cmd("EXISTS").arg(self.keys.flight(id))).await
    }
}

#[async_trait]
impl Ephemeral for RedisEphemeral {
    async fn issue_pin(
        &self,
        slot: &PinSlot,
        pin: StoredPin,
        quota: SendQuota,
        now: Time,
    ) -> Result<Issued, EphemeralUnavailable> {
        let owner = self.keys.owner(&slot.partner);
        let window_ms = u64::from(quota.window_s).saturating_mul(1000);
        let arguments = |command: &mut Cmd| {
            command.arg(&owner[..]).arg(&pin.digest.0[..]);
            command.arg(pin.expires_at.as_millisecond()).arg(pin.tries_left);
            command.arg(quota.per_partner_max).arg(quota.per_address_max);
            command.arg(window_ms).arg(now.as_millisecond()).arg(milliseconds(GRACE));
        };
        let wait_s = read(self.scripts.issue.run(&self.link, &[self.keys.pins(&slot.number)], arguments).await)?;
        Ok(if wait_s == 0 { Issued::Kept } else { Issued::QuotaReached { retry_after_s: wait_s } })
    }

    async fn redeem_pin(
        &self,
        slot: &PinSlot,
        offered: &PinDigest,
        now: Time,
    ) -> Result<Verdict, EphemeralUnavailable> {
        let owner = self.keys.owner(&slot.partner);
        let kept = if self.proofs_kept.is_zero() { Duration::ZERO } else { self.proofs_kept.saturating_add(GRACE) };
        let arguments = |command: &mut Cmd| {
            command.arg(&owner[..]).arg(&offered.0[..]).arg(now.as_millisecond()).arg(milliseconds(kept));
        };
        let keys = [self.keys.pins(&slot.number), self.keys.proofs(&slot.number)];
        let is_right: bool = read(self.scripts.redeem.run(&self.link, &keys, arguments).await)?;
        Ok(if is_right { Verdict::Right } else { Verdict::Wrong })
    }

    async fn pin_proved_at(
        &self,
        slot: &PinSlot,
        within_minutes: u32,
        now: Time,
    ) -> Result<Option<Time>, EphemeralUnavailable> {
        let mut command = redis::cmd("HGET");
        command.arg(self.keys.proofs(&slot.number)).arg(&self.keys.owner(&slot.partner)[..]);
        let proved_ms: Option<i64> = self.ask(&command).await?;
        let within = jiff::SignedDuration::from_mins(i64::from(within_minutes));
        let proved = proved_ms.and_then(|at_ms| Time::from_millisecond(at_ms).ok());
        Ok(proved.filter(|at| now.duration_since(*at) < within))
    }

    async fn forget_number(&self, number: &Msisdn) -> Result<(), EphemeralUnavailable> {
        self.ask(redis::cmd("UNLINK").arg(self.keys.pins(number)).arg(self.keys.proofs(number))).await
    }

    async fn begin_flight(
        &self,
        key: &TransactionKey,
        request: Option<&Compared>,
        ticket: &Ticket,
        ttl: Duration,
    ) -> Result<Flight, EphemeralUnavailable> {
        let id = self.keys.flight_id(key);
        let content = self.content(request);
        let arguments = |command: &mut Cmd| {
            command.arg(ticket.as_str()).arg(milliseconds(ttl).max(1)).arg(&content[..]);
        };
        let begun = self.scripts.begin.run(&self.link, &[self.keys.flight(id), self.keys.answer(id)], arguments).await;
        match read(begun)? {
            Value::Int(1) => Ok(Flight::Begun),
            Value::Int(0) => Ok(Flight::Underway),
            value => String::from_redis_value(value)
                .ok()
                .and_then(|words| answer_from(&words))
                .map(Flight::Answered)
                .ok_or_else(|| EphemeralUnavailable(Cause::new(NOT_UNDERSTOOD))),
        }
    }

    async fn end_flight(&self, key: &TransactionKey, ticket: &Ticket, left: Option<(&Compared, &FinalAnswer)>) {
        let id = self.keys.flight_id(key);
        let content = self.content(left.map(|(request, _)| request));
        let words = left.filter(|_| !content.is_empty()).and_then(|(_, answer)| answer_words(answer));
        let arguments = |command: &mut Cmd| {
            command.arg(ticket.as_str());
            if let Some(words) = &words {
                command.arg(&content[..]).arg(words).arg(milliseconds(self.answers_kept));
            }
        };
        let keys = [self.keys.flight(id), self.keys.answer(id)];
        if let Err(error) = self.scripts.end.run(&self.link, &keys, arguments).await {
            // Its time will end it.
            tracing::debug!(%error, "the end of a flight was not told");
        }
        self.waiters.wake(id);
    }

    async fn await_flight(&self, key: &TransactionKey, wait_max: Duration) -> Result<(), EphemeralUnavailable> {
        let id = self.keys.flight_id(key);
        let waiting = self.waiters.wait(id);
        let began = Instant::now();
        let mut pause = LOOK_PAUSE;
        loop {
            // Made before the look: from here on it hears of an end in this process, however soon that comes.
            let ended = waiting.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if !self.is_underway(id).await? {
                return Ok(());
            }
            let left = wait_max.saturating_sub(began.elapsed());
            let woken = tokio::time::timeout(pause.min(left), ended).await.is_ok();
            if woken || left <= pause {
                return Ok(());
            }
            pause = pause.saturating_mul(2).min(LOOK_PAUSE_MAX);
        }
    }

    async fn claim_notification(
        &self,
        key: &NotificationKey,
        content: &ContentDigest,
        ticket: &Ticket,
        now: Time,
    ) -> Result<Claim, EphemeralUnavailable> {
        let until = notification::remembered_until(now);
        let kept_ms = u64::try_from(notification::REMEMBERED.as_millis()).unwrap_or_default();
        let arguments = |command: &mut Cmd| {
            command.arg(hex(*content)).arg(ticket.as_str()).arg(now.as_millisecond()).arg(until.as_millisecond());
            command.arg(kept_ms.saturating_add(milliseconds(GRACE)));
        };
        let claimed: String =
            read(self.scripts.claim.run(&self.link, &[self.keys.notification(key)], arguments).await)?;
        match claimed.as_str() {
            "begun" => Ok(Claim::Begun),
            "sent" => Ok(Claim::Sent),
            "undecided" => Ok(Claim::Undecided),
            "used" => Ok(Claim::Used),
            _ => Err(EphemeralUnavailable(Cause::new(NOT_UNDERSTOOD))),
        }
    }

    async fn settle_notification(&self, key: &NotificationKey, ticket: &Ticket, texted: Texted) {
        let word = match texted {
            Texted::Sent => "sent",
            Texted::NotSent => "free",
        };
        let arguments = |command: &mut Cmd| {
            command.arg(ticket.as_str()).arg(word);
        };
        if let Err(error) = self.scripts.settle.run(&self.link, &[self.keys.notification(key)], arguments).await {
            // The id stays taken, and nobody texts under it again.
            tracing::warn!(%error, "what came of a notification was not told");
        }
    }

    async fn lease_rate(
        &self,
        partner: &PartnerId,
        rate: SharedRate,
        wanted: u32,
        now: Time,
    ) -> Result<u32, EphemeralUnavailable> {
        let kept_ms = rate.fills_within_ms().saturating_add(milliseconds(GRACE));
        let arguments = |command: &mut Cmd| {
            command.arg(rate.per_second).arg(rate.burst).arg(wanted);
            command.arg(now.as_millisecond()).arg(AHEAD_MAX_MS).arg(kept_ms);
        };
        read(self.scripts.lease.run(&self.link, &[self.keys.rate(partner)], arguments).await)
    }

    async fn check(&self) -> Result<(), EphemeralUnavailable> {
        read::<Value>(self.link.send(&redis::cmd("PING")).await).map(|_pong| ())
    }
}

fn read<T: FromRedisValue>(answer: Result<Value, NoAnswer>) -> Result<T, EphemeralUnavailable> {
    let value = answer.map_err(|error| EphemeralUnavailable(Cause::new(error)))?;
    // What cannot be read is not shown: it may be a value that somebody else has put there.
    T::from_redis_value(value).map_err(|_| EphemeralUnavailable(Cause::new(NOT_UNDERSTOOD)))
}

/// A final answer as it is kept: a letter for the status, and the text.
fn answer_words(answer: &FinalAnswer) -> Option<String> {
    let letter = match answer.status {
        Status::Success => 'S',
        Status::Failure => 'F',
        Status::Pending => return None,
    };
    Some(format!("{letter}{}", answer.description))
}

fn answer_from(words: &str) -> Option<FinalAnswer> {
    let mut letters = words.chars();
    let status = match letters.next()? {
        'S' => Status::Success,
        'F' => Status::Failure,
        _ => return None,
    };
    Some(FinalAnswer { status, description: Arc::from(letters.as_str()) })
}

fn hex(content: ContentDigest) -> String {
    format!("{:032x}", u128::from_be_bytes(content.0))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
