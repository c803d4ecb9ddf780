//! The story of certification: runs, and what is seen of the calls that belong to them.
//!
//! Invariant: looking never holds up money that is looked at. What is seen goes into a bounded queue once the answer is
//! made; where the queue is full the call is left out and counted. Only a try of a PIN waits, for one look at the phone.
//! A run is its partner's alone: to everybody else it does not exist. What calls mean is judged in the domain, from what
//! is kept, whenever somebody asks. Which call belongs where is in `open.rs`, what is kept of it in `seen.rs`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

pub use self::open::{Member, UnderWay};
use self::open::{OpenRun, OpenRuns, Place};
pub use self::seen::{Seen, Sent, Told};
use super::sandbox::Sandbox;
use super::{Gateway, Stop};
use crate::domain::Time;
use crate::domain::address::{Address, Msisdn};
use crate::domain::catalogue::{Violation, field, reason};
use crate::domain::certification::judge::{Judged, judge};
use crate::domain::certification::recogniser::Recogniser;
use crate::domain::certification::{Call, NAME_LENGTH_MAX, OPEN_RUNS_MAX, Run, RunState, cases, is_plain};
use crate::domain::directory::{Directory, Partner};
use crate::domain::ids::PartnerId;
use crate::domain::pin::PIN_DIGITS;
use crate::ports::Cause;
use crate::ports::certification::{CertificateSigner, CertificationRuns, RunsUnavailable};
use crate::ports::measures::CERTIFICATION_LEFT_OUT;

mod open;
mod seen;

/// Most calls that wait to be kept; beyond it they are left out.
pub const QUEUE_MAX: usize = 8_192;
/// Most calls that are kept in one go.
const BATCH_MAX: usize = 1_024;
/// How long the first call of a batch waits for others, so that many calls cost one transaction.
const LINGER: Duration = Duration::from_millis(100);
/// How often a run that is finished looks whether all of its calls are kept, and how long it waits between.
const SETTLING_LOOKS: u32 = 100;
/// See above.
const SETTLING_PAUSE: Duration = Duration::from_millis(20);
/// How often whoever finishes a run looks whether calls of it are under way still, [`SETTLING_PAUSE`] apart; what is
/// under way after five seconds is left out.
const FINISH_LOOKS: u32 = 250;
/// Most bytes of the id of a run.
const RUN_ID_BYTES_MAX: usize = 128;
/// Most runs that are listed.
const LISTED_MAX: usize = 250;

/// Why a story of certification ended without its answer.
#[derive(Debug, Clone)]
pub enum Refused {
    /// The partner has no such run.
    NoSuchRun,
    /// Fields are not as they must be.
    Invalid(Vec<Violation>),
    /// Too many runs are open.
    TooMany,
    /// Something that is needed is away.
    Stopped(Stop),
}

impl From<RunsUnavailable> for Refused {
    fn from(error: RunsUnavailable) -> Self {
        Self::Stopped(Stop::Unavailable(error.0))
    }
}

/// A run with what is known of its cases.
#[derive(Debug, Clone)]
pub struct Report {
    /// The run.
    pub run: Run,
    /// What was seen, in order.
    pub calls: Vec<Call>,
    /// Its cases, in order, each with what it is.
    pub cases: Vec<(Recogniser, Judged)>,
}

/// Certification in this gateway.
pub struct Certification {
    gateway: Arc<Gateway>,
    sandbox: Arc<Sandbox>,
    runs: Arc<dyn CertificationRuns>,
    signer: Arc<dyn CertificateSigner>,
    recognisers: Vec<Recogniser>,
    open: RwLock<OpenRuns>,
    queue: mpsc::Sender<Noted>,
    /// Calls that were put into the queue.
    taken: AtomicU64,
    /// Calls that have come out of it and are kept, or lost.
    kept: AtomicU64,
}

