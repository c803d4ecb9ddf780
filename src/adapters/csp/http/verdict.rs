//! The one table of what a failure means: may it be sent again, is it refused, or must the CSP be asked.
//!
//! Invariant: "not applied" needs a proof: not one byte was written, or the CSP said so in a way that its profile lists.
//! "Refused" needs a status that decides and a code. Everything else is unknown. Each row has a test, below or in
//! `conformance/ports/csp_http_failures.rs`.

use super::exchange::{Answered, Failed};
use crate::ports::Cause;
use crate::ports::csp::CspError;

/// Statuses with which a CSP refuses for good. Not 401 and 403 (our key is wrong, which says nothing of the order), not
/// 408 and 429 (which something in between may say of a request that has gone on).
const REFUSING: [u16; 5] = [400, 402, 404, 409, 422];

/// What came in place of the answer that was hoped for.
#[derive(Debug)]
pub(super) enum Trouble {
    /// No answer.
    Failed(Failed),
    /// Another answer, with the code that is in it.
    Answered {
        /// Its status.
        status: u16,
        /// Its code; `None` where it is no JSON, or has none.
        code: Option<String>,
    },
}

impl Trouble {
    /// Of an answer.
    pub(super) fn answered(answered: &Answered) -> Self {
        Self::Answered { status: answered.status, code: answered.code() }
    }
}

/// What a trouble means, by what the CSP's profile lists as not applied.
///
/// | trouble | verdict |
/// |---|---|
/// | no such name, connection refused, no TLS, no time: before a byte was written | not applied |
/// | closed, reset, out of time, cut or too long an answer: after | unknown |
/// | a status or a code that the profile lists | not applied |
/// | 400, 402, 404, 409, 422 with a code | refused |
/// | the same without a code, or not JSON | unknown |
/// | 401, 403, 408, 429, any other 4xx, 5xx, 3xx | unknown |
/// | 2xx that cannot be read as what was asked for | unknown |
pub(super) fn of(trouble: Trouble, not_applied: &[String]) -> CspError {
    let (status, code) = match trouble {
        Trouble::Failed(Failed::BeforeWriting(cause)) => return CspError::NotApplied(cause),
        Trouble::Failed(Failed::AfterWriting(cause)) => return CspError::Unknown(cause),
        Trouble::Answered { status, code } => (status, code),
    };
    let listed = |word: &str| not_applied.iter().any(|entry| entry == word);
    let said = || {
        Cause::new(match &code {
            Some(code) => format!("the CSP answered {status} with the code {code:?}"),
            None => format!("the CSP answered {status} without a code"),
        })
    };
    // A 2xx says that something was done, whatever a list says.
    let is_success = (200..300).contains(&status);
    if !is_success && (listed(&status.to_string()) || code.as_deref().is_some_and(listed)) {
        return CspError::NotApplied(said());
    }
    match code {
        Some(code) if REFUSING.contains(&status) => CspError::Refused { code },
        Some(_) | None => CspError::Unknown(said()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, code: Option<&str>, not_applied: &[&str]) -> &'static str {
        let not_applied: Vec<String> = not_applied.iter().map(|word| (*word).to_owned()).collect();
        let trouble = Trouble::Answered { status, code: code.map(ToOwned::to_owned) };
        match of(trouble, &not_applied) {
            CspError::NotApplied(_) => "not applied",
            CspError::Refused { .. } => "refused",
            CspError::Unknown(_) => "unknown",
        }
    }

    #[test]
    fn every_answer_has_its_verdict() {
        for (status, code, not_applied, expected) in [
            (400, Some("x"), &[][..], "refused"),
            (402, Some("x"), &[], "refused"),
            (404, Some("x"), &[], "refused"),
            (409, Some("x"), &[], "refused"),
            (422, Some("x"), &[], "refused"),
            (422, None, &[], "unknown"),
            (404, None, &[], "unknown"),
            (401, Some("x"), &[], "unknown"),
            (403, Some("x"), &[], "unknown"),
            (405, Some("x"), &[], "unknown"),
            (408, Some("x"), &[], "unknown"),
            (413, Some("x"), &[], "unknown"),
            (429, Some("x"), &[], "unknown"),
            (429, None, &["429"], "not applied"),
            (401, None, &["401"], "not applied"),
            (500, Some("x"), &[], "unknown"),
            (502, None, &[], "unknown"),
            (503, Some("x"), &[], "unknown"),
            (503, None, &["503"], "not applied"),
            (503, Some("x"), &["x"], "not applied"),
            (503, Some("y"), &["x"], "unknown"),
            (422, Some("x"), &["x"], "not applied"),
            (200, Some("x"), &["x", "200"], "unknown"),
            (200, None, &[], "unknown"),
            (201, None, &[], "unknown"),
            (302, None, &[], "unknown"),
            (307, Some("x"), &[], "unknown"),
        ] {
            assert_eq!(verdict(status, code, not_applied), expected, "{status} {code:?} {not_applied:?}");
        }
    }

    #[test]
    fn no_answer_is_judged_by_whether_a_byte_was_written() {
        let before = of(Trouble::Failed(Failed::BeforeWriting(Cause::new("x"))), &[]);
        assert!(matches!(before, CspError::NotApplied(_)), "{before:?}");
        let after = of(Trouble::Failed(Failed::AfterWriting(Cause::new("x"))), &["503".to_owned()]);
        assert!(matches!(after, CspError::Unknown(_)), "{after:?}");
    }
}
