//! The suite that a CSP passes before money moves through it: what a gateway relies on, asked of the CSP itself.
//!
//! Invariant: it speaks to the CSP through the very adapter that the gateway will use, and judges by what the port
//! promises. What the CSP says it lacks is never counted as passed. It books real charges on the test accounts that it is
//! given, and gives back what it can. Cases are in `cases`, what they ask in `accounts`, `charges`, `refunds`, `outcomes`
//! and `connections`; how a question is asked and shown is in `bench`.

pub mod terms;
mod bench;
mod cases;
mod accounts;
mod charges;
mod refunds;
mod outcomes;
mod connections;

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Uri};

use self::bench::Bench;
pub use self::cases::{CASES, Case};
pub use self::terms::Terms;
use super::sandbox_csp::Protocol;
use super::wiring::{self, WiringError};
use crate::ports::csp::Csp;

/// What became of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All of it is as it must be.
    Passed,
    /// Something is not.
    Failed,
    /// It could not be run.
    NotChecked,
    /// The CSP says that it does not have this.
    NotOffered,
}

/// One question and its answer.
#[derive(Debug, Clone)]
pub struct Step {
    /// What is asked.
    pub name: String,
    /// The verb.
    pub call: &'static str,
    /// With what; without numbers, addresses and names of accounts.
    pub request: String,
    /// What the answer must be.
    pub expected: String,
    /// What it was.
    pub actual: String,
    /// Whether that will do.
    pub held: bool,
    /// How long it took.
    pub elapsed_ms: u64,
}

/// What became of one case.
#[derive(Debug, Clone)]
pub struct CaseReport {
    /// Which.
    pub case: &'static Case,
    /// What became of it.
    pub verdict: Verdict,
    /// What it lacked, where it was not run.
    pub needs: Option<String>,
    /// Its steps.
    pub steps: Vec<Step>,
    /// How long it took.
    pub elapsed_ms: u64,
}

/// A CSP, and whoever asks it.
#[derive(Clone)]
pub struct Subject {
    /// The CSP as the gateway will speak to it.
    pub csp: Arc<dyn Csp>,
    /// The same with a key that is not ours; `None`: there is no key.
    pub stranger: Option<Arc<dyn Csp>>,
    /// Host and port, for connections that are none; `None`: there is no socket.
    pub authority: Option<String>,
}

/// How a CSP is reached.
#[derive(Debug, Clone)]
pub struct Reach {
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Where it is.
    pub url: Uri,
    /// The key that it asks for; it does not print.
    pub api_key: Option<HeaderValue>,
    /// Certificates that are trusted beside the public authorities', in PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Our own certificate and its key, in PEM.
    pub client_pem: Option<(Vec<u8>, Vec<u8>)>,
}

impl Subject {
    /// A CSP behind the adapter that a gateway would use. Nothing is sent yet.
    ///
    /// # Errors
    /// Certificates or keys that cannot be used.
    pub fn reached(reach: &Reach, terms: &Terms) -> Result<Self, WiringError> {
        let other = Reach { api_key: Some(HeaderValue::from_static("onbill-certify-wrong-key")), ..reach.clone() };
        let stranger = reach.api_key.is_some().then(|| wiring::reached_csp(&other, &terms.not_applied_codes));
        let port = reach.url.port_u16().unwrap_or(if reach.url.scheme_str() == Some("https") { 443 } else { 80 });
        Ok(Self {
            csp: wiring::reached_csp(reach, &terms.not_applied_codes)?,
            stranger: stranger.transpose()?,
            authority: reach.url.host().map(|host| format!("{host}:{port}")),
        })
    }
}

/// Runs the cases that are wanted, one after the other, and tells each as it ends. `run_id`, letters and digits, begins
/// every correlation id.
pub async fn run(
    subject: &Subject,
    terms: &Terms,
    run_id: &str,
    wanted: impl Fn(u8) -> bool,
    mut told: impl FnMut(&CaseReport),
) -> Vec<CaseReport> {
    let mut reports = Vec::new();
    let mut bench = Bench::new(subject, terms, run_id);
    for case in CASES.iter().filter(|case| wanted(case.id)) {
        let begun = Instant::now();
        let lacking = case.needs.iter().find_map(|need| need.lacking(subject, terms));
        let (verdict, needs) = if let Some((verdict, needs)) = lacking {
            (verdict, Some(needs))
        } else {
            (case.run)(&mut bench).await;
            (bench.verdict(), None)
        };
        let report = CaseReport {
            case,
            verdict,
            needs,
            steps: bench.take_steps(),
            elapsed_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        told(&report);
        reports.push(report);
    }
    reports
}
