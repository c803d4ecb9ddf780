//! The operations port's way to settle a stuck record, and the measures of what is stuck and whether the ledger is there.
//!
//! Invariant: only JSON that says so is taken, which no web page can send across origins without asking first; what was
//! decided is durable before it is answered. Who may settle is decided at the door (`token.rs`).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use metrics::gauge;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::ids::Reference;
use crate::domain::transaction::Transaction;
use crate::domain::transaction::decide::{Decision, EVIDENCE_LENGTH_MAX, NAME_LENGTH_MAX, Verdict};
use crate::flows::oversee::{self, NotSettled};
use crate::ports::audit::{Audit, Entry, Who};
use crate::ports::measures::{
    LEDGER_UP, OUTBOX_DEAD, OUTBOX_DUE, OUTBOX_OLDEST, PENDING_OLDEST, STUCK, UNDER_WAY, UNKNOWN, UNKNOWN_OLDEST,
};
use crate::ports::oversight::Oversight;
use crate::runtime::current::Current;

/// Most bytes of a request.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// How often what waits for an outcome is counted.
const COUNT_PAUSE: Duration = Duration::from_secs(3);
/// How often the ledger is asked whether it is there.
const ASK_PAUSE: Duration = Duration::from_secs(1);

/// What is overseen.
#[derive(Clone)]
pub struct Overseen {
    /// The gateway that works.
    pub current: Current,
    /// Its ledger.
    pub oversight: Arc<dyn Oversight>,
    /// Where what people do is written down.
    pub audit: Option<Arc<dyn Audit>>,
}

/// A decision, as it is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettleRequest {
    /// 32 hexadecimal digits.
    pub reference: String,
    /// `success` or `failure`.
    #[serde(rename = "as")]
    pub verdict: String,
    /// What it rests on.
    pub evidence: String,
    /// Who decides.
    pub by: String,
}

/// A record that was settled.
#[derive(Debug, Serialize, Deserialize)]
pub struct Settled {
    /// Its reference.
    pub reference: String,
    /// Whose.
    pub partner: String,
    /// Charge or refund.
    pub kind: String,
    /// The partner's own id.
    pub ext_transaction_id: String,
    /// What it is now, as callers see it.
    pub status: String,
}

/// The routes.
pub fn router(overseen: Overseen) -> Router {
    Router::new()
        .route("/ledger/settle", post(settle))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(overseen)
}

async fn settle(State(overseen): State<Overseen>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let is_json = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes() == b"application/json");
    if !is_json {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json\n".to_owned());
    }
    let request: SettleRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}\n")),
    };
    let Some(reference) = Reference::parse(&request.reference) else {
        return (StatusCode::BAD_REQUEST, "the reference must be 32 hexadecimal digits\n".to_owned());
    };
    let Some(verdict) = Verdict::from_word(&request.verdict) else {
        return (StatusCode::BAD_REQUEST, "as must be success or failure\n".to_owned());
    };
    let now = overseen.current.gateway().clock.now();
    let Some(decision) = Decision::new(verdict, &request.by, &request.evidence, now) else {
        let text = format!(
            "evidence and by must be one line each, not blank, of at most {EVIDENCE_LENGTH_MAX} and {NAME_LENGTH_MAX} \
             characters\n"
        );
        return (StatusCode::BAD_REQUEST, text);
    };
    // Not cut short where whoever asked hangs up.
    let settled = carry_out(overseen.clone(), reference, decision);
    answer(overseen.current.gateway().tasks.spawn(settled).await)
}

/// Settles, and writes down who did.
async fn carry_out(overseen: Overseen, reference: Reference, decision: Decision) -> Result<Transaction, NotSettled> {
    let gateway = overseen.current.gateway();
    let settled = oversee::settle(&gateway, overseen.oversight.as_ref(), &reference, &decision).await;
    if let Some(audit) = &overseen.audit {
        let details = vec![("reference", reference.to_string()), ("as", decision.verdict.word().to_owned())];
        let (who, outcome) = (Who::Operator(decision.by.to_string()), if settled.is_ok() { "ok" } else { "refused" });
        audit.note(Entry { who, what: "settle".into(), outcome: outcome.into(), details });
    }
    settled
}

/// What is answered to whoever asked for it.
fn answer(tracked: Result<Result<Transaction, NotSettled>, tokio::task::JoinError>) -> (StatusCode, String) {
    match tracked {
        Ok(Ok(record)) => {
            let settled = Settled {
                reference: record.reference.to_string(),
                partner: record.key.partner.to_string(),
                kind: record.key.kind.word().to_owned(),
                ext_transaction_id: record.key.ext_transaction_id.as_str().to_owned(),
                status: record.state.status().map_or("", |status| status.word()).to_owned(),
            };
            (StatusCode::OK, serde_json::to_string(&settled).unwrap_or_default())
        }
        Ok(Err(NotSettled::NotFound)) => (StatusCode::NOT_FOUND, "no transaction has this reference\n".to_owned()),
        Ok(Err(NotSettled::Refused(why))) => (StatusCode::CONFLICT, format!("{why}\n")),
        Ok(Err(NotSettled::Unavailable(cause))) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("the ledger cannot say: {}\n", cause.to_note()))
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "settling broke off: look at the list again\n".to_owned()),
    }
}

/// Measures whether the ledger would take a commit, until `stop` is called.
pub async fn measure_presence(overseen: Overseen, stop: CancellationToken) {
    let up = gauge!(LEDGER_UP.name);
    let gateway = overseen.current.gateway();
    loop {
        let answers = gateway.ledger.check().await.is_ok();
        up.set(f64::from(u8::from(answers)));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ASK_PAUSE) => {}
        }
    }
}

/// Measures what waits for an outcome or to be delivered, until `stop` is called. A look at a ledger with a long backlog
/// takes its time, so looks rest ten times as long as they take.
pub async fn measure(overseen: Overseen, stop: CancellationToken) {
    let (stuck, unknown, unknown_oldest) = (gauge!(STUCK.name), gauge!(UNKNOWN.name), gauge!(UNKNOWN_OLDEST.name));
    let pending_oldest = gauge!(PENDING_OLDEST.name);
    let (due, due_oldest, dead) = (gauge!(OUTBOX_DUE.name), gauge!(OUTBOX_OLDEST.name), gauge!(OUTBOX_DEAD.name));
    let under_way = gauge!(UNDER_WAY.name);
    let shown = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let seconds = |age_s: i64| shown(u64::try_from(age_s).unwrap_or_default());
    loop {
        let gateway = overseen.current.gateway();
        under_way.set(shown(u64::try_from(gateway.tasks.len()).unwrap_or(u64::MAX)));
        let began = Instant::now();
        match oversee::unresolved(&gateway, overseen.oversight.as_ref()).await {
            Ok((unresolved, ages)) => {
                stuck.set(shown(unresolved.stuck));
                unknown.set(shown(unresolved.unknown));
                unknown_oldest.set(seconds(ages.unknown_s));
                pending_oldest.set(seconds(ages.pending_s));
                due.set(shown(unresolved.due_events));
                due_oldest.set(seconds(ages.event_s));
                dead.set(shown(unresolved.dead_letters));
            }
            Err(error) => tracing::warn!(cause = ?error.0, "what is stuck could not be counted"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(COUNT_PAUSE.max(began.elapsed().saturating_mul(10))) => {}
        }
    }
}
