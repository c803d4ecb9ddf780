//! Admits a refund: where its cap is decided.
//!
//! Invariant: all refunds of a charge together, those under way included, never give back more than the charge. The
//! rule is judged here on what was read, and again by the ledger when it commits the [`Hold`], so that two refunds that
//! were both judged on the same charge cannot both pass. A refund is compared with its charge; it asks for no standing
//! and no eligibility, since a credit reaches a suspended, ceased or migrated account as well (contract section 3).

use super::admit::{Stamp, intent};
use super::request::WellFormed;
use super::{Hold, Refusal, State, Transaction, UnitOfWork};
use crate::domain::account::AccountKey;
use crate::domain::address::{Address, AddressDigest};
use crate::domain::catalogue::{Violation, field, reason};
use crate::domain::directory::Refunds;
use crate::domain::money::Money;

/// How the address of a refund can be held against its charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressEvidence {
    /// By its text: there is none, or the charge was made to an address of the same type.
    Text,
    /// By its account, since the charge was made to an address of another type, or by account id alone. `None` where
    /// the CSP does not know the address.
    Account(Option<AccountKey>),
    /// By its digest, since the charge has forgotten its address. `None` where the refund names none.
    Digest(Option<AddressDigest>),
}

/// Whether the address of a refund can only be compared by looking its account up.
#[must_use]
pub fn needs_lookup(request: &WellFormed, charge: &Transaction) -> bool {
    let charged = charge.compared.address.as_ref().map(Address::type_word);
    let charged = charged.or_else(|| charge.forgotten.as_ref().map(|digest| digest.type_word));
    request.compared.address.as_ref().is_some_and(|own| Some(own.type_word()) != charged)
}

/// Holds a refund against its charge and makes its intent, with its share of the charge.
///
/// # Errors
/// No such charge, or every field in which the refund differs from it, or a sum above the charge.
pub fn admit(
    request: &WellFormed,
    charge: Option<&Transaction>,
    named: Option<&AccountKey>,
    evidence: &AddressEvidence,
    stamp: Stamp,
) -> Result<UnitOfWork, Refusal> {
    let charge = charge.filter(|charge| charge.state.status().is_some()).ok_or(Refusal::ChargeNotFound)?;
    let mut violations = differences(request, charge, named, evidence);
    let magnitude_minor =
        request.compared.amount.to_minor(charge.money.currency).and_then(i64::checked_neg).filter(|minor| *minor > 0);
    let same_currency = *request.compared.currency == *charge.money.currency.code();
    if same_currency && let Some(violation) = amount_violation(magnitude_minor, charge) {
        violations.push(violation);
        violations.sort_by_key(|violation| ORDER.iter().position(|name| *name == violation.field));
    }
    match magnitude_minor {
        Some(minor) if violations.is_empty() => Ok(with_hold(request, charge, minor, stamp)),
        _ => Err(Refusal::Invalid(violations)),
    }
}

/// The fields that refunds are judged by, in the order in which they are listed.
const ORDER: [&str; 6] =
    [field::ADDRESS, field::ACCOUNT_ID, field::PARTNER_PRODUCT, field::AMOUNT, field::CURRENCY, field::REFERENCE_ID];

fn differences(
    request: &WellFormed,
    charge: &Transaction,
    named: Option<&AccountKey>,
    evidence: &AddressEvidence,
) -> Vec<Violation> {
    let sent = &request.compared;
    let same_address = match (&sent.address, evidence) {
        (None, _) => true,
        (Some(address), AddressEvidence::Text) => charge.compared.address.as_ref() == Some(address),
        (Some(_), AddressEvidence::Account(found)) => found.as_ref() == Some(&charge.account),
        (Some(_), AddressEvidence::Digest(digest)) => digest.is_some() && *digest == charge.forgotten,
    };
    let mut violations = Vec::new();
    if !same_address {
        violations.push(Violation::on(field::ADDRESS, reason::THE_CHARGES));
    }
    if named.is_some_and(|named| *named != charge.account) {
        violations.push(Violation::on(field::ACCOUNT_ID, reason::THE_CHARGES));
    }
    if sent.partner_product != charge.compared.partner_product {
        violations.push(Violation::on(field::PARTNER_PRODUCT, reason::THE_CHARGES));
    }
    if *sent.currency != *charge.money.currency.code() {
        violations.push(Violation::on(field::CURRENCY, reason::THE_CHARGES));
    }
    if charge.state != State::Success {
        violations.push(Violation::charge_not_refundable());
    }
    violations
}

