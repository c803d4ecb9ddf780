//! The ledger: in a file of the data directory, or in PostgreSQL.
//!
//! Invariant: whatever asks for the ledger of a configuration finds the one that the gateway works with; which store it
//! is in is decided here and nowhere else.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::adapters::ledger::postgres::schema::{self, SchemaState};
use crate::adapters::ledger::postgres::{self, LedgerDatabase, OpenError, PostgresLedger, Settings, Tls};
use crate::adapters::ledger::sqlite::{self, LEDGER_FILE, LedgerFile, SqliteLedger};
use crate::ports::inspection::LedgerInspection;
use crate::ports::ledger::Ledger;
use crate::ports::outbox::Outbox;
use crate::ports::oversight::Oversight;
use crate::runtime::config::Config;
use crate::runtime::config::postgres::{LedgerStore, Postgres, PostgresTls};

/// Why the ledger cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Its file.
    #[error("the ledger cannot be opened")]
    Sqlite(#[from] sqlite::OpenError),
    /// Its database.
    #[error("the ledger cannot be opened")]
    Postgres(#[from] OpenError),
    /// A file that a key names.
    #[error("postgres.{key}: {path} cannot be read", path = .path.display())]
    File {
        /// Which key.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A secret that is not a text. It is not shown.
    #[error("postgres.{0}: the file must hold one line of UTF-8")]
    Secret(&'static str),
    /// The configuration keeps its ledger in a file and does not say where.
    #[error("server.data_dir is not set: the ledger is in it")]
    NoDataDir,
    /// The system gives no runtime.
    #[error("the system refused")]
    Runtime(#[source] io::Error),
}

/// The ledger, as each port knows it.
pub(super) struct Opened {
    pub ledger: Arc<dyn Ledger>,
    pub outbox: Arc<dyn Outbox>,
    pub oversight: Arc<dyn Oversight>,
}

/// Opens what the configuration names. Called where a runtime runs, but not by one of its tasks: it waits.
pub(super) fn open(config: &Config, data_dir: &Path) -> Result<Opened, LedgerError> {
    match config.ledger.store {
        LedgerStore::Sqlite => {
            let ledger = Arc::new(SqliteLedger::open(data_dir)?);
            let outbox: Arc<dyn Outbox> = Arc::<SqliteLedger>::clone(&ledger);
            Ok(Opened { outbox, oversight: Arc::<SqliteLedger>::clone(&ledger), ledger })
        }
        LedgerStore::Postgres => {
            let settings = settings(&config.postgres)?;
            let ledger = Arc::new(Handle::current().block_on(PostgresLedger::open(&settings))?);
            let outbox: Arc<dyn Outbox> = Arc::<PostgresLedger>::clone(&ledger);
            Ok(Opened { outbox, oversight: Arc::<PostgresLedger>::clone(&ledger), ledger })
        }
    }
}

/// The ledger of a configuration, to be looked at beside a gateway that may be running.
pub fn inspection_of_config(config: &Config) -> Result<Box<dyn LedgerInspection>, LedgerError> {
    match config.ledger.store {
        LedgerStore::Sqlite => {
            let data_dir = config.server.data_dir.as_deref().ok_or(LedgerError::NoDataDir)?;
            Ok(Box::new(LedgerFile::new(&data_dir.join(LEDGER_FILE))))
        }
        LedgerStore::Postgres => Ok(Box::new(LedgerDatabase::new(settings(&config.postgres)?))),
    }
}

/// What is to be done about a schema, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migration {
    /// The store is a file, which a gateway brings up to date when it opens it.
    ByItself,
    /// The store is a database.
    Database {
        /// The schema that it had; 0 where it had none.
        before: i32,
        /// The schema that it has now.
        now: i32,
        /// The schema that this release needs.
        needed: i32,
        /// Whether this release may work on it.
        is_admitted: bool,
    },
}

impl Migration {
    fn of(before: SchemaState, now: SchemaState) -> Self {
        let is_admitted = now.admit().is_ok();
        Self::Database { before: before.version, now: now.version, needed: schema::newest(), is_admitted }
    }
}

/// Brings the ledger of a configuration to the schema of this release, or only looks.
pub fn migrate(config: &Config, only_looks: bool) -> Result<Migration, LedgerError> {
    if config.ledger.store == LedgerStore::Sqlite {
        return Ok(Migration::ByItself);
    }
    let settings = settings(&config.postgres)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LedgerError::Runtime)?;
    runtime.block_on(async {
        if only_looks {
            let state = postgres::schema_state(&settings).await?;
            return Ok(Migration::of(state, state));
        }
        let (before, now) = postgres::migrate(&settings).await?;
        Ok(Migration::of(before, now))
    })
}

fn settings(table: &Postgres) -> Result<Settings, LedgerError> {
    let secret = |key: &'static str, path: &Path| {
        let bytes = read(key, path)?;
        let text = String::from_utf8(bytes).map_err(|_| LedgerError::Secret(key))?;
        let line = text.trim_end_matches(['\r', '\n']);
        if line.is_empty() || line.contains('\n') { Err(LedgerError::Secret(key)) } else { Ok(line.to_owned()) }
    };
    let url = match (&table.url, &table.url_file) {
        (Some(url), _) => url.expose().to_owned(),
        (None, Some(file)) => secret("url_file", file)?,
        (None, None) => String::new(),
    };
    let password = match (&table.password, &table.password_file) {
        (Some(password), _) => Some(password.expose().to_owned()),
        (None, Some(file)) => Some(secret("password_file", file)?),
        (None, None) => None,
    };
    Ok(Settings {
        url,
        password,
        tls: match table.tls {
            PostgresTls::Disable => Tls::Disable,
            PostgresTls::Require => Tls::Require,
            PostgresTls::VerifyFull => Tls::VerifyFull,
        },
        ca_pem: table.ca_file.as_deref().map(|file| read("ca_file", file)).transpose()?,
        readers_max: table.readers_max,
        writers: table.writers,
        queue_max: table.queue_max,
        connect_timeout: Duration::from_millis(u64::from(table.connect_timeout_ms)),
        statement_timeout: Duration::from_millis(u64::from(table.statement_timeout_ms)),
    })
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, LedgerError> {
    std::fs::read(path).map_err(|source| LedgerError::File { key, path: path.into(), source })
}
