//! How fast the ledger in PostgreSQL is: commits in groups, against one commit for each statement, in one run.
//!
//! Invariant: both write the same rows into the same tables of one server, in turns, so that what else the machine does
//! meets both alike. The other side is as good as it can be without groups: two statements for a charge, each prepared
//! and with a plan that is kept, over as many connections as the ledger has and over many more. The figures are held
//! against nothing here.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::expect_used, reason = "it is run by hand and prints what it finds")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "figures for people"
)]

mod ground;
mod load;
mod singles;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ground::servers::postgres::{Database, Server};
use ground::{opened, worked_s};
use load::{Measured, run};
use singles::Singles;

/// How long each figure is taken for, in each round.
const SPAN: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;
const IN_FLIGHT: usize = 128;
/// Connections of the other side.
const SINGLES: [usize; 3] = [2, 32, 128];

#[tokio::main]
async fn main() {
    let server = Arc::new(Server::start());
    let database = Database::on(&server);
    let ledger = opened(&database).await;
    let mut singles = Vec::new();
    for connections in SINGLES {
        singles.push(Arc::new(Singles::open(&database.url(), connections).await));
    }
    let numbers = Arc::new(AtomicU64::new(0));
    let (mut grouped, mut single) = (Figures::default(), [Figures::default(), Figures::default(), Figures::default()]);
    for round in 1..=ROUNDS {
        let (before, worked) = (ledger.figures(), worked_s(&database));
        let measured = run(SPAN, IN_FLIGHT, &ledger, &numbers, load::pair).await;
        let after = ledger.figures();
        let group = (after.units - before.units) as f64 / (after.batches - before.batches) as f64;
        println!("round {round}  units a batch: {group:.1}");
        grouped.add(round, "groups,   2 connections", &measured, worked, worked_s(&database));
        for (place, one) in singles.iter().enumerate() {
            let worked = worked_s(&database);
            let measured: Measured = run(SPAN, IN_FLIGHT, one, &numbers, pair).await;
            let what = format!("single, {:>3} connections", SINGLES[place]);
            single[place].add(round, &what, &measured, worked, worked_s(&database));
        }
    }
    for (place, figures) in single.iter_mut().enumerate() {
        let faster = median(&mut grouped.per_s) / median(&mut figures.per_s);
        let lighter = median(&mut figures.work_us) / median(&mut grouped.work_us);
        println!(
            "groups against one commit a statement over {:>3} connections: {faster:.1} times as many, each with {lighter:.1} \
             times less of the processors",
            SINGLES[place]
        );
    }
}

/// What was measured of one way to write.
#[derive(Default)]
struct Figures {
    per_s: Vec<f64>,
    work_us: Vec<f64>,
}

impl Figures {
    fn add(&mut self, round: usize, what: &str, measured: &Measured, before: (f64, f64), after: (f64, f64)) {
        let each_us = |from: f64, to: f64| (to - from) * 1e6 / measured.times.len() as f64;
        let (own, servers) = (each_us(before.0, after.0), each_us(before.1, after.1));
        println!("round {round}  {what}: {measured}  processors: {own:.0} us here, {servers:.0} us of the server");
        self.per_s.push(measured.per_s);
        self.work_us.push(own + servers);
    }
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

async fn pair(singles: Arc<Singles>, number: u64) {
    let (intent, outcome) = load::units(&load::ordered(number));
    singles.intent(&intent).await;
    singles.outcome(&outcome).await;
}
