//! What the gateway needs of the world: small object-safe traits and their errors.
//!
//! Invariant: a port has no type parameters and no default bodies that hide a missing feature; its errors say what may
//! be done next. What an operator cannot do is data of its profile. No adapter is named here.

pub mod csp;
pub mod ledger;
pub mod inspection;
pub mod oversight;
pub mod outbox;
pub mod courier;
pub mod ephemeral;
pub mod clock;
pub mod secrets;
pub mod tokens;
pub mod sandbox;
pub mod certification;
pub mod measures;
pub mod spans;
pub mod audit;

/// Why something failed, for the people who run the gateway. It has no `Display`, so that it cannot slip into an
/// answer; log it with `{:?}`. Whoever makes one leaves addresses, PINs and keys out.
#[derive(Debug, Clone)]
pub struct Cause(std::sync::Arc<dyn std::error::Error + Send + Sync>);

impl Cause {
    /// Keeps an error with all that caused it.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(std::sync::Arc::from(error.into()))
    }

    /// The chain of errors in one line, for a private note or a log.
    #[must_use]
    pub fn to_note(&self) -> String {
        let mut note = self.0.to_string();
        let mut source = self.0.source();
        while let Some(cause) = source {
            note.push_str(": ");
            note.push_str(&cause.to_string());
            source = cause.source();
        }
        note
    }
}
