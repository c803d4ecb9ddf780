//! Commits a batch of units of work in one transaction of PostgreSQL.
//!
//! Invariant: rows are locked in the order of their keys, and after them counters in the order of their names, before
//! anything is judged; new keys are written in that order after it, and outcomes that need no look come last, in that
//! order too, so that two gateways wait for one another and hardly ever in a circle; one that does all the same is told so
//! by the server and begins again. The table decides whether a key is new. No unit is answered before the server has
//! answered the commit; a commit without an answer is an error, and may have been kept.
//!
//! What can be is sent in one flight, the commit included: after a statement that fails the server makes it a rollback.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::super::judge::Stored;
use super::connect::Connection;
use super::counters::{self, Counters, Used};
use super::error::Trouble;
use super::plan::{Fate, Locked, Plan};
use super::ready::{self, Settlements};
use super::rows::{Fields, stored};
use super::statements::{self, Advances, Decisions, Inserts, Notes, Shares, TakeUps};
use crate::domain::limits::CounterName;
use crate::domain::transaction::{Expected, TransactionKey, UnitOfWork};

/// Whether the commit may have been kept although there was an error.
#[derive(Debug)]
pub(super) enum Failed {
    /// It was not: the commit was not sent, or the server gave it back.
    NotKept(Trouble),
    /// Nobody knows.
    NotKnown(Trouble),
}

impl Failed {
    /// Why.
    pub(super) const fn trouble(&self) -> &Trouble {
        match self {
            Self::NotKept(trouble) | Self::NotKnown(trouble) => trouble,
        }
    }

    /// What an error means that came when the commit was on its way: where the server says that it gave the transaction
    /// back, or refuses one of its statements, nothing was kept. Of anything else nobody knows.
    fn of_the_commit(trouble: Trouble) -> Self {
        if trouble.is_undone() || trouble.is_a_units_fault() { Self::NotKept(trouble) } else { Self::NotKnown(trouble) }
    }

    /// The same of a statement that was sent before the commit, in one flight with it: after whatever the server says
    /// against it, the commit is a rollback.
    fn before_the_commit(trouble: Trouble) -> Self {
        if trouble.is_a_refusal() { Self::NotKept(trouble) } else { Self::of_the_commit(trouble) }
    }
}

/// A connection that writes, with its statements and its slot of the tally.
pub(super) struct Writing {
    connection: Connection,
    slot: i32,
    lock: Statement,
    make_counters: Statement,
    lock_counters: Statement,
    insert: Statement,
    count: Statement,
    shares: Statement,
    take_up: Statement,
    settle: Statement,
    advance: Statement,
    note: Statement,
    decide: Statement,
    probe: Statement,
}

impl Writing {
    pub(super) async fn new(connection: Connection, slot: i32) -> Result<Self, Trouble> {
        let client = &connection.client;
        client.batch_execute(statements::BY_KEY_ONLY).await?;
        Ok(Self {
            slot,
            lock: client.prepare(statements::LOCK).await?,
            make_counters: client.prepare(counters::MAKE).await?,
            lock_counters: client.prepare(counters::LOCK).await?,
            insert: client.prepare(statements::INSERT).await?,
            count: client.prepare(counters::WRITE).await?,
            shares: client.prepare(statements::SHARES).await?,
            take_up: client.prepare(statements::TAKE_UP).await?,
            settle: client.prepare(ready::SETTLE).await?,
            advance: client.prepare(statements::ADVANCE).await?,
            note: client.prepare(statements::NOTE).await?,
            decide: client.prepare(statements::DECIDE).await?,
            probe: client.prepare(statements::PROBE).await?,
            connection,
        })
    }

