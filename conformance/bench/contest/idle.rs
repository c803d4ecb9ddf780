//! What rests: connections that nobody speaks on, and a ledger that has grown.
//!
//! Invariant: connections are held until memory has been read; charges that are put in are those that `onbill load`
//! takes for its own when it is told the run's name.

use std::path::Path;
use std::time::Duration;

use onbill::adapters::ledger::sqlite::{LEDGER_FILE, SqliteLedger};
use rusqlite::Connection;

use super::gateway::{Bench, Proc};
use super::machine;
use super::sample::Sample;

/// The run whose charges are put in.
pub const RUN: &str = "bench";
/// Connections that are held.
const CONNECTIONS: usize = 10_000;

/// What each of many idle connections takes. Their number is kept within what this process may open.
pub fn held(bench: &Bench, server: &Proc) -> Result<Sample, String> {
    std::thread::sleep(Duration::from_millis(500));
    let before = machine::resident_kib(server.pid()).ok_or("no such process")?;
    let mut command = bench.machine.load(&bench.own.to_string_lossy());
    command.args(["role", "hold", &server.url, &CONNECTIONS.to_string(), &server.pid().to_string()]);
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
    let (Some(count), Some(after)) = (words.next(), words.next()) else {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    };
    if count < CONNECTIONS as f64 {
        return Err(format!("only {count} of {CONNECTIONS} connections came about (ulimit -n?)"));
    }
    let each = (after - before as f64) / count;
    Ok(Sample { peak_kib: Some(after), figure: Some(each), ..Sample::default() })
}

/// Holds connections, and prints how many and what the server's memory is then.
pub async fn hold(url: &str, count: usize, server: u32) {
    let address = url.trim_start_matches("http://");
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let Ok(stream) = tokio::net::TcpStream::connect(address).await else { break };
        let Ok((sender, connection)) = h2::client::handshake(stream).await else { break };
        tokio::spawn(connection);
        held.push(sender);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("{} {}", held.len(), machine::resident_kib(server).unwrap_or_default());
}

/// Puts charges in as `onbill load --run` would have made them.
pub fn a_million_charges(data: &Path, run: &str, many: u64) -> Result<(), String> {
    drop(SqliteLedger::open(data).map_err(|error| error.to_string())?);
    let connection = Connection::open(data.join(LEDGER_FILE)).map_err(|error| error.to_string())?;
    let sql = CHARGES.replace(":many", &many.to_string()).replace(":run", run);
    connection.execute_batch(&sql).map_err(|error| error.to_string())
}

/// Booked charges, one a second, in the order of their ids.
const CHARGES: &str = "
PRAGMA synchronous = off;
PRAGMA cache_size = -262144;
BEGIN;
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :many - 1)
INSERT INTO transactions (partner, kind, ext_id, reference, state, version, sent_before_us, inquiries, accepted_at_us,
    csp, account_ref, charge_code, amount_minor, currency, compared_version, sent_address_type, sent_address,
    sent_product, sent_amount, sent_currency, sent_description)
SELECT 'demo-ott', 'charge', printf(':run-c%012d', i), randomblob(16), 'success', 2, 1600000000000000 + i * 1000000,
    0, 1600000000000000 + i * 1000000, 'sandbox', 'sub-' || (i % 100000), 'BASIC', 999, 'MXN', 1, 'MSISDN',
    '5550000001', 'ott-basic', '9.99', 'MXN', '' FROM n;
INSERT INTO postings SELECT seq, 1, 'subscriber', csp, account_ref, -amount_minor, currency FROM transactions;
INSERT INTO postings SELECT seq, 2, 'partner', partner, NULL, amount_minor, currency FROM transactions;
INSERT INTO outbox (event_id, transaction_seq, partner, at_us, delivery, attempts)
SELECT 'evt_' || lower(hex(reference)), seq, partner, accepted_at_us, 'delivered', 1 FROM transactions;
COMMIT;
PRAGMA wal_checkpoint(TRUNCATE);
";
