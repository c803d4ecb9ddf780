//! The ledger without the gateway: the same tables and the same transactions, driven as fast as they go, or by the clock.
//!
//! Invariant: a charge is its two commits, one after the other, as in the gateway; with a rate, its time counts from
//! when it was due, as `onbill load` counts it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use onbill::adapters::ledger::postgres::PostgresLedger;
use onbill::adapters::ledger::sqlite::SqliteLedger;
use onbill::commands::load::pace::{Pace, Span};
use onbill::commands::load::tally::Latencies;

use super::driven;
use super::ground;
use super::machine;
use super::sample::Sample;
use super::singles::Singles;

/// Before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// Connections without groups.
const SINGLES: usize = 32;

/// What is driven, and how.
pub struct Order {
    pub in_flight: usize,
    pub seconds: u32,
    pub rate_per_s: Option<u32>,
}

/// In SQLite.
pub async fn sqlite(directory: &Path, order: &Order) -> Sample {
    drive(&Arc::new(SqliteLedger::open(directory).expect("it opens")), driven::pair, order).await
}

/// In PostgreSQL, with the settings that a gateway has by default.
pub async fn postgres(url: String, order: &Order) -> Sample {
    let settings = ground::settings(url);
    onbill::adapters::ledger::postgres::migrate(&settings).await.expect("it migrates");
    drive(&Arc::new(PostgresLedger::open(&settings).await.expect("it opens")), driven::pair, order).await
}

/// In PostgreSQL without groups: each statement is a commit of its own, over as many connections as serve it best here.
pub async fn postgres_singly(url: String, order: &Order) -> Sample {
    onbill::adapters::ledger::postgres::migrate(&ground::settings(url.clone())).await.expect("it migrates");
    drive(&Arc::new(Singles::open(&url, SINGLES).await), pair_singly, order).await
}

async fn pair_singly(singles: Arc<Singles>, number: u64) {
    let (intent, outcome) = driven::units(&driven::ordered(number));
    singles.intent(&intent).await;
    singles.outcome(&outcome).await;
}

async fn drive<T, F>(target: &Arc<T>, pair: fn(Arc<T>, u64) -> F, order: &Order) -> Sample
where
    T: Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let duration = Some(Duration::from_secs(order.seconds.into()));
    let span = Span { warm_up: WARM_UP, duration, calls_max: None, rate_per_s: order.rate_per_s };
    let pace = Arc::new(Pace::begin(span));
    let keeper = Arc::clone(&pace);
    let kept = tokio::task::spawn_blocking(move || keeper.keep());
    let numbers = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..order.in_flight)
        .map(|_| {
            let (target, pace, numbers) = (Arc::clone(target), Arc::clone(&pace), Arc::clone(&numbers));
            tokio::spawn(async move {
                let mut latencies = Latencies::default();
                while let Some(turn) = pace.next().await {
                    pair(Arc::clone(&target), numbers.fetch_add(1, Ordering::Relaxed)).await;
                    if turn.measured {
                        latencies.record(turn.due.elapsed());
                    }
                }
                latencies
            })
        })
        .collect();
    tokio::time::sleep_until(pace.measured_from().into()).await;
    let (begun, before) = (Instant::now(), machine::cpu_s("self"));
    let mut all = Latencies::default();
    for task in tasks {
        all.add(&task.await.expect("no panic"));
    }
    let (seconds, cpu_s) = (begun.elapsed().as_secs_f64(), machine::cpu_s("self") - before);
    assert!(kept.await.expect("no panic").is_empty(), "every charge that was due was made");
    let micros = |quantile: f64| Some(all.at(quantile).as_secs_f64() * 1e6);
    let charges = all.count() as f64;
    Sample {
        per_s: Some(charges / seconds),
        p50_us: micros(0.5),
        p99_us: micros(0.99),
        p999_us: micros(0.999),
        cpu_s_per_1000: Some(cpu_s / charges * 1e3),
        peak_kib: Some(machine::own_peak_kib()),
        figure: None,
        generator: None,
    }
}
