//! The life of a gateway: open, listen, work, stop.
//!
//! Invariant: nothing listens before everything is open, and nothing is closed before what is under way is answered or
//! its time is up. Work that has begun to move money is waited for longer than its callers are.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::admin::ledger::Overseen;
use super::admin::{self, Admin};
use super::config::tables::LogFormat;
use super::config::{Config, temporary_root};
use super::serve;
use super::telemetry::{self, Format, TelemetryError};
use super::wiring::{self, Wired, WiringError};
use super::workers::{self, ReconcileBounds};
use crate::faces::auth::Keys;
use crate::faces::certification::page::Page;
use crate::faces::certification::session::Sessions;
use crate::faces::grpc;
use crate::faces::json::{JsonFace, JsonFaceError};
use crate::faces::pb;
use crate::faces::stack::{self, Front, Guard};
use crate::flows::Gateway;
use crate::flows::certification::{self, Certification, Queue};

/// Why a gateway did not start, or did not stop in order.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// Logs or metrics.
    #[error("{0}")]
    Telemetry(#[from] TelemetryError),
    /// The data directory cannot be made.
    #[error("server.data_dir: {path} cannot be made", path = .path.display())]
    DataDir {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A store or a CSP.
    #[error(transparent)]
    Wiring(#[from] WiringError),
    /// An address that cannot be listened on.
    #[error("{key}: cannot listen on {address}; is another gateway running?")]
    Listen {
        /// The key that names it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The faces cannot be built: a fault of the build, not of the configuration.
    #[error("the API cannot be served")]
    Json(#[from] JsonFaceError),
    /// The same.
    #[error("the API cannot be served")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// The same.
    #[error("reflection cannot be served")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Signals or the operations port.
    #[error("the system refused")]
    Io(#[from] io::Error),
}

/// What a gateway that listens says of itself.
#[derive(Debug, Clone)]
pub struct Listening {
    /// Where it listens for partners, with the port that it really has.
    pub listen: SocketAddr,
    /// Where it listens for those who run it.
    pub admin_listen: SocketAddr,
    /// Where the ledger is.
    pub data_dir: PathBuf,
    /// Whether that directory goes away with the gateway.
    pub is_temporary: bool,
    /// Whether the sandbox is on.
    pub is_sandbox: bool,
}

/// Runs a gateway until it is told to stop (SIGTERM or SIGINT). `told` is called once it listens.
///
/// # Errors
/// What kept it from starting.
pub fn run(config: &Config, told: impl FnOnce(&Listening)) -> Result<(), LifeError> {
    let format = match config.log.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    telemetry::logs(&config.log.filter, format)?;
    let metrics = telemetry::metrics()?;
    let data_dir = DataDir::of(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Stores open outside of it, since they block, but know it: connections are kept by tasks.
    let wired = {
        let _entered = runtime.enter();
        wiring::wire(config, &data_dir.path)?
    };
    let ended = runtime.block_on(live(config, wired, metrics, &data_dir, told));
    // Threads that still block after the drain keep nothing alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// Where the ledger lies: the configured directory, or a temporary one that is removed at the end.
struct DataDir {
    path: PathBuf,
    temporary: bool,
}

impl DataDir {
    fn of(config: &Config) -> Result<Self, LifeError> {
        let (path, temporary) = match &config.server.data_dir {
            Some(path) => (path.clone(), false),
            None => (temporary_root().join(format!("onbill-sandbox-{}", std::process::id())), true),
        };
        std::fs::create_dir_all(&path).map_err(|source| LifeError::DataDir { path: path.clone(), source })?;
        Ok(Self { path, temporary })
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "the temporary directory stays");
        }
    }
}

async fn live(
    config: &Config,
    mut wired: Wired,
    metrics: PrometheusHandle,
    data_dir: &DataDir,
    told: impl FnOnce(&Listening),
) -> Result<(), LifeError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let gateway = Arc::clone(&wired.gateway);
    let overseen = Overseen { gateway: Arc::clone(&gateway), oversight: Arc::clone(&wired.oversight) };
    let certifying = match wired.certification.take() {
        Some((certification, queue)) => Some(Certifying::begin(certification, queue).await?),
        None => None,
    };
    let certification = certifying.as_ref().map(|certifying| Arc::clone(&certifying.certification));
    let (front, health) = front(config, wired, certification)?;
    health.serve().await;
    let listener = listen("server.listen", config.server.listen).await?;
    let admin_listener = listen("server.admin_listen", config.server.admin_listen).await?;
    told(&Listening {
        listen: listener.local_addr()?,
        admin_listen: admin_listener.local_addr()?,
        data_dir: data_dir.path.clone(),
        is_temporary: data_dir.temporary,
        is_sandbox: config.sandbox.enabled,
    });
    for entry in &config.effective.0 {
        tracing::debug!(key = entry.key, value = entry.value, origin = entry.origin, "setting");
    }

    let admin_stop = CancellationToken::new();
    let mut working = work(config, &gateway, &overseen, &metrics, &stop);
    let admin = Admin { gateway: Arc::clone(&gateway), overseen, metrics, stop: stop.clone() };
    let admin = tokio::spawn(admin::serve(admin_listener, admin, admin_stop.clone()));
    let server = tokio::spawn(serve::serve(listener, front, serve_bounds(config), stop.clone()));

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: no new connections, answering what is under way");
    health.shut_down().await;
    stop.cancel();
    gateway.watchers.close();
    if let Some(certifying) = &certifying {
        certifying.certification.close();
    }
    let in_time = server.await.unwrap_or(false);
    if !in_time {
        tracing::warn!("some connections were still open at the end of server.drain_s");
    }
    // Money that is under way is settled even though nobody waits for it any more.
    gateway.tasks.close();
    let lease = Duration::from_secs(u64::from(config.charge.lease_s));
    if tokio::time::timeout(lease, gateway.tasks.wait()).await.is_err() {
        tracing::error!("some transactions are left to reconciliation");
    }
    if let Some(certifying) = certifying {
        certifying.end().await;
    }
    while working.join_next().await.is_some() {}
    admin_stop.cancel();
    match admin.await {
        Ok(ended) => Ok(ended?),
        Err(error) => Err(LifeError::Io(io::Error::other(error))),
    }
}

/// Starts the work that nobody waits for.
fn work(
    config: &Config,
    gateway: &Arc<Gateway>,
    overseen: &Overseen,
    metrics: &PrometheusHandle,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let bounds = ReconcileBounds {
        pause: Duration::from_millis(u64::from(config.reconcile.poll_ms)),
        rows_max: config.reconcile.batch_max,
    };
    let mut working = JoinSet::new();
    working.spawn(workers::keep_metrics(metrics.clone(), stop.clone()));
    working.spawn(admin::measure(overseen.clone(), stop.clone()));
    working.spawn(workers::reconcile(Arc::clone(gateway), bounds, stop.clone()));
    working.spawn(workers::deliver(Arc::clone(gateway), stop.clone()));
    working.spawn(workers::watch(Arc::clone(gateway), stop.clone()));
    working
}

/// Certification, and the task that keeps what it sees.
struct Certifying {
    certification: Arc<Certification>,
    stop: CancellationToken,
    kept: JoinHandle<()>,
}

impl Certifying {
    /// Takes up the runs that are open, and keeps what is seen from now on.
    async fn begin(certification: Arc<Certification>, queue: Queue) -> Result<Self, LifeError> {
        certification.take_up().await.map_err(|error| io::Error::other(error.0.to_note()))?;
        let stop = CancellationToken::new();
        let kept = tokio::spawn(certification::keep(Arc::clone(&certification), queue, stop.clone()));
        Ok(Self { certification, stop, kept })
    }

    /// Keeps what was seen until now, and ends.
    async fn end(self) {
        self.stop.cancel();
        self.kept.await.unwrap_or_default();
    }
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, LifeError> {
    TcpListener::bind(address).await.map_err(|source| LifeError::Listen { key, address, source })
}

fn serve_bounds(config: &Config) -> serve::Bounds {
    serve::Bounds {
        connections_max: config.server.connections_max,
        streams_max: config.server.streams_per_connection_max,
        head_read_timeout: Duration::from_millis(u64::from(config.server.header_read_timeout_ms)),
        drain: Duration::from_secs(u64::from(config.server.drain_s)),
    }
}

/// Builds the faces around a gateway.
fn front(
    config: &Config,
    wired: Wired,
    certification: Option<Arc<Certification>>,
) -> Result<(Front, Health), LifeError> {
    let Wired { gateway, sandbox, oversight: _, certification: _ } = wired;
    let services = grpc::services(&gateway, sandbox.as_ref(), certification.as_ref())?;
    let keys = Keys::new(config.partner_keys.clone(), &gateway.directory);
    let milliseconds = |count: u32| Duration::from_millis(u64::from(count));
    let bounds = stack::Bounds {
        deadline_default: milliseconds(config.server.deadline_default_ms),
        deadline_min: milliseconds(config.server.deadline_min_ms),
        deadline_max: milliseconds(config.server.deadline_max_ms),
        calls_in_flight_max: config.server.requests_in_flight_max,
    };
    let sessions = Sessions::new(Arc::clone(&gateway.secrets));
    let page = certification.clone().map(|certification| Page::new(certification, keys.clone(), sessions));
    let own = Arc::clone(&gateway);
    let guard = Guard::new(own, keys, bounds, pb::DESCRIPTORS, &services.keyed, services.routes, certification)?;
    let json = JsonFace::new(pb::DESCRIPTORS, &services.keyed, guard.in_process(), env!("CARGO_PKG_VERSION"))?;
    let health = Health { reporter: services.health, services: services.keyed };
    Ok((Front::new(gateway, guard, json, page), health))
}

/// Tells health checkers that the gateway stops.
struct Health {
    reporter: tonic_health::server::HealthReporter,
    services: Vec<&'static str>,
}

impl Health {
    async fn shut_down(&self) {
        for service in self.services.iter().chain([&""]) {
            self.reporter.set_service_status(*service, tonic_health::ServingStatus::NotServing).await;
        }
    }

    async fn serve(&self) {
        for service in self.services.iter().chain([&""]) {
            self.reporter.set_service_status(*service, tonic_health::ServingStatus::Serving).await;
        }
    }
}
