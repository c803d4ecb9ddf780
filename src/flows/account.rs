//! The story of an account: who is this, and may they buy?
//!
//! Invariant: an account is looked up at the CSP that its address routes to, never guessed; the id that a partner gets
//! of it is sealed for that partner. Standing is judged by `domain::account`.

use super::{Caller, Gateway, Stop};
use crate::domain::account::{self, Account, AccountKey, Purpose, SealedAccountId};
use crate::domain::address::Address;
use crate::domain::directory::{CspProfile, Route};
use crate::domain::ids::{AccountRef, ChargeCode, CspId};
use crate::domain::transaction::Refusal;
use crate::domain::transaction::admit;
use crate::ports::csp::Identifier;
use crate::ports::secrets;

/// An account that was let through, and the partner's id of it.
#[derive(Debug, Clone)]
pub struct Validated {
    /// The account.
    pub account: Account,
    /// The gateway's opaque id of it.
    pub account_id: SealedAccountId,
}

/// Use cases 1 to 7: looks an account up for a purchase.
pub async fn validate(
    gateway: &Gateway,
    caller: &Caller,
    address: &Address,
    route: Route<'_>,
    partner_product: Option<&str>,
) -> Result<Validated, Stop> {
    let Route::To(profile) = route else {
        return Err(Refusal::AccountNotFound.into());
    };
    // An unknown product is told after the account, so the look-up comes first and goes without it.
    let code = partner_product.map(|product| admit::charge_code(&caller.partner, product, profile));
    let known_code = code.as_ref().and_then(|code| code.as_ref().ok()).copied();
    let found = look_up(gateway, caller, &Identifier::Address(address.clone()), profile, known_code).await?;
    let account = account::admit(found, Purpose::Purchase)?;
    account::admit_payment(&account, profile.capabilities)?;
    if let Some(Err(refusal)) = code {
        return Err(refusal.into());
    }
    let key = AccountKey { csp: profile.id.clone(), reference: account.reference.clone() };
    Ok(Validated { account_id: seal(gateway, caller, &key), account })
}

/// Looks an account up at its CSP.
pub(super) async fn look_up(
    gateway: &Gateway,
    caller: &Caller,
    who: &Identifier,
    profile: &CspProfile,
    product: Option<&ChargeCode>,
) -> Result<Option<Account>, Stop> {
    let (csp, _) = gateway.csp(&profile.id)?;
    let asking = caller.trail.ask(&profile.id, "account");
    let call = caller.call(profile, &asking, caller.time_left());
    Ok(asking.end(csp.account(who, product, &call).await)?)
}

/// Seals an account for a partner. CSP and reference are told apart by a byte that no CSP id contains.
fn seal(gateway: &Gateway, caller: &Caller, key: &AccountKey) -> SealedAccountId {
    let plain = [key.csp.as_str(), key.reference.as_str()].join("\0");
    let sealed = gateway.secrets.seal(secrets::Purpose::AccountId, &caller.partner.id, plain.as_bytes());
    SealedAccountId::new(&sealed)
}

/// Opens an account id of a partner; `None` where it is not one of ours for this partner.
#[must_use]
pub fn unseal(gateway: &Gateway, caller: &Caller, sealed: &str) -> Option<AccountKey> {
    let plain = gateway.secrets.open(secrets::Purpose::AccountId, &caller.partner.id, sealed)?;
    let plain = String::from_utf8(plain).ok()?;
    let (csp, reference) = plain.split_once('\0')?;
    Some(AccountKey { csp: CspId::new(csp), reference: AccountRef::new(reference) })
}
