//! Outcomes of charges, which are most of what is written after intents: written without a look at their records first.
//!
//! Invariant: what is ready would be judged the same whether its record is Pending or Unknown, and the statement writes it
//! only where the record is one of these, of the version and under the reference that it expects; so nothing is written
//! here that judging would refuse. What does not find its record so is judged, and told then why. A record of which a
//! batch says more than one thing is never ready, so that it is written once.

use std::collections::{BTreeSet, HashMap};

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::judge::{Change, Judgement, Stored, judge};
use super::super::words::delivery_word;
use super::error::Trouble;
use super::rows::stored;
use super::statements::{Standing, Text, Values, of_key};
use crate::domain::ids::{AccountRef, CspId};
use crate::domain::transaction::{BookAccount, Expected, Posting, State, TransactionKey, UnitOfWork};

/// Which units of a batch are ready, by the versions that they leave. `looked_at` are units for which that was found not
/// to be so.
pub(super) fn ready(units: &[&UnitOfWork], looked_at: &[bool]) -> Vec<Option<u32>> {
    let mut times: HashMap<&TransactionKey, u32> = HashMap::with_capacity(units.len());
    for unit in units {
        let charge = unit.hold.as_ref().map(|hold| &hold.charge);
        for key in std::iter::once(&unit.transaction.key).chain(charge) {
            let count = times.entry(key).or_default();
            *count = count.saturating_add(1);
        }
    }
    let version = |(unit, looked_at): (&&UnitOfWork, &bool)| {
        let is_alone = times.get(&unit.transaction.key) == Some(&1);
        if is_alone && !*looked_at { version(unit) } else { None }
    };
    units.iter().zip(looked_at).map(version).collect()
}

/// The version that a unit leaves which makes its record final, and fits whichever open state it has.
fn version(unit: &UnitOfWork) -> Option<u32> {
    let record = &unit.transaction;
    let Expected::Version(expected) = unit.expected else { return None };
    let is_plain =
        record.state.is_final() && unit.hold.is_none() && unit.counters.is_empty() && unit.decision.is_none();
    if !is_plain || double_entry(unit).is_err() {
        return None;
    }
    let over = |state| judge(Some(Stored { state, version: expected, reference: record.reference }), unit);
    match (over(State::Pending), over(State::Unknown)) {
        (Ok(Judgement::Write { change: Change::Move, version }), Ok(Judgement::Write { change: Change::Move, .. })) => {
            Some(version)
        }
        _ => None,
    }
}

/// The double entry of a charge: a line of the subscriber's, and one of the partner's own.
struct DoubleEntry<'a> {
    csp: &'a CspId,
    account_ref: &'a AccountRef,
    subscriber_minor: i64,
    partner_minor: i64,
    currency: &'a str,
}

/// Postings of another form.
struct OtherForm;

fn double_entry(unit: &UnitOfWork) -> Result<Option<DoubleEntry<'_>>, OtherForm> {
    match unit.postings.as_slice() {
        [] => Ok(None),
        [
            Posting { account: BookAccount::Subscriber(csp, account_ref), money: owed },
            Posting { account: BookAccount::Partner(partner), money: due },
        ] if *partner == unit.transaction.key.partner && owed.currency == due.currency => Ok(Some(DoubleEntry {
            csp,
            account_ref,
            subscriber_minor: owed.minor,
            partner_minor: due.minor,
            currency: due.currency.code(),
        })),
        _ => Err(OtherForm),
    }
}

