//! How fast the ledger in SQLite is: pairs of intent and outcome, and single records, at several numbers in flight.
//!
//! Invariant: the figures depend on the disk and are held against nothing here.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::expect_used, reason = "it is run by hand and prints what it finds")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures for people"
)]

mod load;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use onbill::adapters::ledger::sqlite::SqliteLedger;
use onbill::domain::transaction::Kind;
use onbill::ports::ledger::Ledger as _;

use load::{run, samples};

/// How long each figure is taken for.
const SPAN: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on the disk of the build");
    let ledger = Arc::new(SqliteLedger::open(directory.path()).expect("it opens"));
    let numbers = Arc::new(AtomicU64::new(0));
    for in_flight in [1, 16, 128] {
        let before = ledger.figures();
        let pairs = run(SPAN, in_flight, &ledger, &numbers, load::pair).await;
        let after = ledger.figures();
        let group = (after.units - before.units) as f64 / (after.batches - before.batches) as f64;
        println!("pairs    {in_flight:>4} in flight: {pairs}  units a batch {group:.1}");
    }
    for in_flight in [1, 16, 128] {
        println!("recalls  {in_flight:>4} in flight: {}", run(SPAN, in_flight, &ledger, &numbers, recall).await);
    }
}

/// A key that is there, and one that is not, in turn.
async fn recall(ledger: Arc<SqliteLedger>, number: u64) {
    let id = if number.is_multiple_of(2) { format!("c{:012}", number % 10_000) } else { format!("n{number}") };
    ledger.recall(&samples::key(Kind::Charge, &id)).await.expect("an answer");
}
