//! Logs and metrics: set up once, before anything else.
//!
//! Invariant: logs go to standard error, so that standard output stays for what a command prints. Nothing personal is
//! logged: types that hold it print masked. A line that is written for a request says for which ([`About`]); a request that
//! writes none costs nothing.

use std::fmt;
use std::io::IsTerminal;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::flows::about::About;
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
        Format::Text => registry.with(layer.event_format(TextLines)).try_init()?,
        Format::Json => registry.with(layer.json().map_event_format(JsonLines)).try_init()?,
    }
    Ok(())
}

/// Lines for people: time, level, the request that they are about, what wrote them, and what it says.
struct TextLines;

impl<S, N> FormatEvent<S, N> for TextLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        SystemTime.format_time(&mut line)?;
        let metadata = event.metadata();
        let colour = match *metadata.level() {
            Level::ERROR => 31,
            Level::WARN => 33,
            Level::INFO => 32,
            Level::DEBUG => 34,
            Level::TRACE => 35,
        };
        if line.has_ansi_escapes() {
            write!(line, " \u{1b}[{colour}m{:>5}\u{1b}[0m ", metadata.level())?;
        } else {
            write!(line, " {:>5} ", metadata.level())?;
        }
        if let Some(About { work, correlation, trace }) = About::current() {
            write!(line, "{work}{{correlation=\"{}\" trace={}}}: ", correlation.as_str(), trace.trace_id())?;
        }
        write!(line, "{}: ", metadata.target())?;
        context.field_format().format_fields(line.by_ref(), event)?;
        writeln!(line)
    }
}

/// Lines for machines: one JSON object each, with the request that it is about as `span`.
struct JsonLines<F>(F);

impl<S, N, F> FormatEvent<S, N> for JsonLines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(About { work, correlation, trace }) = About::current() else {
            return self.0.format_event(context, line, event);
        };
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        let open = text.trim_end().strip_suffix('}').ok_or(fmt::Error)?;
        // Neither of the two has a character that JSON would escape.
        let (correlation, trace) = (correlation.as_str(), trace.trace_id());
        writeln!(line, r#"{open},"span":{{"correlation":"{correlation}","trace":"{trace}","name":"{work}"}}}}"#)
    }
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
