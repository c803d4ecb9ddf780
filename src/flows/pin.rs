//! The story of a PIN: sent to the phone, typed by the customer, judged here.
//!
//! Invariant: the PIN is in the SMS and nowhere else; what is kept is a digest. A PIN is kept before it is sent, so that
//! no PIN on a phone is unknown here; a send that failed has still been counted.

use jiff::SignedDuration;

use super::{Caller, Gateway, Stop, account};
use crate::domain::Time;
use crate::domain::account::{Purpose, admit};
use crate::domain::address::{Address, Msisdn};
use crate::domain::directory::Route;
use crate::domain::pin::{self, Pin, StoredPin, Verdict};
use crate::domain::transaction::Refusal;
use crate::ports::csp::{Identifier, Sms};
use crate::ports::ephemeral::{Issued, PinSlot};

/// Use cases 8 and 9: texts a new PIN.
pub async fn send(gateway: &Gateway, caller: &Caller, number: &Msisdn, route: Route<'_>) -> Result<(), Stop> {
    let Route::To(profile) = route else {
        return Err(Refusal::AccountNotFound.into());
    };
    let who = Identifier::Address(Address::Msisdn(number.clone()));
    let found = account::look_up(gateway, caller, &who, profile, None).await?;
    admit(found, Purpose::Pin)?;

    let pin = gateway.secrets.fresh_pin();
    let now = gateway.clock.now();
    let ttl = SignedDuration::from_secs(i64::from(gateway.bounds.pin_ttl_s));
    let stored = StoredPin {
        digest: gateway.secrets.pin_digest(&caller.partner.id, number, &pin),
        expires_at: now.checked_add(ttl).unwrap_or(Time::MAX),
        tries_left: gateway.bounds.pin_tries_max,
    };
    let slot = PinSlot { partner: caller.partner.id.clone(), number: number.clone() };
    let step = caller.trail.step("pin issue");
    let quota = profile.quota_of(number.expose());
    match step.end(gateway.ephemeral.issue_pin(&slot, stored, quota, now).await)? {
        Issued::QuotaReached { retry_after_s } => return Err(Refusal::TooMany { retry_after_s }.into()),
        Issued::Kept => {}
    }
    let template = caller.partner.pin_sms.as_ref().unwrap_or(&profile.pin_sms);
    let message = Sms::of_pin(template, pin::sms_text(&template.text, &pin));
    let (csp, _) = gateway.csp(&profile.id)?;
    let asking = caller.trail.ask(&profile.id, "notify");
    let call = caller.call(profile, &asking, caller.time_left());
    asking.end(csp.notify(number, &message, &call).await)?;
    Ok(())
}

/// Use cases 10 to 13: judges a PIN.
pub async fn validate(gateway: &Gateway, caller: &Caller, number: &Msisdn, typed: &str) -> Result<(), Stop> {
    let slot = PinSlot { partner: caller.partner.id.clone(), number: number.clone() };
    let digest = gateway.secrets.pin_digest(&caller.partner.id, number, &Pin::new(typed.to_owned()));
    let step = caller.trail.step("pin redeem");
    match step.end(gateway.ephemeral.redeem_pin(&slot, &digest, gateway.clock.now()).await)? {
        Verdict::Right => Ok(()),
        Verdict::Wrong => Err(Refusal::InvalidPin.into()),
    }
}
