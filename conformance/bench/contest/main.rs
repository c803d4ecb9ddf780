//! `make bench`: the gateway beside what people would use instead, and beside the floor that its libraries set.
//!
//! Invariant: contenders take turns, so that what else the machine does meets all of them; every figure is the median of
//! its rounds and is told with its spread, with what could not be measured and with what casts doubt. Nothing is held
//! against a figure but in the table: no test fails because a machine is slow.
//!
//! Ledgers of ten million transactions are measured where they are asked for (`--only grown`): filling them takes minutes
//! and 20 GB of disk. Not here: what such a ledger does without the gateway (`--bench growth`), and what groups of commits
//! cost the server, against one commit for each statement over few and many connections (`--bench postgres`).

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    reason = "it is run by hand and prints what it finds"
)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "figures for people"
)]

mod bare;
mod bars;
mod contenders;
#[path = "../load.rs"]
#[allow(dead_code, reason = "the other benches use the rest")]
mod driven;
mod floor;
mod gateway;
#[path = "../ground.rs"]
#[allow(dead_code, reason = "the other benches use the rest")]
mod ground;
#[path = "../grown.rs"]
mod grown;
mod growth;
mod idle;
mod machine;
mod page;
mod peers;
mod raw;
mod sample;
#[path = "../singles.rs"]
mod singles;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;

use bars::BARS;
use contenders::{CONTENDERS, Contender};
use gateway::Bench;
use machine::{Busy, Machine};
use table::Outcome;

/// Share of the machine's time taken by its host from which on it is told.
const STOLEN_TOLD: f64 = 0.02;
/// Processor seconds a second of others from which on it is told.
const OTHERS_TOLD: f64 = 0.1;

/// Measures the gateway beside what it is held against.
#[derive(Debug, Parser)]
struct Arguments {
    /// Contenders by name, or parts of their names; what they are held against comes along.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How often each has its turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each turn.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// One short round, to see whether everything runs.
    #[arg(long)]
    quick: bool,
    /// Transactions in a ledger that has grown.
    #[arg(long, default_value_t = 10_000_000)]
    grown: u64,
    /// Where that of SQLite is kept, to be measured again without filling it again.
    #[arg(long)]
    grown_dir: Option<PathBuf>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [role, rest @ ..] = words.as_slice()
        && role == "role"
    {
        play(rest);
        return;
    }
    let mut arguments = Arguments::parse();
    if arguments.quick {
        (arguments.rounds, arguments.seconds) = (1, 1);
    }
    let wanted = wanted(&arguments.only);
    let mut bench = Bench::new(Machine::look(), arguments.seconds);
    bench.grown = growth::Grown::new(arguments.grown, arguments.grown_dir);
    let bench = bench;
    let mut outcome = Outcome::new(&bench, arguments.rounds);
    before(&mut outcome);
    for round in 1..=arguments.rounds {
        for contender in &wanted {
            turn(&bench, contender, round, &mut outcome);
        }
    }
    outcome.doubt();
    print!("{}", outcome.text());
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&directory).expect("a directory for the report");
    std::fs::write(directory.join("bench.json"), outcome.json()).expect("the report can be written");
    std::fs::write(directory.join("bench.html"), page::render(&outcome)).expect("the page can be written");
    println!("\nwritten: {0}/bench.json and {0}/bench.html", directory.display());
}

/// What is asked for, and what it is held against, in the order of the list.
fn wanted(only: &[String]) -> Vec<&'static Contender> {
    let asked = |name: &str| {
        let everything = only.is_empty() && !name.starts_with(growth::NAMES);
        everything || only.iter().any(|part| name.contains(part.as_str()))
    };
    let needed = |name: &str| BARS.iter().any(|bar| bar.baseline == name && asked(bar.contender));
    CONTENDERS.iter().filter(|contender| asked(contender.name) || needed(contender.name)).collect()
}

/// Looks at what the machine does before anything is measured.
fn before(outcome: &mut Outcome) {
    let look = Busy::look();
    std::thread::sleep(Duration::from_secs(2));
    let (others_s, stolen) = Busy::look().since(look);
    let others = others_s / 2.0;
    if others > OTHERS_TOLD {
        outcome.doubts.push(format!("other processes used {others:.1} cores before anything was measured"));
    }
    if stolen > STOLEN_TOLD {
        outcome.doubts.push(format!("the machine's host took {:.0} % of its time", stolen * 100.0));
    }
}

fn turn(bench: &Bench, contender: &Contender, round: usize, outcome: &mut Outcome) {
    let (begun, look, average) = (Instant::now(), Busy::look(), machine::load_average());
    let measured = (contender.run)(bench);
    let (_, stolen) = Busy::look().since(look);
    match &measured {
        Ok(sample) => eprintln!(
            "round {round}  {:<22}{:>9} per s  {:>5.1} s, load before {average:.1}, stolen {:.0} %",
            contender.name,
            sample.per_s.map_or_else(|| "-".to_owned(), |per_s| format!("{per_s:.0}")),
            begun.elapsed().as_secs_f64(),
            stolen * 100.0,
        ),
        Err(why) => eprintln!("round {round}  {:<22} failed: {}", contender.name, why.trim()),
    }
    outcome.add(contender, measured, stolen);
}

/// This program as one of the servers or drivers.
fn play(words: &[String]) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        match words {
            [what] if what == "tonic" => match bare::tonic().await {},
            [what] if what == "axum" => match bare::axum().await {},
            [what] if what == "collector" => match bare::collector().await {},
            [what, delay] if what == "csp" => {
                match bare::csp(Duration::from_millis(delay.parse().expect("milliseconds"))).await {}
            }
            [what, directory] if what == "floor" => match floor::sqlite(Path::new(directory)).await {},
            [what, directory, url] if what == "floor" => match floor::before_http(Path::new(directory), url).await {},
            [what, directory, url, redis] if what == "floor" => {
                let redis = redis.parse().expect("a port");
                match floor::stores(Path::new(directory), url.clone(), redis).await {}
            }
            [what, rest @ ..] if what == "raw" => {
                let sample = contenders::raw_role(rest).await;
                println!("{}", serde_json::to_string(&sample).expect("figures are JSON"));
            }
            [what, url, count, server] if what == "hold" => {
                idle::hold(url, count.parse().expect("a number"), server.parse().expect("a process")).await;
            }
            _ => panic!("no such role: {words:?}"),
        }
    });
}

/// By contender.
type Samples = BTreeMap<&'static str, Vec<sample::Sample>>;
