//! PostgreSQL without groups: each statement is a commit of its own.
//!
//! Invariant: it writes the rows that the ledger writes, and is as good as it can be without groups: two statements for a
//! charge, each prepared and with a plan that is kept. It judges nothing. Which charges are written is not here.

use std::sync::atomic::{AtomicU64, Ordering};

use onbill::domain::transaction::{BookAccount, UnitOfWork};
use tokio_postgres::{Client, NoTls, Statement};

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
pub struct Singles {
    connections: Vec<(Client, Statement, Statement)>,
    turn: AtomicU64,
}

impl Singles {
    pub async fn open(url: &str, count: usize) -> Self {
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

    pub async fn intent(&self, unit: &UnitOfWork) {
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

    pub async fn outcome(&self, unit: &UnitOfWork) {
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
