//! Ways to break the gateway on purpose, from outside its code.
//!
//! Invariant: each breaks one thing that the safety of money rests on, and nothing else. A checker that does not find
//! it within a bounded number of seeds proves nothing (see `bites`).

/// What is broken in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Nothing.
    None,
    /// Nothing, but on the plain ledger that the broken ones are made of.
    PlainLedger,
    /// The ledger does not look at what a unit of work expects.
    ExpectedIgnored,
    /// The ledger does not hold refunds against their charge.
    HoldsIgnored,
    /// The ledger holds charges under no ceiling.
    CeilingsIgnored,
    /// The ledger gives nothing back to a spend limit.
    NothingGivenBack,
    /// The ledger loses the postings of some outcomes.
    PostingsLost,
    /// The ledger acknowledges before it is durable: a crash takes the last commits along.
    AcknowledgedTooSoon,
    /// The ledger keeps an event twice.
    EventTwice,
    /// The ledger loses events.
    EventLost,
    /// The reference under which the CSP knows a key is another at each attempt.
    ReferencePerAttempt,
    /// "Not known" is taken for "never".
    NotKnownIsNever,
    /// An answer that did not come is taken for a request that did not arrive.
    UnknownIsNotApplied,
    /// Receipts are believed whatever they say.
    ReceiptsBelieved,
    /// A stored answer is not given back as it was.
    ReplayDiffers,
    /// Flights do not exclude one another, and the ledger takes a second intent under the same key.
    NoUniqueness,
    /// The CSP forgets what it has made void, and books it all the same.
    VoidIsForgotten,
    /// A refusal is taken for a lost answer's: the CSP's "no" to an inquiry that was never made.
    LostIsRefused,
}

impl Mutation {
    /// Whether the run needs a ledger that can be broken.
    pub const fn breaks_the_ledger(self) -> bool {
        matches!(
            self,
            Self::PlainLedger
                | Self::ExpectedIgnored
                | Self::HoldsIgnored
                | Self::CeilingsIgnored
                | Self::NothingGivenBack
                | Self::PostingsLost
                | Self::AcknowledgedTooSoon
                | Self::EventTwice
                | Self::EventLost
                | Self::ReferencePerAttempt
                | Self::NoUniqueness
        )
    }
}
