//! The story of WatchTransaction: a transaction as it stands, and each change until it is final.
//!
//! Invariant: a watcher sees what the ledger holds, never what is still being decided: a change that this gateway has
//! committed wakes its watchers, and everybody else's is seen at the next look, a second later at most, which asks the
//! ledger once for all that is watched. Watchers are bounded, over all and for each partner (they hold no place of the calls at work); a change that nobody watches costs one look at a counter. Released records
//! are not seen: a watcher whose record is released hears that there is no such transaction.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Caller, Gateway, Stop, transactions};
use crate::domain::Time;
use crate::domain::ids::PartnerId;
use crate::domain::transaction::{Kind, Refusal, Status, Transaction, TransactionKey};
use crate::ports::Cause;
use crate::ports::ledger::LedgerUnavailable;

/// Seconds after which a partner with too many watchers may try again.
const RETRY_AFTER_S: u32 = 1;
/// How often what is watched is looked at, for changes that another gateway has made.
pub const LOOK: Duration = Duration::from_secs(1);
/// Longest life of a watcher: an outcome that takes longer needs a person, and callers come back by themselves.
const LIFE_MAX: Duration = Duration::from_hours(1);

/// Who watches what in this gateway.
#[derive(Debug, Default)]
pub struct Watchers {
    count: AtomicUsize,
    register: Mutex<Register>,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct Register {
    by_key: HashMap<TransactionKey, Watched>,
    by_partner: HashMap<PartnerId, usize>,
}

#[derive(Debug, Default)]
struct Watched {
    changed: Arc<Notify>,
    watchers: usize,
    /// The version at the last look; `None` before the first.
    version: Option<u32>,
}

impl Watchers {
    /// Wakes whoever watches a record that was just committed.
    pub fn announce(&self, key: &TransactionKey) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        if let Some(watched) = self.register().by_key.get(key) {
            watched.changed.notify_waiters();
        }
    }

    /// Wakes whoever watches a record that is not as it was at the last look.
    fn compare(&self, record: &Transaction) {
        if let Some(watched) = self.register().by_key.get_mut(&record.key)
            && watched.version.replace(record.version) != Some(record.version)
        {
            watched.changed.notify_waiters();
        }
    }

    fn keys(&self) -> Vec<TransactionKey> {
        self.register().by_key.keys().cloned().collect()
    }

    /// Ends every watcher, and every one that is still to come: the gateway stops.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// No code that holds the lock can leave the register half written.
    fn register(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(gateway: &Arc<Gateway>, key: &TransactionKey) -> Result<Place, Stop> {
        let bounds = &gateway.bounds;
        let watchers = &gateway.watchers;
        let mut register = watchers.register();
        let of_partner = register.by_partner.get(&key.partner).copied().unwrap_or_default();
        let count = watchers.count.load(Ordering::SeqCst);
        if of_partner >= bounds.watchers_per_partner_max {
            return Err(Refusal::TooMany { retry_after_s: RETRY_AFTER_S }.into());
        }
        if count >= bounds.watchers_max {
            return Err(Stop::Unavailable(Cause::new("there are too many watchers")));
        }
        register.by_partner.insert(key.partner.clone(), of_partner.saturating_add(1));
        let watched = register.by_key.entry(key.clone()).or_default();
        watched.watchers = watched.watchers.saturating_add(1);
        let changed = Arc::clone(&watched.changed);
        watchers.count.store(count.saturating_add(1), Ordering::SeqCst);
        Ok(Place { gateway: Arc::clone(gateway), key: key.clone(), changed })
    }
}

/// Looks once at everything that is watched, and wakes the watchers of what has changed.
///
/// # Errors
/// The ledger cannot answer: the next look will tell.
pub async fn look(gateway: &Gateway) -> Result<(), LedgerUnavailable> {
    let keys = gateway.watchers.keys();
    if keys.is_empty() {
        return Ok(());
    }
    for record in gateway.ledger.recall_all(&keys).await? {
        gateway.watchers.compare(&record);
    }
    Ok(())
}

/// A watcher's place; dropping it gives the place back.
struct Place {
    gateway: Arc<Gateway>,
    key: TransactionKey,
    changed: Arc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut register = self.gateway.watchers.register();
        if let Some(watched) = register.by_key.get_mut(&self.key) {
            watched.watchers = watched.watchers.saturating_sub(1);
            if watched.watchers == 0 {
                register.by_key.remove(&self.key);
            }
        }
        if let Some(of_partner) = register.by_partner.get_mut(&self.key.partner) {
            *of_partner = of_partner.saturating_sub(1);
            if *of_partner == 0 {
                register.by_partner.remove(&self.key.partner);
            }
        }
        let count = self.gateway.watchers.count.load(Ordering::SeqCst);
        self.gateway.watchers.count.store(count.saturating_sub(1), Ordering::SeqCst);
    }
}

/// A transaction that is being watched.
pub struct Watch {
    place: Place,
    caller: Caller,
    /// What was told last, in the words that callers see.
    told: Option<(Status, Arc<str>, Time)>,
    /// What is told first: it was read before the watch began.
    first: Option<Transaction>,
    until: Instant,
    is_over: bool,
}

/// Begins to watch a transaction. `until` is when its caller stops waiting, where it says so.
///
/// # Errors
/// There is no such transaction, or there are too many watchers: of this partner, or in all.
pub async fn begin(
    gateway: &Arc<Gateway>,
    caller: Caller,
    id: &str,
    kind: Kind,
    until: Option<Instant>,
) -> Result<Watch, Stop> {
    let record = transactions::get(gateway, &caller, id, kind).await?;
    let place = Watchers::enter(gateway, &record.key)?;
    let now = Instant::now();
    let longest = now.checked_add(LIFE_MAX).unwrap_or(now);
    let until = until.map_or(longest, |until| until.min(longest));
    Ok(Watch { place, caller, told: None, first: Some(record), until, is_over: false })
}

impl Watch {
    /// What is to be told next; `None` once a final state was told, or after an error.
    pub async fn next(&mut self) -> Option<Result<Transaction, Stop>> {
        if self.is_over {
            return None;
        }
        let next = self.change().await;
        match &next {
            Ok(record) => {
                self.is_over = record.state.is_final();
                self.told = seen(record);
            }
            Err(_) => self.is_over = true,
        }
        Some(next)
    }

    /// Waits for a state that was not told yet.
    async fn change(&mut self) -> Result<Transaction, Stop> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let key = self.place.key.clone();
        let gateway = Arc::clone(&self.place.gateway);
        let changed = Arc::clone(&self.place.changed);
        loop {
            // Listening begins before the look, so that no change falls between the two.
            let notified = changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let record = transactions::get(&gateway, &self.caller, key.ext_transaction_id.as_str(), key.kind).await?;
            if seen(&record) != self.told {
                return Ok(record);
            }
            tokio::select! {
                () = &mut notified => {}
                () = tokio::time::sleep_until(self.until) => {
                    return Err(Stop::Unavailable(Cause::new("the watcher's time is up")));
                }
                () = gateway.watchers.closed.cancelled() => {
                    return Err(Stop::Unavailable(Cause::new("the gateway stops")));
                }
            }
        }
    }
}

/// A record in the words that callers see; what they do not see is no change to them.
fn seen(record: &Transaction) -> Option<(Status, Arc<str>, Time)> {
    record.state.status().map(|status| (status, Arc::from(record.message()), record.accepted_at))
}
