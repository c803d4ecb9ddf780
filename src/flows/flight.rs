//! One flight per key: who works, who waits, and what a caller hears whose time is up.
//!
//! Invariant: a caller is told "unavailable" only if nothing will happen; the one place where that is settled is
//! [`Stage`]. From a durable intent on the work belongs to the gateway: a caller that hangs up, or whose deadline ends,
//! stops nothing. A duplicate waits for the flight that is under way and then reads what it left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::charge::{Ask, work};
use super::{Gateway, Stop};
use crate::domain::catalogue::outcome;
use crate::domain::ids::ExtTransactionId;
use crate::domain::transaction::replay::{Recalled, recall};
use crate::domain::transaction::{Refusal, Status, Transaction};
use crate::ports::Cause;
use crate::ports::ephemeral::Flight;

/// How often a record that somebody else works on is looked at again.
const RECORD_POLL: Duration = Duration::from_millis(25);

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

    /// Not known yet.
    fn pending(ask: &Ask, origin: Origin) -> Self {
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
pub struct Stage(AtomicU8);

const DECIDING: u8 = 0;
const DURABLE: u8 = 1;
const ABANDONED: u8 = 2;

impl Stage {
    /// Called by the flight once a record is durable. False: the caller has been told that nothing happened, and so
    /// nothing may.
    pub(super) fn durable(&self) -> bool {
        match self.0.compare_exchange(DECIDING, DURABLE, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(seen) => seen == DURABLE,
        }
    }

    /// Called by the caller whose time is up. True: nothing will happen. False: it may have, so the answer is Pending.
    fn abandon(&self) -> bool {
        self.0.compare_exchange(DECIDING, ABANDONED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// Answers a request: by starting the flight of its key, or by waiting for the one that is under way.
pub(super) async fn answer(gateway: &Arc<Gateway>, ask: Ask) -> Result<Answered, Stop> {
    let ttl = Duration::from_secs(u64::from(gateway.bounds.lease_s));
    loop {
        match gateway.ephemeral.begin_flight(&ask.request.key, ttl).await {
            Ok(Flight::Begun) => return start(gateway, ask).await,
            // Without the store duplicates cannot wait for one another; the ledger still tells them apart.
            Err(error) => {
                tracing::warn!(cause = ?error.0, "flights cannot be shared");
                return start(gateway, ask).await;
            }
            Ok(Flight::Underway) => {
                let time_left = ask.caller.time_left();
                if time_left.is_zero() {
                    return out_of_time(gateway, &ask).await;
                }
                if let Err(error) = gateway.ephemeral.await_flight(&ask.request.key, time_left).await {
                    tracing::warn!(cause = ?error.0, "flights cannot be awaited");
                    return start(gateway, ask).await;
                }
                // Of a storm of duplicates only one needs a flight of its own to read the answer.
                if let Some(answer) = left_behind(gateway, &ask).await {
                    return answer;
                }
            }
        }
    }
}

/// What the flight before has left, where that settles it.
async fn left_behind(gateway: &Gateway, ask: &Ask) -> Option<Result<Answered, Stop>> {
    let record = gateway.ledger.recall(&ask.request.key).await.ok()??;
    match recall(Some(&record), &ask.request.compared, gateway.clock.now()) {
        Recalled::Final => Some(Ok(Answered::replayed(&record))),
        Recalled::Fresh | Recalled::Another | Recalled::Underway | Recalled::Orphan | Recalled::Released => None,
    }
}

/// A duplicate whose time is up hears Pending, unless the key is found to belong to another request.
async fn out_of_time(gateway: &Gateway, ask: &Ask) -> Result<Answered, Stop> {
    let record = gateway.ledger.recall(&ask.request.key).await.unwrap_or_default();
    match (recall(record.as_ref(), &ask.request.compared, gateway.clock.now()), &record) {
        (Recalled::Another, _) => Err(Refusal::AlreadyUsed.into()),
        (Recalled::Final, Some(record)) => Ok(Answered::replayed(record)),
        _ => Ok(Answered::pending(ask, Origin::Replayed)),
    }
}

/// Starts the flight in a task of its own and waits for it as long as the caller does.
async fn start(gateway: &Arc<Gateway>, ask: Ask) -> Result<Answered, Stop> {
    let stage = Arc::new(Stage::default());
    let flight = {
        let (gateway, ask, stage) = (Arc::clone(gateway), ask.clone(), Arc::clone(&stage));
        async move {
            let answer = work(&gateway, &ask, &stage).await;
            gateway.ephemeral.end_flight(&ask.request.key).await;
            answer
        }
    };
    let task = gateway.tasks.spawn(tracing::Instrument::in_current_span(flight));
    match tokio::time::timeout(ask.caller.time_left(), task).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) if !stage.abandon() => Ok(Answered::pending(&ask, Origin::Started)),
        Ok(Err(error)) => Err(Stop::Unavailable(Cause::new(error))),
        Err(error) => Err(Stop::Unavailable(Cause::new(error))),
    }
}

/// Waits for a record that another gateway, or a reconciliation, is working on, as long as the caller does.
pub(super) async fn watch_record(gateway: &Gateway, ask: &Ask, found: Transaction, stage: &Stage) -> Answered {
    stage.durable();
    let mut record = found;
    while !record.state.is_final() && !ask.caller.time_left().is_zero() {
        tokio::time::sleep(RECORD_POLL.min(ask.caller.time_left())).await;
        match gateway.ledger.recall(&ask.request.key).await {
            Ok(Some(newer)) => record = newer,
            Ok(None) | Err(_) => break,
        }
    }
    Answered::replayed(&record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flight_and_its_caller_never_both_win() {
        let flight_first = Stage::default();
        assert!(flight_first.durable() && !flight_first.abandon());
        let caller_first = Stage::default();
        assert!(caller_first.abandon() && !caller_first.durable());
    }
}
