//! The layers of a request, outermost first, each with its why. Both faces run through the same inner ones.
//!
//! [`Front`], once for each HTTP request:
//! 1. correlation: first, so that every answer and every log line has the id, refusals too;
//! 2. face: gRPC goes straight on, everything else is transcoded and then goes the same way; the page of certification,
//!    which is there in the sandbox only, has sessions of its own. A JSON call passes the gate before its body is read.
//!
//! [`Guard`], once for each call of either face, which it counts, times and traces. Its gate, before anything of a call is
//! read:
//! 1. path: what is not there is told without a key, so that a typo is not taken for a wrong key;
//! 2. authentication, and the scope of the method: nobody learns anything of it, or makes it read a body, without;
//! 3. rate: so many calls of a partner, at all gateways together, and the rest are refused before they cost anything;
//! 4. load: a bounded number of calls at a time, shared fairly by partners, and the rest are turned away.
//!
//! And behind it:
//! 5. deadline: after load, so that its time is spent on work;
//! 6. shape: what the transcoder found is answered only now, together with what the domain has to say;
//! 7. the service, within the deadline; and statuses that the gRPC library made by itself become the contract's;
//! 8. certification, in the sandbox: takes note of what was asked and answered, before the answer is given.
//!
//! Invariant: no rule lives here. Deadlines here only stop waiting: CreateTransaction looks after its own work.

mod auditing;
mod deadline;
mod gate;
mod methods;
mod noting;
mod places;
mod seen;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use tonic::body::Body;

pub use self::deadline::{Bounds, NamedDeadline};
use self::deadline::{named_deadline, time_allowed};
use self::gate::{Admitted, Gate, Refused};
use self::methods::{Method, Methods};
use self::noting::Noting;
pub use self::places::Places;
use self::seen::Seen;
use super::auth::Callers;
use super::certification::page::Page;
use super::grpc::Services;
use super::grpc::direct::Message;
use super::json::findings::Findings;
use super::json::{Inner, InnerAnswer, JsonFace};
use super::measures::{End, Measures};
use super::status::ApiError;
use super::wire;
use crate::domain::catalogue::{ErrorCode, Violation};
use crate::domain::certification::Face;
use crate::domain::ids::CorrelationId;
use crate::domain::trace::{Trace, TraceState};
use crate::flows::about::About;
use crate::flows::certification::Certification;
use crate::flows::rate::{Rates, Standing};
use crate::flows::{Caller, Gateway};
use crate::ports::audit::Audit;

/// The header that ties one request's traces together.
const CORRELATION_HEADER: HeaderName = HeaderName::from_static("x-correlation-id");
/// Headers of a trace: W3C's, and those of B3.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
/// Paths that need no key: health and reflection, each below its service's name.
const OPEN_PREFIXES: [&str; 2] = ["/grpc.health.v1.", "/grpc.reflection."];
/// How long a flow may take to notice by itself that its deadline has passed.
const DEADLINE_GRACE: Duration = Duration::from_millis(250);

/// A request as it came in, before anything that it says is looked at.
#[derive(Debug, Clone)]
struct Arrival {
    correlation: CorrelationId,
    trace: Trace,
    /// What goes with the trace.
    state: Option<TraceState>,
    face: Face,
}

impl Arrival {
    /// Takes it out of a request. What did not come through [`Front`] is of the gateway's own making.
    fn of(request: &mut Request<Body>, gateway: &Gateway) -> Self {
        request.extensions_mut().remove().unwrap_or_else(|| {
            let correlation = gateway.secrets.fresh_correlation_id();
            Self { trace: Trace::begun_by(&correlation), correlation, state: None, face: Face::Grpc }
        })
    }
}

/// Correlation, then the face.
#[derive(Clone)]
pub struct Front {
    gateway: Arc<Gateway>,
    guard: Guard,
    json: JsonFace,
    page: Option<Page>,
}

impl Front {
    /// Puts the faces before a guard.
    #[must_use]
    pub const fn new(gateway: Arc<Gateway>, guard: Guard, json: JsonFace, page: Option<Page>) -> Self {
        Self { gateway, guard, json, page }
    }

