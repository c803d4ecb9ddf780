//! Scopes: which groups of calls a credential is good for.
//!
//! Invariant: every word is here and nowhere else, and a word that is not here grants nothing. Which call needs which
//! scope is the faces' matter; who has which is written with the credential.

use std::fmt;

/// A group of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Looking subscribers up.
    Accounts,
    /// Sending PINs and taking them.
    Pins,
    /// Charges and refunds: one call makes both.
    TransactionsWrite,
    /// Reading, listing and watching transactions.
    TransactionsRead,
    /// Messages to subscribers.
    Notifications,
    /// The sandbox's inboxes, bills and clock.
    Sandbox,
    /// Certification runs.
    Certification,
}

impl Scope {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 7] = [
        Self::Accounts,
        Self::Pins,
        Self::TransactionsWrite,
        Self::TransactionsRead,
        Self::Notifications,
        Self::Sandbox,
        Self::Certification,
    ];

    /// Its word, in configurations and tokens.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Pins => "pins",
            Self::TransactionsWrite => "transactions:write",
            Self::TransactionsRead => "transactions:read",
            Self::Notifications => "notifications",
            Self::Sandbox => "sandbox",
            Self::Certification => "certification",
        }
    }

    /// The scope that a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.word() == word)
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Accounts => 1,
            Self::Pins => 2,
            Self::TransactionsWrite => 4,
            Self::TransactionsRead => 8,
            Self::Notifications => 16,
            Self::Sandbox => 32,
            Self::Certification => 64,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

/// Some scopes, perhaps none.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// No scope: good for no call.
    pub const NONE: Self = Self(0);

    /// Every scope.
    #[must_use]
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Whether this one is among them.
    #[must_use]
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let had = Scope::ALL.into_iter().filter(|scope| self.has(*scope));
        formatter.debug_set().entries(had.map(Scope::word)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_has_a_word_and_a_bit_of_its_own() {
        for scope in Scope::ALL {
            assert_eq!(Scope::from_word(scope.word()), Some(scope));
            let alone: Scopes = [scope].into_iter().collect();
            for other in Scope::ALL {
                assert_eq!(alone.has(other), scope == other, "{scope} {other}");
            }
            assert!(Scopes::all().has(scope) && !Scopes::NONE.has(scope));
        }
        for word in ["", "Accounts", "accounts ", "transactions", "*", "admin"] {
            assert_eq!(Scope::from_word(word), None, "{word}");
        }
    }

    #[test]
    fn two_credentials_together_are_good_for_what_both_are_good_for() {
        let of = |scopes: &[Scope]| scopes.iter().copied().collect::<Scopes>();
        let both = of(&[Scope::Pins, Scope::Accounts]).and(of(&[Scope::Accounts, Scope::Sandbox]));
        assert_eq!(both, of(&[Scope::Accounts]));
        assert_eq!(format!("{both:?}"), "{\"accounts\"}");
    }
}
