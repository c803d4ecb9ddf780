//! What the suite must know of a CSP: its profile, and its test accounts. From a file like `deploy/csp/accounts.toml`.
//!
//! Invariant: what comes out has been looked at: a currency that is one, numbers that fit the pattern, an amount that can
//! be taken apart. Keys are named as in the gateway's `[csp.<id>]`, so that what was certified can be copied there.

use figment::Figment;
use figment::providers::{Format as _, Toml};
use serde::Deserialize;

use crate::domain::address::{Email, Msisdn};
use crate::domain::directory::Pattern;
use crate::domain::ids::ChargeCode;
use crate::domain::money::{Currency, Money};
use crate::runtime::config::tables::{RecoveryWord, RefundsWord};

/// A file to begin with: the sandbox CSP's accounts.
pub const EXAMPLE: &str = include_str!("../../../deploy/csp/accounts.toml");

/// Fewest minor units that the charged amount must have, so that it can be given back in parts.
const AMOUNT_MINOR_MIN: i64 = 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    csp: CspPart,
    accounts: AccountsPart,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CspPart {
    currency: String,
    msisdn_pattern: String,
    charge_code: String,
    amount: String,
    #[serde(default = "partial")]
    refunds: RefundsWord,
    #[serde(default)]
    void: bool,
    #[serde(default = "yes")]
    prepaid: bool,
    #[serde(default)]
    takes_email: bool,
    #[serde(default = "inquiry")]
    recovery: RecoveryWord,
    #[serde(default = "not_applied")]
    not_applied_codes: Vec<String>,
    #[serde(default = "call_timeout_ms")]
    call_timeout_ms: u32,
}

const fn partial() -> RefundsWord {
    RefundsWord::Partial
}

const fn yes() -> bool {
    true
}

const fn inquiry() -> RecoveryWord {
    RecoveryWord::Inquiry
}

fn not_applied() -> Vec<String> {
    vec!["not-applied".to_owned()]
}

