//! Forgetting: addresses of old transactions are replaced by keyed digests.
//!
//! Invariant: the ledger is walked from its first record to its youngest, a bounded number at a time, and each record is
//! decided on by `domain::transaction::forget`; a record that changes meanwhile is left for the next walk. Several
//! gateways may walk one ledger: whoever is second finds nothing to do.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::Gateway;
use super::charge::Ask;
use crate::domain::address::{Address, AddressDigest};
use crate::domain::ids::PartnerId;
use crate::domain::transaction::Transaction;
use crate::domain::transaction::forget::{before, forget, outlived};
use crate::domain::transaction::replay::{self, Recalled};
use crate::ports::ledger::{Commit, LedgerUnavailable};

/// Most records that are written at the same time: they are committed together, and charges are not kept waiting.
const CONCURRENT_MAX: usize = 64;

/// What one step of a walk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Addresses that were replaced.
    pub forgotten: usize,
    /// The ledger's number of the last record that was looked at; `None` where all that come after it are younger.
    pub next: Option<i64>,
}

/// Looks at the records after a number, at most `rows_max` of them.
pub async fn step(gateway: &Arc<Gateway>, months: u32, after: i64, rows_max: u32) -> Result<Step, LedgerUnavailable> {
    let Some(before) = before(gateway.clock.now(), months) else {
        return Ok(Step { forgotten: 0, next: None });
    };
    let rows = gateway.ledger.walk(after, rows_max).await?;
    // Numbers grow with time, but for what is taken up again: where all of a portion is younger, so is the rest.
    let is_over = rows.iter().all(|row| row.transaction.accepted_at >= before);
    let next = rows.last().map(|row| row.cursor.sequence).filter(|_| !is_over);
    let (mut running, mut forgotten) = (JoinSet::new(), 0_usize);
    for row in rows {
        let Some(address) = outlived(&row.transaction, before) else { continue };
        let unit = forget(&row.transaction, digest(gateway, &row.transaction.key.partner, address));
        if running.len() >= CONCURRENT_MAX {
            forgotten = forgotten.saturating_add(written(&mut running).await?);
        }
        let gateway = Arc::clone(gateway);
        running.spawn(async move { gateway.ledger.commit(unit).await });
    }
    while !running.is_empty() {
        forgotten = forgotten.saturating_add(written(&mut running).await?);
    }
    Ok(Step { forgotten, next })
}

/// Whether the next one to end has written.
async fn written(running: &mut JoinSet<Result<Commit, LedgerUnavailable>>) -> Result<usize, LedgerUnavailable> {
    match running.join_next().await {
        Some(Ok(committed)) => Ok(usize::from(matches!(committed?, Commit::Done { .. }))),
        Some(Err(_)) | None => Ok(0),
    }
}

/// The digest of an address: the same partner, type and address give the same one for ever.
fn digest(gateway: &Gateway, partner: &PartnerId, address: &Address) -> AddressDigest {
    let type_word = address.type_word();
    let bits = gateway.secrets.name_digest(&["address", partner.as_str(), type_word, address.expose()]);
    AddressDigest { type_word, bits }
}

/// The digest of a request's address, where the record that it is held against has forgotten its own.
pub(super) fn digest_for(gateway: &Gateway, ask: &Ask, record: Option<&Transaction>) -> Option<AddressDigest> {
    record?.forgotten?;
    let address = ask.request.compared.address.as_ref()?;
    Some(digest(gateway, &ask.request.key.partner, address))
}

/// Judges the record under a request's key, whether or not it has forgotten its address.
pub(super) fn recall(gateway: &Gateway, ask: &Ask, record: Option<&Transaction>) -> Recalled {
    let digest = digest_for(gateway, ask, record);
    replay::recall(record, &ask.request.compared, digest.as_ref(), gateway.clock.now())
}
