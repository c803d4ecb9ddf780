//! What the ledger in PostgreSQL promises beyond the contract: it outlives its server, many gateways share it, and it
//! says clearly why it cannot be opened.
//!
//! Invariant: the servers are real and the tests' own; what a test reads beside the ledger, it reads with psql.

use std::sync::Arc;
use std::time::Duration;

use onbill::adapters::ledger::postgres::{self, PostgresLedger, Settings, Tls};
use tokio::runtime::Handle;

use super::{Books, Subject};
use crate::servers::postgres::Database;

/// Settings for a server of the tests.
pub fn settings(url: &str) -> Settings {
    Settings {
        url: url.to_owned(),
        password: None,
        tls: Tls::Disable,
        ca_pem: None,
        readers_max: 4,
        writers: 2,
        queue_max: 4096,
        connect_timeout: Duration::from_secs(2),
        statement_timeout: Duration::from_secs(5),
    }
}

/// A ledger in a database of its own.
pub fn fresh() -> Subject {
    let database = Database::fresh();
    let opening = async {
        postgres::migrate(&settings(&database.url())).await.expect("it migrates");
        PostgresLedger::open(&settings(&database.url())).await.expect("it opens")
    };
    let ledger = Arc::new(tokio::task::block_in_place(|| Handle::current().block_on(opening)));
    Subject { outbox: Arc::<PostgresLedger>::clone(&ledger), ledger, books: Box::new(move || books(&database)) }
}

fn books(database: &Database) -> Books {
    let pairs = |text: &str| -> Vec<(String, String)> {
        database.sql(text).into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
    };
    let postings = pairs(
        "SELECT ext_id, minor FROM postings JOIN transactions ON seq = transaction_seq ORDER BY transaction_seq, line",
    );
    Books {
        postings: postings.into_iter().map(|(id, minor)| (id, minor.parse().expect("a number"))).collect(),
        events: pairs(
            "SELECT ext_id, event_id FROM outbox JOIN transactions ON transactions.seq = transaction_seq \
             ORDER BY outbox.seq",
        ),
    }
}

ledger_contract!(in_postgres, super::fresh());
