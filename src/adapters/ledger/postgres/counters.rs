//! Counters of spend limits: how they are locked, and how they are written.
//!
//! Invariant: counters are made and locked in the order of their names, after the records of a batch and before any new
//! record, as every gateway does; each is written once for a batch. Whether one has room is decided in `plan`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::error::Trouble;
use super::plan::Plan;
use super::rows::{Fields, stored};
use crate::domain::limits::CounterName;
use crate::domain::transaction::UnitOfWork;

/// Makes counters that are not there, so that each can be locked.
pub(super) const MAKE: &str = "\
INSERT INTO counters (name, used_minor) SELECT n.name, 0 FROM unnest($1::text[]) AS n (name) ON CONFLICT (name) DO NOTHING";

/// Counters, locked in the order of their names.
pub(super) const LOCK: &str = "\
SELECT k.place, c.used_minor FROM unnest($1::text[], $2::bigint[]) AS k (name, place) \
JOIN counters AS c ON c.name = k.name ORDER BY c.name FOR UPDATE OF c";

/// What counters stand at.
pub(super) const WRITE: &str = "\
UPDATE counters AS c SET used_minor = n.used_minor \
FROM unnest($1::text[], $2::bigint[]) AS n (name, used_minor) WHERE c.name = n.name";

/// The counters of a batch, in the order of their names as they are stored.
pub(super) struct Counters<'a> {
    names: Vec<&'a CounterName>,
    stored: Vec<Cow<'a, str>>,
    places: Vec<i64>,
}

impl<'a> Counters<'a> {
    pub(super) fn of(units: &[&'a UnitOfWork]) -> Self {
        let names: BTreeSet<&CounterName> =
            units.iter().flat_map(|unit| &unit.counters).map(|change| &change.counter).collect();
        let mut sorted: Vec<_> = names.into_iter().map(|name| (stored(name.as_str()), name)).collect();
        sorted.sort();
        let places = (0_i64..).take(sorted.len()).collect();
        let (stored, names) = sorted.into_iter().unzip();
        Self { names, stored, places }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) const fn rows(&self) -> usize {
        self.names.len()
    }

    /// What goes with [`MAKE`].
    pub(super) fn to_make(&self) -> [&(dyn ToSql + Sync); 1] {
        [&self.stored]
    }

    /// What goes with [`LOCK`].
    pub(super) fn to_lock(&self) -> [&(dyn ToSql + Sync); 2] {
        [&self.stored, &self.places]
    }

    /// What they stand at.
    pub(super) fn locked(&self, rows: &[Row]) -> Result<BTreeMap<CounterName, i64>, Trouble> {
        if rows.len() != self.names.len() {
            return Err(Trouble::Unreadable(0));
        }
        let mut used = BTreeMap::new();
        for row in rows {
            let mut fields = Fields::of(row);
            let place: usize = fields.number()?;
            if let Some(name) = self.names.get(place) {
                used.insert((*name).clone(), fields.number()?);
            }
        }
        Ok(used)
    }
}

/// What goes with [`WRITE`].
pub(super) struct Used<'a> {
    names: Vec<Cow<'a, str>>,
    used_minor: Vec<i64>,
}

impl<'a> Used<'a> {
    pub(super) fn of(plan: &'a Plan) -> Self {
        let (names, used_minor) = plan.counters().map(|(name, used_minor)| (stored(name.as_str()), used_minor)).unzip();
        Self { names, used_minor }
    }

    pub(super) fn rows(&self) -> usize {
        self.names.len()
    }

    pub(super) fn values(&self) -> [&(dyn ToSql + Sync); 2] {
        [&self.names, &self.used_minor]
    }
}
