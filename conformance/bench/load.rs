//! The load that every ledger is measured with: pairs of intent and outcome, and what the times of many come to.
//!
//! Invariant: each pair is two commits that are waited for one after the other, as a charge makes them; units are made
//! by the rules once, so that what is measured is the ledger and not the rules.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use onbill::domain::Time;
use onbill::domain::event::EventId;
use onbill::domain::ids::AccountRef;
use onbill::domain::transaction::{BookAccount, Kind, Transaction, UnitOfWork};
use onbill::ports::ledger::{Commit, Ledger};

#[path = "../ports/ledger/samples.rs"]
#[allow(dead_code, reason = "the suite of the contract uses the rest")]
pub mod samples;

/// What so many steps in so much time come to.
pub struct Measured {
    /// Steps in a second.
    pub per_s: f64,
    /// How long each took, the shortest first.
    pub times: Vec<Duration>,
}

impl Measured {
    /// How long a step took that so many in a thousand did not outlast.
    pub fn at(&self, part: usize) -> Duration {
        let place = (self.times.len() * part / 1000).min(self.times.len().saturating_sub(1));
        self.times.get(place).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (p50, p99, p999, max) = (self.at(500), self.at(990), self.at(999), self.at(1000));
        write!(formatter, "{:>9.0}/s  p50 {p50:?}  p99 {p99:?}  p99.9 {p999:?}  max {max:?}", self.per_s)
    }
}

/// Takes steps for so long, so many at a time.
pub async fn run<T, F>(
    span: Duration,
    in_flight: usize,
    target: &Arc<T>,
    numbers: &Arc<AtomicU64>,
    step: fn(Arc<T>, u64) -> F,
) -> Measured
where
    T: Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let begun = Instant::now();
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (target, numbers) = (Arc::clone(target), Arc::clone(numbers));
            tokio::spawn(async move {
                let mut times = Vec::new();
                while begun.elapsed() < span {
                    let start = Instant::now();
                    step(Arc::clone(&target), numbers.fetch_add(1, Ordering::Relaxed)).await;
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
    Measured { per_s: times.len() as f64 / span_s, times }
}

static TEMPLATES: LazyLock<(UnitOfWork, UnitOfWork)> = LazyLock::new(|| {
    let intent = samples::charge("template", "10");
    let outcome = samples::booked(&Transaction { version: 1, ..intent.transaction.clone() });
    (intent, outcome)
});

/// Subscribers who are charged, at random.
const SUBSCRIBERS: u128 = 1_000_000;

/// The units of a charge of its own, now.
pub fn units(id: &str) -> (UnitOfWork, UnitOfWork) {
    let key = samples::key(Kind::Charge, id);
    let (reference, now) = (samples::reference(&key), Time::now());
    let bits = u128::from_be_bytes(*reference.as_bytes());
    let account = AccountRef::new(&format!("sub-{}", bits % SUBSCRIBERS));
    let (mut intent, mut outcome) = TEMPLATES.clone();
    for unit in [&mut intent, &mut outcome] {
        unit.transaction.key = key.clone();
        unit.transaction.reference = reference;
        unit.transaction.accepted_at = now;
        unit.transaction.account.reference = account.clone();
    }
    for posting in &mut outcome.postings {
        if let BookAccount::Subscriber(_, reference) = &mut posting.account {
            *reference = account.clone();
        }
    }
    if let Some(event) = &mut outcome.event {
        event.id = EventId::at(now, bits);
        event.key = key;
    }
    (intent, outcome)
}

/// Ids in the order of time.
pub fn ordered(number: u64) -> String {
    format!("c{number:012}")
}

/// A charge: its intent, and then its outcome.
pub async fn pair<L: Ledger>(ledger: Arc<L>, number: u64) {
    book(ledger, &ordered(number)).await;
}

/// Books a charge under an id.
pub async fn book<L: Ledger>(ledger: Arc<L>, id: &str) {
    let (intent, outcome) = units(id);
    assert_eq!(ledger.commit(intent).await.expect("an answer"), Commit::Done { version: 1 });
    assert_eq!(ledger.commit(outcome).await.expect("an answer"), Commit::Done { version: 2 });
}
