//! When a CSP that fails is left alone for a while: a circuit breaker as a plain rule.
//!
//! Invariant: it opens only after enough calls of one window have failed, lets a few probes through once it has been open
//! for its time, and closes only after all of them were answered; what ends late counts for nothing any more. Time is an
//! argument. Who calls, and what becomes of those that are turned away, is not here.

use std::collections::VecDeque;

/// Slices of a window: it moves on by a slice at a time.
const SLICES: u64 = 10;

/// When it opens, and how it closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Milliseconds of which the calls are counted.
    pub window_ms: u32,
    /// Fewest calls of a window that tell something.
    pub calls_min: u32,
    /// Per cent of them that must have failed.
    pub failure_percent: u32,
    /// Milliseconds for which nothing is let through.
    pub open_ms: u32,
    /// Calls that are let through then; all must be answered.
    pub probes: u32,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The CSP has answered: yes, no, or that there is no such account.
    Answered,
    /// It has not, or not so that its answer could be used.
    Failed,
    /// Nobody has waited for it.
    Abandoned,
}

/// A call that was let through; to be given back when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    generation: u64,
}

/// What it does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// All are let through.
    Closed,
    /// Some are let through, to see whether the CSP is back.
    HalfOpen,
    /// None is let through.
    Open,
}

#[derive(Debug, Clone, Copy)]
struct Slice {
    number: u64,
    calls: u64,
    failed: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    Open { until_ms: u64 },
    HalfOpen { under_way: u32, answered: u32 },
}

/// The breaker of one CSP.
#[derive(Debug)]
pub struct Breaker {
    rule: Rule,
    state: State,
    /// Told apart by it: calls that began before the state last changed count for nothing.
    generation: u64,
    window: VecDeque<Slice>,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub const fn new(rule: Rule) -> Self {
        Self { rule, state: State::Closed, generation: 0, window: VecDeque::new() }
    }

    /// What it does with calls, now.
    #[must_use]
    pub const fn phase(&self, now_ms: u64) -> Phase {
        match self.state {
            State::Closed => Phase::Closed,
            State::Open { until_ms } if now_ms < until_ms => Phase::Open,
            State::Open { .. } | State::HalfOpen { .. } => Phase::HalfOpen,
        }
    }

