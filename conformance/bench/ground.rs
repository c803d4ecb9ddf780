//! What every measurement of the ledger in PostgreSQL stands on: a server of its own, the defaults of the configuration,
//! and what its processes have used of the processor.
//!
//! Invariant: nothing is tuned for the measurement; what is measured is what a gateway with no settings of its own gets.

use std::sync::Arc;
use std::time::Duration;

use onbill::adapters::ledger::postgres::{self, PostgresLedger, Settings, Tls};

#[path = "../servers/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
pub mod servers;

use servers::postgres::Database;

/// The defaults of the configuration.
pub fn settings(url: String) -> Settings {
    Settings {
        url,
        password: None,
        tls: Tls::Disable,
        ca_pem: None,
        readers_max: 8,
        writers: 2,
        queue_max: 4096,
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(10),
    }
}

/// A ledger on a database that has none yet.
pub async fn opened(database: &Database) -> Arc<PostgresLedger> {
    let settings = settings(database.url());
    postgres::migrate(&settings).await.expect("it migrates");
    Arc::new(PostgresLedger::open(&settings).await.expect("it opens"))
}

/// Ticks of the clock by which the system counts the time of processors, in a second.
const TICKS_PER_S: f64 = 100.0;

/// How long processors have worked for this process, in seconds. Unlike the time that passes it does not depend on what
/// else the machine does.
pub fn own_s() -> f64 {
    process_s("self")
}

/// The same, and for those processes of the server that are there now.
pub fn worked_s(database: &Database) -> (f64, f64) {
    let processes = database.sql("SELECT pid FROM pg_stat_activity");
    (own_s(), processes.iter().flatten().map(|process| process_s(process)).sum())
}

fn process_s(process: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // After the name, which may hold anything: user and system time are the 12th and 13th field.
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks = after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_PER_S
}
