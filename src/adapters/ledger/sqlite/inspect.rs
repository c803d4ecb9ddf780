//! The ledger's file as people look at it: export, the list of stuck records, and the way in to both.
//!
//! Invariant: the file is opened for reading only, beside a gateway that may be writing, and nobody waits for it; what
//! is handed out was committed together. No lock is taken, and nothing is brought up to date. Verification is in
//! `verify`, copying in `backup`.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, Row, params};

use super::super::shown;
use super::rows::{self, Fields};
use super::{backup, connect, schema, verify};
use crate::domain::Time;
use crate::domain::ids::PartnerId;
use crate::ports::inspection::{
    ExportQuery, Exported, InspectionError, LedgerInspection, Progress, StuckRecord, Verified,
};
use crate::ports::secrets::Secrets;

/// A ledger's file.
#[derive(Debug, Clone)]
pub struct LedgerFile {
    file: PathBuf,
}

impl LedgerFile {
    /// A file, which need not exist: each question says whether it does.
    #[must_use]
    pub fn new(file: &Path) -> Self {
        Self { file: file.to_owned() }
    }

    /// Opens it as it is, for reading.
    fn open(&self) -> Result<Connection, InspectionError> {
        if !self.file.is_file() {
            return Err(InspectionError::Missing(self.file.clone()));
        }
        connect(&self.file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|error| refused(&error))
    }

    /// Opens it, and refuses what is no ledger of this or an earlier release.
    fn open_known(&self) -> Result<Connection, InspectionError> {
        let connection = self.open()?;
        schema::admit(&connection, &self.file).map_err(|error| refused(&error))?;
        if schema::version(&connection).map_err(unreadable)? == 0 {
            return Err(InspectionError::Refused(format!("{} is empty: it holds no ledger yet", self.file.display())));
        }
        Ok(connection)
    }
}

fn refused(error: &super::OpenError) -> InspectionError {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    InspectionError::Refused(format!("{error}{source}"))
}

/// What SQLite said. It speaks of the file, never of what is in a row.
#[allow(clippy::needless_pass_by_value, reason = "it is a function for map_err")]
pub(super) fn unreadable(error: rusqlite::Error) -> InspectionError {
    InspectionError::Unreadable(error.to_string())
}

impl LedgerInspection for LedgerFile {
    fn verify(
        &self,
        secrets: Option<&dyn Secrets>,
        tell: &mut dyn FnMut(&Progress<'_>) -> io::Result<()>,
    ) -> Result<Verified, InspectionError> {
        verify::verify(&self.open()?, &self.file, secrets, tell)
    }

    fn export(
        &self,
        query: &ExportQuery,
        line: &mut dyn FnMut(&Exported) -> io::Result<()>,
    ) -> Result<u64, InspectionError> {
        let connection = self.open_known()?;
        let version = schema::version(&connection).map_err(unreadable)?;
        let mut statement = connection.prepare(&export_text(query, version)).map_err(unreadable)?;
        let since_us = query.since.map_or(i64::MIN, Time::as_microsecond);
        let until_us = query.until.map_or(i64::MAX, Time::as_microsecond);
        let partner = query.partner.as_ref().map(PartnerId::as_str);
        let mut rows = statement.query(params![since_us, until_us, partner]).map_err(unreadable)?;
        let mut lines = 0_u64;
        while let Some(row) = rows.next().map_err(unreadable)? {
            line(&exported(row).map_err(unreadable)?)?;
            lines = lines.saturating_add(1);
        }
        Ok(lines)
    }

    fn stuck(&self, rows_max: u32) -> Result<Vec<StuckRecord>, InspectionError> {
        let connection = self.open_known()?;
        let text = format!(
            "SELECT seq, {} FROM transactions WHERE stuck IS NOT NULL ORDER BY accepted_at_us, seq LIMIT ?1",
            rows::columns_of(schema::version(&connection).map_err(unreadable)?)
        );
        let read = || -> rusqlite::Result<Vec<StuckRecord>> {
            connection
                .prepare(&text)?
                .query_map([rows_max], |row| {
                    let mut fields = Fields::of(row);
                    let sequence = fields.number()?;
                    Ok(shown::stuck(sequence, &rows::transaction(&mut fields)?))
                })?
                .collect()
        };
        read().map_err(unreadable)
    }

    fn backup(&self, target: &Path) -> Result<(), InspectionError> {
        backup::backup(&self.open_known()?, target)
    }
}

/// One partner's come by the index of time; without one, all come in the order in which they were begun.
fn export_text(query: &ExportQuery, schema: i32) -> String {
    let columns = rows::columns_of(schema);
    let columns = columns.split(',').map(str::trim);
    let of_table = |column| if column == "NULL" { "NULL".to_owned() } else { format!("t.{column}") };
    let columns: Vec<String> = columns.map(of_table).collect();
    let (decided_by, decisions) = if schema >= 2 {
        ("d.decided_by", "LEFT JOIN decisions AS d ON d.transaction_seq = t.seq")
    } else {
        ("NULL", "")
    };
    let (partner, order) = match query.partner {
        Some(_) => ("AND t.partner = ?3", "t.accepted_at_us, t.seq"),
        None => ("AND ?3 IS NULL", "t.seq"),
    };
    format!(
        "SELECT o.at_us, {decided_by}, {} FROM transactions AS t LEFT JOIN outbox AS o ON o.transaction_seq = t.seq \
         {decisions} WHERE t.accepted_at_us >= ?1 AND t.accepted_at_us < ?2 AND t.state <> 'released' {partner} \
         ORDER BY {order}",
        columns.join(", ")
    )
}

fn exported(row: &Row<'_>) -> rusqlite::Result<Exported> {
    let mut fields = Fields::of(row);
    let settled_at = fields.time_or_null()?;
    let settled_by = fields.words_or_null(ToOwned::to_owned)?;
    Ok(Exported { transaction: rows::transaction(&mut fields)?, settled_at, settled_by })
}
