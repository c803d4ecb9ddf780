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
    use std::sync::Arc;

    use super::super::SqliteLedger;
    use super::*;
    use crate::domain::transaction::{Expected, UnitOfWork, samples};
    use crate::ports::ledger::Ledger as _;

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

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn while_another_looks_the_readers_answer() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let ledger = Arc::new(SqliteLedger::open(directory.path()).expect("it opens"));
        let charges: Vec<_> = (0..60).map(|number| samples::charge(&format!("c{number}"), "10")).collect();
        for charge in charges.iter().step_by(2) {
            ledger.commit(UnitOfWork::of(charge.clone(), Expected::Absent)).await.expect("it is written");
        }
        let (looks, has_looked) = std::sync::mpsc::channel::<()>();
        let (held, is_held) = std::sync::mpsc::channel::<()>();
        let other = Arc::clone(&ledger);
        let another = std::thread::spawn(move || {
            let _eye = other.readers.glance.0.lock().expect("nobody has panicked");
            held.send(()).expect("the test goes on");
            // It looks until the test is over.
            let _ = has_looked.recv();
        });
        is_held.recv().expect("it looks");
        assert!(matches!(ledger.readers.glance.recall(&charges[0].key), Seen::Nothing));
        let asked: Vec<_> = charges
            .iter()
            .map(|charge| {
                let (ledger, key) = (Arc::clone(&ledger), charge.key.clone());
                tokio::spawn(async move { ledger.recall(&key).await.expect("the readers answer") })
            })
            .collect();
        for (number, (answer, charge)) in asked.into_iter().zip(&charges).enumerate() {
            let found = answer.await.expect("no panic");
            assert_eq!(found.map(|record| record.key), (number % 2 == 0).then(|| charge.key.clone()));
        }
        drop(looks);
        another.join().expect("no panic");
        assert!(matches!(ledger.readers.glance.recall(&charges[0].key), Seen::Found(Some(_))));
    }

    #[test]
    fn what_a_look_cannot_read_is_left_to_the_readers() {
        let empty = Connection::open_in_memory().expect("memory");
        let glance = Glance::through(empty).expect("a connection");
        assert!(matches!(glance.recall(&samples::charge("c1", "10").key), Seen::Nothing));
    }
}
