//! Who a number, an e-mail address or an account name stands for.
//!
//! Invariant: an account has one name, however it was looked up, and the name leads back to it without a table. The name
//! is not the number, so that code that takes one for the other fails in the sandbox already; it hides nothing.

use super::script::{self, Script};
use crate::domain::account::Account;
use crate::domain::address::{Address, Email, Msisdn};
use crate::domain::ids::AccountRef;
use crate::ports::csp::Identifier;

/// What every number of the sandbox begins with.
const PREFIX: &str = "555";
/// Digits after the prefix: five free ones and two of the condition.
const REST_DIGITS: usize = 7;
/// What comes after the number in an e-mail address.
const EMAIL_DOMAIN: &str = "@sandbox.example";
/// What every account name begins with.
const NAME_PREFIX: &str = "sub-";

/// Numbers that there are.
const NUMBERS: u64 = 10_000_000;
/// Names are numbers times this, plus the next, modulo [`NUMBERS`]: it has no factor in common with ten.
const FACTOR: u64 = 6_364_133;
const SHIFT: u64 = 1_442_695;
/// What undoes [`FACTOR`]: their product is 1 modulo [`NUMBERS`].
const FACTOR_INVERSE: u64 = 7_442_797;

/// A subscriber of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscriber {
    number: Msisdn,
    /// The digits after the prefix, as one number below [`NUMBERS`].
    rest: u64,
    script: Script,
}

impl Subscriber {
    /// Who is looked up; `None` where the sandbox knows nobody of that name.
    pub(super) fn find(who: &Identifier) -> Option<Self> {
        match who {
            Identifier::Address(Address::Msisdn(number)) => Self::by_number(number),
            Identifier::Address(Address::Email(email)) => Self::by_email(email),
            Identifier::Account(name) => Self::by_name(name),
        }
    }

    /// By number: `555`, five free digits, and two that say what the account is.
    pub(super) fn by_number(number: &Msisdn) -> Option<Self> {
        Self::by_rest(digits(number.expose().strip_prefix(PREFIX)?)?)
    }

    /// By the account's name.
    pub(super) fn by_name(name: &AccountRef) -> Option<Self> {
        let name = digits(name.as_str().strip_prefix(NAME_PREFIX)?)?;
        Self::by_rest(name.wrapping_add(NUMBERS - SHIFT).wrapping_mul(FACTOR_INVERSE) % NUMBERS)
    }

    fn by_email(email: &Email) -> Option<Self> {
        let number = email.expose().strip_suffix(EMAIL_DOMAIN)?;
        Self::by_number(&Msisdn::new(number)).filter(|subscriber| subscriber.script.has_email)
    }

    fn by_rest(rest: u64) -> Option<Self> {
        let script = script::of(u8::try_from(rest % 100).ok()?)?;
        Some(Self { number: Msisdn::new(&format!("{PREFIX}{rest:0REST_DIGITS$}")), rest, script })
    }

    /// The number.
    pub(super) const fn number(&self) -> &Msisdn {
        &self.number
    }

    /// How the account behaves.
    pub(super) const fn script(&self) -> &Script {
        &self.script
    }

    /// What a lookup answers.
    pub(super) fn account(&self) -> Account {
        let name = self.rest.wrapping_mul(FACTOR).wrapping_add(SHIFT) % NUMBERS;
        Account {
            reference: AccountRef::new(&format!("{NAME_PREFIX}{name:0REST_DIGITS$}")),
            standing: self.script.standing,
            payment: self.script.payment,
            eligibility: self.script.eligibility,
        }
    }
}

/// Exactly seven digits, as a number.
fn digits(text: &str) -> Option<u64> {
    let well_formed = text.len() == REST_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_numbers_of_the_sandbox_with_a_scripted_condition_are_known() {
        for (number, known) in [
            ("5550100001", true),
            ("5554242401", true),
            ("5550000020", true),
            ("5550100000", false),
            ("5550100009", false),
            ("5550100010", false),
            ("5550100017", false),
            ("5550100099", false),
            ("5540100001", false),
            ("555010001", false),
            ("55501000001", false),
            ("555010000a", false),
            ("555+100001", false),
            ("", false),
        ] {
            assert_eq!(Subscriber::by_number(&Msisdn::new(number)).is_some(), known, "{number:?}");
        }
    }

    #[test]
    fn an_email_address_names_the_account_of_its_number_where_it_has_one() {
        let by_email = |text: &str| {
            Subscriber::find(&Identifier::Address(Address::Email(Email::parse(text).expect("well formed"))))
        };
        assert_eq!(by_email("5550100020@sandbox.example"), Subscriber::by_number(&Msisdn::new("5550100020")));
        for unknown in ["5550100001@sandbox.example", "5550100020@example.org", "x@sandbox.example", "a@b"] {
            assert_eq!(by_email(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn names_that_are_none_lead_nowhere() {
        for name in ["", "sub-", "sub-12", "sub-12345678", "sub-+123456", "5550100001", "SUB-1234567"] {
            assert_eq!(Subscriber::by_name(&AccountRef::new(name)), None, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn an_account_has_one_name_that_leads_back_to_it(free in 0_u32..100_000) {
            for condition in 0..100 {
                let number = Msisdn::new(&format!("555{free:05}{condition:02}"));
                let Some(subscriber) = Subscriber::by_number(&number) else { continue };
                let name = subscriber.account().reference;
                prop_assert!(!name.as_str().contains(number.expose()));
                prop_assert_eq!(Subscriber::by_name(&name), Some(subscriber));
            }
        }
    }
}
