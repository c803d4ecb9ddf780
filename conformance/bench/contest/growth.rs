//! Charges on ledgers that have grown, and on empty ones of the same kind.
//!
//! Invariant: a ledger is grown once and measured in every round; what a round adds stays in it, under ids of its own. An
//! empty one is made anew for each round. Names of contenders that are held against each other differ by `none`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use onbill::adapters::ledger::sqlite::LEDGER_FILE;
use tempfile::TempDir;

use super::gateway::Bench;
use super::ground::servers::postgres::Database;
use super::grown::{self, Ids};
use super::sample::Sample;

/// What the names of contenders here begin with. They are measured where they are asked for.
pub const NAMES: &str = "grown";

/// Ids of charges.
#[derive(Debug, Clone, Copy)]
pub enum Keys {
    InOrder,
    AtRandom,
}

/// Ledgers that have grown, each as soon as it is needed.
pub struct Grown {
    many: u64,
    kept: Option<PathBuf>,
    sqlite: OnceLock<Result<(PathBuf, Option<TempDir>), String>>,
    postgres: OnceLock<Result<(Database, TempDir), String>>,
}

impl Grown {
    /// Of so many transactions; that of SQLite in a directory that is kept, or in one that goes.
    pub const fn new(many: u64, kept: Option<PathBuf>) -> Self {
        Self { many, kept, sqlite: OnceLock::new(), postgres: OnceLock::new() }
    }

    fn sqlite(&self, bench: &Bench) -> Result<&Path, String> {
        let grow = || {
            let (data, goes) = if let Some(kept) = &self.kept {
                (kept.clone(), None)
            } else {
                let directory = bench.directory();
                (directory.path().join("data"), Some(directory))
            };
            if !data.join(LEDGER_FILE).exists() {
                std::fs::create_dir_all(&data).map_err(|error| error.to_string())?;
                grown::sqlite(&data, self.many, Ids::Random)?;
            }
            Ok((data, goes))
        };
        self.sqlite.get_or_init(grow).as_ref().map(|(data, _)| data.as_path()).map_err(Clone::clone)
    }

    /// The database, and what its gateways share.
    fn postgres(&self, bench: &Bench) -> Result<&(Database, TempDir), String> {
        let grow = || {
            let (database, shared) = (Database::on(bench.postgres()), bench.directory());
            bench.migrate(&bench.on_stores(shared.path(), &database.url()))?;
            grown::postgres(&database, self.many);
            Ok((database, shared))
        };
        self.postgres.get_or_init(grow).as_ref().map_err(Clone::clone)
    }
}

pub fn sqlite_empty(bench: &Bench, keys: Keys) -> Result<Sample, String> {
    let gateway = bench.sandbox()?;
    bench.load(&gateway.url, &[gateway.pid()], load(keys))
}

pub fn sqlite_grown(bench: &Bench, keys: Keys) -> Result<Sample, String> {
    let gateway = bench.sandbox_at(bench.grown.sqlite(bench)?)?;
    bench.load(&gateway.url, &[gateway.pid()], load(keys))
}

pub fn postgres_empty(bench: &Bench, keys: Keys) -> Result<Sample, String> {
    let (shared, database) = (bench.directory(), Database::on(bench.postgres()));
    let config = bench.on_stores(shared.path(), &database.url());
    bench.migrate(&config)?;
    let gateway = bench.gateway(&config)?;
    bench.load(&gateway.url, &[gateway.pid()], load(keys))
}

pub fn postgres_grown(bench: &Bench, keys: Keys) -> Result<Sample, String> {
    let (database, shared) = bench.grown.postgres(bench)?;
    let gateway = bench.gateway(&bench.on_stores(shared.path(), &database.url()))?;
    bench.load(&gateway.url, &[gateway.pid()], load(keys))
}

const fn load(keys: Keys) -> &'static [&'static str] {
    match keys {
        Keys::InOrder => &["--in-flight", "128", "--connections", "2", "--mix", "charge"],
        Keys::AtRandom => &["--in-flight", "128", "--connections", "2", "--mix", "charge", "--ids", "random"],
    }
}
