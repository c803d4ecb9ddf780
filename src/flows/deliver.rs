//! The story of an event: out of the outbox, to its partner's endpoint, and what becomes of it then.
//!
//! Invariant: an event is claimed before it is sent and ended by what was heard; an end that cannot be recorded leaves
//! the claim to run out, so that the event is sent again rather than never. Each endpoint has deliveries of its own:
//! nothing here waits for another one. Whether an event is tried again is decided by `domain::webhook`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::SignedDuration;
use tokio::sync::Notify;

use super::trail::Trail;
use super::{Gateway, cloud_event};
use crate::domain::Time;
use crate::domain::directory::{Directory, Partner};
use crate::domain::event::EventId;
use crate::domain::ids::PartnerId;
use crate::domain::trace::Trace;
use crate::domain::webhook::{Fate, Heard, Webhook, judge};
use crate::ports::courier::{Answer, Letter};
use crate::ports::ledger::LedgerUnavailable;
use crate::ports::measures::DELIVERIES;
use crate::ports::outbox::{Claim, Claimed, DeadLetter, Ending, Resend};
use crate::ports::spans::Side;

/// Seconds that a claim lasts: longer than a delivery may take, and short enough not to delay what a crash has left.
const CLAIM_S: i64 = 20;

/// What this gateway knows of each endpoint.
#[derive(Debug, Default)]
pub struct Posts(BTreeMap<PartnerId, Arc<Post>>);

#[derive(Debug, Default)]
struct Post {
    /// Tells its worker of a new event.
    wake: Notify,
    /// It has answered 410, and nobody has started it again.
    is_stopped: AtomicBool,
}

impl Posts {
    /// The endpoints of a directory.
    #[must_use]
    pub fn of(directory: &Directory) -> Self {
        let with_endpoint = directory.partners().filter(|partner| partner.webhook.is_some());
        Self(with_endpoint.map(|partner| (partner.id.clone(), Arc::default())).collect())
    }

    /// The endpoints of another directory; what is known of those that were there before stays known.
    #[must_use]
    pub fn reconfigured(&self, directory: &Directory) -> Self {
        let Self(mut posts) = Self::of(directory);
        for (partner, post) in &mut posts {
            if let Some(known) = self.0.get(partner) {
                *post = Arc::clone(known);
            }
        }
        Self(posts)
    }

    /// Tells the worker of an endpoint that there is an event.
    pub fn wake(&self, partner: &PartnerId) {
        if let Some(post) = self.0.get(partner) {
            post.wake.notify_one();
        }
    }

