//! Who waits for a flight in this process.
//!
//! Invariant: an entry lives as long as somebody waits. Who waits for a flight of another gateway is not woken, but looks
//! again by itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::keys::FlightId;

/// Those who wait, by flight. There are at most as many as there are requests at work.
#[derive(Default)]
pub(super) struct Waiters(Mutex<HashMap<FlightId, Arc<Notify>>>);

/// A place among those who wait for a flight.
pub(super) struct Waiting<'a> {
    waiters: &'a Waiters,
    id: FlightId,
    pub(super) ended: Arc<Notify>,
}

impl Waiters {
    /// Takes a place.
    pub(super) fn wait(&self, id: FlightId) -> Waiting<'_> {
        let ended = Arc::clone(self.lock().entry(id).or_default());
        Waiting { waiters: self, id, ended }
    }

    /// Wakes all who wait for a flight.
    pub(super) fn wake(&self, id: FlightId) {
        if let Some(ended) = self.lock().get(&id) {
            ended.notify_waiters();
        }
    }

    /// No panic can leave the map half changed.
    fn lock(&self) -> MutexGuard<'_, HashMap<FlightId, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiters = self.waiters.lock();
        // The last one: only the map's and this one's are left, and nobody takes another while the lock is held.
        if Arc::strong_count(&self.ended) <= 2 {
            waiters.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_lives_as_long_as_somebody_waits() {
        let waiters = Waiters::default();
        let (first, second) = (waiters.wait([1; 16]), waiters.wait([1; 16]));
        drop(first);
        assert_eq!(waiters.lock().len(), 1);
        drop(second);
        assert_eq!(waiters.lock().len(), 0);
    }
}
