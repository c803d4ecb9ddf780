//! Seeds by the thousand, and the few claims about the simulation itself.
//!
//! Invariant: a seed that fails says which it is and shows what happened to the key that it failed for.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::client::{self, NUMBERS, PARTNERS, Shot};
use super::mutation::Mutation;
use super::plan::{CspRates, Plan};
use super::random::Random;
use super::run::{Run, run, run_planned};
use super::world::shown;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 2_000;
/// Steps at which a short story is crashed, one after the other: more than it has.
const CRASH_STEPS: u64 = 90;

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
    for seed in 0..40 {
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

/// A charge, the same again, two refunds of it and one that is too much; and all of it again after a crash.
fn short_story() -> Vec<Shot> {
    let asks = [
        (0, client::ask(PARTNERS[0], "c1", None, NUMBERS[0], 1_000)),
        (5, client::ask(PARTNERS[0], "c1", None, NUMBERS[0], 1_000)),
        (300, client::ask(PARTNERS[0], "c1", None, NUMBERS[0], -600)),
        (305, client::ask(PARTNERS[0], "r1", Some("c1"), NUMBERS[0], -400)),
        (310, client::ask(PARTNERS[0], "r2", Some("c1"), NUMBERS[0], -1)),
    ];
    let shot = |at_ms: u64, ask: &client::Ask| Shot {
        ask: ask.clone(),
        at_ms,
        deadline_ms: 2_000,
        hang_up_ms: None,
        gateway: usize::from(!at_ms.is_multiple_of(10)),
    };
    let again = asks.iter().map(|(at_ms, ask)| shot(at_ms + 4_000, ask));
    asks.iter().map(|(at_ms, ask)| shot(*at_ms, ask)).chain(again).collect()
}

#[test]
fn a_crash_at_any_step_of_a_charge_and_its_refunds_loses_nothing() {
    let lost = CspRates { lost_after: 500, late: 300, ..CspRates::default() };
    let turned_away = CspRates { not_applied: 600, inquiry_lost: 300, ..CspRates::default() };
    for (gateways, csp) in [(1, CspRates::default()), (1, lost.clone()), (1, turned_away), (2, lost)] {
        let mut crashed = 0;
        for step in 1..=CRASH_STEPS {
            let plan = Plan { gateways, csp: csp.clone(), crashes: vec![step], ..Plan::calm() };
            let run = run_planned(step, Random::new(step), plan, short_story(), Mutation::None);
            assert_eq!(report(&run), None, "{gateways} gateways, crashed at step {step}");
            crashed += usize::from(run.trace.iter().any(|line| line.text.contains("crashes at step")));
        }
        assert_eq!(u64::try_from(crashed), Ok(CRASH_STEPS), "each step is one that is reached");
    }
}
