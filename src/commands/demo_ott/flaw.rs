//! What an OTT can do wrong, and which use cases that breaks.
//!
//! Invariant: each flaw is one wrong habit, kept up through the whole journey; everything else stays as it should be.

/// A wrong habit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Flaw {
    /// Asks for a PIN although the account has ceased. Breaks 2.
    IgnoresCeased,
    /// Asks for a PIN although the account is suspended. Breaks 3 and 4.
    IgnoresSuspension,
    /// Asks for a PIN although the account is not eligible. Breaks 5.
    IgnoresEligibility,
    /// Asks for a PIN although no account has the number. Breaks 6.
    IgnoresNotFound,
    /// Asks for a PIN although the address is malformed. Breaks 7.
    IgnoresMalformedAddress,
    /// Enters a PIN although none could be sent. Breaks 9.
    GuessesPinOfUnknown,
    /// Charges although the PIN was not taken. Breaks 11 and 12.
    ChargesAfterInvalidPin,
    /// Makes a new id when it sends a charge again. Breaks 15.
    NewIdOnRetry,
    /// Changes the amount when it sends a charge again. Breaks 15.
    ChangesRetry,
    /// Charges the number where the account id was refused. Breaks 16.
    ChargesNumberInstead,
    /// Tries another currency where one was refused. Breaks 17.
    GuessesCurrency,
    /// Tries another product where one was refused. Breaks 18.
    SwapsProduct,
    /// Posts a refused charge anew, corrected and under a new id. Breaks 16, 17 and 18.
    PostsRefusedAnew,
    /// Makes a new id when it sends a refund again. Breaks 20.
    RefundsTwice,
    /// Charges where a refund has failed. Breaks 21, 22 and 23.
    ChargesAfterFailedRefund,
}

impl Flaw {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}
