//! What a run found: the form in which it is shown, stored and tested.
//!
//! Invariant: nothing here holds a whole number, a PIN or a key: texts are masked before they come in. How a verdict
//! comes about is not decided here.

use serde::Serialize;

use super::cases::CaseId;
use super::check::Difference;
use super::faces::Face;

/// What became of a case on one face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything that could be seen is as it must be.
    Passed,
    /// Something is not.
    Failed,
    /// It could not be run.
    NotChecked,
    /// The CSP says that it does not have what the case is about.
    NotOffered,
}

/// One step as it went.
#[derive(Debug, Clone, Serialize)]
pub struct StepRecord {
    /// What it does.
    pub name: String,
    /// Whether it only prepares.
    pub prepare: bool,
    /// On which face.
    pub face: Face,
    /// The call: `POST /transaction`.
    pub call: String,
    /// The request's fields, as JSON.
    pub request: String,
    /// What the answer must be, status first.
    pub expected: String,
    /// What it was, in the same form.
    pub actual: String,
    /// What differs, effects included; of a preparation, why it failed.
    pub differences: Vec<Difference>,
    /// Effects that were seen and are as they must be.
    pub effects: Vec<String>,
    /// Effects that could not be seen: `bill unchanged (needs …)`.
    pub not_checked: Vec<String>,
    /// What decides nothing.
    pub remarks: Vec<String>,
    /// Until the answer was complete.
    pub elapsed_ms: u64,
}

/// One case on one face.
#[derive(Debug, Clone, Serialize)]
pub struct CaseResult {
    /// Its number.
    pub id: CaseId,
    /// What it shows.
    pub title: String,
    /// Group of the page.
    pub category: String,
    /// Group within it.
    pub sub_category: String,
    /// The situation.
    pub given: String,
    /// What an OTT does after it.
    pub behaviour: String,
    /// On which face.
    pub face: Face,
    /// What became of it.
    pub verdict: Verdict,
    /// Why it could not be run: `needs …`.
    pub needs: Option<String>,
    /// The number that was used, masked.
    pub account: Option<String>,
    /// The steps of the last attempt.
    pub steps: Vec<StepRecord>,
    /// How often it was begun, and why anew.
    pub attempts: u32,
    /// Why earlier attempts did not count.
    pub notes: Vec<String>,
    /// All attempts together.
    pub elapsed_ms: u64,
}

impl CaseResult {
    /// What differed, with the step it differed in.
    pub fn differences(&self) -> impl Iterator<Item = (&StepRecord, &Difference)> {
        self.steps.iter().flat_map(|step| step.differences.iter().map(move |difference| (step, difference)))
    }

    /// Effects that could not be seen.
    pub fn not_checked(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().flat_map(|step| step.not_checked.iter().map(String::as_str))
    }
}

/// What was certified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A gateway.
    Gateway,
    /// A CSP.
    Csp,
}

/// The run as a whole.
#[derive(Debug, Clone, Serialize)]
pub struct RunInfo {
    /// What was certified.
    pub subject: Subject,
    /// Names this run in the logs of what is certified: it begins every `x-correlation-id`.
    pub run_id: String,
    /// Who ran it.
    pub by: String,
    /// Where the gateway is.
    pub target: String,
    /// What it says it is, where it says so.
    pub target_version: Option<String>,
    /// Version of the certifier.
    pub certifier_version: String,
    /// The faces that were certified.
    pub faces: Vec<Face>,
    /// Whether inbox, bill and clock could be seen.
    pub sandbox: bool,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// How long it took.
    pub elapsed_ms: u64,
}

/// How many cases went how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Cases that hold.
    pub passed: usize,
    /// Cases that do not.
    pub failed: usize,
    /// Cases that could not be run.
    pub not_checked: usize,
    /// Cases about what is not offered.
    pub not_offered: usize,
    /// Cases that hold as far as could be seen: effects among them could not.
    pub with_unseen_effects: usize,
}

/// The form of an outcome as JSON. A field that is added leaves it as it is; one that goes or means something else
/// makes it another.
pub const FORMAT: u32 = 1;

/// What a run found.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Which form this is in, [`FORMAT`]: for programs that read it.
    pub format: u32,
    /// The run.
    pub run: RunInfo,
    /// Numbers.
    pub totals: Totals,
    /// Every case on every face, by number and face.
    pub results: Vec<CaseResult>,
}

impl Outcome {
    /// An outcome; results are put in order and counted.
    #[must_use]
    pub fn new(run: RunInfo, mut results: Vec<CaseResult>) -> Self {
        results.sort_by_key(|result| (result.id, result.face));
        let count = |verdict: Verdict| results.iter().filter(|result| result.verdict == verdict).count();
        let unseen = |result: &&CaseResult| result.verdict == Verdict::Passed && result.not_checked().next().is_some();
        let totals = Totals {
            passed: count(Verdict::Passed),
            failed: count(Verdict::Failed),
            not_checked: count(Verdict::NotChecked),
            not_offered: count(Verdict::NotOffered),
            with_unseen_effects: results.iter().filter(unseen).count(),
        };
        Self { format: FORMAT, run, totals, results }
    }

    /// Numbers of the cases that failed on a face.
    #[must_use]
    pub fn failed(&self, face: Face) -> Vec<CaseId> {
        let failed = |result: &&CaseResult| result.face == face && result.verdict == Verdict::Failed;
        self.results.iter().filter(failed).map(|result| result.id).collect()
    }

    /// Whether every case holds: none failed and none could not be run.
    #[must_use]
    pub const fn all_hold(&self) -> bool {
        self.totals.failed == 0 && self.totals.not_checked == 0
    }
}
