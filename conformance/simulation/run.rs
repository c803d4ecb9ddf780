//! One run: a seed's world from its first request until all is quiet.
//!
//! Invariant: a run is one thread and one paused clock, so that the same seed gives the same trace. Faults end before
//! the run does; what is not settled some minutes after that, with a CSP that answers, never will be.

use std::sync::Arc;
use std::time::Duration;

use onbill::adapters::ledger::memory::MemoryLedger;
use onbill::adapters::secrets::SeededSecrets;
use onbill::domain::transaction::{State, Transaction};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::checker::{self, Evidence, Finding};
use super::client::{self, Call, Heard, Shot};
use super::csp::SimulatedCsp;
use super::gateway::Site;
use super::ledger::{Archive, Store};
use super::mutation::Mutation;
use super::plain_ledger::PlainLedger;
use super::plan::{DEADLINE_MAX_MS, Plan};
use super::random::Random;
use super::world::{Line, World};

/// When faults end.
const FAULTS_MS: u64 = 10_000;
/// How long everything that is still under way then may take: a standstill of the ledger is the longest.
const SETTLE_AT_LEAST_S: u64 = 25;
/// Seconds after which nothing settles any more.
const SETTLE_AT_MOST_S: u64 = 400;

/// What came of a run.
pub struct Run {
    pub seed: u64,
    pub findings: Vec<Finding>,
    pub trace: Vec<Line>,
}

/// Runs a seed.
pub fn run(seed: u64, mutation: Mutation) -> Run {
    let random = Random::new(seed);
    let plan = Plan::draw(&random);
    let shots = client::draw(&random, &plan);
    run_planned(seed, random, plan, shots, mutation)
}

/// Runs what was planned.
pub fn run_planned(seed: u64, random: Random, plan: Plan, shots: Vec<Shot>, mutation: Mutation) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    runtime.block_on(live(seed, random, plan, shots, mutation))
}

async fn live(seed: u64, random: Random, plan: Plan, shots: Vec<Shot>, mutation: Mutation) -> Run {
    let world = Arc::new(World::new(random, plan, mutation));
    let store: Arc<dyn Store> = if mutation.breaks_the_ledger() {
        Arc::new(PlainLedger::new(Arc::clone(&world)))
    } else {
        Arc::new(MemoryLedger::new())
    };
    let csp = Arc::new(SimulatedCsp::new(Arc::clone(&world)));
    let archive = Arc::new(Archive::new(Arc::clone(&world), store));
    let site = Arc::new(Site::new(Arc::clone(&world), csp, archive, SeededSecrets::new(seed)));
    for slot in 0..world.plan.gateways {
        tokio::spawn(Arc::clone(&site).keep_running(slot));
    }
    tokio::spawn(lose_short_lived_state(Arc::clone(&site)));

    let mut under_way = JoinSet::new();
    for shot in shots {
        let site = Arc::clone(&site);
        under_way.spawn(async move {
            sleep(Duration::from_millis(shot.at_ms + 1)).await;
            let to = site.running(shot.gateway)?;
            Some(client::send(&site.world, &to, &shot).await)
        });
    }
    let mut calls = Vec::new();
    while let Some(call) = under_way.join_next().await {
        calls.extend(call.expect("a caller does not panic"));
    }
    sleep(Duration::from_millis(FAULTS_MS.saturating_sub(world.now_ms()))).await;
    world.end_faults();
    settle(&site).await;
    let replays = replay(&site, &calls).await;
    let evidence = Evidence::gather(&site, calls, replays);
    let findings = checker::check(&evidence);
    Run { seed, findings, trace: world.trace() }
}

async fn lose_short_lived_state(site: Arc<Site>) {
    let mut wipes_ms = site.world.plan.wipes_ms.clone();
    wipes_ms.sort_unstable();
    for at_ms in wipes_ms {
        sleep(Duration::from_millis(at_ms.saturating_sub(site.world.now_ms()))).await;
        site.world.note("", "short-lived state is lost");
        for store in &site.short_lived {
            store.wipe();
        }
    }
}

/// Waits until nothing is left to be settled, or for as long as anything could settle.
async fn settle(site: &Site) {
    let is_quiet = |record: &Transaction| record.due_at.is_none() && record.lease.is_none();
    for second in 0..SETTLE_AT_MOST_S {
        sleep(Duration::from_secs(1)).await;
        if second >= SETTLE_AT_LEAST_S && site.archive.store.books().records.iter().all(is_quiet) {
            return;
        }
    }
}

/// Asks for everything that is final once more.
async fn replay(site: &Site, calls: &[Call]) -> Vec<Call> {
    let to = site.running(0).expect("a gateway runs at the end");
    let mut replays = Vec::new();
    for record in site.archive.store.books().records {
        let same = calls.iter().find(|call| call.ask.is_recorded_as(&record));
        let (Some(same), State::Success | State::Failure) = (same, record.state) else {
            continue;
        };
        let ask = same.ask.clone();
        let shot = Shot { ask, at_ms: 0, deadline_ms: DEADLINE_MAX_MS, hang_up_ms: None, gateway: 0 };
        replays.push(client::send(&site.world, &to, &shot).await);
    }
    replays
}

/// Whether a call may have moved money: it was not told that nothing happened.
pub const fn may_have_moved(heard: &Heard) -> bool {
    matches!(heard, Heard::Answered { .. } | Heard::Nothing)
}
