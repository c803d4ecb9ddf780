//! Places for calls: so many under way, so many waiting, and no longer than their bound; in turn by partner.
//!
//! Invariant: a place and a turn in the queue are given back whatever becomes of the call that holds them, and no place
//! is free while a call waits. Partners take turns, each with its oldest call first; where the queue is full, the newest
//! call of the partner that has most of them gives way. So a greedy partner makes nobody wait but itself. Of one partner, a
//! call that goes on with a story (the charge after its look-up) comes before one that begins another, three times of
//! four: under overload stories are finished, and what cannot be finished is not begun.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::oneshot;

use crate::domain::ids::{CspId, PartnerId};
use crate::ports::measures::{CSP_IN_FLIGHT, CSP_PLACES, CSP_QUEUE, CSP_QUEUED};

/// Of so many turns of a partner one goes to a call that begins a story, where both kinds wait.
const TURNS: u8 = 4;

/// Where in a story a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It begins one.
    First,
    /// Something has been done for it already.
    Later,
}

/// Places of one kind of calls to one operator.
pub(super) struct Lane {
    desk: Arc<Desk>,
    wait_max: Duration,
    waiting: Gauge,
    waited: Counter,
}

/// Who has places and who waits.
struct Desk {
    queue_max: usize,
    book: Mutex<Book>,
    under_way: Gauge,
}

struct Book {
    free: usize,
    /// Those who wait, in the order in which it is their turn.
    partners: VecDeque<OfPartner>,
    tickets: u64,
}

/// What waits of one partner, oldest first.
struct OfPartner {
    /// `None`: calls of the gateway's own.
    partner: Option<PartnerId>,
    first: VecDeque<Waiter>,
    later: VecDeque<Waiter>,
    turn: u8,
}

struct Waiter {
    ticket: u64,
    freed: oneshot::Sender<Place>,
}

/// A place, until it is dropped.
pub(super) struct Place {
    desk: Arc<Desk>,
    /// Not where somebody else has it now.
    held: bool,
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

/// A turn in the queue, until it is dropped.
struct Turn {
    desk: Arc<Desk>,
    step: Step,
    ticket: u64,
    freed: oneshot::Receiver<Place>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.desk.book().forget(self.step, self.ticket);
    }
}

/// A call for which no place was free: its turn, where there was room to wait.
pub(super) struct Waiting(Option<Turn>);

impl Waiting {
    /// A place, after a wait within the budget. `None`: too many wait already, or it took too long.
    pub(super) async fn place(self, lane: &Lane, budget: Duration) -> Option<Place> {
        let mut turn = self.0?;
        let _shown = Shown::one_more(&lane.waiting);
        lane.waited.increment(1);
        tokio::time::timeout(lane.wait_max.min(budget), &mut turn.freed).await.ok()?.ok()
    }
}

/// What came of asking for a place.
enum Asked {
    Place(Place),
    Turn(Turn),
    Full,
}

impl OfPartner {
    const fn queue(&self, step: Step) -> &VecDeque<Waiter> {
        match step {
            Step::First => &self.first,
            Step::Later => &self.later,
        }
    }

    const fn queue_mut(&mut self, step: Step) -> &mut VecDeque<Waiter> {
        match step {
            Step::First => &mut self.first,
            Step::Later => &mut self.later,
        }
    }

    fn is_empty(&self) -> bool {
        self.first.is_empty() && self.later.is_empty()
    }

    fn pop(&mut self) -> Option<Waiter> {
        self.turn = self.turn.wrapping_add(1);
        let (one, other) = match self.turn.checked_rem(TURNS) {
            Some(0) => (&mut self.first, &mut self.later),
            Some(_) | None => (&mut self.later, &mut self.first),
        };
        one.pop_front().or_else(|| other.pop_front())
    }
}

impl Book {
    fn push(&mut self, step: Step, partner: Option<&PartnerId>, waiter: Waiter) {
        if let Some(known) = self.partners.iter_mut().find(|known| known.partner.as_ref() == partner) {
            known.queue_mut(step).push_back(waiter);
            return;
        }
        let (first, later) = (VecDeque::new(), VecDeque::new());
        let mut of_partner = OfPartner { partner: partner.cloned(), first, later, turn: 0 };
        of_partner.queue_mut(step).push_back(waiter);
        self.partners.push_back(of_partner);
    }

