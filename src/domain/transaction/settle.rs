//! Settles a transaction: what the CSP said, or did not say, becomes an outcome.
//!
//! Invariant: an outcome is never guessed. Success needs the CSP's receipt with our reference, amount and currency in
//! it; Failure needs the CSP's refusal, or its word that it does not know the reference together with its promise never
//! to apply it any more ("not known" is not "never"), or that it has made the reference void. Everything else stays
//! Unknown, which callers see as Pending.
//! Who asks the CSP, and when, is not here.

use std::sync::Arc;

use jiff::SignedDuration;

use super::decide::Verdict;
use super::{BookAccount, Expected, Hold, Lease, MESSAGE_LENGTH_MAX, Posting, State, Transaction, UnitOfWork};
use crate::domain::Time;
use crate::domain::catalogue::outcome;
use crate::domain::directory::{Ability, CspProfile};
use crate::domain::event::{Delivery, Event, EventId};
use crate::domain::ids::Reference;
use crate::domain::limits::{self, Over};
use crate::domain::money::Money;

/// Milliseconds until an unclear outcome is asked for the first time.
const FIRST_INQUIRY_MS: i64 = 500;
/// Most milliseconds between two inquiries.
const INQUIRY_PAUSE_MAX_MS: i64 = 60_000;
/// Inquiries without a clear answer after which people should look; asking goes on.
const INQUIRIES_BEFORE_STUCK: u32 = 20;
/// The private note of an intent of which a repeat was told Pending.
const CALLED_PENDING: &str = "a repeat was told Pending";
/// The private note of a record that was taken to ask for its outcome, where it has no other.
const TAKEN: &str = "its outcome is asked for";
/// Most characters of a private note that are kept.
const NOTE_LENGTH_MAX: usize = 256;

/// A CSP's receipt: what it says it booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The reference that it booked under.
    pub reference: Reference,
    /// The amount that it booked, positive for charges and refunds alike.
    pub money: Money,
}

/// What was heard of a charge or refund that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It is booked.
    Booked(Receipt),
    /// It is refused, for good, with the CSP's own code.
    Refused(String),
    /// Nothing was applied, and nothing is under way.
    NotApplied(String),
    /// Nobody can tell yet. The note says what was seen, for the people who run the gateway.
    Unclear(String),
}

/// What was learnt by asking for a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Learnt {
    /// It is booked.
    Booked(Receipt),
    /// It is refused, for good, with the CSP's own code.
    Refused(String),
    /// The CSP does not know the reference, now.
    NotKnown,
    /// The CSP has made the reference void: nothing is booked under it, and nothing ever will be.
    Void,
    /// The CSP gave no clear answer.
    Unclear(String),
    /// The CSP can be asked nothing: only a person can find out.
    Unanswerable,
    /// No request has ever left a gateway, and none will.
    NeverSent,
}

/// What settling needs beside the record and the answer.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The gateway's clock.
    pub now: Time,
    /// Fresh id for the event, should the outcome be final.
    pub event_id: EventId,
    /// Whether the partner has an endpoint for it.
    pub delivery: Delivery,
    /// Random 0 to 1023, so that many records do not ask at the same moment.
    pub jitter: u16,
}

/// Settles by the answer to the request itself.
#[must_use]
pub fn by_answer(record: &Transaction, heard: &Heard, profile: &CspProfile, moment: &Moment) -> UnitOfWork {
    match heard {
        Heard::Booked(receipt) => booked(record, receipt, moment),
        Heard::Refused(code) => refused(record, code, profile, moment),
        Heard::NotApplied(note) => released(record, note),
        Heard::Unclear(note) => unknown(record, note, moment.now, first_inquiry(moment)),
    }
}

/// Settles by what asking for the reference has brought.
#[must_use]
pub fn by_inquiry(record: &Transaction, learnt: &Learnt, profile: &CspProfile, moment: &Moment) -> UnitOfWork {
    let next = next_inquiry(record.inquiries, moment);
    let mut unit = match learnt {
        Learnt::Booked(receipt) => booked(record, receipt, moment),
        Learnt::Refused(code) => refused(record, code, profile, moment),
        Learnt::NotKnown => match forgotten_at(record, profile) {
            Some(forgotten_at) if moment.now >= forgotten_at => {
                failure(record, outcome::NOT_CONFIRMED, "the CSP does not know the reference", moment)
            }
            Some(forgotten_at) => unknown(record, "not known yet", record.sent_before, next.min(forgotten_at)),
            None => stuck(record, "the CSP does not know the reference and promises nothing", moment.now),
        },
        Learnt::Void => failure(record, outcome::NOT_CONFIRMED, "the CSP has made the reference void", moment),
        Learnt::Unclear(note) => unknown(record, note, record.sent_before, next),
        Learnt::NeverSent => failure(record, outcome::NOT_CONFIRMED, "it was never sent", moment),
        Learnt::Unanswerable => stuck(record, "the CSP has neither inquiry nor idempotent resend", moment.now),
    };
    unit.transaction.inquiries = record.inquiries.saturating_add(1);
    if unit.transaction.state == State::Unknown && unit.transaction.inquiries >= INQUIRIES_BEFORE_STUCK {
        unit.transaction.stuck.get_or_insert_with(|| Arc::from("no clear answer after many inquiries"));
    }
    unit
}

