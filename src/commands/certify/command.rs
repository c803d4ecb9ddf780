//! `onbill certify` from arguments to exit code.
//!
//! Invariant: a run that could not begin is told in one line on standard error and ends with 2; the verdict of a run
//! that did is its exit code, whatever became of the output.

use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use serde_json::json;

use super::accounts;
use super::args::{CertifyArgs, Other};
use super::cases;
use super::csp;
use super::pins::{Ask, Pins};
use super::progress::{Countdown, Progress, Style};
use super::report;
use super::run::{Options, certify};
use super::verdict::Outcome;
use super::verify;

/// The run could not begin.
const COULD_NOT_BEGIN: u8 = 2;
/// Nothing failed, but not all could be checked.
const NOT_ALL_CHECKED: u8 = 3;

/// Runs the command.
pub async fn run(args: CertifyArgs) -> ExitCode {
    let ended = match &args.other {
        Some(Other::Csp(args)) => csp::run(args).await,
        Some(Other::Verify(args)) => verify::run(args),
        None => run_checked(&args).await,
    };
    match ended {
        Ok(code) => code,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "error: {why}");
            ExitCode::from(COULD_NOT_BEGIN)
        }
    }
}

async fn run_checked(args: &CertifyArgs) -> Result<ExitCode, String> {
    if args.accounts_example {
        print(accounts::EXAMPLE);
        return Ok(ExitCode::SUCCESS);
    }
    if args.list {
        print(&list(args)?);
        return Ok(ExitCode::SUCCESS);
    }
    let options = options(args)?;
    if let Some(directory) = &args.report {
        report::prepare(directory)?;
    }
    let progress = Arc::new(progress(args.json, args.no_color));
    let outcome = certify(options, Arc::<Progress>::clone(&progress)).await.map_err(|error| error.to_string())?;
    tell(&outcome, &progress, args.json, args.report.as_deref())?;
    Ok(exit_code(&outcome, args.strict))
}

/// Tells an outcome wherever it is wanted.
pub(super) fn tell(outcome: &Outcome, progress: &Progress, json: bool, directory: Option<&Path>) -> Result<(), String> {
    progress.summary(outcome);
    if json {
        print(&format!("{}\n", report::json::render(outcome)));
    }
    if let Some(directory) = directory {
        report::write(directory, outcome)?;
        progress.line(&format!("report: {}", directory.join(report::PAGE).display()));
    }
    Ok(())
}

pub(super) fn exit_code(outcome: &Outcome, strict: bool) -> ExitCode {
    let unseen = strict && outcome.totals.with_unseen_effects > 0;
    match (outcome.totals.failed, outcome.totals.not_checked) {
        (0, 0) if !unseen => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(NOT_ALL_CHECKED),
        _ => ExitCode::FAILURE,
    }
}

fn options(args: &CertifyArgs) -> Result<Options, String> {
    let target = url(args.target.as_deref().unwrap_or_default(), "--target")?;
    let api_key = args.api_key.as_deref().filter(|key| !key.is_empty());
    let api_key = api_key.ok_or("--api-key is missing (or ONBILL_API_KEY in the environment)")?;
    let mut options = Options::new(target, api_key);
    options.grpc_target = args.grpc_target.as_deref().map(|text| url(text, "--grpc-target")).transpose()?;
    options.faces = args.face.list();
    options.cases = args.cases.clone().unwrap_or_default();
    options.timeout = Duration::from_secs(args.timeout.into());
    options.parallel = args.parallel.into();
    options.attempts_max = args.attempts.into();
    options.accounts.clone_from(&args.accounts);
    options.pins = Pins::new(args.pin_command.clone(), terminal());
    options.pin_ttl = Duration::from_secs(args.pin_ttl.into());
    if let Some(path) = &args.ca {
        let pem = std::fs::read(path).map_err(|error| format!("--ca {}: {error}", path.display()))?;
        options.ca_pem = Some(pem);
    }
    options.by.clone_from(&args.by);
    Ok(options)
}

pub(in crate::commands) fn url(text: &str, option: &str) -> Result<Uri, String> {
    let usable = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    let parsed = text.parse::<Uri>().ok().filter(usable).filter(|uri| uri.query().is_none());
    parsed.ok_or_else(|| format!("{option} {text}: write it as http://HOST:PORT or https://HOST:PORT"))
}

pub(super) fn progress(json: bool, no_color: bool) -> Progress {
    let terminal = if json { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
    let plain = !terminal || no_color;
    let style = if plain { Style::Plain } else { Style::Coloured };
    let countdown = if terminal { Countdown::InPlace } else { Countdown::EveryMinute };
    let out: Box<dyn Write + Send> = if json { Box::new(std::io::stderr()) } else { Box::new(std::io::stdout()) };
    Progress::new(out, style, countdown)
}

/// Somebody to ask for a PIN, if there is a terminal.
fn terminal() -> Option<Ask> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    Some(Arc::new(|question: &str| {
        let mut error = std::io::stderr();
        write!(error, "\r{question}")?;
        error.flush()?;
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        Ok(line)
    }))
}

fn list(args: &CertifyArgs) -> Result<String, String> {
    let (cases, _) = cases::load().map_err(|error| error.to_string())?;
    let wanted = args.cases.clone().unwrap_or_default();
    let cases = cases.iter().filter(|case| wanted.has(case.id));
    if args.json {
        let listed: Vec<_> = cases
            .map(|case| {
                json!({
                    "id": case.id, "title": case.title, "category": case.category,
                    "sub_category": case.sub_category, "account": case.account, "given": case.given,
                    "behaviour": case.behaviour,
                })
            })
            .collect();
        return serde_json::to_string_pretty(&listed).map(|text| text + "\n").map_err(|error| error.to_string());
    }
    let mut text = format!("{:>2}  {:<52}  {:<24}  {}\n", "#", "CASE", "GROUP", "ACCOUNT THAT IT NEEDS");
    for case in cases {
        let account = case.account.as_deref().unwrap_or("-");
        let _ = writeln!(text, "{:>2}  {:<52}  {:<24}  {account}", case.id, case.title, case.category);
    }
    Ok(text)
}

pub(super) fn print(text: &str) {
    // A reader that has gone away, as `head` does, is no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
