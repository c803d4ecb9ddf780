//! `onbill load`: puts a gateway under load and says how fast it was, what it refused, and whether it kept its word.
//!
//! Invariant: a client of the public API like any other. Each call is sent once and counted once; a charge that was
//! answered is looked up at the end, and a run in which one is missing has failed, however fast it was.
//!
//! Reading order: `args` (what can be asked), `pace` and `plan` (when and what), `crew` (who), `call` and `line` (how),
//! `tally` and `report` (what came of it). Not here: finding the rate that a gateway bears; the caller says the rate.

mod args;
mod book;
mod call;
mod crew;
mod interrupt;
mod line;
mod mix;
mod options;
pub mod pace;
mod plan;
mod process;
mod progress;
mod report;
pub mod tally;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::args::Arguments;
use self::call::{Order, WRONG_ANSWER};
use self::crew::{Crew, Phase, Worker};
use self::interrupt::Interrupt;
use self::mix::{Mix, Verb};
use self::options::Options;
use self::pace::Span;
use self::plan::{Plan, ReadBack};
use self::progress::Progress;
use self::report::{Report, Used};
use self::tally::Tally;
use super::Outcome;

/// Longest nap between two looks at a phase.
const NAP_MAX: Duration = Duration::from_millis(20);
/// Codes that say that something else than a gateway answers.
const NO_GATEWAY: [&str; 3] = ["grpc-Unimplemented", "not-found", "http-404"];

/// Runs the command.
///
/// # Errors
/// An output that cannot be written to.
pub fn run(arguments: &Arguments, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let loaded = Options::of(arguments).and_then(|options| {
        let crew = crew(&options)?;
        Ok((options, crew))
    });
    let (options, crew) = match loaded {
        Ok(loaded) => loaded,
        Err(why) => {
            writeln!(err, "error: {why}")?;
            return Ok(Outcome::Refused);
        }
    };
    let mut progress = Progress::new(arguments.quiet, err);
    let report = match measured(&options, crew, &mut progress) {
        Ok(report) => report,
        Err(why) => {
            writeln!(err, "error: {why}")?;
            return Ok(Outcome::Failed);
        }
    };
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report).map_err(io::Error::other)?)?;
    } else {
        out.write_all(report.text().as_bytes())?;
    }
    Ok(if report.is_good() { Outcome::Done } else { Outcome::Failed })
}

/// Threads with open connections to a gateway that takes the key.
fn crew(options: &Options) -> Result<Crew, String> {
    let mut workers = Vec::new();
    for lanes in options.lanes()? {
        let mut worker = Worker::new(lanes).map_err(|error| format!("no thread: {error}"))?;
        worker.connect().map_err(|trouble| format!("not reachable: {}: {}", options.target, trouble.why()))?;
        workers.push(worker);
    }
    if let Some(worker) = workers.first_mut().filter(|_| options.probe) {
        // Looks up what is not there: it costs nothing and changes nothing.
        match worker.probe(Order::GetCharge(u64::MAX), options.timeout) {
            Err((code, _)) if code == "authorization-failure" || code == "forbidden" => {
                return Err(format!("not authorised: {} does not take the API key", options.target));
            }
            Err((code, why)) if NO_GATEWAY.contains(&code.as_str()) || code == "timed-out" => {
                return Err(format!("not a gateway: {} answers {code} {why}", options.target));
            }
            // A refusal of the contract, or a fixed answer of what is no gateway but speaks like one.
            Ok(()) | Err(_) => {}
        }
    }
    Ok(Crew::new(workers))
}

