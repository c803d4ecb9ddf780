//! What a run came to: a table for people, the same as JSON, and whether all went as it should.
//!
//! Invariant: both forms are written from one value. Errors count as what was asked for only where their codes were
//! expected on the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::tally::{Latencies, Row, Tally};

/// Share of its threads' time from which on the generator may have been what limited the rate.
const BUSY: f64 = 0.9;

/// Latencies in microseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Percentiles {
    /// Half of all calls took no longer.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Percentiles {
    fn of(latencies: &Latencies) -> Self {
        let at = |quantile| micros(latencies.at(quantile));
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: micros(latencies.max()) }
    }

    fn list(&self) -> [f64; 5] {
        [self.p50, self.p90, self.p99, self.p999, self.max]
    }
}

/// One face and call, or all together.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// `grpc`, `json` or `all`.
    pub face: String,
    /// The word of the mix, or `all`.
    pub call: String,
    /// Calls that were measured.
    pub calls: u64,
    /// Of them in a second.
    pub per_s: f64,
    /// Of them in error.
    pub errors: u64,
    /// From when a call was due.
    #[serde(rename = "latency_us")]
    pub latency: Percentiles,
}

/// Errors of one code.
#[derive(Debug, Clone, Serialize)]
pub struct Errors {
    /// The contract's code, or ours.
    pub code: String,
    /// How many, warm-up included.
    pub count: u64,
    /// Whether the command line expects it.
    pub expected: bool,
    /// What the first of them said, if anything.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub first: String,
}

/// What became of what was taken.
#[derive(Debug, Clone, Serialize)]
pub struct ReadBack {
    /// Charges and refunds that were answered.
    pub taken: u64,
    /// Of them, looked up.
    pub looked_up: u64,
    /// Not there, or not as they were answered.
    pub lost: u64,
    /// No answer could be had.
    pub unanswered: u64,
}

/// What a process used while calls were measured.
#[derive(Debug, Clone, Serialize)]
pub struct Used {
    /// Its id.
    pub pid: String,
    /// Processor seconds; none where the system does not tell.
    pub cpu_s: Option<f64>,
    /// Processor seconds for each thousand calls.
    pub cpu_s_per_1000: Option<f64>,
    /// Most memory since it began.
    pub peak_kib: Option<u64>,
}

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where the gateway is.
    pub target: String,
    /// The run's name: its ids begin with it.
    pub run: String,
    /// What was called.
    pub mix: String,
    /// Calls a second that were asked for, if by the clock.
    pub rate_per_s: Option<u32>,
    /// Calls under way at most.
    pub in_flight: u64,
    /// Connections.
    pub connections: u64,
    /// Measured time.
    pub seconds: f64,
    /// Whether somebody ended it.
    pub ended_early: bool,
    /// All together, and then by face and call.
    pub rows: Vec<Line>,
    /// From when a call was sent: what a client sees that waits for each answer. By the clock only.
    #[serde(rename = "latency_as_sent_us", skip_serializing_if = "Option::is_none")]
    pub as_sent: Option<Percentiles>,
    /// By code.
    pub errors: Vec<Errors>,
    /// Charges, replays and refunds by the status that they were answered.
    pub answered: BTreeMap<&'static str, u64>,
    /// The final check; none where it was not wanted.
    pub read_back: Option<ReadBack>,
    /// The generator itself: how much of its threads' time it needed.
    pub own_share: Option<f64>,
    /// Processes that were to be watched.
    pub processes: Vec<Used>,
    /// What casts doubt on the figures.
    pub doubts: Vec<String>,
}

impl Report {
    /// Puts a phase's tally into the report.
    pub fn fill(&mut self, tally: &Tally, expected: &BTreeSet<String>) {
        let total = tally.total();
        self.rows.push(line("all", "all", &total, self.seconds));
        for ((face, verb), row) in &tally.rows {
            self.rows.push(line(face.word(), verb.word(), row, self.seconds));
        }
        if self.rate_per_s.is_some() {
            self.as_sent = Some(Percentiles::of(&tally.as_sent));
        }
        self.answered.clone_from(&tally.standings);
        self.errors = tally
            .errors
            .iter()
            .map(|(code, (count, first))| Errors {
                code: code.clone(),
                count: *count,
                expected: expected.contains(code),
                first: first.clone(),
            })
            .collect();
    }

    /// Says what casts doubt on the figures.
    pub fn doubt(&mut self) {
        let share = self.own_share.filter(|share| *share >= BUSY);
        if let Some(share) = share {
            self.doubts.push(format!(
                "the generator was busy {:.0} % of its time: it may be what limits the rate (--threads, another machine)",
                share * 100.0
            ));
        }
        if let (Some(rate), Some(all)) = (self.rate_per_s, self.rows.first())
            && all.per_s < f64::from(rate) * 0.99
            && !self.ended_early
        {
            self.doubts.push(format!("the rate was not reached: {:.0} of {rate} a second", all.per_s));
        }
    }

