//! The story of POST /transaction: how money moves, exactly once.
//!
//! Invariant: an intent is durable before the CSP hears of it, and nothing but the ledger decides whether a key is new.
//! The steps, by the letters of the design: a recall, b account, c admit, d commit the intent (here and in
//! `refund.rs`), e charge, f check the echo, g settle, h commit the outcome (in `booking.rs`). Waiting, deadlines and
//! callers that hang up are in `flight.rs`.

use std::sync::Arc;

use super::booking::{self, Opened};
use super::flight::{self, Answered, Stage};
use super::forget::recall;
use super::{Caller, Gateway, Stop, account, duplicate, reconcile, refund};
use crate::domain::account::{Account, AccountKey, Purpose, admit as admit_account, admit_payment};
use crate::domain::address::Address;
use crate::domain::catalogue::Violation;
use crate::domain::directory::{CspProfile, Route};
use crate::domain::transaction::admit::{self, Stamp};
use crate::domain::transaction::replay::Recalled;
use crate::domain::transaction::request::{self, Raw, WellFormed};
use crate::domain::transaction::{Expected, Kind, Refusal, Status, UnitOfWork};
use crate::ports::Cause;
use crate::ports::csp::Identifier;
use crate::ports::ephemeral::PinSlot;
use crate::ports::ledger::ListQuery;

/// Most times a request is decided anew because the ledger had moved on meanwhile.
const DECISIONS_MAX: u32 = 5;

/// A request on its way to an answer.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Who asks.
    pub caller: Caller,
    /// What for.
    pub request: WellFormed,
    /// What today's configuration holds against it. An exact replay is answered all the same.
    pub violations: Vec<Violation>,
    /// What its account id holds, where it is one of ours.
    pub named: Option<AccountKey>,
}

/// Use cases 14 to 23: charges or refunds, or answers what became of the same request before.
pub async fn create(gateway: &Arc<Gateway>, caller: Caller, raw: &Raw<'_>) -> Result<Answered, Stop> {
    let (reading, named) = read(gateway, &caller, raw);
    let Some(request) = reading.well_formed else {
        return Err(Refusal::Invalid(reading.violations).into());
    };
    flight::answer(gateway, Ask { caller, request, violations: reading.violations, named }).await
}

/// Reads a request and opens its account id.
#[must_use]
pub fn read(gateway: &Gateway, caller: &Caller, raw: &Raw<'_>) -> (request::Reading, Option<AccountKey>) {
    let named = if raw.account_id.is_empty() { None } else { account::unseal(gateway, caller, raw.account_id) };
    let reading = request::read(raw, &caller.partner, &gateway.directory, named.as_ref());
    (reading, named)
}

/// Works on a key of which this is the only flight, until there is an answer.
pub(super) async fn work(gateway: &Arc<Gateway>, ask: &Ask, stage: &Stage) -> Result<Answered, Stop> {
    for _ in 0..DECISIONS_MAX {
        let record = gateway.ledger.recall(&ask.request.key).await?;
        let recalled = recall(gateway, ask, record.as_ref());
        let expected = match (recalled, record) {
            (Recalled::Final, Some(record)) => return Ok(Answered::replayed(&record)),
            (Recalled::Underway, Some(record)) => {
                return duplicate::watch_record(gateway, ask, record, stage).await;
            }
            (Recalled::Orphan, Some(record)) => {
                stage.watching();
                return reconcile::on_the_spot(gateway, record, &ask.caller).await;
            }
            (Recalled::Released, Some(record)) => Expected::Version(record.version),
            (_, None) | (Recalled::Fresh | Recalled::Another, Some(_)) => Expected::Absent,
        };
        if !ask.violations.is_empty() {
            return Err(Refusal::Invalid(ask.violations.clone()).into());
        }
        // Before the lease is written, so that it never seems longer here than it is.
        let leased_until = gateway.lease_ends();
        let unit = decide(gateway, ask, expected).await?;
        if recalled == Recalled::Another {
            return Err(Refusal::AlreadyUsed.into());
        }
        // A charge that would be turned away is not begun: an intent and its release would be two commits for nothing.
        let (csp, _) = gateway.csp(&unit.transaction.account.csp)?;
        csp.would_take(ask.caller.time_left()).map_err(Stop::Unavailable)?;
        match booking::open(gateway, unit, &ask.caller, stage).await? {
            Opened::Durable(record) => {
                return booking::book(gateway, *record, &ask.caller, stage, leased_until).await;
            }
            Opened::Over(record) => return Ok(Answered::started(&record)),
            Opened::Abandoned => return Err(Stop::Unavailable(Cause::new("the caller's deadline ran out"))),
            Opened::Conflict => {}
        }
    }
    Err(Stop::Unavailable(Cause::new("the ledger moved on five times while this was decided")))
}

