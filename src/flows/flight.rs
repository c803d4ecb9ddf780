//! One flight per key: who works, who waits, and what a caller hears whose time is up.
//!
//! Invariant: a caller is told "unavailable" only if nothing will happen; the one place where that is settled is
//! [`Stage`]. From a durable intent on the work belongs to the gateway: a caller that hangs up, or whose deadline ends,
//! stops nothing. A duplicate waits for the flight that is under way and then reads what it left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::charge::{Ask, work};
use super::duplicate::{Left, left_behind, out_of_time};
use super::{Gateway, Stop, about};
use crate::domain::catalogue::outcome;
use crate::domain::ids::ExtTransactionId;
use crate::domain::transaction::{Status, Transaction};
use crate::ports::Cause;
use crate::ports::ephemeral::{EphemeralUnavailable, FinalAnswer, Flight, Ticket};
use crate::ports::measures::FLIGHTS_MISSED;

/// How long a duplicate waits for a flight of which the ledger shows nothing: longer than deciding should take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a caller whose time is up may take to see what it has waited for.
pub(super) const LAST_LOOK: Duration = Duration::from_millis(100);

/// Whether a call has started the work that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It has.
    Started,
    /// It has not: the answer carries `idempotency-replayed: true`.
    Replayed,
}

/// The answer of POST /transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The id as sent.
    pub ext_transaction_id: ExtTransactionId,
    /// Where it stands.
    pub status: Status,
    /// The text for people.
    pub description: Arc<str>,
    /// Whether this call has started the work.
    pub origin: Origin,
}

impl Answered {
    /// The answer that a record gives to the call that started it.
    #[must_use]
    pub fn started(record: &Transaction) -> Self {
        Self::of(record, Origin::Started)
    }

    /// The answer that a record gives to a repeat.
    #[must_use]
    pub fn replayed(record: &Transaction) -> Self {
        Self::of(record, Origin::Replayed)
    }

    fn of(record: &Transaction, origin: Origin) -> Self {
        Self {
            ext_transaction_id: record.key.ext_transaction_id.clone(),
            status: record.state.status().unwrap_or(Status::Pending),
            description: Arc::from(record.message()),
            origin,
        }
    }

    /// What was answered to the same request before.
    fn again(ask: &Ask, answer: FinalAnswer) -> Self {
        Self {
            ext_transaction_id: ask.request.key.ext_transaction_id.clone(),
            status: answer.status,
            description: answer.description,
            origin: Origin::Replayed,
        }
    }

    /// The answer as repeats may be given it without a look into the ledger. What is not Pending was read of a record
    /// that the ledger has.
    fn to_keep(&self) -> Option<FinalAnswer> {
        match self.status {
            Status::Success | Status::Failure => {
                Some(FinalAnswer { status: self.status, description: Arc::clone(&self.description) })
            }
            Status::Pending => None,
        }
    }

    /// Not known yet.
    pub(super) fn pending(ask: &Ask, origin: Origin) -> Self {
        Self {
            ext_transaction_id: ask.request.key.ext_transaction_id.clone(),
            status: Status::Pending,
            description: Arc::from(outcome::PENDING),
            origin,
        }
    }
}

/// How far a flight has come: the one word between it and its caller.
#[derive(Debug, Default)]
pub struct Stage {
    reached: AtomicU8,
    /// Whether the work that the caller waits for is somebody else's.
    watching: AtomicBool,
}

/// Nothing is durable yet.
const DECIDING: u8 = 0;
/// A record is, and the caller waits for what becomes of it.
const DURABLE: u8 = 1;
/// The caller was told that nothing happened.
const ABANDONED: u8 = 2;
/// The caller was told Pending.
const PROMISED: u8 = 3;
/// The intent is being given up again, and the caller still waits to hear of it.
const RELEASING: u8 = 4;
/// It was given up before the caller heard anything else.
const RELEASED: u8 = 5;

