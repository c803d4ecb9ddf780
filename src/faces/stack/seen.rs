//! What is seen of a call from outside of it: numbers, the span that all its others are part of, and the audit log.
//!
//! Invariant: looking waits for nothing and changes no answer; a call that is dropped is seen too. No address is here.

use std::sync::Arc;

use http::{Request, Response};
use tokio::time::Instant;
use tonic::body::Body;

use super::auditing::{self, Auditing};
use super::methods::Method;
use super::{Arrival, Layers};
use crate::domain::certification::Face;
use crate::domain::directory::Partner;
use crate::domain::ids::PartnerId;
use crate::faces::measures::{End, UNKNOWN, Watched};
use crate::faces::status::ApiError;
use crate::flows::Caller;
use crate::flows::certification::Told;
use crate::flows::trail::{Span, Trail};
use crate::ports::audit::Audit;
use crate::ports::spans::Side;

/// A call while it is being answered.
pub(super) struct Seen<'a> {
    watched: Watched<'a>,
    trail: Trail,
    span: Span,
    face: Face,
    partner: Option<PartnerId>,
    /// The method's name; what is not there has none of ours, and the caller's own is nobody else's business.
    rpc: &'a str,
    audit: Option<&'a Arc<dyn Audit>>,
    auditing: Option<Auditing>,
}

impl<'a> Seen<'a> {
    pub(super) fn begin(layers: &'a Layers, method: Option<&'a Method>, arrival: &Arrival) -> Self {
        let Arrival { correlation, trace, state, face } = arrival;
        let spans = layers.gateway.spans.as_ref();
        let name = method.map_or(UNKNOWN, Method::full_name);
        let (trail, mut span) = Trail::lead(*trace, spans, Side::Server, name);
        let trail = trail.carrying(state.clone());
        if let Some((service, method)) = method.and_then(|method| method.full_name().split_once('/')) {
            span.note("rpc.system", || "grpc".into());
            span.note("rpc.service", || service.to_owned().into());
            span.note("rpc.method", || method.to_owned().into());
        }
        span.note("onbill.face", || if *face == Face::Grpc { "grpc".into() } else { "json".into() });
        span.note("onbill.correlation", || correlation.as_str().to_owned().into());
        Self {
            watched: layers.measures.begin(method.map(|method| &method.measures), *face),
            trail,
            span,
            face: *face,
            partner: None,
            rpc: method.map_or(UNKNOWN, Method::name),
            audit: layers.audit.as_ref(),
            auditing: None,
        }
    }

    pub(super) fn belongs_to(&mut self, partner: &Partner) {
        self.watched.belongs_to(&partner.id, &self.trail);
        self.partner = Some(partner.id.clone());
        self.span.note("onbill.partner", || partner.id.as_str().to_owned().into());
    }

    /// The call is let in: from here on the audit log gets an entry of it where it changes something.
    pub(super) fn is_let_in(&mut self, request: &mut Request<Body>, method: &Method, caller: &Caller) {
        self.auditing = match (self.audit, method.changing) {
            (Some(audit), Some(what)) => Some(Auditing::of(audit, what, self.face, request, caller)),
            (_, _) => None,
        };
    }

    /// When the call came.
    pub(super) const fn began(&self) -> Instant {
        self.watched.began()
    }

    pub(super) fn trail(&self) -> Trail {
        self.trail.clone()
    }

    pub(super) fn answered(&mut self, passed: &Result<Response<Body>, ApiError>) {
        let of_status = |response: &Response<Body>| {
            let status = response.extensions().get::<tonic::Status>()?;
            (status.code() != tonic::Code::Ok).then(|| ApiError::from_status(status))
        };
        let made;
        let error = match passed {
            Ok(response) => {
                made = of_status(response);
                made.as_ref()
            }
            Err(error) => Some(error),
        };
        self.ended(error, passed.as_ref().ok());
    }

    /// It was refused before it was read.
    pub(super) fn refused(&mut self, error: &ApiError) {
        self.ended(Some(error), None);
    }

    fn ended(&mut self, error: Option<&ApiError>, response: Option<&Response<Body>>) {
        let end = error.map_or(End::Ok, |error| End::Failed(error.code));
        self.watched.ended(end);
        let told = response.and_then(|response| response.extensions().get::<Told>());
        let code = error.map(|error| error.code);
        match (&mut self.auditing, self.audit, code) {
            (Some(auditing), _, code) => auditing.note(code, told),
            (None, Some(audit), Some(code)) => auditing::refuse(audit, self.partner.as_ref(), self.rpc, code),
            (None, _, _) => {}
        }
        if let Some(told) = told {
            if told.replayed {
                self.watched.replayed();
            }
            self.span.note("onbill.status", || told.outcome.clone().into());
        }
        if let Some(error) = error {
            self.span.note("onbill.code", || error.code.code().into());
            let status = error.http_status();
            if self.face == Face::Json {
                self.span.note("http.response.status_code", || i64::from(status.as_u16()).into());
            }
            if status.is_server_error() {
                self.span.fail(error.code.code());
            }
        }
    }
}
