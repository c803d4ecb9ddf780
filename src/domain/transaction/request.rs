//! Reads a request of POST /transaction: is it well formed, and is it a charge or a refund?
//!
//! Invariant: all violations of one request are found together and listed in the order of its fields, and the table of
//! contract section 3 decides by its first row that fits. What depends on the configuration (number patterns, the CSP's
//! currency) is kept apart from what does not, so that an exact replay is recognised under any configuration.
//! Nothing is looked up here: accounts, products and charges come later.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Compared, Kind, Refusal, TransactionKey};
use crate::domain::account::{AccountKey, SealedAccountId};
use crate::domain::address::{ADDRESS_LENGTH_MAX, Address, EMAIL, Email, MSISDN, Msisdn};
use crate::domain::catalogue::{Violation, field, reason};
use crate::domain::directory::{CspProfile, Directory, Partner, Route};
use crate::domain::ids::{EXT_TRANSACTION_ID_PATTERN, ExtTransactionId, ProductId};
use crate::domain::money::{Currency, Decimal};

/// Most characters of the text for the bill.
pub const DESCRIPTION_LENGTH_MAX: usize = 128;

/// A request as it came: empty stands for absent, `reference_id` aside.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a> {
    /// The partner's own id.
    pub ext_transaction_id: &'a str,
    /// What the address is.
    pub type_word: &'a str,
    /// A number or an e-mail address.
    pub address: &'a str,
    /// A sealed account id.
    pub account_id: &'a str,
    /// The product.
    pub partner_product: &'a str,
    /// A decimal amount.
    pub amount: &'a str,
    /// A currency's code.
    pub currency: &'a str,
    /// Text for the bill.
    pub description: &'a str,
    /// The charge that a refund gives back: present but empty means something.
    pub reference_id: Option<&'a str>,
}

/// A request whose form does not depend on any configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WellFormed {
    /// Its key.
    pub key: TransactionKey,
    /// Its fields, as they are compared and kept.
    pub compared: Compared,
}

/// What reading found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The request, where nothing is wrong with it whatever the configuration.
    pub well_formed: Option<WellFormed>,
    /// Everything that is wrong with it today, in the order of its fields.
    pub violations: Vec<Violation>,
}

/// Which addresses an RPC takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressTypes {
    /// Numbers only.
    MsisdnOnly,
    /// Numbers and e-mail addresses.
    MsisdnAndEmail,
}

/// Type and address as far as they can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadAddress {
    /// The address, where type and form allow it. A number's pattern is the CSP's, and not yet held against it.
    pub address: Option<Address>,
    /// What is wrong whatever the configuration.
    pub violations: Vec<Violation>,
}

/// Reads type and address (contract section 2).
#[must_use]
pub fn read_address(type_word: &str, address: &str, types: AddressTypes) -> ReadAddress {
    let mut violations = Vec::new();
    let mut read = None;
    match type_word {
        "" => violations.push(Violation::missing(field::TYPE)),
        MSISDN => read = Some(Address::Msisdn(Msisdn::new(address))),
        EMAIL if types == AddressTypes::MsisdnAndEmail => match Email::parse(address) {
            Some(email) => read = Some(Address::Email(email)),
            None if address.is_empty() => {}
            None => violations.push(Violation::on(field::ADDRESS, reason::EMAIL)),
        },
        _ => {
            // The address of a type that is none is not checked, not even for being there.
            violations.push(Violation::on(field::TYPE, reason::TYPE_MUST_BE_MSISDN));
            return ReadAddress { address: None, violations };
        }
    }
    if address.is_empty() {
        violations.push(Violation::missing(field::ADDRESS));
        read = None;
    }
    ReadAddress { address: read, violations }
}

/// Holds a number against the pattern of the CSP that it routes to.
#[must_use]
pub fn check_pattern(address: &Address, profile: &CspProfile) -> Option<Violation> {
    let Address::Msisdn(number) = address else {
        return None;
    };
    let fits = number.expose().len() <= ADDRESS_LENGTH_MAX && profile.msisdn_pattern.matches(number.expose());
    (!fits).then(|| Violation::on(field::ADDRESS, reason::must_match(profile.msisdn_pattern.as_str())))
}

