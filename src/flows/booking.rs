//! From the intent to the outcome: the only place where the gateway asks a CSP to move money.
//!
//! Invariant: the CSP is called only for a durable intent, under its one reference, and only before its lease ends; what
//! it says is committed with postings and event in one step. Only a request that was not applied is sent again. When the
//! ledger is away, or says no to an outcome, nothing is guessed: the record stays Pending and is reconciled.

use std::time::Duration;

use tokio::time::Instant;

use super::flight::{Answered, Stage};
use super::{Caller, Gateway, Stop, limits};
use crate::domain::directory::Recovery;
use crate::domain::limits::{apply, reached};
use crate::domain::transaction::settle::{self, Heard, Receipt};
use crate::domain::transaction::{Kind, State, Transaction, UnitOfWork};
use crate::ports::Cause;
use crate::ports::csp::{CallContext, ChargeOrder, Csp, CspError, RefundOrder};
use crate::ports::ledger::{Commit, LedgerUnavailable};

/// Most times an outcome is decided anew because somebody else has changed the record.
const CONFLICTS_MAX: u32 = 5;
/// Rest before the ledger is asked for the first time what became of a release.
pub(super) const LEDGER_PAUSE: Duration = Duration::from_millis(50);
/// Most rest between two such questions.
const LEDGER_PAUSE_MAX: Duration = Duration::from_secs(1);

/// What became of an intent.
pub(super) enum Opened {
    /// It is durable, and the caller waits or has hung up: go on.
    Durable(Box<Transaction>),
    /// The ledger has moved on: decide again.
    Conflict,
    /// The caller was told that nothing happened; the intent is given up again.
    Abandoned,
    /// A spend limit has no room for it: this Failure was committed instead.
    Over(Box<Transaction>),
}

/// Step d: makes the intent durable, if the spend limits have room for it.
pub(super) async fn open(
    gateway: &Gateway,
    mut unit: UnitOfWork,
    caller: &Caller,
    stage: &Stage,
) -> Result<Opened, Stop> {
    if learns_by_resending(gateway, &unit.transaction) {
        settle::not_sent_yet(&mut unit);
    }
    let fits = match gateway.directory.csp(&unit.transaction.account.csp) {
        Some(profile) => apply(&mut unit, profile),
        None => Ok(()),
    };
    let (mut record, expected) = (unit.transaction.clone(), unit.expected);
    if let Err(over) = fits {
        return limits::refuse(gateway, &record, expected, &over, stage).await;
    }
    let step = caller.trail.step("ledger commit intent");
    let version = match step.end(gateway.ledger.commit(unit).await)? {
        Commit::Done { version } => version,
        Commit::Conflict => return Ok(Opened::Conflict),
        Commit::Over { counter } => {
            return match reached(&record, counter) {
                Some(over) => limits::refuse(gateway, &record, expected, &over, stage).await,
                None => Ok(Opened::Conflict),
            };
        }
    };
    record.version = version;
    record.state = State::Pending;
    if stage.durable() {
        return Ok(Opened::Durable(Box::new(record)));
    }
    give_up(gateway, &record).await;
    Ok(Opened::Abandoned)
}

/// Releases an intent whose caller has been told that nothing happened. Where even that fails, its lease runs out and
/// reconciliation finds that the CSP has never heard of it.
async fn give_up(gateway: &Gateway, record: &Transaction) {
    let heard = Heard::NotApplied("the caller's deadline ran out before the CSP was called".to_owned());
    if let Err(error) = conclude(gateway, record.clone(), &heard).await {
        tracing::warn!(reference = %record.reference, cause = ?error.0, "an intent could not be released");
    }
}

/// Steps e to h: asks the CSP and commits what it said.
pub(super) async fn book(
    gateway: &Gateway,
    record: Transaction,
    caller: &Caller,
    stage: &Stage,
    leased_until: Instant,
) -> Result<Answered, Stop> {
    let record = match note_sending(gateway, record).await {
        Ok(noted) => noted,
        Err(unsent) => return Ok(Answered::started(&unsent)),
    };
    let heard = match send(gateway, &record, caller, leased_until).await {
        Heard::NotApplied(note) if stage.release() => {
            let _step = caller.trail.step("ledger release");
            return release(gateway, record, note, stage, leased_until).await;
        }
        // The caller has been told Pending: an inquiry makes it final.
        Heard::NotApplied(note) => Heard::Unclear(note),
        heard @ (Heard::Booked(_) | Heard::Refused(_) | Heard::Unclear(_)) => heard,
    };
    let step = caller.trail.step("ledger commit outcome");
    match step.end(conclude(gateway, record.clone(), &heard).await) {
        Ok(concluded) => Ok(Answered::started(&concluded)),
        Err(error) => {
            tracing::error!(reference = %record.reference, cause = ?error.0, "an outcome waits for the ledger");
            Ok(Answered::started(&record))
        }
    }
}

