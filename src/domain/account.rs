//! Accounts: what a CSP tells of a subscriber, and which standing lets whom do what.
//!
//! Invariant: an account's standing is judged here and nowhere else, in the order unknown or ceased, suspended, not
//! eligible (contract section 3). How an account is looked up is not here: that is the port of the CSP.

use std::fmt;
use std::sync::Arc;

use super::directory::{Ability, Capabilities};
use super::ids::{AccountRef, CspId};
use super::transaction::Refusal;

/// Whether an account is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In use.
    Active,
    /// Given up: to a partner the same as unknown.
    Ceased,
    /// Barred for non-payment or another billing issue.
    SuspendedNonPayment,
    /// Barred because the phone was lost or stolen.
    SuspendedLostStolen,
}

/// How an account pays its CSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentModel {
    /// From a balance paid in before.
    Prepaid,
    /// By a bill sent afterwards.
    Postpaid,
}

impl PaymentModel {
    /// The word that answers carry.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Prepaid => "prepaid",
            Self::Postpaid => "postpaid",
        }
    }
}

/// Whether the CSP's own rules let the account buy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eligibility {
    /// They do.
    Eligible,
    /// They do not.
    NotEligible,
}

/// A subscriber at a CSP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The CSP's own, lasting name of it.
    pub reference: AccountRef,
    /// Whether it is in use.
    pub standing: Standing,
    /// How it pays.
    pub payment: PaymentModel,
    /// Whether it may buy.
    pub eligibility: Eligibility,
}

/// What is about to be done with an account: each asks for more than the one after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Validating or charging: active and eligible.
    Purchase,
    /// Sending a PIN: active.
    Pin,
    /// Texting: not ceased.
    Notification,
}

/// Lets an account through, or says why not.
///
/// # Errors
/// The refusal that a caller sees: unknown or ceased, then suspended, then not eligible.
pub fn admit(account: Option<Account>, purpose: Purpose) -> Result<Account, Refusal> {
    let account = account.ok_or(Refusal::AccountNotFound)?;
    if account.standing == Standing::Ceased {
        return Err(Refusal::AccountNotFound);
    }
    if purpose == Purpose::Notification {
        return Ok(account);
    }
    match account.standing {
        Standing::SuspendedNonPayment => return Err(Refusal::SuspendedNonPayment),
        Standing::SuspendedLostStolen => return Err(Refusal::SuspendedLostStolen),
        Standing::Active | Standing::Ceased => {}
    }
    if purpose == Purpose::Purchase && account.eligibility == Eligibility::NotEligible {
        return Err(Refusal::NotEligible);
    }
    Ok(account)
}

/// Lets an account through by how it pays, or says that it may not buy.
///
/// # Errors
/// It pays beforehand, and its CSP lets no such account be charged: not eligible, by the rules of the CSP.
pub fn admit_payment(account: &Account, capabilities: Capabilities) -> Result<(), Refusal> {
    match (account.payment, capabilities.prepaid) {
        (PaymentModel::Prepaid, Ability::Unable) => Err(Refusal::NotEligible),
        (PaymentModel::Prepaid, Ability::Able) | (PaymentModel::Postpaid, _) => Ok(()),
    }
}

/// An account of a CSP: what an account id seals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountKey {
    /// Whose account.
    pub csp: CspId,
    /// The CSP's own name of it.
    pub reference: AccountRef,
}

/// The gateway's opaque id of an account as a partner sent it: not opened yet, and perhaps not one of ours.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SealedAccountId(Arc<str>);

impl SealedAccountId {
    /// Wraps the text as it came.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SealedAccountId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("acc_****")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standing_is_judged_by_purpose_and_in_order() {
        use Purpose::{Notification, Pin, Purchase};
        use Standing::{Active, Ceased, SuspendedLostStolen, SuspendedNonPayment};
        let eligible = Eligibility::Eligible;
        let barred = Eligibility::NotEligible;
        for (standing, eligibility, purpose, refusal) in [
            (Active, eligible, Purchase, None),
            (Active, barred, Purchase, Some(Refusal::NotEligible)),
            (Active, barred, Pin, None),
            (Active, barred, Notification, None),
            (Ceased, barred, Purchase, Some(Refusal::AccountNotFound)),
            (Ceased, eligible, Pin, Some(Refusal::AccountNotFound)),
            (Ceased, eligible, Notification, Some(Refusal::AccountNotFound)),
            (SuspendedNonPayment, barred, Purchase, Some(Refusal::SuspendedNonPayment)),
            (SuspendedNonPayment, eligible, Pin, Some(Refusal::SuspendedNonPayment)),
            (SuspendedNonPayment, eligible, Notification, None),
            (SuspendedLostStolen, eligible, Purchase, Some(Refusal::SuspendedLostStolen)),
            (SuspendedLostStolen, eligible, Pin, Some(Refusal::SuspendedLostStolen)),
            (SuspendedLostStolen, eligible, Notification, None),
        ] {
            let account =
                Account { reference: AccountRef::new("1"), standing, payment: PaymentModel::Postpaid, eligibility };
            assert_eq!(admit(Some(account), purpose).err(), refusal, "{standing:?} {eligibility:?} {purpose:?}");
        }
        assert_eq!(admit(None, Notification).err(), Some(Refusal::AccountNotFound));
    }

    #[test]
    fn who_pays_beforehand_buys_only_where_the_csp_lets_such_accounts_be_charged() {
        for (payment, prepaid, refusal) in [
            (PaymentModel::Prepaid, Ability::Able, None),
            (PaymentModel::Prepaid, Ability::Unable, Some(Refusal::NotEligible)),
            (PaymentModel::Postpaid, Ability::Unable, None),
        ] {
            let account = Account {
                reference: AccountRef::new("1"),
                standing: Standing::Active,
                payment,
                eligibility: Eligibility::Eligible,
            };
            let admitted = admit_payment(&account, Capabilities { prepaid, ..Capabilities::ALL });
            assert_eq!(admitted.err(), refusal, "{payment:?} {prepaid:?}");
        }
    }
}
