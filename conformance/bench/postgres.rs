//! How fast the ledger in PostgreSQL is: commits in groups, against one commit for each statement, in one run.
//!
//! Invariant: both write the same rows into the same tables of one server, in turns, so that what else the machine does
//! meets both alike. The other side is as good as it can be without groups: two statements for a charge, each prepared
//! and with a plan that is kept, over as many connections as the ledger has and over many more. The figures are held
//! against nothing here.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::expect_used, reason = "it is run by hand and prints what it finds")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "figures for people"
)]

mod ground;
mod load;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use onbill::domain::transaction::{BookAccount, UnitOfWork};
use tokio_postgres::{Client, NoTls, Statement};

use ground::servers::postgres::{Database, Server};
use ground::{opened, worked_s};
use load::{Measured, run};

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
    let ledger = opened(&database).await;
    let mut singles = Vec::new();
    for connections in SINGLES {
        singles.push(Arc::new(Singles::open(&database.url(), connections).await));
    }
    let numbers = Arc::new(AtomicU64::new(0));
    let (mut grouped, mut single) = (Figures::default(), [Figures::default(), Figures::default(), Figures::default()]);
    for round in 1..=ROUNDS {
        let (before, worked) = (ledger.figures(), worked_s(&database));
        let measured = run(SPAN, IN_FLIGHT, &ledger, &numbers, load::pair).await;
        let after = ledger.figures();
        let group = (after.units - before.units) as f64 / (after.batches - before.batches) as f64;
        println!("round {round}  units a batch: {group:.1}");
        grouped.add(round, "groups,   2 connections", &measured, worked, worked_s(&database));
        for (place, one) in singles.iter().enumerate() {
            let worked = worked_s(&database);
            let measured: Measured = run(SPAN, IN_FLIGHT, one, &numbers, pair).await;
            let what = format!("single, {:>3} connections", SINGLES[place]);
            single[place].add(round, &what, &measured, worked, worked_s(&database));
        }
    }
    for (place, figures) in single.iter_mut().enumerate() {
        let faster = median(&mut grouped.per_s) / median(&mut figures.per_s);
        let lighter = median(&mut figures.work_us) / median(&mut grouped.work_us);
        println!(
            "groups against one commit a statement over {:>3} connections: {faster:.1} times as many, each with {lighter:.1} \
             times less of the processors",
            SINGLES[place]
        );
    }
}

/// What was measured of one way to write.
#[derive(Default)]
struct Figures {
    per_s: Vec<f64>,
    work_us: Vec<f64>,
}

impl Figures {
    fn add(&mut self, round: usize, what: &str, measured: &Measured, before: (f64, f64), after: (f64, f64)) {
        let each_us = |from: f64, to: f64| (to - from) * 1e6 / measured.times.len() as f64;
        let (own, servers) = (each_us(before.0, after.0), each_us(before.1, after.1));
        println!("round {round}  {what}: {measured}  processors: {own:.0} us here, {servers:.0} us of the server");
        self.per_s.push(measured.per_s);
        self.work_us.push(own + servers);
    }
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

const INTENT: &str = "INSERT INTO transactions (partner, kind, ext_id, reference, state, version, lease_owner, \
     lease_until_us, due_at_us, sent_before_us, inquiries, accepted_at_us, csp, account_ref, charge_code, amount_minor, \
     currency, compared_version, sent_address_type, sent_address, sent_product, sent_amount, sent_currency, \
     sent_description) VALUES ($1, 'charge', $2, $3, 'pending', 1, $4, $5, $5, $5, 0, $6, $7, $8, $9, $10, $11, 1, \
     'MSISDN', $12, $13, $14, $15, '') ON CONFLICT DO NOTHING";
const OUTCOME: &str = "WITH moved AS (UPDATE transactions SET state = 'success', version = 2, lease_owner = NULL, \
     lease_until_us = NULL, due_at_us = NULL WHERE ext_id = $2 AND kind = 'charge' AND partner || '' = $1 AND version = 1 \
     RETURNING seq), posted AS (INSERT INTO postings SELECT seq, n.* FROM moved, (VALUES (1, 'subscriber', $3, $4, \
     -$5::bigint, $6), (2, 'partner', $7, NULL, $5::bigint, $6)) AS n) \
     INSERT INTO outbox (event_id, transaction_seq, partner, at_us, delivery, next_attempt_at_us) \
     SELECT $8, seq, $1, $9, 'due', $9 FROM moved";

/// Plans as good as those of the ledger, and as seldom made.
const SESSION: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan";

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
            client.batch_execute(SESSION).await.expect("settings");
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
