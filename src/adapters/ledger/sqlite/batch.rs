//! Commits a batch of units of work in one transaction of SQLite.
//!
//! Invariant: each unit is judged on its own, on what the units before it have left; one that does not fit writes
//! nothing and disturbs no other. No unit is answered before the whole batch is durable, and when the batch fails none
//! of its answers stands, conflicts included: they were judged on what was not kept. Threads and queues are not here.

use std::slice;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::super::judge::{Change, IllFormed, Judgement, judge};
use super::error::unavailable;
use super::statements;
use crate::domain::limits::CounterChange;
use crate::domain::transaction::UnitOfWork;
use crate::ports::Cause;
use crate::ports::ledger::{Commit, LedgerUnavailable};

/// What became of each unit of a batch, in its order.
pub(super) type Outcomes = Vec<Result<Commit, LedgerUnavailable>>;

/// Commits what fits of a batch.
pub(super) fn commit(connection: &mut Connection, units: &[UnitOfWork]) -> Outcomes {
    match transact(connection, units) {
        Ok(outcomes) => outcomes,
        // One unit broke a rule of the schema, which judging should have found: the others must not suffer for it.
        Err(error) if units.len() > 1 && is_a_units_fault(&error) => {
            units.iter().flat_map(|unit| commit(connection, slice::from_ref(unit))).collect()
        }
        Err(error) => {
            let unavailable = unavailable(error);
            units.iter().map(|_| Err(unavailable.clone())).collect()
        }
    }
}

/// Proves that a unit of work could be committed now, by writing as much and giving it back.
pub(super) fn probe(connection: &Connection) -> Result<(), LedgerUnavailable> {
    statements::fill_probe(connection).and_then(|()| statements::clear_probe(connection)).map_err(unavailable)
}

fn transact(connection: &mut Connection, units: &[UnitOfWork]) -> rusqlite::Result<Outcomes> {
    // Left without a commit, the transaction is rolled back.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut outcomes = Vec::with_capacity(units.len());
    for unit in units {
        let applied = apply(&transaction, unit)?;
        outcomes.push(applied.map_err(|fault| LedgerUnavailable(Cause::new(fault))));
    }
    transaction.commit()?;
    Ok(outcomes)
}

fn apply(connection: &Connection, unit: &UnitOfWork) -> rusqlite::Result<Result<Commit, IllFormed>> {
    let record = &unit.transaction;
    let found = statements::find(connection, &record.key)?;
    let (change, version) = match judge(found.map(|(_, stored)| stored), unit) {
        Ok(Judgement::Write { change, version }) => (change, version),
        Ok(Judgement::Conflict) => return Ok(Ok(Commit::Conflict)),
        Err(fault) => return Ok(Err(fault)),
    };
    // First what may still turn out not to fit: when it does, nothing has been written yet.
    if let Some(counter) = first_without_room(connection, &unit.counters)? {
        return Ok(Ok(Commit::Over { counter }));
    }
    if let Some(hold) = &unit.hold
        && !statements::take_share(connection, hold)?
    {
        return Ok(Ok(Commit::Conflict));
    }
    let sequence = match found {
        Some((sequence, _)) => sequence,
        None => statements::insert(connection, record, version)?,
    };
    match change {
        Change::Insert => {}
        Change::TakeUp => {
            statements::take_up(connection, sequence, record)?;
            statements::advance(connection, sequence, record, version)?;
        }
        Change::Move => statements::advance(connection, sequence, record, version)?,
        Change::Note => statements::note(connection, sequence, record, version)?,
    }
    for change in &unit.counters {
        statements::count(connection, change)?;
    }
    statements::post(connection, sequence, &unit.postings)?;
    if let Some(event) = &unit.event {
        statements::tell(connection, sequence, event)?;
    }
    if let Some(decision) = &unit.decision {
        statements::decide(connection, sequence, decision)?;
    }
    Ok(Ok(Commit::Done { version }))
}

/// The place of the first counter that would be above its ceiling. Nobody else writes meanwhile, and what is given back
/// needs no room.
fn first_without_room(connection: &Connection, changes: &[CounterChange]) -> rusqlite::Result<Option<usize>> {
    for (place, change) in changes.iter().enumerate().filter(|(_, change)| change.ceiling_minor.is_some()) {
        if !change.has_room(statements::used_minor(connection, &change.counter)?) {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// Whether an error speaks of one unit, and not of the file or the disk: what was to be written breaks the schema, or
/// (an error that is not SQLite's) a stored row cannot be read.
fn is_a_units_fault(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error_code()
        .is_none_or(|code| matches!(code, ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig))
}