fn learns_by_resending(gateway: &Gateway, record: &Transaction) -> bool {
    gateway.directory.csp(&record.account.csp).is_some_and(|profile| profile.recovery == Recovery::Resend)
}

/// Where an outcome is learnt by sending again: makes it durable that a request was sent, before it is. Else an intent
/// whose commit was not answered, and whose caller heard "unavailable", would be sent by whoever finds it. `Err`: it is
/// not certain, so that nothing is sent; whoever finds the record settles it.
async fn note_sending(gateway: &Gateway, intent: Transaction) -> Result<Transaction, Transaction> {
    if !learns_by_resending(gateway, &intent) {
        return Ok(intent);
    }
    let mut record = intent;
    for _ in 0..CONFLICTS_MAX {
        let unit = settle::about_to_send(&record);
        let noted = unit.transaction.clone();
        let newer = match gateway.ledger.commit(unit).await {
            Ok(Commit::Done { version }) => return Ok(Transaction { version, ..noted }),
            Ok(Commit::Conflict | Commit::Over { .. }) => gateway.ledger.recall(&record.key).await,
            Err(error) => Err(error),
        };
        match newer {
            // A duplicate was told Pending, which changes nothing of what is to be sent.
            Ok(Some(newer)) if is_still_ours(&record, &newer) && settle::was_never_sent(&newer) => record = newer,
            Ok(Some(_) | None) => return Err(record),
            Err(error) => {
                tracing::error!(reference = %record.reference, cause = ?error.0, "nothing is sent without the ledger");
                return Err(record);
            }
        }
    }
    Err(record)
}

/// Whether a record that has changed is an intent that nobody else has taken.
fn is_still_ours(known: &Transaction, newer: &Transaction) -> bool {
    newer.state == State::Pending && newer.lease == known.lease
}

/// Gives an intent up that the CSP did not apply, and tells the caller so once that is durable. Where the ledger does not
/// say whether it is, it is asked until the lease ends; a caller that does not wait so long has heard Pending, and then
/// the record must become final.
async fn release(
    gateway: &Gateway,
    record: Transaction,
    note: String,
    stage: &Stage,
    leased_until: Instant,
) -> Result<Answered, Stop> {
    let decided_on = record.version;
    let mut current = record;
    let mut pause = LEDGER_PAUSE;
    loop {
        let heard = if stage.is_promised() { Heard::Unclear(note.clone()) } else { Heard::NotApplied(note.clone()) };
        match conclude(gateway, current.clone(), &heard).await {
            // A duplicate was told Pending meanwhile, and nobody else works on it: an inquiry makes it final.
            Ok(noted) if is_still_ours(&current, &noted) => {
                let unclear = conclude(gateway, noted.clone(), &Heard::Unclear(note)).await;
                return Ok(Answered::started(&unclear.unwrap_or(noted)));
            }
            Ok(concluded) if concluded.state != State::Released => return Ok(Answered::started(&concluded)),
            Ok(_released) if stage.released() => {
                return Err(Stop::Unavailable(Cause::new("the CSP could not be reached, and nothing was applied")));
            }
            Ok(released) => return Ok(Answered::started(&keep_promise(gateway, released).await)),
            Err(error) => {
                tracing::error!(reference = %current.reference, cause = ?error.0, "a release waits for the ledger");
            }
        }
        if !rest(&mut pause, leased_until).await {
            return Ok(Answered::started(&current));
        }
        match gateway.ledger.recall(&current.key).await {
            Ok(Some(newer)) if newer.version == decided_on || newer.state == State::Released => current = newer,
            Ok(Some(newer)) => return Ok(Answered::started(&newer)),
            Ok(None) | Err(_) => {}
        }
    }
}

/// Makes a released record final whose caller has heard Pending meanwhile, unless somebody has taken it up again. It is
/// tried for as long as a lease is, whatever is left of this flight's own: nothing is sent any more.
pub(super) async fn keep_promise(gateway: &Gateway, released: Transaction) -> Transaction {
    let mut current = released;
    let until = gateway.lease_ends();
    let mut pause = LEDGER_PAUSE;
    while current.state == State::Released {
        let unit = settle::promised(&current, &gateway.moment(&current.key.partner));
        let settled = unit.transaction.clone();
        match gateway.ledger.commit(unit).await {
            Ok(Commit::Done { version }) => {
                gateway.announce(&settled);
                return Transaction { version, ..settled };
            }
            Ok(Commit::Conflict | Commit::Over { .. }) => {}
            Err(error) => {
                tracing::error!(reference = %current.reference, cause = ?error.0, "an outcome waits for the ledger");
            }
        }
        if !rest(&mut pause, until).await {
            break;
        }
        if let Ok(Some(newer)) = gateway.ledger.recall(&current.key).await {
            current = newer;
        }
    }
    current
}

