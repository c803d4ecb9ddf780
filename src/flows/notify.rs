//! The story of a notification: a text of the partner's to a subscriber.
//!
//! Invariant: only the ceased and the unknown are refused. It is not idempotent: a repeat texts again.

use super::{Caller, Gateway, Stop, account};
use crate::domain::account::{Purpose, admit};
use crate::domain::address::{Address, Msisdn};
use crate::domain::directory::Route;
use crate::domain::transaction::Refusal;
use crate::ports::csp::{Identifier, Sms, SmsText};

/// Use cases 26 to 28: sends a text.
pub async fn send(
    gateway: &Gateway,
    caller: &Caller,
    number: &Msisdn,
    route: Route<'_>,
    text: String,
) -> Result<(), Stop> {
    let Route::To(profile) = route else {
        return Err(Refusal::AccountNotFound.into());
    };
    let who = Identifier::Address(Address::Msisdn(number.clone()));
    let found = account::look_up(gateway, caller, &who, profile, None).await?;
    admit(found, Purpose::Notification)?;
    let (csp, _) = gateway.csp(&profile.id)?;
    let message = Sms { sender: None, language: None, text: SmsText::new(text) };
    let asking = caller.trail.ask(&profile.id, "notify");
    let call = caller.call(profile, &asking, caller.time_left());
    asking.end(csp.notify(number, &message, &call).await)?;
    Ok(())
}
