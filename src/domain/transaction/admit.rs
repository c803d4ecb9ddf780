//! Admits a charge: turns a request and an account into an intent, or refuses it.
//!
//! Invariant: the intent is complete before anything moves: reference, account, amount and lease are fixed here and
//! never change afterwards. The order is the contract's: account, product, then the rest. Refunds are in `refund.rs`.

use super::request::WellFormed;
use super::{Expected, Lease, Refusal, State, Transaction, UnitOfWork};
use crate::domain::Time;
use crate::domain::account::{Account, AccountKey};
use crate::domain::catalogue::{Violation, field, reason};
use crate::domain::directory::{CspProfile, Partner};
use crate::domain::ids::{ChargeCode, Reference};
use crate::domain::money::Money;

/// What an intent needs beside the request: made by the gateway, not by the caller.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// The name under which the CSP will know it.
    pub reference: Reference,
    /// When the request is accepted.
    pub now: Time,
    /// Who works on it, and until when.
    pub lease: Lease,
    /// What the ledger must hold under the key: nothing, or a released record of this version.
    pub expected: Expected,
}

/// Holds the account that a request names by id against the account of its address.
///
/// # Errors
/// `violation-on-accountId` where they are two.
pub fn same_account(named: &AccountKey, of_address: &AccountKey) -> Result<(), Refusal> {
    if named == of_address {
        return Ok(());
    }
    Err(Refusal::Invalid(vec![Violation::on(field::ACCOUNT_ID, reason::ACCOUNT_OF_ADDRESS)]))
}

/// What a CSP calls a product of a partner.
///
/// # Errors
/// The partner has no such product, or this CSP cannot charge it.
pub fn charge_code<'a>(
    partner: &'a Partner,
    partner_product: &str,
    csp: &CspProfile,
) -> Result<&'a ChargeCode, Refusal> {
    partner
        .products
        .get(partner_product)
        .and_then(|product| product.charge_codes.get(&csp.id))
        .ok_or(Refusal::UnknownProduct)
}

/// The intent of a charge to an account that was let through.
///
/// # Errors
/// An amount that is not one of the CSP's currency.
pub fn charge(
    request: &WellFormed,
    account: &Account,
    code: &ChargeCode,
    csp: &CspProfile,
    stamp: Stamp,
) -> Result<UnitOfWork, Refusal> {
    let minor = request.compared.amount.to_minor(csp.currency).ok_or_else(|| {
        Refusal::Invalid(vec![Violation::on(field::AMOUNT, reason::decimals_max(csp.currency.decimals()))])
    })?;
    let account = AccountKey { csp: csp.id.clone(), reference: account.reference.clone() };
    let money = Money::new(minor, csp.currency);
    Ok(intent(request, account, code.clone(), money, stamp))
}

/// A record that is about to be handed to the ledger.
pub(super) fn intent(
    request: &WellFormed,
    account: AccountKey,
    charge_code: ChargeCode,
    money: Money,
    stamp: Stamp,
) -> UnitOfWork {
    let transaction = Transaction {
        key: request.key.clone(),
        reference: stamp.reference,
        state: State::Pending,
        version: match stamp.expected {
            Expected::Absent => 0,
            Expected::Version(version) => version,
        },
        compared: request.compared.clone(),
        forgotten: None,
        account,
        charge_code,
        money,
        counted: Vec::new(),
        accepted_at: stamp.now,
        failure: None,
        private_note: None,
        refunds_held_minor: 0,
        refunds_done_minor: 0,
        due_at: Some(stamp.lease.until),
        sent_before: stamp.lease.until,
        lease: Some(stamp.lease),
        inquiries: 0,
        stuck: None,
    };
    UnitOfWork::of(transaction, stamp.expected)
}
