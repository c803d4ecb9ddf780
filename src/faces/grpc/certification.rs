//! CertificationService on the wire.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};

use super::{RETRY_AFTER_S, caller, stop};
use crate::domain::catalogue::{ErrorCode, Violation, field, reason};
use crate::domain::certification::{Run, RunState};
use crate::domain::ids::PartnerId;
use crate::faces::certification::report::{self, Format};
use crate::faces::pb::v1 as pb;
use crate::faces::status::ApiError;
use crate::faces::wire;
use crate::flows::Stop;
use crate::flows::certification::{Certification, Refused, Report};
use crate::ports::Cause;

/// Least time between two messages of a stream, so that a burst of calls is told once.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest life of a stream.
const LIFE_MAX: Duration = Duration::from_hours(1);

/// Serves CertificationService. It is not there outside the sandbox.
pub struct CertificationDoor(pub Arc<Certification>);

#[tonic::async_trait]
impl pb::certification_service_server::CertificationService for CertificationDoor {
    async fn start_run(&self, request: Request<pb::StartRunRequest>) -> Result<Response<pb::Run>, Status> {
        let (caller, message) = caller(request)?;
        let id = &caller.partner.id;
        let started = self.0.start(id, &message.name, &message.cases, message.takes_all).await;
        Ok(Response::new(run_of(&started.map_err(refused)?)))
    }

    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Result<Response<pb::Run>, Status> {
        let (caller, message) = caller(request)?;
        let report = self.0.get(&caller.partner.id, &message.run_id).await.map_err(refused)?;
        Ok(Response::new(run_of(&report)))
    }

    type WatchRunStream = Watched;

    async fn watch_run(&self, request: Request<pb::GetRunRequest>) -> Result<Response<Self::WatchRunStream>, Status> {
        let (caller, message) = caller(request)?;
        let watch = watch(Arc::clone(&self.0), caller.partner.id.clone(), message.run_id).await.map_err(refused)?;
        let told = futures_util::stream::unfold(watch, |mut watch| async move {
            let next = watch.next().await?;
            Some((next.map(|report| run_of(&report)).map_err(refused), watch))
        });
        Ok(Response::new(Box::pin(told)))
    }

    async fn list_runs(&self, request: Request<pb::ListRunsRequest>) -> Result<Response<pb::ListRunsResponse>, Status> {
        let (caller, _) = caller(request)?;
        let runs = self.0.list(&caller.partner.id).await.map_err(refused)?;
        Ok(Response::new(pb::ListRunsResponse { runs: runs.iter().map(listed).collect() }))
    }

    async fn finish_run(&self, request: Request<pb::FinishRunRequest>) -> Result<Response<pb::Run>, Status> {
        let (caller, message) = caller(request)?;
        let report = self.0.finish(&caller.partner.id, &message.run_id).await.map_err(refused)?;
        Ok(Response::new(run_of(&report)))
    }

    async fn get_report(&self, request: Request<pb::GetReportRequest>) -> Result<Response<pb::Report>, Status> {
        let (caller, message) = caller(request)?;
        let format = Format::parse(&message.format)
            .ok_or_else(|| ApiError::invalid(vec![Violation::on(field::FORMAT, reason::ONE_OF_FORMAT)]))?;
        let seen = self.0.get(&caller.partner.id, &message.run_id).await.map_err(refused)?;
        let signed = report::signed(&seen, format, self.0.signer());
        Ok(Response::new(pb::Report {
            file_name: signed.file_name,
            media_type: format.media_type().to_owned(),
            content: signed.content,
            public_key: signed.public_key,
        }))
    }
}

/// The stream of WatchRun.
type Watched = Pin<Box<dyn futures_util::Stream<Item = Result<pb::Run, Status>> + Send>>;

/// Somebody who watches a run.
pub struct Watch {
    certification: Arc<Certification>,
    partner: PartnerId,
    id: String,
    changes: Option<tokio::sync::watch::Receiver<()>>,
    until: tokio::time::Instant,
    /// Something may be new that was not told yet: nothing is lost where a caller stops waiting in between.
    is_due: bool,
    ended: bool,
}

