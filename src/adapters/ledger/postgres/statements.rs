//! Every statement by which units of work are written, and the arrays that go with each.
//!
//! Invariant: values are always bound, never pasted in; each statement writes one row for each element of its arrays,
//! and no row twice; each names exactly the columns that its change may touch. What is written is decided in `plan`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::judge::Change;
use super::super::words::{delivery_word, digest_words, state_word};
use super::error::Trouble;
use super::plan::Plan;
use super::rows::stored;
use crate::domain::Time;
use crate::domain::account::SealedAccountId;
use crate::domain::address::Address;
use crate::domain::ids::ExtTransactionId;
use crate::domain::limits;
use crate::domain::transaction::{BookAccount, COMPARED_VERSION, Transaction, UnitOfWork};

/// Whatever the server's default is.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// For connections that look rows up by their keys and in no other way. Their plans are made once, whatever the tables
/// hold by then: there is one way that is always right, and nothing else is left to the planner.
pub(super) const BY_KEY_ONLY: &str = "\
SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
SET enable_material = off; SET jit = off; SET plan_cache_mode = force_generic_plan";

macro_rules! of_key {
    () => {
        "t.ext_id = k.ext_id AND t.kind = k.kind AND t.partner || '' = k.partner"
    };
}

/// That the row `t` is the one of the key `k`. Several indexes begin with the partner and one with the id: the partner
/// is compared in a way for which no index is of use, so that this one is taken even where there are no statistics yet.
/// Rows that are read in vain are those of other partners that chose the same id.
pub(super) const OF_KEY: &str = of_key!();
pub(super) use of_key;

/// Rows of keys, locked in the order of the keys.
pub(super) const LOCK: &str = concat!(
    "SELECT t.seq, t.partner, t.kind, t.ext_id, t.state, t.version, t.reference, t.amount_minor, t.refunds_held_minor, \
      t.refunds_done_minor \
     FROM unnest($1::text[], $2::text[], $3::text[]) AS k (partner, kind, ext_id) JOIN transactions AS t ON ",
    of_key!(),
    " ORDER BY t.partner, t.kind, t.ext_id FOR UPDATE OF t"
);

/// New records, those left out whose key is taken; the tally counts what was written. Answers how many were new, and
/// their keys and numbers where some were not, or where something waits for them.
pub(super) const INSERT: &str = "\
WITH fresh AS (INSERT INTO transactions (partner, kind, ext_id, reference, state, version, lease_owner, \
  lease_until_us, due_at_us, sent_before_us, inquiries, failure, private_note, stuck, accepted_at_us, csp, account_ref, \
  charge_code, amount_minor, currency, compared_version, sent_address_type, sent_address, sent_account_id, \
  sent_product, sent_amount, sent_currency, sent_description, sent_reference_id, counted) \
 SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::bigint[], $7::text[], \
  $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[], $13::text[], $14::text[], $15::bigint[], \
  $16::text[], $17::text[], $18::text[], $19::bigint[], $20::text[], $21::integer[], $22::text[], $23::text[], \
  $24::text[], $25::text[], $26::text[], $27::text[], $28::text[], $29::text[], $30::text[]) \
 ON CONFLICT (partner, kind, ext_id) DO NOTHING RETURNING partner, kind, ext_id, seq), \
tallied AS (INSERT INTO tallies (slot, records) SELECT $31::integer, count(*) FROM fresh \
 ON CONFLICT (slot) DO UPDATE SET records = tallies.records + excluded.records) \
SELECT count(*), CASE WHEN $33::boolean OR count(*) < $32::bigint THEN array_agg(partner) END, \
 CASE WHEN $33::boolean OR count(*) < $32::bigint THEN array_agg(kind) END, \
 CASE WHEN $33::boolean OR count(*) < $32::bigint THEN array_agg(ext_id) END, \
 CASE WHEN $33::boolean OR count(*) < $32::bigint THEN array_agg(seq) END \
FROM fresh";

/// What refunds hold of their charges, one row for each charge.
pub(super) const SHARES: &str = "\
UPDATE transactions AS t SET refunds_held_minor = n.held, refunds_done_minor = n.done \
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS n (seq, held, done) WHERE t.seq = n.seq";

/// What released records are taken up with: what their new intent has decided anew, and nothing of the request.
pub(super) const TAKE_UP: &str = "\
UPDATE transactions AS t SET accepted_at_us = n.accepted_at_us, csp = n.csp, account_ref = n.account_ref, \
 charge_code = n.charge_code, amount_minor = n.amount_minor, currency = n.currency, counted = n.counted \
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[]) \
 AS n (seq, accepted_at_us, csp, account_ref, charge_code, amount_minor, currency, counted) WHERE t.seq = n.seq";

