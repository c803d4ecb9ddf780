//! How often each reference has been attempted, for accounts that turn the first attempts away.
//!
//! Invariant: memory is bounded; at the bound the oldest reference is forgotten, and counts from the beginning again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::domain::ids::Reference;

/// References that are remembered.
const REFERENCES_MAX: usize = 10_000;

/// Attempts at references.
pub(super) struct Attempts {
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    by_reference: HashMap<Reference, u32>,
    /// Oldest first.
    order: VecDeque<Reference>,
}

impl Attempts {
    /// Nothing attempted yet.
    pub(super) fn new() -> Self {
        Self { counted: Mutex::default() }
    }

    /// Counts one more attempt and answers which it is, from 1.
    pub(super) fn count(&self, reference: Reference) -> u32 {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(attempts) = counted.by_reference.get_mut(&reference) {
            *attempts = attempts.saturating_add(1);
            return *attempts;
        }
        if counted.order.len() >= REFERENCES_MAX
            && let Some(oldest) = counted.order.pop_front()
        {
            counted.by_reference.remove(&oldest);
        }
        counted.order.push_back(reference);
        counted.by_reference.insert(reference, 1);
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_count_for_their_reference_until_too_many_came_after() {
        let attempts = Attempts::new();
        let reference = |count: u128| Reference::from_bytes(count.to_be_bytes());
        assert_eq!((attempts.count(reference(0)), attempts.count(reference(0))), (1, 2));
        for other in 1..REFERENCES_MAX {
            assert_eq!(attempts.count(reference(u128::try_from(other).expect("small"))), 1);
        }
        assert_eq!(attempts.count(reference(0)), 3);
        assert_eq!(attempts.count(reference(u128::MAX)), 1);
        assert_eq!(attempts.count(reference(0)), 1, "it was the oldest");
        assert_eq!(attempts.counted.lock().expect("not poisoned").by_reference.len(), REFERENCES_MAX);
    }
}
