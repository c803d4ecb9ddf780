//! What records calls: the way to the collector, and the audit log.
//!
//! Invariant: what they hold at the end is sent and written within a bounded time, and in that order the last of all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::adapters::audit::verify::{self, CheckError};
use crate::adapters::audit::{FileAudit, OpenError, Settings};
use crate::adapters::spans::otlp::Exporter;
use crate::ports::audit::{Audit, Checked, Head};
use crate::runtime::config::Config;

/// The directory of the audit log in the data directory.
const AUDIT_DIR: &str = "audit";
/// Bytes of a mebibyte.
const MIB: u64 = 1024 * 1024;

/// What records, until it is ended.
#[derive(Default)]
pub struct Recorders {
    pub(super) exporter: Option<Exporter>,
    pub(super) audit: Option<Arc<FileAudit>>,
    sending: Option<(JoinHandle<()>, CancellationToken)>,
}

impl Recorders {
    pub(super) fn new(exporter: Option<Exporter>, audit: Option<Arc<FileAudit>>) -> Self {
        Self { exporter, audit, sending: None }
    }

    /// The audit log, where one is kept.
    #[must_use]
    pub fn audit(&self) -> Option<Arc<dyn Audit>> {
        self.audit.clone().map(|audit| -> Arc<dyn Audit> { audit })
    }

    /// Begins to send spans.
    pub fn start(&mut self) {
        let stop = CancellationToken::new();
        self.sending = self.exporter.take().map(|exporter| (tokio::spawn(exporter.run(stop.clone())), stop));
    }

    /// Sends and writes what is left.
    pub async fn end(self) {
        if let Some((sending, stop)) = self.sending {
            stop.cancel();
            sending.await.unwrap_or_default();
        }
        if let Some(audit) = self.audit {
            // Written by a thread of its own, which is waited for.
            tokio::task::spawn_blocking(move || audit.close()).await.unwrap_or_default();
        }
    }
}

/// Opens the audit log that a configuration names.
pub(super) fn audit(config: &Config, data_dir: &Path) -> Result<Option<Arc<FileAudit>>, OpenError> {
    let has_place = config.audit.dir.is_some() || config.server.data_dir.is_some() || config.sandbox.enabled;
    if !config.audit.enabled {
        return Ok(None);
    }
    if !has_place {
        tracing::warn!("no audit log is kept: there is neither server.data_dir nor audit.dir");
        return Ok(None);
    }
    let settings = Settings {
        dir: config.audit.dir.clone().unwrap_or_else(|| data_dir.join(AUDIT_DIR)),
        file_bytes_max: u64::from(config.audit.file_mib_max).saturating_mul(MIB),
        queue_max: config.audit.queue_max,
        sync: Duration::from_millis(u64::from(config.audit.sync_ms)),
    };
    Ok(Some(Arc::new(FileAudit::open(&settings)?)))
}

/// Checks an audit log.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn verify(places: &[PathBuf], heads: &[Head]) -> Result<Checked, CheckError> {
    verify::check(places, heads)
}
