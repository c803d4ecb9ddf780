//! A map whose entries fall due, and are then garbage.
//!
//! Invariant: the index holds each entry exactly once, under the moment at which it falls due, so that garbage is found
//! without looking at what is alive. There are never more entries than the bound. What is due stays until it is
//! collected: whoever reads judges by the clock, not by what is there.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Entries that one call collects at most, so that no call pays for many. More than one, so that garbage shrinks.
const COLLECTED_PER_CALL: usize = 2;
/// The same for a call that finds the map full.
const COLLECTED_WHEN_FULL: usize = 64;

/// No room, and no garbage to make some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store in memory is full")]
pub(super) struct Full;

/// Entries of type `V` that fall due at moments of type `T`.
pub(super) struct Expiring<K, V, T> {
    entries: HashMap<K, (T, V)>,
    dues: BTreeSet<(T, K)>,
    entries_max: usize,
}

impl<K: Clone + Eq + Hash + Ord, V, T: Copy + Ord> Expiring<K, V, T> {
    /// An empty map with room for so many.
    pub(super) fn new(entries_max: usize) -> Self {
        Self { entries: HashMap::new(), dues: BTreeSet::new(), entries_max }
    }

    /// An entry and when it falls due, which may be past.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<(T, &mut V)> {
        self.entries.get_mut(key).map(|(due, value)| (*due, value))
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, key: &K) -> Option<(T, V)> {
        let (due, value) = self.entries.remove(key)?;
        self.dues.remove(&(due, key.clone()));
        Some((due, value))
    }

    /// Puts an entry in, in place of one that is there, and collects a little garbage.
    pub(super) fn put(&mut self, key: K, value: V, due: T, now: T) -> Result<(), Full> {
        self.remove(&key);
        self.collect(now, COLLECTED_PER_CALL);
        if self.entries.len() >= self.entries_max {
            self.collect(now, COLLECTED_WHEN_FULL);
        }
        if self.entries.len() >= self.entries_max {
            return Err(Full);
        }
        self.dues.insert((due, key.clone()));
        self.entries.insert(key, (due, value));
        Ok(())
    }

    /// Puts an entry in as [`Expiring::put`] does; where the map is full, whatever would fall due first makes room.
    pub(super) fn put_over_oldest(&mut self, key: K, value: V, due: T, now: T) {
        self.remove(&key);
        if self.entries.len() >= self.entries_max {
            self.remove_first();
        }
        // Only a map without any room at all can still be full, and keeps nothing.
        let _ = self.put(key, value, due, now);
    }

    /// Entries in the map, garbage included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn collect(&mut self, now: T, entries_max: usize) {
        for _ in 0..entries_max {
            match self.dues.first() {
                Some((due, _)) if *due <= now => self.remove_first(),
                Some(_) | None => return,
            }
        }
    }

    fn remove_first(&mut self) {
        if let Some((_, key)) = self.dues.pop_first() {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(map: &Expiring<u32, (), u32>) -> Vec<u32> {
        let mut keys: Vec<_> = map.entries.keys().copied().collect();
        keys.sort_unstable();
        assert_eq!(map.dues.len(), keys.len(), "the index holds each entry once");
        keys
    }

    #[test]
    fn a_full_map_takes_nothing_new_until_something_is_due() {
        let mut map = Expiring::new(2);
        assert_eq!(map.put(1, (), 10, 0), Ok(()));
        assert_eq!(map.put(2, (), 20, 0), Ok(()));
        assert_eq!(map.put(3, (), 30, 9), Err(Full));
        assert_eq!(map.put(2, (), 25, 9), Ok(()), "what is there may be replaced");
        assert_eq!(keys(&map), [1, 2]);
        assert_eq!(map.put(3, (), 30, 10), Ok(()));
        assert_eq!(keys(&map), [2, 3]);
    }

    #[test]
    fn an_entry_put_again_falls_due_at_its_new_moment_only() {
        let mut map = Expiring::new(4);
        map.put(1, (), 10, 0).expect("room");
        map.put(1, (), 50, 0).expect("room");
        map.put(2, (), 60, 20).expect("room");
        assert_eq!(keys(&map), [1, 2]);
        map.put(3, (), 70, 50).expect("room");
        assert_eq!(keys(&map), [2, 3]);
    }

    #[test]
    fn garbage_shrinks_by_more_than_what_is_added_and_never_by_much_in_one_call() {
        let mut map = Expiring::new(1000);
        for key in 0..100 {
            map.put(key, (), 10, 0).expect("room");
        }
        for key in 100..150 {
            let before = map.len();
            map.put(key, (), 1000, 20).expect("room");
            assert_eq!(map.len(), before + 1 - COLLECTED_PER_CALL);
        }
        assert_eq!(keys(&map), (100..150).collect::<Vec<_>>());
    }

    #[test]
    fn the_oldest_makes_room_where_that_is_asked_for() {
        let mut map = Expiring::new(2);
        for (key, due) in [(1, 10), (2, 5), (3, 20)] {
            map.put_over_oldest(key, (), due, 0);
        }
        assert_eq!(keys(&map), [1, 3]);
        map.put_over_oldest(3, (), 30, 0);
        assert_eq!(keys(&map), [1, 3], "what is there needs no room");
    }
}