/// What a caller may be told whose time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parting {
    /// Nothing will happen.
    Nothing,
    /// It has begun, and will become final.
    Pending,
    /// The flight is about to say which.
    Soon,
}

impl Stage {
    /// Called by the flight once a record is durable. False: the caller has been told that nothing happened, and so
    /// nothing may.
    pub(super) fn durable(&self) -> bool {
        match self.reached.compare_exchange(DECIDING, DURABLE, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(seen) => seen != ABANDONED,
        }
    }

    /// Whether the caller has been told that nothing happened.
    pub(super) fn is_abandoned(&self) -> bool {
        self.reached.load(Ordering::SeqCst) == ABANDONED
    }

    /// Called by a flight that has found somebody else's record.
    pub(super) fn watching(&self) {
        self.watching.store(true, Ordering::SeqCst);
        self.durable();
    }

    /// Whose work an answer would speak of.
    fn origin(&self) -> Origin {
        if self.watching.load(Ordering::SeqCst) { Origin::Replayed } else { Origin::Started }
    }

    /// Called by the flight before it gives its intent up again. False: the caller has been told Pending, and so it must
    /// become final.
    pub(super) fn release(&self) -> bool {
        self.reached.compare_exchange(DURABLE, RELEASING, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Called by the flight once its intent is durably given up. False: the caller has been told Pending meanwhile.
    pub(super) fn released(&self) -> bool {
        self.reached.compare_exchange(RELEASING, RELEASED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Whether the caller has been told Pending.
    pub(super) fn is_promised(&self) -> bool {
        self.reached.load(Ordering::SeqCst) == PROMISED
    }

    /// Called by the caller who waits no longer for word of a release. False: there is word.
    fn promise(&self) -> bool {
        self.reached.compare_exchange(RELEASING, PROMISED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Called by the caller whose time is up.
    fn part(&self) -> Parting {
        let parted = self.reached.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |seen| match seen {
            DECIDING => Some(ABANDONED),
            DURABLE => Some(PROMISED),
            _ => None,
        });
        match parted {
            Ok(DECIDING) | Err(ABANDONED | RELEASED) => Parting::Nothing,
            Err(RELEASING) => Parting::Soon,
            Ok(_) | Err(_) => Parting::Pending,
        }
    }
}

/// Answers a request: by starting the flight of its key, or by waiting for the one that is under way.
pub(super) async fn answer(gateway: &Arc<Gateway>, ask: Ask) -> Result<Answered, Stop> {
    let ttl = Duration::from_secs(u64::from(gateway.bounds.lease_s));
    let began = Instant::now();
    let ticket = gateway.ticket();
    let patience = PATIENCE.min(ask.caller.time_left().checked_div(2).unwrap_or_default());
    loop {
        match gateway.ephemeral.begin_flight(&ask.request.key, Some(&ask.request.compared), &ticket, ttl).await {
            Ok(Flight::Begun) => return start(gateway, ask, ticket).await.into_answer(),
            Ok(Flight::Answered(answer)) => return Ok(Answered::again(&ask, answer)),
            // Without the store duplicates cannot wait for one another; the ledger still tells them apart.
            Err(error) => {
                alone(&error);
                return start(gateway, ask, ticket).await.into_answer();
            }
            Ok(Flight::Underway) => {}
        }
        let time_left = ask.caller.time_left();
        if time_left.is_zero() {
            return out_of_time(gateway, &ask).await;
        }
        let patience_left = patience.saturating_sub(began.elapsed());
        let wait_max = if patience_left.is_zero() { time_left } else { patience_left };
        if let Err(error) = gateway.ephemeral.await_flight(&ask.request.key, wait_max).await {
            alone(&error);
            return start(gateway, ask, ticket).await.into_answer();
        }
        let waited_long = began.elapsed() >= patience;
        match left_behind(gateway, &ask).await {
            // Of a storm of duplicates only one needs a flight of its own to read the answer.
            Some(Left::Final(record)) => return Ok(Answered::replayed(&record)),
            // A flight of which there is no trace may be one whose end was never told. The ledger tells two apart.
            Some(Left::NoTrace) if waited_long => {
                return match start(gateway, ask.clone(), ticket).await {
                    Told::ByFlight(answer) => answer,
                    // The other flight may be there after all, and then something does happen.
                    Told::Nothing(_) => out_of_time(gateway, &ask).await,
                };
            }
            Some(Left::NoTrace | Left::Underway) | None => {}
        }
    }
}

/// Counts a charge that goes on without a flight. Each of them would be a line of the log while the store is away.
fn alone(error: &EphemeralUnavailable) {
    metrics::counter!(FLIGHTS_MISSED.name).increment(1);
    tracing::debug!(cause = ?error.0, "a charge goes on without a flight");
}

/// What a caller hears who has started a flight.
enum Told {
    /// What the flight has come to, or that it goes on.
    ByFlight(Result<Answered, Stop>),
    /// Its time is up, and its own flight will do nothing.
    Nothing(Cause),
}

impl Told {
    fn into_answer(self) -> Result<Answered, Stop> {
        match self {
            Self::ByFlight(answer) => answer,
            Self::Nothing(cause) => Err(Stop::Unavailable(cause)),
        }
    }
}

/// Starts the flight in a task of its own and waits for it as long as the caller does.
async fn start(gateway: &Arc<Gateway>, ask: Ask, ticket: Ticket) -> Told {
    let stage = Arc::new(Stage::default());
    // Boxed, since a task is moved several times before and after it runs.
    let flight = {
        let (gateway, ask, stage) = (Arc::clone(gateway), ask.clone(), Arc::clone(&stage));
        Box::pin(async move {
            let answer = work(&gateway, &ask, &stage).await;
            let left = answer.as_ref().ok().and_then(Answered::to_keep);
            let left = left.as_ref().map(|left| (&ask.request.compared, left));
            gateway.ephemeral.end_flight(&ask.request.key, &ticket, left).await;
            answer
        })
    };
    let mut task = gateway.tasks.spawn(about::inherited(flight));
    let failed = match tokio::time::timeout(ask.caller.time_left(), &mut task).await {
        Ok(Ok(answer)) => return Told::ByFlight(answer),
        Ok(Err(error)) => Cause::new(error),
        Err(error) => Cause::new(error),
    };
    let pending = Ok(Answered::pending(&ask, stage.origin()));
    Told::ByFlight(match stage.part() {
        Parting::Nothing => return Told::Nothing(failed),
        Parting::Soon if !task.is_finished() => match tokio::time::timeout(LAST_LOOK, task).await {
            Ok(Ok(answer)) => answer,
            // Where the ledger takes longer over the release than anybody waits, nobody knows that nothing happens.
            Ok(Err(_)) | Err(_) if stage.promise() => pending,
            Ok(Err(_)) | Err(_) => Err(Stop::Unavailable(failed)),
        },
        // It has watched somebody else's work, and notes what it says.
        Parting::Pending if stage.origin() == Origin::Replayed => out_of_time(gateway, &ask).await,
        Parting::Soon | Parting::Pending => pending,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flight_and_its_caller_never_both_win() {
        let flight_first = Stage::default();
        assert!(flight_first.durable());
        assert_eq!(flight_first.part(), Parting::Pending);
        let caller_first = Stage::default();
        assert_eq!(caller_first.part(), Parting::Nothing);
        assert!(!caller_first.durable());
    }

    #[test]
    fn what_was_called_pending_is_not_released() {
        let promised = Stage::default();
        assert!(promised.durable());
        assert_eq!(promised.part(), Parting::Pending);
        assert!(!promised.release());
        let released = Stage::default();
        assert!(released.durable() && released.release());
        assert_eq!(released.part(), Parting::Soon);
        assert!(released.released());
        assert!(!released.promise());
        assert_eq!(released.part(), Parting::Nothing);
        let unheard = Stage::default();
        assert!(unheard.durable() && unheard.release() && unheard.promise());
        assert!(!unheard.released() && unheard.is_promised());
    }
}
