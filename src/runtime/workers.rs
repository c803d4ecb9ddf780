//! Work that nobody waits for: reconciliation and upkeep, for as long as the gateway lives.
//!
//! Invariant: a worker never ends by an error; it says what is wrong, rests and goes on. What reconciling means is not
//! here.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::flows::{Gateway, reconcile};

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
pub async fn reconcile(gateway: Arc<Gateway>, bounds: ReconcileBounds, stop: CancellationToken) {
    loop {
        let pause = match reconcile::sweep(&gateway, bounds.rows_max).await {
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
