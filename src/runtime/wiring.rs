//! The wiring: which adapter stands behind which port. The one place that sees both.
//!
//! Invariant: what a configuration names is built here or the start stops with what is wrong; no flow and no face knows
//! which store or operator it speaks to. A new operator is a folder of `adapters/csp` and an arm of `csp` below.

mod ephemeral;
pub mod ledger;
pub mod recorders;
mod sandbox;
mod tokens;
mod traces;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderValue;
use jiff::tz::TimeZone;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio_util::task::TaskTracker;

use super::config::directory::{ApiKey, HttpTable, Speaks};
use super::config::tables::GuardTable;
use super::config::{Config, SANDBOX_CSP};
use super::csp_suite::Reach;
use super::sandbox_csp::Protocol;
use super::use_cases::{self, UseCaseError};
use crate::adapters::audit;
use crate::adapters::certification::sqlite::{RUNS_FILE, RunFile, RunFileError};
use crate::adapters::clock::{ClockFileError, ManualClock, MovableSystemClock, SystemClock};
use crate::adapters::courier::http::HttpCourier;
use crate::adapters::csp::grpc::{self, GrpcCsp};
use crate::adapters::csp::guarded::{self, Guarded};
use crate::adapters::csp::http::{self, HttpCsp};
use crate::adapters::csp::sandbox::{BillError, Sandbox as ScriptedCsp, Settings};
use crate::adapters::csp::tls::TlsError;
use crate::adapters::ledger::sqlite::{LEDGER_FILE, LedgerFile};
use crate::adapters::secrets::{CertificateKey, SecretsError, SystemSecrets};
use crate::domain::Time;
use crate::domain::breaker::Rule;
use crate::domain::directory::CspProfile;
use crate::domain::ids::{CspId, InstanceId};
use crate::domain::money::Currency;
use crate::flows::certification::{Certification, Queue};
use crate::flows::deliver::Posts;
use crate::flows::sandbox::Sandbox;
use crate::flows::watch::Watchers;
use crate::flows::{Bounds, Gateway};
use crate::ports::clock::{Clock, MovableClock};
use crate::ports::csp::Csp;
use crate::ports::inspection::LedgerInspection;
use crate::ports::oversight::Oversight;
use crate::ports::sandbox::SandboxCsp;
use crate::ports::secrets::Secrets;

pub use self::ephemeral::EphemeralError;
use self::ledger::LedgerError;
use self::recorders::Recorders;
use self::sandbox::SandboxPlace;
pub use self::tokens::{IssuerError, KnownIssuers, issuers};
use self::traces::TracesError;

/// The file of the permanent key, where the configuration names no other.
pub const MASTER_KEY_FILE: &str = "master.key";
/// The file of the key that certificates are signed with.
const CERTIFICATE_KEY_FILE: &str = "certificate.key";
/// The file of the sandbox's clock.
const CLOCK_FILE: &str = "sandbox-clock";

