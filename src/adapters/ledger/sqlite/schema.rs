//! The schema of the ledger's file, and how a file of an older release becomes one of this release.
//!
//! Invariant: a migration that was released is never edited; a change is a new one at the end. It expands first (new
//! tables, new columns that may be empty) and contracts only in a later release, so that a backup of the release before
//! can be read. A file of a newer release is refused untouched. Statements that work on the tables are not here.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use super::OpenError;

/// Marks the file as a ledger of ours, in the header of SQLite's format: the letters `onbl`.
const APPLICATION_ID: i32 = 0x6F6E_626C;
/// Bytes up to which a file is checked whole when it is opened: well below a second. A larger one is left to
/// verification, so that a restart stays short.
const CHECKED_WHOLE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Each brings a file from the schema that is its index to the next.
const MIGRATIONS: [&str; 4] = [V1, V2, V3, V4];

/// Text and words are stored as the API spells them, so that the file can be read without this program; times are
/// microseconds since 1970, money is minor units. What was `sent` is compared with repeats and never changed.
const V1: &str = "
CREATE TABLE transactions (
    seq INTEGER PRIMARY KEY,
    partner TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('charge', 'refund')),
    ext_id TEXT NOT NULL,
    reference BLOB NOT NULL CHECK (length(reference) = 16),
    state TEXT NOT NULL CHECK (state IN ('pending', 'success', 'failure', 'unknown', 'released')),
    version INTEGER NOT NULL CHECK (version >= 1),
    lease_owner TEXT,
    lease_until_us INTEGER,
    due_at_us INTEGER,
    sent_before_us INTEGER NOT NULL,
    inquiries INTEGER NOT NULL CHECK (inquiries >= 0),
    failure TEXT CHECK (failure IS NULL OR state = 'failure'),
    private_note TEXT,
    stuck TEXT,
    accepted_at_us INTEGER NOT NULL,
    csp TEXT NOT NULL,
    account_ref TEXT NOT NULL,
    charge_code TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency TEXT NOT NULL,
    refunds_held_minor INTEGER NOT NULL DEFAULT 0,
    refunds_done_minor INTEGER NOT NULL DEFAULT 0,
    compared_version INTEGER NOT NULL,
    sent_address_type TEXT,
    sent_address TEXT,
    sent_account_id TEXT,
    sent_product TEXT NOT NULL,
    sent_amount TEXT NOT NULL,
    sent_currency TEXT NOT NULL,
    sent_description TEXT NOT NULL,
    sent_reference_id TEXT,
    UNIQUE (partner, kind, ext_id),
    CHECK (refunds_held_minor BETWEEN 0 AND amount_minor),
    CHECK (refunds_done_minor BETWEEN 0 AND refunds_held_minor),
    CHECK (kind = 'charge' OR refunds_held_minor = 0),
    CHECK ((lease_owner IS NULL) = (lease_until_us IS NULL)),
    CHECK ((sent_address_type IS NULL) = (sent_address IS NULL))
) STRICT;
CREATE INDEX transactions_by_time ON transactions (partner, accepted_at_us);
CREATE INDEX transactions_by_account ON transactions (partner, csp, account_ref, accepted_at_us);
CREATE INDEX transactions_failed ON transactions (partner, accepted_at_us) WHERE state = 'failure';
CREATE INDEX transactions_open ON transactions (partner, accepted_at_us) WHERE state IN ('pending', 'unknown');
CREATE INDEX transactions_refunds ON transactions (partner, accepted_at_us) WHERE kind = 'refund';
CREATE INDEX transactions_due ON transactions (due_at_us) WHERE due_at_us IS NOT NULL;
CREATE INDEX transactions_stuck ON transactions (accepted_at_us) WHERE stuck IS NOT NULL;

