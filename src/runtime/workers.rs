//! Work that nobody waits for: reconciliation, delivery of events and upkeep, for as long as the gateway lives.
//!
//! Invariant: a worker never ends by an error; it says what is wrong, rests and goes on. Each endpoint has a worker and
//! a bound of its own, so that a slow or dead one takes nothing from another: the bound over all is the bound of one
//! times the number of endpoints. What reconciling and delivering mean is not here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::current::Current;
use crate::domain::ids::PartnerId;
use crate::flows::certification::Certification;
use crate::flows::{deliver, forget, reconcile, watch};
use crate::ports::measures::CERTIFICATION_QUEUE;

/// Bounds of reconciliation, from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct ReconcileBounds {
    /// Rest between two sweeps that found nothing.
    pub pause: Duration,
    /// Most records of one sweep.
    pub rows_max: u32,
}

/// How much longer a sweep rests after the ledger could not answer.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Sweeps until `stop` is called. The first sweep comes at once: it takes up what a crash has left.
pub async fn reconcile(current: Current, bounds: ReconcileBounds, stop: CancellationToken) {
    loop {
        let pause = match reconcile::sweep(&current.gateway(), bounds.rows_max).await {
            Ok(found) if found >= usize::try_from(bounds.rows_max).unwrap_or(usize::MAX) => Duration::ZERO,
            Ok(_) => bounds.pause,
            Err(error) => {
                tracing::error!(cause = ?error.0, "nothing can be reconciled");
                PAUSE_AFTER_FAILURE
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Bounds of forgetting, from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct ForgetBounds {
    /// Months after which an address is replaced by its digest. `None`: never.
    pub months: Option<u32>,
    /// Most records of one step.
    pub rows_max: u32,
}

/// Rest between two steps of one walk over the ledger.
const STEP_PAUSE: Duration = Duration::from_millis(100);
/// Rest between two walks: what is counted in months can wait for an hour.
const WALK_PAUSE: Duration = Duration::from_hours(1);

/// Walks over the ledger again and again until `stop` is called, and lets old addresses be forgotten.
pub async fn forget(current: Current, bounds: ForgetBounds, stop: CancellationToken) {
    let Some(months) = bounds.months else { return };
    let (mut after, mut forgotten) = (0, 0_usize);
    loop {
        let pause = match forget::step(&current.gateway(), months, after, bounds.rows_max).await {
            Ok(walked) => {
                forgotten = forgotten.saturating_add(walked.forgotten);
                after = walked.next.unwrap_or_default();
                if walked.next.is_some() { STEP_PAUSE } else { WALK_PAUSE }
            }
            Err(error) => {
                tracing::warn!(cause = ?error.0, "old addresses cannot be forgotten");
                PAUSE_AFTER_FAILURE
            }
        };
        if pause == WALK_PAUSE && forgotten > 0 {
            tracing::info!(addresses = std::mem::take(&mut forgotten), "replaced by their digests");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Most deliveries to one endpoint at a time.
const DELIVERIES_MAX: usize = 8;
/// How often an endpoint's events are looked for when nobody tells of one: retries, and what others have committed.
const DELIVERY_LOOK: Duration = Duration::from_secs(1);
/// How long deliveries that are under way are waited for at a stop; the rest are sent again after the next start.
const DELIVERY_DRAIN: Duration = Duration::from_secs(5);

/// Delivers events until `stop` is called: one worker for each endpoint that there is at the time.
pub async fn deliver(mut current: Current, stop: CancellationToken) {
    let (mut workers, mut served) = (JoinSet::new(), BTreeSet::new());
    loop {
        let gateway = current.gateway();
        let with_endpoint = gateway.directory.partners().filter(|partner| partner.webhook.is_some());
        for partner in with_endpoint.map(|partner| partner.id.clone()) {
            if served.insert(partner.clone()) {
                workers.spawn(deliver_to(current.clone(), partner, stop.clone()));
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = current.changed() => {}
            Some(Ok(ended)) = workers.join_next() => {
                served.remove(&ended);
            }
        }
    }
    while workers.join_next().await.is_some() {}
}

/// Delivers to one endpoint for as long as it is configured, and answers whose it was.
async fn deliver_to(current: Current, partner: PartnerId, stop: CancellationToken) -> PartnerId {
    let mut under_way = JoinSet::new();
    while !stop.is_cancelled() {
        let gateway = current.gateway();
        if gateway.directory.partner(&partner).is_none_or(|partner| partner.webhook.is_none()) {
            break;
        }
        let free = DELIVERIES_MAX.saturating_sub(under_way.len());
        let claimed = match u32::try_from(free) {
            Ok(0) | Err(_) => Vec::new(),
            Ok(free) => deliver::claim(&gateway, &partner, free).await.unwrap_or_else(|error| {
                tracing::error!(%partner, cause = ?error.0, "no events can be delivered");
                Vec::new()
            }),
        };
        for event in claimed {
            let gateway = Arc::clone(&gateway);
            under_way.spawn(async move { deliver::one(&gateway, event).await });
        }
        tokio::select! {
            () = stop.cancelled() => {}
            Some(_) = under_way.join_next() => {}
            () = gateway.posts.woken(&partner), if under_way.len() < DELIVERIES_MAX => {}
            () = tokio::time::sleep(DELIVERY_LOOK) => {}
        }
    }
    let drained = async { while under_way.join_next().await.is_some() {} };
    if tokio::time::timeout(DELIVERY_DRAIN, drained).await.is_err() {
        tracing::warn!(%partner, "some events will be sent again");
    }
    partner
}

/// Looks at what is watched until `stop` is called, for changes that other gateways have made.
pub async fn watch(current: Current, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(watch::LOOK) => {}
        }
        if let Err(error) = watch::look(&current.gateway()).await {
            tracing::warn!(cause = ?error.0, "what is watched cannot be looked at");
        }
    }
}

/// How often the queue of certification is looked at.
const QUEUE_LOOK: Duration = Duration::from_secs(1);

/// Shows how many calls of certification runs wait to be kept, until `stop` is called.
pub async fn measure_certification(certification: Arc<Certification>, stop: CancellationToken) {
    let queue = metrics::gauge!(CERTIFICATION_QUEUE.name);
    loop {
        queue.set(f64::from(u32::try_from(certification.waiting()).unwrap_or(u32::MAX)));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(QUEUE_LOOK) => {}
        }
    }
}

/// How often measured values are put into their buckets while nobody asks for them.
const UPKEEP_PAUSE: Duration = Duration::from_secs(5);

/// Keeps what is measured from piling up, until `stop` is called.
pub async fn keep_metrics(metrics: PrometheusHandle, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(UPKEEP_PAUSE) => metrics.run_upkeep(),
        }
    }
}
