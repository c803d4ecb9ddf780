//! The life of a gateway: open, listen, work, stop.
//!
//! Invariant: nothing listens before everything is open, and nothing is closed before what is under way is answered or
//! its time is up. Work that has begun to move money is waited for longer than its callers are.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use super::admin::ledger::Overseen;
use super::admin::token::{Door, TokenError};
use super::admin::{self, Admin};
use super::config::redis::EphemeralStore;
use super::config::tables::LogFormat;
use super::config::{Config, Sources, temporary_root};
use super::current::{self, Current, Living};
use super::ready::{self, Health, Standing};
use super::reload::Reloader;
use super::serve;
use super::supervisor::{State, Supervisor};
use super::telemetry::{self, Format, TelemetryError};
use super::tls::{Tls, TlsError};
use super::wiring::{self, Wired, WiringError};
use super::workers::{self, ForgetBounds, ReconcileBounds};
use crate::faces::auth::Callers;
use crate::faces::certification::page::Page;
use crate::faces::certification::session::Sessions;
use crate::faces::grpc;
use crate::faces::json::{JsonFace, JsonFaceError};
use crate::faces::pb;
use crate::faces::stack::{self, Front, Guard, Places};
use crate::flows::Gateway;
use crate::flows::certification::{self, Certification, Queue};
use crate::flows::rate::{Rates, Sharing};
use crate::flows::sandbox::Sandbox;
use crate::ports::audit::{Audit, Entry, Who};
use crate::ports::clock::Clock;
use crate::ports::tokens::Tokens;

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
    /// TLS of the main port.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The token of the operations port.
    #[error(transparent)]
    AdminToken(#[from] TokenError),
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
    /// Whether the main port speaks TLS.
    pub is_encrypted: bool,
}

/// Runs a gateway until it is told to stop (SIGTERM or SIGINT); SIGHUP makes it read `sources` again. `told` is called
/// once it listens.
///
/// # Errors
/// What kept it from starting.
pub fn run(config: &Config, sources: Sources, told: impl FnOnce(&Listening)) -> Result<(), LifeError> {
    let format = match config.log.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    telemetry::logs(&config.log.filter, format)?;
    let metrics = telemetry::metrics()?;
    log_settings(config);
    let data_dir = DataDir::of(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Stores open outside of it, since they block, but know it: connections are kept by tasks.
    let wired = {
        let _entered = runtime.enter();
        wiring::wire(config, &data_dir.path)?
    };
    let ended = runtime.block_on(live(config, sources, wired, metrics, &data_dir, told));
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
    sources: Sources,
    wired: Wired,
    metrics: PrometheusHandle,
    data_dir: &DataDir,
    told: impl FnOnce(&Listening),
) -> Result<(), LifeError> {
    let supervisor = Supervisor::of(&sources.environment);
    let mut signals = Signals::new()?;
    // From here on a SIGHUP ends nothing any more.
    let asked = signal(SignalKind::hangup())?;
    let (stop, admin_stop) = (CancellationToken::new(), CancellationToken::new());
    let Wired { gateway, oversight, sandbox, adapters, mut recorders, issuers, certification } = wired;
    recorders.start();
    let audit = recorders.audit();
    let certifying = match certification {
        Some((certification, queue)) => Some(Certifying::begin(certification, queue).await?),
        None => None,
    };
    let certification = certifying.as_ref().map(|certifying| Arc::clone(&certifying.certification));
    let faces = Faces::new(config, &gateway, sandbox, certification.clone(), audit.clone());
    let health = faces.health();
    let (successor, current) = current::begin(faces.around(config, Arc::clone(&gateway), issuers.tokens())?);
    let overseen = Overseen { current: current.clone(), oversight, audit: audit.clone() };
    let standing = Standing::new(current.clone(), audit.clone(), &data_dir.path);
    let (tls, door) = (tls(config)?, Door::of(&config.server).await?);
    health.tell(&standing.look().await).await;
    let listener = listen("server.listen", config.server.listen).await?;
    let admin_listener = listen("server.admin_listen", config.server.admin_listen).await?;
    let listens = (listener.local_addr()?, admin_listener.local_addr()?);
    told(&listening(config, data_dir, listens, tls.is_some()));
    note(audit.as_ref(), "start", config);

    let mut background = work(config, &current, &overseen, &metrics, &stop);
    let looked_at = Looked { certification, standing: standing.clone(), health: health.clone(), tls: tls.clone() };
    looked_at.after(&mut background, &stop);
    let admin = Admin { current: current.clone(), overseen, door, metrics, standing: standing.clone() };
    let admin = tokio::spawn(admin::serve(admin_listener, admin, admin_bounds(config), admin_stop.clone()));
    let (effective, audited) = (config.effective.clone(), audit.clone());
    let reloader =
        Reloader { sources, effective, adapters, issuers, faces, successor, tls: tls.clone(), audit: audited };
    background.spawn(reloader.listen(asked, stop.clone()));
    let leaving = standing.leaving.clone();
    let server =
        tokio::spawn(serve::serve("main", listener, tls, current, serve_bounds(config), stop.clone(), leaving));

    supervisor.tell(State::Ready);
    signals.one().await;
    supervisor.tell(State::Stopping);
    note(audit.as_ref(), "stop", config);
    leave(config, &standing, &health, &mut signals).await;
    stop.cancel();
    gateway.watchers.close();
    if let Some(certifying) = &certifying {
        certifying.certification.close();
    }
    finish(config, &gateway, server).await;
    if let Some(certifying) = certifying {
        certifying.end().await;
    }
    while background.join_next().await.is_some() {}
    recorders.end().await;
    admin_stop.cancel();
    let _drained = admin.await.map_err(io::Error::other)?;
    Ok(())
}

/// What is looked at now and then while the gateway runs.
struct Looked {
    certification: Option<Arc<Certification>>,
    standing: Standing,
    health: Health,
    tls: Option<Arc<Tls>>,
}

impl Looked {
    fn after(self, background: &mut JoinSet<()>, stop: &CancellationToken) {
        if let Some(certification) = self.certification {
            background.spawn(workers::measure_certification(certification, stop.clone()));
        }
        background.spawn(ready::watch(self.standing, self.health, stop.clone()));
        if let Some(tls) = self.tls {
            background.spawn(tls.keep(stop.clone()));
        }
    }
}

/// What asks the gateway to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one.
    async fn one(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Says that the gateway stops, and goes on as before until load balancers have had the time to notice, or whoever asks
/// is in a hurry and asks twice.
async fn leave(config: &Config, standing: &Standing, health: &Health, signals: &mut Signals) {
    standing.leaving.cancel();
    health.tell(&standing.look().await).await;
    let pause = Duration::from_millis(u64::from(config.server.drain_delay_ms));
    if !pause.is_zero() {
        tracing::info!(pause_ms = config.server.drain_delay_ms, "not ready any more: load balancers may notice");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = signals.one() => {}
        }
    }
    tracing::info!("stopping: no new connections, answering what is under way");
}

/// Lets answers and money that are under way come to their end, each within its bound.
async fn finish(config: &Config, gateway: &Gateway, server: JoinHandle<bool>) {
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
}

fn log_settings(config: &Config) {
    for entry in &config.effective.0 {
        tracing::debug!(key = entry.key, value = entry.value, origin = entry.origin, "setting");
    }
}

/// Writes down that the gateway has started, or is asked to stop.
fn note(audit: Option<&Arc<dyn Audit>>, what: &'static str, config: &Config) {
    if let Some(audit) = audit {
        let details = vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("listen", config.server.listen.to_string()),
            ("settings", config.effective.digest()),
        ];
        audit.note(Entry { who: Who::Gateway, what: what.into(), outcome: "ok".into(), details });
    }
}

