//! What goes out: the answer of an RPC, or an error, as an HTTP response.
//!
//! Invariant: every error is the catalogue's, by `faces::status`; an answer of ours that cannot be printed is logged
//! and becomes `system-error`. Headers of the RPC's answer go on to the caller, those of the gRPC protocol aside.

use bytes::Bytes;
use http::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, TE, TRAILER, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use tonic::body::Body;
use tonic::{Code, Status};

use super::routes::Binding;
use super::schema::Schema;
use super::write::{self, WriteError};
use crate::domain::catalogue::ErrorCode;
use crate::faces::grpc::direct::Answer;
use crate::faces::status::ApiError;

/// How to authenticate, as a 401 must say (RFC 9110 section 11.6.1).
const CHALLENGE: HeaderValue = HeaderValue::from_static("ApiKey realm=\"onbill\"");

/// Why the answer of an RPC cannot be given. All of them are faults of the gateway.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("there is no answer")]
    Nothing,
    #[error("the answer cannot be printed")]
    Print(#[from] WriteError),
}

/// The answer of an RPC as JSON.
pub(super) fn of_rpc(schema: &Schema, binding: &Binding, response: Response<Body>) -> Response<Body> {
    let (mut parts, _) = response.into_parts();
    let status = parts.extensions.remove::<Status>().filter(|status| status.code() != Code::Ok);
    let answered = match (status, parts.extensions.remove::<Answer>()) {
        (Some(status), _) => Err(ApiError::from_status(&status)),
        (None, Some(Answer(message))) => print(schema, binding, &message).map_err(|error| fault(binding, &error)),
        (None, None) => Err(fault(binding, &Unreadable::Nothing)),
    };
    let mut response = answered.unwrap_or_else(|error| refusal(&error));
    let mut headers = parts.headers;
    strip_protocol(&mut headers);
    // The face's own headers win over those of the same name.
    for name in response.headers().keys() {
        headers.remove(name);
    }
    response.headers_mut().extend(headers);
    response
}

fn print(schema: &Schema, binding: &Binding, message: &[u8]) -> Result<Response<Body>, Unreadable> {
    let written = write::answer(schema, binding.output, message)?;
    let mut response = if binding.answers_body() {
        json(Bytes::from(written.body))
    } else {
        let mut response = Response::new(Body::empty());
        // RFC 9110 section 8.6: a 204 must not have the header.
        if binding.success != StatusCode::NO_CONTENT {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        response
    };
    *response.status_mut() = binding.success;
    response.headers_mut().extend(written.headers);
    Ok(response)
}

fn fault(binding: &Binding, error: &Unreadable) -> ApiError {
    let cause = std::error::Error::source(error);
    tracing::error!(rpc = binding.uri.path(), error = %error, cause, "an answer cannot be given as JSON");
    ApiError::new(ErrorCode::SystemError)
}

/// Headers of the gRPC protocol, and of a body that is not passed on as it is.
fn strip_protocol(headers: &mut HeaderMap) {
    for name in [CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER, TE] {
        headers.remove(name);
    }
    let of_grpc: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("grpc-")).cloned().collect();
    for name in &of_grpc {
        headers.remove(name);
    }
}

/// A body of JSON.
pub(super) fn json(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The body of an error, its keys in this order (contract section 4).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'e> {
    code: &'static str,
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation_errors: Option<Vec<ErrorItem<'e>>>,
}

#[derive(Debug, Serialize)]
struct ErrorItem<'e> {
    code: std::borrow::Cow<'static, str>,
    reason: &'e str,
}

/// An error as callers see it.
pub(super) fn refusal(error: &ApiError) -> Response<Body> {
    let items =
        error.violations.iter().map(|violation| ErrorItem { code: violation.code(), reason: &violation.reason });
    let body = ErrorBody {
        code: error.code.code(),
        message: error.message(),
        validation_errors: (error.code == ErrorCode::InvalidRequest).then(|| items.collect()),
    };
    let body = serde_json::to_vec(&body).expect("strings alone can always be written");
    let mut response = json(Bytes::from(body));
    *response.status_mut() = error.http_status();
    let headers = response.headers_mut();
    if let Some(seconds) = error.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(allow) = error.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if error.code == ErrorCode::AuthorizationFailure {
        headers.insert(WWW_AUTHENTICATE, CHALLENGE);
    }
    response
}
