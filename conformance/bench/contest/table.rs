//! What all rounds came to: one table for people, and the same as JSON.
//!
//! Invariant: a bar stands beside what was measured, met or not; what failed has a line that says why.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Samples;
use super::bars::{BARS, Bar, Limit};
use super::contenders::{CONTENDERS, Contender};
use super::gateway::Bench;
use super::machine;
use super::sample::{Kind, Sample, Spread};

/// Share of the machine's time that was taken in one turn, from which on it is told.
const STOLEN_TOLD: f64 = 0.05;
/// Share of its time from which on the generator may have been what limited a rate.
const BUSY: f64 = 0.95;

/// All rounds.
pub struct Outcome {
    pub samples: Samples,
    pub failed: BTreeMap<&'static str, String>,
    pub doubts: Vec<String>,
    pub machine: String,
    stolen: BTreeMap<&'static str, f64>,
    rounds: usize,
    seconds: u32,
    average: f64,
}

/// A bar beside what was measured.
pub struct Held {
    pub bar: &'static Bar,
    /// The ratio, or the figure itself where there is no baseline.
    pub found: Spread,
    /// None where there is no bar.
    pub met: Option<bool>,
}

impl Outcome {
    pub fn new(bench: &Bench, rounds: usize) -> Self {
        let machine = &bench.machine;
        Self {
            samples: Samples::new(),
            failed: BTreeMap::new(),
            doubts: machine.doubts.clone(),
            machine: format!(
                "{}, {} cores; servers on {}, load on {}",
                machine.model, machine.cores, machine.server_cores, machine.load_cores
            ),
            stolen: BTreeMap::new(),
            rounds,
            seconds: bench.seconds,
            average: machine::load_average(),
        }
    }

    pub fn add(&mut self, contender: &Contender, measured: Result<Sample, String>, stolen: f64) {
        match measured {
            Ok(sample) => {
                self.samples.entry(contender.name).or_default().push(sample);
                let most = self.stolen.entry(contender.name).or_default();
                *most = most.max(stolen);
            }
            Err(why) => {
                self.failed.insert(contender.name, why.trim().chars().take(300).collect());
            }
        }
    }

    /// Says what was not measured cleanly.
    pub fn doubt(&mut self) {
        if self.average > 0.5 {
            self.doubts.push(format!("the load average was {:.1} at the beginning", self.average));
        }
        if self.rounds < 3 {
            self.doubts.push(format!("{} rounds say little: at least 3 are needed", self.rounds));
        }
        for (name, stolen) in self.stolen.iter().filter(|(_, stolen)| **stolen > STOLEN_TOLD) {
            self.doubts.push(format!("{name}: the machine's host took up to {:.0} % of its time", stolen * 100.0));
        }
        for (name, samples) in &self.samples {
            let most = samples.iter().filter_map(|sample| sample.generator).fold(0.0, f64::max);
            if most >= BUSY {
                self.doubts.push(format!("{name}: the load generator was busy {:.0} % of its time", most * 100.0));
            }
        }
        for (name, why) in &self.failed {
            self.doubts.push(format!("{name} was not measured: {why}"));
        }
    }

    pub fn spread(&self, name: &str, kind: Kind) -> Option<Spread> {
        Spread::of(self.samples.get(name)?.iter().filter_map(|sample| sample.get(kind)).collect())
    }

    /// Every bar of what was measured: the ratio of each round, so that what disturbed a round disturbs both sides.
    pub fn held(&self) -> Vec<Held> {
        BARS.iter().filter_map(|bar| self.hold(bar)).collect()
    }

    fn hold(&self, bar: &'static Bar) -> Option<Held> {
        let found = if let Limit::Absolute(_) = bar.limit {
            self.spread(bar.contender, bar.kind)?
        } else {
            let (ours, theirs) = (self.samples.get(bar.contender)?, self.samples.get(bar.baseline)?);
            let rounds = ours.iter().zip(theirs);
            let ratios = rounds.filter_map(|(ours, theirs)| Some(ours.get(bar.kind)? / theirs.get(bar.kind)?));
            Spread::of(ratios.collect())?
        };
        let met = match bar.limit {
            Limit::AtLeast(least) => Some(found.median >= least),
            Limit::AtMost(most) | Limit::Absolute(most) => Some(found.median <= most),
            Limit::Told => None,
        };
        Some(Held { bar, found, met })
    }

