//! The port of the courier: carries one event to a partner's endpoint.
//!
//! Invariant: a letter is signed anew at every attempt, with the real time, by every secret of its endpoint. It goes to
//! an address that the endpoint may have and to no other, follows no redirect, and ends within its time whatever the
//! endpoint does. What an answer means is the domain's matter.

use async_trait::async_trait;

use super::Cause;
use crate::domain::webhook::Webhook;

/// One event, ready to be carried.
#[derive(Debug, Clone)]
pub struct Letter<'a> {
    /// Where it goes, and by whose secrets it is signed.
    pub webhook: &'a Webhook,
    /// The event's id.
    pub id: &'a str,
    /// A CloudEvent in structured JSON.
    pub body: &'a str,
}

/// What the endpoint answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, as it stands.
    pub retry_after: Option<String>,
    /// The beginning of the body, for people to read.
    pub beginning: String,
}

/// There was no answer.
#[derive(Debug, Clone)]
pub struct NoAnswer(pub Cause);

/// Carries letters.
#[async_trait]
pub trait Courier: Send + Sync {
    /// Carries one letter once.
    async fn deliver(&self, letter: &Letter<'_>) -> Result<Answer, NoAnswer>;
}
