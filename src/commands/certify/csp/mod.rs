//! `onbill certify csp`: the suite of a CSP, against its endpoint or its adapter process in its test environment.
//!
//! Invariant: a run that could not begin ends with 2 and one line; the verdict of a run that did is its exit code. A key
//! is never printed. What is asked and how it is judged is `runtime::csp_suite`.

mod args;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use http::HeaderValue;

pub use self::args::CspArgs;
use self::args::Speaks;
use super::bench::Watch as _;
use super::check::Difference;
use super::command::{exit_code, print, progress, tell, url};
use super::faces::Face;
use super::random;
use super::report;
use super::verdict::{CaseResult, Outcome, RunInfo, StepRecord, Subject, Verdict};
use crate::commands::chain;
use crate::runtime::csp_suite::{self, CASES, CaseReport, Reach, Step, Terms, terms};
use crate::runtime::sandbox_csp::Protocol;

/// Runs the command.
pub(super) async fn run(args: &CspArgs) -> Result<ExitCode, String> {
    if args.accounts_example {
        print(terms::EXAMPLE);
        return Ok(ExitCode::SUCCESS);
    }
    if args.list {
        print(&list());
        return Ok(ExitCode::SUCCESS);
    }
    let (face, protocol) = match args.protocol {
        Some(Speaks::Http) | None => (Face::Json, Protocol::Http),
        Some(Speaks::Grpc) => (Face::Grpc, Protocol::Grpc),
    };
    let terms = read_terms(args)?;
    let reach = reach(args, protocol)?;
    let subject = csp_suite::Subject::reached(&reach, &terms).map_err(|error| chain(&error))?;
    if let Some(directory) = &args.report {
        report::prepare(directory)?;
    }
    let wanted = |id: u8| args.wants(id);
    let progress = progress(args.json, args.no_color);
    let target = reach.url.to_string().trim_end_matches('/').to_owned();
    let count = CASES.iter().filter(|case| wanted(case.id)).count();
    progress.begin(count, &format!("{target} over {}: real charges are made on its test accounts", args.word()));
    let run_id = format!("certify-{}", random::token(8));
    let (begun, started_at) = (Instant::now(), jiff::Timestamp::now());
    let reports =
        csp_suite::run(&subject, &terms, &run_id, wanted, |report| progress.finished(&result(report, face))).await;
    let run = RunInfo {
        subject: Subject::Csp,
        run_id,
        by: args.by.clone(),
        target,
        target_version: None,
        certifier_version: env!("CARGO_PKG_VERSION").to_owned(),
        faces: vec![face],
        sandbox: false,
        started_at: started_at.round(jiff::Unit::Second).unwrap_or(started_at).to_string(),
        elapsed_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let outcome = Outcome::new(run, reports.iter().map(|report| result(report, face)).collect());
    tell(&outcome, &progress, args.json, args.report.as_deref())?;
    Ok(exit_code(&outcome, false))
}

fn read_terms(args: &CspArgs) -> Result<Terms, String> {
    let path = args.accounts.as_deref().ok_or("--accounts is missing: --accounts-example prints one to begin with")?;
    let told = |error: String| format!("--accounts {}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
    Terms::parse(&text).map_err(told)
}

fn reach(args: &CspArgs, protocol: Protocol) -> Result<Reach, String> {
    let read = |option: &str, path: &std::path::Path| {
        std::fs::read(path).map_err(|error| format!("{option} {}: {error}", path.display()))
    };
    let api_key = match (&args.api_key, &args.api_key_file) {
        (Some(key), _) => Some(key.clone().into_bytes()),
        (None, Some(path)) => Some(read("--api-key-file", path)?),
        (None, None) => None,
    };
    let header = |bytes: Vec<u8>| {
        let usable = HeaderValue::from_bytes(bytes.trim_ascii()).ok().filter(|value| !value.is_empty());
        let mut value = usable.ok_or("the API key must be visible characters, at least one")?;
        value.set_sensitive(true);
        Ok::<_, String>(value)
    };
    let client_pem = match (&args.client_cert, &args.client_key) {
        (Some(certificate), Some(key)) => Some((read("--client-cert", certificate)?, read("--client-key", key)?)),
        _ => None,
    };
    Ok(Reach {
        protocol,
        url: url(args.url.as_deref().unwrap_or_default(), "--url")?,
        api_key: api_key.map(header).transpose()?,
        ca_pem: args.ca.as_deref().map(|path| read("--ca", path)).transpose()?,
        client_pem,
    })
}

fn list() -> String {
    let mut text = format!("{:>2}  {:<12}  {}\n", "#", "GROUP", "CASE");
    for case in CASES {
        let _ = writeln!(text, "{:>2}  {:<12}  {}", case.id, case.group, case.title);
    }
    text
}

/// A case in the form that reports have.
fn result(report: &CaseReport, face: Face) -> CaseResult {
    CaseResult {
        id: report.case.id,
        title: report.case.title.to_owned(),
        category: report.case.group.to_owned(),
        sub_category: String::new(),
        given: report.case.given.to_owned(),
        behaviour: report.case.why.to_owned(),
        face,
        verdict: match report.verdict {
            csp_suite::Verdict::Passed => Verdict::Passed,
            csp_suite::Verdict::Failed => Verdict::Failed,
            csp_suite::Verdict::NotChecked => Verdict::NotChecked,
            csp_suite::Verdict::NotOffered => Verdict::NotOffered,
        },
        needs: report.needs.clone(),
        account: None,
        steps: report.steps.iter().map(|step| record(step, face)).collect(),
        attempts: 1,
        notes: Vec::new(),
        elapsed_ms: report.elapsed_ms,
    }
}

fn record(step: &Step, face: Face) -> StepRecord {
    let (expected, actual) = (step.expected.clone(), step.actual.clone());
    let difference = Difference { at: "answer".to_owned(), expected: expected.clone(), actual: actual.clone() };
    StepRecord {
        name: step.name.clone(),
        prepare: false,
        face,
        call: step.call.to_owned(),
        request: step.request.clone(),
        expected,
        actual,
        differences: if step.held { Vec::new() } else { vec![difference] },
        effects: Vec::new(),
        not_checked: Vec::new(),
        remarks: Vec::new(),
        elapsed_ms: step.elapsed_ms,
    }
}