/// Starts the work that nobody waits for.
fn work(
    config: &Config,
    current: &Current,
    overseen: &Overseen,
    metrics: &PrometheusHandle,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let mut background = JoinSet::new();
    background.spawn(workers::keep_metrics(metrics.clone(), stop.clone()));
    background.spawn(admin::measure(overseen.clone(), stop.clone()));
    background.spawn(workers::reconcile(current.clone(), reconcile_bounds(config), stop.clone()));
    background.spawn(workers::forget(current.clone(), forget_bounds(config), stop.clone()));
    background.spawn(workers::deliver(current.clone(), stop.clone()));
    background.spawn(workers::watch(current.clone(), stop.clone()));
    background
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
        if self.kept.await.is_ok()
            && let Err(error) = self.certification.stopped_in_order().await
        {
            tracing::warn!(cause = ?error.0, "the next start will take this one for an interruption");
        }
    }
}

/// TLS of the main port. Keys and tokens that travel in plain text are everybody's on the way, so that is told.
fn tls(config: &Config) -> Result<Option<Arc<Tls>>, TlsError> {
    let (tls, listen) = (Tls::begin(&config.server.tls)?, config.server.listen);
    if tls.is_none() && !listen.ip().is_loopback() && !config.sandbox.enabled {
        tracing::warn!(
            %listen,
            "the main port speaks plain text to other machines: set server.tls, or put it behind something that ends TLS"
        );
    }
    Ok(tls)
}

