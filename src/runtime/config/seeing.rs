//! `[traces]` and `[audit]`: what is recorded of calls beside logs and numbers.
//!
//! Invariant: a collector that is away, or a disk that is slow, stops no start and slows no charge; settings that cannot
//! stand together do stop the start.

use std::path::PathBuf;

use http::Uri;
use serde::{Deserialize, Serialize};

use super::shape::Report;
use super::tables::Tables;

/// Spans, and the collector that they go to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    /// Where the collector listens for OTLP over gRPC. `None`: nothing is recorded.
    pub endpoint: Option<String>,
    /// Of a thousand traces that nobody has decided about, how many are recorded.
    pub sample_per_mille: u32,
    /// File of certificates that are trusted beside the public authorities'.
    pub ca_file: Option<PathBuf>,
    /// File of headers for the collector, `name: value` a line.
    pub headers_file: Option<PathBuf>,
    /// Most spans that wait to be sent.
    pub queue_max: usize,
    /// Most spans of one message.
    pub batch_max: usize,
    /// Milliseconds that spans wait for others to go with.
    pub pause_ms: u32,
    /// Milliseconds that the collector may take for one message.
    pub timeout_ms: u32,
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            endpoint: None,
            sample_per_mille: 10,
            ca_file: None,
            headers_file: None,
            queue_max: 8_192,
            batch_max: 512,
            pause_ms: 1_000,
            timeout_ms: 5_000,
        }
    }
}

impl Traces {
    /// Where the collector is; `None` where nothing is recorded.
    #[must_use]
    pub fn collector(&self) -> Option<Uri> {
        self.endpoint.as_deref().and_then(|text| text.parse().ok())
    }
}

/// The audit log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// Whether it is kept.
    pub enabled: bool,
    /// Where. `None`: `audit` in the data directory.
    pub dir: Option<PathBuf>,
    /// Mebibytes at which a new file is begun.
    pub file_mib_max: u32,
    /// Most entries that wait to be written.
    pub queue_max: usize,
    /// Most milliseconds between two times that the disk is told to keep what was written.
    pub sync_ms: u32,
}

impl Default for Audit {
    fn default() -> Self {
        Self { enabled: true, dir: None, file_mib_max: 64, queue_max: 16_384, sync_ms: 1_000 }
    }
}

/// Reports what cannot stand together.
pub(super) fn check(tables: &Tables, report: &mut Report) {
    let traces = &tables.traces;
    if let Some(endpoint) = &traces.endpoint {
        let is_usable = traces.collector().is_some_and(|uri| {
            let has_host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
            matches!(uri.scheme_str(), Some("http" | "https")) && has_host && uri.query().is_none()
        });
        if !is_usable {
            let text = format!("is {endpoint:?}, must be an address like http://127.0.0.1:4317, without credentials");
            report.at(&["traces", "endpoint"], text);
        }
    }
    if traces.batch_max > traces.queue_max {
        let text = format!("is {}, must be at most traces.queue_max, {}", traces.batch_max, traces.queue_max);
        report.at(&["traces", "batch_max"], text);
    }
}
