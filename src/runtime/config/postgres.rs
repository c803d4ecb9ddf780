//! `[ledger]` and `[postgres]`: where the system of record is.
//!
//! Invariant: a store that many gateways share needs a permanent key that they share too, or the same request would go
//! to a CSP under two references; without one the start stops. What `[postgres]` says is judged only where it is used.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::shape::Report;
use super::tables::{Secret, Tables};

/// Where the ledger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LedgerStore {
    /// In a file of the data directory: one gateway.
    Sqlite,
    /// In PostgreSQL: any number of gateways.
    Postgres,
}

/// The system of record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ledger {
    /// Where it is.
    pub store: LedgerStore,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { store: LedgerStore::Sqlite }
    }
}

/// How connections to PostgreSQL are protected, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PostgresTls {
    /// Not at all.
    Disable,
    /// Encrypted, to a server of a trusted authority.
    Require,
    /// The name in its certificate is checked, too.
    VerifyFull,
}

/// How PostgreSQL is reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Postgres {
    /// Hosts, user and database. It may hold a password, so it is a secret.
    pub url: Option<Secret>,
    /// File of the URL.
    pub url_file: Option<PathBuf>,
    /// The password; it wins over the file, and over the URL's.
    pub password: Option<Secret>,
    /// File of the password.
    pub password_file: Option<PathBuf>,
    /// How connections are protected.
    pub tls: PostgresTls,
    /// File of the only authorities that are trusted.
    pub ca_file: Option<PathBuf>,
    /// Most connections that read.
    pub readers_max: usize,
    /// Connections that write.
    pub writers: usize,
    /// Most units of work that wait to be written.
    pub queue_max: usize,
    /// Milliseconds that connecting to one host may take.
    pub connect_timeout_ms: u32,
    /// Milliseconds that one statement may take.
    pub statement_timeout_ms: u32,
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            password: None,
            password_file: None,
            tls: PostgresTls::VerifyFull,
            ca_file: None,
            readers_max: 8,
            writers: 2,
            queue_max: 4_096,
            connect_timeout_ms: 2_000,
            statement_timeout_ms: 3_000,
        }
    }
}

/// Reports what cannot stand together, where PostgreSQL is used.
pub(super) fn check(tables: &Tables, report: &mut Report) {
    if tables.ledger.store != LedgerStore::Postgres {
        return;
    }
    let postgres = &tables.postgres;
    if postgres.url.is_none() && postgres.url_file.is_none() {
        report.at(&["postgres", "url"], "must be set, or url_file, where ledger.store is \"postgres\"");
    }
    if tables.keys.master_key_file.is_none() {
        let text = "must be set where ledger.store is \"postgres\": all gateways of one ledger share one permanent key, \
                    or one transaction would have a reference from each";
        report.at(&["keys", "master_key_file"], text);
    }
}