/// Records that become final, with their double entry and their event, each if it is as it is expected to be. Answers
/// the places of those that were.
pub(super) const SETTLE: &str = concat!(
    "WITH moved AS (UPDATE transactions AS t SET state = k.state, version = k.version, lease_owner = k.lease_owner, \
      lease_until_us = k.lease_until_us, due_at_us = k.due_at_us, sent_before_us = k.sent_before_us, \
      inquiries = k.inquiries, failure = k.failure, private_note = k.private_note, stuck = k.stuck \
     FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], \
       $8::text[], $9::text[], $10::text[], $11::integer[], $12::text[], $13::text[], $14::text[], $15::bytea[], \
       $16::text[], $17::text[], $18::bigint[], $19::bigint[], $20::text[], $21::text[], $22::bigint[], $23::text[]) \
      AS k (state, version, lease_owner, lease_until_us, due_at_us, sent_before_us, inquiries, failure, private_note, \
       stuck, place, partner, kind, ext_id, reference, csp, account_ref, subscriber_minor, partner_minor, currency, \
       event_id, at_us, delivery) \
     WHERE ",
    of_key!(),
    // Compared so that the index of open records, of which there may be many, is of no use either.
    " AND t.version = k.version - 1 AND t.reference = k.reference AND t.state || '' IN ('pending', 'unknown') \
     RETURNING t.seq, k.place, k.partner, k.csp, k.account_ref, k.subscriber_minor, k.partner_minor, k.currency, \
      k.event_id, k.at_us, k.delivery), \
    posted AS (INSERT INTO postings (transaction_seq, line, book, owner, account_ref, minor, currency) \
     SELECT m.seq, l.line, l.book, l.owner, l.account_ref, l.minor, m.currency FROM moved AS m CROSS JOIN LATERAL \
      (VALUES (1, 'subscriber', m.csp, m.account_ref, m.subscriber_minor), \
       (2, 'partner', m.partner, NULL, m.partner_minor)) AS l (line, book, owner, account_ref, minor) \
     WHERE m.currency IS NOT NULL), \
    told AS (INSERT INTO outbox (event_id, transaction_seq, partner, at_us, delivery, next_attempt_at_us) \
     SELECT m.event_id, m.seq, m.partner, m.at_us, m.delivery, CASE m.delivery WHEN 'due' THEN m.at_us END \
     FROM moved AS m) \
    SELECT array_agg(place) FROM moved"
);

/// Of [`SETTLE`], in the order of the keys.
#[derive(Default)]
pub(super) struct Settlements<'a> {
    standing: Standing<'a>,
    place: Vec<i32>,
    partner: Vec<Text<'a>>,
    kind: Vec<&'static str>,
    ext_id: Vec<&'a str>,
    reference: Vec<&'a [u8]>,
    csp: Vec<Option<Text<'a>>>,
    account_ref: Vec<Option<Text<'a>>>,
    subscriber_minor: Vec<Option<i64>>,
    partner_minor: Vec<Option<i64>>,
    currency: Vec<Option<&'a str>>,
    event_id: Vec<Option<Text<'a>>>,
    at_us: Vec<Option<i64>>,
    delivery: Vec<Option<&'static str>>,
}

