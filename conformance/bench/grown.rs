//! A ledger that has grown: booked charges, put in with the tools of its store and in the order of time, within minutes.
//!
//! Invariant: each charge has everything that a charge leaves (record, double entry, event, every index), so that
//! `onbill ledger verify` passes. Charges are one a second, of a million subscribers at random. Indexes are as full as
//! charges leave them: what comes after them finds room in a page as often as it would have.

use std::path::Path;
use std::time::Instant;

use onbill::adapters::ledger::sqlite::{LEDGER_FILE, SqliteLedger};
use rusqlite::Connection;

use super::ground::servers::postgres::Database;

/// Charges between two words of progress.
const PORTION: u64 = 500_000;

/// What the ids of charges are.
#[derive(Debug, Clone, Copy)]
pub enum Ids<'a> {
    /// All over the keys.
    Random,
    /// Those that `onbill load` takes for its own when it is told this name of a run.
    OfRun(&'a str),
}

impl Ids<'_> {
    /// The id of charge `i`, counted from 1, as SQLite makes it.
    fn in_sqlite(self) -> String {
        match self {
            Self::Random => "lower(hex(randomblob(12)))".to_owned(),
            Self::OfRun(run) => format!("printf('{run}-c%012d', i - 1)"),
        }
    }
}

/// Grows a ledger that is not there yet. Every index is there from the beginning, so that pages are as full as charges
/// leave them.
pub fn sqlite(data: &Path, many: u64, ids: Ids<'_>) -> Result<(), String> {
    drop(SqliteLedger::open(data).map_err(|error| error.to_string())?);
    grow_sqlite(&data.join(LEDGER_FILE), many, ids).map_err(|error| error.to_string())
}

fn grow_sqlite(file: &Path, many: u64, ids: Ids<'_>) -> rusqlite::Result<()> {
    let connection = Connection::open(file)?;
    connection.execute_batch(BEFORE)?;
    let begun = Instant::now();
    let mut from = 1;
    while from <= many {
        let until = many.min(from + PORTION - 1);
        let portion = CHARGES.replace(":from", &from.to_string()).replace(":until", &until.to_string());
        connection.execute_batch(&portion.replace(":id", &ids.in_sqlite()))?;
        tell("sqlite", until, many, begun);
        from = until + 1;
    }
    Ok(())
}

/// Grows a database that has the schema and nothing in it.
pub fn postgres(database: &Database, many: u64) {
    let begun = Instant::now();
    database.sql(WITHOUT_INDEXES);
    let mut from = 1;
    while from <= many {
        let until = many.min(from + PORTION - 1);
        let text = IN_POSTGRES.replace(":from", &from.to_string()).replace(":until", &until.to_string());
        database.sql(&text);
        tell("postgres", until, many, begun);
        from = until + 1;
    }
    for index in database.sql("SELECT indexdef FROM dropped_indexes ORDER BY indexname").iter().flatten() {
        eprintln!("postgres: {index}, after {:.0} s", begun.elapsed().as_secs_f64());
        let random = ["transactions_key", "transactions_by_account"].iter().any(|name| index.contains(name));
        let text = match index.split_once(" WHERE ") {
            None if random => format!("{index} WITH (fillfactor = 70)"),
            None | Some(_) => index.clone(),
        };
        database.sql(&format!("SET maintenance_work_mem = '512MB'; {text}"));
    }
    database.sql("DROP TABLE dropped_indexes");
    database.sql("VACUUM ANALYZE");
    eprintln!("postgres: {many} transactions are there after {:.0} s", begun.elapsed().as_secs_f64());
}

fn tell(store: &str, done: u64, many: u64, begun: Instant) {
    eprintln!("{store}: {done} of {many} transactions put in, {:.0} s", begun.elapsed().as_secs_f64());
}

/// What is half done when the machine fails is made anew, so nothing is logged or waited for.
const BEFORE: &str = "
PRAGMA locking_mode = exclusive;
PRAGMA journal_mode = delete;
PRAGMA journal_mode = off;
PRAGMA synchronous = off;
PRAGMA foreign_keys = off;
PRAGMA cache_size = -2000000;
";

