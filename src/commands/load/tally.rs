//! What has been measured: histograms of latency by face and verb, and errors by code.
//!
//! Invariant: memory does not grow with the number of calls: a histogram has a fixed size (three digits, a microsecond
//! to ten minutes), and codes beyond a bound are counted together.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::book::Standing;
use super::call::Face;
use super::mix::Verb;

/// Shortest latency that is told apart, in nanoseconds.
const LOW_NANOS: u64 = 1_000;
/// Longest; what is longer counts as this.
const HIGH_NANOS: u64 = 600_000_000_000;
/// Digits that are kept.
const DIGITS: u8 = 3;
/// Different codes of a run; the contract has seventeen.
const CODES_MAX: usize = 64;
/// The code of what is beyond.
const OTHER: &str = "other";
/// The code of calls that were due by the clock and could not be sent.
const NOT_SENT: &str = "not-sent";

/// A histogram of latencies.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(LOW_NANOS, HIGH_NANOS, DIGITS).expect("the bounds above are in order"))
    }
}

impl Latencies {
    /// One more.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(HIGH_NANOS));
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// What this part of them did not outlast.
    #[must_use]
    pub fn at(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    /// Puts others to these.
    ///
    /// # Panics
    /// Never: all histograms have the same bounds.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }
}

/// One row of a report.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// From when a call was due to its answer, errors included.
    pub latencies: Latencies,
    /// Calls that ended in an error.
    pub errors: u64,
}

impl Row {
    fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies);
        self.errors = self.errors.saturating_add(other.errors);
    }
}

/// What one thread has seen.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// By face and verb.
    pub rows: BTreeMap<(Face, Verb), Row>,
    /// From when a call was sent to its answer: what a client sees that waits for each answer.
    pub as_sent: Latencies,
    /// Calls that were due by the clock and never sent, with what they have waited: they would have taken longer.
    pub never_sent: Row,
    /// By code, with the text of the first; warm-up included.
    pub errors: BTreeMap<String, (u64, String)>,
    /// What transactions came to, by the contract's word.
    pub standings: BTreeMap<&'static str, u64>,
    /// When the last measured call ended.
    pub last: Option<Instant>,
    /// Since progress was last told.
    pub lately: Latencies,
}

/// One call that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its face.
    pub face: Face,
    /// What it asked for.
    pub verb: Verb,
    /// When it was due.
    pub due: Instant,
    /// When it was sent.
    pub sent: Instant,
    /// When it ended.
    pub at: Instant,
    /// Whether it counts.
    pub measured: bool,
    /// What was answered, or a code and a text.
    pub answer: Result<Option<Standing>, (String, String)>,
}

impl Tally {
    /// Takes note of a call.
    pub fn record(&mut self, ended: Ended) {
        let latency = ended.at.saturating_duration_since(ended.due);
        self.lately.record(latency);
        let failed = ended.answer.is_err();
        match ended.answer {
            Ok(Some(standing)) if ended.verb != Verb::Get => {
                let count = self.standings.entry(standing.word()).or_default();
                *count = count.saturating_add(1);
            }
            Ok(_) => {}
            Err((code, why)) => self.error(code, 1, why),
        }
        if ended.measured {
            let row = self.rows.entry((ended.face, ended.verb)).or_default();
            row.latencies.record(latency);
            row.errors = row.errors.saturating_add(u64::from(failed));
            self.as_sent.record(ended.at.saturating_duration_since(ended.sent));
            self.last = self.last.max(Some(ended.at));
        }
    }

    /// Takes note of a call that was due and never sent.
    pub fn never_sent(&mut self, waited: Duration) {
        self.never_sent.latencies.record(waited);
        self.never_sent.errors = self.never_sent.errors.saturating_add(1);
        self.error(NOT_SENT.to_owned(), 1, "due by the clock while every call in flight waited".to_owned());
    }

    /// Counts errors of a code.
    pub fn error(&mut self, code: String, count: u64, why: String) {
        let known = self.errors.contains_key(&code) || self.errors.len() < CODES_MAX;
        let code = if known { code } else { OTHER.to_owned() };
        let entry = self.errors.entry(code).or_insert((0, why));
        entry.0 = entry.0.saturating_add(count);
    }

    /// Puts another thread's to this one.
    pub fn add(&mut self, other: &Self) {
        for (key, row) in &other.rows {
            self.rows.entry(*key).or_default().add(row);
        }
        self.never_sent.add(&other.never_sent);
        self.as_sent.add(&other.as_sent);
        self.lately.add(&other.lately);
        for (code, (count, why)) in &other.errors {
            self.error(code.clone(), *count, why.clone());
        }
        for (word, count) in &other.standings {
            let own = self.standings.entry(word).or_default();
            *own = own.saturating_add(*count);
        }
        self.last = self.last.max(other.last);
    }

    /// All rows together.
    #[must_use]
    pub fn total(&self) -> Row {
        let mut total = self.never_sent.clone();
        for row in self.rows.values() {
            total.add(row);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(measured: bool, wait_ms: u64, answer: Result<Option<Standing>, (String, String)>) -> Ended {
        let due = Instant::now();
        let sent = due.checked_add(Duration::from_millis(wait_ms)).expect("a time");
        let at = sent.checked_add(Duration::from_millis(1)).expect("a time");
        Ended { face: Face::Grpc, verb: Verb::Charge, due, sent, at, measured, answer }
    }

    #[test]
    fn latency_counts_from_when_a_call_was_due() {
        let mut tally = Tally::default();
        tally.record(ended(true, 99, Ok(None)));
        let total = tally.total();
        assert_eq!((total.latencies.count(), total.errors), (1, 0));
        assert!(total.latencies.max() >= Duration::from_millis(100), "{:?}", total.latencies.max());
        assert!(tally.as_sent.max() < Duration::from_millis(2));
    }

    #[test]
    fn warm_up_is_not_measured_but_its_errors_are_told() {
        let mut tally = Tally::default();
        tally.record(ended(false, 0, Err(("service-unavailable".to_owned(), "why".to_owned()))));
        assert_eq!((tally.total().latencies.count(), tally.errors["service-unavailable"].0), (0, 1));
    }

    #[test]
    fn codes_are_bounded() {
        let mut tally = Tally::default();
        for number in 0..1000 {
            tally.error(format!("code-{number}"), 1, String::new());
        }
        assert_eq!((tally.errors.len(), tally.errors[OTHER].0), (CODES_MAX + 1, 1000 - 64));
    }

    #[test]
    fn threads_add_up() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        one.record(ended(true, 0, Ok(Some(Standing::Success))));
        other.record(ended(true, 5, Err(("timed-out".to_owned(), String::new()))));
        one.add(&other);
        assert_eq!((one.total().latencies.count(), one.total().errors, one.as_sent.count()), (2, 1, 2));
        assert_eq!(one.standings, BTreeMap::from([("Success", 1)]));
    }
}
