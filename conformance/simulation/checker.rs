//! The checker: holds the CSP's bill, the ledger and all that callers heard against one another.
//!
//! Invariant: it knows the contract and nothing of how the flows work. A CSP that has lied about a key is held against
//! nothing that rests on its word; everything else still holds for that key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onbill::domain::ids::Reference;
use onbill::domain::transaction::{BookAccount, Kind, State, Status, Transaction};
use onbill::flows::flight::Origin;
use onbill::ports::secrets::Secrets;

use super::client::{Call, Heard};
use super::csp::Effect;
use super::gateway::Site;
use super::ledger::{Books, Change};
use super::run::may_have_moved;
use super::world::{World, label};

mod spending;

use self::spending::is_over_limit;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The key.
    pub label: String,
    pub text: String,
}

/// What there is to be held against one another.
pub struct Evidence {
    pub calls: Vec<Call>,
    replays: Vec<Call>,
    effects: Vec<Effect>,
    books: Books,
    history: Vec<Change>,
    references: BTreeMap<String, Reference>,
    liars: BTreeSet<String>,
    misbooked: BTreeSet<String>,
    ledger_is_sound: bool,
    world: Arc<World>,
}

impl Evidence {
    /// Takes stock at the end of a run.
    pub fn gather(site: &Site, calls: Vec<Call>, replays: Vec<Call>) -> Self {
        let memory = site.csp.memory();
        let books = site.archive.store.books();
        let reference = |record: &Transaction| (label(&record.key), site.secrets.reference(&record.key));
        Self {
            calls,
            replays,
            effects: memory.effects.clone(),
            references: books.records.iter().map(reference).collect(),
            books,
            history: site.archive.history(),
            liars: memory.liars.clone(),
            misbooked: memory.misbooked.clone(),
            ledger_is_sound: site.world.plan.ledger_is_sound(),
            world: Arc::clone(&site.world),
        }
    }

    fn record(&self, of: &str) -> Option<&Transaction> {
        self.books.records.iter().find(|record| label(&record.key) == of)
    }

    fn effects_of<'a>(&'a self, of: &'a str) -> impl Iterator<Item = &'a Effect> {
        self.effects.iter().filter(move |effect| effect.label == of)
    }

    /// Whether the gateway that released a key has crashed since: it was the only one who knew what it had told.
    fn died_with_its_promise(&self, of: &str, since_ms: u64) -> bool {
        let released = |change: &&Change| change.label == of && change.state == State::Released;
        self.history.iter().filter(released).any(|change| self.world.died_since(&change.by, since_ms))
    }

    fn is_told_truly(&self, of: &str) -> bool {
        !self.liars.contains(of) && !self.misbooked.contains(of)
    }
}

/// All that is wrong.
pub fn check(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    bill(evidence, &mut findings);
    refunds(evidence, &mut findings);
    for record in &evidence.books.records {
        outcome(evidence, record, &mut findings);
        postings(evidence, record, &mut findings);
        events(evidence, record, &mut findings);
        shares(evidence, record, &mut findings);
    }
    history(evidence, &mut findings);
    spending::check(evidence, &mut findings);
    answers(evidence, &mut findings);
    origins(evidence, &mut findings);
    unavailable(evidence, &mut findings);
    pending(evidence, &mut findings);
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn must(&mut self, holds: bool, label: &str, text: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Finding { label: label.to_owned(), text: text() });
        }
    }
}

/// Each effect is the only one of its key, under its one reference, and in the ledger.
fn bill(evidence: &Evidence, findings: &mut Findings) {
    for effect in &evidence.effects {
        let of = effect.label.as_str();
        let count = evidence.effects_of(of).count();
        findings.must(count == 1, of, || format!("stands on the bill {count} times"));
        let Some(record) = evidence.record(of) else {
            findings.must(false, of, || "is on the bill and not in the ledger".to_owned());
            continue;
        };
        let own = evidence.references.get(of) == Some(&effect.reference) && record.reference == effect.reference;
        findings.must(own, of, || format!("was booked under {}, and its reference is another", effect.reference));
        if let Some(charge) = record.charge_key() {
            let charged = evidence.effects_of(&label(&charge)).any(|charge| Some(charge.reference) == effect.charge);
            let told_truly = evidence.is_told_truly(&label(&charge));
            findings.must(charged || !told_truly, of, || "gives back what was not booked".to_owned());
        }
        if !evidence.is_told_truly(of) {
            continue;
        }
        findings.must(record.state == State::Success, of, || format!("is booked and {:?}", record.state));
        let same = effect.minor == record.signed_money().minor && effect.account == record.account.reference;
        findings.must(same, of, || format!("is booked with {}, the ledger says {}", effect.minor, record.money));
    }
}

