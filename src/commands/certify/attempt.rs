//! One attempt at one case on one face, from the first step to the last.
//!
//! Invariant: an attempt owns its number and its ids, so that attempts do not meet; where they might have, it says so
//! and is begun anew elsewhere. It judges what it saw and nothing else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::accounts::Loan;
use super::answer::{Answer, Body, Expected, NoAnswer};
use super::bench::Bench;
use super::cases::{Case, Event, Rpc, Step, StepFace};
use super::check::{Difference, compare, compare_loosely};
use super::document::Document;
use super::effects::{Before, Effects, Onlooker};
use super::faces::{Client, Face};
use super::mask::{Mask, masked_number};
use super::render;
use super::sandbox::{Sms, pin_in};
use super::values::{Missing, Values};
use super::verdict::StepRecord;

/// A gateway without room for a call is asked again this often, if it says when to come back, and soon.
const COME_BACK_MAX: u32 = 5;
const COME_BACK_WITHIN: Duration = Duration::from_secs(10);
/// A PIN is surely gone this long after its time to live.
const EXPIRY_MARGIN: Duration = Duration::from_secs(5);
/// A sandbox clock that is ahead of ours by more than this was moved by somebody.
const CLOCK_MOVED: Duration = Duration::from_mins(1);

/// Why an attempt ended before its last step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// A call had no answer.
    NoAnswer(Silence),
    /// Something is missing that the case needs.
    Needs(String),
}

/// A call without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Which call, and why.
    pub why: String,
    /// It has cost the whole time-out.
    pub timed_out: bool,
}

impl Silence {
    fn of(call: &str, error: &NoAnswer) -> Stop {
        Stop::NoAnswer(Self { why: format!("{call}: {error}"), timed_out: matches!(error, NoAnswer::TimedOut(_)) })
    }
}

/// An attempt under way.
pub struct Attempt<'a> {
    bench: &'a Bench,
    case: &'a Case,
    face: Face,
    loan: Option<Loan>,
    values: Values,
    mask: Mask,
    calls: u32,
    answers: BTreeMap<&'a str, Bytes>,
    pin_sms: Option<(Instant, Sms)>,
    crowded: bool,
    /// The steps so far.
    pub steps: Vec<StepRecord>,
}

impl<'a> Attempt<'a> {
    /// An attempt with a number of its own.
    ///
    /// # Errors
    /// The account that it needs.
    pub async fn begin(bench: &'a Bench, case: &'a Case, face: Face) -> Result<Self, String> {
        let mut values = Values::new(&bench.accounts.facts);
        let mut mask = Mask::default();
        let mut loan = None;
        if let Some(condition) = &case.account {
            let sandbox = bench.sandbox(face).is_some();
            loan = bench.accounts.lend(condition, &bench.contract, sandbox).await;
            let Some(loan) = &loan else {
                let means = bench.contract.condition.get(condition).map_or("", |condition| &condition.means);
                return Err(format!("needs a number for `{condition}` in --accounts: {means}"));
            };
            values.set("msisdn", loan.msisdn.clone());
            mask.hide_number(&loan.msisdn);
        }
        let (answers, steps) = (BTreeMap::new(), Vec::new());
        Ok(Self { bench, case, face, loan, values, mask, calls: 0, answers, pin_sms: None, crowded: false, steps })
    }

    /// The number in use, as it may be shown.
    #[must_use]
    pub fn account(&self) -> Option<String> {
        self.loan.as_ref().map(|loan| masked_number(&loan.msisdn))
    }

    /// Runs all steps.
    ///
    /// # Errors
    /// Why it ended early.
    pub async fn run(&mut self) -> Result<(), Stop> {
        for step in &self.case.steps {
            let face = match step.face {
                StepFace::Same => self.face,
                StepFace::Other => self.face.other(),
            };
            if let Some(client) = self.bench.clients.get(&face) {
                self.step(step, face, client).await?;
            }
        }
        Ok(())
    }

