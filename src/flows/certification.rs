//! The story of certification: runs, and what is seen of the calls that belong to them.
//!
//! Invariant: looking never holds up what is looked at. What is seen goes into a bounded queue after the answer is
//! made; where the queue is full the call is left out and counted. A run is its partner's alone: to everybody else it
//! does not exist. What calls mean is judged in the domain, from what is kept, whenever somebody asks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::sandbox::Sandbox;
use super::{Gateway, Stop};
use crate::domain::Time;
use crate::domain::address::{Address, EMAIL, MSISDN, Msisdn, masked};
use crate::domain::catalogue::{Violation, field, reason};
use crate::domain::certification::judge::{Judged, judge};
use crate::domain::certification::recogniser::Recogniser;
use crate::domain::certification::{
    Call, Digest, Face, Fact, NAME_LENGTH_MAX, OPEN_RUNS_MAX, Rpc, Run, RunState, cases, condition,
};
use crate::domain::directory::{Directory, Partner};
use crate::domain::ids::{CorrelationId, PartnerId};
use crate::ports::certification::{CertificateSigner, CertificationRuns, RunsUnavailable};
use crate::ports::measures::CERTIFICATION_LEFT_OUT;

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

/// What a request said, as far as certification looks at it. It holds the address and the PIN as they came: it is
/// dropped as soon as it has become a [`Call`].
#[derive(Clone, Default)]
pub struct Sent {
    /// MSISDN, EMAIL, or what else stood there.
    pub type_word: String,
    /// The address.
    pub address: String,
    /// The account id.
    pub account_id: String,
    /// The PIN.
    pub pin: String,
    /// `extTransactionId`.
    pub ext_transaction_id: String,
    /// `referenceId`; `None` where it was absent.
    pub reference_id: Option<String>,
    /// The product.
    pub partner_product: String,
    /// The amount.
    pub amount: String,
    /// The currency.
    pub currency: String,
    /// The description, or the kind that was asked for.
    pub description: String,
    /// The message; `None` where the request has none by its kind.
    pub message: Option<String>,
}

/// What an answer told, beyond its status.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// `Success`, `Failure` or `Pending`.
    pub outcome: String,
    /// The account id.
    pub account_id: String,
    /// Whether the call did not start the work that it tells.
    pub replayed: bool,
}

/// One call that was answered.
pub struct Seen {
    /// Whose it was.
    pub partner: Arc<Partner>,
    /// Where numbers were routed when it was answered.
    pub directory: Arc<Directory>,
    /// The run that it belongs to.
    pub run: String,
    /// What was called.
    pub rpc: Rpc,
    /// Over which face.
    pub face: Face,
    /// Ties it to the logs.
    pub correlation: CorrelationId,
    /// The request, as far as it could be read.
    pub sent: Sent,
    /// HTTP status of the answer.
    pub status: u16,
    /// Error code; empty on success.
    pub code: &'static str,
    /// Codes of violations.
    pub violations: Vec<String>,
    /// What a success told.
    pub told: Told,
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

struct OpenRun {
    partner: PartnerId,
    changed: watch::Sender<()>,
    /// Calls that found the queue full.
    left_out: AtomicU32,
}

/// The runs that are open.
#[derive(Default)]
struct OpenRuns {
    by_id: HashMap<String, OpenRun>,
    /// The one that takes every call of its partner.
    taking_all: HashMap<PartnerId, String>,
}

impl OpenRuns {
    fn insert(&mut self, run: &Run) {
        let (changed, left_out) = (watch::Sender::new(()), AtomicU32::new(0));
        let open = OpenRun { partner: run.partner.clone(), changed, left_out };
        self.by_id.insert(run.id.clone(), open);
        if run.takes_all {
            self.taking_all.insert(run.partner.clone(), run.id.clone());
        }
    }

