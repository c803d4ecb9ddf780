//! A whole run: every wanted case on every wanted face, many at a time.
//!
//! Invariant: cases that move the sandbox clock come last, since the clock is everybody's; nothing else depends on
//! order. A case is begun anew only where an attempt says nothing about the gateway.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Uri;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::accounts::Accounts;
use super::attempt::{Attempt, Stop};
use super::bench::{Beginning, Bench, Watch};
use super::cases::{self, Case, Contract};
use super::document::Document;
use super::faces::{Client, Face, Target};
use super::pins::Pins;
use super::probe::{TargetError, probe};
use super::random;
use super::sandbox::Sandbox;
use super::select::Selection;
use super::verdict::{CaseResult, Outcome, RunInfo, Subject, Verdict};

/// Time-outs that one case may meet: each has cost the whole time-out.
const TIMEOUTS_MAX: u32 = 2;
const BEGIN_ANEW_AFTER: Duration = Duration::from_millis(100);

/// What to certify, and how.
#[derive(Clone)]
pub struct Options {
    /// Where the gateway is.
    pub target: Uri,
    /// Where its gRPC face is, if not there.
    pub grpc_target: Option<Uri>,
    /// The partner's key.
    pub api_key: String,
    /// Which faces.
    pub faces: Vec<Face>,
    /// Which cases.
    pub cases: Selection,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Cases that run at a time.
    pub parallel: usize,
    /// Most beginnings of one case for want of an answer.
    pub attempts_max: u32,
    /// Which number is in which condition; none: the sandbox's own.
    pub accounts: Option<PathBuf>,
    /// PINs where there is no sandbox.
    pub pins: Pins,
    /// How long a PIN lives.
    pub pin_ttl: Duration,
    /// More certificates to trust, PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Who runs it, for the report.
    pub by: String,
}

impl Options {
    /// Both faces, all cases, of a sandbox.
    #[must_use]
    pub fn new(target: Uri, api_key: &str) -> Self {
        Self {
            target,
            grpc_target: None,
            api_key: api_key.to_owned(),
            faces: vec![Face::Json, Face::Grpc],
            cases: Selection::default(),
            timeout: Duration::from_secs(10),
            parallel: 8,
            attempts_max: 10,
            accounts: None,
            pins: Pins::default(),
            pin_ttl: Duration::from_mins(5),
            ca_pem: None,
            by: "unknown".to_owned(),
        }
    }
}

/// Certifies a gateway.
///
/// # Errors
/// Why the run could not begin. What the gateway does wrong is no error but the outcome.
pub async fn certify(options: Options, watch: Arc<dyn Watch>) -> Result<Outcome, TargetError> {
    let begun = Instant::now();
    let started_at = jiff::Timestamp::now();
    let (cases, contract) = cases::load().map_err(|error| TargetError::Options(error.to_string()))?;
    let bench = Arc::new(bench(&options, Arc::new(contract), watch).await?);
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for case in cases.into_iter().filter(|case| options.cases.has(case.id)) {
        let moves_the_clock = case.steps.iter().any(|step| step.after.is_some());
        let turn = if moves_the_clock { &mut last } else { &mut first };
        turn.extend(bench.clients.keys().map(|face| (case.clone(), *face)));
    }
    let target = options.target.to_string().trim_end_matches('/').to_owned();
    bench.watch.begun(&Beginning {
        results: first.len().saturating_add(last.len()),
        target: target.clone(),
        faces: bench.clients.keys().copied().collect(),
        sandbox: !bench.sandboxes.is_empty(),
        accounts_listed: bench.accounts.any_listed(),
    });
    let mut results = run_all(&bench, first, options.parallel).await;
    results.extend(run_all(&bench, last, options.parallel).await);
    let run = RunInfo {
        subject: Subject::Gateway,
        run_id: bench.run_id.clone(),
        by: options.by,
        target,
        target_version: version(&bench).await,
        certifier_version: env!("CARGO_PKG_VERSION").to_owned(),
        faces: bench.clients.keys().copied().collect(),
        sandbox: !bench.sandboxes.is_empty(),
        started_at: started_at.round(jiff::Unit::Second).unwrap_or(started_at).to_string(),
        elapsed_ms: milliseconds(begun.elapsed()),
    };
    Ok(Outcome::new(run, results))
}

