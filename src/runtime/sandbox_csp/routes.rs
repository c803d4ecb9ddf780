//! Paths of the sandbox CSP: what a gateway asks, and what whoever tests wants to see.
//!
//! Invariant: every path but `/healthz` asks for the key where there is one; what is asked of the operator is worked on
//! in a task of its own, so that a caller that hangs up stops nothing. Bounds: the length of a body, and how many
//! requests are at work.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Incoming;
use serde_json::{Value, json as object};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::faults::{self, Fault, Faults, Heard, Spoil};
use super::orders::{Answer, Order};
use super::{Protocol, books, json};
use crate::domain::api_key::KeyDigest;
use crate::domain::ids::CorrelationId;
use crate::ports::clock::MovableClock;
use crate::ports::csp::Csp;
use crate::ports::sandbox::SandboxCsp;
use crate::runtime::wiring::ScriptedOperator;

/// Most bytes of a request's body.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Most requests at work at a time, those whose callers have gone included; more are answered `not-applied`.
const REQUESTS_MAX: usize = 4096;

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, Closed>;

/// The connection is closed without the rest of an answer, or without any.
#[derive(Debug, thiserror::Error)]
#[error("no answer, as scripted")]
pub(super) struct Closed;

/// An answer: a status, and JSON unless it has no body.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Option<Value>,
}

impl Reply {
    pub(super) const fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, body: Some(body) }
    }

    pub(super) fn refusal(status: StatusCode, code: &str) -> Self {
        let message = code.replace('-', " ");
        Self { status, body: Some(object!({ "code": code, "message": message })) }
    }

    /// As it goes onto the wire.
    pub(super) fn into_response(self) -> Response<Body> {
        let text = self.body.as_ref().map(Value::to_string).unwrap_or_default();
        respond(self.status, "application/json", full(text))
    }
}

/// The operator and all that is kept beside it.
pub(super) struct Operator {
    scripted: ScriptedOperator,
    api_key: Option<KeyDigest>,
    protocol: Protocol,
    tasks: TaskTracker,
    places: Arc<Semaphore>,
    faults: Faults,
}

impl Operator {
    pub(super) fn new(scripted: ScriptedOperator, api_key: Option<KeyDigest>, protocol: Protocol) -> Self {
        let places = Arc::new(Semaphore::new(REQUESTS_MAX));
        Self { scripted, api_key, protocol, tasks: TaskTracker::new(), places, faults: Faults::default() }
    }

    /// The operator as a gateway knows it.
    pub(super) fn csp(&self) -> &dyn Csp {
        self.scripted.csp.as_ref()
    }

    /// What is behind it.
    pub(super) fn back(&self) -> &Arc<dyn SandboxCsp> {
        &self.scripted.back
    }

    /// Its clock.
    pub(super) fn clock(&self) -> &dyn MovableClock {
        self.scripted.clock.as_ref()
    }

    /// How gateways speak to it.
    pub(super) const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What is to go wrong.
    pub(super) const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Work under way.
    pub(super) const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Whether a request has its key.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let sent = || headers.get("x-api-key").map(|key| KeyDigest::of(key.as_bytes()));
        self.api_key.is_none_or(|wanted| sent() == Some(wanted))
    }
}

/// Answers a request, or closes its connection.
pub(super) async fn answer(operator: Arc<Operator>, request: Request<Incoming>) -> Result<Response<Body>, Closed> {
    let (head, body) = request.into_parts();
    if head.uri.path() == "/healthz" {
        return Ok(respond(StatusCode::OK, "text/plain", full("ok\n".to_owned())));
    }
    if !operator.admits(&head.headers) {
        return Ok(Reply::refusal(StatusCode::UNAUTHORIZED, "not-authorized").into_response());
    }
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return Ok(invalid().into_response());
    };
    let body = body.to_bytes();
    let path = head.uri.path();
    let is_json = operator.protocol == Protocol::Http;
    let order = match (&head.method, path) {
        (&Method::POST, "/account/validate") if is_json => json::account(&body),
        (&Method::POST, "/transaction") if is_json => json::transaction(&body),
        (&Method::POST, "/notification") if is_json => json::notification(&body),
        (method, path) if is_json && path.starts_with("/transaction/") => {
            let rest = path.strip_prefix("/transaction/").unwrap_or_default();
            match *method {
                Method::GET => json::inquiry(rest),
                Method::POST => json::void(rest),
                _ => return Ok(Reply::refusal(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed").into_response()),
            }
        }
        (method, path) => {
            return books::answer(&operator, method, path, head.uri.query().unwrap_or_default(), &body).await;
        }
    };
    let Some(order) = order else {
        return Ok(invalid().into_response());
    };
    said(&work(&operator, order, correlation(&head.headers)).await)
}

/// Has an order done in a task of its own.
pub(super) async fn work(operator: &Arc<Operator>, order: Order, correlation: CorrelationId) -> Heard {
    let Ok(place) = Arc::clone(&operator.places).try_acquire_owned() else {
        return Heard::Answer(Answer::NotApplied);
    };
    let fault = operator.faults.take(&order);
    let task = {
        let operator = Arc::clone(operator);
        async move {
            let heard = match fault {
                Some(fault) => faults::play(fault, &order, &operator, correlation).await,
                None => faults::heard(order.done_by(&operator, correlation).await),
            };
            drop(place);
            heard
        }
    };
    let task = operator.tasks.spawn(task);
    if fault.is_some_and(Fault::is_late) {
        return Heard::Cut;
    }
    task.await.unwrap_or(Heard::Nothing)
}

/// What is heard, as the CSP API v1 says it.
fn said(heard: &Heard) -> Result<Response<Body>, Closed> {
    let (answer, spoil) = match heard {
        Heard::Answer(answer) => return Ok(json::reply(answer).into_response()),
        Heard::Status(number) => {
            let status = StatusCode::from_u16(*number).map_err(|_| Closed)?;
            return Ok(Reply::refusal(status, "on-order").into_response());
        }
        Heard::Nothing | Heard::Cut => return Err(Closed),
        Heard::Spoiled(answer, spoil) => (answer, spoil),
    };
    let Reply { status, body } = json::reply(answer);
    let text = body.map(|body| body.to_string()).unwrap_or_default();
    let half: String = text.chars().take(text.chars().count().div_ceil(2)).collect();
    let body = match spoil {
        Spoil::Broken => full(half),
        Spoil::Cut => {
            let begun = Ok(Frame::data(Bytes::from(half)));
            StreamBody::new(futures_util::stream::iter([begun, Err(Closed)])).boxed_unsync()
        }
    };
    Ok(respond(status, "application/json", body))
}

/// The caller's correlation id, or one that says that there was none.
pub(super) fn correlation(headers: &HeaderMap) -> CorrelationId {
    let sent = headers.get("x-correlation-id").and_then(|value| value.to_str().ok());
    let none = || CorrelationId::parse("none").expect("four letters are a correlation id");
    sent.and_then(CorrelationId::parse).unwrap_or_else(none)
}

/// What the wire does not allow.
pub(super) fn invalid() -> Reply {
    Reply::refusal(StatusCode::BAD_REQUEST, "invalid-request")
}

/// A whole body.
pub(super) fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

/// An answer of some media type.
pub(super) fn respond(status: StatusCode, media_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(media_type));
    response
}
