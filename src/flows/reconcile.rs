//! Reconciliation: outcomes that nobody heard are asked for, until they are known.
//!
//! Invariant: a record is taken by lease before it is asked for, and asked for under its own reference; what the answer
//! means is decided by `domain::transaction::settle`, where "not known" is not "never" unless the CSP has made the
//! reference void. Nothing is guessed here.

use std::sync::Arc;
use std::time::Duration;

use super::about::About;
use super::booking;
use super::duplicate::reread;
use super::flight::Answered;
use super::trail::{Asking, Trail};
use super::{Caller, Gateway, Stop, call};
use crate::domain::directory::{Ability, CspProfile, Recovery};
use crate::domain::trace::Trace;
use crate::domain::transaction::settle::{self, Learnt};
use crate::domain::transaction::{State, Transaction, UnitOfWork};
use crate::ports::csp::{CallContext, Csp, CspError, Inquiry, Voiding};
use crate::ports::ephemeral::Flight;
use crate::ports::ledger::{Commit, LedgerUnavailable};
use crate::ports::spans::Side;

/// Most records that one sweep asks for at the same time.
const CONCURRENT_MAX: usize = 16;

/// Asks for every record that is due, at most `rows_max` of them, and answers how many there were.
pub async fn sweep(gateway: &Arc<Gateway>, rows_max: u32) -> Result<usize, LedgerUnavailable> {
    let due = gateway.ledger.due(gateway.clock.now(), rows_max).await?;
    let found = due.len();
    let mut running = tokio::task::JoinSet::new();
    for record in due {
        if running.len() >= CONCURRENT_MAX {
            running.join_next().await;
        }
        let gateway = Arc::clone(gateway);
        running.spawn(async move {
            if let Err(error) = unless_in_flight(&gateway, record).await {
                tracing::warn!(cause = ?error.0, "a record could not be reconciled");
            }
        });
    }
    while running.join_next().await.is_some() {}
    Ok(found)
}

/// Reconciles a record whose key nobody is working on. A lease runs out by the clock, and a clock can jump; a flight
/// that is still on its way to the CSP must not be asked about, or "not known" would be heard too early.
async fn unless_in_flight(gateway: &Gateway, record: Transaction) -> Result<(), LedgerUnavailable> {
    let key = record.key.clone();
    let ttl = Duration::from_secs(u64::from(gateway.bounds.lease_s));
    let ticket = gateway.ticket();
    match gateway.ephemeral.begin_flight(&key, None, &ticket, ttl).await {
        Ok(Flight::Underway) => return Ok(()),
        // What was answered counts for repeats alone: here the ledger says that the record is open.
        Ok(Flight::Begun | Flight::Answered(_)) => {}
        // Without the store the lease alone keeps workers apart.
        Err(error) => tracing::debug!(cause = ?error.0, "a record is reconciled without a flight"),
    }
    let correlation = gateway.secrets.fresh_correlation_id();
    let trace = Trace::begun_by(&correlation);
    let about = About { work: "reconcile", correlation: correlation.clone(), trace };
    let (trail, mut span) = Trail::lead(trace, gateway.spans.as_ref(), Side::Own, "reconcile");
    span.note("onbill.reference", || record.reference.to_string().into());
    let asked = |profile: &CspProfile, asking: &Asking| call(profile, correlation, asking.trace(), Duration::MAX);
    let reconciled = span.end(about.scope(one(gateway, record, &trail, asked)).await);
    gateway.ephemeral.end_flight(&key, &ticket, None).await;
    reconciled.map(|_record| ())
}

/// A repeat has found a record that nobody works on: asks now, within the caller's time.
pub(super) async fn on_the_spot(gateway: &Gateway, record: Transaction, caller: &Caller) -> Result<Answered, Stop> {
    let asked = |profile: &CspProfile, asking: &Asking| caller.call(profile, asking, caller.time_left());
    match one(gateway, record.clone(), &caller.trail, asked).await {
        Ok(newer) => reread(&newer),
        Err(error) => {
            tracing::warn!(reference = %record.reference, cause = ?error.0, "a record could not be reconciled");
            reread(&record)
        }
    }
}