    /// Whether a call would be let through, now.
    #[must_use]
    pub const fn would_admit(&self, now_ms: u64) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until_ms } => now_ms >= until_ms,
            State::HalfOpen { under_way, answered } => under_way.saturating_add(answered) < self.rule.probes,
        }
    }

    /// Lets a call through, or not.
    pub fn admit(&mut self, now_ms: u64) -> Option<Ticket> {
        if !self.would_admit(now_ms) {
            return None;
        }
        match &mut self.state {
            State::Closed => {}
            State::Open { .. } => self.enter(State::HalfOpen { under_way: 1, answered: 0 }),
            State::HalfOpen { under_way, .. } => *under_way = under_way.saturating_add(1),
        }
        Some(Ticket { generation: self.generation })
    }

    /// Takes note of how a call has ended.
    pub fn ended(&mut self, ticket: Ticket, ended: Ended, now_ms: u64) {
        if ticket.generation != self.generation {
            return;
        }
        match (&mut self.state, ended) {
            (State::Closed, Ended::Answered | Ended::Failed) => self.count(ended, now_ms),
            (State::HalfOpen { .. }, Ended::Failed) => self.open(now_ms),
            (State::HalfOpen { under_way, answered }, Ended::Answered) => {
                (*under_way, *answered) = (under_way.saturating_sub(1), answered.saturating_add(1));
                if *answered >= self.rule.probes {
                    self.enter(State::Closed);
                }
            }
            (State::HalfOpen { under_way, .. }, Ended::Abandoned) => *under_way = under_way.saturating_sub(1),
            (State::Closed, Ended::Abandoned) | (State::Open { .. }, _) => {}
        }
    }

    fn count(&mut self, ended: Ended, now_ms: u64) {
        let slice_ms = u64::from(self.rule.window_ms).div_ceil(SLICES).max(1);
        let number = now_ms.checked_div(slice_ms).unwrap_or_default();
        self.window.retain(|slice| slice.number.saturating_add(SLICES) > number);
        if self.window.back().is_none_or(|last| last.number != number) {
            self.window.push_back(Slice { number, calls: 0, failed: 0 });
        }
        if let Some(last) = self.window.back_mut() {
            last.calls = last.calls.saturating_add(1);
            last.failed = last.failed.saturating_add(u64::from(ended == Ended::Failed));
        }
        let calls: u64 = self.window.iter().map(|slice| slice.calls).sum();
        let failed: u64 = self.window.iter().map(|slice| slice.failed).sum();
        let share = calls.saturating_mul(u64::from(self.rule.failure_percent));
        if ended == Ended::Failed && calls >= u64::from(self.rule.calls_min) && failed.saturating_mul(100) >= share {
            self.open(now_ms);
        }
    }

    fn open(&mut self, now_ms: u64) {
        self.enter(State::Open { until_ms: now_ms.saturating_add(u64::from(self.rule.open_ms)) });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation = self.generation.wrapping_add(1);
        self.window.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Ended::{Abandoned, Answered, Failed};
    use super::*;

    const RULE: Rule = Rule { window_ms: 1_000, calls_min: 4, failure_percent: 50, open_ms: 500, probes: 2 };

    fn call(breaker: &mut Breaker, ended: Ended, now_ms: u64) {
        let ticket = breaker.admit(now_ms).expect("let through");
        breaker.ended(ticket, ended, now_ms);
    }

    #[test]
    fn it_opens_when_enough_calls_of_one_window_have_failed() {
        for (why, calls, phase) in [
            ("too few to tell", vec![(0, Failed), (0, Failed), (0, Failed)], Phase::Closed),
            ("half of them", vec![(0, Answered), (0, Failed), (0, Answered), (0, Failed)], Phase::Open),
            ("fewer than half", vec![(0, Answered), (0, Answered), (0, Answered), (0, Failed)], Phase::Closed),
            ("in different windows", vec![(0, Failed), (0, Failed), (0, Failed), (1_000, Failed)], Phase::Closed),
            ("in one window", vec![(100, Failed), (100, Failed), (100, Failed), (1_099, Failed)], Phase::Open),
            ("nobody has waited", vec![(0, Abandoned); 9], Phase::Closed),
            ("refusals are answers", vec![(0, Answered); 9], Phase::Closed),
        ] {
            let mut breaker = Breaker::new(RULE);
            for (now_ms, ended) in &calls {
                call(&mut breaker, *ended, *now_ms);
            }
            let last_ms = calls.last().map_or(0, |(now_ms, _)| *now_ms);
            assert_eq!(breaker.phase(last_ms), phase, "{why}");
        }
    }

    fn opened_at_0() -> Breaker {
        let mut breaker = Breaker::new(RULE);
        (0..4).for_each(|_| call(&mut breaker, Failed, 0));
        breaker
    }

    #[test]
    fn an_open_one_lets_nothing_through_and_then_as_many_probes_as_it_may() {
        let mut breaker = opened_at_0();
        assert_eq!((breaker.admit(0), breaker.admit(499)), (None, None));
        assert!(breaker.admit(500).is_some() && breaker.admit(500).is_some());
        assert_eq!(breaker.phase(500), Phase::HalfOpen);
        assert_eq!(breaker.admit(500), None, "two probes are enough");
    }

    #[test]
    fn it_closes_when_all_probes_were_answered_and_opens_again_when_one_fails() {
        for (ends, phase, admits) in [
            ([Answered, Answered], Phase::Closed, true),
            ([Answered, Failed], Phase::Open, false),
            ([Failed, Answered], Phase::Open, false),
            ([Answered, Abandoned], Phase::HalfOpen, true),
        ] {
            let mut breaker = opened_at_0();
            let tickets = [(); 2].map(|()| breaker.admit(500).expect("a probe"));
            for (ticket, ended) in tickets.into_iter().zip(ends) {
                breaker.ended(ticket, ended, 600);
            }
            assert_eq!((breaker.phase(600), breaker.would_admit(600)), (phase, admits), "{ends:?}");
        }
    }

    #[test]
    fn what_began_before_it_opened_says_nothing_of_now() {
        let mut breaker = Breaker::new(RULE);
        let early = breaker.admit(0).expect("let through");
        (0..4).for_each(|_| call(&mut breaker, Failed, 0));
        breaker.ended(early, Answered, 100);
        assert_eq!(breaker.phase(100), Phase::Open);
        let probe = breaker.admit(500).expect("a probe");
        breaker.ended(early, Failed, 500);
        assert_eq!(breaker.phase(500), Phase::HalfOpen);
        breaker.ended(probe, Answered, 500);
        assert!(breaker.admit(500).is_some());
    }
}
