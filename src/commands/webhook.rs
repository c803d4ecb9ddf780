//! `onbill webhook`: what partners' endpoints did not take, sending it again, and trying an endpoint.
//!
//! Invariant: it speaks to a gateway that runs, over its operations port: the data directory is the gateway's alone.
//! What it prints holds no secret. It waits longer than a delivery may take, and not for ever.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::Outcome;
use super::admin_token::AdminToken;
use crate::runtime::webhooks::{Listing, Problem, ResendOrder, Resent, TestOrder, Tried};

/// Longest wait for the gateway's answer: a test delivery takes up to 15 seconds, and a name may be slow to look up.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Most bytes of an answer that are read: a thousand dead letters are less than one megabyte.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Commands about events.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List endpoints, and the events that they did not take (dead letters).
    #[command(after_help = "Examples:
  onbill webhook list
  onbill webhook list --partner my-ott --json

Exit codes: 0 listed, 1 the gateway could not be asked, 2 wrong arguments.")]
    List(List),
    /// Send dead letters again, or one event, and start an endpoint that has answered 410.
    #[command(after_help = "Examples:
  onbill webhook resend --partner my-ott                   all its dead letters
  onbill webhook resend --partner my-ott evt_0123...       this event, even if it was delivered

Exit codes: 0 under way, 1 the gateway could not be asked, or there is no such event,
2 the partner has no endpoint.")]
    Resend(Resend),
    /// Send a test event to a partner's endpoint and print its answer.
    #[command(after_help = "The event is signed like every other; its type is onbill.test.v1. It is tried once.

Examples:
  onbill webhook test --partner my-ott

Exit codes: 0 the endpoint took it, 1 it did not, or the gateway could not be asked,
2 the partner has no endpoint.")]
    Test(Test),
}

/// Where the gateway is, and how to answer.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The operations port of the gateway that runs.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090")]
    pub admin: Uri,
    /// What is shown there.
    #[command(flatten)]
    pub token: AdminToken,
    /// Answer in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `webhook list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Of this partner only.
    #[arg(long, value_name = "ID")]
    pub partner: Option<String>,
    /// Where and how.
    #[command(flatten)]
    pub target: Target,
}

/// Arguments of `webhook resend`.
#[derive(Debug, clap::Args)]
pub struct Resend {
    /// Whose events.
    #[arg(long, value_name = "ID")]
    pub partner: String,
    /// This event only.
    #[arg(value_name = "EVENT")]
    pub event: Option<String>,
    /// Where and how.
    #[command(flatten)]
    pub target: Target,
}

/// Arguments of `webhook test`.
#[derive(Debug, clap::Args)]
pub struct Test {
    /// Whose endpoint.
    #[arg(long, value_name = "ID")]
    pub partner: String,
    /// Where and how.
    #[command(flatten)]
    pub target: Target,
}

/// Why there is nothing to print.
#[derive(Debug)]
enum NoAnswer {
    /// The gateway could not be asked.
    Failed(String),
    /// It refuses what was asked.
    Refused(String),
}

/// Runs one of the commands.
///
/// # Errors
/// An output that cannot be written to.
pub fn run(command: &Command, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = match command {
        Command::List(arguments) => runtime.block_on(list(arguments, out)),
        Command::Resend(arguments) => runtime.block_on(resend(arguments, out)),
        Command::Test(arguments) => runtime.block_on(test(arguments, out)),
    };
    match done {
        Ok(printed) => printed,
        Err(NoAnswer::Failed(text)) => writeln!(err, "{text}").map(|()| Outcome::Failed),
        Err(NoAnswer::Refused(text)) => writeln!(err, "{text}").map(|()| Outcome::Refused),
    }
}

type Done = Result<io::Result<Outcome>, NoAnswer>;

async fn list(arguments: &List, out: &mut dyn Write) -> Done {
    let query = arguments.partner.as_deref().map(|partner| utf8_percent_encode(partner, NON_ALPHANUMERIC).to_string());
    let path = query.map_or_else(|| "/webhooks".to_owned(), |partner| format!("/webhooks?partner={partner}"));
    let text = ask(&arguments.target, Method::GET, &path, String::new()).await?;
    let listing: Listing = read(&text)?;
    Ok(if arguments.target.json { json(out, &text) } else { print(out, &listing) }.map(|()| Outcome::Done))
}

