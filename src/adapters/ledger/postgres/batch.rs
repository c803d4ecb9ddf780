//! Commits a batch of units of work in one transaction of PostgreSQL.
//!
//! Invariant: rows are locked in the order of their keys, and after them counters in the order of their names, before
//! anything is judged, and new keys are written in that order after it, so that two gateways wait for one another and never in a circle; one that does all the same is told
//! so by the server and begins again. The table decides whether a key is new. No unit is answered before the server has
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
use super::rows::{Fields, stored};
use super::statements::{self, Advances, Decisions, Events, Inserts, Notes, Postings, Shares, TakeUps};
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
    advance: Statement,
    note: Statement,
    post: Statement,
    tell: Statement,
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
            advance: client.prepare(statements::ADVANCE).await?,
            note: client.prepare(statements::NOTE).await?,
            post: client.prepare(statements::POST).await?,
            tell: client.prepare(statements::TELL).await?,
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

    /// Commits what fits of a batch, and answers what became of each unit.
    pub(super) async fn commit(&self, units: &[&UnitOfWork]) -> Result<Vec<Fate>, Failed> {
        match self.transact(units).await {
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

    async fn transact(&self, units: &[&UnitOfWork]) -> Result<Vec<Fate>, Failed> {
        let (keys, counters) = (keys_to_lock(units), Counters::of(units));
        let begun = if keys.is_empty() && counters.is_empty() { Begun::NotYet } else { Begun::Already };
        let (rows, used) = match begun {
            Begun::NotYet => (BTreeMap::new(), BTreeMap::new()),
            Begun::Already => self.lock(&keys, &counters).await.map_err(Failed::NotKept)?,
        };
        let mut plan = Plan::of(units, rows, used);
        let inserts = Inserts::of(units, &plan, self.slot);
        // What depends on which of the new records are new indeed can only be written when that is known.
        let waits = inserts.places.iter().any(|place| units.get(*place).is_some_and(|unit| depends_on_its_row(unit)));
        if waits {
            let returned = self.query(&self.insert, &inserts.values()).await.map_err(Failed::NotKept)?;
            late(&mut plan, units, &inserts, &returned).map_err(Failed::NotKept)?;
            self.write(units, &plan, None, Begun::Already).await?;
            return Ok(plan.fates);
        }
        let returned = self.write(units, &plan, Some(&inserts), begun).await?;
        // Already kept: what cannot be read of the answer makes it unknown.
        late(&mut plan, units, &inserts, &returned).map_err(Failed::NotKnown)?;
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

    /// Writes everything and commits, in one flight. Answers which records were new.
    async fn write(
        &self,
        units: &[&UnitOfWork],
        plan: &Plan,
        inserts: Option<&Inserts<'_>>,
        transaction: Begun,
    ) -> Result<Vec<Row>, Failed> {
        let (shares, used) = (Shares::of(plan), Used::of(plan));
        let (take_ups, advances) = (TakeUps::of(units, plan), Advances::of(units, plan));
        let (notes, postings) = (Notes::of(units, plan), Postings::of(units, plan));
        let (events, decisions) = (Events::of(units, plan), Decisions::of(units, plan));
        let (share_values, take_up_values, advance_values) = (shares.values(), take_ups.values(), advances.values());
        let used_values = used.values();
        let (note_values, posting_values) = (notes.values(), postings.values());
        let (event_values, decision_values) = (events.values(), decisions.values());
        let begin = async {
            match transaction {
                Begun::Already => Ok(()),
                Begun::NotYet => self.client().batch_execute(statements::BEGIN).await.map_err(Trouble::from),
            }
        };
        let insert = async {
            match inserts {
                Some(inserts) if !inserts.places.is_empty() => self.query(&self.insert, &inserts.values()).await,
                Some(_) | None => Ok(Vec::new()),
            }
        };
        let (begin, insert, counts, shares, take_ups, advances, notes, postings, events, decisions, end) = tokio::join!(
            biased;
            begin,
            insert,
            self.execute(&self.count, used.rows(), &used_values),
            self.execute(&self.shares, shares.rows(), &share_values),
            self.execute(&self.take_up, take_ups.rows(), &take_up_values),
            self.execute(&self.advance, advances.rows(), &advance_values),
            self.execute(&self.note, notes.rows(), &note_values),
            self.execute(&self.post, postings.rows(), &posting_values),
            self.execute(&self.tell, events.rows(), &event_values),
            self.execute(&self.decide, decisions.rows(), &decision_values),
            self.client().batch_execute("COMMIT")
        );
        // The first error is the cause; those after it only say that the transaction is broken.
        begin.map_err(after_the_commit_was_sent)?;
        let rows = insert.map_err(after_the_commit_was_sent)?;
        for written in [counts, shares, take_ups, advances, notes, postings, events, decisions] {
            written.map_err(after_the_commit_was_sent)?;
        }
        end.map_err(|error| after_the_commit_was_sent(error.into()))?;
        Ok(rows)
    }

    async fn query(&self, statement: &Statement, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Trouble> {
        Ok(self.client().query(statement, values).await?)
    }

    /// Writes rows, if there are any.
    async fn execute(&self, statement: &Statement, rows: usize, values: &[&(dyn ToSql + Sync)]) -> Result<(), Trouble> {
        if rows == 0 {
            return Ok(());
        }
        Ok(self.client().execute(statement, values).await.map(drop)?)
    }
}

/// Whether the transaction has been begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    Already,
    NotYet,
}

/// What an error means that came when the commit was on its way: where the server says that it gave the transaction
/// back, or refuses one of its statements, nothing was kept. Of anything else nobody knows.
fn after_the_commit_was_sent(trouble: Trouble) -> Failed {
    if trouble.is_undone() || trouble.is_a_units_fault() { Failed::NotKept(trouble) } else { Failed::NotKnown(trouble) }
}

/// Rows and counters as they are locked.
type LockedRows = (BTreeMap<TransactionKey, Locked>, BTreeMap<CounterName, i64>);

/// Whether what belongs to a unit that begins a record can only be written once the record is: a share of a charge and what
/// counters hold, which must not be taken for a record that is somebody else's, and an event, which needs its number.
fn depends_on_its_row(unit: &UnitOfWork) -> bool {
    unit.hold.is_some() || !unit.counters.is_empty() || unit.event.is_some()
}

/// Records that units change, and charges that they take a share of.
fn keys_to_lock<'a>(units: &[&'a UnitOfWork]) -> BTreeSet<&'a TransactionKey> {
    let own = units.iter().filter(|unit| unit.expected != Expected::Absent).map(|unit| &unit.transaction.key);
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
    let mut new = BTreeSet::new();
    for row in returned {
        let mut fields = Fields::of(row);
        let key = fields.key()?;
        plan.is_numbered(&key, fields.number()?);
        new.insert(key);
    }
    for place in &inserts.places {
        if let Some(unit) = units.get(*place).filter(|unit| !new.contains(&unit.transaction.key)) {
            plan.is_late(*place, unit);
        }
    }
    Ok(())
}
