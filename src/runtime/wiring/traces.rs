//! The collector that spans go to, as the configuration names it.
//!
//! Invariant: a file that is named is read, or the start stops with what is wrong; the collector itself may be away.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};

use crate::adapters::spans::otlp::{self, Exporter, Settings};
use crate::domain::ids::InstanceId;
use crate::ports::spans::Spans;
use crate::runtime::config::seeing::Traces;

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// A file that a key names.
    #[error("traces.{key}: {path} cannot be read", path = .path.display())]
    File {
        /// Which key.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line that is no header. It is not shown, since it may hold a key.
    #[error("traces.headers_file: line {0} must be name: value, in lower case and visible characters")]
    Header(usize),
    /// Certificates that cannot be used, say.
    #[error("traces: the collector cannot be spoken to")]
    Transport(#[from] tonic::transport::Error),
}

/// Where spans go, and what sends them from there.
type Opened = (Arc<dyn Spans>, Exporter);

/// Builds what the configuration names. Called where a runtime runs.
pub(super) fn traces(traces: &Traces, instance: &InstanceId) -> Result<Option<Opened>, TracesError> {
    let Some(endpoint) = traces.collector() else { return Ok(None) };
    let read = |key: &'static str, path: &Path| {
        std::fs::read(path).map_err(|source| TracesError::File { key, path: path.into(), source })
    };
    let lines = traces.headers_file.as_deref().map(|path| read("headers_file", path)).transpose()?;
    let milliseconds = |count: u32| Duration::from_millis(u64::from(count));
    let (spans, exporter) = otlp::open(Settings {
        endpoint,
        ca_pem: traces.ca_file.as_deref().map(|path| read("ca_file", path)).transpose()?,
        headers: headers(&String::from_utf8_lossy(&lines.unwrap_or_default()))?,
        sample_per_mille: traces.sample_per_mille,
        queue_max: traces.queue_max,
        batch_max: traces.batch_max,
        pause: milliseconds(traces.pause_ms),
        timeout: milliseconds(traces.timeout_ms),
        instance: instance.as_str().to_owned(),
    })?;
    Ok(Some((spans, exporter)))
}

fn headers(text: &str) -> Result<MetadataMap, TracesError> {
    let mut headers = MetadataMap::new();
    for (place, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = || TracesError::Header(place.saturating_add(1));
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name = AsciiMetadataKey::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
        let mut value: AsciiMetadataValue = value.trim().parse().map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_line_by_line_and_a_wrong_one_is_named_by_its_line_only() {
        let read = headers("authorization: Bearer x\n\nx-tenant:a\n").expect("headers");
        assert_eq!(read.get("authorization").map(|value| value.to_str().expect("text")), Some("Bearer x"));
        assert_eq!(read.get("x-tenant").map(|value| value.to_str().expect("text")), Some("a"));
        for (text, line) in [("a: b\nsecret", 2), ("\u{1}: b", 1), ("a b: c", 1)] {
            let error = headers(text).expect_err("no header");
            assert!(matches!(error, TracesError::Header(found) if found == line), "{text:?}: {error}");
            assert!(!error.to_string().contains("secret"));
        }
    }
}
