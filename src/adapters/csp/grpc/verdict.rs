//! The one table of what a failure means: may it be sent again, is it refused, or must the CSP be asked.
//!
//! Invariant: "not applied" needs a proof: no byte of the message was written, HTTP/2 says that nobody looked at it, or
//! the CSP said so in a way that its profile lists. "Refused" needs an answer that says so. Everything else is unknown.
//! Each row has a test, below or in `conformance/ports/csp_grpc_failures.rs`.

use tonic::Code;

use super::exchange::Failed;
use crate::ports::Cause;
use crate::ports::csp::CspError;

/// Statuses that a profile may list. Not the others: our own library makes them of what it cannot read or was cut off,
/// and then they are no word of the CSP's.
const LISTABLE: [(Code, &str); 3] = [
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (Code::Unauthenticated, "UNAUTHENTICATED"),
    (Code::PermissionDenied, "PERMISSION_DENIED"),
];

/// What came in place of the answer that was hoped for.
#[derive(Debug)]
pub(super) enum Trouble {
    /// No answer.
    Failed(Failed),
    /// A refusal, with its code; `None` where it has none that is one.
    Refused(Option<String>),
    /// An answer that says nothing, or not enough.
    Unreadable,
}

/// What a trouble means, by what the CSP's profile lists as not applied.
///
/// | trouble | verdict |
/// |---|---|
/// | no such name, connection refused, no TLS, no time: before a byte of the message was written | not applied |
/// | the stream was refused (`REFUSED_STREAM`) | not applied |
/// | a refusal whose code the profile lists | not applied |
/// | `RESOURCE_EXHAUSTED`, `UNAUTHENTICATED`, `PERMISSION_DENIED`, where the profile lists that name | not applied |
/// | a refusal with another code | refused |
/// | a refusal without a code | unknown |
/// | any other status; a connection closed, reset or cut after writing; out of time | unknown |
/// | OK that cannot be read as what was asked for | unknown |
pub(super) fn of(trouble: Trouble, not_applied: &[String]) -> CspError {
    let listed = |word: &str| not_applied.iter().any(|entry| entry == word);
    match trouble {
        Trouble::Failed(Failed::BeforeWriting(cause) | Failed::StreamRefused(cause)) => CspError::NotApplied(cause),
        Trouble::Failed(Failed::AfterWriting(cause)) => CspError::Unknown(cause),
        Trouble::Failed(Failed::Status(status)) => {
            let is_listed = LISTABLE.iter().any(|(code, name)| *code == status.code() && listed(name));
            let cause = Cause::new(status);
            if is_listed { CspError::NotApplied(cause) } else { CspError::Unknown(cause) }
        }
        Trouble::Refused(Some(code)) if listed(&code) => {
            CspError::NotApplied(Cause::new(format!("the CSP answered with the code {code:?}")))
        }
        Trouble::Refused(Some(code)) => CspError::Refused { code },
        Trouble::Refused(None) => CspError::Unknown(Cause::new("the CSP refused without a code")),
        Trouble::Unreadable => CspError::Unknown(Cause::new("the CSP's answer cannot be read")),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    fn verdict(trouble: Trouble, not_applied: &[&str]) -> &'static str {
        let not_applied: Vec<String> = not_applied.iter().map(|word| (*word).to_owned()).collect();
        match of(trouble, &not_applied) {
            CspError::NotApplied(_) => "not applied",
            CspError::Refused { .. } => "refused",
            CspError::Unknown(_) => "unknown",
        }
    }

    #[test]
    fn every_status_is_unknown_unless_the_csp_alone_can_have_said_it_and_its_profile_lists_it() {
        let every = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        for (number, name) in (0..).zip(every) {
            let status = || Trouble::Failed(Failed::Status(Status::new(Code::from_i32(number), "x")));
            assert_eq!(verdict(status(), &["not-applied"]), "unknown", "{name}");
            let may_be_listed = ["RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "PERMISSION_DENIED"].contains(&name);
            let expected = if may_be_listed { "not applied" } else { "unknown" };
            assert_eq!(verdict(status(), &every), expected, "{name}");
        }
    }

    #[test]
    fn a_refusal_is_judged_by_its_code() {
        for (code, not_applied, expected) in [
            (Some("daily-limit"), &[][..], "refused"),
            (Some("daily-limit"), &["not-applied"], "refused"),
            (Some("not-applied"), &["not-applied"], "not applied"),
            (Some("not-applied"), &[], "refused"),
            (None, &["not-applied"], "unknown"),
        ] {
            let trouble = Trouble::Refused(code.map(ToOwned::to_owned));
            assert_eq!(verdict(trouble, not_applied), expected, "{code:?} {not_applied:?}");
        }
    }

    #[test]
    fn no_answer_is_judged_by_whether_a_byte_was_written() {
        let cause = || Cause::new("x");
        for (failed, expected) in [
            (Failed::BeforeWriting(cause()), "not applied"),
            (Failed::StreamRefused(cause()), "not applied"),
            (Failed::AfterWriting(cause()), "unknown"),
        ] {
            assert_eq!(verdict(Trouble::Failed(failed), &["x"]), expected);
        }
        assert_eq!(verdict(Trouble::Unreadable, &["x"]), "unknown");
    }
}
