//! What is seen of a call from outside of it: numbers, the span that all its others are part of, and the audit log.
//!
//! Invariant: looking waits for nothing and changes no answer; a call that is dropped is seen too. No address is here.

use std::sync::Arc;

use http::{Extensions, Request, Response};
use tonic::body::Body;

use super::Layers;
use super::auditing::{self, Auditing};
use crate::domain::certification::Face;
use crate::domain::directory::Partner;
use crate::domain::ids::{CorrelationId, PartnerId};
use crate::domain::trace::{Trace, TraceState};
use crate::faces::measures::{End, Watched};
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
    rpc: String,
    audit: Option<&'a Arc<dyn Audit>>,
    auditing: Option<Auditing>,
}

impl<'a> Seen<'a> {
    pub(super) fn begin(layers: &'a Layers, path: &str, extensions: &Extensions) -> Self {
        let face = extensions.get::<Face>().copied().unwrap_or(Face::Grpc);
        let begun = || {
            let correlation = extensions.get::<CorrelationId>().cloned();
            Trace::begun_by(&correlation.unwrap_or_else(|| layers.gateway.secrets.fresh_correlation_id()))
        };
        let trace = extensions.get::<Trace>().copied().unwrap_or_else(begun);
        // What is not there has no name of ours, and the caller's own is nobody else's business.
        let known = layers.fields.get_key_value(path).map(|(path, _)| path.trim_start_matches('/'));
        let name = known.unwrap_or("unknown");
        let spans = layers.gateway.spans.as_ref();
        let (trail, mut span) = Trail::lead(trace, spans, Side::Server, name);
        let trail = trail.carrying(extensions.get::<TraceState>().cloned());
        if let Some((service, method)) = known.and_then(|known| known.split_once('/')) {
            span.note("rpc.system", || "grpc".into());
            span.note("rpc.service", || service.to_owned().into());
            span.note("rpc.method", || method.to_owned().into());
        }
        span.note("onbill.face", || if face == Face::Grpc { "grpc".into() } else { "json".into() });
        if let Some(correlation) = extensions.get::<CorrelationId>() {
            span.note("onbill.correlation", || correlation.as_str().to_owned().into());
        }
        Self {
            watched: layers.measures.begin(path, face),
            trail,
            span,
            face,
            partner: None,
            rpc: name.rsplit('/').next().unwrap_or_default().to_owned(),
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
    pub(super) fn is_let_in(&mut self, request: &mut Request<Body>, caller: &Caller) {
        self.auditing = self.audit.and_then(|audit| Auditing::of(audit, request, caller));
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
            (None, Some(audit), Some(code)) => auditing::refuse(audit, self.partner.as_ref(), &self.rpc, code),
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