/// Reads type and address of an RPC that needs both, and routes them.
///
/// # Errors
/// Every violation of the two fields.
pub fn read_required_address<'a>(
    type_word: &str,
    address: &str,
    types: AddressTypes,
    partner: &'a Partner,
    directory: &'a Directory,
) -> Result<(Address, Route<'a>), Vec<Violation>> {
    let read = read_address(type_word, address, types);
    let Some(address) = read.address else {
        return Err(read.violations);
    };
    let Some(route) = directory.route(partner, &address) else {
        return Err(vec![Violation::on(field::ADDRESS, reason::NOT_VALID)]);
    };
    match check_pattern(&address, route.profile()) {
        Some(violation) => Err(vec![violation]),
        None => Ok((address, route)),
    }
}

/// The row of the charge-or-refund table (contract section 3) that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    /// Rows 1 and 2: `reference-id-required`.
    ReferenceRequired,
    /// Row 3: `negative-amount`.
    NegativeRequired,
    /// Row 4: `must not be 0`.
    Zero,
    /// Row 5: `extTransactionId` must not be null.
    IdRequired,
    /// Row 6.
    Charge,
    /// Rows 7 and 8.
    Refund,
    /// The amount cannot be read, so that no row can be told.
    Undecided,
}

fn row(reference_id: Option<&str>, ext_transaction_id: &str, amount: Option<Decimal>) -> Row {
    if reference_id == Some("") {
        return Row::ReferenceRequired;
    }
    let has_id = !ext_transaction_id.is_empty();
    let sign = amount.map(Decimal::sign);
    match (reference_id, sign) {
        (_, Some(Ordering::Less)) if !has_id => Row::ReferenceRequired,
        (Some(_), Some(Ordering::Equal | Ordering::Greater)) => Row::NegativeRequired,
        (None, Some(Ordering::Equal)) => Row::Zero,
        _ if !has_id => Row::IdRequired,
        (None, Some(Ordering::Greater)) => Row::Charge,
        (_, Some(Ordering::Less)) => Row::Refund,
        (_, None) => Row::Undecided,
    }
}

/// Reads a whole request. `unsealed` is what its account id holds, where it is one of ours.
#[must_use]
pub fn read(raw: &Raw<'_>, partner: &Partner, directory: &Directory, unsealed: Option<&AccountKey>) -> Reading {
    let mut fixed = Vec::new();
    let mut configured = Vec::new();
    let amount = Decimal::parse(raw.amount);
    let row = row(raw.reference_id, raw.ext_transaction_id, amount);

    let ext_id = read_ext_id(raw, row, &mut fixed);
    let address = read_who(raw, &mut fixed);
    if raw.partner_product.is_empty() {
        fixed.push(Violation::missing(field::PARTNER_PRODUCT));
    }
    read_amount(raw, row, amount, &mut fixed);
    if raw.currency.is_empty() {
        fixed.push(Violation::missing(field::CURRENCY));
    } else if !Currency::is_well_formed(raw.currency) {
        fixed.push(Violation::on(field::CURRENCY, reason::must_match(Currency::PATTERN)));
    }
    if raw.description.chars().count() > DESCRIPTION_LENGTH_MAX {
        fixed.push(Violation::on(field::DESCRIPTION, reason::DESCRIPTION_SIZE));
    }
    let reference_id = read_reference_id(raw, row, &mut fixed);

    let route = address.as_ref().and_then(|address| directory.route(partner, address));
    if let (Some(address), Some(route)) = (&address, route) {
        configured.extend(check_pattern(address, route.profile()));
    }
    let profile = csp_of(route, unsealed, directory);
    check_currency(raw, amount, profile, &fixed, &mut configured);

    let well_formed = match (fixed.is_empty(), ext_id, amount) {
        (true, Some(ext_transaction_id), Some(amount)) => {
            let kind = if row == Row::Refund { Kind::Refund } else { Kind::Charge };
            Some(WellFormed {
                key: TransactionKey { partner: partner.id.clone(), kind, ext_transaction_id },
                compared: Compared {
                    address,
                    account_id: (!raw.account_id.is_empty()).then(|| SealedAccountId::new(raw.account_id)),
                    partner_product: ProductId::new(raw.partner_product),
                    amount,
                    currency: Arc::from(raw.currency),
                    description: Arc::from(raw.description),
                    reference_id,
                },
            })
        }
        _ => None,
    };
    fixed.append(&mut configured);
    fixed.sort_by_key(|violation| FIELD_ORDER.iter().position(|name| *name == violation.field));
    Reading { well_formed, violations: fixed }
}

/// The order in which violations are listed.
const FIELD_ORDER: [&str; 9] = [
    field::EXT_TRANSACTION_ID,
    field::TYPE,
    field::ADDRESS,
    field::ACCOUNT_ID,
    field::PARTNER_PRODUCT,
    field::AMOUNT,
    field::CURRENCY,
    field::DESCRIPTION,
    field::REFERENCE_ID,
];

