//! Places: a bounded number of calls at work at a time, shared fairly by partners.
//!
//! Invariant: a partner gets a place as long as it holds fewer than are free. So one greedy partner holds at most half of
//! all, two a third each, and whoever comes beside them still finds places: as many as each of them holds. Nobody waits
//! here: a call without a place is turned away before it costs anything.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use metrics::{Counter, Gauge, counter, gauge};

use crate::domain::ids::PartnerId;
use crate::ports::measures::{PLACES_TAKEN, REQUESTS_SHED};

/// The places of a gateway, over all configurations that it has while it runs.
pub struct Places {
    total: usize,
    taken: Mutex<Taken>,
    in_flight: Gauge,
    shed_full: Counter,
    shed_share: Counter,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_partner: HashMap<PartnerId, usize, RandomState>,
}

/// A place, until it is dropped.
pub struct Place {
    places: Arc<Places>,
    partner: PartnerId,
}

impl Places {
    /// So many.
    #[must_use]
    pub fn new(places_max: usize) -> Arc<Self> {
        Arc::new(Self {
            total: places_max,
            taken: Mutex::default(),
            in_flight: gauge!(PLACES_TAKEN.name),
            shed_full: counter!(REQUESTS_SHED.name, "reason" => "full"),
            shed_share: counter!(REQUESTS_SHED.name, "reason" => "share"),
        })
    }

    /// A place for a call of a partner; `None` where it has to be turned away.
    pub(super) fn take(self: &Arc<Self>, partner: &PartnerId) -> Option<Place> {
        let mut taken = self.taken();
        let free = self.total.saturating_sub(taken.all);
        let own = taken.by_partner.get(partner).copied().unwrap_or_default();
        if own >= free {
            if free == 0 { &self.shed_full } else { &self.shed_share }.increment(1);
            return None;
        }
        taken.all = taken.all.saturating_add(1);
        match taken.by_partner.get_mut(partner) {
            Some(held) => *held = own.saturating_add(1),
            None => drop(taken.by_partner.insert(partner.clone(), 1)),
        }
        drop(taken);
        self.in_flight.increment(1);
        Some(Place { places: Arc::clone(self), partner: partner.clone() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all = taken.all.saturating_sub(1);
        // A partner that has gone stays with nothing: partners are as many as were ever configured.
        if let Some(own) = taken.by_partner.get_mut(&self.partner) {
            *own = own.saturating_sub(1);
        }
        drop(taken);
        self.places.in_flight.decrement(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(places: &Arc<Places>, name: &str) -> Vec<Place> {
        let partner = PartnerId::new(name);
        std::iter::from_fn(|| places.take(&partner)).collect()
    }

    #[test]
    fn greedy_partners_leave_as_many_places_as_each_of_them_holds() {
        let places = Places::new(12);
        let one = hold(&places, "one");
        let two = hold(&places, "two");
        let three = hold(&places, "three");
        assert_eq!((one.len(), two.len(), three.len()), (6, 3, 2));
        drop(one);
        assert_eq!(hold(&places, "two").len(), 2, "what is free counts, whoever held it");
        drop((two, three));
        assert_eq!(hold(&places, "three").len(), 6);
        assert!(places.taken().by_partner.values().all(|held| *held == 0), "those who are gone hold nothing");
    }

    #[test]
    fn one_place_is_enough_for_one_call() {
        let places = Places::new(1);
        assert_eq!(hold(&places, "one").len(), 1);
        assert_eq!(hold(&Places::new(2), "one").len(), 1);
    }
}