const fn call_timeout_ms() -> u32 {
    300
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountsPart {
    active: String,
    unknown: String,
    ceased: Option<String>,
    suspended_non_payment: Option<String>,
    suspended_lost_stolen: Option<String>,
    not_eligible: Option<String>,
    prepaid: Option<String>,
    with_email: Option<WithEmailPart>,
    limited: Option<LimitedPart>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithEmailPart {
    number: String,
    email: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitedPart {
    number: String,
    amount: String,
}

/// An account with an e-mail address.
#[derive(Debug, Clone)]
pub struct WithEmail {
    /// Its number.
    pub number: Msisdn,
    /// Its address.
    pub email: Email,
}

/// An account that may spend so much and no more.
#[derive(Debug, Clone)]
pub struct Limited {
    /// Its number.
    pub number: Msisdn,
    /// What is left of its limit or balance.
    pub left: Money,
}

/// What the suite knows of a CSP.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Its currency.
    pub currency: Currency,
    /// The form of its numbers.
    pub msisdn_pattern: Pattern,
    /// A product that may be charged.
    pub charge_code: ChargeCode,
    /// What is charged.
    pub amount: Money,
    /// Which refunds it books.
    pub refunds: RefundsWord,
    /// Whether it makes references void.
    pub void: bool,
    /// Whether accounts that pay beforehand may be charged.
    pub prepaid: bool,
    /// Whether it knows e-mail addresses.
    pub takes_email: bool,
    /// How an outcome is learnt afterwards.
    pub recovery: RecoveryWord,
    /// With what it says that nothing was applied.
    pub not_applied_codes: Vec<String>,
    /// How long a gateway waits for one of its answers, in milliseconds.
    pub call_timeout_ms: u32,
    /// Active, and may buy.
    pub active: Msisdn,
    /// Well formed, and nobody's.
    pub unknown: Msisdn,
    /// Given up.
    pub ceased: Option<Msisdn>,
    /// Barred for non-payment.
    pub suspended_non_payment: Option<Msisdn>,
    /// Barred for loss or theft.
    pub suspended_lost_stolen: Option<Msisdn>,
    /// Active, and may not buy.
    pub not_eligible: Option<Msisdn>,
    /// Active, and pays beforehand.
    pub prepaid_number: Option<Msisdn>,
    /// Active, with an e-mail address.
    pub with_email: Option<WithEmail>,
    /// Active, with a limit that is known.
    pub limited: Option<Limited>,
}

impl Terms {
    /// Reads a file's text.
    ///
    /// # Errors
    /// One line that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read = Figment::from(Toml::string(text)).extract::<File>();
        let File { csp, accounts } = read.map_err(|error| error.to_string().replace('\n', " "))?;
        let currency = Currency::from_code(&csp.currency)
            .ok_or_else(|| format!("csp.currency: {:?} is no currency of ISO 4217 with a minor unit", csp.currency))?;
        let pattern = Pattern::new(&csp.msisdn_pattern)
            .ok_or("csp.msisdn_pattern: must be a regular expression from ^ to $, like ^[0-9]{10}$")?;
        let money = |key: &str, text: &str| {
            Money::parse(text, currency).filter(|money| money.minor >= AMOUNT_MINOR_MIN).ok_or_else(|| {
                format!(
                    "{key}: must be an amount of {currency} of at least {AMOUNT_MINOR_MIN} minor units, like \"10.00\""
                )
            })
        };
        let number = |key: &str, text: &str| {
            let fits = pattern.matches(text);
            fits.then(|| Msisdn::new(text)).ok_or_else(|| format!("accounts.{key}: does not match csp.msisdn_pattern"))
        };
        let optional = |key: &str, text: &Option<String>| text.as_deref().map(|text| number(key, text)).transpose();
        let with_email = accounts.with_email.as_ref().map(|part| {
            let email = Email::parse(&part.email).ok_or("accounts.with_email.email: is no e-mail address")?;
            Ok::<_, String>(WithEmail { number: number("with_email.number", &part.number)?, email })
        });
        let limited = accounts.limited.as_ref().map(|part| {
            let left = money("accounts.limited.amount", &part.amount)?;
            Ok::<_, String>(Limited { number: number("limited.number", &part.number)?, left })
        });
        Ok(Self {
            amount: money("csp.amount", &csp.amount)?,
            active: number("active", &accounts.active)?,
            unknown: number("unknown", &accounts.unknown)?,
            ceased: optional("ceased", &accounts.ceased)?,
            suspended_non_payment: optional("suspended_non_payment", &accounts.suspended_non_payment)?,
            suspended_lost_stolen: optional("suspended_lost_stolen", &accounts.suspended_lost_stolen)?,
            not_eligible: optional("not_eligible", &accounts.not_eligible)?,
            prepaid_number: optional("prepaid", &accounts.prepaid)?,
            with_email: with_email.transpose()?,
            limited: limited.transpose()?,
            msisdn_pattern: pattern.clone(),
            currency,
            charge_code: ChargeCode::new(&csp.charge_code),
            refunds: csp.refunds,
            void: csp.void,
            prepaid: csp.prepaid,
            takes_email: csp.takes_email,
            recovery: csp.recovery,
            not_applied_codes: csp.not_applied_codes,
            call_timeout_ms: csp.call_timeout_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_names_every_account_and_every_ability() {
        let terms = Terms::parse(EXAMPLE).expect("well formed");
        assert!(terms.void && terms.prepaid && terms.takes_email && terms.refunds == RefundsWord::Partial);
        let named = [&terms.ceased, &terms.suspended_non_payment, &terms.suspended_lost_stolen, &terms.not_eligible];
        assert!(named.into_iter().chain([&terms.prepaid_number]).all(Option::is_some));
        assert!(terms.with_email.is_some() && terms.limited.is_some());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, part) in [
            ("currency = \"MXN\"", "currency = \"XXQ\"", "csp.currency"),
            ("amount = \"10.00\"", "amount = \"0.05\"", "csp.amount"),
            ("active = \"5550100001\"", "active = \"+525550100001\"", "accounts.active"),
            ("void = true", "viod = true", "viod"),
            ("unknown = \"5550100099\"", "", "unknown"),
        ] {
            assert!(EXAMPLE.contains(from), "{from}");
            let error = Terms::parse(&EXAMPLE.replacen(from, to, 1)).expect_err(part);
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
    }
}