fn read_ext_id(raw: &Raw<'_>, row: Row, violations: &mut Vec<Violation>) -> Option<ExtTransactionId> {
    if raw.ext_transaction_id.is_empty() {
        // Rows 1 to 4 speak instead of "must not be null"; without a readable amount row 5 still holds.
        if row == Row::IdRequired {
            violations.push(Violation::missing(field::EXT_TRANSACTION_ID));
        }
        return None;
    }
    let id = ExtTransactionId::parse(raw.ext_transaction_id);
    if id.is_none() {
        violations.push(Violation::on(field::EXT_TRANSACTION_ID, reason::must_match(EXT_TRANSACTION_ID_PATTERN)));
    }
    id
}

fn read_reference_id(raw: &Raw<'_>, row: Row, violations: &mut Vec<Violation>) -> Option<ExtTransactionId> {
    if row == Row::ReferenceRequired {
        violations.push(Violation::reference_id_required());
        return None;
    }
    let text = raw.reference_id?;
    let id = ExtTransactionId::parse(text);
    if id.is_none() {
        violations.push(Violation::on(field::REFERENCE_ID, reason::must_match(EXT_TRANSACTION_ID_PATTERN)));
    }
    id
}

/// Reads type and address; an account id stands in for both, but not for half of them.
fn read_who(raw: &Raw<'_>, violations: &mut Vec<Violation>) -> Option<Address> {
    if !raw.account_id.is_empty() && raw.type_word.is_empty() && raw.address.is_empty() {
        return None;
    }
    let mut read = read_address(raw.type_word, raw.address, AddressTypes::MsisdnAndEmail);
    violations.append(&mut read.violations);
    read.address
}

fn read_amount(raw: &Raw<'_>, row: Row, amount: Option<Decimal>, violations: &mut Vec<Violation>) {
    if raw.amount.is_empty() {
        violations.push(Violation::missing(field::AMOUNT));
    } else if amount.is_none() {
        violations.push(Violation::on(field::AMOUNT, reason::DECIMAL));
    } else if row == Row::NegativeRequired {
        violations.push(Violation::negative_amount());
    } else if row == Row::Zero {
        violations.push(Violation::on(field::AMOUNT, reason::NOT_ZERO));
    }
}

/// The CSP whose currency counts: that of the address, else that of the account id; none where both lead nowhere.
fn csp_of<'a>(
    route: Option<Route<'a>>,
    unsealed: Option<&AccountKey>,
    directory: &'a Directory,
) -> Option<&'a CspProfile> {
    match route {
        Some(Route::To(profile)) => Some(profile),
        Some(Route::Nowhere(_)) | None => unsealed.and_then(|key| directory.csp(&key.csp)).map(AsRef::as_ref),
    }
}

/// Holds currency, decimals and the bound of a charge against the CSP. A refund's currency is its charge's matter, whatever the CSP bills in
/// today; its decimals are checked where the currency is the CSP's.
fn check_currency(
    raw: &Raw<'_>,
    amount: Option<Decimal>,
    profile: Option<&CspProfile>,
    fixed: &[Violation],
    configured: &mut Vec<Violation>,
) {
    let Some(profile) = profile else {
        return;
    };
    if !Currency::is_well_formed(raw.currency) {
        return;
    }
    if raw.currency != profile.currency.code() {
        let refund = raw.reference_id.is_some() || amount.is_some_and(|amount| amount.sign() == Ordering::Less);
        if !refund {
            configured.push(Violation::on(field::CURRENCY, reason::must_be(profile.currency.code())));
        }
        return;
    }
    let amount_is_wrong_already = fixed.iter().any(|violation| violation.field == field::AMOUNT);
    let decimals = profile.currency.decimals();
    if !amount_is_wrong_already && amount.is_some_and(|amount| amount.decimals() > decimals) {
        configured.push(Violation::on(field::AMOUNT, reason::decimals_max(decimals)));
    } else if !amount_is_wrong_already && let Some((amount, amount_max)) = amount.zip(profile.amount_max) {
        // What does not fit 64 bits is above any bound; a refund is below it.
        let is_above = amount.to_minor(profile.currency).is_none_or(|minor| minor > amount_max.minor);
        if amount.sign() == Ordering::Greater && is_above {
            configured.push(Violation::on(field::AMOUNT, reason::at_most(&amount_max.to_string())));
        }
    }
}

impl Reading {
    /// The refusal that the violations are, where there are any.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        (!self.violations.is_empty()).then(|| Refusal::Invalid(self.violations.clone()))
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
