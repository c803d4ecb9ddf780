//! Certification of an OTT: what was seen of one call, and what a run is.
//!
//! Invariant: nothing here can give a subscriber or a secret away. Addresses are masked, and ids, addresses and whole
//! requests are keyed digests, which say only whether two are the same; a PIN is not here at all. How calls become
//! verdicts is in `judge.rs`.

use crate::domain::Time;
use crate::domain::ids::PartnerId;

pub mod judge;
pub mod recogniser;

/// Most calls that one run keeps; later ones are counted and left out.
pub const CALLS_MAX: u32 = 1_000;
/// Most open runs of one partner.
pub const OPEN_RUNS_MAX: usize = 250;
/// Most characters of a run's name.
pub const NAME_LENGTH_MAX: usize = 80;
/// The number of the last use case.
pub const CASES: u8 = 28;

/// Defines a closed vocabulary: each word of it is spelled once.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$each])* $variant,)+
        }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// How it is written.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The one that is written so.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.word() == word)
            }
        }
    };
}
use words;

words! {
    /// The calls that certification looks at.
    Rpc {
        /// POST /account/validate.
        ValidateAccount = "ValidateAccount",
        /// POST /pin.
        SendPin = "SendPin",
        /// POST /pin/validation.
        ValidatePin = "ValidatePin",
        /// POST /transaction.
        CreateTransaction = "CreateTransaction",
        /// GET /transaction/{extTransactionId}.
        GetTransaction = "GetTransaction",
        /// GET /transactions.
        ListTransactions = "ListTransactions",
        /// The stream of one transaction, once it has told the outcome.
        WatchTransaction = "WatchTransaction",
        /// POST /notification.
        SendNotification = "SendNotification",
    }
}

words! {
    /// Over which face a call came.
    Face {
        /// gRPC.
        Grpc = "grpc",
        /// HTTP/JSON.
        Json = "json",
    }
}

words! {
    /// What can be said of a request without saying what is in it.
    Fact {
        /// It carries an account id.
        AccountId = "account-id",
        /// Its amount is below zero.
        AmountNegative = "amount-negative",
        /// Its amount is above zero.
        AmountPositive = "amount-positive",
        /// It names a charge by `referenceId`.
        Reference = "reference",
        /// Its message is absent or empty.
        NoMessage = "no-message",
        /// Its type is there and is neither MSISDN nor EMAIL.
        TypeWrong = "type-wrong",
        /// The PIN in it was sent to that number.
        PinAsSent = "pin-as-sent",
        /// The answer did not start the work that it tells.
        Replayed = "replayed",
    }
}

/// Says only whether two things are the same.
pub type Digest = [u8; 16];

/// One call, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// When it was answered, by the gateway's clock.
    pub at: Time,
    /// What was called.
    pub rpc: Rpc,
    /// Over which face.
    pub face: Face,
    /// The correlation id of the answer.
    pub correlation: String,
    /// The address, masked; empty where there is none.
    pub address: String,
    /// Whose account: of the address, else of the account id; the same however the account is named, where the gateway
    /// knows that without asking. `None` where an account id is nobody's.
    pub account: Option<Digest>,
    /// The account id that the answer told, for calls that name the account by it.
    pub told_account: Option<Digest>,
    /// The last two digits of a sandbox number: its condition.
    pub condition: Option<String>,
    /// `extTransactionId`.
    pub transaction: Option<Digest>,
    /// The same with charge or refund: what an outcome is of.
    pub subject: Option<Digest>,
    /// What the answer told as final, each as a `subject`.
    pub finals: Vec<Digest>,
    /// All that the request holds.
    pub request: Digest,
    /// What is bought and for how much, whatever the sign, the id and the account.
    pub purchase: Option<Digest>,
    /// What can be said of the request.
    pub facts: Vec<Fact>,
    /// HTTP status of the answer; on gRPC the one that the same answer has over JSON.
    pub status: u16,
    /// Error code of the answer; empty on success.
    pub code: String,
    /// Codes of its violations.
    pub violations: Vec<String>,
    /// `Success`, `Failure` or `Pending`, where the answer tells of a transaction.
    pub outcome: String,
}

impl Call {
    /// Whether this may be said of it.
    #[must_use]
    pub fn is(&self, fact: Fact) -> bool {
        self.facts.contains(&fact)
    }

    /// Whether it was answered with success.
    #[must_use]
    pub const fn succeeded(&self) -> bool {
        self.status < 300
    }

    /// The answer in a few words: `404 account-not-found`.
    #[must_use]
    pub fn answer(&self) -> String {
        let word = if self.code.is_empty() { &self.outcome } else { &self.code };
        let violations = self.violations.join(", ");
        let told = [word.as_str(), violations.as_str()].into_iter().filter(|text| !text.is_empty());
        std::iter::once(self.status.to_string()).chain(told.map(str::to_owned)).collect::<Vec<_>>().join(" ")
    }
}

/// Whether a run still takes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// It does.
    Open,
    /// It was finished then.
    Finished(Time),
}

/// A certification under way, or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub partner: PartnerId,
    /// What its partner calls it.
    pub name: String,
    /// The cases that it is to show, in order.
    pub cases: Vec<u8>,
    /// Whether calls that name no run belong to it.
    pub takes_all: bool,
    /// When it was started.
    pub started_at: Time,
    /// Whether it still takes calls.
    pub state: RunState,
    /// Calls that came and were not kept.
    pub left_out: u32,
    /// How often the gateway stopped in disorder while it was open: calls of the last moments before may be missing.
    pub interrupted: u32,
}

/// Whether a character of a name shows as itself and moves nothing: no control character, and none that turns the
/// direction of what comes after it or breaks a line.
#[must_use]
pub fn is_plain(character: char) -> bool {
    let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !character.is_control() && !turns
}

/// Reads a choice of cases such as `1-7,14`; empty stands for all.
#[must_use]
pub fn cases(text: &str) -> Option<Vec<u8>> {
    if text.trim().is_empty() {
        return Some((1..=CASES).collect());
    }
    let mut chosen = std::collections::BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u8, u8) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first == 0 || first > last || last > CASES {
            return None;
        }
        chosen.extend(first..=last);
    }
    Some(chosen.into_iter().collect())
}

/// The condition that a sandbox number is in: the last two of its ten digits.
#[must_use]
pub fn condition(address: &str) -> Option<&str> {
    let is_number = address.len() == 10 && address.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && address.starts_with("555")).then(|| address.get(8..)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_of_cases_is_read_or_refused_as_a_whole() {
        for (text, chosen) in [
            ("14", Some(vec![14])),
            ("3-5, 1,4", Some(vec![1, 3, 4, 5])),
            ("0", None),
            ("27-29", None),
            ("5-3", None),
            ("all", None),
            ("1,", None),
        ] {
            assert_eq!(cases(text), chosen, "{text}");
        }
        assert_eq!(cases(" ").map(|all| all.len()), Some(usize::from(CASES)));
    }

    #[test]
    fn a_condition_is_read_from_sandbox_numbers_only() {
        for (address, found) in [
            ("5550100002", Some("02")),
            ("5554242499", Some("99")),
            ("5560100002", None),
            ("555010002", None),
            ("abc", None),
        ] {
            assert_eq!(condition(address), found, "{address}");
        }
    }
}
