//! Configuration: read once, checked as a whole, and the only reader of the environment.
//!
//! Invariant: a [`Config`] that exists is one that the gateway can run with. Every value is within its bounds, all fit
//! one another, and what does not is listed at once, by key and origin, before anything listens. A later layer wins:
//! defaults, the built-in sandbox, the file, the environment (`ONBILL__SECTION__KEY`), the command line.
//! Nothing is read again later, and nobody but the wiring sees the whole of it.

pub mod effective;
pub mod problem;
pub mod schema;
pub mod tables;
pub mod csp;
pub mod directory;
pub mod callers;
pub mod limits;
pub mod redis;
pub mod postgres;
pub mod seeing;
mod layers;
mod relations;
mod sandbox;
mod shape;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};

use self::callers::IssuerPlan;
use self::directory::Speaks;
use self::effective::Effective;
use self::layers::Layers;
use self::postgres::{Ledger, Postgres};
use self::problem::{Problem, Problems};
use self::redis::{Ephemeral, Redis};
use self::seeing::{Audit, Traces};
use self::shape::Report;
use self::tables::{Charge, GuardTable, Keys, Log, Pin, Reconcile, Retention, Sandbox, Server, Tables, Webhooks};
use crate::domain::Time;
use crate::domain::directory::Directory;
use crate::domain::ids::CspId;
use crate::faces::auth::KnownCallers;

pub use self::sandbox::{DEMO_KEYS, SANDBOX_CSP};

/// Most bytes of a file: room for thousands of partners.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The variables of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, Option<String>>);

impl Environment {
    /// The variables of this process. A value that is not UTF-8 is kept as `None`, to be refused if it is a setting.
    #[must_use]
    pub fn of_process() -> Self {
        let variables =
            std::env::vars_os().map(|(name, text)| (name.to_string_lossy().into_owned(), text.into_string().ok()));
        Self(variables.collect())
    }

    /// A variable that is text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_deref()
    }

    /// Variables that somebody else has made up.
    #[must_use]
    pub fn of<const N: usize>(variables: [(&str, &str); N]) -> Self {
        Self(variables.into_iter().map(|(name, text)| (name.to_owned(), Some(text.to_owned()))).collect())
    }
}

/// What the command line sets.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--listen`
    pub listen: Option<SocketAddr>,
    /// `--admin-listen`
    pub admin_listen: Option<SocketAddr>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
}

/// Where a configuration is read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file. Without one the gateway is a sandbox.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Environment,
    /// The command line.
    pub overrides: Overrides,
}

/// A configuration to run with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Ports, deadlines and what bounds the load.
    pub server: Server,
    /// The log.
    pub log: Log,
    /// PINs.
    pub pin: Pin,
    /// Charges and refunds under way.
    pub charge: Charge,
    /// The worker that finds outcomes out.
    pub reconcile: Reconcile,
    /// What the ledger forgets.
    pub retention: Retention,
    /// Keys of the gateway itself.
    pub keys: Keys,
    /// How events are carried.
    pub webhooks: Webhooks,
    /// Where short-lived state is kept.
    pub ephemeral: Ephemeral,
    /// How Redis is reached.
    pub redis: Redis,
    /// Where the ledger is.
    pub ledger: Ledger,
    /// How PostgreSQL is reached.
    pub postgres: Postgres,
    /// Spans, and where they go.
    pub traces: Traces,
    /// The audit log.
    pub audit: Audit,
    /// The built-in sandbox.
    pub sandbox: Sandbox,
    /// All partners and CSPs.
    pub directory: Directory,
    /// What callers are known by.
    pub callers: KnownCallers,
    /// How the tokens of each issuer are verified.
    pub issuers: Vec<IssuerPlan>,
    /// How each CSP is spoken to, and the bounds around it.
    pub adapters: Vec<(CspId, Speaks, GuardTable)>,
    /// All of it as the start log shows it.
    pub effective: Effective,
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        let file = sources.file.as_deref().map(read_file).transpose()?;
        let mut problems = Vec::new();
        let layers = layers(sources, file.as_ref(), &mut problems);
        let mut values = layers.values().clone();
        let mut report = Report::new(&layers, problems);
        shape::check(&mut values, &mut report);
        let tables: Tables = match Value::from(values).deserialize() {
            Ok(tables) => tables,
            // The table of keys admits what the typed tables do not: still a reason not to start.
            Err(error) => {
                report.at(&error.path, error.kind.to_string());
                return Err(Problems(report.into_problems()));
            }
        };
        relations::check(&tables, &mut report);
        let built = directory::build(&tables, &mut report);
        // The real time, as everything that callers are known by is judged.
        let (callers, issuers) = callers::build(&tables, Time::now(), &mut report);
        let effective = Effective::of(&tables, &layers);
        let problems = report.into_problems();
        let Some(built) = built.filter(|_| problems.is_empty()) else {
            return Err(Problems(problems));
        };
        Ok(Self {
            server: tables.server,
            log: tables.log,
            pin: tables.pin,
            charge: tables.charge,
            reconcile: tables.reconcile,
            retention: tables.retention,
            keys: tables.keys,
            webhooks: tables.webhooks,
            ephemeral: tables.ephemeral,
            redis: tables.redis,
            ledger: tables.ledger,
            postgres: tables.postgres,
            traces: tables.traces,
            audit: tables.audit,
            sandbox: tables.sandbox,
            directory: built.directory,
            callers,
            issuers,
            adapters: built.adapters,
            effective,
        })
    }
}

