//! The port of certification: runs and what was seen of them, and the signature under a certificate.
//!
//! Invariant: a run that was started, and a call that was appended, outlive the gateway. No money depends on it: what
//! is appended is durable soon, not at once.

use async_trait::async_trait;

use super::Cause;
use crate::domain::Time;
use crate::domain::certification::{Call, Run};
use crate::domain::ids::PartnerId;

/// The runs cannot be read or written now. The same may be tried again.
#[derive(Debug, Clone)]
pub struct RunsUnavailable(pub Cause);

/// Keeps runs.
#[async_trait]
pub trait CertificationRuns: Send + Sync {
    /// Keeps a new run; its id is not taken yet.
    async fn start(&self, run: &Run) -> Result<(), RunsUnavailable>;

    /// Keeps calls, each with the id of its run, in this order. An open run that has `CALLS_MAX` of them counts those
    /// that come instead; one that is finished takes none. `late` are calls that came after that, each with the run that
    /// it named and its partner: where the partner has such a run, they are counted there as left out.
    async fn append(&self, calls: Vec<(String, Call)>, late: Vec<(String, PartnerId)>) -> Result<(), RunsUnavailable>;

    /// The gateway begins. Open runs count an interruption where it did not [`end`](Self::end) before.
    async fn begin(&self) -> Result<(), RunsUnavailable>;

    /// The gateway has ended in order: everything that was seen is kept.
    async fn end(&self) -> Result<(), RunsUnavailable>;

    /// A run and its calls, in the order in which they were appended.
    async fn read(&self, id: &str) -> Result<Option<(Run, Vec<Call>)>, RunsUnavailable>;

    /// The newest runs of a partner, newest first, at most `runs_max`.
    async fn list(&self, partner: &PartnerId, runs_max: usize) -> Result<Vec<Run>, RunsUnavailable>;

    /// All open runs, of all partners.
    async fn open(&self) -> Result<Vec<Run>, RunsUnavailable>;

    /// Finishes a run that is open, with the number of its calls that were never appended.
    async fn finish(&self, id: &str, at: Time, left_out: u32) -> Result<(), RunsUnavailable>;
}

/// Signs certificates (Ed25519, RFC 8032).
pub trait CertificateSigner: Send + Sync {
    /// The signature of these bytes.
    fn sign(&self, bytes: &[u8]) -> [u8; 64];

    /// The public key that it can be verified with.
    fn public_key(&self) -> [u8; 32];
}