impl<'a> Settlements<'a> {
    pub(super) fn of(units: &[&'a UnitOfWork], ready: &[Option<u32>]) -> Self {
        let mut found: Vec<(i32, &'a UnitOfWork, u32)> = (0..)
            .zip(units)
            .zip(ready)
            .filter_map(|((place, unit), version)| version.map(|version| (place, *unit, version)))
            .collect();
        found.sort_unstable_by_key(|(_, unit, _)| &unit.transaction.key);
        let mut settlements = Self::default();
        for (place, unit, version) in found {
            settlements.push(place, unit, version);
        }
        settlements
    }

    fn push(&mut self, place: i32, unit: &'a UnitOfWork, version: u32) {
        let record = &unit.transaction;
        self.standing.push(record, version);
        self.place.push(place);
        self.partner.push(stored(record.key.partner.as_str()));
        self.kind.push(record.key.kind.word());
        self.ext_id.push(record.key.ext_transaction_id.as_str());
        self.reference.push(record.reference.as_bytes());
        let entry = double_entry(unit).ok().flatten();
        self.csp.push(entry.as_ref().map(|entry| stored(entry.csp.as_str())));
        self.account_ref.push(entry.as_ref().map(|entry| stored(entry.account_ref.as_str())));
        self.subscriber_minor.push(entry.as_ref().map(|entry| entry.subscriber_minor));
        self.partner_minor.push(entry.as_ref().map(|entry| entry.partner_minor));
        self.currency.push(entry.as_ref().map(|entry| entry.currency));
        let event = unit.event.as_ref();
        self.event_id.push(event.map(|event| stored(event.id.as_str())));
        self.at_us.push(event.map(|event| event.at.as_microsecond()));
        self.delivery.push(event.map(|event| delivery_word(event.delivery)));
    }

    /// How many there are.
    pub(super) fn rows(&self) -> usize {
        self.place.len()
    }

    /// The arrays.
    pub(super) fn values(&self) -> Values<'_> {
        let mut values: Values<'_> = self.standing.values().to_vec();
        values.extend::<[&(dyn ToSql + Sync); 13]>([
            &self.place,
            &self.partner,
            &self.kind,
            &self.ext_id,
            &self.reference,
            &self.csp,
            &self.account_ref,
            &self.subscriber_minor,
            &self.partner_minor,
            &self.currency,
            &self.event_id,
            &self.at_us,
            &self.delivery,
        ]);
        values
    }
}

/// The places that [`SETTLE`] answers with.
pub(super) fn places(rows: &[Row]) -> Result<BTreeSet<usize>, Trouble> {
    let Some(row) = rows.first() else { return Ok(BTreeSet::new()) };
    let places: Option<Vec<i32>> = row.try_get(0)?;
    places
        .unwrap_or_default()
        .into_iter()
        .map(|place| usize::try_from(place).map_err(|_| Trouble::Unreadable(0)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::transaction::settle::{self, Heard, Receipt};
    use crate::domain::transaction::{Transaction, samples};

    fn heard(record: &Transaction, heard: &Heard) -> UnitOfWork {
        settle::by_answer(record, heard, &samples::profile(), &samples::moment(samples::now()))
    }

    fn booked(record: &Transaction) -> UnitOfWork {
        heard(record, &Heard::Booked(Receipt { reference: record.reference, money: record.money }))
    }

    #[test]
    fn outcomes_of_charges_are_ready_and_nothing_else_is() {
        let (charge, refund) = (samples::charge("c1", "10"), samples::refund("r1", "c1", "-4"));
        let mut unbalanced = booked(&charge);
        unbalanced.postings.truncate(1);
        let mut doubled = booked(&charge);
        doubled.postings.extend(doubled.postings.clone());
        let mut silent = booked(&charge);
        silent.event = None;
        for (what, unit, expected) in [
            ("booked", booked(&charge), Some(1)),
            ("refused", heard(&charge, &Heard::Refused("no".into())), Some(1)),
            ("unclear", heard(&charge, &Heard::Unclear("?".into())), None),
            ("not applied", heard(&charge, &Heard::NotApplied("no".into())), None),
            ("an intent", UnitOfWork::of(charge.clone(), Expected::Absent), None),
            ("a refund", booked(&refund), None),
            ("half of a double entry", unbalanced, None),
            ("more than two lines", doubled, None),
            ("without its event", silent, None),
        ] {
            assert_eq!(ready(&[&unit], &[false]), [expected], "{what}");
            assert_eq!(ready(&[&unit], &[true]), [None], "{what}, once it was looked at");
        }
    }

    #[test]
    fn what_a_batch_says_more_of_is_judged() {
        let (one, other) = (samples::charge("c1", "10"), samples::charge("c2", "10"));
        let refund = samples::refund("r1", "c1", "-4");
        let hold = crate::domain::transaction::Hold { charge: one.key.clone(), held_minor: 400, done_minor: 0 };
        let refund = UnitOfWork { hold: Some(hold), ..UnitOfWork::of(refund, Expected::Absent) };
        let (booked, again, else_booked) = (booked(&one), booked(&one), booked(&other));
        assert_eq!(ready(&[&booked, &else_booked, &again], &[false; 3]), [None, Some(1), None]);
        assert_eq!(ready(&[&booked, &refund], &[false; 2]), [None, None]);
    }
}