    /// The next of the partner whose turn it is; the partner's next turn comes after all others.
    fn pop(&mut self) -> Option<Waiter> {
        let mut of_partner = self.partners.pop_front()?;
        let waiter = of_partner.pop();
        if !of_partner.is_empty() {
            self.partners.push_back(of_partner);
        }
        waiter
    }

    fn forget(&mut self, step: Step, ticket: u64) {
        for of_partner in &mut self.partners {
            of_partner.queue_mut(step).retain(|waiter| waiter.ticket != ticket);
        }
        self.partners.retain(|of_partner| !of_partner.is_empty());
    }

    fn length(&self, step: Step) -> usize {
        self.partners.iter().map(|of_partner| of_partner.queue(step).len()).sum()
    }

    /// Makes room by the newest call of the partner that has most, if that is more than this one has. What is given back
    /// is to be dropped: its caller hears that it was turned away.
    fn yield_to(&mut self, step: Step, partner: Option<&PartnerId>) -> Option<Waiter> {
        let own = self.partners.iter().find(|known| known.partner.as_ref() == partner);
        let own = own.map_or(0, |known| known.queue(step).len());
        let most = self.partners.iter_mut().max_by_key(|known| known.queue(step).len())?;
        if most.queue(step).len() <= own.saturating_add(1) {
            return None;
        }
        most.queue_mut(step).pop_back()
    }
}

impl Desk {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(self: &Arc<Self>, step: Step, partner: Option<&PartnerId>) -> Asked {
        let mut book = self.book();
        if let Some(left) = book.free.checked_sub(1) {
            book.free = left;
            self.under_way.increment(1);
            return Asked::Place(Place { desk: Arc::clone(self), held: true });
        }
        let ticket = book.tickets;
        let gives_way = if book.length(step) < self.queue_max {
            None
        } else {
            match book.yield_to(step, partner) {
                Some(newest) => Some(newest),
                None => return Asked::Full,
            }
        };
        let (freed, receiver) = oneshot::channel();
        book.push(step, partner, Waiter { ticket, freed });
        book.tickets = ticket.wrapping_add(1);
        drop(book);
        drop(gives_way);
        Asked::Turn(Turn { desk: Arc::clone(self), step, ticket, freed: receiver })
    }

    /// Hands a place on to whose turn it is, or keeps it free.
    fn hand_on(self: &Arc<Self>) {
        let mut book = self.book();
        while let Some(waiter) = book.pop() {
            let place = Place { desk: Arc::clone(self), held: true };
            match waiter.freed.send(place) {
                Ok(()) => return,
                // It waits no longer: the place is still in hand, and must not free itself under the lock.
                Err(mut unheard) => unheard.held = false,
            }
        }
        book.free = book.free.saturating_add(1);
        self.under_way.decrement(1);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.held {
            self.desk.hand_on();
        }
    }
}

impl Lane {
    pub(super) fn new(id: &CspId, name: &'static str, places_max: usize, queue_max: usize, wait_max: Duration) -> Self {
        let csp = || id.as_str().to_owned();
        let book = Mutex::new(Book { free: places_max, partners: VecDeque::new(), tickets: 0 });
        let under_way = gauge!(CSP_IN_FLIGHT.name, "csp" => csp(), "lane" => name);
        let places = f64::from(u32::try_from(places_max).unwrap_or(u32::MAX));
        gauge!(CSP_PLACES.name, "csp" => csp(), "lane" => name).set(places);
        Self {
            desk: Arc::new(Desk { queue_max, book, under_way }),
            wait_max,
            waiting: gauge!(CSP_QUEUE.name, "csp" => csp(), "lane" => name),
            waited: counter!(CSP_QUEUED.name, "csp" => csp(), "lane" => name),
        }
    }

    /// A place, if one is free.
    pub(super) fn place_at_once(&self, step: Step, partner: Option<&PartnerId>) -> Result<Place, Waiting> {
        match self.desk.ask(step, partner) {
            Asked::Place(place) => Ok(place),
            Asked::Turn(turn) => Err(Waiting(Some(turn))),
            Asked::Full => Err(Waiting(None)),
        }
    }

