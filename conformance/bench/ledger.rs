//! How fast the ledger in SQLite is: pairs of intent and outcome, and single records, at several numbers in flight.
//!
//! Invariant: each pair is two commits that are waited for one after the other, as a charge makes them. The figures
//! depend on the disk and are held against nothing here.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::expect_used, reason = "it is run by hand and prints what it finds")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures for people"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use onbill::adapters::ledger::sqlite::SqliteLedger;
use onbill::domain::transaction::{Kind, Transaction, UnitOfWork};
use onbill::ports::ledger::{Commit, Ledger};

#[path = "../ports/ledger/samples.rs"]
#[allow(dead_code, reason = "the suite of the contract uses the rest")]
mod samples;

/// How long each figure is taken for.
const SPAN: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on the disk of the build");
    let ledger = Arc::new(SqliteLedger::open(directory.path()).expect("it opens"));
    let numbers = Arc::new(AtomicU64::new(0));
    for in_flight in [1, 16, 128] {
        let before = ledger.figures();
        let pairs = run(in_flight, &ledger, &numbers, pair).await;
        let after = ledger.figures();
        let group = (after.units - before.units) as f64 / (after.batches - before.batches) as f64;
        println!("pairs    {in_flight:>4} in flight: {pairs} units a batch {group:.1}");
    }
    for in_flight in [1, 16, 128] {
        println!("recalls  {in_flight:>4} in flight: {}", run(in_flight, &ledger, &numbers, recall).await);
    }
}

async fn run<F>(
    in_flight: usize,
    ledger: &Arc<SqliteLedger>,
    numbers: &Arc<AtomicU64>,
    step: fn(Arc<SqliteLedger>, u64) -> F,
) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let begun = Instant::now();
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (ledger, numbers) = (Arc::clone(ledger), Arc::clone(numbers));
            tokio::spawn(async move {
                let mut times = Vec::new();
                while begun.elapsed() < SPAN {
                    let start = Instant::now();
                    step(Arc::clone(&ledger), numbers.fetch_add(1, Ordering::Relaxed)).await;
                    times.push(start.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.append(&mut task.await.expect("no panic"));
    }
    let span_s = begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: usize| times.get((times.len() * part / 1000).min(times.len() - 1)).copied().unwrap_or_default();
    format!(
        "{:>9.0}/s  p50 {:?}  p99 {:?}  p99.9 {:?}  max {:?} ",
        times.len() as f64 / span_s,
        at(500),
        at(990),
        at(999),
        at(1000)
    )
}

/// Units as the rules make them, made once: what is measured is the ledger and not the rules.
static TEMPLATES: LazyLock<(UnitOfWork, UnitOfWork)> = LazyLock::new(|| {
    let intent = samples::charge("template", "10");
    let outcome = samples::booked(&Transaction { version: 1, ..intent.transaction.clone() });
    (intent, outcome)
});

async fn pair(ledger: Arc<SqliteLedger>, number: u64) {
    let key = samples::key(Kind::Charge, &format!("c{number:012}"));
    let (mut intent, mut outcome) = TEMPLATES.clone();
    for unit in [&mut intent, &mut outcome] {
        unit.transaction.key = key.clone();
        unit.transaction.reference = samples::reference(&key);
    }
    if let Some(event) = &mut outcome.event {
        event.id = samples::event_id(&key);
        event.key = key;
    }
    assert_eq!(ledger.commit(intent).await.expect("an answer"), Commit::Done { version: 1 });
    assert_eq!(ledger.commit(outcome).await.expect("an answer"), Commit::Done { version: 2 });
}

/// A key that is there, and one that is not, in turn.
async fn recall(ledger: Arc<SqliteLedger>, number: u64) {
    let id = if number.is_multiple_of(2) { format!("c{:012}", number % 10_000) } else { format!("n{number}") };
    ledger.recall(&samples::key(Kind::Charge, &id)).await.expect("an answer");
}
