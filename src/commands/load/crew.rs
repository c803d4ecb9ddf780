//! Threads and lanes: who makes the calls.
//!
//! Invariant: a lane makes one call at a time, and there are as many lanes as calls may be under way; nothing queues
//! behind them but the schedule's own count. Each thread has its runtime, its connections and its tally, so that two
//! threads share nothing but the book.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::book::{Book, Random};
use super::call::{Clerk, Order, WRONG_ANSWER};
use super::line::{Line, Trouble};
use super::pace::Pace;
use super::plan::Plan;
use super::tally::{Ended, Tally};

/// How often something is looked up again for want of an answer, when it is read back.
const LOOKS_MAX: u32 = 5;
/// Wait between two looks.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// What says that a transaction is not there.
const NOT_THERE: &str = "transaction-not-found";
/// The code of a call that got no answer in time.
const TIMED_OUT: &str = "timed-out";

/// What all lanes do for a while.
pub struct Phase {
    /// When.
    pub pace: Pace,
    /// What.
    pub plan: Plan,
    /// What has been asked for so far.
    pub book: Arc<Book>,
    /// Longest wait for one answer.
    pub timeout: Duration,
}

/// One call at a time.
pub struct Lane {
    clerk: Clerk,
    line: Line,
    random: Random,
}

impl Lane {
    /// A lane; nothing is sent yet.
    #[must_use]
    pub const fn new(clerk: Clerk, line: Line, random: Random) -> Self {
        Self { clerk, line, random }
    }

    async fn work(mut self, phase: Arc<Phase>, tally: Arc<Mutex<Tally>>) -> Self {
        while let Some(turn) = phase.pace.next().await {
            let Some(order) = phase.plan.next(&phase.book, &mut self.random) else { break };
            let sent = Instant::now();
            let answer = match phase.plan {
                Plan::Drawn(_) => self.call(order, phase.timeout).await,
                Plan::ReadBack(_) => self.look(order, phase.timeout).await,
            };
            match (order, &answer) {
                (Order::Charge(place) | Order::Replay(place) | Order::GetCharge(place), Ok(Some(standing))) => {
                    phase.book.charges.mark(place, *standing);
                }
                (Order::Refund(place, _) | Order::GetRefund(place), Ok(Some(standing))) => {
                    phase.book.refunds.mark(place, *standing);
                }
                (_, Ok(None) | Err(_)) | (Order::Plain(..), Ok(Some(_))) => {}
            }
            let (face, verb, due, measured) = (self.clerk.face(), order.verb(), turn.due, turn.measured);
            let ended = Ended { face, verb, due, sent, at: Instant::now(), measured, answer };
            tally.lock().unwrap_or_else(PoisonError::into_inner).record(ended);
        }
        self
    }

    /// Sends one request, once.
    async fn call(
        &mut self,
        order: Order,
        timeout: Duration,
    ) -> Result<Option<super::book::Standing>, (String, String)> {
        let Some(request) = self.clerk.request(order) else {
            return Err(("no-request".to_owned(), "the path cannot be written".to_owned()));
        };
        match tokio::time::timeout(timeout, self.line.exchange(request)).await {
            Ok(Ok(raw)) => self.clerk.read(order, &raw).map_err(|code| (code, String::new())),
            Ok(Err(trouble)) => Err((trouble.code().to_owned(), trouble.why().to_owned())),
            Err(_) => Err((TIMED_OUT.to_owned(), format!("no answer within {timeout:?}"))),
        }
    }

    /// Looks something up, and again where no answer came: this is no measurement.
    async fn look(
        &mut self,
        order: Order,
        timeout: Duration,
    ) -> Result<Option<super::book::Standing>, (String, String)> {
        let mut looks = 1_u32;
        loop {
            match self.call(order, timeout).await {
                Err((code, _)) if looks < LOOKS_MAX && code != NOT_THERE && code != WRONG_ANSWER => {
                    looks = looks.saturating_add(1);
                    tokio::time::sleep(LOOK_AGAIN_AFTER).await;
                }
                answer => return answer,
            }
        }
    }
}

/// A thread's share.
pub struct Worker {
    runtime: Runtime,
    lanes: Vec<Lane>,
    tally: Arc<Mutex<Tally>>,
}

impl Worker {
    /// A thread's share of the lanes.
    ///
    /// # Errors
    /// The system gives no runtime.
    pub fn new(lanes: Vec<Lane>) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, lanes, tally: Arc::default() })
    }

    /// Opens every connection before the first call.
    ///
    /// # Errors
    /// Why there is none.
    pub fn connect(&mut self) -> Result<(), Trouble> {
        let lanes = &mut self.lanes;
        self.runtime.block_on(async {
            for lane in lanes {
                lane.line.ready().await?;
            }
            Ok(())
        })
    }

    /// Makes one call with the first lane.
    pub fn probe(&mut self, order: Order, timeout: Duration) -> Result<(), (String, String)> {
        let Some(lane) = self.lanes.first_mut() else { return Ok(()) };
        self.runtime.block_on(lane.call(order, timeout)).map(|_| ())
    }

    fn work(mut self, phase: &Arc<Phase>) -> Self {
        let (lanes, tally) = (std::mem::take(&mut self.lanes), Arc::clone(&self.tally));
        self.lanes = self.runtime.block_on(async {
            let mut working = JoinSet::new();
            for lane in lanes {
                working.spawn(lane.work(Arc::clone(phase), Arc::clone(&tally)));
            }
            working.join_all().await
        });
        self
    }
}

/// All threads.
pub struct Crew(Vec<Worker>);

impl Crew {
    /// A crew of these.
    #[must_use]
    pub const fn new(workers: Vec<Worker>) -> Self {
        Self(workers)
    }

    /// Begins a phase.
    #[must_use]
    pub fn begin(self, phase: &Arc<Phase>) -> AtWork {
        let tallies: Vec<_> = self.0.iter().map(|worker| Arc::clone(&worker.tally)).collect();
        for tally in &tallies {
            *tally.lock().unwrap_or_else(PoisonError::into_inner) = Tally::default();
        }
        let threads = self.0.into_iter().map(|worker| {
            let phase = Arc::clone(phase);
            std::thread::spawn(move || worker.work(&phase))
        });
        AtWork { threads: threads.collect(), tallies }
    }
}

/// A crew within a phase.
pub struct AtWork {
    threads: Vec<JoinHandle<Worker>>,
    tallies: Vec<Arc<Mutex<Tally>>>,
}

impl AtWork {
    /// Whether the phase is over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// What there is since the last look.
    #[must_use]
    pub fn lately(&self) -> Tally {
        let mut all = Tally::default();
        for tally in &self.tallies {
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            all.lately.add(&std::mem::take(&mut tally.lately));
            for (code, (count, why)) in &tally.errors {
                all.error(code.clone(), *count, why.clone());
            }
        }
        all
    }

    /// Waits for the end.
    #[must_use]
    pub fn end(self) -> (Crew, Tally) {
        let workers = self.threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect();
        let mut all = Tally::default();
        for tally in &self.tallies {
            all.add(&tally.lock().unwrap_or_else(PoisonError::into_inner));
        }
        (Crew(workers), all)
    }
}