/// Something that the configuration names cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum WiringError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The permanent key.
    #[error("the permanent key cannot be read or made")]
    Secrets(#[from] SecretsError),
    /// There is no permanent key where one was named.
    #[error("there is no permanent key: {} does not exist", .0.display())]
    NoKey(PathBuf),
    /// The sandbox's clock.
    #[error("the sandbox's clock cannot be read or made")]
    Clock(#[from] ClockFileError),
    /// The directory that sandboxes share.
    #[error("sandbox.dir: {path} cannot be used", path = .0.display())]
    SandboxDir(PathBuf, #[source] io::Error),
    /// A CSP.
    #[error("the CSP {0} cannot be opened")]
    Csp(CspId, #[source] BillError),
    /// A scripted CSP is opened at the start, with its bill.
    #[error("the scripted CSP {0} cannot be added or changed while the gateway runs: restart it")]
    ScriptedCsp(CspId),
    /// Short-lived state.
    #[error(transparent)]
    Ephemeral(#[from] EphemeralError),
    /// The collector of traces.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] audit::OpenError),
    /// The courier.
    #[error("events cannot be sent")]
    Courier(#[from] rustls::Error),
    /// The certificates that the courier is to trust.
    #[error("webhooks.ca_file: {path} cannot be used: {1}", path = .0.display())]
    EventAuthorities(PathBuf, String),
    /// An issuer of tokens.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// A CSP that is spoken to over HTTP.
    #[error("the CSP {0} cannot be spoken to")]
    HttpCsp(CspId, #[source] TlsError),
    /// A CSP whose adapter process is spoken to over gRPC.
    #[error("the CSP {0} cannot be spoken to")]
    GrpcCsp(CspId, #[source] grpc::SettingsError),
    /// A file that a CSP's table names.
    #[error("csp.{csp}.{key}: {path} cannot be read", path = .path.display())]
    CspFile {
        /// Which CSP.
        csp: CspId,
        /// Which key.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A CSP's key that cannot be sent. It is not shown.
    #[error("csp.{0}: its API key must be visible characters, at least one")]
    CspKey(CspId),
    /// The certification runs.
    #[error("the certification runs cannot be opened")]
    Runs(#[source] RunFileError),
    /// What the binary knows of the use cases.
    #[error(transparent)]
    UseCases(#[from] UseCaseError),
    /// The directory has no such CSP: the configuration was not checked.
    #[error("the CSP {0} has no profile")]
    NoProfile(CspId),
}

/// A gateway, ready to be served.
pub struct Wired {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// Its ledger, as those who run it see it.
    pub oversight: Arc<dyn Oversight>,
    /// What the sandbox has beyond it.
    pub sandbox: Option<Arc<Sandbox>>,
    /// How its CSPs are spoken to, to be kept where another configuration says the same.
    pub adapters: Adapters,
    /// What records calls.
    pub recorders: Recorders,
    /// The issuers whose tokens are taken.
    pub issuers: KnownIssuers,
    /// Certification of OTTs, in the sandbox, and what it has seen and not kept yet.
    pub certification: Option<(Arc<Certification>, Queue)>,
}

/// Builds everything that the configuration names, in a data directory that exists. Called where a runtime runs, since
/// stores keep connections.
pub fn wire(config: &Config, data_dir: &Path) -> Result<Wired, WiringError> {
    // First, since the lock of an embedded one says that no other gateway works in this directory.
    let ledger::Opened { ledger, outbox, oversight } = ledger::open(config, data_dir)?;
    let key_file: PathBuf = config.keys.master_key_file.clone().unwrap_or_else(|| data_dir.join(MASTER_KEY_FILE));
    let secrets: Arc<dyn Secrets> = Arc::new(SystemSecrets::open(&key_file)?);
    let place = SandboxPlace::of(config, data_dir)?;
    let movable = if config.sandbox.enabled { Some(Arc::new(place.clock()?)) } else { None };
    let clock: Arc<dyn Clock> = match &movable {
        Some(clock) => Arc::<MovableSystemClock>::clone(clock),
        None => Arc::new(SystemClock::new()),
    };
    let mut scripted = BTreeMap::new();
    let adapters = adapters(config, |profile, recipe| {
        if let Recipe::Sandbox { .. } = recipe {
            let opened = Arc::new(open_scripted(profile, &place, &clock)?);
            let back: Arc<dyn SandboxCsp> = Arc::<ScriptedCsp>::clone(&opened);
            scripted.insert(profile.id.clone(), back);
            return Ok(opened);
        }
        build(profile, recipe)
    })?;
    drop(place);
    let instance = InstanceId::new(secrets.fresh_correlation_id().as_str());
    let (spans, exporter) = traces::traces(&config.traces, &instance)?.unzip();
    let recorders = Recorders::new(exporter, recorders::audit(config, data_dir)?);
    let gateway = Arc::new(Gateway {
        directory: Arc::new(config.directory.clone()),
        csps: adapters.csps(),
        outbox,
        ledger,
        courier: Arc::new(HttpCourier::new(Arc::new(SystemClock::new()), event_authorities(config)?)?),
        posts: Posts::of(&config.directory),
        ephemeral: ephemeral::ephemeral(config, &secrets)?,
        clock,
        secrets,
        instance,
        bounds: bounds(config),
        watchers: Arc::new(Watchers::default()),
        spans,
        flights_asked: Arc::default(),
        tasks: TaskTracker::new(),
    });
    let sandbox = movable.map(|clock| {
        let clock: Arc<dyn MovableClock> = clock;
        Arc::new(Sandbox { csps: scripted, clock })
    });
    let certification = match &sandbox {
        Some(sandbox) => Some(certification(config, &gateway, sandbox, data_dir)?),
        None => None,
    };
    let issuers = issuers(config, &KnownIssuers::default())?;
    Ok(Wired { gateway, oversight, sandbox, adapters, recorders, issuers, certification })
}

/// Builds the gateway of another configuration around what a running one has. A CSP that is the same keeps its adapter:
/// its connections, and what is known of it.
///
/// # Errors
/// Something new cannot be built; nothing has changed then.
pub fn rewire(config: &Config, running: &Gateway, before: &Adapters) -> Result<(Gateway, Adapters), WiringError> {
    let adapters = adapters(config, |profile, recipe| match before.0.get(&profile.id) {
        Some(known) if known.recipe == *recipe => Ok(Arc::clone(&known.bare)),
        _ => build(profile, recipe),
    })?;
    let kept = adapters.0.into_iter().map(|(id, new)| match before.0.get(&id) {
        Some(known) if known.recipe == new.recipe && known.guard == new.guard => (id, known.clone()),
        _ => (id, new),
    });
    let adapters = Adapters(kept.collect());
    Ok((running.reconfigured(config.directory.clone(), adapters.csps(), bounds(config)), adapters))
}

/// The real time, whatever the gateway's clock says: what callers are known by is judged by it.
#[must_use]
pub fn real_clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

const fn bounds(config: &Config) -> Bounds {
    Bounds {
        pin_ttl_s: config.pin.ttl_s,
        pin_tries_max: config.pin.tries_max,
        lease_s: config.charge.lease_s,
        attempts_max: config.charge.attempts_max,
        retry_pause_ms: config.charge.retry_pause_ms,
        watchers_max: config.server.watchers_max,
        watchers_per_partner_max: config.server.watchers_per_partner_max,
    }
}

/// Certification over the runs in a data directory.
fn certification(
    config: &Config,
    gateway: &Arc<Gateway>,
    sandbox: &Arc<Sandbox>,
    data_dir: &Path,
) -> Result<(Arc<Certification>, Queue), WiringError> {
    let runs = RunFile::open(&data_dir.join(RUNS_FILE)).map_err(WiringError::Runs)?;
    let key = CertificateKey::open(&data_dir.join(CERTIFICATE_KEY_FILE))?;
    let recognisers = use_cases::recognisers(config.pin.ttl_s)?;
    let (gateway, sandbox) = (Arc::clone(gateway), Arc::clone(sandbox));
    Ok(Certification::new(gateway, sandbox, Arc::new(runs), Arc::new(key), recognisers))
}

/// The ledger of a data directory, to be looked at beside a gateway that may be running.
#[must_use]
pub fn inspection_of(data_dir: &Path) -> Box<dyn LedgerInspection> {
    inspection(&data_dir.join(LEDGER_FILE))
}

/// A ledger's file, to be looked at.
#[must_use]
pub fn inspection(file: &Path) -> Box<dyn LedgerInspection> {
    Box::new(LedgerFile::new(file))
}

/// Where the permanent key of a configuration is.
#[must_use]
pub fn key_file_of(config: &Config) -> Option<PathBuf> {
    let in_data_dir = || config.server.data_dir.as_ref().map(|data_dir| data_dir.join(MASTER_KEY_FILE));
    config.keys.master_key_file.clone().or_else(in_data_dir)
}

/// The permanent key in a file that is there.
pub fn key(file: &Path) -> Result<Box<dyn Secrets>, WiringError> {
    if !file.is_file() {
        return Err(WiringError::NoKey(file.to_owned()));
    }
    Ok(Box::new(SystemSecrets::open(file)?))
}

/// The sandbox CSP outside a gateway.
pub struct ScriptedOperator {
    /// As a gateway knows it.
    pub csp: Arc<dyn Csp>,
    /// What is behind it.
    pub back: Arc<dyn SandboxCsp>,
    /// Its clock.
    pub clock: Arc<dyn MovableClock>,
}

/// Opens the sandbox CSP with a clock of its own: the system's, or one that stands until it is moved.
pub fn scripted_csp(
    data_dir: &Path,
    bill: &Path,
    currency: Currency,
    standing_at: Option<Time>,
) -> Result<ScriptedOperator, WiringError> {
    let clock: Arc<dyn MovableClock> = match standing_at {
        Some(time) => Arc::new(ManualClock::new(time)),
        None => Arc::new(MovableSystemClock::open(&data_dir.join(CLOCK_FILE))?),
    };
    let settings = Settings { currency, time_zone: TimeZone::UTC, clock: Arc::<dyn MovableClock>::clone(&clock) };
    let opened = ScriptedCsp::open(bill, settings);
    let scripted = Arc::new(opened.map_err(|error| WiringError::Csp(CspId::new(SANDBOX_CSP), error))?);
    Ok(ScriptedOperator { csp: Arc::<ScriptedCsp>::clone(&scripted), back: scripted, clock })
}

/// The adapter of a CSP that no configuration names, without bounds around it.
pub fn reached_csp(reach: &Reach, not_applied: &[String]) -> Result<Arc<dyn Csp>, WiringError> {
    let Reach { protocol, url, api_key, ca_pem, client_pem } = reach.clone();
    let id = CspId::new(url.host().unwrap_or_default());
    let client_pem = client_pem.map(|(certificates, key)| http::ClientPem { certificates, key });
    let settings = Box::new(http::Settings { url, api_key, ca_pem, client_pem, not_applied: not_applied.to_vec() });
    built(&id, &if protocol == Protocol::Http { Recipe::Http(settings) } else { Recipe::Grpc(settings) })
}

/// How the CSPs of a gateway are spoken to.
pub struct Adapters(BTreeMap<CspId, Known>);

#[derive(Clone)]
struct Known {
    recipe: Recipe,
    guard: GuardTable,
    /// The adapter itself.
    bare: Arc<dyn Csp>,
    /// The same within its bounds.
    guarded: Arc<dyn Csp>,
}

/// All that an adapter is made of, what is in its files included: two that are equal are the same operator.
#[derive(Clone, PartialEq)]
enum Recipe {
    Sandbox {
        currency: Currency,
        time_zone: TimeZone,
    },
    Http(Box<http::Settings>),
    /// An adapter process is reached by the same settings.
    Grpc(Box<http::Settings>),
}

impl Adapters {
    fn csps(&self) -> BTreeMap<CspId, Arc<dyn Csp>> {
        self.0.iter().map(|(id, known)| (id.clone(), Arc::clone(&known.guarded))).collect()
    }
}

/// Has each adapter of a configuration built, and puts it within its bounds.
fn adapters(
    config: &Config,
    mut build: impl FnMut(&CspProfile, &Recipe) -> Result<Arc<dyn Csp>, WiringError>,
) -> Result<Adapters, WiringError> {
    let mut all = BTreeMap::new();
    for (id, adapter, guard) in &config.adapters {
        let profile = config.directory.csp(id).ok_or_else(|| WiringError::NoProfile(id.clone()))?;
        let recipe = recipe(adapter, profile)?;
        let bare = build(profile, &recipe)?;
        let guarded = guarded(profile, Arc::clone(&bare), guard);
        all.insert(id.clone(), Known { recipe, guard: guard.clone(), bare, guarded });
    }
    Ok(Adapters(all))
}

/// Reads what an adapter is made of.
fn recipe(adapter: &Speaks, profile: &CspProfile) -> Result<Recipe, WiringError> {
    match adapter {
        Speaks::Sandbox => Ok(Recipe::Sandbox { currency: profile.currency, time_zone: profile.time_zone.clone() }),
        Speaks::Http(table) => Ok(Recipe::Http(Box::new(http_settings(&profile.id, table)?))),
        Speaks::Grpc(table) => Ok(Recipe::Grpc(Box::new(http_settings(&profile.id, table)?))),
    }
}

/// Whom the courier trusts: the public authorities, and those that the configuration names.
fn event_authorities(config: &Config) -> Result<RootCertStore, WiringError> {
    let mut authorities = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let Some(path) = &config.webhooks.ca_file else { return Ok(authorities) };
    let unusable = |why: String| WiringError::EventAuthorities(path.clone(), why);
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let mut added = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        authorities.add(certificate).map_err(|error| unusable(error.to_string()))?;
        added = added.saturating_add(1);
    }
    if added == 0 { Err(unusable("there is no certificate in it".to_owned())) } else { Ok(authorities) }
}

/// Builds the adapter of one CSP.
fn build(profile: &CspProfile, recipe: &Recipe) -> Result<Arc<dyn Csp>, WiringError> {
    built(&profile.id, recipe)
}

fn built(id: &CspId, recipe: &Recipe) -> Result<Arc<dyn Csp>, WiringError> {
    match recipe {
        Recipe::Sandbox { .. } => Err(WiringError::ScriptedCsp(id.clone())),
        Recipe::Http(settings) => {
            let http = HttpCsp::new(settings.as_ref().clone());
            Ok(Arc::new(http.map_err(|error| WiringError::HttpCsp(id.clone(), error))?))
        }
        Recipe::Grpc(settings) => {
            let http::Settings { url, api_key, ca_pem, client_pem, not_applied } = settings.as_ref().clone();
            let grpc = GrpcCsp::new(grpc::Settings { url, api_key, ca_pem, client_pem, not_applied });
            Ok(Arc::new(grpc.map_err(|error| WiringError::GrpcCsp(id.clone(), error))?))
        }
    }
}

/// Opens the scripted CSP with its bill in the data directory.
fn open_scripted(
    profile: &CspProfile,
    place: &SandboxPlace,
    clock: &Arc<dyn Clock>,
) -> Result<ScriptedCsp, WiringError> {
    let (currency, time_zone) = (profile.currency, profile.time_zone.clone());
    let settings = Settings { currency, time_zone, clock: Arc::clone(clock) };
    place.csp(&profile.id, settings).map_err(|error| WiringError::Csp(profile.id.clone(), error))
}

/// Puts an operator behind its bounds.
fn guarded(profile: &CspProfile, csp: Arc<dyn Csp>, table: &GuardTable) -> Arc<dyn Csp> {
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let rule = Rule {
        window_ms: table.window_ms,
        calls_min: table.calls_min,
        failure_percent: table.failure_percent,
        open_ms: table.open_ms,
        probes: table.probes,
    };
    let settings = guarded::Settings {
        calls_max: count(table.calls_max),
        inquiries_max: count(table.inquiries_max),
        queue_max: count(table.queue_max),
        queue_wait: Duration::from_millis(u64::from(table.queue_wait_ms)),
        breaker: table.breaker.then_some(rule),
    };
    Arc::new(Guarded::new(&profile.id, csp, settings))
}

/// Reads the files that the settings of an adapter name which goes over a network.
fn http_settings(id: &CspId, table: &HttpTable) -> Result<http::Settings, WiringError> {
    let read = |key: &'static str, path: &Path| {
        std::fs::read(path).map_err(|source| WiringError::CspFile { csp: id.clone(), key, path: path.into(), source })
    };
    let api_key = match &table.api_key {
        None => None,
        Some(ApiKey::Given(key)) => Some(key.expose().as_bytes().to_vec()),
        Some(ApiKey::InFile(path)) => Some(read("api_key_file", path)?),
    };
    let header = |bytes: Vec<u8>| {
        let mut value = HeaderValue::from_bytes(bytes.trim_ascii()).ok().filter(|value| !value.is_empty())?;
        value.set_sensitive(true);
        Some(value)
    };
    let api_key = match api_key {
        None => None,
        Some(bytes) => Some(header(bytes).ok_or_else(|| WiringError::CspKey(id.clone()))?),
    };
    let client_pem = match (&table.client_cert_file, &table.client_key_file) {
        (Some(certificates), Some(key)) => Some(http::ClientPem {
            certificates: read("client_cert_file", certificates)?,
            key: read("client_key_file", key)?,
        }),
        (None, _) | (_, None) => None,
    };
    Ok(http::Settings {
        url: table.url.clone(),
        api_key,
        client_pem,
        ca_pem: table.ca_file.as_deref().map(|path| read("ca_file", path)).transpose()?,
        not_applied: table.not_applied_codes.clone(),
    })
}