    pub fn text(&self) -> String {
        let mut text = format!("\n{}; {} rounds of {} s in turns\n\n", self.machine, self.rounds, self.seconds);
        let _ = writeln!(
            text,
            "{:<22}{:>9}{:>19}{:>10}{:>10}{:>10}{:>12}{:>10}",
            "", "per s", "(least, most)", "p50 us", "p99 us", "p99.9 us", "CPU ms/1000", "peak MiB"
        );
        for contender in CONTENDERS.iter().filter(|contender| self.samples.contains_key(contender.name)) {
            let of = |kind| self.spread(contender.name, kind);
            let middle = |kind, factor: f64, digits: usize| {
                of(kind).map_or_else(|| "-".to_owned(), |spread| format!("{:.digits$}", spread.median * factor))
            };
            let between = of(Kind::PerS)
                .map_or_else(String::new, |spread| format!("({:.0}, {:.0})", spread.least, spread.greatest));
            let _ = writeln!(
                text,
                "{:<22}{:>9}{between:>19}{:>10}{:>10}{:>10}{:>12}{:>10}  {}",
                contender.name,
                middle(Kind::PerS, 1.0, 0),
                middle(Kind::P50, 1.0, 0),
                middle(Kind::P99, 1.0, 0),
                middle(Kind::P999, 1.0, 0),
                middle(Kind::Cpu, 1000.0, 1),
                middle(Kind::Peak, 1.0 / 1024.0, 1),
                contender.what,
            );
        }
        let _ = writeln!(text, "\n{:<64}{:>10}{:>22}{:>10}", "", "measured", "(least, most)", "bar");
        for held in self.held() {
            let what = label(held.bar);
            let found = held.found;
            let verdict = match held.met {
                Some(true) => "met",
                Some(false) => "NOT MET",
                None => "",
            };
            let between = format!("({:.2}, {:.2})", found.least, found.greatest);
            let _ =
                writeln!(text, "{what:<64}{:>10.2}{between:>22}{:>10}  {verdict}", found.median, shown(held.bar.limit));
        }
        for doubt in &self.doubts {
            let _ = writeln!(text, "doubt: {doubt}");
        }
        text
    }

    pub fn json(&self) -> String {
        let contenders: Vec<Value> = CONTENDERS
            .iter()
            .filter_map(|contender| {
                let samples = self.samples.get(contender.name)?;
                Some(json!({
                    "name": contender.name, "what": contender.what, "rounds": samples,
                    "per_s": self.spread(contender.name, Kind::PerS), "p50_us": self.spread(contender.name, Kind::P50),
                    "p99_us": self.spread(contender.name, Kind::P99), "p999_us": self.spread(contender.name, Kind::P999),
                    "cpu_s_per_1000": self.spread(contender.name, Kind::Cpu),
                    "peak_kib": self.spread(contender.name, Kind::Peak),
                    "figure": self.spread(contender.name, Kind::Figure),
                }))
            })
            .collect();
        let bars: Vec<Value> = self
            .held()
            .iter()
            .map(|held| {
                json!({
                    "contender": held.bar.contender, "baseline": held.bar.baseline, "of": held.bar.what,
                    "found": held.found, "bar": shown(held.bar.limit), "met": held.met,
                })
            })
            .collect();
        let all = json!({
            "version": env!("CARGO_PKG_VERSION"), "machine": self.machine, "rounds": self.rounds,
            "seconds": self.seconds, "contenders": contenders, "bars": bars, "failed": self.failed,
            "doubts": self.doubts,
        });
        serde_json::to_string_pretty(&all).expect("figures are JSON")
    }
}

/// What is held against what.
pub fn label(bar: &Bar) -> String {
    let against = if bar.baseline.is_empty() { String::new() } else { format!(" / {}", bar.baseline) };
    format!("{}{against}, {}", bar.contender, bar.what)
}

/// A bar in words.
pub fn shown(limit: Limit) -> String {
    match limit {
        Limit::AtLeast(least) => format!(">= {least:.2}"),
        Limit::AtMost(most) => format!("<= {most:.2}"),
        Limit::Absolute(most) => format!("<= {most:.0}"),
        Limit::Told => "-".to_owned(),
    }
}
