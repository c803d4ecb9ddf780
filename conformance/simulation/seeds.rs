//! Seeds by the thousand, and the few claims about the simulation itself.
//!
//! Invariant: a seed that fails says which it is and shows what happened to the key that it failed for.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::client;
use super::mutation::Mutation;
use super::plan::Plan;
use super::random::Random;
use super::run::{Run, run, run_planned};
use super::world::shown;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 3_000;

/// A number from the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number of seeds"))
}

/// What is wrong with a run, with the trace of the keys concerned; `None` where nothing is.
pub fn report(run: &Run) -> Option<String> {
    let first = run.findings.first()?;
    let mut text = format!("seed {}:\n", run.seed);
    for finding in &run.findings {
        writeln!(text, "  {} {}", finding.label, finding.text).expect("a String takes it");
    }
    text.push_str(&shown(&run.trace, &first.label));
    Some(text)
}

/// Runs seeds on all cores until one fails, and answers the first that did.
pub fn search(from: u64, seeds: u64, mutation: Mutation) -> Option<Run> {
    let next = AtomicU64::new(from);
    let end = from + seeds;
    let failed = std::sync::Mutex::new(None::<Run>);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let run = run(seed, mutation);
                    if !run.findings.is_empty() {
                        next.store(end, Ordering::Relaxed);
                        let mut failed = failed.lock().expect("no thread panics");
                        if failed.as_ref().is_none_or(|other| run.seed < other.seed) {
                            *failed = Some(run);
                        }
                        return;
                    }
                }
            });
        }
    });
    failed.into_inner().expect("no thread panics")
}

#[test]
fn money_survives_whatever_the_seed_has_in_store() {
    let from = number("ONBILL_SIM_FIRST", 0);
    let failed = search(from, number("ONBILL_SIM_SEEDS", SEEDS), Mutation::None);
    if let Some(text) = failed.as_ref().and_then(report) {
        panic!("{text}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let mut lines = 0;
    for seed in 0..20 {
        let (once, again) = (run(seed, Mutation::None), run(seed, Mutation::None));
        lines += once.trace.len();
        assert_eq!(once.trace, again.trace, "seed {seed}");
    }
    assert!(lines > 1_000, "{lines} lines say next to nothing");
}

#[test]
fn where_nothing_goes_wrong_everything_is_answered() {
    for seed in 0..50 {
        let random = Random::new(seed);
        let shots = client::draw(&random, &Plan::calm());
        let run = run_planned(seed, random, Plan::calm(), shots, Mutation::None);
        assert_eq!(report(&run), None);
    }
}
