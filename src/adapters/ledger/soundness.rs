//! The rules that one record and all that belongs to it must keep, as plain functions over what was read.
//!
//! Invariant: each rule is checked for itself, so that one damage does not hide another; what is said of a record names
//! no address, account or free text of a partner. What concerns the store as a whole is in each store's `verify`.

use std::fmt::Display;

use crate::domain::ids::Reference;
use crate::domain::limits;
use crate::domain::transaction::{COMPARED_VERSION, Kind, MESSAGE_LENGTH_MAX, State, Transaction};

use super::judge::is_over_limit;
use super::words::state_word;

/// Most characters of a private note or of the reason why a record is stuck.
const NOTE_LENGTH_MAX: usize = 256;
/// Changes that a record has seen at least when it is final: its intent and its outcome. A charge over a limit has none.
const FINAL_VERSION_MIN: u32 = 2;

/// A line of the double entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub book: String,
    pub owner: String,
    pub account_ref: Option<String>,
    pub minor: i64,
    pub currency: String,
}

/// An event in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub event_id: String,
    pub partner: String,
}

/// What the refunds of a charge amount to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shares {
    pub held_minor: i64,
    pub done_minor: i64,
}

/// The charge that a refund gives back, as far as the refund depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Charged {
    pub state: String,
    pub currency: String,
    pub csp: String,
    pub account_ref: String,
    pub product: String,
    /// As it is written; `None` where it is counted on nothing.
    pub counted: Option<String>,
}

/// A record and all that belongs to it.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub record: Transaction,
    pub compared_version: u32,
    pub lines: Vec<Line>,
    pub told: Vec<Told>,
    /// Of a charge.
    pub shares: Shares,
    /// Of a refund.
    pub charged: Option<Charged>,
    /// The outcome that a person has decided on.
    pub decided_as: Option<String>,
    /// What the permanent key makes of the record's key, where it is at hand.
    pub reference: Option<Reference>,
}

/// What is wrong: the rule and what was found.
pub(super) type Wrong = (&'static str, String);

/// Checks all rules.
pub(super) fn check(facts: &Facts) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    state(facts, &mut wrong);
    texts(&facts.record, &mut wrong);
    amount(&facts.record, &mut wrong);
    postings(facts, &mut wrong);
    event(facts, &mut wrong);
    match facts.record.key.kind {
        Kind::Charge => shares(facts, &mut wrong),
        Kind::Refund => refund(facts, &mut wrong),
    }
    reference(facts, &mut wrong);
    wrong
}

fn state(facts: &Facts, wrong: &mut Vec<Wrong>) {
    let record = &facts.record;
    let word = state_word(record.state);
    let mut say = |text: String| wrong.push(("state", text));
    let is_open = matches!(record.state, State::Pending | State::Unknown);
    if record.state.is_final() && record.version < FINAL_VERSION_MIN && !is_over_limit(record) {
        say(format!("is {word} in version {}: it never had an intent", record.version));
    }
    if record.version == 0 {
        say("has version 0".to_owned());
    }
    if record.lease.is_some() && !is_open {
        say(format!("is {word} and leased"));
    }
    if record.due_at.is_some() && !is_open {
        say(format!("is {word} and due"));
    }
    if is_open && record.due_at.is_none() && record.stuck.is_none() {
        say(format!("is {word}, neither due nor stuck: nobody would ever look at it"));
    }
    if record.stuck.is_some() && matches!(record.state, State::Pending | State::Released) {
        say(format!("is {word} and stuck"));
    }
    if facts.compared_version == 0 || facts.compared_version > u32::from(COMPARED_VERSION) {
        say(format!("was compared by version {}, this release knows {COMPARED_VERSION}", facts.compared_version));
    }
    if let Some(decided) = facts.decided_as.as_deref().filter(|decided| *decided != word) {
        say(format!("is {word}, and a person has decided on {decided}"));
    }
}

fn texts(record: &Transaction, wrong: &mut Vec<Wrong>) {
    let mut say = |text: String| wrong.push(("text", text));
    match (record.state, record.failure.as_deref()) {
        (State::Failure, None) => say("is failure and says not why".to_owned()),
        (State::Failure, Some(text)) if text.is_empty() || text.chars().count() > MESSAGE_LENGTH_MAX => {
            say(format!(
                "says why it failed in {} characters, 1 to {MESSAGE_LENGTH_MAX} are allowed",
                text.chars().count()
            ));
        }
        (State::Failure, Some(_)) | (_, None) => {}
        (state, Some(_)) => say(format!("is {} and says why it failed", state_word(state))),
    }
    for (name, text) in [("private note", &record.private_note), ("reason to be stuck", &record.stuck)] {
        let length = text.as_deref().map_or(0, |text| text.chars().count());
        if length > NOTE_LENGTH_MAX {
            say(format!("has a {name} of {length} characters, at most {NOTE_LENGTH_MAX} are allowed"));
        }
    }
}

