//! What a credential is good for, and what two of them are together.
//!
//! Invariant: no credential ever widens another. Of a key or token and the certificate of its connection, both must be
//! of the same partner, and what is granted is what both grant. Where requests carry credentials is not here.

use std::collections::BTreeSet;

use super::ids::PartnerId;
use super::scope::Scopes;

/// What a credential stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Whose it is.
    pub partner: PartnerId,
    /// What it is good for.
    pub scopes: Scopes,
}

/// What a certificate of a connection says of its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// There is no certificate, or one that is nobody's here.
    Nothing,
    /// A partner's, and it is good.
    Good(Grant),
    /// It is two partners', or its time is over or has not come.
    Bad,
}

/// What a request says of its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It carries neither key nor token.
    Nothing,
    /// One of them, and it is good.
    Good(Grant),
    /// One that is not, or more than one.
    Bad,
}

/// Who calls: `None` is nobody. `bound` are the partners whose keys and tokens count only together with a certificate.
#[must_use]
pub fn caller(shown: Shown, told: Told, bound: &BTreeSet<PartnerId>) -> Option<Grant> {
    match (shown, told) {
        (Shown::Bad, _) | (_, Told::Bad) | (Shown::Nothing, Told::Nothing) => None,
        (Shown::Good(grant), Told::Nothing) => Some(grant),
        (Shown::Nothing, Told::Good(grant)) => (!bound.contains(&grant.partner)).then_some(grant),
        (Shown::Good(one), Told::Good(other)) => (one.partner == other.partner)
            .then(|| Grant { scopes: one.scopes.and(other.scopes), partner: other.partner }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scope::Scope;

    fn grant(partner: &str, scopes: &[Scope]) -> Grant {
        Grant { partner: PartnerId::new(partner), scopes: scopes.iter().copied().collect() }
    }

    #[test]
    fn a_certificate_and_a_key_must_be_of_one_partner_and_grant_what_both_do() {
        let mine = || grant("mine", &[Scope::Pins, Scope::Accounts]);
        let less = || grant("mine", &[Scope::Pins]);
        let other = || grant("other", &[Scope::Pins]);
        let bound: BTreeSet<PartnerId> = [PartnerId::new("other")].into();
        for (shown, told, expected) in [
            (Shown::Nothing, Told::Nothing, None),
            (Shown::Nothing, Told::Good(mine()), Some(mine())),
            (Shown::Nothing, Told::Bad, None),
            (Shown::Nothing, Told::Good(other()), None),
            (Shown::Good(mine()), Told::Nothing, Some(mine())),
            (Shown::Good(mine()), Told::Good(less()), Some(less())),
            (Shown::Good(less()), Told::Good(mine()), Some(less())),
            (Shown::Good(mine()), Told::Good(other()), None),
            (Shown::Good(other()), Told::Good(mine()), None),
            (Shown::Good(other()), Told::Good(other()), Some(other())),
            (Shown::Good(mine()), Told::Bad, None),
            (Shown::Bad, Told::Good(mine()), None),
            (Shown::Bad, Told::Nothing, None),
        ] {
            assert_eq!(caller(shown.clone(), told.clone(), &bound), expected, "{shown:?} {told:?}");
        }
    }
}
