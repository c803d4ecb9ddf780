//! What all parts of a run share: chance, time, the trace, and the lives of gateways.
//!
//! Invariant: time is the runtime's paused clock, so that a run takes as long as its computations; everything that
//! happens is written into the trace with its time and the key that it concerns. A gateway dies at a step of its work:
//! from then on nothing that it does reaches the world, and nothing that the world answers reaches it, which is what the
//! drop of all its tasks looks like from outside.

use std::fmt::Write as _;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use onbill::adapters::clock::ManualClock;
use onbill::domain::Time;
use onbill::domain::transaction::TransactionKey;
use onbill::ports::Cause;
use onbill::ports::clock::Clock;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::mutation::Mutation;
use super::plan::Plan;
use super::random::Random;

/// When every run begins.
const EPOCH_S: i64 = 1_700_000_000;

/// The name of a key in trace and bill.
pub fn label(key: &TransactionKey) -> String {
    format!("{}/{}/{}", key.partner, key.kind.word(), key.ext_transaction_id.as_str())
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Milliseconds since the beginning.
    pub at_ms: u64,
    /// The key that it concerns; empty where it concerns all.
    pub label: String,
    pub text: String,
}

/// What is shared.
pub struct World {
    pub random: Random,
    pub plan: Plan,
    pub mutation: Mutation,
    faults: AtomicBool,
    begun: Instant,
    clock: ManualClock,
    shown_us: AtomicU64,
    trace: Mutex<Vec<Line>>,
    deaths: Mutex<Vec<(String, u64)>>,
}

impl World {
    /// A world at its beginning. It must be made within the run's runtime, whose clock it reads.
    pub fn new(random: Random, plan: Plan, mutation: Mutation) -> Self {
        Self {
            random,
            plan,
            mutation,
            faults: AtomicBool::new(true),
            begun: Instant::now(),
            clock: ManualClock::new(Time::from_second(EPOCH_S).expect("in range")),
            shown_us: AtomicU64::new(0),
            trace: Mutex::default(),
            deaths: Mutex::default(),
        }
    }

    /// Milliseconds since the beginning.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).expect("a run is short")
    }

    /// Whether a fault of this rate happens now.
    pub fn strikes(&self, per_mille: u64) -> bool {
        self.faults_are_on() && self.random.chance(per_mille)
    }

    /// Whether anything may still go wrong.
    pub fn faults_are_on(&self) -> bool {
        self.faults.load(Ordering::Relaxed)
    }

    /// From here on nothing goes wrong any more.
    pub fn end_faults(&self) {
        self.faults.store(false, Ordering::Relaxed);
        self.note("", "faults end");
    }

    /// Takes some of the time that a network takes.
    pub async fn travel(&self, max_ms: u64) {
        let travel_ms = self.random.below(max_ms);
        if travel_ms > 0 {
            sleep(Duration::from_millis(travel_ms)).await;
        }
    }

    /// Whether a life has ended in a crash at this moment or later.
    pub fn died_since(&self, life: &str, since_ms: u64) -> bool {
        let deaths = self.deaths.lock().unwrap_or_else(PoisonError::into_inner);
        deaths.iter().any(|(name, at_ms)| name == life && *at_ms >= since_ms)
    }

    /// Writes a line into the trace.
    pub fn note(&self, label: &str, text: impl Into<String>) {
        let line = Line { at_ms: self.now_ms(), label: label.to_owned(), text: text.into() };
        self.trace.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// The trace so far.
    pub fn trace(&self) -> Vec<Line> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The hand-driven clock, moved along with the paused one.
impl Clock for World {
    fn now(&self) -> Time {
        let elapsed_us = u64::try_from(self.begun.elapsed().as_micros()).expect("a run is short");
        let shown_us = self.shown_us.swap(elapsed_us, Ordering::Relaxed);
        self.clock.pass(Duration::from_micros(elapsed_us.saturating_sub(shown_us)));
        self.clock.now()
    }
}

/// Prints the lines of a trace that concern one key.
pub fn shown(trace: &[Line], label: &str) -> String {
    let mut text = String::new();
    for line in trace.iter().filter(|line| line.label.is_empty() || line.label == label) {
        writeln!(text, "{:>7} ms  {:<28} {}", line.at_ms, line.label, line.text).expect("a String takes it");
    }
    text
}

/// One life of a gateway, from its start to its crash.
pub struct Life {
    pub name: String,
    steps: AtomicU64,
    crash_at: Option<u64>,
    alive: AtomicBool,
    died: Notify,
}

impl Life {
    /// A life that ends at this step, or with the run.
    pub fn new(name: String, crash_at: Option<u64>) -> Self {
        Self { name, steps: AtomicU64::new(0), crash_at, alive: AtomicBool::new(true), died: Notify::new() }
    }

    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// A point at which the gateway awaits the world: the work of a dead one never gets past it.
    pub async fn step(&self, world: &World) {
        let step = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        if self.is_alive() && world.faults_are_on() && self.crash_at == Some(step) {
            world.note("", format!("{} crashes at step {step}", self.name));
            let death = (self.name.clone(), world.now_ms());
            world.deaths.lock().unwrap_or_else(PoisonError::into_inner).push(death);
            self.alive.store(false, Ordering::Relaxed);
            self.died.notify_waiters();
        }
        if !self.is_alive() {
            pending::<()>().await;
        }
    }

    /// Waits for the crash.
    pub async fn death(&self) {
        let died = self.died.notified();
        if self.is_alive() {
            died.await;
        }
    }
}

/// A life and the world that it is led in: what every port needs.
#[derive(Clone)]
pub struct Place {
    pub world: Arc<World>,
    pub life: Arc<Life>,
}

impl Place {
    /// See [`Life::step`].
    pub async fn step(&self) {
        self.life.step(&self.world).await;
    }
}

/// The cause of a fault.
pub fn cause(text: &'static str) -> Cause {
    Cause::new(text)
}
