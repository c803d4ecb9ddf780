//! A recogniser: what shows one use case, as data.
//!
//! Invariant: cases differ in their data alone. What may be said of calls before, of the request and of what comes
//! after is a small vocabulary, and each word of it means the same in every case.

use super::{Fact, Rpc, words};

words! {
    /// What must have come before the call that shows a case.
    Before {
        /// No wrong PIN was entered since the PIN was sent.
        NoWrongPin = "no-wrong-pin",
        /// A wrong PIN was entered since the PIN was sent.
        AfterWrongPin = "after-wrong-pin",
        /// The PIN in it is another one than the phone got last.
        AnotherPin = "another-pin",
        /// The PIN that was sent last has expired.
        PinExpired = "pin-expired",
        /// The same request was sent before, and not refused.
        SameRequest = "same-request",
        /// The same request was not sent before.
        FirstRequest = "first-request",
    }
}

words! {
    /// What an OTT is expected to do after the call that shows a case.
    Behaviour {
        /// Nothing more: the call has shown it.
        Nothing = "nothing",
        /// One of the calls of `next`, for that account, within the window.
        Continues = "continues",
        /// None of the calls of `next` for that account, until a validation has succeeded.
        CannotContinue = "cannot-continue",
        /// Where the outcome of a transaction was in doubt, or it is booked: the same request again and no other.
        SameRequestAgain = "same-request-again",
        /// No charge for that account, nor under that id, until a validation has succeeded.
        NoNewCharge = "no-new-charge",
        /// The purchase is not posted after all: nothing is charged to that account, nor under that id, until a validation
        /// has succeeded.
        PurchaseFails = "purchase-fails",
    }
}

/// What shows one use case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recogniser {
    /// Its number.
    pub case: u8,
    /// What it is called.
    pub title: String,
    /// Its group.
    pub category: String,
    /// What is expected of the OTT, for people.
    pub expected: String,
    /// How to show it, for people.
    pub hint: String,
    /// What is called.
    pub call: Rpc,
    /// What must be so of the request.
    pub facts: Vec<Fact>,
    /// What must not be.
    pub facts_not: Vec<Fact>,
    /// The condition that the account must be in.
    pub condition: Option<String>,
    /// A condition that it must not be in.
    pub condition_not: Option<String>,
    /// HTTP status of the answer.
    pub status: u16,
    /// Error code of the answer; empty on success.
    pub code: String,
    /// A violation of the answer.
    pub violation: Option<String>,
    /// What the answer tells of the transaction.
    pub outcome: Option<String>,
    /// What must have come before.
    pub before: Vec<Before>,
    /// What is expected after.
    pub then: Behaviour,
    /// The calls that `then` speaks of.
    pub next: Vec<Rpc>,
    /// Seconds within which `next` must come.
    pub within_s: u32,
    /// Seconds for which a PIN is good.
    pub pin_ttl_s: u32,
}