/// Rests before the ledger is asked again, each time longer. False: the time for it ends before that.
pub(super) async fn rest(pause: &mut Duration, until: Instant) -> bool {
    if until.saturating_duration_since(Instant::now()) <= *pause {
        return false;
    }
    tokio::time::sleep(*pause).await;
    *pause = pause.saturating_mul(2).min(LEDGER_PAUSE_MAX);
    true
}

/// Step e: sends the order, and again while it was not applied and there is time.
async fn send(gateway: &Gateway, record: &Transaction, caller: &Caller, leased_until: Instant) -> Heard {
    let Ok((csp, profile)) = gateway.csp(&record.account.csp) else {
        return Heard::NotApplied("the CSP is not configured any more".to_owned());
    };
    let mut pause = Duration::from_millis(u64::from(gateway.bounds.retry_pause_ms));
    let mut attempt: u32 = 1;
    loop {
        let leased = leased_until.saturating_duration_since(Instant::now());
        if leased.is_zero() {
            return Heard::NotApplied("the lease ended before the CSP was called".to_owned());
        }
        // The lease and the call's own time-out count, not the caller's deadline: from here on the work is the gateway's.
        let asking = caller.trail.ask(&profile.id, record.key.kind.word());
        let call = caller.call(profile, &asking, leased);
        let error = match asking.end(order(gateway, record, csp.as_ref(), &call).await) {
            Ok(receipt) => return Heard::Booked(receipt),
            Err(error) => error,
        };
        let cause = match error {
            CspError::Refused { code } => return Heard::Refused(code),
            CspError::Unknown(cause) => return Heard::Unclear(cause.to_note()),
            CspError::NotApplied(cause) => cause,
        };
        if attempt >= gateway.bounds.attempts_max || caller.time_left() <= pause {
            return Heard::NotApplied(cause.to_note());
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2);
        attempt = attempt.saturating_add(1);
    }
}

/// One request to the CSP, charge or refund.
pub(super) async fn order(
    gateway: &Gateway,
    record: &Transaction,
    csp: &dyn Csp,
    call: &CallContext,
) -> Result<Receipt, CspError> {
    let bill_text = record.bill_text().to_owned();
    let account = record.account.reference.clone();
    let charge_code = record.charge_code.clone();
    match (record.key.kind, record.charge_key()) {
        (Kind::Refund, Some(charge)) => {
            let charge = gateway.secrets.reference(&charge);
            let order = RefundOrder {
                reference: record.reference,
                charge,
                account,
                charge_code,
                money: record.money,
                bill_text,
            };
            csp.refund(&order, call).await
        }
        (Kind::Charge, _) | (Kind::Refund, None) => {
            let order =
                ChargeOrder { reference: record.reference, account, charge_code, money: record.money, bill_text };
            csp.charge(&order, call).await
        }
    }
}

/// Steps f to h: settles by the rules and commits, deciding anew where the record has changed meanwhile.
pub(super) async fn conclude(
    gateway: &Gateway,
    record: Transaction,
    heard: &Heard,
) -> Result<Transaction, LedgerUnavailable> {
    let decided_on = record.version;
    let mut current = record;
    for _ in 0..CONFLICTS_MAX {
        if matches!(heard, Heard::NotApplied(_)) && current.version != decided_on {
            // Somebody else has taken it up, and may have sent it anew: what was not applied here says nothing of that.
            return Ok(current);
        }
        if current.state.is_final() {
            note_contradiction(gateway, &current, heard).await;
            return Ok(current);
        }
        let Some(profile) = gateway.directory.csp(&current.account.csp) else {
            return Ok(current);
        };
        let unit = settle::by_answer(&current, heard, profile, &gateway.moment(&current.key.partner));
        if unit.transaction.state == current.state || !current.state.may_become(unit.transaction.state) {
            // Somebody else has settled or asked meanwhile, and what was heard here adds nothing.
            return Ok(current);
        }
        let settled = unit.transaction.clone();
        match gateway.ledger.commit(unit).await? {
            Commit::Done { version } => {
                gateway.announce(&settled);
                return Ok(Transaction { version, ..settled });
            }
            // An outcome takes nothing from a limit, so that it is never over one.
            Commit::Conflict | Commit::Over { .. } => match gateway.ledger.recall(&current.key).await? {
                Some(newer) => current = newer,
                None => return Ok(current),
            },
        }
    }
    Ok(current)
}

/// A late answer that contradicts a final outcome changes nothing, and is not kept quiet.
async fn note_contradiction(gateway: &Gateway, record: &Transaction, heard: &Heard) {
    let Some(unit) = settle::contradicted(record, heard) else {
        return;
    };
    tracing::error!(reference = %record.reference, "the CSP contradicts a final outcome");
    if let Err(error) = gateway.ledger.commit(unit).await {
        tracing::error!(reference = %record.reference, cause = ?error.0, "a contradiction could not be noted");
    }
}