/// Where records have moved to, with what that makes: the double entry, and events into the outbox. What refunds hold of
/// the records is not touched.
pub(super) const ADVANCE: &str = "\
WITH moved AS (UPDATE transactions AS t SET state = n.state, version = n.version, lease_owner = n.lease_owner, \
  lease_until_us = n.lease_until_us, due_at_us = n.due_at_us, sent_before_us = n.sent_before_us, \
  inquiries = n.inquiries, failure = n.failure, private_note = n.private_note, stuck = n.stuck \
 FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], \
   $8::bigint[], $9::text[], $10::text[], $11::text[]) \
  AS n (seq, state, version, lease_owner, lease_until_us, due_at_us, sent_before_us, inquiries, failure, \
   private_note, stuck) WHERE t.seq = n.seq), \
posted AS (INSERT INTO postings (transaction_seq, line, book, owner, account_ref, minor, currency) \
 SELECT * FROM unnest($12::bigint[], $13::integer[], $14::text[], $15::text[], $16::text[], $17::bigint[], \
  $18::text[])) \
INSERT INTO outbox (event_id, transaction_seq, partner, at_us, delivery, next_attempt_at_us) \
SELECT n.event_id, n.seq, n.partner, n.at_us, n.delivery, CASE n.delivery WHEN 'due' THEN n.at_us END \
FROM unnest($19::text[], $20::bigint[], $21::text[], $22::bigint[], $23::text[]) \
 AS n (event_id, seq, partner, at_us, delivery)";

/// Notes on records that are over, and digests in the place of their addresses.
pub(super) const NOTE: &str = "\
UPDATE transactions AS t SET version = n.version, private_note = n.private_note, stuck = n.stuck, \
 sent_address_type = coalesce(n.address_type, t.sent_address_type), \
 sent_address = coalesce(n.address, t.sent_address) \
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[]) \
 AS n (seq, version, private_note, stuck, address_type, address) WHERE t.seq = n.seq";

/// What people have decided.
pub(super) const DECIDE: &str = "\
INSERT INTO decisions (transaction_seq, decided_at_us, decided_as, decided_by, evidence) \
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[])";

/// Changes nothing, durably.
pub(super) const PROBE: &str = "\
INSERT INTO tallies (slot, records) VALUES ($1, 0) ON CONFLICT (slot) DO UPDATE SET records = tallies.records";

/// What goes with a statement, in the order of its parameters.
pub(super) type Values<'a> = Vec<&'a (dyn ToSql + Sync)>;
/// A text as it is stored.
pub(super) type Text<'a> = Cow<'a, str>;

/// Defines arrays of one length, one for each parameter of a statement, in its order.
macro_rules! arrays {
    ($(#[$doc:meta])* $name:ident { $first:ident: $first_type:ty, $($column:ident: $column_type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(super) struct $name<'a> {
            $first: Vec<$first_type>,
            $($column: Vec<$column_type>,)*
            texts: std::marker::PhantomData<&'a str>,
        }

        impl<'a> $name<'a> {
            /// How many rows are written.
            pub(super) fn rows(&self) -> usize {
                self.$first.len()
            }

            /// The arrays.
            pub(super) fn values(&self) -> Values<'_> {
                vec![&self.$first, $(&self.$column,)*]
            }

            #[allow(clippy::too_many_arguments, reason = "one for each column")]
            fn push(&mut self, $first: $first_type, $($column: $column_type,)*) {
                self.$first.push($first);
                $(self.$column.push($column);)*
            }
        }
    };
}