    /// A place: at once, or after a wait within the budget. `None`: too many wait already, or it took too long.
    #[cfg(test)]
    async fn place(&self, step: Step, partner: Option<&PartnerId>, budget: Duration) -> Option<Place> {
        match self.place_at_once(step, partner) {
            Ok(place) => Some(place),
            Err(waiting) => waiting.place(self, budget).await,
        }
    }

    /// Whether a call that goes on with a story would be turned away at once.
    pub(super) fn is_full(&self) -> bool {
        let book = self.desk.book();
        book.free == 0 && book.length(Step::Later) >= self.desk.queue_max
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError::{Closed, Empty};

    use super::*;

    fn lane(places_max: usize, queue_max: usize) -> Lane {
        Lane::new(&CspId::new("csp"), "calls", places_max, queue_max, Duration::from_secs(1))
    }

    fn turn(lane: &Lane, step: Step, name: &str) -> Option<Turn> {
        match lane.desk.ask(step, Some(&PartnerId::new(name))) {
            Asked::Turn(turn) => Some(turn),
            Asked::Place(_) => panic!("none is free"),
            Asked::Full => None,
        }
    }

    /// Whose turns were given a place, each of which is given back at once.
    fn served(turns: &mut Vec<(&'static str, Turn)>) -> Vec<&'static str> {
        let mut served = Vec::new();
        while let Some(at) = turns.iter_mut().position(|(_, turn)| turn.freed.try_recv().is_ok()) {
            served.push(turns.remove(at).0);
        }
        served
    }

    #[tokio::test]
    async fn partners_take_turns_and_the_greedy_one_waits_for_itself() {
        let lane = lane(1, 10);
        let held = lane.place(Step::First, None, Duration::from_secs(1)).await.expect("it is free");
        let mut turns: Vec<_> = ["greedy", "greedy", "greedy", "honest", "third"]
            .map(|name| (name, turn(&lane, Step::First, name).expect("there is room")))
            .into();
        drop(held);
        assert_eq!(served(&mut turns), ["greedy", "honest", "third", "greedy", "greedy"]);
        assert_eq!(lane.desk.book().free, 1);
    }

    #[tokio::test]
    async fn a_full_queue_takes_in_who_has_less_and_turns_away_the_newest_of_who_has_most() {
        let lane = lane(1, 4);
        let _held = lane.place(Step::First, None, Duration::from_secs(1)).await;
        let mut greedy: Vec<_> = (0..4).filter_map(|_| turn(&lane, Step::First, "greedy")).collect();
        assert_eq!(greedy.len(), 4, "alone it may have the whole queue");
        assert!(turn(&lane, Step::First, "greedy").is_none());
        let honest: Vec<_> = (0..4).filter_map(|_| turn(&lane, Step::First, "honest")).collect();
        assert_eq!(honest.len(), 2, "half of it is the other's as soon as it comes");
        let turned_away: Vec<_> = greedy.iter_mut().map(|turn| turn.freed.try_recv().err()).collect();
        assert_eq!(turned_away, [Some(Empty), Some(Empty), Some(Closed), Some(Closed)]);
        assert!(turn(&lane, Step::Later, "greedy").is_some(), "what goes on with a story has a queue of its own");
        drop((greedy, honest));
        assert_eq!(lane.desk.book().length(Step::First), 0);
    }

    #[tokio::test]
    async fn stories_are_finished_before_others_are_begun_and_one_place_of_four_begins() {
        let lane = lane(1, 20);
        let held = lane.place(Step::First, None, Duration::from_secs(1)).await;
        let first = (0..3).map(|_| ("first", turn(&lane, Step::First, "one").expect("there is room")));
        let mut turns: Vec<_> = first.collect();
        turns.extend((0..6).map(|_| ("later", turn(&lane, Step::Later, "one").expect("there is room"))));
        drop(held);
        let expected = ["later", "later", "later", "first", "later", "later", "later", "first", "first"];
        assert_eq!(served(&mut turns), expected);
    }

    #[tokio::test]
    async fn a_place_that_nobody_waits_for_any_more_is_free_again() {
        let lane = lane(1, 4);
        let held = lane.place(Step::First, None, Duration::from_secs(1)).await;
        drop(turn(&lane, Step::First, "gone"));
        let handed = turn(&lane, Step::First, "gone too");
        drop(held);
        assert_eq!(lane.desk.book().free, 0, "it was handed on");
        drop(handed);
        assert_eq!(lane.desk.book().free, 1, "and nobody took it");
    }
}