/// Prepares, measures, and reads back.
fn measured(options: &Options, crew: Crew, progress: &mut Progress<'_>) -> Result<Report, String> {
    let interrupt = Interrupt::watch();
    let mut crew = crew;
    if options.prepare > 0 {
        let span = Span { calls_max: Some(options.prepare), ..Span::default() };
        let phase = options.phase(span, Plan::Drawn(Mix::only(Verb::Charge)));
        let (back, tally, _) = watched(crew, &phase, &interrupt, "preparing", progress, &[]);
        crew = back;
        if options.book.charges.taken_from(0) == 0 {
            let why = tally.errors.keys().next().cloned().unwrap_or_default();
            return Err(format!("no charge was taken before measuring: {why}"));
        }
    }
    let phase = options.phase(options.span, Plan::Drawn(options.mix.clone()));
    let pids: Vec<String> = [process::OWN.to_owned()].into_iter().chain(options.pids.clone()).collect();
    let (crew, mut tally, spent) = watched(crew, &phase, &interrupt, "measuring", progress, &pids);
    let ended_early = interrupt.count() > 0;
    let from = phase.pace.measured_from();
    let seconds = tally.last.map_or(0.0, |last| last.saturating_duration_since(from).as_secs_f64());
    for waited in spent.not_sent {
        tally.never_sent(waited);
    }
    let mut report = Report {
        target: options.target.to_string(),
        run: options.book.run().to_owned(),
        mix: options.mix.to_string(),
        rate_per_s: options.span.rate_per_s,
        in_flight: options.in_flight,
        connections: options.connections,
        seconds,
        ended_early,
        rows: Vec::new(),
        as_sent: None,
        errors: Vec::new(),
        answered: BTreeMap::new(),
        read_back: None,
        own_share: None,
        processes: Vec::new(),
        doubts: Vec::new(),
    };
    report.fill(&tally, &options.expected);
    let calls = report.rows.first().map_or(0, |all| all.calls);
    let mut used = spent.used.into_iter();
    report.own_share =
        used.next().and_then(|(_, cpu_s)| cpu_s).map(|cpu_s| cpu_s / seconds.max(0.001) / options.threads);
    report.processes = used.map(|(pid, cpu_s)| used_by(pid, cpu_s, calls)).collect();
    if options.check > 0 {
        report.read_back = Some(read_back(options, crew, &interrupt, progress));
    }
    report.doubt();
    Ok(report)
}

/// Looks up what was taken.
fn read_back(options: &Options, crew: Crew, interrupt: &Interrupt, progress: &mut Progress<'_>) -> report::ReadBack {
    let book = &options.book;
    let taken = book.charges.taken_from(book.first_own()).saturating_add(book.refunds.taken_from(0));
    let phase = options.phase(Span::default(), Plan::ReadBack(ReadBack::of(book, options.check)));
    let (_, tally, _) = watched(crew, &phase, interrupt, "reading back", progress, &[]);
    let of = |codes: &[&str]| {
        let counts = tally.errors.iter().filter(|(code, _)| codes.contains(&code.as_str()));
        counts.fold(0, |sum: u64, (_, (count, _))| sum.saturating_add(*count))
    };
    let lost = of(&["transaction-not-found", WRONG_ANSWER]);
    let total = tally.total();
    let looked_up = total.latencies.count();
    report::ReadBack { taken, looked_up, lost, unanswered: total.errors.saturating_sub(lost) }
}

/// What a phase has cost.
struct Spent {
    /// Calls that were due and never sent, and what they have waited.
    not_sent: Vec<Duration>,
    /// Processor seconds of processes while calls were measured.
    used: Vec<(String, Option<f64>)>,
}

/// Lets a crew work, and tells how it goes.
fn watched(
    crew: Crew,
    phase: &Arc<Phase>,
    interrupt: &Interrupt,
    what: &str,
    progress: &mut Progress<'_>,
    pids: &[String],
) -> (Crew, Tally, Spent) {
    let cpu = || -> Vec<Option<f64>> { pids.iter().map(|pid| process::cpu_s(pid)).collect() };
    let interrupts = interrupt.count();
    let at_work = crew.begin(phase);
    let keeper = {
        let phase = Arc::clone(phase);
        std::thread::spawn(move || phase.pace.keep())
    };
    let mut before = None;
    progress.begin(what);
    while !at_work.is_done() {
        let until = phase.pace.measured_from().saturating_duration_since(Instant::now());
        if until.is_zero() && before.is_none() {
            before = Some(cpu());
        }
        if interrupt.count() > interrupts {
            phase.pace.stop();
        }
        progress.tell(|| at_work.lately());
        std::thread::sleep(if until.is_zero() { NAP_MAX } else { until.min(NAP_MAX) });
    }
    let after = cpu();
    progress.end();
    let not_sent = keeper.join().expect("the schedule does not panic");
    let (crew, tally) = at_work.end();
    let before = before.unwrap_or_else(|| after.clone());
    let used = pids.iter().zip(before.into_iter().zip(after));
    let used =
        used.map(|(pid, (before, after))| (pid.clone(), before.zip(after).map(|(before, after)| after - before)));
    (crew, tally, Spent { not_sent, used: used.collect() })
}

fn used_by(pid: String, cpu_s: Option<f64>, calls: u64) -> Used {
    let thousands = report::rate(calls, 1000.0);
    let cpu_s_per_1000 = cpu_s.filter(|_| calls > 0).map(|cpu_s| cpu_s / thousands);
    Used { cpu_s, cpu_s_per_1000, peak_kib: process::peak_kib(&pid), pid }
}