    /// Whether the other side has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.connection.client.is_closed()
    }

    const fn client(&self) -> &Client {
        &self.connection.client
    }

    /// Proves that a unit of work could be committed now, by committing something that changes nothing.
    pub(super) async fn probe(&self) -> Result<(), Trouble> {
        Ok(self.client().execute(&self.probe, &[&self.slot]).await.map(drop)?)
    }

    /// Commits what fits of a batch, and answers what became of each unit. `looked_at` says of which units it is known
    /// already that their records must be looked at.
    pub(super) async fn commit(&self, units: &[&UnitOfWork], looked_at: &[bool]) -> Result<Vec<Fate>, Failed> {
        match self.transact(units, &ready::ready(units, looked_at)).await {
            Ok(fates) => Ok(fates),
            Err(failed) => {
                if !failed.trouble().ends_the_connection() {
                    // Where the transaction is over already the server takes this for nothing.
                    self.client().batch_execute("ROLLBACK").await.map_err(|error| Failed::NotKept(error.into()))?;
                }
                Err(failed)
            }
        }
    }

    async fn transact(&self, units: &[&UnitOfWork], ready: &[Option<u32>]) -> Result<Vec<Fate>, Failed> {
        let (keys, counters) = (keys_to_lock(units, ready), Counters::of(units));
        let begun = if keys.is_empty() && counters.is_empty() { Begun::NotYet } else { Begun::Already };
        let (rows, used) = match begun {
            Begun::NotYet => (BTreeMap::new(), BTreeMap::new()),
            Begun::Already => self.lock(&keys, &counters).await.map_err(Failed::NotKept)?,
        };
        let mut plan = Plan::of(units, ready, rows, used);
        let inserts = Inserts::of(units, &plan, self.slot);
        let settlements = Settlements::of(units, ready);
        let (returned, settled) = if inserts.waits {
            if begun == Begun::NotYet {
                self.client().batch_execute(statements::BEGIN).await.map_err(|error| Failed::NotKept(error.into()))?;
            }
            let returned = self.query(&self.insert, &inserts.values()).await.map_err(Failed::NotKept)?;
            late(&mut plan, units, &inserts, &returned).map_err(Failed::NotKept)?;
            (Vec::new(), self.write(units, &plan, None, &settlements, Begun::Already).await?.settled)
        } else {
            let written = self.write(units, &plan, Some(&inserts), &settlements, begun).await?;
            (written.new, written.settled)
        };
        // Already kept: what cannot be read of the answer makes it unknown.
        late(&mut plan, units, &inserts, &returned).map_err(Failed::NotKnown)?;
        plan.found(&ready::places(&settled).map_err(Failed::NotKnown)?);
        Ok(plan.fates)
    }

    /// Begins the transaction, and locks rows in the order of their keys and then counters in that of their names.
    async fn lock(&self, keys: &BTreeSet<&TransactionKey>, counters: &Counters<'_>) -> Result<LockedRows, Trouble> {
        let partners: Vec<Cow<'_, str>> = keys.iter().map(|key| stored(key.partner.as_str())).collect();
        let kinds: Vec<&str> = keys.iter().map(|key| key.kind.word()).collect();
        let ids: Vec<&str> = keys.iter().map(|key| key.ext_transaction_id.as_str()).collect();
        let values: [&(dyn ToSql + Sync); 3] = [&partners, &kinds, &ids];
        let (to_make, to_lock) = (counters.to_make(), counters.to_lock());
        let rows = async { if keys.is_empty() { Ok(Vec::new()) } else { self.query(&self.lock, &values).await } };
        let used = async {
            if counters.is_empty() { Ok(Vec::new()) } else { self.query(&self.lock_counters, &to_lock).await }
        };
        let (begun, rows, made, used) = tokio::join!(
            biased;
            self.client().batch_execute(statements::BEGIN),
            rows,
            self.execute(&self.make_counters, counters.rows(), &to_make),
            used
        );
        begun?;
        let rows = rows?.iter().map(locked).collect::<Result<_, _>>()?;
        made?;
        Ok((rows, counters.locked(&used?)?))
    }

    /// Writes everything and commits, in one flight.
    async fn write(
        &self,
        units: &[&UnitOfWork],
        plan: &Plan,
        inserts: Option<&Inserts<'_>>,
        settlements: &Settlements<'_>,
        transaction: Begun,
    ) -> Result<Written, Failed> {
        let (shares, used) = (Shares::of(plan), Used::of(plan));
        let (take_ups, advances) = (TakeUps::of(units, plan), Advances::of(units, plan));
        let (notes, decisions) = (Notes::of(units, plan), Decisions::of(units, plan));
        let (share_values, take_up_values, advance_values) = (shares.values(), take_ups.values(), advances.values());
        let (note_values, decision_values, used_values) = (notes.values(), decisions.values(), used.values());
        let (insert_rows, insert_values) =
            inserts.map(|inserts| (inserts.places.len(), inserts.values())).unwrap_or_default();
        let settlement_values = settlements.values();
        let begin = async {
            match transaction {
                Begun::Already => Ok(()),
                Begun::NotYet => self.client().batch_execute(statements::BEGIN).await.map_err(Trouble::from),
            }
        };
        let (begin, new, counts, shares, take_ups, advances, notes, decisions, settled, end) = tokio::join!(
            biased;
            begin,
            self.returning(&self.insert, insert_rows, &insert_values),
            self.execute(&self.count, used.rows(), &used_values),
            self.execute(&self.shares, shares.rows(), &share_values),
            self.execute(&self.take_up, take_ups.rows(), &take_up_values),
            self.execute(&self.advance, advances.rows(), &advance_values),
            self.execute(&self.note, notes.rows(), &note_values),
            self.execute(&self.decide, decisions.rows(), &decision_values),
            self.returning(&self.settle, settlements.rows(), &settlement_values),
            self.client().batch_execute("COMMIT")
        );
        // The first error is the cause; those after it only say that the transaction is broken.
        begin.map_err(Failed::of_the_commit)?;
        let new = new.map_err(Failed::before_the_commit)?;
        for written in [counts, shares, take_ups, advances, notes, decisions] {
            written.map_err(Failed::before_the_commit)?;
        }
        let settled = settled.map_err(Failed::before_the_commit)?;
        end.map_err(|error| Failed::of_the_commit(error.into()))?;
        Ok(Written { new, settled })
    }

    async fn query(&self, statement: &Statement, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Trouble> {
        Ok(self.client().query(statement, values).await?)
    }

    /// Writes rows, if there are any, and answers what the statement does.
    async fn returning(
        &self,
        statement: &Statement,
        rows: usize,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Trouble> {
        if rows == 0 { Ok(Vec::new()) } else { self.query(statement, values).await }
    }

    /// Writes rows, if there are any.
    async fn execute(&self, statement: &Statement, rows: usize, values: &[&(dyn ToSql + Sync)]) -> Result<(), Trouble> {
        if rows == 0 {
            return Ok(());
        }
        Ok(self.client().execute(statement, values).await.map(drop)?)
    }
}

/// What statements have answered that were kept.
struct Written {
    new: Vec<Row>,
    settled: Vec<Row>,
}

/// Whether the transaction has been begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    Already,
    NotYet,
}

