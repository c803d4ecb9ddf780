//! A look at one record on the caller's own thread.
//!
//! Invariant: it waits for nobody: where another caller looks, or the file is locked, or it has failed, there is no answer
//! here, and the readers are asked. The disk it may wait for, with one thread of the runtime and no more; a look that was so
//! slow is followed by some that are not made, twice as many each time, so that a file that does not fit into memory is read
//! by the readers. To hand a record from thread to thread costs several times what finding it does. What the readers do
//! is not here.

use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::statements;
use crate::domain::transaction::{Transaction, TransactionKey};

/// A look that takes longer has waited for the disk: what is in memory takes some ten microseconds.
const SLOW: Duration = Duration::from_micros(250);
/// Looks that are not made after the first slow one.
const SKIPPED_MIN: u32 = 16;
/// Most looks that are not made after a slow one.
const SKIPPED_MAX: u32 = 4096;

/// A connection of its own, and whether to use it.
pub(super) struct Glance(Mutex<Eye>);

/// What came of a look.
pub(super) enum Seen {
    /// The record, or that there is none.
    Found(Option<Box<Transaction>>),
    /// Nothing: the readers are to be asked.
    Nothing,
}

struct Eye {
    connection: Connection,
    pace: Pace,
}

impl Glance {
    /// Looks through a read-only connection of its own.
    pub(super) fn through(connection: Connection) -> rusqlite::Result<Self> {
        // Who looks does not wait; the readers do.
        connection.busy_timeout(Duration::ZERO)?;
        Ok(Self(Mutex::new(Eye { connection, pace: Pace::default() })))
    }

    /// Looks for the record under a key.
    pub(super) fn recall(&self, key: &TransactionKey) -> Seen {
        let mut eye = match self.0.try_lock() {
            Ok(eye) => eye,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return Seen::Nothing,
        };
        if !eye.pace.is_due() {
            return Seen::Nothing;
        }
        let began = Instant::now();
        let found = statements::recall(&eye.connection, key);
        eye.pace.took(began.elapsed());
        // The readers meet the same fault, and tell of it.
        found.map_or(Seen::Nothing, |record| Seen::Found(record.map(Box::new)))
    }
}

/// How many looks are left out, by how long the last ones took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Pace {
    /// Looks that are still to be left out.
    skip: u32,
    /// How many were left out last, since looks became slow; none while they are quick.
    skipped: u32,
}

impl Pace {
    /// Whether to look now. To be asked once for each look.
    const fn is_due(&mut self) -> bool {
        let is_due = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        is_due
    }

    /// A look was made.
    fn took(&mut self, time: Duration) {
        self.skipped = if time > SLOW { self.skipped.saturating_mul(2).clamp(SKIPPED_MIN, SKIPPED_MAX) } else { 0 };
        self.skip = self.skipped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks that are left out until one is due.
    fn left_out(pace: &mut Pace) -> u32 {
        (0..=SKIPPED_MAX).find(|_| pace.is_due()).expect("one is due")
    }

    #[test]
    fn slow_looks_become_rare_and_a_quick_one_makes_them_usual_again() {
        let mut pace = Pace::default();
        assert_eq!(left_out(&mut pace), 0);
        let mut told = Vec::new();
        for _ in 0..11 {
            pace.took(Duration::from_millis(5));
            told.push(left_out(&mut pace));
        }
        assert_eq!(told, [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 4096, 4096]);
        pace.took(Duration::from_micros(20));
        assert_eq!(left_out(&mut pace), 0);
        assert_eq!(left_out(&mut pace), 0);
    }
}
