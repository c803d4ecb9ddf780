//! What a ledger that has grown costs by itself: bytes of disk for each transaction, and a charge on many against one on
//! none.
//!
//! Invariant: empty and grown take turns, with the units of work of a charge as a gateway makes them, 128 in flight, ids in
//! the order of time and at random. The figures are held against nothing here; through the gateway they are in the contest
//! (`--only grown`), memory included. `cargo bench --bench growth -- 1000000 sqlite` says how many there are to be, and
//! where: ten million, which is what it does else, take 6 GB of disk in SQLite, and 14 GB in PostgreSQL.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::expect_used, reason = "it is run by hand and prints what it finds")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "figures for people"
)]

#[allow(dead_code, reason = "the other measurements use the rest")]
mod ground;
#[allow(dead_code, reason = "the contest uses the rest")]
mod grown;
mod load;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use onbill::adapters::ledger::sqlite::{LEDGER_FILE, SqliteLedger};
use onbill::ports::ledger::Ledger;
use rusqlite::Connection;

use ground::opened;
use ground::servers::postgres::{Database, Server};
use load::run;

/// How long each figure is taken for.
const SPAN: Duration = Duration::from_secs(5);
/// How often, in turns.
const ROUNDS: usize = 3;
const IN_FLIGHT: usize = 128;
/// Transactions that a ledger has grown by, where nothing else is said.
const GROWN_BY: u64 = 10_000_000;
/// Where the numbers of charges begin that only show how large charges are.
const FIRST_OF_SIZES: u64 = 1 << 40;

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

/// Charges a second, and microseconds of processors for each, of every round.
type Figures = BTreeMap<(&'static str, u64), Vec<(f64, f64)>>;

/// Charges on a ledger that is empty and on one that is not, in turns. `worked_s` says how long processors have worked.
async fn compare<L: Ledger + 'static>(store: &str, many: u64, ledgers: [(&Arc<L>, &dyn Fn() -> f64); 2]) {
    let numbers = Arc::new(AtomicU64::new(0));
    let mut figures = Figures::new();
    for round in 1..=ROUNDS {
        for ids in ["in order", "at random"] {
            for (records, (ledger, worked_s)) in [0, many].into_iter().zip(ledgers) {
                let before = worked_s();
                let measured = if ids == "in order" {
                    run(SPAN, IN_FLIGHT, ledger, &numbers, load::pair).await
                } else {
                    run(SPAN, IN_FLIGHT, ledger, &numbers, at_random).await
                };
                let each_us = (worked_s() - before) * 1e6 / measured.times.len() as f64;
                println!("{store} round {round} on {records:>9}, ids {ids:<9} {measured}  processors {each_us:.0} us");
                figures.entry((ids, records)).or_default().push((measured.per_s, each_us));
            }
        }
    }
    for ids in ["in order", "at random"] {
        let of = |records| figures.get(&(ids, records)).map_or((0.0, 0.0), |rounds| medians(rounds));
        let ((empty_per_s, empty_us), (grown_per_s, grown_us)) = (of(0), of(many));
        println!(
            "{store}, ids {ids}: {empty_per_s:.0}/s on none, {grown_per_s:.0}/s on {many} ({:.2}); processors \
             {empty_us:.0} us and {grown_us:.0} us ({:.2})",
            grown_per_s / empty_per_s,
            empty_us / grown_us,
        );
    }
}

fn medians(rounds: &[(f64, f64)]) -> (f64, f64) {
    let middle = |mut figures: Vec<f64>| {
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    (middle(rounds.iter().map(|round| round.0).collect()), middle(rounds.iter().map(|round| round.1).collect()))
}

/// A charge under an id that has nothing to do with time (the finaliser of SplitMix64).
async fn at_random<L: Ledger>(ledger: Arc<L>, number: u64) {
    let mut bits = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    load::book(ledger, &format!("{:016x}-{number}", bits ^ (bits >> 31))).await;
}

async fn in_sqlite(many: u64) {
    let directory = || tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on the disk of the build");
    let (empty, grown) = (directory(), directory());
    grown::sqlite(grown.path(), many, grown::Ids::Random).expect("it grows");
    println!("sqlite: {:.0} bytes a transaction, of {many} as they are put in", bytes(grown.path()) / many as f64);
    let open = |path: &Path| Arc::new(SqliteLedger::open(path).expect("it opens"));
    let ledgers = [open(empty.path()), open(grown.path())];
    let [one, other] = &ledgers;
    let numbers = Arc::new(AtomicU64::new(FIRST_OF_SIZES));
    run(SPAN, IN_FLIGHT, one, &numbers, load::pair).await;
    let charges = numbers.load(Ordering::Relaxed) - FIRST_OF_SIZES;
    let each = bytes(empty.path()) / charges as f64;
    println!("sqlite: {each:.0} bytes a transaction, of {charges} as they are charged");
    let worked_s = || ground::own_s();
    compare("sqlite", many, [(one, &worked_s), (other, &worked_s)]).await;
}

/// Of a ledger's file, as far as it is committed.
fn bytes(data: &Path) -> f64 {
    let connection = Connection::open(data.join(LEDGER_FILE)).expect("it opens");
    let text = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    connection.query_row(text, [], |row| row.get::<_, i64>(0)).expect("a number") as f64
}

async fn in_postgres(many: u64) {
    let server = Arc::new(Server::start());
    let (empty, grown) = (Database::on(&server), Database::on(&server));
    let (one, other) = (opened(&empty).await, opened(&grown).await);
    grown::postgres(&grown, many);
    let numbers = Arc::new(AtomicU64::new(FIRST_OF_SIZES));
    run(SPAN, IN_FLIGHT, &one, &numbers, load::pair).await;
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