/// At no moment is more given back than was charged.
fn refunds(evidence: &Evidence, findings: &mut Findings) {
    let mut left: BTreeMap<String, i64> = BTreeMap::new();
    for effect in evidence.effects.iter().filter(|effect| evidence.is_told_truly(&effect.label)) {
        let Some(record) = evidence.record(&effect.label) else {
            continue;
        };
        let charge = record.charge_key().map_or_else(|| effect.label.clone(), |key| label(&key));
        if !evidence.is_told_truly(&charge) {
            continue;
        }
        let left = left.entry(charge.clone()).or_default();
        *left += effect.minor;
        findings.must(*left >= 0, &charge, || format!("is refunded by {} more than it was", left.abs()));
    }
}

/// Everything is final, except what was released and what the CSP's receipts leave open.
fn outcome(evidence: &Evidence, record: &Transaction, findings: &mut Findings) {
    let of = label(&record.key);
    let booked = evidence.effects_of(&of).count() > 0;
    if evidence.misbooked.contains(&of) && !evidence.liars.contains(&of) {
        let listed = record.state == State::Unknown && record.stuck.is_some();
        findings.must(listed, &of, || format!("has a wrong receipt, and is {:?}, {:?}", record.state, record.stuck));
        return;
    }
    if evidence.liars.contains(&of) {
        return;
    }
    let settled = record.state.is_final() || record.state == State::Released;
    findings.must(settled, &of, || format!("was never settled: {:?}, stuck: {:?}", record.state, record.stuck));
    findings.must(record.state != State::Success || booked, &of, || "is Success and not on the bill".to_owned());
    findings.must(record.state != State::Failure || !booked, &of, || "is Failure and on the bill".to_owned());
}

/// Money moved exactly where the record is Success: two sides that sum to zero.
fn postings(evidence: &Evidence, record: &Transaction, findings: &mut Findings) {
    let of = label(&record.key);
    let mut posted: Vec<(bool, i64)> = Vec::new();
    for (_, posting) in evidence.books.postings.iter().filter(|(key, _)| *key == record.key) {
        posted.push((matches!(posting.account, BookAccount::Partner(_)), posting.money.minor));
    }
    posted.sort_unstable();
    let minor = record.signed_money().minor;
    let wanted = if record.state == State::Success { vec![(false, -minor), (true, minor)] } else { Vec::new() };
    findings.must(posted == wanted, &of, || format!("is {:?} and has the postings {posted:?}", record.state));
}

/// Each final outcome has one event, and nothing else has any.
fn events(evidence: &Evidence, record: &Transaction, findings: &mut Findings) {
    let count = evidence.books.events.iter().filter(|event| event.key == record.key).count();
    let wanted = usize::from(record.state.is_final());
    findings.must(count == wanted, &label(&record.key), || format!("is {:?} and has {count} events", record.state));
}

/// What a charge says that refunds hold of it is what they hold.
fn shares(evidence: &Evidence, record: &Transaction, findings: &mut Findings) {
    if record.key.kind != Kind::Charge {
        return;
    }
    let mut held = 0;
    let mut done = 0;
    for refund in evidence.books.records.iter().filter(|refund| refund.charge_key().as_ref() == Some(&record.key)) {
        match refund.state {
            State::Success => {
                held += refund.money.minor;
                done += refund.money.minor;
            }
            State::Pending | State::Unknown => held += refund.money.minor,
            State::Failure | State::Released => {}
        }
    }
    let same = (record.refunds_held_minor, record.refunds_done_minor) == (held, done);
    findings.must(same && held <= record.money.minor, &label(&record.key), || {
        format!(
            "says refunds {} and {}, they are {held} and {done}",
            record.refunds_held_minor, record.refunds_done_minor
        )
    });
}

/// States only move forward, one version at a time, and no outcome comes before its effect.
fn history(evidence: &Evidence, findings: &mut Findings) {
    let mut latest: BTreeMap<&str, &Change> = BTreeMap::new();
    for change in &evidence.history {
        let of = change.label.as_str();
        let forward = match latest.insert(of, change) {
            None => (change.state == State::Pending || is_over_limit(&change.record)) && change.version == 1,
            Some(before) => {
                let moves = before.state == change.state || before.state.may_become(change.state);
                moves && change.version == before.version + 1
            }
        };
        findings.must(forward, of, || format!("went to {:?}, version {}", change.state, change.version));
        let on_the_bill = evidence.effects_of(of).any(|effect| effect.at_ms <= change.at_ms);
        let early = change.state == State::Success && !on_the_bill && evidence.is_told_truly(of);
        findings.must(!early, of, || "was Success before it was booked".to_owned());
        let wrong = change.state == State::Failure && on_the_bill && evidence.is_told_truly(of);
        findings.must(!wrong, of, || "was Failure while it was booked".to_owned());
    }
}