arrays! {
    /// Of [`SHARES`].
    Shares { seq: i64, held: i64, done: i64, }
}
arrays! {
    /// Of [`TAKE_UP`].
    TakeUps {
        seq: i64, accepted_at_us: i64, csp: Text<'a>, account_ref: Text<'a>, charge_code: Text<'a>, amount_minor: i64,
        currency: &'a str, counted: Option<String>,
    }
}
arrays! {
    /// Of [`NOTE`].
    Notes {
        seq: i64, version: i64, private_note: Option<Text<'a>>, stuck: Option<Text<'a>>,
        address_type: Option<&'static str>, address: Option<String>,
    }
}
arrays! {
    /// Of [`ADVANCE`]: the double entry.
    Postings {
        seq: i64, line: i32, book: &'static str, owner: Text<'a>, account_ref: Option<Text<'a>>, minor: i64,
        currency: &'a str,
    }
}
arrays! {
    /// Of [`ADVANCE`]: events.
    Events { event_id: Text<'a>, seq: i64, partner: Text<'a>, at_us: i64, delivery: &'static str, }
}
arrays! {
    /// Of [`DECIDE`].
    Decisions { seq: i64, at_us: i64, decided_as: &'static str, by: Text<'a>, evidence: Text<'a>, }
}

fn text_or_null(text: Option<&str>) -> Option<Text<'_>> {
    text.map(stored)
}

impl<'a> Shares<'a> {
    pub(super) fn of(plan: &'a Plan) -> Self {
        let mut shares = Self::default();
        for row in plan.shares() {
            shares.push(row.sequence, row.held_minor, row.done_minor);
        }
        shares
    }
}

impl<'a> TakeUps<'a> {
    pub(super) fn of(units: &'a [&'a UnitOfWork], plan: &'a Plan) -> Self {
        let mut take_ups = Self::default();
        for (_, unit, _, _, seq) in plan.writes(units).filter(|(_, _, change, ..)| *change == Change::TakeUp) {
            let record = &unit.transaction;
            take_ups.push(
                seq,
                record.accepted_at.as_microsecond(),
                stored(record.account.csp.as_str()),
                stored(record.account.reference.as_str()),
                stored(record.charge_code.as_str()),
                record.money.minor,
                record.money.currency.code(),
                limits::to_text(&record.counted),
            );
        }
        take_ups
    }
}

impl<'a> Notes<'a> {
    pub(super) fn of(units: &'a [&'a UnitOfWork], plan: &'a Plan) -> Self {
        let mut notes = Self::default();
        for (_, unit, _, version, seq) in plan.writes(units).filter(|(_, _, change, ..)| *change == Change::Note) {
            let record = &unit.transaction;
            let (note, stuck) = (record.private_note.as_deref(), record.stuck.as_deref());
            let (address_type, address) = record.forgotten.as_ref().map(digest_words).unzip();
            notes.push(seq, i64::from(version), text_or_null(note), text_or_null(stuck), address_type, address);
        }
        notes
    }
}

impl<'a> Postings<'a> {
    pub(super) fn of(units: &'a [&'a UnitOfWork], plan: &'a Plan) -> Self {
        let mut postings = Self::default();
        for (_, unit, _, _, seq) in plan.writes(units) {
            for (line, posting) in (1..).zip(&unit.postings) {
                let (book, owner, account_ref) = match &posting.account {
                    BookAccount::Subscriber(csp, reference) => ("subscriber", csp.as_str(), Some(reference.as_str())),
                    BookAccount::Partner(partner) => ("partner", partner.as_str(), None),
                };
                let money = &posting.money;
                postings.push(
                    seq,
                    line,
                    book,
                    stored(owner),
                    text_or_null(account_ref),
                    money.minor,
                    money.currency.code(),
                );
            }
        }
        postings
    }
}

impl<'a> Events<'a> {
    pub(super) fn of(units: &'a [&'a UnitOfWork], plan: &'a Plan) -> Self {
        let mut events = Self::default();
        for (_, unit, _, _, seq) in plan.writes(units) {
            if let Some(event) = &unit.event {
                let partner = stored(event.partner().as_str());
                let at_us = event.at.as_microsecond();
                events.push(stored(event.id.as_str()), seq, partner, at_us, delivery_word(event.delivery));
            }
        }
        events
    }
}

impl<'a> Decisions<'a> {
    pub(super) fn of(units: &'a [&'a UnitOfWork], plan: &'a Plan) -> Self {
        let mut decisions = Self::default();
        for (_, unit, _, _, seq) in plan.writes(units) {
            if let Some(decision) = &unit.decision {
                let at_us = decision.at.as_microsecond();
                let (by, evidence) = (stored(&decision.by), stored(&decision.evidence));
                decisions.push(seq, at_us, decision.verdict.word(), by, evidence);
            }
        }
        decisions
    }
}

/// Where records stand: the part of a row that both a new record and a change of it write.
#[derive(Default)]
pub(super) struct Standing<'a> {
    state: Vec<&'static str>,
    version: Vec<i64>,
    lease_owner: Vec<Option<Text<'a>>>,
    lease_until_us: Vec<Option<i64>>,
    due_at_us: Vec<Option<i64>>,
    sent_before_us: Vec<i64>,
    inquiries: Vec<i64>,
    failure: Vec<Option<Text<'a>>>,
    private_note: Vec<Option<Text<'a>>>,
    stuck: Vec<Option<Text<'a>>>,
}