/// What is wrong with the amount, in the charge's currency.
fn amount_violation(magnitude_minor: Option<i64>, charge: &Transaction) -> Option<Violation> {
    let Some(minor) = magnitude_minor else {
        return Some(Violation::on(field::AMOUNT, reason::decimals_max(charge.money.currency.decimals())));
    };
    if charge.state != State::Success {
        return None;
    }
    let left_minor = charge.money.minor.saturating_sub(charge.refunds_held_minor);
    let left = Money::new(left_minor, charge.money.currency);
    (minor > left_minor).then(|| Violation::refund_exceeds_charge(&left.to_string()))
}

fn with_hold(request: &WellFormed, charge: &Transaction, minor: i64, stamp: Stamp) -> UnitOfWork {
    let money = Money::new(minor, charge.money.currency);
    let mut unit = intent(request, charge.account.clone(), charge.charge_code.clone(), money, stamp);
    unit.hold = Some(Hold { charge: charge.key.clone(), held_minor: minor, done_minor: 0 });
    unit.transaction.counted.clone_from(&charge.counted);
    unit
}

/// Holds a refund that was admitted against what the charge's CSP can do.
///
/// # Errors
/// The CSP books no refunds, or only of whole charges and this is of a part.
pub fn admit_by_csp(unit: &UnitOfWork, charge: &Transaction, refunds: Refunds) -> Result<(), Refusal> {
    match refunds {
        Refunds::Partial => Ok(()),
        Refunds::Whole if unit.transaction.money == charge.money => Ok(()),
        Refunds::Whole => Err(Refusal::Invalid(vec![Violation::on(field::AMOUNT, reason::THE_CHARGES)])),
        Refunds::None => Err(Refusal::Invalid(vec![Violation::csp_books_no_refunds()])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::transaction::samples;

    #[test]
    fn a_refund_that_the_csp_cannot_book_is_refused_and_never_sent() {
        for (refunds, amount, expected) in [
            (Refunds::Partial, "-10", None),
            (Refunds::Partial, "-4", None),
            (Refunds::Whole, "-10", None),
            (Refunds::Whole, "-4", Some(("violation-on-amount", "must be the charge's"))),
            (Refunds::None, "-10", Some(("charge-not-refundable", "CSP does not refund"))),
        ] {
            let mut charge = samples::charge("c1", "10");
            charge.state = State::Success;
            let request = samples::refund_request("r1", "c1", amount);
            let unit =
                admit(&request, Some(&charge), None, &AddressEvidence::Text, samples::stamp()).expect("admitted");
            let refused = match admit_by_csp(&unit, &charge, refunds) {
                Ok(()) => None,
                Err(Refusal::Invalid(violations)) => Some(violations[0].clone()),
                Err(other) => panic!("{other:?}"),
            };
            let refused = refused.as_ref().map(|violation| (violation.code(), violation.reason.as_ref()));
            let expected = expected.map(|(code, reason)| (std::borrow::Cow::Borrowed(code), reason));
            assert_eq!(refused, expected, "{refunds:?} {amount}");
        }
    }

    #[test]
    fn refund_never_exceeds_its_charge() {
        for (held_minor, amount, expected) in [
            (0, "-10", Ok(1000)),
            (0, "-10.00", Ok(1000)),
            (0, "-10.01", Err("must be at most 10.0")),
            (550, "-4.5", Ok(450)),
            (550, "-4.51", Err("must be at most 4.5")),
            (1000, "-0.01", Err("must be at most 0.0")),
            (0, "-0.001", Err("must have at most 2 decimals")),
        ] {
            let mut charge = samples::charge("c1", "10");
            charge.state = State::Success;
            charge.refunds_held_minor = held_minor;
            let request = samples::refund_request("r1", "c1", amount);
            let outcome = admit(&request, Some(&charge), None, &AddressEvidence::Text, samples::stamp());
            let outcome = match outcome {
                Ok(unit) => Ok(unit.hold.expect("a refund holds its share").held_minor),
                Err(Refusal::Invalid(violations)) => Err(violations[0].reason.to_string()),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(outcome, expected.map_err(str::to_owned), "{held_minor} {amount}");
        }
    }

    #[test]
    fn only_a_visible_charge_that_is_success_can_be_refunded() {
        for (state, refusal) in [
            (State::Success, None),
            (State::Failure, Some(Refusal::Invalid(vec![Violation::charge_not_refundable()]))),
            (State::Pending, Some(Refusal::Invalid(vec![Violation::charge_not_refundable()]))),
            (State::Unknown, Some(Refusal::Invalid(vec![Violation::charge_not_refundable()]))),
            (State::Released, Some(Refusal::ChargeNotFound)),
        ] {
            let mut charge = samples::charge("c1", "10");
            charge.state = state;
            let request = samples::refund_request("r1", "c1", "-1");
            let outcome = admit(&request, Some(&charge), None, &AddressEvidence::Text, samples::stamp());
            assert_eq!(outcome.err(), refusal, "{state:?}");
        }
    }

    #[test]
    fn every_difference_from_the_charge_is_listed_in_the_order_of_fields() {
        let charge = samples::charge("c1", "10");
        let mut request = samples::refund_request("r1", "c1", "-1");
        request.compared.address = Some(samples::msisdn("5550000001"));
        request.compared.partner_product = crate::domain::ids::ProductId::new("other");
        request.compared.currency = "USD".into();
        let other = AccountKey { csp: charge.account.csp.clone(), reference: crate::domain::ids::AccountRef::new("x") };
        let refusal = admit(&request, Some(&charge), Some(&other), &AddressEvidence::Text, samples::stamp())
            .expect_err("it differs in everything");
        let Refusal::Invalid(violations) = refusal else { panic!("violations wanted") };
        let codes: Vec<_> = violations.iter().map(|violation| violation.code().into_owned()).collect();
        assert_eq!(
            codes,
            [
                "violation-on-address",
                "violation-on-accountId",
                "violation-on-partnerProduct",
                "violation-on-currency",
                "charge-not-refundable"
            ]
        );
    }

    #[test]
    fn an_address_of_another_type_is_compared_by_its_account() {
        let mut charge = samples::charge("c1", "10");
        charge.state = State::Success;
        let mut request = samples::refund_request("r1", "c1", "-1");
        request.compared.address = Some(samples::email("5550100020@sandbox.example"));
        assert!(needs_lookup(&request, &charge));
        for (evidence, admitted) in [
            (AddressEvidence::Account(Some(charge.account.clone())), true),
            (AddressEvidence::Account(None), false),
            (AddressEvidence::Text, false),
        ] {
            let outcome = admit(&request, Some(&charge), None, &evidence, samples::stamp());
            assert_eq!(outcome.is_ok(), admitted, "{evidence:?}");
        }
    }

    #[test]
    fn a_charge_that_forgot_its_address_knows_it_by_its_digest() {
        let [digest, other] = [7, 8].map(|byte| AddressDigest { type_word: "MSISDN", bits: [byte; 16] });
        let mut charge = samples::charge("c1", "10");
        (charge.state, charge.compared.address, charge.forgotten) = (State::Success, None, Some(digest));
        let mut request = samples::refund_request("r1", "c1", "-1");
        assert!(!needs_lookup(&request, &charge), "of the same type");
        for (evidence, admitted) in [
            (AddressEvidence::Digest(Some(digest)), true),
            (AddressEvidence::Digest(Some(other)), false),
            (AddressEvidence::Digest(None), false),
        ] {
            let outcome = admit(&request, Some(&charge), None, &evidence, samples::stamp());
            assert_eq!(outcome.is_ok(), admitted, "{evidence:?}");
        }
        request.compared.address = Some(samples::email("5550100020@sandbox.example"));
        assert!(needs_lookup(&request, &charge), "of another type");
    }
}
