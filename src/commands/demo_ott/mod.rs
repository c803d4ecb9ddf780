//! `onbill demo-ott`: an OTT that does the whole purchase as the use cases expect, or with a flaw on order.
//!
//! Invariant: a client of the public API like any other: it knows the page of use cases, and nothing of how it is
//! certified. Each purchase has a number of its own, so that what one shows never answers for another.

mod flaw;
mod journey;
mod shop;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use self::flaw::Flaw;
use self::shop::Shop;
use super::Outcome;
use super::certify::cases;
use super::certify::document::Document;
use super::certify::faces::{Client, Face, Target};
use super::certify::verify::shown;

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Arguments of `demo-ott`.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES
  A whole certification in a sandbox (`onbill serve` starts one), with its certificate:
    onbill demo-ott --url http://127.0.0.1:8080 --key demo-key --report certificate/
    onbill certify verify certificate/certificate.html
  The calls of a run that was started on the page, over gRPC:
    onbill demo-ott --url http://127.0.0.1:8080 --key demo-key --face grpc --run run_…
  An OTT that does something wrong:
    onbill demo-ott --url http://127.0.0.1:8080 --key demo-key --flaw new-id-on-retry

It moves the sandbox's clock by six minutes, so that a PIN expires.

EXIT CODE
  0  every use case was shown as expected
  1  one was not, or an answer did not come
  2  wrong arguments")]
pub struct Arguments {
    /// The gateway: http://HOST:PORT.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: Uri,
    /// The partner's API key.
    #[arg(long, value_name = "KEY", env = "ONBILL_API_KEY", hide_env_values = true)]
    pub key: String,
    /// Over which face.
    #[arg(long, value_enum, default_value_t = FaceWord::Json)]
    pub face: FaceWord,
    /// The run that the calls belong to; it stays open. Without one, a run is started and finished.
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
    /// What it does wrong.
    #[arg(long, value_enum, value_name = "NAME")]
    pub flaw: Option<Flaw>,
    /// Milliseconds between two purchases, for people who watch.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=10_000))]
    pub pause: u16,
    /// Write certificate.html, certificate.json and certificate.xml into this directory.
    #[arg(long, value_name = "DIR", conflicts_with = "run")]
    pub report: Option<PathBuf>,
}

/// One of the two faces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FaceWord {
    /// HTTP/JSON.
    Json,
    /// gRPC.
    Grpc,
}

/// Does the journey and says what became of the run.
///
/// # Errors
/// An output that cannot be written to.
pub fn run(arguments: &Arguments, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match runtime.block_on(certified(arguments, out)) {
        Ok(outcome) => Ok(outcome),
        Err(why) => {
            writeln!(err, "error: {}", shown(&why))?;
            Ok(Outcome::Failed)
        }
    }
}

async fn certified(arguments: &Arguments, out: &mut dyn Write) -> Result<Outcome, String> {
    let (_, contract) = cases::load().map_err(|error| error.to_string())?;
    let face = match arguments.face {
        FaceWord::Json => Face::Json,
        FaceWord::Grpc => Face::Grpc,
    };
    let (url, api_key) = (arguments.url.clone(), arguments.key.clone());
    let target = Target { url, api_key, timeout: TIMEOUT, ca_pem: None };
    let client = Client::new(face, &target, &Arc::new(contract.clone()))?;
    let mut shop = Shop::new(client, contract, arguments.flaw);
    let run = if let Some(run) = &arguments.run {
        run.clone()
    } else {
        let name = arguments.flaw.map_or_else(|| "demo-ott".to_owned(), |flaw| format!("demo-ott {}", flaw.name()));
        shop.ask("StartRun", Document::object([("name", name.as_str().into())])).await?.text_at("runId")
    };
    shop.belongs_to(&run)?;
    say(out, &format!("run {run}"))?;
    journey::travel(&mut shop, Duration::from_millis(u64::from(arguments.pause))).await?;
    if arguments.run.is_some() {
        say(out, "done; the run is open")?;
        return Ok(Outcome::Done);
    }
    let finished = shop.ask("FinishRun", Document::object([("runId", run.as_str().into())])).await?;
    if let Some(directory) = &arguments.report {
        std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        for (format, extension) in [("html", "html"), ("json", "json"), ("junit", "xml")] {
            let request = Document::object([("runId", run.as_str().into()), ("format", format.into())]);
            let report = shop.ask("GetReport", request).await?;
            let file = directory.join(format!("certificate.{extension}"));
            std::fs::write(&file, report.text_at("content")).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        say(out, &format!("certificate in {}", directory.display()))?;
    }
    told(&finished, out)
}

/// Says what each case came to.
fn told(finished: &Document, out: &mut dyn Write) -> Result<Outcome, String> {
    let cases = finished.get("cases").map(Document::items).unwrap_or_default();
    let mut passed = 0_usize;
    for case in cases {
        let verdict = case.text_at("verdict");
        let number = case.get("case").map(Document::compact).unwrap_or_default();
        say(out, &format!("{number:>2}  {verdict:<10}  {}", case.text_at("title")))?;
        if verdict == "passed" {
            passed = passed.saturating_add(1);
        } else {
            say(out, &format!("                {}", case.text_at("note")))?;
        }
    }
    say(out, &format!("{passed} of {} passed", cases.len()))?;
    Ok(if passed == cases.len() && passed > 0 { Outcome::Done } else { Outcome::Failed })
}

fn say(out: &mut dyn Write, line: &str) -> Result<(), String> {
    writeln!(out, "{}", shown(line)).map_err(|error| format!("the output cannot be written: {error}"))
}
