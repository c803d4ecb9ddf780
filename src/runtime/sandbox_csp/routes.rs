//! Paths of the sandbox CSP: what a gateway asks, and what whoever tests wants to see.
//!
//! Invariant: every path but `/healthz` asks for the key where there is one; what is asked of the operator is worked on
//! in a task of its own, so that a caller that hangs up stops nothing. Bounds: the length of a body, and how many
//! requests are at work.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::books;
use super::faults::{self, Faults};
use super::orders::Order;
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

/// The operator is scripted to give no answer.
#[derive(Debug)]
pub(super) struct Silent;

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
        Self { status, body: Some(json!({ "code": code, "message": message })) }
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
    tasks: TaskTracker,
    places: Arc<Semaphore>,
    faults: Faults,
}

impl Operator {
    pub(super) fn new(scripted: ScriptedOperator, api_key: Option<KeyDigest>) -> Self {
        let places = Arc::new(Semaphore::new(REQUESTS_MAX));
        Self { scripted, api_key, tasks: TaskTracker::new(), places, faults: Faults::default() }
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

    /// What is to go wrong.
    pub(super) const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Work under way.
    pub(super) const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
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
    let order = match (&head.method, path) {
        (&Method::POST, "/account/validate") => Order::account(&body),
        (&Method::POST, "/transaction") => Order::transaction(&body),
        (&Method::POST, "/notification") => Order::notification(&body),
        (&Method::POST, path) if path.starts_with("/transaction/") && path.ends_with("/void") => {
            path.strip_prefix("/transaction/").and_then(|rest| rest.strip_suffix("/void")).and_then(Order::void)
        }
        (&Method::GET, path) if path.starts_with("/transaction/") => {
            path.strip_prefix("/transaction/").and_then(Order::inquiry)
        }
        (method, path) => {
            return books::answer(&operator, method, path, head.uri.query().unwrap_or_default(), &body).await;
        }
    };
    let Some(order) = order else {
        return Ok(invalid().into_response());
    };
    work(&operator, order, correlation(&head.headers)).await
}

/// Has an order done in a task of its own.
async fn work(operator: &Arc<Operator>, order: Order, correlation: CorrelationId) -> Result<Response<Body>, Closed> {
    let Ok(place) = Arc::clone(&operator.places).try_acquire_owned() else {
        return Ok(Reply::refusal(StatusCode::SERVICE_UNAVAILABLE, "not-applied").into_response());
    };
    let fault = operator.faults.take(&order);
    let late = fault.and_then(faults::Fault::late);
    let task = {
        let operator = Arc::clone(operator);
        async move {
            let answered = match (fault, late) {
                (_, Some(delay)) => {
                    tokio::time::sleep(delay).await;
                    order.done_by(&operator, correlation).await.map_err(|Silent| Closed).and(Err(Closed))
                }
                (Some(fault), None) => faults::play(fault, &order, &operator, correlation).await,
                (None, None) => {
                    order.done_by(&operator, correlation).await.map(Reply::into_response).map_err(|Silent| Closed)
                }
            };
            drop(place);
            answered
        }
    };
    let task = operator.tasks.spawn(task);
    if late.is_some() {
        return Err(Closed);
    }
    task.await.map_err(|_| Closed)?
}

/// The caller's correlation id, or one that says that there was none.
fn correlation(headers: &HeaderMap) -> CorrelationId {
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