    /// Whether there were no errors but expected ones, and nothing was lost.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let read_back = self.read_back.as_ref().is_none_or(|check| check.lost == 0 && check.unanswered == 0);
        read_back && self.errors.iter().all(|errors| errors.expected)
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let how = self.rate_per_s.map_or_else(String::new, |rate| format!("{rate} a second, "));
        let _ = writeln!(
            text,
            "{}, {how}{} in flight over {} connections: {:.1} s measured{}; run {}\n",
            self.target,
            self.in_flight,
            self.connections,
            self.seconds,
            if self.ended_early { " (ended early)" } else { "" },
            self.run,
        );
        let _ = writeln!(
            text,
            "{:<5} {:<9}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>9}",
            "face", "call", "calls", "per s", "p50", "p90", "p99", "p99.9", "max", "errors"
        );
        for row in &self.rows {
            let _ = write!(text, "{:<5} {:<9}{:>10}{:>10.0}", row.face, row.call, row.calls, row.per_s);
            for micros in row.latency.list() {
                let _ = write!(text, "{:>10}", shown(micros));
            }
            let _ = writeln!(text, "{:>9}", row.errors);
        }
        if let Some(as_sent) = &self.as_sent {
            let _ = write!(text, "{:<35}", "(from when they were sent)");
            for micros in as_sent.list() {
                let _ = write!(text, "{:>10}", shown(micros));
            }
            text.push('\n');
        }
        text.push('\n');
        self.tell_the_rest(&mut text);
        text
    }

    fn tell_the_rest(&self, text: &mut String) {
        for errors in &self.errors {
            let expected = if errors.expected { " (expected)" } else { "" };
            let first = if errors.first.is_empty() { String::new() } else { format!(": {}", errors.first) };
            let _ = writeln!(text, "errors     {} {}{expected}{first}", errors.count, errors.code);
        }
        if !self.answered.is_empty() {
            let counts: Vec<String> = self.answered.iter().map(|(word, count)| format!("{count} {word}")).collect();
            let _ = writeln!(text, "answered   {}", counts.join(", "));
        }
        if let Some(check) = &self.read_back {
            let found = check.looked_up.saturating_sub(check.lost).saturating_sub(check.unanswered);
            let _ = writeln!(
                text,
                "read back  {found} of {} looked up, {} taken; {} lost, {} without an answer",
                check.looked_up, check.taken, check.lost, check.unanswered
            );
        }
        if let Some(share) = self.own_share {
            let _ = writeln!(text, "generator  busy {:.0} % of its time", share * 100.0);
        }
        for used in &self.processes {
            let seconds = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), |value| format!("{value:.3}"));
            let _ = writeln!(
                text,
                "process {}  {} CPU s, {} for 1000 calls, at most {} KiB",
                used.pid,
                seconds(used.cpu_s),
                seconds(used.cpu_s_per_1000),
                used.peak_kib.map_or_else(|| "?".to_owned(), |kib| kib.to_string()),
            );
        }
        for doubt in &self.doubts {
            let _ = writeln!(text, "doubt      {doubt}");
        }
    }
}

fn line(face: &str, call: &str, row: &Row, seconds: f64) -> Line {
    let calls = row.latencies.count();
    Line {
        face: face.to_owned(),
        call: call.to_owned(),
        calls,
        per_s: rate(calls, seconds),
        errors: row.errors,
        latency: Percentiles::of(&row.latencies),
    }
}

/// So many in so much time, each second.
#[must_use]
pub fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { Duration::from_micros(count).as_secs_f64() * 1e6 / seconds } else { 0.0 }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A time with three digits.
#[must_use]
pub fn shown(micros: f64) -> String {
    match micros {
        ..1_000.0 => format!("{micros:.0} us"),
        ..10_000.0 => format!("{:.2} ms", micros / 1e3),
        ..100_000.0 => format!("{:.1} ms", micros / 1e3),
        ..1_000_000.0 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_fits() {
        for (micros, text) in
            [(7.0, "7 us"), (1_234.0, "1.23 ms"), (56_780.0, "56.8 ms"), (567_800.0, "568 ms"), (2.5e6, "2.50 s")]
        {
            assert_eq!(shown(micros), text);
        }
    }

    #[test]
    fn only_expected_errors_are_good() {
        let mut tally = Tally::default();
        tally.error("too-many-requests".to_owned(), 3, String::new());
        for (expected, good) in [(BTreeSet::new(), false), (BTreeSet::from(["too-many-requests".to_owned()]), true)] {
            let mut report = blank();
            report.fill(&tally, &expected);
            assert_eq!(report.is_good(), good);
        }
    }

    #[test]
    fn what_was_lost_is_not_good_and_is_told() {
        let mut report = blank();
        report.read_back = Some(ReadBack { taken: 10, looked_up: 10, lost: 1, unanswered: 0 });
        assert!(!report.is_good());
        assert!(report.text().contains("read back  9 of 10 looked up, 10 taken; 1 lost"), "{}", report.text());
    }

    fn blank() -> Report {
        Report {
            target: "http://gateway.example".to_owned(),
            run: "abcdefgh".to_owned(),
            mix: "validate:1".to_owned(),
            rate_per_s: None,
            in_flight: 1,
            connections: 1,
            seconds: 1.0,
            ended_early: false,
            rows: Vec::new(),
            as_sent: None,
            errors: Vec::new(),
            answered: BTreeMap::new(),
            read_back: None,
            own_share: None,
            processes: Vec::new(),
            doubts: Vec::new(),
        }
    }
}
