//! A Redis and a PostgreSQL for many gateways, and the lines of a configuration that name them.
//!
//! Invariant: the database has the schema of this build, made by `onbill migrate` as an operator of gateways would.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use crate::servers::{postgres, redis};

/// How long gateways wait for a store, in milliseconds: as long as busy test machines need.
pub const PATIENT_MS: u32 = 3_000;
/// The same where deadlines are short.
pub const HASTY_MS: u32 = 1_000;

/// The stores, and the key that gateways share.
pub struct Stores {
    pub redis: redis::Server,
    pub database: postgres::Database,
    directory: TempDir,
}

impl Stores {
    /// A Redis of their own, and a database on the PostgreSQL of all tests.
    pub fn beside_others() -> Self {
        Self::of(postgres::Database::fresh())
    }

    /// Both of their own, so that both can be disturbed.
    pub fn apart() -> Self {
        Self::of(postgres::Database::on(&Arc::new(postgres::Server::start())))
    }

    fn of(database: postgres::Database) -> Self {
        let directory = TempDir::new().expect("a directory");
        let stores = Self { redis: redis::Server::start(), database, directory };
        let file = stores.write(&format!("[sandbox]\nenabled = true\n{}", stores.settings(PATIENT_MS)));
        let migrated = Command::new(env!("CARGO_BIN_EXE_onbill")).args(["migrate", "--config"]).arg(&file).output();
        let migrated = migrated.expect("the built binary");
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        stores
    }

    /// What a configuration says of them.
    pub fn settings(&self, patience_ms: u32) -> String {
        self.settings_by(&self.redis.address(), &self.database.url(), patience_ms)
    }

    /// The same, where they are reached by another way.
    pub fn settings_by(&self, redis: &str, postgres: &str, patience_ms: u32) -> String {
        let redis_lines = format!(
            "addresses = [\"{redis}\"]\nconnect_timeout_ms = {patience_ms}\nresponse_timeout_ms = {patience_ms}"
        );
        self.settings_over(&redis_lines, postgres, patience_ms)
    }

    /// The same, with lines that say which servers of Redis there are, and how long they are waited for.
    pub fn settings_over(&self, redis_lines: &str, postgres: &str, patience_ms: u32) -> String {
        let key = self.directory.path().join("master.key");
        format!(
            r#"
[keys]
master_key_file = "{}"
[ephemeral]
store = "redis"
[redis]
{redis_lines}
[ledger]
store = "postgres"
[postgres]
url = "{postgres}"
tls = "disable"
connect_timeout_ms = {patience_ms}
statement_timeout_ms = {patience_ms}
"#,
            key.display()
        )
    }

    /// Writes a configuration that commands can be given.
    pub fn write(&self, text: &str) -> PathBuf {
        let file = self.directory.path().join("onbill.toml");
        std::fs::write(&file, text).expect("a configuration file");
        file
    }

    /// Whether every invariant of the ledger holds, and what `onbill ledger verify` says.
    pub fn verify(&self, config: &str) -> (bool, String) {
        let file = self.write(config);
        let verified = Command::new(env!("CARGO_BIN_EXE_onbill"))
            .args(["ledger", "verify", "--config"])
            .arg(&file)
            .output()
            .expect("the built binary");
        let told = [verified.stdout, verified.stderr].concat();
        (verified.status.success(), String::from_utf8_lossy(&told).into_owned())
    }
}
