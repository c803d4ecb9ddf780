//! `onbill ledger settle`: a person settles a stuck record, through the running gateway.
//!
//! Invariant: the gateway alone decides and writes; this only asks. Where no answer comes, it says that the outcome is
//! not known, since the gateway may have settled all the same. A repeat does no harm.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::{Outcome, chain};
use crate::commands::admin_token::AdminToken;
use crate::runtime::admin::ledger::{SettleRequest, Settled};

/// How long an answer is waited for: a reference that is neither stuck nor due is looked for in the whole ledger.
const PATIENCE: Duration = Duration::from_mins(1);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Arguments of `ledger settle`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Only a record that onbill ledger stuck lists, and that is not final, can be settled. Ask the
CSP first, by the reference: booked is success, and failure is right only where it has not
booked the reference and never will. The outcome is posted and told to the partner as any
other, cannot be taken back, and is kept with evidence, name and time.

The running gateway is asked, on its operations port.

Examples:
  onbill ledger settle 6f335dcae88d4e2efdaf202edac27094 --as success \\
    --evidence \"CSP ticket 4711: on the bill of November\"

Exit codes: 0 settled, 1 not settled, 2 wrong arguments.")]
pub struct Arguments {
    /// The reference, as onbill ledger stuck shows it.
    #[arg(value_name = "REF")]
    pub reference: String,
    /// What the CSP has done.
    #[arg(long = "as", value_name = "OUTCOME", value_parser = ["success", "failure"])]
    pub verdict: String,
    /// What this rests on: one line, up to 1000 characters.
    #[arg(long, value_name = "TEXT")]
    pub evidence: String,
    /// Who decides.
    #[arg(long, value_name = "NAME", env = "USER")]
    pub by: String,
    /// The gateway's operations port.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090")]
    pub admin: Uri,
    /// What is shown there.
    #[command(flatten)]
    pub token: AdminToken,
    /// Print JSON: reference, partner, kind, ext_transaction_id, status.
    #[arg(long)]
    pub json: bool,
}

/// Asks the gateway to settle.
///
/// # Errors
/// An output that cannot be written to.
pub fn run(arguments: &Arguments, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, body) = match runtime.block_on(ask(arguments)) {
        Ok(answered) => answered,
        Err(why) => {
            writeln!(err, "onbill: {why}")?;
            return Ok(Outcome::Failed);
        }
    };
    if status != StatusCode::OK {
        writeln!(err, "onbill: not settled: {}", body.trim_end())?;
        return Ok(Outcome::Failed);
    }
    match serde_json::from_str::<Settled>(&body) {
        Ok(_) if arguments.json => writeln!(out, "{body}")?,
        Ok(settled) => writeln!(
            out,
            "settled: {} {} {} is {}",
            settled.partner, settled.kind, settled.ext_transaction_id, settled.status
        )?,
        Err(_) => {
            writeln!(err, "onbill: {} answered, and is no gateway of this release", arguments.admin)?;
            return Ok(Outcome::Failed);
        }
    }
    Ok(Outcome::Done)
}

async fn ask(arguments: &Arguments) -> Result<(StatusCode, String), String> {
    let request = SettleRequest {
        reference: arguments.reference.clone(),
        verdict: arguments.verdict.clone(),
        evidence: arguments.evidence.clone(),
        by: arguments.by.clone(),
    };
    let body = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
    let target = format!("{}/ledger/settle", arguments.admin.to_string().trim_end_matches('/'));
    let mut request = Request::builder().method(Method::POST).uri(&target).header(CONTENT_TYPE, "application/json");
    if let Some(token) = arguments.token.header()? {
        request = request.header(AUTHORIZATION, token);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| format!("--admin: {error}"))?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let exchange = async {
        let response = client.request(request).await.map_err(|error| chain(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok::<_, String>((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let unknown = |why: String| format!("no answer of {target}, so look at the list again: {why}");
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(answered) => answered.map_err(unknown),
        Err(_) => Err(unknown("it took too long".to_owned())),
    }
}
