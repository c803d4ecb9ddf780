//! The part of the story that only refunds have: they are held against their charge.
//!
//! Invariant: a refund is compared with its charge and looks nothing up that the charge already tells. Only where the
//! charge was made to an address of another type is the account of the refund's address asked for, and then for its
//! identity alone. The cap is decided in `domain/transaction/refund.rs` and enforced by the ledger.

use super::charge::{Ask, named_account};
use super::forget::digest_for;
use super::{Gateway, Stop, account};
use crate::domain::account::AccountKey;
use crate::domain::directory::Route;
use crate::domain::ids::ExtTransactionId;
use crate::domain::transaction::admit::Stamp;
use crate::domain::transaction::refund::{AddressEvidence, admit, admit_by_csp, needs_lookup};
use crate::domain::transaction::{Kind, Refusal, Transaction, TransactionKey, UnitOfWork};
use crate::ports::csp::Identifier;

/// Holds a refund against its charge and makes its intent.
pub(super) async fn decide(gateway: &Gateway, ask: &Ask, stamp: Stamp) -> Result<UnitOfWork, Stop> {
    let named = named_account(gateway, ask)?.map(|(key, _)| key);
    let charge = gateway.ledger.recall(&charge_key(ask)).await?;
    let evidence = match &charge {
        Some(charge) if needs_lookup(&ask.request, charge) => {
            AddressEvidence::Account(account_of_address(gateway, ask, charge).await?)
        }
        Some(charge) if charge.forgotten.is_some() => AddressEvidence::Digest(digest_for(gateway, ask, Some(charge))),
        Some(_) | None => AddressEvidence::Text,
    };
    let unit = admit(&ask.request, charge.as_ref(), named.as_ref(), &evidence, stamp)?;
    if let Some(charge) = &charge
        && let Some(profile) = gateway.directory.csp(&charge.account.csp)
    {
        admit_by_csp(&unit, charge, profile.capabilities.refunds)?;
    }
    Ok(unit)
}

/// Rows 7 and 8 of the table: the charge of this very id, or the one that `referenceId` names.
fn charge_key(ask: &Ask) -> TransactionKey {
    let own: &ExtTransactionId = &ask.request.key.ext_transaction_id;
    TransactionKey {
        partner: ask.request.key.partner.clone(),
        kind: Kind::Charge,
        ext_transaction_id: ask.request.compared.reference_id.as_ref().unwrap_or(own).clone(),
    }
}

/// The account behind the refund's address, as its CSP knows it now.
async fn account_of_address(gateway: &Gateway, ask: &Ask, charge: &Transaction) -> Result<Option<AccountKey>, Stop> {
    let Some(address) = &ask.request.compared.address else {
        return Ok(None);
    };
    let Some(Route::To(profile)) = gateway.directory.route(&ask.caller.partner, address) else {
        return Err(Refusal::AccountNotFound.into());
    };
    let who = Identifier::Address(address.clone());
    let found = account::look_up(gateway, &ask.caller, &who, profile, Some(&charge.charge_code)).await?;
    Ok(found.map(|account| AccountKey { csp: profile.id.clone(), reference: account.reference }))
}
