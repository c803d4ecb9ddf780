//! What a ledger that has grown costs: bytes of disk for each transaction, and a charge on many against one on none.
//!
//! Invariant: what a ledger has grown by is put in with its store's own tools, so that it is there in minutes; what is
//! measured after that is charges as a gateway makes them, with ids in the order of time and at random. The figures are
//! held against nothing here. `cargo bench --bench growth -- 10000000 sqlite` says how many there are to be, and where:
//! ten million take 6 GB of disk in SQLite, and 12 GB in PostgreSQL.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::expect_used, reason = "it is run by hand and prints what it finds")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "figures for people"
)]

#[allow(dead_code, reason = "the other measurements use the rest")]
mod ground;
mod load;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use onbill::adapters::ledger::sqlite::{LEDGER_FILE, SqliteLedger};
use onbill::ports::ledger::Ledger;
use rusqlite::Connection;

use ground::opened;
use ground::servers::postgres::{Database, Server};
use load::{Measured, run};

/// How long each figure is taken for.
const SPAN: Duration = Duration::from_secs(3);
/// How often, in turns.
const ROUNDS: usize = 2;
/// Transactions that a ledger has grown by, where nothing else is said.
const GROWN_BY: u64 = 2_000_000;

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().collect();
    let many = words.iter().find_map(|word| word.parse().ok()).unwrap_or(GROWN_BY);
    let is_asked =
        |store: &str, other: &str| words.iter().all(|word| word != other) || words.iter().any(|word| word == store);
    if is_asked("sqlite", "postgres") {
        in_sqlite(many).await;
    }
    if is_asked("postgres", "sqlite") {
        in_postgres(many).await;
    }
}

/// Charges on a ledger that is empty and on one that is not, in turns. `worked_s` says how long processors have worked.
async fn compare<L: Ledger + 'static>(store: &str, many: u64, ledgers: [(&Arc<L>, &dyn Fn() -> f64); 2]) {
    let numbers = Arc::new(AtomicU64::new(0));
    for round in 1..=ROUNDS {
        for in_flight in [1, 128] {
            for (records, (ledger, worked_s)) in [0, many].into_iter().zip(ledgers) {
                let before = worked_s();
                let measured = run(SPAN, in_flight, ledger, &numbers, load::pair).await;
                let middle = worked_s();
                tell(store, round, records, in_flight, "ids in order: ", &measured, middle - before);
                let measured = run(SPAN, in_flight, ledger, &numbers, at_random).await;
                tell(store, round, records, in_flight, "ids at random:", &measured, worked_s() - middle);
            }
        }
    }
    println!("{store}: {} charges were made", numbers.load(Ordering::Relaxed));
}

#[allow(clippy::too_many_arguments, reason = "a line of figures")]
fn tell(store: &str, round: usize, records: u64, in_flight: usize, ids: &str, measured: &Measured, worked_s: f64) {
    let each_us = worked_s * 1e6 / measured.times.len() as f64;
    println!(
        "{store} round {round}  on {records:>9}, {in_flight:>3} in flight, {ids} {measured}  processors: {each_us:.0} us"
    );
}

/// A charge under an id that has nothing to do with time (the finaliser of SplitMix64).
async fn at_random<L: Ledger>(ledger: Arc<L>, number: u64) {
    let mut bits = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    load::book(ledger, &format!("{:016x}-{number}", bits ^ (bits >> 31))).await;
}

async fn in_sqlite(many: u64) {
    let directory = |name: &str| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("growth-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory on the disk of the build");
        path
    };
    let (empty, grown) = (directory("empty"), directory("grown"));
    drop(SqliteLedger::open(&grown).expect("it opens"));
    let since = Instant::now();
    let connection = Connection::open(grown.join(LEDGER_FILE)).expect("it opens");
    connection.execute_batch(&SQLITE.replace(":many", &many.to_string())).expect("it grows");
    drop(connection);
    println!("sqlite: {many} transactions put in within {:?}", since.elapsed());
    let open = |path: &Path| Arc::new(SqliteLedger::open(path).expect("it opens"));
    let ledgers = [open(&empty), open(&grown)];
    let [one, other] = &ledgers;
    let numbers = Arc::new(AtomicU64::new(1 << 40));
    run(SPAN, 128, one, &numbers, load::pair).await;
    let charges = numbers.load(Ordering::Relaxed) - (1 << 40);
    let connection = Connection::open(empty.join(LEDGER_FILE)).expect("it opens");
    let bytes: i64 = connection
        .query_row("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", [], |row| row.get(0))
        .expect("a number");
    println!("sqlite: {:.0} bytes a transaction, of {charges} as they are charged", bytes as f64 / charges as f64);
    drop(connection);
    let worked_s = || ground::own_s();
    compare("sqlite", many, [(one, &worked_s), (other, &worked_s)]).await;
    drop(ledgers);
    for path in [empty, grown] {
        std::fs::remove_dir_all(path).expect("it goes");
    }
}

