//! What is called, and how often: `validate:60,charge:30,get:10`.
//!
//! Invariant: shares are whole numbers whose sum is not zero, so that every draw names a verb.

use std::fmt;
use std::str::FromStr;

/// Most that one share may be, so that no sum overflows.
const SHARE_MAX: u32 = 1_000_000;

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// ValidateAccount.
    Validate,
    /// CreateTransaction: a charge under an id of its own.
    Charge,
    /// CreateTransaction: a charge that was taken before, sent again as it was.
    Replay,
    /// CreateTransaction: a small part of a charge that was taken, back under an id of its own.
    Refund,
    /// GetTransaction of a charge that was taken.
    Get,
    /// ListTransactions: the first page.
    List,
    /// SendPin.
    Pin,
    /// SendNotification.
    Notify,
}

impl Verb {
    /// All of them, in the order in which reports list them.
    pub const ALL: [Self; 8] =
        [Self::Validate, Self::Charge, Self::Replay, Self::Refund, Self::Get, Self::List, Self::Pin, Self::Notify];

    /// The word on the command line and in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Charge => "charge",
            Self::Replay => "replay",
            Self::Refund => "refund",
            Self::Get => "get",
            Self::List => "list",
            Self::Pin => "pin",
            Self::Notify => "notify",
        }
    }

    /// Whether it is about a charge that must be there already.
    #[must_use]
    pub const fn needs_charges(self) -> bool {
        matches!(self, Self::Replay | Self::Refund | Self::Get)
    }
}

/// Shares of verbs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix(Vec<(Verb, u32)>);

impl Mix {
    /// One verb and nothing else.
    #[must_use]
    pub fn only(verb: Verb) -> Self {
        Self(vec![(verb, 1)])
    }

    /// Whether some call is about a charge that must be there already.
    #[must_use]
    pub fn needs_charges(&self) -> bool {
        self.0.iter().any(|(verb, share)| verb.needs_charges() && *share > 0)
    }

    /// The verb that a random number stands for.
    #[must_use]
    pub fn at(&self, random: u64) -> Verb {
        let sum: u64 = self.0.iter().map(|(_, share)| u64::from(*share)).sum();
        let mut left = random.checked_rem(sum).unwrap_or_default();
        for (verb, share) in &self.0 {
            match left.checked_sub(u64::from(*share)) {
                Some(less) => left = less,
                None => return *verb,
            }
        }
        Verb::Validate
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut shares: Vec<(Verb, u32)> = Vec::new();
        for part in text.split(',') {
            let (word, share) = part.split_once(':').unwrap_or((part, "1"));
            let verb = Verb::ALL.into_iter().find(|verb| verb.word() == word.trim()).ok_or_else(|| {
                let known: Vec<&str> = Verb::ALL.into_iter().map(Verb::word).collect();
                format!("{word:?} is none of {}", known.join(", "))
            })?;
            let share = share.trim().parse().ok().filter(|share| *share <= SHARE_MAX);
            let share = share.ok_or_else(|| format!("{part:?}: a share is a number up to {SHARE_MAX}"))?;
            if shares.iter().any(|(named, _)| *named == verb) {
                return Err(format!("{word} is named twice"));
            }
            shares.push((verb, share));
        }
        if shares.iter().all(|(_, share)| *share == 0) {
            return Err("no share is above 0".to_owned());
        }
        Ok(Self(shares))
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(verb, share)| format!("{}:{share}", verb.word())).collect();
        formatter.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_kept_over_all_draws() {
        let mix: Mix = "validate:60, charge:30,get:10".parse().expect("a mix");
        let drawn: Vec<Verb> = (0..1000).map(|random| mix.at(random)).collect();
        let count = |verb: Verb| drawn.iter().filter(|drawn| **drawn == verb).count();
        assert_eq!([Verb::Validate, Verb::Charge, Verb::Get, Verb::Pin].map(count), [600, 300, 100, 0]);
        assert_eq!(mix.to_string(), "validate:60,charge:30,get:10");
    }

    #[test]
    fn a_share_of_nothing_is_never_drawn() {
        let mix: Mix = "replay:0,list".parse().expect("a mix");
        assert!((0..10).all(|random| mix.at(random) == Verb::List) && !mix.needs_charges());
    }

    #[test]
    fn what_is_no_mix_is_refused_with_what_is_wrong() {
        for (text, why) in [
            ("", "is none of validate, charge"),
            ("charges:1", "is none of"),
            ("charge:-1", "a share is a number"),
            ("charge:1000001", "up to 1000000"),
            ("get:1,get:2", "named twice"),
            ("get:0", "no share is above 0"),
        ] {
            let told = text.parse::<Mix>().expect_err("no mix");
            assert!(told.contains(why), "{text}: {told}");
        }
    }
}