/// Where temporary directories are made on this system.
#[must_use]
pub fn temporary_root() -> PathBuf {
    std::env::temp_dir()
}

/// Reads a file whole.
fn read_file(path: &Path) -> Result<(String, Dict), Problems> {
    let origin = format!("file {}", path.display());
    let refuse = |text: String| Problems(vec![Problem { key: None, origin: Some(origin.clone()), text }]);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| refuse(format!("cannot be opened: {error}")))?;
    file.take(FILE_BYTES_MAX.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| refuse(format!("cannot be read: {error}")))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(refuse(format!("must be at most {FILE_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| refuse("must be UTF-8".to_owned()))?;
    let values = layers::parse_toml(&text).map_err(refuse)?;
    Ok((origin, values))
}

/// Lays the sources over one another, each value with its origin.
fn layers(sources: &Sources, file: Option<&(String, Dict)>, problems: &mut Vec<Problem>) -> Layers {
    let enabled = ["sandbox", "enabled"];
    let default = Layers::default().over_key("default", &enabled, Value::from(file.is_none()));
    let over_file = |layers: Layers| match file {
        Some((origin, values)) => layers.over(origin, values.clone()),
        None => layers,
    };
    // Whether the sandbox lies at the bottom is itself a setting, so the layers above it are looked at first.
    let over_environment = |layers: Layers, problems: &mut Vec<Problem>| {
        let settings = layers::settings(&sources.environment.0, layers.values(), problems);
        settings.iter().fold(layers, |layers, setting| {
            let origin = format!("environment variable {}", setting.variable);
            layers.over_key(&origin, &setting.path, layers::value_of(setting))
        })
    };
    let without_sandbox = over_environment(over_file(default.clone()), &mut Vec::new());
    let in_effect = Value::from(without_sandbox.values().clone());
    let is_sandbox = in_effect.find_ref("sandbox.enabled").and_then(Value::to_bool).unwrap_or(file.is_none());
    let bottom = if is_sandbox { default.over("the built-in sandbox", sandbox::layer()) } else { default };
    over_command_line(over_environment(over_file(bottom), problems), &sources.overrides, problems)
}

fn over_command_line(layers: Layers, overrides: &Overrides, problems: &mut Vec<Problem>) -> Layers {
    let address = |address: &Option<SocketAddr>| address.map(|address| address.to_string());
    let data_dir = overrides.data_dir.as_deref().map(Path::to_str);
    if data_dir == Some(None) {
        let (key, origin) = ("server.data_dir".to_owned(), "--data-dir".to_owned());
        problems.push(Problem { key: Some(key), origin: Some(origin), text: "must be UTF-8".to_owned() });
    }
    let options = [
        ("--listen", "listen", address(&overrides.listen)),
        ("--admin-listen", "admin_listen", address(&overrides.admin_listen)),
        ("--data-dir", "data_dir", data_dir.flatten().map(ToOwned::to_owned)),
    ];
    options.into_iter().fold(layers, |layers, (option, key, text)| match text {
        Some(text) => layers.over_key(option, &["server", key], Value::from(text)),
        None => layers,
    })
}
