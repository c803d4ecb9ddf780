//! What a run says while it goes on: a line a second on a terminal, in place, and one every ten elsewhere.
//!
//! Invariant: it goes to standard error, holds no number and no id, and never stops a run: what cannot be written is
//! left out.

use std::io::{IsTerminal as _, Write};
use std::time::{Duration, Instant};

use super::report::{rate, shown};
use super::tally::Tally;

const ON_A_TERMINAL: Duration = Duration::from_secs(1);
const ELSEWHERE: Duration = Duration::from_secs(10);

/// Writes progress.
pub struct Progress<'a> {
    out: Option<&'a mut dyn Write>,
    in_place: bool,
    what: String,
    begun: Instant,
    told: Instant,
}

impl<'a> Progress<'a> {
    /// Progress on `out`, unless nobody wants it.
    pub fn new(quiet: bool, out: &'a mut dyn Write) -> Self {
        let now = Instant::now();
        let in_place = std::io::stderr().is_terminal();
        Self { out: (!quiet).then_some(out), in_place, what: String::new(), begun: now, told: now }
    }

    /// Something begins.
    pub fn begin(&mut self, what: &str) {
        what.clone_into(&mut self.what);
        self.begun = Instant::now();
        self.told = self.begun;
    }

    /// Tells how it goes, if it is time to.
    pub fn tell(&mut self, lately: impl FnOnce() -> Tally) {
        let every = if self.in_place { ON_A_TERMINAL } else { ELSEWHERE };
        let since = self.told.elapsed();
        if self.out.is_none() || since < every {
            return;
        }
        let lately = lately();
        let calls = &lately.lately;
        let errors: u64 = lately.errors.values().fold(0, |sum, (count, _)| sum.saturating_add(*count));
        let line = format!(
            "{} {:>4} s  {:>8.0}/s  p50 {:>8}  p99 {:>8}  max {:>8}  errors {errors}",
            self.what,
            self.begun.elapsed().as_secs(),
            rate(calls.count(), since.as_secs_f64()),
            shown(calls.at(0.5).as_secs_f64() * 1e6),
            shown(calls.at(0.99).as_secs_f64() * 1e6),
            shown(calls.max().as_secs_f64() * 1e6),
        );
        self.write(&if self.in_place { format!("\r{line}\u{1b}[K") } else { format!("{line}\n") });
        self.told = Instant::now();
    }

    /// It is over.
    pub fn end(&mut self) {
        if self.in_place && self.told != self.begun {
            self.write("\n");
        }
    }

    fn write(&mut self, text: &str) {
        if let Some(out) = &mut self.out {
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }
}