/// What goes through the queue.
enum Noted {
    /// A call of a run.
    Call(Time, Member, Box<Seen>),
    /// A call of this partner that came when the run that it names took no more.
    Late(String, PartnerId),
}

/// What was seen and is not kept yet.
pub struct Queue(mpsc::Receiver<Noted>);

impl Certification {
    /// Certification over these runs. Whoever calls this keeps what comes out of the queue: [`keep`].
    pub fn new(
        gateway: Arc<Gateway>,
        sandbox: Arc<Sandbox>,
        runs: Arc<dyn CertificationRuns>,
        signer: Arc<dyn CertificateSigner>,
        recognisers: Vec<Recogniser>,
    ) -> (Arc<Self>, Queue) {
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        let open = RwLock::default();
        let (taken, kept) = (AtomicU64::new(0), AtomicU64::new(0));
        let certification = Self { gateway, sandbox, runs, signer, recognisers, open, queue, taken, kept };
        (Arc::new(certification), Queue(receiver))
    }

    /// Takes up the runs that were open when the gateway stopped. Where it did not stop in order, they say so from now
    /// on: of the calls that were answered in its last moments some may be missing.
    ///
    /// # Errors
    /// The runs cannot be read.
    pub async fn take_up(&self) -> Result<(), RunsUnavailable> {
        self.runs.begin().await?;
        for run in self.runs.open().await? {
            self.opened(&run);
        }
        Ok(())
    }