    /// Waits until there is an event for an endpoint; for ever where there is no such endpoint.
    pub async fn woken(&self, partner: &PartnerId) {
        match self.0.get(partner) {
            Some(post) => post.wake.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Whether an endpoint has asked for no more events.
    #[must_use]
    pub fn is_stopped(&self, partner: &PartnerId) -> bool {
        self.0.get(partner).is_some_and(|post| post.is_stopped.load(Ordering::SeqCst))
    }

    fn set_stopped(&self, partner: &PartnerId, is_stopped: bool) {
        if let Some(post) = self.0.get(partner) {
            post.is_stopped.store(is_stopped, Ordering::SeqCst);
        }
    }
}

/// Claims events of a partner that are due, at most `rows_max` of them.
pub async fn claim(gateway: &Gateway, partner: &PartnerId, rows_max: u32) -> Result<Vec<Claimed>, LedgerUnavailable> {
    let now = gateway.clock.now();
    let until = now.checked_add(SignedDuration::from_secs(CLAIM_S)).unwrap_or(Time::MAX);
    gateway.outbox.claim(&Claim { partner: partner.clone(), now, until, rows_max }).await
}

/// Sends a claimed event once and records what came of it.
pub async fn one(gateway: &Gateway, claimed: Claimed) {
    let Claimed { event, attempts, transaction } = claimed;
    let partner = event.partner();
    let webhook = gateway.directory.partner(partner).and_then(|partner| partner.webhook.as_ref());
    let (Some(webhook), Some(body)) = (webhook, cloud_event::body(&event, &transaction)) else {
        tracing::error!(event = event.id.as_str(), "an event has no endpoint, or no outcome to tell");
        return;
    };
    let fate = if gateway.posts.is_stopped(partner) {
        Fate::Dead { note: "not sent: the endpoint has answered 410".to_owned() }
    } else {
        let trace = Trace::begun_by(&gateway.secrets.fresh_correlation_id());
        let (_trail, mut span) = Trail::lead(trace, gateway.spans.as_ref(), Side::Client, "deliver event");
        span.note("onbill.partner", || partner.as_str().to_owned().into());
        span.note("onbill.attempt", || i64::from(attempts).into());
        let heard = send(gateway, webhook, &event.id, &body).await;
        match &heard {
            Heard::Answered { status, .. } => {
                span.note("http.response.status_code", || i64::from(*status).into());
            }
            Heard::Failed(_) => span.fail("no answer"),
        }
        drop(span);
        judge(attempts, &heard, gateway.clock.now(), gateway.secrets.jitter())
    };
    let (word, ending) = match fate {
        Fate::Delivered => ("delivered", Ending::Delivered),
        Fate::Again { at, note } => {
            tracing::warn!(%partner, event = event.id.as_str(), attempts, note, "an event is tried again later");
            ("again", Ending::Again { at, note })
        }
        Fate::Dead { note } => {
            tracing::error!(%partner, event = event.id.as_str(), attempts, note, "an event is given up");
            ("dead", Ending::Dead { note })
        }
        Fate::Gone { note } => {
            gateway.posts.set_stopped(partner, true);
            tracing::error!(%partner, event = event.id.as_str(), note, "an endpoint is stopped");
            ("dead", Ending::Dead { note })
        }
    };
    let is_over = matches!(ending, Ending::Delivered | Ending::Dead { .. });
    if let Err(error) = gateway.outbox.end(&event.id, attempts, ending).await {
        tracing::error!(event = event.id.as_str(), cause = ?error.0, "an event will be sent again");
        return;
    }
    metrics::counter!(DELIVERIES.name, "partner" => partner.as_str().to_owned(), "outcome" => word).increment(1);
    if is_over {
        // What had to wait for this event may go now.
        gateway.posts.wake(partner);
    }
}

async fn send(gateway: &Gateway, webhook: &Webhook, id: &EventId, body: &str) -> Heard {
    match gateway.courier.deliver(&Letter { webhook, id: id.as_str(), body }).await {
        Ok(Answer { status, retry_after, beginning: _ }) => Heard::Answered { status, retry_after },
        Err(error) => Heard::Failed(error.0.to_note()),
    }
}

/// An endpoint that cannot be asked for something.
#[derive(Debug, Clone)]
pub enum NoEndpoint {
    /// There is no such partner, or it has no endpoint.
    Unknown,
    /// The ledger is away.
    Unavailable(LedgerUnavailable),
}

/// What came of a test.
#[derive(Debug, Clone)]
pub struct Tested {
    /// The id of the event that was sent.
    pub id: EventId,
    /// The answer, or why there was none.
    pub answer: Result<Answer, String>,
}

/// Sends an event that tells of nothing to a partner's endpoint. It is tried once and kept nowhere.
pub async fn test(gateway: &Gateway, partner: &str) -> Result<Tested, NoEndpoint> {
    let partner = endpoint(gateway, partner)?;
    let webhook = partner.webhook.as_ref().ok_or(NoEndpoint::Unknown)?;
    let now = gateway.clock.now();
    let id = gateway.secrets.fresh_event_id(now);
    let body = cloud_event::test_body(&id, now);
    let answer = gateway.courier.deliver(&Letter { webhook, id: id.as_str(), body: &body }).await;
    Ok(Tested { id, answer: answer.map_err(|error| error.0.to_note()) })
}

/// Makes a partner's dead letters due again, or one event, and starts its endpoint if it was stopped. Answers how many.
pub async fn resend(gateway: &Gateway, partner: &str, event: Option<&str>) -> Result<u64, NoEndpoint> {
    let id = endpoint(gateway, partner)?.id.clone();
    let which = match event {
        Some(event) => Resend::One(id.clone(), EventId::from_stored(event.to_owned())),
        None => Resend::DeadOf(id.clone()),
    };
    gateway.posts.set_stopped(&id, false);
    let count = gateway.outbox.resend(&which, gateway.clock.now()).await.map_err(NoEndpoint::Unavailable)?;
    gateway.posts.wake(&id);
    Ok(count)
}

/// Dead letters, of one partner or of all, newest first.
pub async fn dead(
    gateway: &Gateway,
    partner: Option<&str>,
    rows_max: u32,
) -> Result<Vec<DeadLetter>, LedgerUnavailable> {
    let partner = partner.map(PartnerId::new);
    gateway.outbox.dead(partner.as_ref(), rows_max).await
}

fn endpoint<'a>(gateway: &'a Gateway, partner: &str) -> Result<&'a Arc<Partner>, NoEndpoint> {
    let found = gateway.directory.partner(&PartnerId::new(partner));
    found.filter(|partner| partner.webhook.is_some()).ok_or(NoEndpoint::Unknown)
}