async fn bench(options: &Options, contract: Arc<Contract>, watch: Arc<dyn Watch>) -> Result<Bench, TargetError> {
    let accounts = match &options.accounts {
        Some(path) => {
            Accounts::read(path, &contract).map_err(|error| TargetError::Options(format!("--accounts {error}")))?
        }
        None => Accounts::default(),
    };
    let mut clients = BTreeMap::new();
    let url_of = |face: Face| options.grpc_target.as_ref().filter(|_| face == Face::Grpc).unwrap_or(&options.target);
    for face in &options.faces {
        let url = url_of(*face);
        let (api_key, ca_pem) = (options.api_key.clone(), options.ca_pem.clone());
        let target = Target { url: url.clone(), api_key, timeout: options.timeout, ca_pem };
        clients.insert(*face, Client::new(*face, &target, &contract).map_err(TargetError::Options)?);
    }
    for (face, client) in &clients {
        probe(client, *face, url_of(*face), &contract).await?;
    }
    let mut sandboxes = BTreeMap::new();
    if let Some(loan) = accounts.lend("active-postpaid", &contract, true).await {
        for (face, client) in &clients {
            if let Some(sandbox) = Sandbox::find(client, &contract, &loan.msisdn).await {
                sandboxes.insert(*face, sandbox);
            }
        }
    }
    Ok(Bench {
        contract,
        clients,
        sandboxes,
        accounts,
        pins: options.pins.clone(),
        pin_ttl: options.pin_ttl,
        attempts_max: options.attempts_max.max(1),
        run_id: format!("certify-{}", random::token(10)),
        watch,
    })
}

async fn run_all(bench: &Arc<Bench>, work: Vec<(Case, Face)>, parallel: usize) -> Vec<CaseResult> {
    let room = Arc::new(Semaphore::new(parallel.max(1)));
    let mut running = JoinSet::new();
    for (case, face) in work {
        // Taken before the task begins, so that cases begin in their order.
        let permit = Arc::clone(&room).acquire_owned().await;
        let bench = Arc::clone(bench);
        running.spawn(async move {
            let _permit = permit;
            let result = run_case(&bench, &case, face).await;
            bench.watch.finished(&result);
            result
        });
    }
    running.join_all().await
}

/// One case, begun anew where an attempt says nothing.
async fn run_case(bench: &Bench, case: &Case, face: Face) -> CaseResult {
    let begun = Instant::now();
    let mut result = blank(case, face);
    let mut timeouts = 0_u32;
    loop {
        result.attempts = result.attempts.saturating_add(1);
        let mut attempt = match Attempt::begin(bench, case, face).await {
            Ok(attempt) => attempt,
            Err(needs) => {
                result.needs = Some(needs);
                break;
            }
        };
        let ended = attempt.run().await;
        if let Some(why) = begin_anew(bench, &attempt, &ended, result.attempts, &mut timeouts).await {
            result.notes.push(format!("attempt {}: {why}", result.attempts));
            continue;
        }
        judge(&mut result, attempt, ended);
        break;
    }
    result.elapsed_ms = milliseconds(begun.elapsed());
    result
}

/// Why an attempt says nothing and another one is due, if so.
async fn begin_anew(
    bench: &Bench,
    attempt: &Attempt<'_>,
    ended: &Result<(), Stop>,
    attempts: u32,
    timeouts: &mut u32,
) -> Option<String> {
    match ended {
        Err(Stop::NoAnswer(silence)) => {
            *timeouts = timeouts.saturating_add(u32::from(silence.timed_out));
            let again = attempts < bench.attempts_max && *timeouts < TIMEOUTS_MAX;
            if again {
                tokio::time::sleep(BEGIN_ANEW_AFTER.saturating_mul(attempts)).await;
            }
            again.then(|| silence.why.clone())
        }
        Ok(()) if !attempt.differs() => None,
        Ok(()) | Err(Stop::Needs(_)) => {
            let disturbance = attempt.disturbance().await?;
            (attempts < disturbance.attempts_max()).then(|| disturbance.text().to_owned())
        }
    }
}

fn judge(result: &mut CaseResult, attempt: Attempt<'_>, ended: Result<(), Stop>) {
    result.account = attempt.account();
    result.verdict = match (attempt.differs(), &ended) {
        (true, _) => Verdict::Failed,
        (false, Ok(())) => Verdict::Passed,
        (false, Err(_)) => Verdict::NotChecked,
    };
    result.needs = match ended {
        Err(Stop::Needs(needs)) => Some(needs),
        Err(Stop::NoAnswer(silence)) => Some(format!("needs an answer: {}", silence.why)),
        Ok(()) => None,
    };
    result.steps = attempt.steps;
}

fn blank(case: &Case, face: Face) -> CaseResult {
    CaseResult {
        id: case.id,
        title: case.title.clone(),
        category: case.category.clone(),
        sub_category: case.sub_category.clone(),
        given: case.given.clone(),
        behaviour: case.behaviour.clone(),
        face,
        verdict: Verdict::NotChecked,
        needs: None,
        account: None,
        steps: Vec::new(),
        attempts: 0,
        notes: Vec::new(),
        elapsed_ms: 0,
    }
}

/// What the target says it is, in its OpenAPI description.
async fn version(bench: &Bench) -> Option<String> {
    let Some(Client::Json(client)) = bench.clients.get(&Face::Json) else { return None };
    let answer = client.get("/openapi.json").await.ok()?;
    let info = answer.body.document()?.get("info")?.clone();
    let text = |key: &str| info.get(key).and_then(Document::text).unwrap_or_default().trim().to_owned();
    let version = format!("{} {}", text("title"), text("version"));
    Some(version.trim().chars().take(100).collect()).filter(|version: &String| !version.is_empty())
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