    fn remove(&mut self, id: &str) -> Option<OpenRun> {
        self.taking_all.retain(|_, taking| taking != id);
        self.by_id.remove(id)
    }
}

/// Certification in this gateway.
pub struct Certification {
    gateway: Arc<Gateway>,
    sandbox: Arc<Sandbox>,
    runs: Arc<dyn CertificationRuns>,
    signer: Arc<dyn CertificateSigner>,
    recognisers: Vec<Recogniser>,
    open: RwLock<OpenRuns>,
    queue: mpsc::Sender<(Time, Seen)>,
    /// Calls that were put into the queue.
    taken: AtomicU64,
    /// Calls that have come out of it and are kept, or lost.
    kept: AtomicU64,
}

/// What was seen and is not kept yet.
pub struct Queue(mpsc::Receiver<(Time, Seen)>);

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

    /// Takes up the runs that were open when the gateway stopped.
    ///
    /// # Errors
    /// The runs cannot be read.
    pub async fn take_up(&self) -> Result<(), RunsUnavailable> {
        for run in self.runs.open().await? {
            self.opened(&run);
        }
        Ok(())
    }

    fn opened(&self, run: &Run) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(run);
    }

    /// The open run that a call belongs to: the one that it names, else the one that takes all.
    #[must_use]
    pub fn run_of(&self, partner: &PartnerId, named: Option<&str>) -> Option<String> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        match named {
            Some(id) => open.by_id.get(id).filter(|run| run.partner == *partner).map(|_| id.to_owned()),
            None => open.taking_all.get(partner).cloned(),
        }
    }

    /// Takes note of a call that was answered. Never waits.
    pub fn saw(&self, seen: Seen) {
        self.taken.fetch_add(1, Ordering::SeqCst);
        if let Err(full) = self.queue.try_send((self.gateway.clock.now(), seen)) {
            self.kept.fetch_add(1, Ordering::SeqCst);
            metrics::counter!(CERTIFICATION_LEFT_OUT.name).increment(1);
            let (_, seen) = full.into_inner();
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(run) = open.by_id.get(&seen.run) {
                run.left_out.fetch_add(1, Ordering::Relaxed);
            }
        }
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
        }
        let chosen = cases(chosen);
        if chosen.is_none() {
            violations.push(Violation::on(field::CASES, reason::CASE_NUMBERS));
        }
        if takes_all && self.run_of(partner, None).is_some() {
            violations.push(Violation::on(field::TAKES_ALL, reason::TAKEN));
        }
        if !violations.is_empty() {
            return Err(Refused::Invalid(violations));
        }
        let of_partner = |open: &OpenRuns| open.by_id.values().filter(|run| run.partner == *partner).count();
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

    /// Calls of an open run that found the queue full.
    fn left_out(&self, id: &str) -> u32 {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.by_id.get(id).map(|run| run.left_out.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// The newest runs of a partner.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn list(&self, partner: &PartnerId) -> Result<Vec<Run>, Refused> {
        Ok(self.runs.list(partner, LISTED_MAX).await?)
    }

    /// Finishes a run.
    ///
    /// # Errors
    /// The partner has no such run.
    pub async fn finish(&self, partner: &PartnerId, id: &str) -> Result<Report, Refused> {
        let known = self.get(partner, id).await?;
        if known.run.state != RunState::Open {
            return Ok(known);
        }
        self.settled().await;
        self.runs.finish(id, self.gateway.clock.now(), self.left_out(id)).await?;
        let closed = self.open.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        // Whoever watches sees the sender go, looks once more and ends.
        drop(closed);
        self.get(partner, id).await
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
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.by_id.get(id).map(|run| run.changed.subscribe())
    }

    /// Ends every watcher: the gateway stops.
    pub fn close(&self) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = OpenRuns::default();
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

    /// Whether a PIN is the one that a number got last, as its phone in the sandbox shows.
    async fn was_sent(&self, seen: &Seen) -> bool {
        if seen.rpc != Rpc::ValidatePin || seen.sent.pin.is_empty() {
            return false;
        }
        let number = Msisdn::new(&seen.sent.address);
        let Some(route) = seen.directory.route(&seen.partner, &Address::Msisdn(number.clone())) else {
            return false;
        };
        let messages = self.sandbox.messages(&number, route).await.unwrap_or_default();
        let is_pin = |run: &&str| run.len() == 6;
        let last = messages
            .iter()
            .find_map(|sms| sms.text.expose().split(|character: char| !character.is_ascii_digit()).find(is_pin));
        last == Some(seen.sent.pin.as_str())
    }

    /// Leaves of a call what may be kept.
    async fn call(&self, at: Time, seen: Seen) -> (String, Call) {
        let pin_as_sent = self.was_sent(&seen).await;
        let Seen { partner, directory: _, run, rpc, face, correlation, sent, status, code, violations, told } = seen;
        let digest = |what: &str, parts: &[&str]| -> Digest {
            let mut named = vec!["certification", partner.id.as_str(), what];
            named.extend(parts);
            self.gateway.secrets.name_digest(&named)
        };
        let some = |what: &str, text: &str| (!text.is_empty()).then(|| digest(what, &[text]));
        let amount = plain_amount(&sent.amount);
        let account = some("account", &sent.address).or_else(|| some("account-id", &sent.account_id));
        let bought = if sent.address.is_empty() { &sent.account_id } else { &sent.address };
        let purchase = [bought, sent.partner_product.as_str(), amount.trim_start_matches('-'), sent.currency.as_str()];
        let reference = sent.reference_id.as_deref();
        let is_known_type = [MSISDN, EMAIL, ""].contains(&sent.type_word.as_str());
        let is_positive = !amount.starts_with('-') && amount.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
        let facts = [
            (Fact::AccountId, !sent.account_id.is_empty()),
            (Fact::AmountNegative, amount.starts_with('-')),
            (Fact::AmountPositive, is_positive),
            (Fact::Reference, reference.is_some()),
            (Fact::NoMessage, sent.message.as_deref() == Some("")),
            (Fact::TypeWrong, !is_known_type),
            (Fact::PinAsSent, pin_as_sent),
            (Fact::Replayed, told.replayed),
        ];
        let parts = [
            sent.type_word.as_str(),
            &sent.address,
            &sent.account_id,
            &sent.pin,
            &sent.ext_transaction_id,
            reference.unwrap_or("-"),
            &sent.partner_product,
            amount,
            &sent.currency,
            &sent.description,
            sent.message.as_deref().unwrap_or_default(),
        ];
        let call = Call {
            at,
            rpc,
            face,
            correlation: correlation.as_str().to_owned(),
            address: if sent.address.is_empty() { String::new() } else { masked(&sent.address) },
            account,
            told_account: some("account-id", &told.account_id),
            condition: condition(&sent.address).map(str::to_owned),
            transaction: some("transaction", &sent.ext_transaction_id),
            request: digest(rpc.word(), &parts),
            purchase: (!sent.amount.is_empty()).then(|| digest("purchase", &purchase)),
            facts: facts.into_iter().filter(|(_, holds)| *holds).map(|(fact, _)| fact).collect(),
            status,
            code: code.to_owned(),
            violations,
            outcome: told.outcome,
        };
        (run, call)
    }
}

/// An amount without the zeros that do not count: 10.00 is 10.
fn plain_amount(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
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
        let taken = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let mut calls = Vec::with_capacity(batch.len());
        for (at, seen) in batch.drain(..) {
            calls.push(certification.call(at, seen).await);
        }
        let mut changed: Vec<String> = calls.iter().map(|(run, _)| run.clone()).collect();
        changed.sort_unstable();
        changed.dedup();
        if let Err(error) = certification.runs.append(calls).await {
            tracing::warn!(cause = ?error.0, "calls of certification runs are lost");
        }
        certification.kept.fetch_add(taken, Ordering::SeqCst);
        let open = certification.open.read().unwrap_or_else(PoisonError::into_inner);
        for run in changed.iter().filter_map(|id| open.by_id.get(id)) {
            run.changed.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_that_do_not_count_are_left_out_of_amounts() {
        for (text, plain) in [("10", "10"), ("10.00", "10"), ("10.50", "10.5"), ("-9.90", "-9.9"), ("100", "100")] {
            assert_eq!(plain_amount(text), plain);
        }
    }
}
