//! The port of the gateway's clock.
//!
//! Invariant: every moment that a rule judges by comes from here. How long an answer may take is not here: waiting is
//! done in real time.

use crate::domain::Time;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The gateway's time now. It never goes back.
    fn now(&self) -> Time;
}

/// The clock would have been moved further than it may be, or not forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfRange;

/// A clock that a test may move.
pub trait MovableClock: Clock {
    /// Moves the clock forward and answers the new time.
    ///
    /// # Errors
    /// Fewer than 1, or more than 2,592,000 seconds over all moves.
    fn advance(&self, seconds: i64) -> Result<Time, OutOfRange>;
}
