//! What the audit log gets of calls that change something.
//!
//! Invariant: a call that was let in makes one entry, whether or not its caller waits for the answer; one that was turned
//! away is counted. No PIN, key or text of a message is in either, and an address only masked.

use std::sync::Arc;

use http::Request;
use tonic::body::Body;

use crate::domain::address::masked;
use crate::domain::catalogue::ErrorCode;
use crate::domain::certification::Face;
use crate::domain::ids::{CorrelationId, ExtTransactionId, PartnerId};
use crate::faces::grpc::observe::Slot;
use crate::flows::Caller;
use crate::flows::certification::Told;
use crate::ports::audit::{Audit, Entry, Refused, Who};

/// The RPCs that change something.
const CHANGING: [&str; 8] = [
    "SendPin",
    "ValidatePin",
    "CreateTransaction",
    "SendNotification",
    "AdvanceClock",
    "ResetAccount",
    "StartRun",
    "FinishRun",
];
/// Most characters of an amount that is written down.
const AMOUNT_LENGTH_MAX: usize = 32;

/// The name of a method in the log; `None` where it changes nothing.
pub(super) fn changing(method: &str) -> Option<&'static str> {
    CHANGING.into_iter().find(|known| *known == method)
}

/// A call that changes something, while it is being answered.
pub(super) struct Auditing {
    audit: Arc<dyn Audit>,
    slot: Slot,
    what: &'static str,
    partner: PartnerId,
    correlation: CorrelationId,
    face: Face,
    is_noted: bool,
}

impl Auditing {
    pub(super) fn of(
        audit: &Arc<dyn Audit>,
        what: &'static str,
        face: Face,
        request: &mut Request<Body>,
        caller: &Caller,
    ) -> Self {
        let slot = request.extensions_mut().get_or_insert_default::<Slot>().clone();
        let (partner, correlation) = (caller.partner.id.clone(), caller.correlation.clone());
        Self { audit: Arc::clone(audit), slot, what, partner, correlation, face, is_noted: false }
    }

    pub(super) fn note(&mut self, failed: Option<ErrorCode>, told: Option<&Told>) {
        let told_outcome = told.map(|told| told.outcome.clone()).filter(|outcome| !outcome.is_empty());
        let outcome = match (failed, told_outcome) {
            (Some(code), _) => code.code().into(),
            (None, Some(outcome)) => outcome.into(),
            (None, None) => "ok".into(),
        };
        self.write(outcome, told.is_some_and(|told| told.replayed));
    }

    fn write(&mut self, outcome: std::borrow::Cow<'static, str>, is_replayed: bool) {
        self.is_noted = true;
        let sent = self.slot.read();
        let face = if self.face == Face::Grpc { "grpc" } else { "json" };
        let mut details = vec![("face", face.to_owned()), ("correlation", self.correlation.as_str().to_owned())];
        if !sent.address.is_empty() {
            details.push(("address", masked(&sent.address)));
        }
        // What is not of its form may be anything.
        if let Some(id) = ExtTransactionId::parse(&sent.ext_transaction_id) {
            details.push(("transaction", id.as_str().to_owned()));
        }
        if let Some(id) = sent.reference_id.as_deref().and_then(ExtTransactionId::parse) {
            details.push(("reference", id.as_str().to_owned()));
        }
        let is_amount = |byte: u8| byte.is_ascii_digit() || byte == b'-' || byte == b'.';
        if (1..=AMOUNT_LENGTH_MAX).contains(&sent.amount.len()) && sent.amount.bytes().all(is_amount) {
            details.push(("amount", sent.amount));
        }
        if sent.currency.len() == 3 && sent.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            details.push(("currency", sent.currency));
        }
        if is_replayed {
            details.push(("replayed", "true".to_owned()));
        }
        self.audit.note(Entry { who: Who::Partner(self.partner.clone()), what: self.what.into(), outcome, details });
    }
}

impl Drop for Auditing {
    fn drop(&mut self) {
        if !self.is_noted {
            self.write("abandoned".into(), false);
        }
    }
}

/// Counts a call that was turned away before anything was done.
pub(super) fn refuse(audit: &Arc<dyn Audit>, partner: Option<&PartnerId>, rpc: &str, code: ErrorCode) {
    let is_turned_away = matches!(
        code,
        ErrorCode::AuthorizationFailure
            | ErrorCode::Forbidden
            | ErrorCode::TooManyRequests
            | ErrorCode::ServiceUnavailable
    );
    if is_turned_away {
        audit.refuse(Refused { partner: partner.cloned(), what: rpc.to_owned(), code: code.code() });
    }
}