CREATE TABLE postings (
    transaction_seq INTEGER NOT NULL REFERENCES transactions (seq),
    line INTEGER NOT NULL,
    book TEXT NOT NULL CHECK (book IN ('subscriber', 'partner')),
    owner TEXT NOT NULL,
    account_ref TEXT CHECK ((book = 'subscriber') = (account_ref IS NOT NULL)),
    minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    PRIMARY KEY (transaction_seq, line)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    transaction_seq INTEGER NOT NULL UNIQUE REFERENCES transactions (seq),
    partner TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    delivery TEXT NOT NULL CHECK (delivery IN ('due', 'skipped', 'delivered', 'dead')),
    attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at_us INTEGER CHECK ((delivery = 'due') = (next_attempt_at_us IS NOT NULL)),
    last_error TEXT
) STRICT;
CREATE INDEX outbox_due ON outbox (partner, next_attempt_at_us) WHERE delivery = 'due';
CREATE INDEX outbox_dead ON outbox (partner, at_us) WHERE delivery = 'dead';

CREATE TABLE probe (
    seq INTEGER PRIMARY KEY,
    filler BLOB NOT NULL
) STRICT;
";

/// What people have decided about records that no CSP could tell of.
const V2: &str = "
CREATE TABLE decisions (
    transaction_seq INTEGER PRIMARY KEY REFERENCES transactions (seq),
    decided_at_us INTEGER NOT NULL,
    decided_as TEXT NOT NULL CHECK (decided_as IN ('success', 'failure')),
    decided_by TEXT NOT NULL,
    evidence TEXT NOT NULL
) STRICT;
";

/// Spend limits: what counts against each, and which counters a record is counted on (its limits, periods and first days,
/// as `domain::limits` writes them). A counter is never deleted, so that what is given back late finds it: there are
/// fewer than charges, which are kept for ever too.
const V3: &str = "
ALTER TABLE transactions ADD COLUMN counted TEXT;
CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    used_minor INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What an account has is found day by day. An index that begins with the account is written all over by charges of many
/// subscribers; of this one charges write the part of their day, whatever the ledger has grown to. Making it
/// takes a minute for ten million records, once.
const V4: &str = "
DROP INDEX transactions_by_account;
CREATE INDEX transactions_by_account
    ON transactions (accepted_at_us / 86400000000, partner, csp, account_ref, accepted_at_us);
";

/// Refuses a file that is none of ours, or of a newer release. It changes nothing.
pub(super) fn admit(connection: &Connection, file: &Path) -> Result<(), OpenError> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let read = || Ok((number("application_id")?, number("user_version")?, count_of_tables(connection)?));
    let (application_id, version, tables) = read().map_err(|error| OpenError::of(file, error))?;
    if tables == 0 && version == 0 {
        return Ok(());
    }
    if application_id != APPLICATION_ID {
        return Err(OpenError::NotALedger { file: file.to_owned() });
    }
    let newest = newest_version();
    match u32::try_from(version) {
        Ok(version) if version <= newest => Ok(()),
        Ok(_) | Err(_) => Err(OpenError::NewerSchema { file: file.to_owned(), found: version, newest }),
    }
}

/// The version of a file's schema.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// What a file of some version must consist of: the text of each table and index, by name.
pub(super) fn objects(connection: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// The same of an empty file of this version.
pub(super) fn objects_of_version(version: i32) -> rusqlite::Result<BTreeMap<String, String>> {
    let connection = Connection::open_in_memory()?;
    for migration in MIGRATIONS.iter().take(usize::try_from(version).unwrap_or_default()) {
        connection.execute_batch(migration)?;
    }
    objects(&connection)
}

/// Brings an admitted file to the newest schema, one transaction for each step.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (from, migration) in (0_u32..).zip(MIGRATIONS).skip_while(|(from, _)| *from < version) {
        let step = connection.transaction()?;
        step.execute_batch(migration)?;
        step.pragma_update(None, "application_id", APPLICATION_ID)?;
        step.pragma_update(None, "user_version", from.saturating_add(1))?;
        step.commit()?;
    }
    Ok(())
}

/// Looks for damage in a file that is small enough to be read through.
pub(super) fn check_whole(connection: &Connection, file: &Path) -> Result<(), OpenError> {
    let length_bytes =
        std::fs::metadata(file).map_err(|source| OpenError::Directory { directory: file.to_owned(), source })?.len();
    if length_bytes > CHECKED_WHOLE_BYTES_MAX {
        return Ok(());
    }
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| OpenError::of(file, error))?;
    if found == "ok" { Ok(()) } else { Err(OpenError::Damaged { file: file.to_owned(), found }) }
}

fn newest_version() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

fn count_of_tables(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
}
