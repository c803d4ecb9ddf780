//! Places for calls: so many under way, so many waiting, and no longer than their bound.
//!
//! Invariant: a place and a turn in the queue are given back whatever becomes of the call that holds them.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::ids::CspId;
use crate::ports::measures::{CSP_IN_FLIGHT, CSP_PLACES, CSP_QUEUE, CSP_QUEUED};

/// Places of one kind of calls to one operator.
pub(super) struct Lane {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    wait_max: Duration,
    under_way: Gauge,
    waiting: Gauge,
    waited: Counter,
}

/// A place, until it is dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _shown: Shown,
}

/// One more of something that is shown, until it is dropped.
struct Shown(Gauge);

impl Shown {
    fn one_more(gauge: &Gauge) -> Self {
        gauge.increment(1);
        Self(gauge.clone())
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

impl Lane {
    pub(super) fn new(id: &CspId, name: &'static str, places_max: usize, queue_max: usize, wait_max: Duration) -> Self {
        let csp = || id.as_str().to_owned();
        let places = f64::from(u32::try_from(places_max).unwrap_or(u32::MAX));
        gauge!(CSP_PLACES.name, "csp" => csp(), "lane" => name).set(places);
        Self {
            places: Arc::new(Semaphore::new(places_max)),
            turns: Arc::new(Semaphore::new(queue_max)),
            wait_max,
            under_way: gauge!(CSP_IN_FLIGHT.name, "csp" => csp(), "lane" => name),
            waiting: gauge!(CSP_QUEUE.name, "csp" => csp(), "lane" => name),
            waited: counter!(CSP_QUEUED.name, "csp" => csp(), "lane" => name),
        }
    }

    /// A place: at once, or after a wait within the budget. `None`: too many wait already, or it took too long.
    pub(super) async fn place(&self, budget: Duration) -> Option<Place> {
        let permit = if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            permit
        } else {
            let _turn = self.turns.try_acquire().ok()?;
            let _shown = Shown::one_more(&self.waiting);
            self.waited.increment(1);
            let freed = Arc::clone(&self.places).acquire_owned();
            tokio::time::timeout(self.wait_max.min(budget), freed).await.ok()?.ok()?
        };
        Some(Place { _permit: permit, _shown: Shown::one_more(&self.under_way) })
    }
}
