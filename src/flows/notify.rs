//! The story of a notification: a text of the partner's to a subscriber.
//!
//! Invariant: only the ceased and the unknown are refused. Without an id a repeat texts again. With one, at most one text is
//! sent while the id is remembered: the id is taken before the CSP hears of the text, it is given back only where it is
//! certain that nothing was sent, and a caller that hangs up stops nothing.

use std::sync::Arc;
use std::time::Duration;

use super::flight::Origin;
use super::{Caller, Gateway, Stop, about, account};
use crate::domain::account::{Purpose, admit};
use crate::domain::address::{Address, Msisdn};
use crate::domain::catalogue::{Violation, field, reason};
use crate::domain::directory::{CspProfile, Route};
use crate::domain::ids::ExtNotificationId;
use crate::domain::notification::{Claim, ContentDigest, NotificationKey};
use crate::domain::transaction::Refusal;
use crate::ports::Cause;
use crate::ports::csp::{CspError, Identifier, Sms, SmsText};
use crate::ports::ephemeral::Texted;

/// What a partner wants to tell a subscriber.
#[derive(Clone)]
pub struct Notification {
    /// Whom.
    pub number: Msisdn,
    /// What.
    pub text: String,
    /// The partner's id of it, so that a repeat does not text twice.
    pub id: Option<ExtNotificationId>,
}

/// Use cases 26 to 28: sends a text.
pub async fn send(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    route: Route<'_>,
    notification: Notification,
) -> Result<Origin, Stop> {
    let Route::To(profile) = route else {
        return Err(Refusal::AccountNotFound.into());
    };
    let who = Identifier::Address(Address::Msisdn(notification.number.clone()));
    let found = account::look_up(gateway, caller, &who, profile, None).await?;
    admit(found, Purpose::Notification)?;
    let Some(id) = notification.id.clone() else {
        text(gateway, caller, profile, &notification, caller.time_left()).await??;
        return Ok(Origin::Started);
    };
    let (_, profile) = gateway.csp(&profile.id)?;
    let key = NotificationKey { partner: caller.partner.id.clone(), id };
    // Work of its own, with the CSP's time and not the caller's: what a repeat hears depends on how it ends.
    let work = {
        let (gateway, profile, caller) = (Arc::clone(gateway), Arc::clone(profile), caller.clone());
        async move { once(&gateway, &caller, &profile, key, &notification).await }
    };
    let task = gateway.tasks.spawn(about::inherited(work));
    match tokio::time::timeout(caller.time_left(), task).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Err(Stop::Unavailable(Cause::new(error))),
        Err(error) => Err(Stop::Unavailable(Cause::new(error))),
    }
}

/// Texts unless an earlier request under the same id has, or may have.
async fn once(
    gateway: &Gateway,
    caller: &Caller,
    profile: &CspProfile,
    key: NotificationKey,
    notification: &Notification,
) -> Result<Origin, Stop> {
    let parts = ["notified", notification.number.expose(), &notification.text];
    let content = ContentDigest(gateway.secrets.name_digest(&parts));
    let (store, ticket) = (&gateway.ephemeral, gateway.ticket());
    match store.claim_notification(&key, &content, &ticket, gateway.clock.now()).await {
        Ok(Claim::Begun) => {}
        Ok(Claim::Sent) => return Ok(Origin::Replayed),
        Ok(Claim::Undecided) => {
            return Err(Stop::Unavailable(Cause::new("it is not known whether this notification was sent")));
        }
        Ok(Claim::Used) => {
            let used = Violation::on(field::EXT_NOTIFICATION_ID, reason::NOTIFICATION_ALREADY_USED);
            return Err(Refusal::Invalid(vec![used]).into());
        }
        Err(error) => {
            // The id may be taken all the same, and then nobody would ever text under it.
            store.settle_notification(&key, &ticket, Texted::NotSent).await;
            return Err(error.into());
        }
    }
    let texted = match text(gateway, caller, profile, notification, Duration::MAX).await {
        Ok(texted) => texted,
        Err(stop) => {
            store.settle_notification(&key, &ticket, Texted::NotSent).await;
            return Err(stop);
        }
    };
    match &texted {
        Ok(()) => store.settle_notification(&key, &ticket, Texted::Sent).await,
        Err(CspError::NotApplied(_) | CspError::Refused { .. }) => {
            store.settle_notification(&key, &ticket, Texted::NotSent).await;
        }
        // It may have been sent: the id stays taken.
        Err(CspError::Unknown(_)) => {}
    }
    texted?;
    Ok(Origin::Started)
}

/// Hands the text to the CSP. The outer error: there is no such CSP any more, and nothing was sent.
async fn text(
    gateway: &Gateway,
    caller: &Caller,
    profile: &CspProfile,
    notification: &Notification,
    time_left: Duration,
) -> Result<Result<(), CspError>, Stop> {
    let (csp, _) = gateway.csp(&profile.id)?;
    let message = Sms { sender: None, language: None, text: SmsText::new(notification.text.clone()) };
    let asking = caller.trail.ask(&profile.id, "notify");
    let call = caller.call(profile, &asking, time_left);
    Ok(asking.end(csp.notify(&notification.number, &message, &call).await))
}