/// Steps b and c: all rules in the contract's order. Nothing has been written yet.
async fn decide(gateway: &Gateway, ask: &Ask, expected: Expected) -> Result<UnitOfWork, Stop> {
    let stamp = Stamp {
        reference: gateway.secrets.reference(&ask.request.key),
        now: gateway.clock.now(),
        lease: gateway.lease(),
        expected,
    };
    match ask.request.key.kind {
        Kind::Charge => decide_charge(gateway, ask, stamp).await,
        Kind::Refund => refund::decide(gateway, ask, stamp).await,
    }
}

async fn decide_charge(gateway: &Gateway, ask: &Ask, stamp: Stamp) -> Result<UnitOfWork, Stop> {
    let (account, profile) = resolve(gateway, ask).await?;
    let account = admit_account(Some(account), Purpose::Purchase)?;
    admit_payment(&account, profile.capabilities)?;
    let product = ask.request.compared.partner_product.as_str();
    let code = admit::charge_code(&ask.caller.partner, product, profile)?;
    prove_pin(gateway, ask, profile, &account).await?;
    Ok(admit::charge(&ask.request, &account, code, profile, stamp)?)
}

/// Step b: the account of the request, resolved by account id first, then by address; both must be one.
async fn resolve<'a>(gateway: &'a Gateway, ask: &'a Ask) -> Result<(Account, &'a CspProfile), Stop> {
    let named = named_account(gateway, ask)?;
    let product = ask.request.compared.partner_product.as_str();
    let (who, profile) = match (&ask.request.compared.address, &named) {
        (Some(address), _) => match gateway.directory.route(&ask.caller.partner, address) {
            Some(Route::To(profile)) => (Identifier::Address(address.clone()), profile),
            Some(Route::Nowhere(_)) | None => return Err(Refusal::AccountNotFound.into()),
        },
        (None, Some((key, profile))) => (Identifier::Account(key.reference.clone()), *profile),
        (None, None) => return Err(Refusal::AccountNotFound.into()),
    };
    let code = admit::charge_code(&ask.caller.partner, product, profile).ok();
    let found = account::look_up(gateway, &ask.caller, &who, profile, code).await?;
    let account = found.ok_or(Refusal::AccountNotFound)?;
    if let Some((named, _)) = &named {
        let own = AccountKey { csp: profile.id.clone(), reference: account.reference.clone() };
        admit::same_account(named, &own)?;
    }
    Ok((account, profile))
}

/// The account that the request names by id, with its CSP. An id that is not ours, or of a CSP that the partner does
/// not have any more, is an account that does not exist.
pub(super) fn named_account<'a>(
    gateway: &'a Gateway,
    ask: &Ask,
) -> Result<Option<(AccountKey, &'a CspProfile)>, Refusal> {
    if ask.request.compared.account_id.is_none() {
        return Ok(None);
    }
    let key = ask.named.clone().ok_or(Refusal::AccountNotFound)?;
    let profile = gateway.directory.csp(&key.csp).ok_or(Refusal::AccountNotFound)?;
    if !ask.caller.partner.csps.contains(&key.csp) {
        return Err(Refusal::AccountNotFound);
    }
    Ok(Some((key, profile)))
}

/// Where the partner demands it: a first charge of an account needs a PIN that was right a short while ago.
async fn prove_pin(gateway: &Gateway, ask: &Ask, profile: &CspProfile, account: &Account) -> Result<(), Stop> {
    let Some(within_minutes) = ask.caller.partner.pin_before_first_charge_minutes else {
        return Ok(());
    };
    let earlier = ListQuery {
        partner: ask.caller.partner.id.clone(),
        since: None,
        until: None,
        status: Some(Status::Success),
        kind: Some(Kind::Charge),
        account: Some(AccountKey { csp: profile.id.clone(), reference: account.reference.clone() }),
        after: None,
        rows_max: 1,
    };
    if !gateway.ledger.list(&earlier).await?.is_empty() {
        return Ok(());
    }
    let Some(Address::Msisdn(number)) = &ask.request.compared.address else {
        return Err(Refusal::InvalidPin.into());
    };
    let slot = PinSlot { partner: ask.caller.partner.id.clone(), number: number.clone() };
    let proof = gateway.ephemeral.pin_proved_at(&slot, within_minutes, gateway.clock.now()).await?;
    proof.map(|_at| ()).ok_or_else(|| Refusal::InvalidPin.into())
}