/// Keeps a record open whose CSP the configuration names no more: nobody can be asked, so people are told. It is looked at
/// again, since the CSP may come back.
#[must_use]
pub fn without_csp(record: &Transaction, moment: &Moment) -> UnitOfWork {
    let next = next_inquiry(record.inquiries, moment);
    let mut unit = unknown(record, "nobody can be asked", record.sent_before, next);
    unit.transaction.inquiries = record.inquiries.saturating_add(1);
    unit.transaction.stuck.get_or_insert_with(|| Arc::from("its CSP is not configured any more"));
    unit
}

/// Makes an intent that a spend limit has no room for into the Failure that is kept in its place. The CSP never hears of
/// it.
#[must_use]
pub fn over_limit(intent: &Transaction, expected: Expected, over: &Over, moment: &Moment) -> UnitOfWork {
    let note = format!("over the limit {} ({})", over.limit, over.word());
    let mut unit = failure(intent, over.reason(), &note, moment);
    unit.expected = expected;
    unit.counters.clear();
    unit.transaction.counted.clear();
    unit.transaction.sent_before = intent.accepted_at;
    unit
}

/// Notes on an intent that a repeat of its request was told Pending. It changes nothing but the version, so that nobody
/// gives the intent up who has not seen it. `None`: the record cannot be given up, since it was settled or taken, or bears
/// the note already.
#[must_use]
pub fn called_pending(record: &Transaction) -> Option<UnitOfWork> {
    if record.state != State::Pending || record.private_note.is_some() {
        return None;
    }
    let mut noted = record.clone();
    noted.private_note = Some(Arc::from(CALLED_PENDING));
    Some(UnitOfWork::of(noted, Expected::Version(record.version)))
}

/// Makes a released record final whose caller has heard Pending: nothing was applied, and nothing will be under this
/// intent. Its share of a charge, and of limits, was given back when it was released.
#[must_use]
pub fn promised(record: &Transaction, moment: &Moment) -> UnitOfWork {
    let mut unit = failure(record, outcome::NOT_CONFIRMED, "given up after its caller had heard Pending", moment);
    unit.hold = None;
    unit
}

/// What a person has decided, as any other outcome.
pub(super) fn decided(record: &Transaction, verdict: Verdict, moment: &Moment) -> UnitOfWork {
    match verdict {
        Verdict::Success => success(record, moment),
        Verdict::Failure => failure(record, outcome::DECLINED, "a person has decided", moment),
    }
}

/// Takes a record whose lease ran out, or whose inquiry is due, so that nobody else works on it meanwhile. Its former
/// owner sends nothing any more: it is gone, or its lease has ended.
#[must_use]
pub fn take(record: &Transaction, lease: Lease, now: Time) -> UnitOfWork {
    let mut taken = record.clone();
    taken.sent_before = record.sent_before.min(now);
    taken.due_at = Some(lease.until);
    taken.lease = Some(lease);
    // Whoever asks for its outcome gives nothing up, and is not to be disturbed by a note.
    taken.private_note.get_or_insert_with(|| Arc::from(TAKEN));
    UnitOfWork::of(taken, Expected::Version(record.version))
}

/// Makes an intent say that it was not sent so far. Where an outcome is learnt by sending again, the callers of an
/// intent that was never sent may have heard that nothing happened, and so nothing may.
pub fn not_sent_yet(intent: &mut UnitOfWork) {
    intent.transaction.sent_before = intent.transaction.accepted_at;
}

/// Notes that a request is about to be sent, for as long as the lease is.
#[must_use]
pub fn about_to_send(record: &Transaction) -> UnitOfWork {
    let mut noted = record.clone();
    noted.sent_before = record.lease.as_ref().map_or(record.sent_before, |lease| lease.until);
    UnitOfWork::of(noted, Expected::Version(record.version))
}

/// Whether no request for a transaction has left a gateway.
#[must_use]
pub fn was_never_sent(record: &Transaction) -> bool {
    record.sent_before <= record.accepted_at
}

/// Notes that the CSP has contradicted a final outcome. The outcome stays; a person must look.
#[must_use]
pub fn contradicted(record: &Transaction, heard: &Heard) -> Option<UnitOfWork> {
    let contradiction = match (record.state, heard) {
        (State::Failure, Heard::Booked(_)) => "booked at the CSP after it had failed here",
        (State::Success, Heard::Refused(_)) => "refused by the CSP after it had succeeded here",
        _ => return None,
    };
    let mut noted = record.clone();
    noted.stuck = Some(Arc::from(contradiction));
    Some(UnitOfWork::of(noted, Expected::Version(record.version)))
}

/// Whether a reference that the CSP does not know is to be made void: the CSP can, and "not known" does not mean "never"
/// by itself yet.
#[must_use]
pub fn is_to_be_void(record: &Transaction, profile: &CspProfile, now: Time) -> bool {
    let is_forgotten = forgotten_at(record, profile).is_some_and(|forgotten_at| now >= forgotten_at);
    profile.capabilities.void == Ability::Able && !is_forgotten
}

