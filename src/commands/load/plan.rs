//! What is called next: drawn from the mix, or whatever is to be read back.
//!
//! Invariant: what is about a charge names one that was taken. Where none was taken yet, a charge is made instead, so
//! that no call is one that must fail.

use std::sync::atomic::{AtomicU64, Ordering};

use super::book::{Book, Random, Standing};
use super::call::Order;
use super::mix::{Mix, Verb};

/// Where calls come from.
#[derive(Debug)]
pub enum Plan {
    /// Drawn at random.
    Drawn(Mix),
    /// Every charge and refund that was taken, or a sample of them.
    ReadBack(ReadBack),
}

impl Plan {
    /// The next call; `None` where all are done.
    pub fn next(&self, book: &Book, random: &mut Random) -> Option<Order> {
        match self {
            Self::Drawn(mix) => Some(drawn(mix, book, random)),
            Self::ReadBack(read_back) => read_back.next(book),
        }
    }
}

fn drawn(mix: &Mix, book: &Book, random: &mut Random) -> Order {
    let verb = mix.at(random.next());
    let charge = || Order::Charge(book.charges.issue());
    match verb {
        Verb::Validate | Verb::List | Verb::Pin | Verb::Notify => Order::Plain(verb, book.calls.issue()),
        Verb::Charge => charge(),
        Verb::Replay => book.taken_charge(random, |_| true).map_or_else(charge, Order::Replay),
        Verb::Get => book.taken_charge(random, |_| true).map_or_else(charge, Order::GetCharge),
        Verb::Refund => book
            .taken_charge(random, |standing| standing == Standing::Success)
            .map_or_else(charge, |taken| Order::Refund(book.refunds.issue(), taken)),
    }
}

/// Goes over what was taken, each once.
#[derive(Debug)]
pub struct ReadBack {
    cursor: AtomicU64,
    stride: u64,
    charges: u64,
    refunds: u64,
}

impl ReadBack {
    /// Of at most about so many of what this run itself was answered.
    #[must_use]
    pub fn of(book: &Book, at_most: u64) -> Self {
        let charges = book.charges.issued().saturating_sub(book.first_own());
        let refunds = book.refunds.issued();
        let stride = charges.saturating_add(refunds).div_ceil(at_most.max(1)).max(1);
        Self { cursor: AtomicU64::new(0), stride, charges, refunds }
    }

    fn next(&self, book: &Book) -> Option<Order> {
        loop {
            let at = self.cursor.fetch_add(self.stride, Ordering::Relaxed);
            let (place, order, series) = match at.checked_sub(self.charges) {
                None => {
                    let place = book.first_own().saturating_add(at);
                    (place, Order::GetCharge(place), &book.charges)
                }
                Some(refund) if refund < self.refunds => (refund, Order::GetRefund(refund), &book.refunds),
                Some(_) => return None,
            };
            if series.standing(place).is_some() {
                return Some(order);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::book::{Ids, Numbers};
    use super::*;

    fn book(known: u64) -> Book {
        Book::new("abcdefgh", Ids::Ordered, Numbers::Listed(vec!["5550000001".to_owned()]), known)
    }

    #[test]
    fn without_a_charge_there_is_nothing_to_replay_and_one_is_made() {
        let (book, mut random) = (book(0), Random::new(1));
        for verb in [Verb::Replay, Verb::Get, Verb::Refund] {
            let order = Plan::Drawn(Mix::only(verb)).next(&book, &mut random);
            assert!(matches!(order, Some(Order::Charge(_))), "{verb:?}: {order:?}");
        }
        book.charges.mark(1, Standing::Failure);
        let next = |verb| Plan::Drawn(Mix::only(verb)).next(&book, &mut Random::new(1));
        assert_eq!(next(Verb::Replay), Some(Order::Replay(1)));
        assert!(matches!(next(Verb::Refund), Some(Order::Charge(_))), "a charge that failed has nothing to give back");
        book.charges.mark(2, Standing::Success);
        assert_eq!(next(Verb::Refund), Some(Order::Refund(0, 2)));
    }

    #[test]
    fn everything_that_was_taken_is_read_back_once_and_nothing_else() {
        let book = book(10);
        for place in 0..100 {
            let charge = book.charges.issue();
            if place % 3 == 0 {
                book.charges.mark(charge, Standing::Pending);
            }
            let refund = book.refunds.issue();
            if place % 2 == 0 {
                book.refunds.mark(refund, Standing::Success);
            }
        }
        let plan = Plan::ReadBack(ReadBack::of(&book, u64::MAX));
        let read: Vec<Order> = std::iter::from_fn(|| plan.next(&book, &mut Random::new(0))).collect();
        let charges = (10..110).step_by(3).map(Order::GetCharge);
        let refunds = (0..100).step_by(2).map(Order::GetRefund);
        assert_eq!(read, charges.chain(refunds).collect::<Vec<_>>());
        let sample = ReadBack::of(&book, 20);
        let read: Vec<Order> = std::iter::from_fn(|| sample.next(&book)).collect();
        assert!((1..=20).contains(&read.len()), "{read:?}");
    }
}
