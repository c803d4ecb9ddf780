//! Whether the gateway can take requests, and for which of its services: `/readyz` and gRPC health say the same.
//!
//! Invariant: a gateway is ready where its ledger would take a commit and nobody has asked it to stop. What it could do
//! with and does not have is told and takes it out of no load balancer. A service is SERVING only where what it needs is
//! there: PINs need short-lived state, transactions the ledger. Watchers of health hear each change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::gauge;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::current::Current;
use crate::ports::audit::Audit;
use crate::ports::measures::{DISK_FREE, READY};

/// How often it is looked.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Fewer free bytes are told as a shortage: the ledger grows by less in an hour at full speed.
const FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;

/// What readiness is read from.
#[derive(Clone)]
pub struct Standing {
    /// The gateway that works.
    pub current: Current,
    /// The audit log.
    pub audit: Option<Arc<dyn Audit>>,
    /// Where the ledger and the audit log are.
    pub data_dir: PathBuf,
    /// Called once the gateway is asked to stop.
    pub leaving: CancellationToken,
}

/// What was found.
pub struct Found {
    /// Whether it can take requests.
    pub is_ready: bool,
    /// Whether PINs can be kept.
    pub has_ephemeral: bool,
    /// Why, a line for each thing that it needs or could do with.
    pub lines: String,
}

impl Standing {
    /// Of a gateway that nobody has asked to stop.
    #[must_use]
    pub fn new(current: Current, audit: Option<Arc<dyn Audit>>, data_dir: &Path) -> Self {
        Self { current, audit, data_dir: data_dir.to_owned(), leaving: CancellationToken::new() }
    }

    /// Looks.
    pub async fn look(&self) -> Found {
        if self.leaving.is_cancelled() {
            return Found { is_ready: false, has_ephemeral: false, lines: "stopping\n".to_owned() };
        }
        let gateway = self.current.gateway();
        let (ledger, ephemeral) = tokio::join!(gateway.ledger.check(), gateway.ephemeral.check());
        let mut lines = vec![match &ledger {
            Ok(()) => "ledger: ok\n".to_owned(),
            Err(error) => format!("ledger: {}\n", error.0.to_note()),
        }];
        lines.push(match &ephemeral {
            Ok(()) => "ephemeral: ok\n".to_owned(),
            Err(error) => format!("ephemeral: degraded, charges go on and PINs do not: {}\n", error.0.to_note()),
        });
        lines.extend(gateway.csps.iter().map(|(id, csp)| format!("csp {id}: {}\n", csp.standing())));
        lines.extend(self.audit.as_ref().map(|audit| {
            let said = if audit.is_well() { "ok" } else { "degraded, entries are lost: its disk refuses" };
            format!("audit: {said}\n")
        }));
        let shortage = free_bytes(&self.data_dir).filter(|free| *free < FREE_BYTES_MIN);
        lines.extend(shortage.map(|free| format!("disk: degraded, {free} bytes are free\n")));
        let lines = lines.concat();
        Found { is_ready: ledger.is_ok(), has_ephemeral: ephemeral.is_ok(), lines }
    }
}

/// Bytes that are free for us where a directory is; `None` where the system does not say.
fn free_bytes(directory: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(directory).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Tells health checkers.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    services: Vec<&'static str>,
    /// What was told last: whoever watches hears changes only.
    told: Arc<Mutex<BTreeMap<&'static str, bool>>>,
}

impl Health {
    /// For these services.
    #[must_use]
    pub fn new(reporter: HealthReporter, services: Vec<&'static str>) -> Self {
        Self { reporter, services, told: Arc::default() }
    }

    /// Tells what was found.
    pub async fn tell(&self, found: &Found) {
        for service in self.services.iter().chain([&""]) {
            let needs_ephemeral = service.ends_with(".PinService");
            let serves = found.is_ready && (found.has_ephemeral || !needs_ephemeral);
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(service, serves);
            if told == Some(serves) {
                continue;
            }
            let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
            self.reporter.set_service_status(*service, status).await;
        }
    }
}

/// Looks again and again, and tells, until `stop` is called.
pub async fn watch(standing: Standing, health: Health, stop: CancellationToken) {
    let (ready, free) = (gauge!(READY.name), gauge!(DISK_FREE.name));
    loop {
        let found = standing.look().await;
        health.tell(&found).await;
        ready.set(f64::from(u8::from(found.is_ready)));
        if let Some(bytes) = free_bytes(&standing.data_dir) {
            // Whole kibibytes are enough for a number that may be greater than a float tells apart.
            free.set(f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) * 1024.0);
        }
        tokio::select! {
            biased;
            () = standing.leaving.cancelled(), if !standing.leaving.is_cancelled() => {}
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_PAUSE) => {}
        }
    }
}
