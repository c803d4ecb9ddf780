//! Logs and metrics: set up once, before anything else.
//!
//! Invariant: logs go to standard error, so that standard output stays for what a command prints. Nothing personal is
//! logged: types that hold it print masked.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Bounds of the histograms' buckets, in seconds: from a replay to the longest deadline.
const BUCKETS_S: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 7.0, 30.0];

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("log.filter is not a log filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Something else in this process logs already.
    #[error("logging is set up already")]
    Subscriber(#[from] tracing_subscriber::util::TryInitError),
    /// Something else in this process measures already.
    #[error("metrics are set up already")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// Sets logs up.
pub fn logs(filter: &str, format: Format) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(filter)?;
    let registry = tracing_subscriber::registry().with(filter);
    let colours = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    match format {
        Format::Text => registry.with(layer).try_init()?,
        Format::Json => registry.with(layer.json()).try_init()?,
    }
    Ok(())
}

/// Sets metrics up and answers what prints them.
pub fn metrics() -> Result<PrometheusHandle, TelemetryError> {
    Ok(PrometheusBuilder::new().set_buckets(&BUCKETS_S)?.install_recorder()?)
}
