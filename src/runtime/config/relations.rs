//! Whether the settings of the gateway fit one another.
//!
//! Invariant: a set of bounds that cannot hold together stops the start; it is never merely warned of. Each value is
//! within its own bounds already (`schema.rs`). CSPs and partners are judged in `directory.rs`, Redis in `redis.rs` and
//! PostgreSQL in `postgres.rs`.

use std::net::SocketAddr;

use super::postgres::{self, LedgerStore};
use super::redis;
use super::seeing;
use super::shape::Report;
use super::tables::Tables;

/// Milliseconds of a second.
const SECOND_MS: u64 = 1_000;

/// Reports every pair of settings that cannot stand together.
pub fn check(tables: &Tables, report: &mut Report) {
    deadlines(tables, report);
    ports(tables, report);
    tls(tables, report);
    lease(tables, report);
    sends(tables, report);
    data_dir(tables, report);
    log_filter(tables, report);
    redis::check(tables, report);
    postgres::check(tables, report);
    seeing::check(tables, report);
}

fn deadlines(tables: &Tables, report: &mut Report) {
    let server = &tables.server;
    let (min, default, max) = (server.deadline_min_ms, server.deadline_default_ms, server.deadline_max_ms);
    if min > default {
        report.at(
            &["server", "deadline_min_ms"],
            format!("is {min}, must be at most server.deadline_default_ms, {default}"),
        );
    }
    if default > max {
        report.at(
            &["server", "deadline_max_ms"],
            format!("is {max}, must be at least server.deadline_default_ms, {default}"),
        );
    }
    for (id, csp) in &tables.csp {
        let timeout = csp.call_timeout_ms;
        if timeout >= default {
            let text = format!("is {timeout}, must be less than server.deadline_default_ms, {default}");
            report.at(&["csp", id, "call_timeout_ms"], text);
        }
    }
}

fn ports(tables: &Tables, report: &mut Report) {
    let (main, admin) = (tables.server.listen, tables.server.admin_listen);
    if overlap(main, admin) {
        let text = format!("is {admin}, must be another address than server.listen, {main}");
        report.at(&["server", "admin_listen"], text);
    }
}

/// A certificate and its key go together, and authorities of clients are asked for by TLS only.
fn tls(tables: &Tables, report: &mut Report) {
    let tls = &tables.server.tls;
    match (&tls.cert_file, &tls.key_file) {
        (Some(_), None) => {
            report.at(&["server", "tls", "key_file"], "must be set: a certificate needs its private key");
        }
        (None, Some(_)) => {
            report.at(&["server", "tls", "cert_file"], "must be set: a private key needs its certificate");
        }
        (None, None) if tls.client_ca_file.is_some() => {
            report.at(
                &["server", "tls", "cert_file"],
                "must be set where client_ca_file is: only TLS asks for certificates",
            );
        }
        (None, None) | (Some(_), Some(_)) => {}
    }
    if tls.client_crl_file.is_some() && tls.client_ca_file.is_none() {
        report.at(
            &["server", "tls", "client_ca_file"],
            "must be set where client_crl_file is: the lists are of these authorities",
        );
    }
}

/// Whether two listeners would be in one another's way. Port 0 is any free port.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let any_address = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || any_address)
}

/// A lease that ends while its owner may still send would let two gateways work on one transaction.
fn lease(tables: &Tables, report: &mut Report) {
    let lease_ms = u64::from(tables.charge.lease_s).saturating_mul(SECOND_MS);
    let slowest = tables.csp.iter().max_by_key(|(_, csp)| csp.call_timeout_ms);
    let call_ms = slowest.map_or(0, |(_, csp)| csp.call_timeout_ms);
    let worst_ms = u64::from(tables.server.deadline_max_ms).saturating_add(u64::from(call_ms));
    if lease_ms <= worst_ms {
        let call = slowest.map_or_else(String::new, |(id, _)| format!(" and csp.{id}.call_timeout_ms"));
        let text = format!(
            "is {}, must be more seconds than the {worst_ms} milliseconds of server.deadline_max_ms{call} together",
            tables.charge.lease_s
        );
        report.at(&["charge", "lease_s"], text);
    }
}

fn sends(tables: &Tables, report: &mut Report) {
    let (own, all) = (tables.pin.sends_per_partner_max, tables.pin.sends_per_address_max);
    if own > all {
        let text = format!("is {own}, must be at most pin.sends_per_address_max, {all}");
        report.at(&["pin", "sends_per_partner_max"], text);
    }
}

fn data_dir(tables: &Tables, report: &mut Report) {
    let is_elsewhere = tables.ledger.store == LedgerStore::Postgres;
    if tables.server.data_dir.is_none() && !tables.sandbox.enabled && !is_elsewhere {
        let text = "must be set unless sandbox.enabled is true: the ledger must outlive the gateway";
        report.at(&["server", "data_dir"], text);
    }
}

fn log_filter(tables: &Tables, report: &mut Report) {
    if tracing_subscriber::EnvFilter::try_new(&tables.log.filter).is_err() {
        let filter = &tables.log.filter;
        let text = format!("is {filter:?}, must be a list of levels and directives, like info,onbill=debug");
        report.at(&["log", "filter"], text);
    }
}
