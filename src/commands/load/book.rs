//! What a run has asked for: ids and numbers that follow from a count, and two bits for what became of each.
//!
//! Invariant: a charge's request follows wholly from the run's name and its place in the count, so that it can be sent
//! again or looked up with nothing kept of it but what was answered. A million charges take 250 kB.
//!
//! Not here: how a request is written, and what an answer is held against.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Free numbers of one sandbox condition: five digits.
const FREE_NUMBERS: u64 = 100_000;
/// Marks that are allocated at a time.
const CHUNK_MARKS: usize = 1 << 18;
/// Marks in a word.
const WORD_MARKS: usize = 32;
/// How often a charge that was taken is drawn before the newest are searched.
const DRAWS_MAX: u32 = 64;
/// How many of the newest.
const SEARCH_MAX: u64 = 10_000;

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not final yet.
    Pending,
    /// Final.
    Success,
    /// Final.
    Failure,
}

impl Standing {
    /// The contract's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Success => "Success",
            Self::Failure => "Failure",
        }
    }

    /// What a word of the contract stands for.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::Pending, Self::Success, Self::Failure].into_iter().find(|standing| standing.word() == word)
    }

    const fn bits(self) -> u64 {
        match self {
            Self::Pending => 1,
            Self::Success => 2,
            Self::Failure => 3,
        }
    }

    const fn from_bits(bits: u64) -> Option<Self> {
        match bits & 3 {
            1 => Some(Self::Pending),
            2 => Some(Self::Success),
            3 => Some(Self::Failure),
            _ => None,
        }
    }
}

/// How ids are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Ids {
    /// In the order of time.
    Ordered,
    /// All over the key space.
    Random,
}

/// Whose accounts are called for.
#[derive(Debug, Clone)]
pub enum Numbers {
    /// Sandbox numbers of a condition, from a random one on.
    Sandbox {
        /// The first of the five free digits.
        first: u64,
        /// The last two digits.
        condition: String,
    },
    /// These, in turn.
    Listed(Vec<String>),
}

/// One count of transactions, with what became of each.
#[derive(Debug, Default)]
pub struct Series {
    issued: AtomicU64,
    marks: Mutex<Vec<Box<[u64]>>>,
}

impl Series {
    /// The next place in the count.
    pub fn issue(&self) -> u64 {
        self.issued.fetch_add(1, Ordering::Relaxed)
    }

    /// How many were issued.
    pub fn issued(&self) -> u64 {
        self.issued.load(Ordering::Relaxed)
    }

    /// Takes note of an answer.
    pub fn mark(&self, place: u64, standing: Standing) {
        let Some((chunk, word, shift)) = position(place) else { return };
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        while marks.len() <= chunk {
            marks.push(vec![0; CHUNK_MARKS / WORD_MARKS].into_boxed_slice());
        }
        if let Some(word) = marks.get_mut(chunk).and_then(|words| words.get_mut(word)) {
            *word = (*word & !(3 << shift)) | (standing.bits() << shift);
        }
    }

    /// What was answered, if it was taken.
    pub fn standing(&self, place: u64) -> Option<Standing> {
        let (chunk, word, shift) = position(place)?;
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let word = marks.get(chunk)?.get(word)?;
        Standing::from_bits(word >> shift)
    }

    /// How many were taken, from a place on.
    pub fn taken_from(&self, first: u64) -> u64 {
        (first..self.issued()).fold(0, |sum: u64, place| sum.saturating_add(u64::from(self.standing(place).is_some())))
    }
}

/// Chunk, word, and bits to the right.
fn position(place: u64) -> Option<(usize, usize, usize)> {
    let place = usize::try_from(place).ok()?;
    let (chunk, inside) = (place / CHUNK_MARKS, place % CHUNK_MARKS);
    Some((chunk, inside / WORD_MARKS, (inside % WORD_MARKS) << 1))
}

/// Everything that a run has asked for.
#[derive(Debug)]
pub struct Book {
    run: String,
    ids: Ids,
    numbers: Numbers,
    /// Charges.
    pub charges: Series,
    /// Refunds with ids of their own.
    pub refunds: Series,
    /// Calls that leave nothing behind.
    pub calls: Series,
    /// Charges that an earlier run of this name has made.
    known: u64,
}

impl Book {
    /// A book of a run by this name, whose first `known` charges are there already.
    #[must_use]
    pub fn new(run: &str, ids: Ids, numbers: Numbers, known: u64) -> Self {
        let charges = Series { issued: AtomicU64::new(known), marks: Mutex::default() };
        for place in 0..known {
            charges.mark(place, Standing::Success);
        }
        let (refunds, calls) = (Series::default(), Series::default());
        Self { run: run.to_owned(), ids, numbers, charges, refunds, calls, known }
    }

    /// The run's name.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The first charge of this run itself.
    #[must_use]
    pub const fn first_own(&self) -> u64 {
        self.known
    }

    /// The id of a charge.
    #[must_use]
    pub fn charge_id(&self, place: u64) -> String {
        match self.ids {
            Ids::Ordered => format!("{}-c{place:012}", self.run),
            Ids::Random => format!("{:016x}-{}-c{place}", scattered(place), self.run),
        }
    }

