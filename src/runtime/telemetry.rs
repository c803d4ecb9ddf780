//! Logs and metrics: set up once, before anything else.
//!
//! Invariant: logs go to standard error, so that standard output stays for what a command prints. Nothing personal is
//! logged: types that hold it print masked.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::ports::measures;

/// Bounds of the histograms' buckets, in seconds: from a replay to the longest deadline.
const BUCKETS_S: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 7.0, 30.0];
/// Bounds of the buckets of batches, in units of work.
const BUCKETS_UNITS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 512.0];

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
    let builder = PrometheusBuilder::new().set_buckets(&BUCKETS_S)?;
    let batches = Matcher::Full(measures::LEDGER_BATCH.name.to_owned());
    let handle = builder.set_buckets_for_metric(batches, &BUCKETS_UNITS)?.install_recorder()?;
    measures::describe();
    metrics::gauge!(measures::BUILD.name, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}