    fn opened(&self, run: &Run) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(run);
    }

    /// The open run that a call belongs to, by a token that says that the call is under way.
    #[must_use]
    pub fn enter(&self, partner: &PartnerId, named: Option<&str>) -> Option<UnderWay> {
        let place = self.open.read().unwrap_or_else(PoisonError::into_inner).place(partner, named);
        match (place, named) {
            (Place::In(call), _) => Some(call),
            (Place::Late, Some(id)) if id.len() <= RUN_ID_BYTES_MAX => {
                self.queue(Noted::Late(id.to_owned(), partner.clone()));
                None
            }
            (Place::Late | Place::Nowhere, _) => None,
        }
    }

    /// Takes note of a call that was answered. Never waits.
    pub fn saw(&self, run: &Member, seen: Seen) {
        let noted = Noted::Call(self.gateway.clock.now(), run.clone(), Box::new(seen));
        if !self.queue(noted) {
            run.0.left_out.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Whether there was a place.
    fn queue(&self, noted: Noted) -> bool {
        self.taken.fetch_add(1, Ordering::SeqCst);
        let has_place = self.queue.try_send(noted).is_ok();
        if !has_place {
            self.kept.fetch_add(1, Ordering::SeqCst);
            metrics::counter!(CERTIFICATION_LEFT_OUT.name).increment(1);
        }
        has_place
    }

    /// Whether a PIN is the one that a number got last, as its phone shows. To be asked before the try is answered: a
    /// caller that has its answer may have another PIN sent at once.
    pub async fn phone_shows(&self, directory: &Directory, partner: &Partner, sent: &Sent) -> bool {
        if sent.pin.is_empty() {
            return false;
        }
        let number = Msisdn::new(&sent.address);
        let Some(route) = directory.route(partner, &Address::Msisdn(number.clone())) else {
            return false;
        };
        let messages = self.sandbox.messages(&number, route).await.unwrap_or_default();
        let is_pin = |run: &&str| run.len() == PIN_DIGITS;
        let last = messages
            .iter()
            .find_map(|sms| sms.text.expose().split(|character: char| !character.is_ascii_digit()).find(is_pin));
        last == Some(sent.pin.as_str())
    }

    /// Starts a run.
    ///
    /// # Errors
    /// A name or a choice of cases that is none, too many open runs, or a second one that takes all.
    pub async fn start(
        &self,
        partner: &PartnerId,
        name: &str,
        chosen: &str,
        takes_all: bool,
    ) -> Result<Report, Refused> {
        let mut violations = Vec::new();
        if name.trim().is_empty() {
            violations.push(Violation::missing(field::NAME));
        } else if name.chars().count() > NAME_LENGTH_MAX {
            violations.push(Violation::on(field::NAME, reason::RUN_NAME_SIZE));
        } else if !name.chars().all(is_plain) {
            violations.push(Violation::on(field::NAME, reason::RUN_NAME_PLAIN));
        }
        let chosen = cases(chosen);
        if chosen.is_none() {
            violations.push(Violation::on(field::CASES, reason::CASE_NUMBERS));
        }
        if takes_all && self.open.read().unwrap_or_else(PoisonError::into_inner).takes_all(partner) {
            violations.push(Violation::on(field::TAKES_ALL, reason::TAKEN));
        }
        if !violations.is_empty() {
            return Err(Refused::Invalid(violations));
        }
        let of_partner = |open: &OpenRuns| open.all().filter(|run| run.partner == *partner).count();
        if of_partner(&self.open.read().unwrap_or_else(PoisonError::into_inner)) >= OPEN_RUNS_MAX {
            return Err(Refused::TooMany);
        }
        let run = Run {
            id: format!("run_{}", self.gateway.secrets.fresh_correlation_id().as_str()),
            partner: partner.clone(),
            name: name.trim().to_owned(),
            cases: chosen.unwrap_or_default(),
            takes_all,
            started_at: self.gateway.clock.now(),
            state: RunState::Open,
            left_out: 0,
            interrupted: 0,
        };
        self.runs.start(&run).await?;
        self.opened(&run);
        Ok(self.judged(run, Vec::new()))
    }

    /// A run of a partner.
    ///
    /// # Errors
    /// It has no such run.
    pub async fn get(&self, partner: &PartnerId, id: &str) -> Result<Report, Refused> {
        let (mut run, calls) =
            self.runs.read(id).await?.filter(|(run, _)| run.partner == *partner).ok_or(Refused::NoSuchRun)?;
        run.left_out = run.left_out.saturating_add(self.left_out(id));
        Ok(self.judged(run, calls))
    }

    fn find(&self, id: &str) -> Option<Arc<OpenRun>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Calls of an open run that found the queue full.
    fn left_out(&self, id: &str) -> u32 {
        self.find(id).map(|run| run.left_out.load(Ordering::SeqCst)).unwrap_or_default()
    }

    /// The newest runs of a partner.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn list(&self, partner: &PartnerId) -> Result<Vec<Run>, Refused> {
        Ok(self.runs.list(partner, LISTED_MAX).await?)
    }

    /// Finishes a run: it takes no more calls, and those that are under way are waited for a while.
    ///
    /// # Errors
    /// The partner has no such run.
    pub async fn finish(self: &Arc<Self>, partner: &PartnerId, id: &str) -> Result<Report, Refused> {
        let known = self.get(partner, id).await?;
        if known.run.state != RunState::Open {
            return Ok(known);
        }
        // A task of its own: a caller that waits no longer leaves no run half finished.
        let (certification, of) = (Arc::clone(self), id.to_owned());
        let ended = self.gateway.tasks.spawn(async move { certification.end(&of).await });
        ended.await.map_err(|error| Refused::Stopped(Stop::Unavailable(Cause::new(error))))??;
        self.get(partner, id).await
    }

    async fn end(&self, id: &str) -> Result<(), RunsUnavailable> {
        let run = {
            // Under this lock, so that every call is either under way by now or comes too late.
            let open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            let run = open.get(id).cloned();
            if let Some(run) = &run {
                run.set_closing(true);
            }
            run
        };
        let mut never_noted = 0;
        if let Some(run) = &run {
            for _ in 0..FINISH_LOOKS {
                if run.under_way() == 0 {
                    break;
                }
                tokio::time::sleep(SETTLING_PAUSE).await;
            }
            never_noted = run.under_way();
        }
        self.settled().await;
        let left_out = self.left_out(id).saturating_add(never_noted);
        let finished = self.runs.finish(id, self.gateway.clock.now(), left_out).await;
        if finished.is_ok() {
            // Whoever watches sees the sender go, looks once more and ends.
            self.open.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        } else if let Some(run) = &run {
            run.set_closing(false);
        }
        finished
    }

    /// Calls that wait to be kept.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.taken.load(Ordering::Relaxed).saturating_sub(self.kept.load(Ordering::Relaxed))
    }

    /// Waits until what was seen before this moment is kept, for a bounded time.
    async fn settled(&self) {
        let taken = self.taken.load(Ordering::SeqCst);
        for _ in 0..SETTLING_LOOKS {
            if self.kept.load(Ordering::SeqCst) >= taken {
                return;
            }
            tokio::time::sleep(SETTLING_PAUSE).await;
        }
    }

    /// Tells of changes of an open run; `None` for one that is not open.
    #[must_use]
    pub fn changes(&self, id: &str) -> Option<watch::Receiver<()>> {
        self.find(id)?.changes()
    }

    /// Ends every watcher: the gateway stops. Calls that are answered until then are taken still.
    pub fn close(&self) {
        self.open.read().unwrap_or_else(PoisonError::into_inner).all().for_each(|run| run.end_watchers());
    }

    /// Everything that was seen is kept, and the gateway stops in order.
    ///
    /// # Errors
    /// That cannot be written: the next start takes this for an interruption.
    pub async fn stopped_in_order(&self) -> Result<(), RunsUnavailable> {
        self.runs.end().await
    }

    /// Signs what is to be a certificate.
    #[must_use]
    pub fn signer(&self) -> &dyn CertificateSigner {
        self.signer.as_ref()
    }

    fn judged(&self, run: Run, calls: Vec<Call>) -> Report {
        let wanted = self.recognisers.iter().filter(|known| run.cases.contains(&known.case));
        let cases = wanted.map(|known| (known.clone(), judge(known, &calls))).collect();
        Report { run, calls, cases }
    }
}

