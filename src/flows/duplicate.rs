//! What a duplicate hears: somebody else works on its transaction, here, at another gateway, or in a reconciliation.
//!
//! Invariant: a duplicate starts nothing. It is answered from the record, and whatever it is told stays true: an outcome
//! is final, "unavailable" means that the intent was given up, and what was told Pending becomes final: that is noted on the
//! intent, so that it is not given up afterwards. Where the ledger does not take the note before the caller must have its
//! answer, it is noted as soon as the ledger is back, and what was given up meanwhile fails. One case is left: of what has
//! no record yet only whoever decides it knows, and the contract has its duplicates hear Pending. Waiting for a flight, and
//! starting one, are in `flight`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::booking::{LEDGER_PAUSE, keep_promise, rest};
use super::charge::Ask;
use super::flight::{Answered, LAST_LOOK, Origin, Stage};
use super::forget::recall;
use super::{Gateway, Stop, about};
use crate::domain::transaction::replay::Recalled;
use crate::domain::transaction::{Refusal, State, Transaction, settle};
use crate::ports::Cause;
use crate::ports::ledger::Commit;

/// How often a record that somebody else works on is looked at again.
const RECORD_POLL: Duration = Duration::from_millis(25);
/// Most pieces of work that go on without a caller, from which on no more is begun to note what was said.
const DETACHED_MAX: usize = 10_000;

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

/// What a look at a record has come to.
enum Seen {
    /// What may be said of it. Of what is Pending it is noted.
    Known(Result<Answered, Stop>),
    /// It was given up.
    GivenUp(Box<Transaction>),
    /// It has changed, or the ledger is away.
    Unknown,
}

/// What a duplicate hears whose time is up: Pending, unless there is an outcome, the intent was given up, or the key belongs to
/// another request.
pub(super) async fn out_of_time(gateway: &Arc<Gateway>, ask: &Ask) -> Result<Answered, Stop> {
    let pending = || Ok(Answered::pending(ask, Origin::Replayed));
    if gateway.tasks.len() >= DETACHED_MAX {
        return pending();
    }
    let (tell, mut told) = oneshot::channel();
    let looking = Box::pin(last_look(Arc::clone(gateway), ask.clone(), tell));
    gateway.tasks.spawn(about::inherited(looking));
    match tokio::time::timeout(LAST_LOOK, &mut told).await {
        Ok(said) => said.unwrap_or_else(|_gone| pending()),
        Err(_elapsed) => {
            // From here on it is known there that Pending was said.
            told.close();
            told.try_recv().unwrap_or_else(|_none| pending())
        }
    }
}

/// Looks at a record, notes on it and tells; for as long as a lease is, where the ledger is away. A caller that did not wait
/// has heard Pending.
async fn last_look(gateway: Arc<Gateway>, ask: Ask, tell: oneshot::Sender<Result<Answered, Stop>>) {
    let (until, mut pause) = (gateway.lease_ends(), LEDGER_PAUSE);
    loop {
        match look(&gateway, &ask).await {
            // Whoever has heard Pending hears nothing else: what is said here is that, or final.
            Seen::Known(said) => return drop(tell.send(said)),
            Seen::GivenUp(released) => {
                if tell.send(Err(given_up())).is_err() {
                    keep_promise(&gateway, *released).await;
                }
                return;
            }
            Seen::Unknown => {}
        }
        if !rest(&mut pause, until).await {
            return;
        }
    }
}

async fn look(gateway: &Gateway, ask: &Ask) -> Seen {
    let Ok(record) = gateway.ledger.recall(&ask.request.key).await else {
        return Seen::Unknown;
    };
    let pending = Seen::Known(Ok(Answered::pending(ask, Origin::Replayed)));
    match (recall(gateway, ask, record.as_ref()), record) {
        (Recalled::Another, _) => Seen::Known(Err(Refusal::AlreadyUsed.into())),
        (Recalled::Final, Some(record)) => Seen::Known(Ok(Answered::replayed(&record))),
        (Recalled::Released, Some(record)) => Seen::GivenUp(Box::new(record)),
        (Recalled::Underway | Recalled::Orphan, Some(record)) if !promise(gateway, &record).await => Seen::Unknown,
        (Recalled::Underway | Recalled::Orphan | Recalled::Fresh, Some(_)) | (_, None) => pending,
    }
}

/// Notes on an intent that somebody was told Pending, so that whoever works on it cannot give it up any more: what was
/// told Pending becomes final. False: the record has changed meanwhile, or the ledger is away.
async fn promise(gateway: &Gateway, record: &Transaction) -> bool {
    let Some(unit) = settle::called_pending(record) else {
        return true;
    };
    matches!(gateway.ledger.commit(unit).await, Ok(Commit::Done { .. }))
}

/// Waits for a record that another gateway, or a reconciliation, is working on, as long as the caller does.
pub(super) async fn watch_record(
    gateway: &Arc<Gateway>,
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
    // Whoever has waited for this is told Pending now.
    if is_underway(record.state) { out_of_time(gateway, ask).await } else { reread(&record) }
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
