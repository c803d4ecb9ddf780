//! What a run says while it goes on: one line a case, what differed below it, and a summary.
//!
//! Invariant: colour is never the only sign, and a line is written whole. Nothing is written that a verdict does not
//! hold, so that masks hold here too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::bench::{Beginning, Watch};
use super::cases::CaseId;
use super::check::Difference;
use super::faces::Face;
use super::select;
use super::verdict::{CaseResult, Outcome, StepRecord, Verdict};

/// Longest text of one difference on the terminal; the report has the whole.
const SHOWN_MAX: usize = 400;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// With colours.
    Coloured,
    /// Without.
    Plain,
}

/// Where waiting is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Countdown {
    /// A line that changes in place.
    InPlace,
    /// A new line a minute.
    EveryMinute,
}

/// Writes progress to a stream.
pub struct Progress {
    state: Mutex<State>,
    style: Style,
    countdown: Countdown,
}

struct State {
    out: Box<dyn Write + Send>,
    results: usize,
    done: usize,
    in_place: bool,
    minutes_told: BTreeMap<(CaseId, Face), u64>,
}

impl Progress {
    /// Progress on `out`.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, style: Style, countdown: Countdown) -> Self {
        let state = State { out, results: 0, done: 0, in_place: false, minutes_told: BTreeMap::new() };
        Self { state: Mutex::new(state), style, countdown }
    }

    /// Writes the summary.
    pub fn summary(&self, outcome: &Outcome) {
        let totals = outcome.totals;
        let verdict = match (totals.failed, totals.not_checked) {
            (0, 0) => self.paint("32;1", "all hold"),
            (0, _) => self.paint("33;1", "not all could be checked"),
            _ => self.paint("31;1", "not all hold"),
        };
        let mut text = format!(
            "\n{verdict}: {} of {} passed, {} failed, {} not checked, in {}\n",
            totals.passed,
            outcome.results.len(),
            totals.failed,
            totals.not_checked,
            seconds(outcome.run.elapsed_ms),
        );
        let told =
            [("failed", Verdict::Failed), ("not checked", Verdict::NotChecked), ("not offered", Verdict::NotOffered)];
        for (word, verdict) in told {
            for face in &outcome.run.faces {
                let with = |result: &&CaseResult| result.verdict == verdict && result.face == *face;
                let ids: Vec<CaseId> = outcome.results.iter().filter(with).map(|result| result.id).collect();
                if !ids.is_empty() {
                    let _ = writeln!(text, "{word} on {face}: {}", select::written(&ids));
                }
            }
        }
        if totals.with_unseen_effects > 0 {
            let _ = writeln!(
                text,
                "{} of those that passed did so as far as can be seen from outside: \
                 the effects marked \"not checked\" need eyes on bill and phone",
                totals.with_unseen_effects
            );
        }
        self.write(&text);
    }

    /// Says what begins, and how many results there will be.
    pub fn begin(&self, results: usize, text: &str) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).results = results;
        self.line(text);
    }

    /// Writes a line of its own.
    pub fn line(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    fn write(&self, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clear_countdown();
        // A reader that has gone away ends nothing: the verdict is in the exit code and the report.
        let _ = state.out.write_all(text.as_bytes());
        let _ = state.out.flush();
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        match self.style {
            Style::Coloured => format!("\x1b[{colour}m{text}\x1b[0m"),
            Style::Plain => text.to_owned(),
        }
    }

    fn difference(&self, step: &StepRecord, difference: &Difference) -> String {
        let Difference { at, expected, actual } = difference;
        let minus = self.paint("31", &format!("- {}", clipped(expected)));
        let plus = self.paint("32", &format!("+ {}", clipped(actual)));
        format!("             {} ({}): {at}\n               {minus}\n               {plus}\n", step.name, step.call)
    }
}

impl Watch for Progress {
    fn begun(&self, beginning: &Beginning) {
        let faces: Vec<String> = beginning.faces.iter().map(Face::to_string).collect();
        let situation = match (beginning.sandbox, beginning.accounts_listed) {
            (true, false) => "a sandbox: fresh numbers, and bill, phone and clock are seen",
            (true, true) => "a sandbox: listed numbers, and bill, phone and clock are seen",
            (false, true) => "no sandbox: listed numbers, and effects on bill and phone cannot be seen",
            (false, false) => {
                "no sandbox, and no --accounts: only cases without an account can be run (see --accounts-example)"
            }
        };
        let text = format!("{} on {}: {situation}", beginning.target, faces.join(" and "));
        self.begin(beginning.results, &text);
    }

    fn finished(&self, result: &CaseResult) {
        let word = match result.verdict {
            Verdict::Passed => self.paint("32", "passed     "),
            Verdict::Failed => self.paint("31;1", "FAILED     "),
            Verdict::NotChecked => self.paint("33", "not checked"),
            Verdict::NotOffered => self.paint("2", "not offered"),
        };
        let (done, results) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.done = state.done.saturating_add(1);
            (state.done, state.results)
        };
        let width = results.to_string().len();
        let time = seconds(result.elapsed_ms);
        let mut text = format!(
            "[{done:>width$}/{results}] {word} {:>2} {} {:<52} {time:>8}\n",
            result.id, result.face, result.title
        );
        if matches!(result.verdict, Verdict::NotChecked | Verdict::NotOffered) {
            let _ = writeln!(text, "             {}", result.needs.as_deref().unwrap_or("needs a run"));
        } else if result.verdict == Verdict::Failed {
            for (step, difference) in result.differences() {
                text.push_str(&self.difference(step, difference));
            }
        }
        for unseen in result.not_checked() {
            text.push_str(&self.paint("2", &format!("             {unseen}\n")));
        }
        for note in &result.notes {
            text.push_str(&self.paint("2", &format!("             {note}\n")));
        }
        self.write(&text);
    }

    fn waiting(&self, id: CaseId, face: Face, left: Duration) {
        let seconds = left.as_secs();
        let text = format!("case {id} {face} waits for its PIN to expire: {}:{:02} left", seconds / 60, seconds % 60);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match self.countdown {
            Countdown::InPlace => {
                let _ = write!(state.out, "\r\x1b[K{text}");
                state.in_place = true;
            }
            Countdown::EveryMinute => {
                let minute = seconds / 60;
                if state.minutes_told.insert((id, face), minute) != Some(minute) {
                    let _ = writeln!(state.out, "{text}");
                }
            }
        }
        let _ = state.out.flush();
    }
}

impl State {
    fn clear_countdown(&mut self) {
        if std::mem::take(&mut self.in_place) {
            let _ = self.out.write_all(b"\r\x1b[K");
        }
    }
}

fn clipped(text: &str) -> String {
    let line = text.replace('\n', " ");
    if line.chars().count() <= SHOWN_MAX {
        return line;
    }
    let mut shown: String = line.chars().take(SHOWN_MAX).collect();
    shown.push('…');
    shown
}

/// `12 ms`, `3.4 s`.
#[must_use]
pub fn seconds(milliseconds: u64) -> String {
    if milliseconds < 1000 {
        return format!("{milliseconds} ms");
    }
    format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}
