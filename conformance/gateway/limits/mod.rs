//! What bounds partners, connections and load, seen from outside.
//!
//! Invariant: nothing rests on how fast anything is: claims are about counts, about what is answered, and about what is
//! still served beside it.

mod connections;
mod flood;
mod rates;

use serde_json::json;

use super::client::{Answer, Partner};
use super::process::Running;

/// A call that asks no CSP and no ledger for more than one look.
async fn cheap(partner: &Partner) -> Answer {
    partner.get("/transaction/never-made").await
}

/// What the gateway has counted under a name with these labels.
async fn counted(gateway: &Running, name: &str, labels: &[&str]) -> u64 {
    let metrics = Partner::at(gateway.admin(), "none").get("/metrics").await.body;
    let fits = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
    };
    let value = |line: &str| line.rsplit(' ').next().and_then(|text| text.parse::<u64>().ok()).expect("a number");
    metrics.lines().filter(fits).map(value).sum()
}

/// Whether a charge to a number of its own succeeds.
async fn serves(partner: &Partner) -> bool {
    let (number, id) = (super::process::number("01"), super::process::id("served"));
    partner.charge(&number, &id, json!({})).await.status == 200
}