    /// Whether something that was not to be was seen in a step that counts.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.steps.iter().any(|step| !step.prepare && !step.differences.is_empty())
    }

    async fn step(&mut self, step: &'a Step, face: Face, client: &Client) -> Result<(), Stop> {
        if step.after == Some(Event::PinExpiry) {
            self.let_the_pin_expire().await?;
        }
        let unknown = || Stop::Needs(format!("needs the RPC {}", step.call));
        let rpc = self.bench.contract.rpc.get(&step.call).ok_or_else(unknown)?;
        let request = self.values.fill(&step.request).map_err(|missing| needs(&missing))?;
        let answer = step.answer.as_ref().map(|answer| self.values.fill(answer)).transpose();
        let expected = client.expected(step, answer.map_err(|missing| needs(&missing))?).map_err(Stop::Needs)?;
        let msisdn = self.loan.as_ref().map(|loan| loan.msisdn.clone()).unwrap_or_default();
        let onlooker = Onlooker::new(self.bench.sandbox(face), &self.bench.contract, &msisdn);
        let before = onlooker.before(step).await;
        let mut exchange = Exchange { step, face, client, rpc, request, expected, elapsed: Duration::ZERO };
        let begun = Instant::now();
        let answer = self.call(client, rpc, &exchange.request).await;
        exchange.elapsed = begun.elapsed();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.record_silence(&exchange, &error)),
        };
        let mut differences = if step.prepare {
            compare_loosely(&exchange.expected, &answer)
        } else {
            compare(&exchange.expected, &answer)
        };
        self.compare_repeat(step, &answer, &mut differences);
        let mut effects = onlooker.after(step, &before, &mut self.values, &self.mask).await;
        self.read_pin_sms(step, &answer, &mut effects).await;
        self.crowded |= effects.crowded;
        differences.append(&mut effects.differences);
        let lost = effects.lost.take();
        self.record(&exchange, &answer, &differences, &effects);
        self.stop_for(step, &answer, &differences, lost)?;
        if step.takes_pin {
            let (pin, sms) = self.pin(&onlooker, &before).await.map_err(Stop::Needs)?;
            self.mask.hide_pin(&pin);
            self.values.set_pin(&pin);
            self.mask.hide_pin(self.values.get("wrong_pin").unwrap_or_default());
            self.pin_sms = sms.map(|sms| (Instant::now(), sms));
        }
        Ok(())
    }

    /// Whether the attempt must end here.
    fn stop_for(
        &self,
        step: &Step,
        answer: &Answer,
        differences: &[Difference],
        lost: Option<NoAnswer>,
    ) -> Result<(), Stop> {
        if let Some(lost) = lost {
            return Err(Silence::of("sandbox", &lost));
        }
        let Some(first) = differences.first() else { return Ok(()) };
        if is_full(answer) {
            return Err(Stop::Needs(format!("needs room at the gateway: {} answered {}", step.name, answer.status)));
        }
        if step.prepare {
            let (name, at, found) = (&step.name, &first.at, self.mask.text(&first.actual));
            return Err(Stop::Needs(format!("needs the step \"{name}\" to succeed: {at} was {found}")));
        }
        Ok(())
    }

    /// Calls, and comes back where the gateway has no room and says when: nothing has happened then.
    async fn call(&mut self, client: &Client, rpc: &Rpc, request: &Document) -> Result<Answer, NoAnswer> {
        self.calls = self.calls.saturating_add(1);
        let correlation = format!("{}-{:02}-{}-{}", self.bench.run_id, self.case.id, self.face, self.calls);
        let mut comebacks = 0_u32;
        loop {
            let answer = client.call(rpc, request, &correlation).await?;
            match answer.come_back_after {
                Some(after) if after <= COME_BACK_WITHIN && comebacks < COME_BACK_MAX => {
                    comebacks = comebacks.saturating_add(1);
                    tokio::time::sleep(after.max(Duration::from_millis(50))).await;
                }
                _ => return Ok(answer),
            }
        }
    }

    /// A repeat must give the bytes of the first answer, on the same face.
    fn compare_repeat(&mut self, step: &'a Step, answer: &Answer, differences: &mut Vec<Difference>) {
        let first = step.repeats.as_deref().and_then(|name| self.answers.get(name));
        if let Some(first) = first.filter(|first| **first != answer.bytes) {
            let text = |bytes: &Bytes| self.mask.text(&String::from_utf8_lossy(bytes));
            differences.push(Difference::new("body (bytes of the first answer)", text(first), text(&answer.bytes)));
        }
        self.answers.insert(&step.name, answer.bytes.clone());
    }

    /// Without a sandbox, a command that reads the phone shows that the SMS has come.
    async fn read_pin_sms(&self, step: &Step, answer: &Answer, effects: &mut Effects) {
        let due = step.inbox_gains.as_deref() == Some(&["{pin}".to_owned()]);
        let sent = matches!(answer.status.as_str(), "201" | "OK");
        let blind = self.bench.sandbox(self.face).is_none();
        let Some(loan) = self.loan.as_ref().filter(|_| due && sent && blind && self.bench.pins.reads_the_phone())
        else {
            return;
        };
        match self.bench.pins.fetch(&loan.msisdn, &masked_number(&loan.msisdn)).await {
            Ok(_) => {
                effects.not_checked.clear();
                effects.seen.push("inbox: an SMS with a PIN, as --pin-command shows".to_owned());
            }
            Err(why) => effects.not_checked.push(format!("inbox: an SMS with a PIN, not checked ({why})")),
        }
    }

    async fn pin(&self, onlooker: &Onlooker<'_>, before: &Before) -> Result<(String, Option<Sms>), String> {
        if onlooker.sandbox.is_some() {
            return onlooker.new_pin(before, &self.values).await.map(|(pin, sms)| (pin, Some(sms)));
        }
        self.bench.pins.fetch(onlooker.msisdn, &masked_number(onlooker.msisdn)).await.map(|pin| (pin, None))
    }

    /// By the sandbox's clock if it can be moved, else in real time.
    async fn let_the_pin_expire(&self) -> Result<(), Stop> {
        let ttl = self.bench.pin_ttl;
        if let Some(sandbox) = self.bench.sandbox(self.face) {
            let by = ttl.saturating_add(Duration::from_secs(1));
            let moved = sandbox.advance(&self.bench.contract, by).await;
            if moved.map_err(|error| Silence::of("sandbox clock", &error))? {
                return Ok(());
            }
        }
        let (begun, wait) = (Instant::now(), ttl.saturating_add(EXPIRY_MARGIN));
        loop {
            let left = wait.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            self.bench.watch.waiting(self.case.id, self.face, left);
            tokio::time::sleep(left.min(Duration::from_secs(1))).await;
        }
    }

    /// What another run may have done to this attempt, where there is a sign of it. Only asked when it did not go well.
    pub async fn disturbance(&self) -> Option<Disturbance> {
        if self.crowded {
            return Some(Disturbance::Crowded);
        }
        if self.bench.sandbox(self.face).is_some() && self.steps.iter().any(is_unconfirmed) {
            return Some(Disturbance::NotConfirmed);
        }
        let (seen_at, sms) = self.pin_sms.as_ref()?;
        let (sandbox, loan) = (self.bench.sandbox(self.face)?, self.loan.as_ref()?);
        let inbox = sandbox.inbox(&self.bench.contract, &loan.msisdn).await.ok()?;
        let newest = inbox.iter().find_map(|sms| pin_in(&sms.text));
        if newest != self.values.get("pin") {
            return Some(Disturbance::PinReplaced);
        }
        let own_move = self.case.steps.iter().any(|step| step.after.is_some());
        let now = if own_move { None } else { self.sandbox_time(&loan.msisdn).await };
        let sent_at: jiff::Timestamp = sms.sent_at.parse().ok()?;
        let ahead = now?.duration_since(sent_at);
        let ours = seen_at.elapsed().saturating_add(CLOCK_MOVED);
        (ahead > jiff::SignedDuration::try_from(ours).ok()?).then_some(Disturbance::ClockMoved)
    }

    /// The gateway's time: that of a message sent now.
    async fn sandbox_time(&self, msisdn: &str) -> Option<jiff::Timestamp> {
        let client = self.bench.clients.get(&self.face)?;
        let rpc = self.bench.contract.rpc.get("SendNotification")?;
        let message = self.values.get("message")?;
        let request =
            Document::object([("type", "MSISDN".into()), ("address", msisdn.into()), ("message", message.into())]);
        client.call(rpc, &request, &self.bench.run_id).await.ok()?;
        let inbox = self.bench.sandbox(self.face)?.inbox(&self.bench.contract, msisdn).await.ok()?;
        inbox.iter().find(|sms| sms.text.contains(message))?.sent_at.parse().ok()
    }

    fn record(&mut self, exchange: &Exchange<'_>, answer: &Answer, differences: &[Difference], effects: &Effects) {
        let (face, expected) = (exchange.face, &exchange.expected);
        let expected_text = self.mask.text(&render::expected(face, expected, answer));
        let actual_text = self.mask.text(&render::actual(face, expected, answer));
        let mut record = self.record_of(exchange, expected_text, actual_text, differences);
        record.effects = effects.seen.iter().map(|text| self.mask.text(text)).collect();
        record.not_checked = effects.not_checked.iter().map(|text| self.mask.text(text)).collect();
        record.remarks.clone_from(&answer.remarks);
        self.steps.push(record);
    }

    fn record_silence(&mut self, exchange: &Exchange<'_>, error: &NoAnswer) -> Stop {
        let difference = Difference::new("answer", "(one)", error.to_string());
        let expected = self.mask.text(&render::expected_alone(exchange.face, &exchange.expected));
        let record = self.record_of(exchange, expected, format!("(no answer)\n{error}"), &[difference]);
        self.steps.push(record);
        Silence::of(&exchange.step.name, error)
    }

    fn record_of(
        &self,
        exchange: &Exchange<'_>,
        expected: String,
        actual: String,
        differences: &[Difference],
    ) -> StepRecord {
        let masked = |difference: &Difference| Difference {
            at: difference.at.clone(),
            expected: self.mask.text(&difference.expected),
            actual: self.mask.text(&difference.actual),
        };
        StepRecord {
            name: exchange.step.name.clone(),
            prepare: exchange.step.prepare,
            face: exchange.face,
            call: exchange.client.call_name(exchange.rpc),
            request: self.mask.text(&exchange.request.pretty()),
            expected,
            actual,
            differences: differences.iter().map(masked).collect(),
            effects: Vec::new(),
            not_checked: Vec::new(),
            remarks: Vec::new(),
            elapsed_ms: u64::try_from(exchange.elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// One call of a step, but for its answer.
struct Exchange<'b> {
    step: &'b Step,
    face: Face,
    client: &'b Client,
    rpc: &'b Rpc,
    request: Document,
    expected: Expected,
    elapsed: Duration,
}

/// How another run may have come in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// More messages came than were due.
    Crowded,
    /// A charge or refund was not confirmed, or not yet: a clock that is moved meanwhile cuts it short.
    NotConfirmed,
    /// Somebody asked for another PIN for the same number.
    PinReplaced,
    /// Somebody moved the sandbox clock: PINs expired.
    ClockMoved,
}

impl Disturbance {
    /// Attempts that may be given up for it. A flaw of the gateway can look like the first two, so that they soon count.
    #[must_use]
    pub const fn attempts_max(self) -> u32 {
        match self {
            Self::Crowded | Self::NotConfirmed => 3,
            Self::PinReplaced | Self::ClockMoved => 20,
        }
    }

    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Crowded => "more messages came than were due, perhaps of another run on the same number",
            Self::NotConfirmed => {
                "a charge or refund was not confirmed, perhaps since another run moved the sandbox clock"
            }
            Self::PinReplaced => "another PIN was sent to the same number, by another run",
            Self::ClockMoved => "the sandbox clock was moved by another run",
        }
    }
}

fn needs(missing: &Missing) -> Stop {
    Stop::Needs(format!("needs a value for {{{}}}", missing.0))
}

/// Whether a transaction has not come to its end, or to another: where the cases look, only a moved clock does that.
fn is_unconfirmed(step: &StepRecord) -> bool {
    step.differences.iter().any(|difference| {
        difference.at == "body.status" && ["\"Failure\"", "\"Pending\""].contains(&difference.actual.as_str())
    })
}

/// A quota that is used up is not what a case is about.
fn is_full(answer: &Answer) -> bool {
    answer.status == "429" || answer.status == "RESOURCE_EXHAUSTED" && matches!(answer.body, Body::Document(_))
}