    /// The id of a refund.
    #[must_use]
    pub fn refund_id(&self, place: u64) -> String {
        match self.ids {
            Ids::Ordered => format!("{}-r{place:012}", self.run),
            Ids::Random => format!("{:016x}-{}-r{place}", scattered(place), self.run),
        }
    }

    /// The number that the call at a place is about.
    #[must_use]
    pub fn number(&self, place: u64) -> String {
        match &self.numbers {
            Numbers::Sandbox { first, condition } => {
                let free = first.wrapping_add(place).wrapping_rem(FREE_NUMBERS);
                format!("555{free:05}{condition}")
            }
            Numbers::Listed(listed) => {
                let count = u64::try_from(listed.len()).unwrap_or(u64::MAX).max(1);
                let at = usize::try_from(place.checked_rem(count).unwrap_or_default()).unwrap_or_default();
                listed.get(at).cloned().unwrap_or_default()
            }
        }
    }

    /// A charge that was taken and stands as wanted, if there is any.
    #[must_use]
    pub fn taken_charge(&self, random: &mut Random, wanted: fn(Standing) -> bool) -> Option<u64> {
        let issued = self.charges.issued();
        let fits = |place: &u64| self.charges.standing(*place).is_some_and(wanted);
        for _ in 0..DRAWS_MAX {
            let place = random.next().checked_rem(issued)?;
            if fits(&place) {
                return Some(place);
            }
        }
        // Rare ones are looked for among the newest: a look over millions at each call would be a load of its own.
        (issued.saturating_sub(SEARCH_MAX)..issued).rev().find(fits)
    }
}

/// Random numbers for choosing, not for secrets.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Another series for each seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        scattered(self.0)
    }
}

/// SplitMix64: neighbours come out far apart.
const fn scattered(number: u64) -> u64 {
    let mut bits = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn book(ids: Ids) -> Book {
        Book::new("abcdefgh", ids, Numbers::Sandbox { first: 99_999, condition: "01".to_owned() }, 0)
    }

    #[test]
    fn a_mark_is_read_back_and_its_neighbours_are_not_touched() {
        let series = Series::default();
        let places = [0, 31, 32, 33, 262_143, 262_144, 1_000_000];
        let standings = [Standing::Pending, Standing::Success, Standing::Failure];
        for (place, standing) in places.into_iter().zip(standings.into_iter().cycle()) {
            series.mark(place, standing);
        }
        for (place, standing) in places.into_iter().zip(standings.into_iter().cycle()) {
            assert_eq!(series.standing(place), Some(standing), "{place}");
        }
        assert_eq!([1, 30, 34, 262_142, 999_999].map(|place| series.standing(place)), [None; 5]);
        series.mark(31, Standing::Failure);
        assert_eq!(series.standing(31), Some(Standing::Failure));
    }

    #[test]
    fn only_charges_that_were_taken_are_drawn() {
        let book = book(Ids::Ordered);
        let mut random = Random::new(7);
        assert_eq!(book.taken_charge(&mut random, |_| true), None);
        for _ in 0..10_000 {
            let place = book.charges.issue();
            if place == 9_876 {
                book.charges.mark(place, Standing::Pending);
            }
        }
        assert_eq!(book.taken_charge(&mut random, |_| true), Some(9_876));
        assert_eq!(book.taken_charge(&mut random, |standing| standing == Standing::Success), None);
        assert_eq!((book.charges.taken_from(0), book.charges.taken_from(9_877)), (1, 0));
    }

    #[test]
    fn ids_differ_and_grow_with_time_where_they_are_ordered() {
        for ids in [Ids::Ordered, Ids::Random] {
            let book = book(ids);
            let made: Vec<String> =
                (0..2_000).flat_map(|place| [book.charge_id(place), book.refund_id(place)]).collect();
            assert_eq!(made.iter().collect::<HashSet<_>>().len(), made.len());
            assert!(made.iter().all(|id| id.len() <= 64 && id.contains(book.run())));
        }
        let ordered: Vec<String> = (0..2_000).map(|place| book(Ids::Ordered).charge_id(place)).collect();
        assert!(ordered.is_sorted());
    }

    #[test]
    fn numbers_are_of_the_condition_and_those_of_a_list_come_in_turn() {
        let sandbox = book(Ids::Ordered);
        assert_eq!([0, 1].map(|place| sandbox.number(place)), ["5559999901", "5550000001"]);
        let listed = Book::new("a", Ids::Ordered, Numbers::Listed(vec!["1".to_owned(), "2".to_owned()]), 0);
        assert_eq!([0, 1, 2].map(|place| listed.number(place)), ["1", "2", "1"]);
    }

    #[test]
    fn charges_of_an_earlier_run_are_there_and_are_not_this_runs() {
        let book = Book::new("a", Ids::Ordered, Numbers::Listed(vec!["1".to_owned()]), 100);
        assert_eq!(book.charges.standing(99), Some(Standing::Success));
        assert_eq!((book.charges.issue(), book.first_own()), (100, 100));
    }
}
