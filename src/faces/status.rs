//! Where an error becomes an HTTP status and a gRPC status.
//!
//! Invariant: every code of the catalogue has exactly one HTTP status and one gRPC status, in the two tables below;
//! neither has a wildcard arm. An [`ApiError`] holds public text only: what a log needs stays with whoever made it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::domain::catalogue::{ErrorCode, Violation, field, message_for, reason};
use crate::domain::transaction::Refusal;

/// `google.rpc.ErrorInfo.domain` of every error.
const ERROR_DOMAIN: &str = "onbill";

/// An error as callers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Its code.
    pub code: ErrorCode,
    /// What is wrong with the request; empty for every code but `invalid-request`.
    pub violations: Vec<Violation>,
    /// Seconds after which a repeat makes sense.
    pub retry_after_s: Option<u32>,
    /// Methods that the path has, for `method-not-allowed`.
    pub allow: Option<&'static str>,
}

impl ApiError {
    /// An error that is its code and nothing more.
    #[must_use]
    pub const fn new(code: ErrorCode) -> Self {
        Self { code, violations: Vec::new(), retry_after_s: None, allow: None }
    }

    /// `invalid-request` with these violations.
    #[must_use]
    pub const fn invalid(violations: Vec<Violation>) -> Self {
        Self { code: ErrorCode::InvalidRequest, violations, retry_after_s: None, allow: None }
    }

    /// The same error, with the time after which a repeat makes sense.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The public message.
    #[must_use]
    pub fn message(&self) -> &'static str {
        message_for(self.code, &self.violations)
    }

    /// The HTTP status of its code (contract section 4).
    #[must_use]
    pub const fn http_status(&self) -> StatusCode {
        http_status(self.code)
    }

    /// The gRPC status, with the details of the contract, section 4. The error itself stays inside as its source, so
    /// that the JSON face need not read the details back.
    #[must_use]
    pub fn into_status(self) -> Status {
        let reason = self.code.reason();
        let metadata = HashMap::from([("code".to_owned(), self.code.code().to_owned())]);
        let mut details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, metadata);
        if self.code == ErrorCode::InvalidRequest {
            details.set_bad_request(self.violations.iter().map(field_violation).collect::<Vec<_>>());
        }
        if let Some(seconds) = self.retry_after_s {
            details.set_retry_info(Some(Duration::from_secs(u64::from(seconds))));
        }
        let mut status = Status::with_error_details(grpc_code(&self), self.message(), details);
        status.set_source(Arc::new(self));
        status
    }

    /// The error behind a status: the one that [`ApiError::into_status`] put there, or the nearest for a status that
    /// the gRPC library made by itself.
    #[must_use]
    pub fn from_status(status: &Status) -> Self {
        let source = std::error::Error::source(status);
        match source.and_then(|source| source.downcast_ref::<Self>()) {
            Some(error) => error.clone(),
            None => Self::nearest(status.code()),
        }
    }

    /// For statuses that the gRPC library makes: no arm is a wildcard, so that a new code is thought about.
    fn nearest(code: Code) -> Self {
        match code {
            Code::Unimplemented => Self::new(ErrorCode::NotFound),
            // The last is a message that grows beyond the bound when it is unpacked; quotas make statuses of ours.
            Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted => {
                Self::invalid(vec![Violation::on(field::BODY, reason::BODY_PROTOBUF)])
            }
            Code::Unauthenticated => Self::new(ErrorCode::AuthorizationFailure),
            Code::PermissionDenied => Self::new(ErrorCode::Forbidden),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
                Self::new(ErrorCode::ServiceUnavailable).retry_after(1)
            }
            Code::Ok
            | Code::Unknown
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::Internal
            | Code::DataLoss => Self::new(ErrorCode::SystemError),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(violations) => Self::invalid(violations),
            Refusal::AccountNotFound => Self::new(ErrorCode::AccountNotFound),
            Refusal::SuspendedNonPayment => Self::new(ErrorCode::SuspendedNonPayment),
            Refusal::SuspendedLostStolen => Self::new(ErrorCode::SuspendedLostStolen),
            Refusal::NotEligible => Self::new(ErrorCode::EligibilityFailedCsp),
            Refusal::InvalidPin => Self::new(ErrorCode::InvalidPin),
            Refusal::UnknownProduct => Self::new(ErrorCode::InvalidPartnerProduct),
            Refusal::ChargeNotFound => Self::new(ErrorCode::InvalidChargeRefund),
            Refusal::AlreadyUsed => Self::invalid(vec![Violation::on(field::EXT_TRANSACTION_ID, reason::ALREADY_USED)]),
            Refusal::TransactionNotFound => Self::new(ErrorCode::TransactionNotFound),
            Refusal::TooMany { retry_after_s } => Self::new(ErrorCode::TooManyRequests).retry_after(retry_after_s),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message())
    }
}

impl std::error::Error for ApiError {}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        error.into_status()
    }
}