/// Keeps what was seen, until nobody can see any more.
pub async fn keep(certification: Arc<Certification>, mut queue: Queue, stop: tokio_util::sync::CancellationToken) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        tokio::select! {
            biased;
            taken = queue.0.recv_many(&mut batch, BATCH_MAX) => if taken == 0 { return },
            () = stop.cancelled() => return,
        }
        if !stop.is_cancelled() {
            tokio::time::sleep(LINGER).await;
        }
        while batch.len() < BATCH_MAX
            && let Ok(more) = queue.0.try_recv()
        {
            batch.push(more);
        }
        certification.keep_batch(&mut batch).await;
    }
}

impl Certification {
    async fn keep_batch(&self, batch: &mut Vec<Noted>) {
        let taken = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let (mut calls, mut late) = (Vec::with_capacity(batch.len()), Vec::new());
        let mut changed: BTreeMap<String, (Member, u32)> = BTreeMap::new();
        for noted in batch.drain(..) {
            match noted {
                Noted::Call(at, run, seen) => {
                    calls.push((run.0.id.clone(), seen::kept(&self.gateway, &self.sandbox, at, *seen)));
                    let (_, count) = changed.entry(run.0.id.clone()).or_insert((run, 0));
                    *count = count.saturating_add(1);
                }
                Noted::Late(run, partner) => late.push((run, partner)),
            }
        }
        if let Err(error) = self.runs.append(calls, late).await {
            tracing::warn!(cause = ?error.0, "calls of certification runs are lost");
            for (run, lost) in changed.values() {
                run.0.left_out.fetch_add(*lost, Ordering::SeqCst);
            }
        }
        self.kept.fetch_add(taken, Ordering::SeqCst);
        for (run, _) in changed.values() {
            run.0.tell_change();
        }
    }
}
