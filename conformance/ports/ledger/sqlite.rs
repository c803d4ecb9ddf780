//! What the ledger in a SQLite file promises beyond the contract: it lasts, it has its directory to itself, and it says
//! clearly why it cannot be opened.
//!
//! Invariant: what a test reads beside the ledger, it reads as a stranger would, with SQLite alone. Death by SIGKILL is
//! not here.

use std::path::Path;
use std::sync::Arc;

use onbill::adapters::ledger::sqlite::{LEDGER_FILE, OpenError, SqliteLedger};
use onbill::domain::transaction::{Kind, State, Transaction};
use onbill::ports::ledger::{Commit, Ledger as _};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::samples::{self, Sample, sample};
use super::{Books, Subject};

/// A ledger in a directory that is removed after it.
pub fn fresh() -> Subject {
    let directory = TempDir::new().expect("a directory");
    in_directory(directory)
}

fn in_directory(directory: TempDir) -> Subject {
    let ledger = Arc::new(SqliteLedger::open(directory.path()).expect("it opens"));
    Subject { outbox: Arc::<SqliteLedger>::clone(&ledger), ledger, books: Box::new(move || books(directory.path())) }
}

fn stranger(directory: &Path) -> Connection {
    Connection::open_with_flags(directory.join(LEDGER_FILE), OpenFlags::SQLITE_OPEN_READ_ONLY).expect("it opens")
}

fn pairs<T: rusqlite::types::FromSql>(connection: &Connection, statement: &str) -> Vec<(String, T)> {
    let mut statement = connection.prepare(statement).expect("a statement");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

fn books(directory: &Path) -> Books {
    let connection = stranger(directory);
    Books {
        postings: pairs(
            &connection,
            "SELECT ext_id, minor FROM postings JOIN transactions ON seq = transaction_seq \
             ORDER BY transaction_seq, line",
        ),
        events: pairs(
            &connection,
            "SELECT ext_id, event_id FROM outbox JOIN transactions ON transactions.seq = transaction_seq \
             ORDER BY outbox.seq",
        ),
    }
}

ledger_contract!(in_sqlite, super::fresh());