fn print(out: &mut dyn Write, listing: &Listing) -> io::Result<()> {
    if listing.endpoints.is_empty() {
        writeln!(out, "No endpoint is configured.")?;
    }
    for endpoint in &listing.endpoints {
        let state = if endpoint.stopped { "  stopped: it has answered 410" } else { "" };
        writeln!(out, "{}  {}{state}", endpoint.partner, endpoint.url)?;
    }
    writeln!(out, "Dead letters: {}", listing.dead_letters.len())?;
    for letter in &listing.dead_letters {
        let (event, partner, id, kind) = (&letter.event, &letter.partner, &letter.ext_transaction_id, &letter.kind);
        let (time, attempts, error) = (&letter.time, letter.attempts, &letter.error);
        writeln!(out, "  {event}  {time}  {partner}  {kind} {id}  attempts {attempts}: {error}")?;
    }
    Ok(())
}

async fn resend(arguments: &Resend, out: &mut dyn Write) -> Done {
    let order = ResendOrder { partner: arguments.partner.clone(), event: arguments.event.clone() };
    let text = ask(&arguments.target, Method::POST, "/webhooks/resend", body(&order)).await?;
    let Resent { resent } = read(&text)?;
    // All of none is done; one that is not there is not.
    let outcome = if resent == 0 && arguments.event.is_some() { Outcome::Failed } else { Outcome::Done };
    let printed =
        if arguments.target.json { json(out, &text) } else { writeln!(out, "Events that are sent again: {resent}") };
    Ok(printed.map(|()| outcome))
}

async fn test(arguments: &Test, out: &mut dyn Write) -> Done {
    let order = TestOrder { partner: arguments.partner.clone() };
    let text = ask(&arguments.target, Method::POST, "/webhooks/test", body(&order)).await?;
    let tried: Tried = read(&text)?;
    let outcome = if tried.delivered { Outcome::Done } else { Outcome::Failed };
    let printed = match (arguments.target.json, &tried.status, &tried.error) {
        (true, _, _) => json(out, &text),
        (false, Some(status), _) => {
            let verdict = if tried.delivered { "delivered" } else { "not delivered" };
            let body = tried.body.as_deref().unwrap_or_default();
            let begins = if body.is_empty() { String::new() } else { format!("\n{body}") };
            writeln!(out, "{}: {verdict}, answered {status}{begins}", tried.event)
        }
        (false, None, error) => {
            writeln!(out, "{}: not delivered: {}", tried.event, error.as_deref().unwrap_or_default())
        }
    };
    Ok(printed.map(|()| outcome))
}

fn body<T: serde::Serialize>(order: &T) -> String {
    serde_json::to_string(order).expect("texts under fixed keys are JSON")
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, NoAnswer> {
    serde_json::from_str(text)
        .map_err(|error| NoAnswer::Failed(format!("the gateway's answer is not understood: {error}")))
}

fn json(out: &mut dyn Write, text: &str) -> io::Result<()> {
    writeln!(out, "{text}")
}

/// Asks the gateway and answers the text of what it says.
async fn ask(target: &Target, method: Method, path: &str, body: String) -> Result<String, NoAnswer> {
    let admin = target.admin.to_string();
    let uri = format!("{}{path}", admin.trim_end_matches('/'));
    let failed = |error: &dyn std::fmt::Display| {
        NoAnswer::Failed(format!(
            "no gateway answers at {admin}: {error}. Is onbill running there? --admin names another"
        ))
    };
    let mut request = Request::builder().method(method).uri(uri).header(CONTENT_TYPE, "application/json");
    if let Some(token) = target.token.header().map_err(NoAnswer::Failed)? {
        request = request.header(AUTHORIZATION, token);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| failed(&error))?;
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let exchange = async {
        let response = client.request(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = body.map_err(|error| failed(&error))?.to_bytes();
        Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
    };
    let answered = tokio::time::timeout(ANSWER_MAX, exchange).await;
    let (status, text) = answered.map_err(|_| failed(&"it does not answer in time"))??;
    let told = || serde_json::from_str::<Problem>(&text).map_or_else(|_| text.clone(), |problem| problem.error);
    match status {
        StatusCode::OK => Ok(text),
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Err(NoAnswer::Refused(told())),
        other => Err(NoAnswer::Failed(format!("the gateway answered {other}: {}", told()))),
    }
}
