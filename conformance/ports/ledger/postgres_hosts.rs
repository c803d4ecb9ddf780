//! The way to PostgreSQL: what is trusted on it, and how the server that takes writes is found again when another becomes
//! it.
//!
//! Invariant: the servers are real and the tests' own; primaries and standbys are made as their manual says, and nothing
//! tells the ledger of a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use onbill::adapters::ledger::postgres::{self, PostgresLedger, Settings, Tls};
use onbill::domain::transaction::Kind;
use onbill::ports::ledger::{Commit, Ledger as _};
use tempfile::TempDir;

use super::postgres::settings;
use super::samples;
use crate::servers::postgres::{Database, Server};
use crate::tls::certificate;

/// A URL of a database over several hosts, in this order.
fn url(hosts: &[(&str, &Server)], database: &str) -> String {
    let hosts: Vec<_> = hosts.iter().map(|(host, server)| format!("{host}:{}", server.port())).collect();
    format!("postgresql://onbill@{}/{database}", hosts.join(","))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_server_that_the_right_authority_vouches_for_is_spoken_to() {
    let (own, others) = (TempDir::new().expect("a directory"), TempDir::new().expect("a directory"));
    certificate(own.path());
    certificate(others.path());
    let server = Arc::new(Server::encrypted(own.path()));
    let plain = Arc::new(Server::start());
    let (database, unprotected) = (Database::on(&server), Database::on(&plain));
    let pem = |directory: &TempDir| Some(std::fs::read(directory.path().join("cert.pem")).expect("a certificate"));
    let by_number = url(&[("127.0.0.1", &server)], database.name());
    let by_name = url(&[("localhost", &server)], database.name());
    let trusting = Settings { tls: Tls::VerifyFull, ca_pem: pem(&own), ..settings(&by_name) };
    postgres::migrate(&trusting).await.expect("it migrates");
    for (url, tls, ca_pem, refused) in [
        (&by_name, Tls::VerifyFull, pem(&own), None),
        (&by_number, Tls::Require, pem(&own), None),
        (&by_number, Tls::VerifyFull, pem(&own), Some("certificate is refused")),
        (&by_name, Tls::VerifyFull, pem(&others), Some("name its authority in postgres.ca_file")),
        (&by_name, Tls::Require, pem(&others), Some("certificate is refused")),
        (&by_name, Tls::Require, None, Some("certificate is refused")),
        (&url(&[("localhost", &plain)], unprotected.name()), Tls::Require, pem(&own), Some("TLS")),
    ] {
        let opened = PostgresLedger::open(&Settings { tls, ca_pem, ..settings(url) }).await;
        let Some(reason) = refused else {
            let ledger = opened.expect("it opens");
            let text = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE datname = current_database() AND application_name = 'onbill' AND NOT ssl";
            ledger.commit(samples::charge("c1", "10")).await.expect("an answer");
            assert_eq!(database.number(text), 0, "{tls:?}: nothing goes in clear");
            continue;
        };
        let error = opened.err().expect("it does not open").to_string();
        assert!(error.contains(reason), "{url} {tls:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_passed_over_and_found_when_it_becomes_the_primary() {
    let primary = Arc::new(Server::start());
    let database = Database::on(&primary);
    postgres::migrate(&settings(&database.url())).await.expect("it migrates");
    let standby = Server::standby_of(&primary);
    primary.wait_for_a_standby();
    let alone = url(&[("127.0.0.1", &standby)], database.name());
    let refused = PostgresLedger::open(&settings(&alone)).await.err().expect("it takes no writes");
    assert!(refused.to_string().contains("that it is the primary"), "{refused}");

    let both = url(&[("127.0.0.1", &standby), ("127.0.0.1", &primary)], database.name());
    let quick = Settings { statement_timeout: Duration::from_secs(3), ..settings(&both) };
    let ledger = Arc::new(PostgresLedger::open(&quick).await.expect("the second one takes writes"));
    let is_over = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..8)
        .map(|worker| {
            let (ledger, is_over) = (Arc::clone(&ledger), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut kept = Vec::new();
                for number in 0.. {
                    if is_over.load(Ordering::SeqCst) {
                        break;
                    }
                    let id = format!("c{worker}-{number}");
                    match ledger.commit(samples::charge(&id, "10")).await {
                        Ok(Commit::Done { .. }) => kept.push(id),
                        Ok(Commit::Conflict | Commit::Over { .. }) => panic!("{id} is new"),
                        Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
                kept
            })
        })
        .collect();
    until_written(&ledger, 300).await;
    tokio::task::block_in_place(|| {
        primary.kill();
        standby.promote();
    });
    while ledger.check().await.is_err() {}
    until_written(&ledger, 300).await;
    is_over.store(true, Ordering::SeqCst);
    let mut lost = Vec::new();
    for task in tasks {
        for id in task.await.expect("no panic") {
            if ledger.recall(&samples::key(Kind::Charge, &id)).await.expect("it is back").is_none() {
                lost.push(id);
            }
        }
    }
    assert_eq!(lost, [""; 0], "answered by the old primary and not known to the new one");
}

/// Lets others run until so many more units were answered.
async fn until_written(ledger: &PostgresLedger, units: u64) {
    let before = ledger.figures().units;
    while ledger.figures().units < before + units {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