const CHARGES: &str = "
BEGIN;
WITH RECURSIVE n (i) AS (SELECT :from UNION ALL SELECT i + 1 FROM n WHERE i < :until)
INSERT INTO transactions (partner, kind, ext_id, reference, state, version, sent_before_us, inquiries, accepted_at_us,
    csp, account_ref, charge_code, amount_minor, currency, compared_version, sent_address_type, sent_address,
    sent_product, sent_amount, sent_currency, sent_description)
SELECT 'demo-ott', 'charge', :id, randomblob(16), 'success', 2, 1600000000000000 + i * 1000000,
    0, 1600000000000000 + i * 1000000, 'sandbox', 'sub-' || (abs(random()) % 1000000), 'BASIC', 999, 'MXN', 1, 'MSISDN',
    '5550000001', 'ott-basic', '9.99', 'MXN', '' FROM n;
INSERT INTO postings SELECT seq, 1, 'subscriber', csp, account_ref, -amount_minor, currency FROM transactions
    WHERE seq BETWEEN :from AND :until;
INSERT INTO postings SELECT seq, 2, 'partner', partner, NULL, amount_minor, currency FROM transactions
    WHERE seq BETWEEN :from AND :until;
INSERT INTO outbox (event_id, transaction_seq, partner, at_us, delivery, attempts)
SELECT 'evt_' || printf('%012x', accepted_at_us / 1000) || lower(hex(randomblob(10))), seq, partner, accepted_at_us,
    'delivered', 1 FROM transactions WHERE seq BETWEEN :from AND :until;
COMMIT;
";

/// All but those that the tables' own keys are. The key of transactions is one of ours.
const WITHOUT_INDEXES: &str = "
CREATE TABLE dropped_indexes AS SELECT indexname::text, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND indexname NOT IN (SELECT conname FROM pg_constraint) AND tablename <> 'onbill_schema';
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT indexname FROM dropped_indexes LOOP EXECUTE 'DROP INDEX ' || name; END LOOP;
END $$;
";

const IN_POSTGRES: &str = "
SET synchronous_commit = off;
INSERT INTO transactions (seq, partner, kind, ext_id, reference, state, version, sent_before_us, inquiries,
    accepted_at_us, csp, account_ref, charge_code, amount_minor, currency, compared_version, sent_address_type,
    sent_address, sent_product, sent_amount, sent_currency, sent_description)
SELECT i, 'demo-ott', 'charge', left(md5(i::text), 24), decode(md5(i::text), 'hex'), 'success', 2,
    1600000000000000 + i * 1000000, 0, 1600000000000000 + i * 1000000, 'sandbox',
    'sub-' || (random() * 1000000)::integer, 'BASIC', 999, 'MXN', 1, 'MSISDN', '5550000001', 'ott-basic', '9.99', 'MXN', ''
FROM generate_series(:from::bigint, :until::bigint) AS n (i);
INSERT INTO postings SELECT seq, 1, 'subscriber', csp, account_ref, -amount_minor, currency FROM transactions
    WHERE seq BETWEEN :from AND :until;
INSERT INTO postings SELECT seq, 2, 'partner', partner, NULL, amount_minor, currency FROM transactions
    WHERE seq BETWEEN :from AND :until;
INSERT INTO outbox (event_id, transaction_seq, partner, at_us, delivery, attempts)
SELECT 'evt_' || lpad(to_hex(accepted_at_us / 1000), 12, '0') || left(md5(seq::text), 20), seq, partner, accepted_at_us,
    'delivered', 1 FROM transactions WHERE seq BETWEEN :from AND :until;
INSERT INTO tallies SELECT 999, 1 + :until - :from ON CONFLICT (slot) DO UPDATE
    SET records = tallies.records + excluded.records;
SELECT setval(pg_get_serial_sequence('transactions', 'seq'), :until);
";