async fn in_postgres(many: u64) {
    let server = Arc::new(Server::start());
    let (empty, grown) = (Database::on(&server), Database::on(&server));
    let (one, other) = (opened(&empty).await, opened(&grown).await);
    let since = Instant::now();
    grown.sql(&POSTGRES.replace(":many", &many.to_string()));
    grown.sql("VACUUM ANALYZE");
    println!("postgres: {many} transactions put in within {:?}", since.elapsed());
    let numbers = Arc::new(AtomicU64::new(1 << 40));
    run(SPAN, 128, &one, &numbers, load::pair).await;
    empty.sql("VACUUM ANALYZE");
    sizes("as they are charged", &empty);
    sizes("as they are put in", &grown);
    let worked_s = |database: &Database| {
        let (own, servers) = ground::worked_s(database);
        own + servers
    };
    compare("postgres", many, [(&one, &|| worked_s(&empty)), (&other, &|| worked_s(&grown))]).await;
    let hot = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'transactions'";
    println!("postgres: updates, and those that touched no index: {:?}", empty.sql(hot));
}

fn sizes(how: &str, database: &Database) {
    let charges = database.number("SELECT count(*) FROM transactions");
    let text = "SELECT c.relname, pg_relation_size(c.oid) FROM pg_class AS c \
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'i') ORDER BY 2 DESC";
    let (mut all, mut parts) = (0.0, Vec::new());
    for row in database.sql(text) {
        if let [name, bytes] = row.as_slice() {
            let each = bytes.parse::<f64>().expect("a number") / charges as f64;
            all += each;
            parts.push(format!("{name} {each:.0}"));
        }
    }
    println!("postgres: {all:.0} bytes a transaction, of {charges} {how}: {}", parts.join(", "));
}

/// Charges that are booked, one a second, each under an id at random, of a hundred thousand subscribers.
const SQLITE: &str = "
PRAGMA synchronous = off;
PRAGMA cache_size = -4194304;
BEGIN;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :many)
INSERT INTO transactions (partner, kind, ext_id, reference, state, version, sent_before_us, inquiries, accepted_at_us,
    csp, account_ref, charge_code, amount_minor, currency, compared_version, sent_address_type, sent_address,
    sent_product, sent_amount, sent_currency, sent_description)
SELECT 'demo-ott', 'charge', lower(hex(randomblob(12))), randomblob(16), 'success', 2, 1600000000000000 + i * 1000000,
    0, 1600000000000000 + i * 1000000, 'sandbox', 'sub-' || (i % 100000), 'BASIC', 1000, 'MXN', 1, 'MSISDN',
    5550000000 + i % 100000, 'ott-basic', '10', 'MXN', '' FROM n;
INSERT INTO postings SELECT seq, 1, 'subscriber', csp, account_ref, -amount_minor, currency FROM transactions;
INSERT INTO postings SELECT seq, 2, 'partner', partner, NULL, amount_minor, currency FROM transactions;
INSERT INTO outbox (event_id, transaction_seq, partner, at_us, delivery, attempts)
SELECT 'evt_' || lower(hex(reference)), seq, partner, accepted_at_us, 'delivered', 1 FROM transactions;
COMMIT;
PRAGMA wal_checkpoint(TRUNCATE);
";

const POSTGRES: &str = "
SET synchronous_commit = off;
SET maintenance_work_mem = '512MB';
CREATE TEMPORARY TABLE dropped AS SELECT indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND indexname NOT IN (SELECT conname FROM pg_constraint);
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT indexname FROM dropped LOOP EXECUTE 'DROP INDEX ' || name; END LOOP;
END $$;
INSERT INTO transactions (partner, kind, ext_id, reference, state, version, sent_before_us, inquiries, accepted_at_us,
    csp, account_ref, charge_code, amount_minor, currency, compared_version, sent_address_type, sent_address,
    sent_product, sent_amount, sent_currency, sent_description)
SELECT 'demo-ott', 'charge', left(md5(i::text), 24), decode(md5(i::text), 'hex'), 'success', 2,
    1600000000000000 + i * 1000000, 0, 1600000000000000 + i * 1000000, 'sandbox', 'sub-' || (i % 100000), 'BASIC', 1000,
    'MXN', 1, 'MSISDN', (5550000000 + i % 100000)::text, 'ott-basic', '10', 'MXN', ''
FROM generate_series(1::bigint, :many) AS n (i);
INSERT INTO postings SELECT seq, 1, 'subscriber', csp, account_ref, -amount_minor, currency FROM transactions;
INSERT INTO postings SELECT seq, 2, 'partner', partner, NULL, amount_minor, currency FROM transactions;
INSERT INTO outbox (event_id, transaction_seq, partner, at_us, delivery, attempts)
SELECT 'evt_' || md5(seq::text), seq, partner, accepted_at_us, 'delivered', 1 FROM transactions;
INSERT INTO tallies SELECT 999, count(*) FROM transactions;
DO $$ DECLARE text text; BEGIN
    FOR text IN SELECT indexdef FROM dropped LOOP EXECUTE text; END LOOP;
END $$;
";