/// What is told of a gateway that listens on these addresses.
fn listening(
    config: &Config,
    data_dir: &DataDir,
    (listen, admin_listen): (SocketAddr, SocketAddr),
    is_encrypted: bool,
) -> Listening {
    Listening {
        listen,
        admin_listen,
        data_dir: data_dir.path.clone(),
        is_temporary: data_dir.temporary,
        is_sandbox: config.sandbox.enabled,
        is_encrypted,
    }
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, LifeError> {
    TcpListener::bind(address).await.map_err(|source| LifeError::Listen { key, address, source })
}

fn reconcile_bounds(config: &Config) -> ReconcileBounds {
    ReconcileBounds {
        pause: Duration::from_millis(u64::from(config.reconcile.poll_ms)),
        rows_max: config.reconcile.batch_max,
    }
}

fn forget_bounds(config: &Config) -> ForgetBounds {
    ForgetBounds { months: config.retention.address_months, rows_max: config.retention.batch_max }
}

fn serve_bounds(config: &Config) -> serve::Bounds {
    let seconds = |count: u32| Duration::from_secs(u64::from(count));
    let limits = serve::Limits {
        connections_max: config.server.connections_max,
        per_address_max: config.server.connections_per_address_max,
        head_read_timeout: Duration::from_millis(u64::from(config.server.header_read_timeout_ms)),
        idle_timeout: seconds(config.server.idle_timeout_s),
        age_max: config.server.connection_age_max_s.map(seconds),
    };
    serve::Bounds {
        limits,
        streams_max: config.server.streams_per_connection_max,
        head_bytes_max: config.server.header_bytes_max,
        headers_max: config.server.headers_max,
        drain: seconds(config.server.drain_s),
    }
}

/// The operations port has connections of its own, and nothing under way there is worth waiting for.
fn admin_bounds(config: &Config) -> serve::Bounds {
    let connections_max = config.server.admin_connections_max;
    let main = serve_bounds(config);
    let limits = serve::Limits { connections_max, per_address_max: connections_max, ..main.limits };
    serve::Bounds { limits, drain: Duration::from_secs(1), ..main }
}

/// What the faces of all configurations have in common.
pub struct Faces {
    sandbox: Option<Arc<Sandbox>>,
    certification: Option<Arc<Certification>>,
    /// Who has signed out stays so, whatever the configuration.
    sessions: Sessions,
    audit: Option<Arc<dyn Audit>>,
    health: HealthReporter,
    /// Keys, tokens and certificates are judged by the real time.
    real_clock: Arc<dyn Clock>,
    /// Calls at work are bounded over all configurations.
    places: Arc<Places>,
    /// What has been called goes on to count where a rate stays the same.
    rates: Mutex<Arc<Rates>>,
}

impl Faces {
    fn new(
        config: &Config,
        gateway: &Gateway,
        sandbox: Option<Arc<Sandbox>>,
        certification: Option<Arc<Certification>>,
        audit: Option<Arc<dyn Audit>>,
    ) -> Self {
        let (health, _) = tonic_health::server::health_reporter();
        let places = Places::new(config.server.requests_in_flight_max);
        let sharing = match config.ephemeral.store {
            EphemeralStore::Memory => Sharing::Alone,
            EphemeralStore::Redis => Sharing::Among(NonZeroU32::new(config.redis.gateways).unwrap_or(NonZeroU32::MIN)),
        };
        let rates = Mutex::new(Arc::new(Rates::new(&gateway.directory, sharing, None)));
        let sessions = Sessions::new(Arc::clone(&gateway.secrets));
        Self { sandbox, certification, sessions, audit, health, real_clock: wiring::real_clock(), places, rates }
    }

    /// The rates of a directory's partners, from now on.
    fn rates(&self, gateway: &Gateway) -> Arc<Rates> {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        *rates = Arc::new(rates.reconfigured(&gateway.directory));
        Arc::clone(&rates)
    }

    fn health(&self) -> Health {
        Health::new(self.health.clone(), grpc::keyed(self.sandbox.is_some()))
    }

    /// Builds the faces around a gateway.
    ///
    /// # Errors
    /// The API cannot be served: a fault of the build.
    pub fn around(&self, config: &Config, gateway: Arc<Gateway>, tokens: Arc<dyn Tokens>) -> Result<Living, LifeError> {
        let certification = self.certification.clone();
        let shown = config.server.reflection.unwrap_or(config.sandbox.enabled);
        let services = grpc::services(&gateway, self.sandbox.as_ref(), &self.health, certification.as_ref(), shown)?;
        let clock = Arc::clone(&self.real_clock);
        let callers = Callers::new(config.callers.clone(), &gateway.directory, tokens, clock);
        let milliseconds = |count: u32| Duration::from_millis(u64::from(count));
        let bounds = stack::Bounds {
            deadline_default: milliseconds(config.server.deadline_default_ms),
            deadline_min: milliseconds(config.server.deadline_min_ms),
            deadline_max: milliseconds(config.server.deadline_max_ms),
        };
        let sessions = self.sessions.clone();
        let page = certification.clone().map(|certification| Page::new(certification, callers.clone(), sessions));
        let (places, rates) = (Arc::clone(&self.places), self.rates(&gateway));
        let passage = stack::Passage { bounds, places, rates, certification, audit: self.audit.clone() };
        let own = Arc::clone(&gateway);
        let keyed = services.keyed.clone();
        let guard = Guard::new(own, callers, passage, pb::DESCRIPTORS, services)?;
        let json = JsonFace::new(pb::DESCRIPTORS, &keyed, Arc::new(guard.clone()), env!("CARGO_PKG_VERSION"))?
            .waiting(milliseconds(config.server.body_read_timeout_ms));
        Ok(Living { front: Front::new(Arc::clone(&gateway), guard, json, page), gateway })
    }
}
