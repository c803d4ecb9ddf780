//! The ledger's database as people look at it: export, the list of stuck records, and the way in to both.
//!
//! Invariant: nothing is written but temporary tables, nobody waits for a look, and what is handed out was committed
//! together. Rows come in portions, so that memory stays bounded however large the ledger is. Verification is in
//! `verify`. Copies are made with the server's own tools, which know what it needs.

use std::io;
use std::path::Path;

use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Row, Transaction};

use super::super::shown;
use super::connect::{Connection, Connector, Settings};
use super::error::{OpenError, Trouble};
use super::rows::{self, Fields, TRANSACTION, stored};
use super::{schema, verify};
use crate::domain::Time;
use crate::ports::inspection::{
    ExportQuery, Exported, InspectionError, LedgerInspection, Progress, StuckRecord, Verified,
};
use crate::ports::secrets::Secrets;

/// Rows of a portion.
pub(super) const PORTION: i32 = 1000;
/// Whoever looks has time, and must not be taken for a gateway that has left a transaction open.
const PATIENT: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET jit = off";

/// A ledger's database.
#[derive(Debug, Clone)]
pub struct LedgerDatabase {
    settings: Settings,
}

impl LedgerDatabase {
    /// A database, which need not be reachable: each question says whether it is.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Connects, and refuses what is no ledger that this release knows.
    async fn connect(&self) -> Result<Connection, InspectionError> {
        let refused = |error: &OpenError| InspectionError::Refused(error.to_string());
        let connector = Connector::new(&self.settings).map_err(|error| refused(&error))?;
        let connection = connector.connect().await.map_err(|trouble| refused(&OpenError::of(&trouble)))?;
        connection.client.batch_execute(PATIENT).await.map_err(|error| unreadable(&error.into()))?;
        let state = schema::read(&connection.client).await.map_err(|trouble| unreadable(&trouble))?;
        state.admit().map_err(|error| refused(&error))?;
        Ok(connection)
    }
}

/// What the server said. It speaks of tables, never of what is in a row.
pub(super) fn unreadable(trouble: &Trouble) -> InspectionError {
    InspectionError::Unreadable(trouble.to_string())
}

/// Questions are asked one after the other, by whoever waits for the answer.
fn runtime() -> Result<Runtime, InspectionError> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| InspectionError::Refused(format!("no runtime: {error}")))
}

/// One snapshot of everything.
async fn snapshot(connection: &mut Connection) -> Result<Transaction<'_>, InspectionError> {
    let builder = connection.client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
    builder.start().await.map_err(|error| unreadable(&error.into()))
}

impl LedgerInspection for LedgerDatabase {
    fn verify(
        &self,
        secrets: Option<&dyn Secrets>,
        tell: &mut dyn FnMut(&Progress<'_>) -> io::Result<()>,
    ) -> Result<Verified, InspectionError> {
        runtime()?.block_on(async {
            let mut connection = self.connect().await?;
            verify::verify(&snapshot(&mut connection).await?, secrets, tell).await
        })
    }

    fn export(
        &self,
        query: &ExportQuery,
        line: &mut dyn FnMut(&Exported) -> io::Result<()>,
    ) -> Result<u64, InspectionError> {
        runtime()?.block_on(async {
            let mut connection = self.connect().await?;
            let transaction = snapshot(&mut connection).await?;
            let since_us = query.since.map_or(i64::MIN, Time::as_microsecond);
            let until_us = query.until.map_or(i64::MAX, Time::as_microsecond);
            let partner = query.partner.as_ref().map(|partner| stored(partner.as_str()));
            let mut values: Vec<&(dyn ToSql + Sync)> = vec![&since_us, &until_us];
            values.extend(partner.iter().map(|partner| -> &(dyn ToSql + Sync) { partner }));
            let portal = transaction.bind(&export_text(query), &values).await;
            let portal = portal.map_err(|error| unreadable(&error.into()))?;
            let mut lines = 0_u64;
            loop {
                let rows = transaction.query_portal(&portal, PORTION).await;
                let rows = rows.map_err(|error| unreadable(&error.into()))?;
                if rows.is_empty() {
                    return Ok(lines);
                }
                for row in &rows {
                    line(&exported(row).map_err(|trouble| unreadable(&trouble))?)?;
                    lines = lines.saturating_add(1);
                }
            }
        })
    }

    fn stuck(&self, rows_max: u32) -> Result<Vec<StuckRecord>, InspectionError> {
        runtime()?.block_on(async {
            let connection = self.connect().await?;
            let text = format!(
                "SELECT t.seq, {TRANSACTION} FROM transactions AS t WHERE t.stuck IS NOT NULL \
                 ORDER BY t.accepted_at_us, t.seq LIMIT $1"
            );
            let rows = connection.client.query(&text, &[&i64::from(rows_max)]).await;
            let rows = rows.map_err(|error| unreadable(&error.into()))?;
            let read = |row: &Row| {
                let mut fields = Fields::of(row);
                let sequence = fields.number()?;
                Ok(shown::stuck(sequence, &rows::transaction(&mut fields)?))
            };
            rows.iter().map(read).collect::<Result<_, Trouble>>().map_err(|trouble| unreadable(&trouble))
        })
    }

    fn backup(&self, _target: &Path) -> Result<(), InspectionError> {
        Err(InspectionError::Refused(
            "the ledger is in PostgreSQL, and is copied with PostgreSQL's own tools: pg_dump --format=custom for a copy \
             of one moment, pg_basebackup with WAL archiving to lose nothing; onbill ledger verify checks what was \
             restored"
                .to_owned(),
        ))
    }
}

/// One partner's come by the index of time; without one, all come in the order in which they were begun.
fn export_text(query: &ExportQuery) -> String {
    let (partner, order) = match query.partner {
        Some(_) => ("AND t.partner = $3", "t.accepted_at_us, t.seq"),
        None => ("", "t.seq"),
    };
    format!(
        "SELECT o.at_us, d.decided_by, {TRANSACTION} FROM transactions AS t \
         LEFT JOIN outbox AS o ON o.transaction_seq = t.seq LEFT JOIN decisions AS d ON d.transaction_seq = t.seq \
         WHERE t.accepted_at_us >= $1 AND t.accepted_at_us < $2 AND t.state <> 'released' {partner} ORDER BY {order}"
    )
}

fn exported(row: &Row) -> Result<Exported, Trouble> {
    let mut fields = Fields::of(row);
    let settled_at = fields.time_or_null()?;
    let settled_by = fields.words_or_null(ToOwned::to_owned)?;
    Ok(Exported { transaction: rows::transaction(&mut fields)?, settled_at, settled_by })
}