/// Takes one record, asks for it, and commits what was learnt. Answers the record as it is afterwards.
async fn one(
    gateway: &Gateway,
    record: Transaction,
    trail: &Trail,
    call: impl FnOnce(&CspProfile, &Asking) -> CallContext,
) -> Result<Transaction, LedgerUnavailable> {
    let taken = settle::take(&record, gateway.lease(), gateway.clock.now());
    let Some(taken) = commit(gateway, taken).await? else {
        return Ok(gateway.ledger.recall(&record.key).await?.unwrap_or(record));
    };
    let unit = match gateway.csp(&taken.account.csp) {
        Ok((csp, profile)) => {
            let asking = trail.ask(&profile.id, "inquire");
            let learnt = ask(gateway, csp, profile, &taken, &call(profile, &asking)).await;
            drop(asking);
            settle::by_inquiry(&taken, &learnt, profile, &gateway.moment(&taken.key.partner))
        }
        Err(_not_configured) => settle::without_csp(&taken, &gateway.moment(&taken.key.partner)),
    };
    let settled = unit.transaction.state;
    let concluded = match commit(gateway, unit).await? {
        Some(concluded) => concluded,
        None => gateway.ledger.recall(&taken.key).await?.unwrap_or(taken),
    };
    if settled != State::Unknown {
        tracing::info!(reference = %concluded.reference, state = ?concluded.state, "reconciled");
    }
    Ok(concluded)
}

async fn commit(gateway: &Gateway, unit: UnitOfWork) -> Result<Option<Transaction>, LedgerUnavailable> {
    let next = unit.transaction.clone();
    match gateway.ledger.commit(unit).await? {
        Commit::Done { version } => {
            gateway.announce(&next);
            Ok(Some(Transaction { version, ..next }))
        }
        Commit::Conflict | Commit::Over { .. } => Ok(None),
    }
}

/// Asks the CSP in the way that its profile names.
async fn ask(
    gateway: &Gateway,
    csp: &Arc<dyn Csp>,
    profile: &CspProfile,
    record: &Transaction,
    call: &CallContext,
) -> Learnt {
    match (profile.recovery, profile.capabilities.void) {
        (Recovery::Inquiry, _) => match csp.inquire(&record.reference, call).await {
            Ok(Inquiry::Booked(receipt)) => Learnt::Booked(receipt),
            Ok(Inquiry::Refused { code }) => Learnt::Refused(code),
            Ok(Inquiry::NotKnown) if settle::is_to_be_void(record, profile, gateway.clock.now()) => {
                make_void(csp.as_ref(), record, call).await
            }
            Ok(Inquiry::NotKnown) => Learnt::NotKnown,
            Err(error) => unclear(error),
        },
        (Recovery::Resend, _) if settle::was_never_sent(record) => Learnt::NeverSent,
        (Recovery::Resend, _) => match booking::order(gateway, record, csp.as_ref(), call).await {
            Ok(receipt) => Learnt::Booked(receipt),
            Err(CspError::Refused { code }) => Learnt::Refused(code),
            Err(CspError::NotApplied(cause) | CspError::Unknown(cause)) => Learnt::Unclear(cause.to_note()),
        },
        // It tells what it knows of a reference that it does not make void any more.
        (Recovery::None, Ability::Able) => make_void(csp.as_ref(), record, call).await,
        (Recovery::None, Ability::Unable) => Learnt::Unanswerable,
    }
}

/// Has a reference made void, or learns what became of it before.
async fn make_void(csp: &dyn Csp, record: &Transaction, call: &CallContext) -> Learnt {
    match csp.void(&record.reference, call).await {
        Ok(Voiding::Void) => Learnt::Void,
        Ok(Voiding::Booked(receipt)) => Learnt::Booked(receipt),
        Ok(Voiding::Refused { code }) => Learnt::Refused(code),
        Err(error) => unclear(error),
    }
}

/// A question that was refused says nothing of the transaction.
fn unclear(error: CspError) -> Learnt {
    match error {
        CspError::Refused { code } => Learnt::Unclear(code),
        CspError::NotApplied(cause) | CspError::Unknown(cause) => Learnt::Unclear(cause.to_note()),
    }
}