/// Error code → HTTP status.
#[must_use]
pub const fn http_status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::AccountNotFound
        | ErrorCode::InvalidChargeRefund
        | ErrorCode::TransactionNotFound
        | ErrorCode::RunNotFound
        | ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::SuspendedNonPayment
        | ErrorCode::SuspendedLostStolen
        | ErrorCode::EligibilityFailedCsp
        | ErrorCode::InvalidRequest
        | ErrorCode::InvalidPin
        | ErrorCode::InvalidPartnerProduct => StatusCode::BAD_REQUEST,
        ErrorCode::AuthorizationFailure => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::SystemError => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Error → gRPC status. An id that belongs to another request is the one violation with a status of its own.
#[must_use]
pub fn grpc_code(error: &ApiError) -> Code {
    match error.code {
        ErrorCode::AccountNotFound
        | ErrorCode::InvalidChargeRefund
        | ErrorCode::TransactionNotFound
        | ErrorCode::RunNotFound => Code::NotFound,
        ErrorCode::SuspendedNonPayment | ErrorCode::SuspendedLostStolen | ErrorCode::EligibilityFailedCsp => {
            Code::FailedPrecondition
        }
        ErrorCode::InvalidRequest => match error.violations.as_slice() {
            [only] if only.reason == reason::ALREADY_USED || only.reason == reason::NOTIFICATION_ALREADY_USED => {
                Code::AlreadyExists
            }
            _ => Code::InvalidArgument,
        },
        ErrorCode::InvalidPin | ErrorCode::InvalidPartnerProduct => Code::InvalidArgument,
        ErrorCode::AuthorizationFailure => Code::Unauthenticated,
        ErrorCode::Forbidden => Code::PermissionDenied,
        ErrorCode::TooManyRequests => Code::ResourceExhausted,
        ErrorCode::NotFound | ErrorCode::MethodNotAllowed => Code::Unimplemented,
        ErrorCode::ServiceUnavailable => Code::Unavailable,
        ErrorCode::SystemError => Code::Internal,
    }
}

fn field_violation(violation: &Violation) -> FieldViolation {
    FieldViolation {
        field: violation.proto_field(),
        description: violation.reason.clone().into_owned(),
        reason: violation.code_reason(),
        localized_message: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_the_statuses_of_the_contract() {
        for (code, http, grpc) in [
            (ErrorCode::AccountNotFound, 404, Code::NotFound),
            (ErrorCode::SuspendedNonPayment, 400, Code::FailedPrecondition),
            (ErrorCode::SuspendedLostStolen, 400, Code::FailedPrecondition),
            (ErrorCode::EligibilityFailedCsp, 400, Code::FailedPrecondition),
            (ErrorCode::InvalidRequest, 400, Code::InvalidArgument),
            (ErrorCode::InvalidPin, 400, Code::InvalidArgument),
            (ErrorCode::InvalidPartnerProduct, 400, Code::InvalidArgument),
            (ErrorCode::InvalidChargeRefund, 404, Code::NotFound),
            (ErrorCode::TransactionNotFound, 404, Code::NotFound),
            (ErrorCode::RunNotFound, 404, Code::NotFound),
            (ErrorCode::AuthorizationFailure, 401, Code::Unauthenticated),
            (ErrorCode::Forbidden, 403, Code::PermissionDenied),
            (ErrorCode::TooManyRequests, 429, Code::ResourceExhausted),
            (ErrorCode::NotFound, 404, Code::Unimplemented),
            (ErrorCode::MethodNotAllowed, 405, Code::Unimplemented),
            (ErrorCode::ServiceUnavailable, 503, Code::Unavailable),
            (ErrorCode::SystemError, 500, Code::Internal),
        ] {
            let error = ApiError::new(code);
            assert_eq!(error.http_status().as_u16(), http, "{code:?}");
            assert_eq!(grpc_code(&error), grpc, "{code:?}");
        }
    }

    #[test]
    fn a_used_id_is_already_exists_on_grpc_and_400_on_http() {
        for (field, reason) in [
            (field::EXT_TRANSACTION_ID, reason::ALREADY_USED),
            (field::EXT_NOTIFICATION_ID, reason::NOTIFICATION_ALREADY_USED),
        ] {
            let error = ApiError::invalid(vec![Violation::on(field, reason)]);
            assert_eq!(grpc_code(&error), Code::AlreadyExists);
            assert_eq!(error.http_status(), StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn details_carry_the_literal_code_and_each_violation_in_order() {
        let violations = vec![Violation::reference_id_required(), Violation::on(field::AMOUNT, reason::DECIMAL)];
        let error = ApiError::invalid(violations);
        let status = error.clone().into_status();
        let details = status.get_error_details();
        let info = details.error_info().expect("ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_REQUEST", "onbill"));
        assert_eq!(info.metadata["code"], "invalid-request");
        let fields: Vec<_> = details.bad_request().expect("BadRequest").field_violations.iter().collect();
        let seen: Vec<_> = fields.iter().map(|v| (v.field.as_str(), v.reason.as_str())).collect();
        assert_eq!(seen, [("reference_id", "REFERENCE_ID_REQUIRED"), ("amount", "VIOLATION_ON_AMOUNT")]);
        assert_eq!(ApiError::from_status(&status), error);
    }
}