/// Rows and counters as they are locked.
type LockedRows = (BTreeMap<TransactionKey, Locked>, BTreeMap<CounterName, i64>);

/// Records that units change, and charges that they take a share of. What holds on counters is looked up even where it
/// should be new: a key that is taken comes before a counter without room.
fn keys_to_lock<'a>(units: &[&'a UnitOfWork], ready: &[Option<u32>]) -> BTreeSet<&'a TransactionKey> {
    let is_looked_up = |unit: &&&'a UnitOfWork| unit.expected != Expected::Absent || !unit.counters.is_empty();
    let judged = units.iter().zip(ready).filter(|(_, ready)| ready.is_none()).map(|(unit, _)| unit);
    let own = judged.filter(is_looked_up).map(|unit| &unit.transaction.key);
    let charges = units.iter().filter_map(|unit| unit.hold.as_ref()).map(|hold| &hold.charge);
    own.chain(charges).collect()
}

fn locked(row: &Row) -> Result<(TransactionKey, Locked), Trouble> {
    let mut fields = Fields::of(row);
    let sequence = fields.number()?;
    let key = fields.key()?;
    let (state, version, reference) = (fields.state()?, fields.number()?, fields.reference()?);
    let (amount_minor, held_minor, done_minor) = (fields.number()?, fields.number()?, fields.number()?);
    Ok((key, Locked { sequence, stored: Stored { state, version, reference }, amount_minor, held_minor, done_minor }))
}

/// Units that were to begin records which somebody else has begun meanwhile.
///
/// The numbers of the others become known.
fn late(plan: &mut Plan, units: &[&UnitOfWork], inserts: &Inserts<'_>, returned: &[Row]) -> Result<(), Trouble> {
    let begun = inserts.begun(returned)?;
    for (place, number) in begun.numbers {
        if let Some(unit) = units.get(place) {
            plan.is_numbered(&unit.transaction.key, number);
        }
    }
    for place in begun.late {
        if let Some(unit) = units.get(place) {
            plan.is_late(place, unit);
        }
    }
    Ok(())
}
