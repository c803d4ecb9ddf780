//! Looks at single records, those that come together with one question.
//!
//! Invariant: what is read is what the server held after it was asked for, and everybody hears once. A few questions are
//! under way at a time, each over a connection of its own, so that one that is slow holds up few. What comes meanwhile waits,
//! no more than the queue holds; what has waited beyond its bound when a question ends is not asked about any more, so that
//! nobody waits longer than that and two questions. The statement and how often it is sent are not here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::Instant;

use super::error::Trouble;
use super::pool::Pool;
use super::reads;
use crate::domain::transaction::{Transaction, TransactionKey};
use crate::ports::ledger::LedgerUnavailable;

/// Most records of one question: more gain little, and where each has to come from a slow disk they must not take as long
/// together as a statement may.
const RECORDS_AT_A_TIME_MAX: usize = 16;
/// Most questions under way at a time: more would each have fewer records.
const QUESTIONS_MAX: usize = 4;

/// A record to be read.
struct Recall {
    key: TransactionKey,
    since: Instant,
    answer: oneshot::Sender<Result<Option<Transaction>, LedgerUnavailable>>,
}

/// The queue. Dropping it ends what takes from it, once that is empty.
pub(super) struct Recalls(mpsc::Sender<Recall>);

impl Recalls {
    /// Takes from the queue, and asks over connections of the pool, of which there are so many. To be called in a runtime.
    pub(super) fn start(pool: Arc<Pool>, connections: usize, queue_max: usize, wait_max: Duration) -> Self {
        let (queue, recalls) = mpsc::channel(queue_max.max(1));
        let questions = Arc::new(Semaphore::new(connections.clamp(1, QUESTIONS_MAX)));
        tokio::spawn(take(recalls, questions, pool, wait_max));
        Self(queue)
    }

    /// Reads one record.
    pub(super) async fn recall(&self, key: &TransactionKey) -> Result<Option<Transaction>, LedgerUnavailable> {
        let (answer, answered) = oneshot::channel();
        let recall = Recall { key: key.clone(), since: Instant::now(), answer };
        self.0.try_send(recall).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Trouble::Busy("too many records wait to be read"),
            mpsc::error::TrySendError::Closed(_) => Trouble::Stopped,
        })?;
        // Dropped without an answer only where the runtime ends.
        answered.await.map_err(|_| Trouble::Stopped)?
    }
}

async fn take(mut recalls: mpsc::Receiver<Recall>, questions: Arc<Semaphore>, pool: Arc<Pool>, wait_max: Duration) {
    let mut together = Vec::with_capacity(RECORDS_AT_A_TIME_MAX);
    // It is never closed.
    while let Ok(question) = Arc::clone(&questions).acquire_owned().await {
        if recalls.recv_many(&mut together, RECORDS_AT_A_TIME_MAX).await == 0 {
            return;
        }
        // Callers that are ready to run come first, and what they ask for is read with it.
        yield_now().await;
        while together.len() < RECORDS_AT_A_TIME_MAX
            && let Ok(recall) = recalls.try_recv()
        {
            together.push(recall);
        }
        let asked: Vec<Recall> = together.drain(..).filter(|recall| !recall.answer.is_closed()).collect();
        let pool = Arc::clone(&pool);
        tokio::spawn(async move {
            ask(&pool, asked, wait_max).await;
            drop(question);
        });
    }
}

async fn ask(pool: &Pool, asked: Vec<Recall>, wait_max: Duration) {
    let (asked, late): (Vec<_>, Vec<_>) = asked.into_iter().partition(|recall| recall.since.elapsed() <= wait_max);
    for recall in late {
        let _ = recall.answer.send(Err(Trouble::Slow(wait_max).into()));
    }
    if asked.is_empty() {
        return;
    }
    let keys: Vec<TransactionKey> = asked.iter().map(|recall| recall.key.clone()).collect();
    let found = reads::recall_all(pool, &keys).await.map(|records| {
        let by_key = records.into_iter().map(|record| (record.key.clone(), record));
        by_key.collect::<HashMap<_, _>>()
    });
    for Recall { key, answer, .. } in asked {
        // Whoever hung up need not hear of it.
        let _ = answer.send(match &found {
            Ok(records) => Ok(records.get(&key).cloned()),
            Err(trouble) => Err(trouble.clone().into()),
        });
    }
}