/// What was final for one caller is the same for all, for ever, and is what the ledger says.
fn answers(evidence: &Evidence, findings: &mut Findings) {
    for call in evidence.calls.iter().chain(&evidence.replays) {
        let of = call.ask.label.as_str();
        let Heard::Answered { status, description, .. } = &call.heard else {
            continue;
        };
        let record = evidence.record(of);
        if *status == Status::Pending {
            let final_before = evidence.calls.iter().any(|other| {
                let earlier = other.until_ms < call.from_ms && other.ask.label == of;
                let heard = matches!(&other.heard, Heard::Answered { status, .. } if *status != Status::Pending);
                earlier && heard
            });
            let excused = !evidence.ledger_is_sound;
            findings.must(!final_before || excused, of, || "was final, and Pending for a later caller".to_owned());
            continue;
        }
        let told = record.is_some_and(|record| {
            call.ask.is_recorded_as(record) && record.state.status() == Some(*status) && record.message() == description
        });
        let state = record.map(|record| (record.state, record.message()));
        findings.must(told, of, || format!("was answered {status:?}, {description:?}, and is {state:?}"));
    }
    for replay in &evidence.replays {
        let replayed = matches!(&replay.heard, Heard::Answered { status, origin: Origin::Replayed, .. } if *status != Status::Pending);
        findings.must(replayed, &replay.ask.label, || format!("was replayed as {:?}", replay.heard));
    }
}

/// As many callers hear that they have started the work as intents were begun, at most.
fn origins(evidence: &Evidence, findings: &mut Findings) {
    let mut begun: BTreeMap<&str, usize> = BTreeMap::new();
    let mut latest: BTreeMap<&str, State> = BTreeMap::new();
    for change in &evidence.history {
        let before = latest.insert(&change.label, change.state);
        if matches!(before, None | Some(State::Released)) {
            *begun.entry(&change.label).or_default() += 1;
        }
    }
    let mut started: BTreeMap<&str, usize> = BTreeMap::new();
    for call in evidence.calls.iter().chain(&evidence.replays) {
        if matches!(&call.heard, Heard::Answered { origin: Origin::Started, .. }) {
            *started.entry(&call.ask.label).or_default() += 1;
        }
    }
    for (of, count) in started {
        let begun = begun.get(of).copied().unwrap_or_default();
        findings.must(count <= begun, of, || format!("was started by {count} callers, and begun {begun} times"));
    }
}

/// Nothing is on the bill of a key before a call for it that was not told that nothing happened.
fn unavailable(evidence: &Evidence, findings: &mut Findings) {
    for effect in &evidence.effects {
        let mut of_key = evidence.calls.iter().filter(|call| call.ask.label == effect.label);
        let caused = of_key.any(|call| may_have_moved(&call.heard) && call.from_ms <= effect.at_ms);
        findings.must(caused, &effect.label, || {
            "was booked though all its callers had been told that nothing happened".to_owned()
        });
    }
    for call in evidence.calls.iter().filter(|call| call.cut) {
        let of = call.ask.label.as_str();
        let booked = evidence.effects_of(of).any(|effect| effect.at_ms <= call.until_ms);
        findings.must(!booked, of, || {
            "was booked, and a caller was kept waiting and told that nothing happened".to_owned()
        });
    }
}

/// A caller that heard Pending, and nobody else who could have decided otherwise: it becomes final.
fn pending(evidence: &Evidence, findings: &mut Findings) {
    for (place, call) in evidence.calls.iter().enumerate() {
        let of = call.ask.label.as_str();
        let Heard::Answered { status: Status::Pending, origin, .. } = &call.heard else {
            continue;
        };
        let alone = evidence.calls.iter().enumerate().all(|(other_place, other)| {
            let ended = other.until_ms < call.from_ms && !may_have_moved(&other.heard);
            other_place == place || other.ask.label != of || other.from_ms > call.until_ms || ended
        });
        let kept = evidence.record(of).is_some_and(|record| record.state != State::Released);
        // For as long as the caller waited, the ledger did not say whether there is anything at all, and a duplicate then
        // hears Pending by the contract; or it did not say what became of a release, and the gateway crashed before it
        // could make up for its word.
        let waited = call.until_ms + 100 >= call.from_ms + call.deadline_ms;
        let unseen = *origin == Origin::Replayed && !evidence.ledger_is_sound;
        // Who asked again was told that nothing has happened.
        let told_since = evidence.calls.iter().any(|later| {
            later.ask.label == of && later.from_ms > call.until_ms && matches!(later.heard, Heard::Unavailable)
        });
        let excused = waited && (unseen || told_since || evidence.died_with_its_promise(of, call.until_ms));
        findings.must(!alone || kept || excused, of, || "was Pending for its caller, and then nothing".to_owned());
    }
}
