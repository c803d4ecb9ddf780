//! The ledger in PostgreSQL: the system of record of many gateways.
//!
//! Invariant: what was answered is durable (synchronous commit), uniqueness is a constraint of the table, and any number
//! of gateways work on one database without knowing of one another: rows are locked in one order, leases run out by the
//! clock, and nothing is ended because a gateway starts. A few writers commit in groups, and a bounded pool reads, single
//! records in groups too. Reading order: `schema`, `plan`, `ready`, `statements`, `batch`, `writer`, `pool`, `recalls`. What
//! people ask of it is in `inspect` and `verify`.

mod batch;
mod counters;
mod connect;
mod error;
mod inspect;
mod verify;
mod oversight;
mod outbox;
mod plan;
mod pool;
mod ready;
mod reads;
mod recalls;
mod rows;
pub mod schema;
mod statements;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;

use self::connect::{Connection, Connector};
pub use self::connect::{Settings, Tls};
pub use self::error::OpenError;
use self::error::Trouble;
pub use self::inspect::LedgerDatabase;
use self::pool::{Plans, Pool};
use self::recalls::Recalls;
use self::schema::SchemaState;
pub use self::writer::Figures;
use self::writer::Writers;
use crate::domain::Time;
use crate::domain::transaction::{Transaction, TransactionKey, UnitOfWork};
use crate::ports::ledger::{Commit, Ledger, LedgerUnavailable, ListQuery, Listed};

/// Of so many connections that read, one is for lists: a caller who turns pages does not slow a charge.
const READERS_TO_A_LIST: usize = 4;

/// A ledger in a database.
pub struct PostgresLedger {
    writers: Writers,
    records: Recalls,
    lists: Arc<Pool>,
}

impl PostgresLedger {
    /// Opens the ledger, if its schema is one that this release may work on. Nothing is changed: leases of others are
    /// theirs. To be called in a runtime, which must outlive the ledger.
    ///
    /// # Errors
    /// See [`OpenError`]; each says what to do.
    pub async fn open(settings: &Settings) -> Result<Self, OpenError> {
        let connector = Connector::new(settings)?;
        let connection = connector.connect().await.map_err(|trouble| OpenError::of(&trouble))?;
        let patience = settings.statement_timeout.saturating_mul(2);
        let checked = tokio::time::timeout(patience, check(&connection)).await;
        checked.unwrap_or_else(|_| Err(OpenError::of(&Trouble::Slow(patience))))?;
        let lists = settings.readers_max.div_ceil(READERS_TO_A_LIST);
        let records = settings.readers_max.saturating_sub(lists);
        let pool = Pool::new(connector.clone(), records, Plans::Kept);
        Ok(Self {
            writers: Writers::start(&connector, settings),
            records: Recalls::start(pool, records, settings.queue_max, patience),
            lists: Pool::new(connector, lists, Plans::Anew),
        })
    }

    /// How much was written since the ledger was opened.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.writers.figures()
    }

    /// Units of work that wait to be written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.writers.waiting()
    }
}

/// Brings a database to the schema of this release; answers what it was, and is.
///
/// # Errors
/// See [`OpenError`].
pub async fn migrate(settings: &Settings) -> Result<(SchemaState, SchemaState), OpenError> {
    let connection = Connector::new(settings)?.connect().await.map_err(|trouble| OpenError::of(&trouble))?;
    check_server(&connection).await?;
    schema::migrate(&connection.client).await
}

/// What schema a database has.
///
/// # Errors
/// It cannot be asked.
pub async fn schema_state(settings: &Settings) -> Result<SchemaState, OpenError> {
    let connection = Connector::new(settings)?.connect().await.map_err(|trouble| OpenError::of(&trouble))?;
    schema::read(&connection.client).await.map_err(|trouble| OpenError::of(&trouble))
}

/// Whether the server and its schema are what this release can work with.
async fn check(connection: &Connection) -> Result<(), OpenError> {
    check_server(connection).await?;
    schema::read(&connection.client).await.map_err(|trouble| OpenError::of(&trouble))?.admit()
}

/// What no setting of ours can make good.
async fn check_server(connection: &Connection) -> Result<(), OpenError> {
    let read = async {
        let text = "SELECT current_setting('server_encoding'), current_setting('fsync')";
        let row = connection.client.query_one(text, &[]).await?;
        Ok::<(String, String), Trouble>((row.try_get(0)?, row.try_get(1)?))
    };
    let (encoding, fsync) = read.await.map_err(|trouble| OpenError::of(&trouble))?;
    if encoding != "UTF8" {
        return Err(OpenError::Encoding(encoding));
    }
    if fsync != "on" {
        tracing::error!(fsync, "PostgreSQL does not wait for its disk: a loss of power loses what was acknowledged");
    }
    Ok(())
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn commit(&self, unit: UnitOfWork) -> Result<Commit, LedgerUnavailable> {
        self.writers.commit(unit).await
    }

    async fn recall(&self, key: &TransactionKey) -> Result<Option<Transaction>, LedgerUnavailable> {
        self.records.recall(key).await
    }

    async fn recall_all(&self, keys: &[TransactionKey]) -> Result<Vec<Transaction>, LedgerUnavailable> {
        Ok(reads::recall_all(&self.lists, keys).await?)
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<Listed>, LedgerUnavailable> {
        Ok(reads::list(&self.lists, query).await?)
    }

    async fn due(&self, now: Time, rows_max: u32) -> Result<Vec<Transaction>, LedgerUnavailable> {
        Ok(reads::due(&self.lists, now, rows_max).await?)
    }

    async fn walk(&self, after: i64, rows_max: u32) -> Result<Vec<Listed>, LedgerUnavailable> {
        Ok(reads::walk(&self.lists, after, rows_max).await?)
    }

    async fn check(&self) -> Result<(), LedgerUnavailable> {
        self.writers.probe().await
    }
}