    /// Answers one HTTP request, whatever it is.
    pub async fn answer<B>(&self, mut request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let sent = request.headers().get(&CORRELATION_HEADER).and_then(|value| value.to_str().ok());
        let correlation =
            sent.and_then(CorrelationId::parse).unwrap_or_else(|| self.gateway.secrets.fresh_correlation_id());
        let echoed = HeaderValue::from_str(correlation.as_str()).ok();
        let trace = trace(request.headers()).unwrap_or_else(|| Trace::begun_by(&correlation));
        let state = trace_state(request.headers());
        let about = About { work: "request", correlation: correlation.clone(), trace };
        let face = if is_grpc(request.headers()) { Face::Grpc } else { Face::Json };
        request.extensions_mut().insert(Arrival { correlation, trace, state, face });
        let mut response = if face == Face::Grpc {
            about.scope(self.guard.answer(request.map(Body::new))).await
        } else if let Some(page) = self.page.as_ref().filter(|_| Page::has(request.uri().path())) {
            about.scope(Box::pin(page.answer(request))).await
        } else {
            about.scope(Box::pin(self.json(request))).await
        };
        if let Some(mut echoed) = echoed {
            once(&mut echoed);
            response.headers_mut().insert(CORRELATION_HEADER, echoed);
        }
        response
    }
}

/// Says of a value that it does not come again, so that no table of header compression gives up another for it (RFC 7541
/// section 6.2.3).
fn once(value: &mut HeaderValue) {
    value.set_sensitive(true);
}

impl Front {
    /// Answers a JSON request. One that calls a method passes the gate first: what is refused there is never read.
    async fn json<B>(&self, mut request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let layers = &*self.guard.0;
        let rpc = self.json.rpc(request.method(), request.uri().path());
        let Some((target, method)) = rpc.and_then(|(target, path)| Some((target, layers.methods.get(path)?))) else {
            if self.json.describes(request.method(), request.uri().path()) {
                return self.json.answer(request).await;
            }
            return self.nothing_there(request).await;
        };
        match layers.gate.admit(&self.gateway, method, request.headers(), request.extensions()).await {
            Ok(admitted) => {
                request.extensions_mut().insert(admitted);
                self.json.answer_rpc(target, request).await
            }
            Err(Refused { error, standing, partner }) => {
                if let Some(arrival) = request.extensions().get::<Arrival>() {
                    let mut seen = Seen::begin(layers, Some(method), arrival);
                    if let Some(partner) = &partner {
                        seen.belongs_to(partner);
                    }
                    seen.refused(&error);
                }
                let mut response = self.json.refuse(&error, request).await;
                gate::tell(standing, response.headers_mut());
                response
            }
        }
    }
}

impl Front {
    /// Refuses a JSON request of a path or method that is not there, and counts it as such.
    async fn nothing_there<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let mut watched = self.guard.0.measures.begin(None, Face::Json);
        let response = self.json.answer(request).await;
        let is_elsewhere = response.status() == StatusCode::METHOD_NOT_ALLOWED;
        watched.ended(End::Failed(if is_elsewhere { ErrorCode::MethodNotAllowed } else { ErrorCode::NotFound }));
        response
    }
}

/// The trace that a request is part of: W3C `traceparent`, else B3. What is not well formed is as good as none.
fn trace(headers: &HeaderMap) -> Option<Trace> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let b3 = || {
        let (trace, span) = (text(&B3_TRACE)?, text(&B3_SPAN)?);
        Trace::from_b3(trace, span, text(&B3_PARENT), text(&B3_SAMPLED))
    };
    text(&TRACEPARENT).and_then(Trace::from_w3c).or_else(b3)
}

/// What goes with a trace, where it is one of `traceparent`: without that, or with B3, it means nothing.
fn trace_state(headers: &HeaderMap) -> Option<TraceState> {
    let lines = headers.get_all(&TRACESTATE).iter().filter_map(|value| value.to_str().ok());
    let state = TraceState::of_lines(lines)?;
    headers.get(&TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(Trace::from_w3c)?;
    Some(state)
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|value| value.starts_with(b"application/grpc"))
}

/// The gate, deadline, shape, service.
#[derive(Clone)]
pub struct Guard(Arc<Layers>);