impl<'a> Standing<'a> {
    pub(super) fn push(&mut self, record: &'a Transaction, version: u32) {
        self.state.push(state_word(record.state));
        self.version.push(i64::from(version));
        self.lease_owner.push(text_or_null(record.lease.as_ref().map(|lease| lease.owner.as_str())));
        self.lease_until_us.push(record.lease.as_ref().map(|lease| lease.until.as_microsecond()));
        self.due_at_us.push(record.due_at.map(Time::as_microsecond));
        self.sent_before_us.push(record.sent_before.as_microsecond());
        self.inquiries.push(i64::from(record.inquiries));
        self.failure.push(text_or_null(record.failure.as_deref()));
        self.private_note.push(text_or_null(record.private_note.as_deref()));
        self.stuck.push(text_or_null(record.stuck.as_deref()));
    }

    pub(super) fn values(&self) -> [&(dyn ToSql + Sync); 10] {
        [
            &self.state,
            &self.version,
            &self.lease_owner,
            &self.lease_until_us,
            &self.due_at_us,
            &self.sent_before_us,
            &self.inquiries,
            &self.failure,
            &self.private_note,
            &self.stuck,
        ]
    }
}

/// Of [`ADVANCE`]. Money and events come only with a record that moves.
#[derive(Default)]
pub(super) struct Advances<'a> {
    seq: Vec<i64>,
    standing: Standing<'a>,
    postings: Postings<'a>,
    events: Events<'a>,
}

impl<'a> Advances<'a> {
    pub(super) fn of(units: &'a [&'a UnitOfWork], plan: &'a Plan) -> Self {
        let (postings, events) = (Postings::of(units, plan), Events::of(units, plan));
        let mut advances = Self { postings, events, ..Self::default() };
        for (_, unit, change, version, seq) in plan.writes(units) {
            if matches!(change, Change::Move | Change::TakeUp) {
                advances.seq.push(seq);
                advances.standing.push(&unit.transaction, version);
            }
        }
        advances
    }

    pub(super) fn rows(&self) -> usize {
        self.seq.len().max(self.postings.rows()).max(self.events.rows())
    }

    pub(super) fn values(&self) -> Values<'_> {
        let mut values: Values<'_> = vec![&self.seq];
        values.extend(self.standing.values());
        values.extend(self.postings.values());
        values.extend(self.events.values());
        values
    }
}

/// Of [`INSERT`].
#[derive(Default)]
pub(super) struct Inserts<'a> {
    /// Where the units are in their batch, in the order of their keys.
    pub(super) places: Vec<usize>,
    /// Whether something of the batch can only be written once it is known which of them are new indeed.
    pub(super) waits: bool,
    count: i64,
    slot: i32,
    partner: Vec<Text<'a>>,
    kind: Vec<&'static str>,
    ext_id: Vec<&'a str>,
    reference: Vec<&'a [u8]>,
    standing: Standing<'a>,
    accepted_at_us: Vec<i64>,
    csp: Vec<Text<'a>>,
    account_ref: Vec<Text<'a>>,
    charge_code: Vec<Text<'a>>,
    amount_minor: Vec<i64>,
    currency: Vec<&'a str>,
    compared_version: Vec<i32>,
    sent: Sent<'a>,
    counted: Vec<Option<String>>,
}

/// What became of new records, by the places of their units.
#[derive(Default)]
pub(super) struct BegunRecords {
    /// Units that were to begin records which somebody else has begun meanwhile.
    pub(super) late: Vec<usize>,
    /// The ledger's numbers of the others, where they were asked for.
    pub(super) numbers: Vec<(usize, i64)>,
}

/// Whether what belongs to a unit that begins a record can only be written once the record is: a share of a charge and
/// what counters hold, which must not be taken for a record that is somebody else's, and an event, which needs its
/// number.
fn depends_on_its_row(unit: &UnitOfWork) -> bool {
    unit.hold.is_some() || !unit.counters.is_empty() || unit.event.is_some()
}

/// What was sent, as it is compared.
#[derive(Default)]
struct Sent<'a> {
    address_type: Vec<Option<&'static str>>,
    address: Vec<Option<Text<'a>>>,
    account_id: Vec<Option<Text<'a>>>,
    product: Vec<Text<'a>>,
    amount: Vec<String>,
    currency: Vec<Text<'a>>,
    description: Vec<Text<'a>>,
    reference_id: Vec<Option<&'a str>>,
}

