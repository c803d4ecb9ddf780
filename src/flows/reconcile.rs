//! Reconciliation: outcomes that nobody heard are asked for, until they are known.
//!
//! Invariant: a record is taken by lease before it is asked for, and asked for under its own reference; what the answer
//! means is decided by `domain::transaction::settle`, where "not known" is not "never". Nothing is guessed here.

use std::sync::Arc;
use std::time::Duration;

use super::booking;
use super::flight::Answered;
use super::{Caller, Gateway};
use crate::domain::directory::Recovery;
use crate::domain::ids::CorrelationId;
use crate::domain::transaction::settle::{self, Learnt};
use crate::domain::transaction::{State, Transaction, UnitOfWork};
use crate::ports::csp::{CspError, Inquiry};
use crate::ports::ledger::{Commit, LedgerUnavailable};

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
            let correlation = gateway.secrets.fresh_correlation_id();
            let reference = record.reference;
            if let Err(error) = one(&gateway, record, &correlation, Duration::MAX).await {
                tracing::warn!(%reference, cause = ?error.0, "a record could not be reconciled");
            }
        });
    }
    while running.join_next().await.is_some() {}
    Ok(found)
}

/// A repeat has found a record that nobody works on: asks now, within the caller's time.
pub(super) async fn on_the_spot(gateway: &Gateway, record: Transaction, caller: &Caller) -> Answered {
    match one(gateway, record.clone(), &caller.correlation, caller.time_left()).await {
        Ok(newer) => Answered::replayed(&newer),
        Err(error) => {
            tracing::warn!(reference = %record.reference, cause = ?error.0, "a record could not be reconciled");
            Answered::replayed(&record)
        }
    }
}

/// Takes one record, asks for it, and commits what was learnt. Answers the record as it is afterwards.
async fn one(
    gateway: &Gateway,
    record: Transaction,
    correlation: &CorrelationId,
    time_left: Duration,
) -> Result<Transaction, LedgerUnavailable> {
    let taken = settle::take(&record, gateway.lease(), gateway.clock.now());
    let Some(taken) = commit(gateway, taken).await? else {
        return Ok(gateway.ledger.recall(&record.key).await?.unwrap_or(record));
    };
    let Some(profile) = gateway.directory.csp(&taken.account.csp).cloned() else {
        return Ok(taken);
    };
    let learnt = ask(gateway, &taken, profile.recovery, correlation, time_left).await;
    let unit = settle::by_inquiry(&taken, &learnt, &profile, &gateway.moment(&taken.key.partner));
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
        Commit::Conflict => Ok(None),
    }
}

/// Asks the CSP in the way that its profile names.
async fn ask(
    gateway: &Gateway,
    record: &Transaction,
    recovery: Recovery,
    correlation: &CorrelationId,
    time_left: Duration,
) -> Learnt {
    let Ok((csp, profile)) = gateway.csp(&record.account.csp) else {
        return Learnt::Unclear("the CSP is not configured any more".to_owned());
    };
    let call = Gateway::call(profile, correlation, time_left);
    match recovery {
        Recovery::Inquiry => match csp.inquire(&record.reference, &call).await {
            Ok(Inquiry::Booked(receipt)) => Learnt::Booked(receipt),
            Ok(Inquiry::Refused { code }) => Learnt::Refused(code),
            Ok(Inquiry::NotKnown) => Learnt::NotKnown,
            // A refused inquiry says nothing of the transaction.
            Err(CspError::Refused { code }) => Learnt::Unclear(code),
            Err(CspError::NotApplied(cause) | CspError::Unknown(cause)) => Learnt::Unclear(cause.to_note()),
        },
        Recovery::Resend => match booking::order(gateway, record, csp.as_ref(), &call).await {
            Ok(receipt) => Learnt::Booked(receipt),
            Err(CspError::Refused { code }) => Learnt::Refused(code),
            Err(CspError::NotApplied(cause) | CspError::Unknown(cause)) => Learnt::Unclear(cause.to_note()),
        },
        Recovery::None => Learnt::Unanswerable,
    }
}