struct Layers {
    gateway: Arc<Gateway>,
    gate: Gate,
    bounds: Bounds,
    methods: Methods,
    measures: Measures,
    services: Services,
    certification: Option<Arc<Certification>>,
    audit: Option<Arc<dyn Audit>>,
}

/// What holds for every call, whichever service it is for.
pub struct Passage {
    /// What bounds it.
    pub bounds: Bounds,
    /// Places of calls that may be at work.
    pub places: Arc<Places>,
    /// What each partner may call.
    pub rates: Arc<Rates>,
    /// Who watches it, in the sandbox.
    pub certification: Option<Arc<Certification>>,
    /// Where what changes something is written down.
    pub audit: Option<Arc<dyn Audit>>,
}

impl Guard {
    /// Puts the layers around the services.
    ///
    /// # Errors
    /// The descriptor set cannot be read.
    pub fn new(
        gateway: Arc<Gateway>,
        callers: Callers,
        passage: Passage,
        descriptors: &[u8],
        services: Services,
    ) -> Result<Self, prost_reflect::DescriptorError> {
        let Passage { bounds, places, rates, certification, audit } = passage;
        let measures = Measures::new(gateway.directory.partners().map(|partner| partner.id.clone()));
        let methods = Methods::read(descriptors, &services.keyed, &measures)?;
        let gate = Gate::new(callers, rates, places);
        Ok(Self(Arc::new(Layers { gateway, gate, bounds, methods, measures, services, certification, audit })))
    }

    async fn answer(&self, mut request: Request<Body>) -> Response<Body> {
        let layers = &*self.0;
        let arrival = Arrival::of(&mut request, &layers.gateway);
        let method = layers.methods.get(request.uri().path());
        let (mut seen, mut standing) = (Seen::begin(layers, method, &arrival), None);
        let passed = match method {
            Some(method) => layers.pass(request, method, arrival, &mut seen, &mut standing).await,
            None => Box::pin(layers.open(request)).await,
        };
        seen.answered(&passed);
        drop(seen);
        let mut response = match passed {
            Ok(response) => response,
            Err(error) => tonic::Status::from(error).into_http(),
        };
        gate::tell(standing, response.headers_mut());
        response
    }
}

impl Inner for Guard {
    fn call(&self, request: Request<Body>) -> InnerAnswer {
        let guard = self.clone();
        Box::pin(async move { guard.answer(request).await })
    }
}

impl Layers {
    /// What needs no key, and what is not there.
    async fn open(&self, request: Request<Body>) -> Result<Response<Body>, ApiError> {
        if !OPEN_PREFIXES.iter().any(|prefix| request.uri().path().starts_with(prefix)) {
            return Err(ApiError::new(ErrorCode::NotFound));
        }
        let response = self.services.serve(request).await;
        // Their statuses are their own protocols' (NOT_FOUND of a health check, say); only a method that is not there is
        // the contract's to tell.
        let status = tonic::Status::from_header_map(response.headers());
        match status.map(|status| status.code()) {
            Some(tonic::Code::Unimplemented) => Err(ApiError::new(ErrorCode::NotFound)),
            Some(_) | None => Ok(response),
        }
    }

    async fn pass(
        &self,
        mut request: Request<Body>,
        method: &Method,
        arrival: Arrival,
        seen: &mut Seen<'_>,
        standing: &mut Option<Standing>,
    ) -> Result<Response<Body>, ApiError> {
        let passed = match request.extensions_mut().remove::<Admitted>() {
            Some(admitted) => Ok(admitted),
            None => self.gate.admit(&self.gateway, method, request.headers(), request.extensions()).await,
        };
        // Holds the place of the call until it is answered.
        let admitted = passed.map_err(|refused| {
            *standing = refused.standing;
            if let Some(partner) = &refused.partner {
                seen.belongs_to(partner);
            }
            refused.error
        })?;
        *standing = admitted.standing;
        let partner = Arc::clone(&admitted.partner);
        seen.belongs_to(&partner);
        let now = seen.began();
        let deadline = now.checked_add(time_allowed(request.headers(), &self.bounds)).unwrap_or(now);
        let Arrival { correlation, face, .. } = arrival;
        let caller = Caller { partner, correlation, trail: seen.trail(), deadline };
        let noting = match (&self.certification, method.rpc) {
            (Some(certification), Some(rpc)) => {
                Noting::of(certification, &self.gateway.directory, &mut request, rpc, face, &caller)
            }
            (_, _) => None,
        };
        seen.is_let_in(&mut request, method, &caller);
        let answered = self.within_deadline(request, method, caller).await;
        if let Some(mut noting) = noting {
            Box::pin(noting.look_at_phone()).await;
            noting.note(&answered);
        }
        answered
    }