impl<'a> Inserts<'a> {
    pub(super) fn of(units: &'a [&'a UnitOfWork], plan: &Plan, slot: i32) -> Self {
        let mut inserts = Self { slot, ..Self::default() };
        let mut new: Vec<(usize, &'a UnitOfWork, u32)> = Vec::new();
        for (place, (unit, fate)) in units.iter().zip(&plan.fates).enumerate() {
            if let super::plan::Fate::Write { change: Change::Insert, version } = fate {
                new.push((place, unit, *version));
            }
        }
        new.sort_by(|(_, one, _), (_, other, _)| one.transaction.key.cmp(&other.transaction.key));
        for (place, unit, version) in new {
            inserts.places.push(place);
            inserts.waits |= depends_on_its_row(unit);
            inserts.count = inserts.count.saturating_add(1);
            inserts.push(&unit.transaction, version);
        }
        inserts
    }

    fn push(&mut self, record: &'a Transaction, version: u32) {
        self.partner.push(stored(record.key.partner.as_str()));
        self.kind.push(record.key.kind.word());
        self.ext_id.push(record.key.ext_transaction_id.as_str());
        self.reference.push(record.reference.as_bytes());
        self.standing.push(record, version);
        self.accepted_at_us.push(record.accepted_at.as_microsecond());
        self.csp.push(stored(record.account.csp.as_str()));
        self.account_ref.push(stored(record.account.reference.as_str()));
        self.charge_code.push(stored(record.charge_code.as_str()));
        self.amount_minor.push(record.money.minor);
        self.currency.push(record.money.currency.code());
        self.compared_version.push(i32::from(COMPARED_VERSION));
        let (sent, compared) = (&mut self.sent, &record.compared);
        sent.address_type.push(compared.address.as_ref().map(Address::type_word));
        sent.address.push(text_or_null(compared.address.as_ref().map(Address::expose)));
        sent.account_id.push(text_or_null(compared.account_id.as_ref().map(SealedAccountId::as_str)));
        sent.product.push(stored(compared.partner_product.as_str()));
        sent.amount.push(compared.amount.to_string());
        sent.currency.push(stored(&compared.currency));
        sent.description.push(stored(&compared.description));
        sent.reference_id.push(compared.reference_id.as_ref().map(ExtTransactionId::as_str));
        self.counted.push(limits::to_text(&record.counted));
    }

    pub(super) fn values(&self) -> Values<'_> {
        let mut values: Values<'_> = vec![&self.partner, &self.kind, &self.ext_id, &self.reference];
        values.extend(self.standing.values());
        values.extend::<[&(dyn ToSql + Sync); 7]>([
            &self.accepted_at_us,
            &self.csp,
            &self.account_ref,
            &self.charge_code,
            &self.amount_minor,
            &self.currency,
            &self.compared_version,
        ]);
        values.extend::<[&(dyn ToSql + Sync); 8]>([
            &self.sent.address_type,
            &self.sent.address,
            &self.sent.account_id,
            &self.sent.product,
            &self.sent.amount,
            &self.sent.currency,
            &self.sent.description,
            &self.sent.reference_id,
        ]);
        values.extend::<[&(dyn ToSql + Sync); 4]>([&self.counted, &self.slot, &self.count, &self.waits]);
        values
    }

    /// Reads what the statement has answered.
    pub(super) fn begun(&self, returned: &[Row]) -> Result<BegunRecords, Trouble> {
        let mut begun = BegunRecords::default();
        let Some(row) = returned.first() else { return Ok(begun) };
        if row.try_get::<_, i64>(0)? == self.count && !self.waits {
            return Ok(begun);
        }
        let texts = |column| row.try_get::<_, Option<Vec<&str>>>(column).map(Option::unwrap_or_default);
        let (partners, kinds, ids) = (texts(1)?, texts(2)?, texts(3)?);
        let numbers = row.try_get::<_, Option<Vec<i64>>>(4)?.unwrap_or_default();
        let new: BTreeMap<(&str, &str, &str), i64> = partners
            .into_iter()
            .zip(kinds)
            .zip(ids)
            .zip(numbers)
            .map(|(((partner, kind), id), number)| ((partner, kind, id), number))
            .collect();
        let keys = self.partner.iter().zip(&self.kind).zip(&self.ext_id);
        for (place, ((partner, kind), id)) in self.places.iter().zip(keys) {
            match new.get(&(&**partner, *kind, *id)) {
                Some(number) => begun.numbers.push((*place, *number)),
                None => begun.late.push(*place),
            }
        }
        Ok(begun)
    }
}