/// The moment from which "not known" means "never".
fn forgotten_at(record: &Transaction, profile: &CspProfile) -> Option<Time> {
    let forget_after_s = profile.forget_after_s?;
    record.sent_before.checked_add(SignedDuration::from_secs(i64::from(forget_after_s))).ok()
}

fn booked(record: &Transaction, receipt: &Receipt, moment: &Moment) -> UnitOfWork {
    if receipt.reference != record.reference || receipt.money != record.money {
        let mut unit = stuck(record, "the CSP's receipt is not for what was sent", moment.now);
        let said = format!("it says {} {} under {}", receipt.money, receipt.money.currency.code(), receipt.reference);
        unit.transaction.private_note = Some(cut(&said, NOTE_LENGTH_MAX));
        return unit;
    }
    success(record, moment)
}

fn success(record: &Transaction, moment: &Moment) -> UnitOfWork {
    let mut unit = finished(record, State::Success, moment);
    unit.postings = postings(record);
    unit.hold = hold(record, 0, record.money.minor);
    unit
}

fn refused(record: &Transaction, code: &str, profile: &CspProfile, moment: &Moment) -> UnitOfWork {
    failure(record, profile.verdict(code), code, moment)
}

fn failure(record: &Transaction, text: &str, note: &str, moment: &Moment) -> UnitOfWork {
    let mut unit = finished(record, State::Failure, moment);
    unit.transaction.failure = Some(cut(text, MESSAGE_LENGTH_MAX));
    unit.transaction.private_note = Some(cut(note, NOTE_LENGTH_MAX));
    unit.hold = hold(record, record.money.minor.saturating_neg(), 0);
    unit
}

fn released(record: &Transaction, note: &str) -> UnitOfWork {
    let mut unit = changed(record, State::Released);
    unit.transaction.private_note = Some(cut(note, NOTE_LENGTH_MAX));
    unit.hold = hold(record, record.money.minor.saturating_neg(), 0);
    unit
}

fn unknown(record: &Transaction, note: &str, sent_before: Time, next: Time) -> UnitOfWork {
    let mut unit = changed(record, State::Unknown);
    unit.transaction.private_note = Some(cut(note, NOTE_LENGTH_MAX));
    unit.transaction.sent_before = record.sent_before.min(sent_before);
    unit.transaction.due_at = Some(next);
    unit
}

/// Unknown, and nobody asks again by itself.
fn stuck(record: &Transaction, why: &str, now: Time) -> UnitOfWork {
    let mut unit = unknown(record, why, now, now);
    unit.transaction.due_at = None;
    unit.transaction.stuck = Some(Arc::from(why));
    unit
}

fn changed(record: &Transaction, state: State) -> UnitOfWork {
    let mut next = record.clone();
    next.state = state;
    next.lease = None;
    next.due_at = None;
    let counters = limits::given_back(record, state);
    UnitOfWork { counters, ..UnitOfWork::of(next, Expected::Version(record.version)) }
}

fn finished(record: &Transaction, state: State, moment: &Moment) -> UnitOfWork {
    let mut unit = changed(record, state);
    unit.transaction.stuck = None;
    unit.event =
        Some(Event { id: moment.event_id.clone(), key: record.key.clone(), at: moment.now, delivery: moment.delivery });
    unit
}

fn hold(record: &Transaction, held_minor: i64, done_minor: i64) -> Option<Hold> {
    record.charge_key().map(|charge| Hold { charge, held_minor, done_minor })
}

/// The double entry: what the subscriber owes more, the partner is to receive more; a refund turns both around.
fn postings(record: &Transaction) -> Vec<Posting> {
    let amount = record.signed_money();
    let subscriber = BookAccount::Subscriber(record.account.csp.clone(), record.account.reference.clone());
    vec![
        Posting { account: subscriber, money: amount.negated() },
        Posting { account: BookAccount::Partner(record.key.partner.clone()), money: amount },
    ]
}

fn first_inquiry(moment: &Moment) -> Time {
    later(moment.now, FIRST_INQUIRY_MS)
}

/// Twice the pause each time, up to a bound, and up to a quarter more so that records spread out.
fn next_inquiry(inquiries: u32, moment: &Moment) -> Time {
    let pause_ms = FIRST_INQUIRY_MS.saturating_mul(2_i64.saturating_pow(inquiries.saturating_add(1)));
    let pause_ms = pause_ms.min(INQUIRY_PAUSE_MAX_MS);
    let spread_ms = pause_ms.saturating_mul(i64::from(moment.jitter.min(1023))) / 4096;
    later(moment.now, pause_ms.saturating_add(spread_ms))
}

fn later(now: Time, milliseconds: i64) -> Time {
    now.checked_add(SignedDuration::from_millis(milliseconds)).unwrap_or(Time::MAX)
}

fn cut(text: &str, length_max: usize) -> Arc<str> {
    Arc::from(text.chars().take(length_max).collect::<String>())
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