fn amount(record: &Transaction, wrong: &mut Vec<Wrong>) {
    let signed = record.signed_money();
    if record.money.minor <= 0 {
        wrong.push(("amount", format!("has {} minor units, which must be more than 0", record.money.minor)));
    }
    if record.compared.amount.to_minor(signed.currency) != Some(signed.minor) {
        wrong.push(("amount", format!("is of {signed}, and the request asked for {}", record.compared.amount)));
    }
    if *record.compared.currency != *signed.currency.code() {
        let asked = &record.compared.currency;
        wrong.push(("amount", format!("is in {}, and the request asked for {asked}", signed.currency)));
    }
}

/// Success has exactly two lines: what the subscriber owes more, the partner is to receive more.
fn postings(facts: &Facts, wrong: &mut Vec<Wrong>) {
    let record = &facts.record;
    let mut say = |text: String| wrong.push(("postings", text));
    let sum = facts.lines.iter().map(|line| i128::from(line.minor)).sum::<i128>();
    if sum != 0 {
        say(format!("has postings that sum to {sum} minor units instead of 0"));
    }
    if record.state != State::Success {
        if !facts.lines.is_empty() {
            say(format!("is {} and has {} postings", state_word(record.state), facts.lines.len()));
        }
        return;
    }
    let minor = record.signed_money().minor;
    let line = |book: &str, owner: &str, account_ref: Option<&str>, minor| Line {
        book: book.to_owned(),
        owner: owner.to_owned(),
        account_ref: account_ref.map(ToOwned::to_owned),
        minor,
        currency: record.money.currency.code().to_owned(),
    };
    let due = [
        line(
            "subscriber",
            record.account.csp.as_str(),
            Some(record.account.reference.as_str()),
            minor.saturating_neg(),
        ),
        line("partner", record.key.partner.as_str(), None, minor),
    ];
    if facts.lines.len() != due.len() {
        say(format!("is success and has {} postings instead of {}", facts.lines.len(), due.len()));
    }
    for due in &due {
        match facts.lines.iter().filter(|line| *line == due).count() {
            1 => {}
            count => say(format!("has {count} postings of {} minor units to its {} instead of 1", due.minor, due.book)),
        }
    }
}

fn event(facts: &Facts, wrong: &mut Vec<Wrong>) {
    let record = &facts.record;
    let mut say = |text: String| wrong.push(("event", text));
    let due = usize::from(record.state.is_final());
    if facts.told.len() != due {
        say(format!("is {} and has {} events instead of {due}", state_word(record.state), facts.told.len()));
    }
    for told in &facts.told {
        if told.partner != record.key.partner.as_str() {
            say(format!("has an event for the partner {}", told.partner));
        }
        let digits = told.event_id.strip_prefix("evt_").unwrap_or_default();
        if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            say("has an event whose id is not evt_ and 32 hexadecimal digits".to_owned());
        }
    }
}

fn shares(facts: &Facts, wrong: &mut Vec<Wrong>) {
    let record = &facts.record;
    let mut say = |text: String| wrong.push(("refunds", text));
    let Shares { held_minor, done_minor } = facts.shares;
    if record.refunds_held_minor != held_minor {
        say(format!("says that refunds hold {} minor units, and they hold {held_minor}", record.refunds_held_minor));
    }
    if record.refunds_done_minor != done_minor {
        let said = record.refunds_done_minor;
        say(format!("says that refunds gave back {said} minor units, and they gave back {done_minor}"));
    }
    if held_minor > record.money.minor {
        say(format!("is of {} minor units, and refunds hold {held_minor}", record.money.minor));
    }
}

fn refund(facts: &Facts, wrong: &mut Vec<Wrong>) {
    let record = &facts.record;
    let mut say = |text: &str| wrong.push(("refunds", text.to_owned()));
    if record.refunds_held_minor != 0 || record.refunds_done_minor != 0 {
        say("is a refund and is itself refunded");
    }
    let Some(charged) = &facts.charged else {
        say("gives back a charge that is not there");
        return;
    };
    if charged.state != state_word(State::Success) {
        say("gives back a charge that is not success");
    }
    if charged.currency != record.money.currency.code() {
        say("is in another currency than its charge");
    }
    if charged.csp != record.account.csp.as_str() || charged.account_ref != record.account.reference.as_str() {
        say("is booked to another account than its charge");
    }
    if charged.counted != limits::to_text(&record.counted) {
        say("gives back to other counters of limits than its charge is counted on");
    }
    if charged.product != record.compared.partner_product.as_str() {
        say("is of another product than its charge");
    }
}

/// The rule that counters of spend limits say what records add up to.
pub(super) const COUNTER: &str = "limits";

/// A counter that says something else, without the account that it may be of.
pub(super) fn counter_differs(name: &str, says: Option<i64>, sum: impl Display) -> String {
    let shown = limits::shown(name);
    match says {
        Some(says) => format!("the counter {shown} says {says} minor units, and records add up to {sum}"),
        None => format!("the counter {shown} is missing, and records add up to {sum} minor units"),
    }
}

fn reference(facts: &Facts, wrong: &mut Vec<Wrong>) {
    if facts.reference.is_some_and(|due| due != facts.record.reference) {
        wrong.push(("reference", "has a reference that the permanent key does not give it".to_owned()));
    }
}
