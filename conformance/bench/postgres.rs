//! How fast the ledger in PostgreSQL is: commits in groups, against one commit for each statement, in one run.
//!
//! Invariant: both write the same rows into the same tables of one server, in turns, so that what else the machine does
//! meets both alike. The other side is as good as it can be without groups: two statements for a charge, each prepared,
//! each whole, over as many connections as the ledger has and over many more. The figures are held against nothing here.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::expect_used, reason = "it is run by hand and prints what it finds")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "figures for people"
)]

mod load;
#[path = "../servers/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod servers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use onbill::adapters::ledger::postgres::{self, PostgresLedger, Settings, Tls};
use onbill::domain::transaction::{BookAccount, UnitOfWork};
use tokio_postgres::{Client, NoTls, Statement};

use load::{Measured, run};
use servers::postgres::{Database, Server};

/// How long each figure is taken for, in each round.
const SPAN: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;
const IN_FLIGHT: usize = 128;
/// Connections of the other side.
const SINGLES: [usize; 3] = [2, 32, 128];

#[tokio::main]
async fn main() {
    let server = Arc::new(Server::start());
    let database = Database::on(&server);
    let settings = settings(database.url());
    postgres::migrate(&settings).await.expect("it migrates");
    let ledger = Arc::new(PostgresLedger::open(&settings).await.expect("it opens"));
    let mut singles = Vec::new();
    for connections in SINGLES {
        singles.push(Arc::new(Singles::open(&database.url(), connections).await));
    }
    let numbers = Arc::new(AtomicU64::new(0));
    let (mut grouped, mut single) = (Vec::new(), vec![Vec::new(); SINGLES.len()]);
    for round in 1..=ROUNDS {
        let before = ledger.figures();
        let measured = run(SPAN, IN_FLIGHT, &ledger, &numbers, load::pair).await;
        let after = ledger.figures();
        let group = (after.units - before.units) as f64 / (after.batches - before.batches) as f64;
        println!("round {round}  groups, {:>3} connections: {measured}  units a batch {group:.1}", settings.writers);
        grouped.push(measured.per_s);
        for (place, one) in singles.iter().enumerate() {
            let measured: Measured = run(SPAN, IN_FLIGHT, one, &numbers, pair).await;
            println!("round {round}  single, {:>3} connections: {measured}", SINGLES[place]);
            single[place].push(measured.per_s);
        }
    }
    for (place, figures) in single.iter_mut().enumerate() {
        let ratio = median(&mut grouped) / median(figures);
        println!("groups against one commit a statement over {:>3} connections: {ratio:.1} times", SINGLES[place]);
    }
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The defaults of the configuration.
fn settings(url: String) -> Settings {
    Settings {
        url,
        password: None,
        tls: Tls::Disable,
        ca_pem: None,
        readers_max: 8,
        writers: 2,
        queue_max: 4096,
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(10),
    }
}

const INTENT: &str = "INSERT INTO transactions (partner, kind, ext_id, reference, state, version, lease_owner, \
     lease_until_us, due_at_us, sent_before_us, inquiries, accepted_at_us, csp, account_ref, charge_code, amount_minor, \
     currency, compared_version, sent_address_type, sent_address, sent_product, sent_amount, sent_currency, \
     sent_description) VALUES ($1, 'charge', $2, $3, 'pending', 1, $4, $5, $5, $5, 0, $6, $7, $8, $9, $10, $11, 1, \
     'MSISDN', $12, $13, $14, $15, '') ON CONFLICT DO NOTHING";
const OUTCOME: &str = "WITH moved AS (UPDATE transactions SET state = 'success', version = 2, lease_owner = NULL, \
     lease_until_us = NULL, due_at_us = NULL WHERE partner = $1 AND kind = 'charge' AND ext_id = $2 AND version = 1 \
     RETURNING seq), posted AS (INSERT INTO postings SELECT seq, n.* FROM moved, (VALUES (1, 'subscriber', $3, $4, \
     -$5::bigint, $6), (2, 'partner', $7, NULL, $5::bigint, $6)) AS n) \
     INSERT INTO outbox (event_id, transaction_seq, partner, at_us, delivery, next_attempt_at_us) \
     SELECT $8, seq, $1, $9, 'due', $9 FROM moved";

/// A client that knows no groups: each statement is a commit, over whichever connection has its turn.
struct Singles {
    connections: Vec<(Client, Statement, Statement)>,
    turn: AtomicU64,
}

impl Singles {
    async fn open(url: &str, count: usize) -> Self {
        let mut connections = Vec::new();
        for _ in 0..count {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
            tokio::spawn(connection);
            let intent = client.prepare(INTENT).await.expect("a statement");
            let outcome = client.prepare(OUTCOME).await.expect("a statement");
            connections.push((client, intent, outcome));
        }
        Self { connections, turn: AtomicU64::new(0) }
    }

    fn next(&self) -> &(Client, Statement, Statement) {
        let turn = usize::try_from(self.turn.fetch_add(1, Ordering::Relaxed)).expect("a number");
        &self.connections[turn % self.connections.len()]
    }

    async fn intent(&self, unit: &UnitOfWork) {
        let (client, statement, _) = self.next();
        let record = &unit.transaction;
        let lease = record.lease.as_ref().expect("it is leased");
        let written = client
            .execute(
                statement,
                &[
                    &record.key.partner.as_str(),
                    &record.key.ext_transaction_id.as_str(),
                    &record.reference.as_bytes().as_slice(),
                    &lease.owner.as_str(),
                    &lease.until.as_microsecond(),
                    &record.accepted_at.as_microsecond(),
                    &record.account.csp.as_str(),
                    &record.account.reference.as_str(),
                    &record.charge_code.as_str(),
                    &record.money.minor,
                    &record.money.currency.code(),
                    &record.compared.address.as_ref().expect("an address").expose(),
                    &record.compared.partner_product.as_str(),
                    &record.compared.amount.to_string(),
                    &&*record.compared.currency,
                ],
            )
            .await;
        assert_eq!(written.expect("an answer"), 1);
    }

    async fn outcome(&self, unit: &UnitOfWork) {
        let (client, _, statement) = self.next();
        let record = &unit.transaction;
        let event = unit.event.as_ref().expect("an event");
        let owner = match &unit.postings[0].account {
            BookAccount::Subscriber(csp, _) => csp.as_str(),
            BookAccount::Partner(partner) => partner.as_str(),
        };
        let written = client
            .execute(
                statement,
                &[
                    &record.key.partner.as_str(),
                    &record.key.ext_transaction_id.as_str(),
                    &owner,
                    &record.account.reference.as_str(),
                    &record.money.minor,
                    &record.money.currency.code(),
                    &record.key.partner.as_str(),
                    &event.id.as_str(),
                    &event.at.as_microsecond(),
                ],
            )
            .await;
        assert_eq!(written.expect("an answer"), 1);
    }
}

async fn pair(singles: Arc<Singles>, number: u64) {
    let (intent, outcome) = load::units(&load::ordered(number));
    singles.intent(&intent).await;
    singles.outcome(&outcome).await;
}