    /// Shape, and the service.
    async fn within_deadline(
        &self,
        mut request: Request<Body>,
        method: &Method,
        caller: Caller,
    ) -> Result<Response<Body>, ApiError> {
        if let Some(findings) = request.extensions_mut().remove::<Findings>() {
            let message = request.extensions_mut().remove::<Message>().map(|Message(bytes)| bytes).unwrap_or_default();
            return Err(self.shape(&message, method, &findings, &caller));
        }
        let until = caller.deadline.checked_add(DEADLINE_GRACE).unwrap_or(caller.deadline);
        request.extensions_mut().insert(caller);
        if let Some(named) = named_deadline(request.headers(), &self.bounds) {
            request.extensions_mut().insert(named);
        }
        match tokio::time::timeout_at(until, self.services.serve(request)).await {
            Ok(response) => Ok(contractual(response)),
            Err(_elapsed) => Err(ApiError::new(ErrorCode::ServiceUnavailable).retry_after(super::grpc::RETRY_AFTER_S)),
        }
    }

    /// Answers a request that JSON could not wholly bring across: its findings, and what the domain says of the rest.
    fn shape(&self, message: &[u8], method: &Method, findings: &Findings, caller: &Caller) -> ApiError {
        let found = findings.listed.iter().map(|finding| finding.violation.clone());
        if findings.whole_body {
            return ApiError::invalid(found.collect());
        }
        let left_out: Vec<&str> = findings.listed.iter().map(|finding| finding.violation.field.as_ref()).collect();
        let position = |violation: &Violation| method.fields.iter().position(|name| *name == violation.field);
        let mut listed: Vec<Violation> = wire::violations(&method.path, message, &left_out, &self.gateway, caller);
        listed.retain(|violation| !left_out.contains(&violation.field.as_ref()));
        listed.extend(found);
        // Stable, so that unknown fields stay last and as they came.
        listed.sort_by_key(|violation| position(violation).unwrap_or(usize::MAX));
        ApiError::invalid(listed)
    }
}

/// Statuses that the gRPC library makes by itself (a frame too large, an unknown method) become the contract's.
fn contractual(response: Response<Body>) -> Response<Body> {
    let Some(status) = response.extensions().get::<tonic::Status>() else {
        return response;
    };
    let ours = std::error::Error::source(status).is_some_and(<dyn std::error::Error>::is::<ApiError>);
    if ours || status.code() == tonic::Code::Ok {
        return response;
    }
    tonic::Status::from(ApiError::from_status(status)).into_http()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_taken_from_w3c_then_from_b3_and_only_if_it_is_one() {
        let w3c = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let b3 = ("x-b3-traceid", "463ac35c9f6413ad");
        let of_b3 = "00-0000000000000000463ac35c9f6413ad-a2fb4a1d1a96d312-01";
        for (headers, expected) in [
            (vec![("traceparent", w3c)], Some(w3c)),
            (vec![b3, ("x-b3-spanid", "a2fb4a1d1a96d312")], Some(of_b3)),
            (vec![b3], None),
            (vec![("traceparent", w3c), b3, ("x-b3-spanid", "a2fb4a1d1a96d312")], Some(w3c)),
            (vec![("traceparent", "00-1-2-01"), b3, ("x-b3-spanid", "a2fb4a1d1a96d312")], Some(of_b3)),
            (vec![("traceparent", "00-forged line-00-01")], None),
            (vec![], None),
        ] {
            let sent =
                headers.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
            let found = trace(&sent.collect()).map(Trace::to_w3c);
            assert_eq!(found.as_deref(), expected, "{headers:?}");
        }
    }
}