/// Begins to watch a run.
///
/// # Errors
/// The partner has no such run.
pub async fn watch(certification: Arc<Certification>, partner: PartnerId, id: String) -> Result<Watch, Refused> {
    certification.get(&partner, &id).await?;
    let changes = certification.changes(&id);
    let now = tokio::time::Instant::now();
    let until = now.checked_add(LIFE_MAX).unwrap_or(now);
    Ok(Watch { certification, partner, id, changes, until, is_due: true, ended: false })
}

impl Watch {
    /// The run as it stands, at first at once and then after each change. `None` after it is finished.
    pub async fn next(&mut self) -> Option<Result<Report, Refused>> {
        if self.ended {
            return None;
        }
        if !self.is_due {
            tokio::time::sleep(PAUSE).await;
            let change = async {
                match &mut self.changes {
                    Some(changes) => changes.changed().await.is_ok(),
                    None => false,
                }
            };
            match tokio::time::timeout_at(self.until, change).await {
                Ok(true) => self.is_due = true,
                // Finished, or the gateway stops.
                Ok(false) => (self.is_due, self.changes) = (true, None),
                Err(_life_is_over) => {
                    self.ended = true;
                    let cause = Cause::new("a watch ends after an hour");
                    return Some(Err(Refused::Stopped(Stop::Unavailable(cause))));
                }
            }
        }
        let report = self.certification.get(&self.partner, &self.id).await;
        self.is_due = false;
        self.ended =
            self.changes.is_none() || report.as_ref().map_or(true, |report| report.run.state != RunState::Open);
        Some(report)
    }
}

/// How a story's end becomes a status.
#[must_use]
pub fn refused(refused: Refused) -> Status {
    match refused {
        Refused::NoSuchRun => ApiError::new(ErrorCode::RunNotFound).into(),
        Refused::Invalid(violations) => ApiError::invalid(violations).into(),
        Refused::TooMany => ApiError::new(ErrorCode::TooManyRequests).retry_after(RETRY_AFTER_S).into(),
        Refused::Stopped(stopped) => stop(stopped),
    }
}

fn listed(run: &Run) -> pb::Run {
    let finished = match run.state {
        RunState::Open => None,
        RunState::Finished(at) => Some(wire::to_timestamp(at)),
    };
    pb::Run {
        run_id: run.id.clone(),
        name: run.name.clone(),
        state: report::state_word(run.state).to_owned(),
        takes_all: run.takes_all,
        started_at: Some(wire::to_timestamp(run.started_at)),
        finished_at: finished,
        calls: 0,
        calls_left_out: run.left_out,
        interrupted: run.interrupted,
        cases: Vec::new(),
    }
}

/// A run as the wire has it.
fn run_of(report: &Report) -> pb::Run {
    let cases = report.cases.iter().map(|(known, judged)| pb::CaseResult {
        case: u32::from(known.case),
        title: known.title.clone(),
        verdict: judged.verdict.word().to_owned(),
        note: judged.note.clone(),
        expected: known.expected.clone(),
        hint: known.hint.clone(),
        evidence: report::evidence(report, judged).map(|seen| seen_call(&seen)).collect(),
    });
    let calls = u32::try_from(report.calls.len()).unwrap_or(u32::MAX);
    pb::Run { calls, cases: cases.collect(), ..listed(&report.run) }
}

fn seen_call(seen: &report::Evidence<'_>) -> pb::SeenCall {
    let call = seen.call;
    pb::SeenCall {
        place: u32::try_from(seen.place).unwrap_or(u32::MAX),
        at: Some(wire::to_timestamp(call.at)),
        rpc: call.rpc.word().to_owned(),
        face: call.face.word().to_owned(),
        address: call.address.clone(),
        status: u32::from(call.status),
        code: call.code.clone(),
        violations: call.violations.clone(),
        outcome: call.outcome.clone(),
        correlation_id: call.correlation.clone(),
        broke_it: seen.broke_it,
    }
}
