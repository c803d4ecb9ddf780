//! The words that stores keep for states and the like.
//!
//! Invariant: each is spelt here only, and every store spells it alike, so that what is read in one can be looked for in
//! another. Words that callers see belong to the domain.

use crate::domain::event::Delivery;
use crate::domain::transaction::State;

/// The word of a state.
pub(super) const fn state_word(state: State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Success => "success",
        State::Failure => "failure",
        State::Unknown => "unknown",
        State::Released => "released",
    }
}

/// The state of a word.
pub(super) fn state(word: &str) -> Option<State> {
    [State::Pending, State::Success, State::Failure, State::Unknown, State::Released]
        .into_iter()
        .find(|state| state_word(*state) == word)
}

/// The word of a new event's delivery.
pub(super) const fn delivery_word(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Due => "due",
        Delivery::Skipped => "skipped",
    }
}
