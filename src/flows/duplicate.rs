//! What a duplicate hears: somebody else works on its transaction, here, at another gateway, or in a reconciliation.
//!
//! Invariant: a duplicate starts nothing. It is answered from the record, and whatever it is told stays true: an outcome
//! is final, "unavailable" means that the intent was given up, and Pending is noted on an intent before it is said, so that
//! it is not given up afterwards. Two cases are left. Of what has no record yet, only whoever decides it knows; the contract
//! has its duplicates hear Pending. And where the ledger does not take the note within a tenth of a second, Pending is said
//! without: should the CSP then apply nothing, the intent may be given up once the ledger is back, and a repeat is what
//! makes it final.

use std::time::Duration;

use super::charge::Ask;
use super::flight::{Answered, LAST_LOOK, Origin, Stage};
use super::forget::recall;
use super::{Gateway, Stop};
use crate::domain::transaction::replay::Recalled;
use crate::domain::transaction::{Refusal, State, Transaction, settle};
use crate::ports::Cause;
use crate::ports::ledger::Commit;

/// How often a record that somebody else works on is looked at again.
const RECORD_POLL: Duration = Duration::from_millis(25);
/// Most looks at a record that changes each time before it can be noted on.
const LOOKS_MAX: u32 = 5;

/// What a flight has left in the ledger.
pub(super) enum Left {
    /// Its outcome.
    Final(Box<Transaction>),
    /// A record that somebody works on.
    Underway,
    /// Nothing that anybody works on.
    NoTrace,
}

/// What the flight that was waited for has left so far; `None` where the ledger does not say.
pub(super) async fn left_behind(gateway: &Gateway, ask: &Ask) -> Option<Left> {
    let recalled = tokio::time::timeout(ask.caller.time_left(), gateway.ledger.recall(&ask.request.key)).await;
    let record = recalled.ok()?.ok()?;
    Some(match (recall(gateway, ask, record.as_ref()), record) {
        (Recalled::Final, Some(record)) => Left::Final(Box::new(record)),
        (Recalled::Underway, _) => Left::Underway,
        (Recalled::Final | Recalled::Fresh | Recalled::Another | Recalled::Orphan | Recalled::Released, _) => {
            Left::NoTrace
        }
    })
}

/// What a duplicate hears whose time is up: Pending, unless there is an outcome, or the key belongs to another request.
pub(super) async fn out_of_time(gateway: &Gateway, ask: &Ask) -> Result<Answered, Stop> {
    let seen = tokio::time::timeout(LAST_LOOK, last_look(gateway, ask)).await;
    seen.unwrap_or_else(|_elapsed| Ok(Answered::pending(ask, Origin::Replayed)))
}

async fn last_look(gateway: &Gateway, ask: &Ask) -> Result<Answered, Stop> {
    for _ in 0..LOOKS_MAX {
        let Ok(record) = gateway.ledger.recall(&ask.request.key).await else {
            break;
        };
        match (recall(gateway, ask, record.as_ref()), &record) {
            (Recalled::Another, _) => return Err(Refusal::AlreadyUsed.into()),
            (Recalled::Final, Some(record)) => return Ok(Answered::replayed(record)),
            (Recalled::Released, _) => return Err(given_up()),
            (Recalled::Underway, Some(record)) if promise(gateway, record).await => break,
            (Recalled::Underway, Some(_)) => {}
            (Recalled::Fresh | Recalled::Orphan, _) | (Recalled::Final | Recalled::Underway, None) => break,
        }
    }
    Ok(Answered::pending(ask, Origin::Replayed))
}

/// Notes on an intent that somebody was told Pending, so that whoever works on it cannot give it up any more: what was
/// told Pending becomes final. False: the record has changed meanwhile.
async fn promise(gateway: &Gateway, record: &Transaction) -> bool {
    let Some(unit) = settle::called_pending(record) else {
        return true;
    };
    !matches!(gateway.ledger.commit(unit).await, Ok(Commit::Conflict))
}

/// Waits for a record that another gateway, or a reconciliation, is working on, as long as the caller does.
pub(super) async fn watch_record(
    gateway: &Gateway,
    ask: &Ask,
    found: Transaction,
    stage: &Stage,
) -> Result<Answered, Stop> {
    stage.watching();
    let mut record = found;
    while is_underway(record.state) && !ask.caller.time_left().is_zero() {
        tokio::time::sleep(RECORD_POLL.min(ask.caller.time_left())).await;
        match gateway.ledger.recall(&ask.request.key).await {
            Ok(Some(newer)) => record = newer,
            Ok(None) | Err(_) => break,
        }
    }
    // Whoever waited for this is told Pending now.
    while is_underway(record.state) && !promise(gateway, &record).await {
        match gateway.ledger.recall(&ask.request.key).await {
            Ok(Some(newer)) => record = newer,
            Ok(None) | Err(_) => break,
        }
    }
    reread(&record)
}

const fn is_underway(state: State) -> bool {
    match state {
        State::Pending | State::Unknown => true,
        State::Success | State::Failure | State::Released => false,
    }
}

/// The answer that a record gives which somebody else has worked on. A released one will not become final by itself, so
/// that Pending would be a promise that nobody keeps.
pub(super) fn reread(record: &Transaction) -> Result<Answered, Stop> {
    if record.state == State::Released {
        return Err(given_up());
    }
    Ok(Answered::replayed(record))
}

fn given_up() -> Stop {
    Stop::Unavailable(Cause::new("it was given up before anything happened"))
}
