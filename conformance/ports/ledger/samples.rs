//! Units of work for the ledger's suite, made by the same rules that the gateway makes them by.
//!
//! Invariant: nothing is written down here that a rule of the domain could make, so that the suite proves the ledger
//! against what it will really be given.

use std::collections::BTreeMap;

use onbill::domain::Time;
use onbill::domain::account::{Account, Eligibility, PaymentModel, Standing};
use onbill::domain::directory::{
    Capabilities, CspProfile, Directory, Partner, Pattern, PinSms, Product, Recovery, SendQuota,
};
use onbill::domain::event::{Delivery, EventId};
use onbill::domain::ids::{AccountRef, ChargeCode, CspId, InstanceId, PartnerId, ProductId, Reference};
use onbill::domain::money::Currency;
use onbill::domain::rate::SharedRate;
use onbill::domain::transaction::admit::{self, Stamp};
use onbill::domain::transaction::refund::{self, AddressEvidence};
use onbill::domain::transaction::request::{self, Raw, WellFormed};
use onbill::domain::transaction::settle::{self, Heard, Moment, Receipt};
use onbill::domain::transaction::{Expected, Kind, Lease, Transaction, TransactionKey, UnitOfWork};

/// The partner that most tests speak of.
pub const PARTNER: &str = "demo-ott";
/// A second after which everything in the samples happens.
const EPOCH_S: i64 = 1_700_000_000;

/// So many microseconds after the beginning.
pub fn after_us(microseconds: i64) -> Time {
    Time::from_microsecond(EPOCH_S * 1_000_000 + microseconds).expect("in range")
}

/// So many seconds after the beginning.
pub fn after_s(seconds: i64) -> Time {
    after_us(seconds * 1_000_000)
}

/// A request that is accepted, and who sent it.
#[derive(Debug, Clone)]
pub struct Sample<'a> {
    pub partner: &'a str,
    pub id: &'a str,
    pub amount: &'a str,
    pub reference_id: Option<&'a str>,
    pub account: &'a str,
    pub description: &'a str,
    pub accepted_at: Time,
    pub expected: Expected,
}

/// A request of the usual partner and account.
pub fn sample<'a>(id: &'a str, amount: &'a str) -> Sample<'a> {
    Sample {
        partner: PARTNER,
        id,
        amount,
        reference_id: None,
        account: "sub-1",
        description: "",
        accepted_at: after_s(0),
        expected: Expected::Absent,
    }
}

impl Sample<'_> {
    /// The intent of this request as a charge.
    pub fn charge(&self) -> UnitOfWork {
        let account = Account {
            reference: AccountRef::new(self.account),
            standing: Standing::Active,
            payment: PaymentModel::Postpaid,
            eligibility: Eligibility::Eligible,
        };
        let request = self.read();
        let code = ChargeCode::new("BASIC");
        admit::charge(&request, &account, &code, &profile(), self.stamp(&request)).expect("a charge")
    }

    /// The intent of this request as a refund of a charge that was read before.
    pub fn refund(&self, charge: &Transaction) -> UnitOfWork {
        let request = self.read();
        let stamp = self.stamp(&request);
        let evidence = match charge.forgotten {
            None => AddressEvidence::Text,
            Some(digest) => AddressEvidence::Digest(Some(digest)),
        };
        refund::admit(&request, Some(charge), None, &evidence, stamp).expect("a refund")
    }

    fn read(&self) -> WellFormed {
        let partner = partner(self.partner);
        let directory = Directory::new(vec![partner.clone()], vec![profile()]).expect("a directory");
        let raw = Raw {
            ext_transaction_id: self.id,
            type_word: "MSISDN",
            address: "5550100001",
            account_id: "",
            partner_product: "ott-basic",
            amount: self.amount,
            currency: "MXN",
            description: self.description,
            reference_id: self.reference_id,
        };
        request::read(&raw, &partner, &directory, None).well_formed.expect("well formed")
    }

    fn stamp(&self, request: &WellFormed) -> Stamp {
        let lease = Lease { owner: InstanceId::new("gateway-1"), until: later_s(self.accepted_at, 30) };
        Stamp { reference: reference(&request.key), now: self.accepted_at, lease, expected: self.expected }
    }
}

/// A charge that is about to be begun.
pub fn charge(id: &str, amount: &str) -> UnitOfWork {
    sample(id, amount).charge()
}

/// A refund with an id of its own that is about to be begun.
pub fn refund(id: &str, charge: &Transaction, amount: &str) -> UnitOfWork {
    let charged = charge.key.ext_transaction_id.as_str();
    Sample { reference_id: Some(charged), ..sample(id, amount) }.refund(charge)
}

/// The CSP has booked it.
pub fn booked(record: &Transaction) -> UnitOfWork {
    answered(record, &Heard::Booked(Receipt { reference: record.reference, money: record.money }))
}

/// The CSP has refused it.
pub fn refused(record: &Transaction) -> UnitOfWork {
    answered(record, &Heard::Refused("daily-limit".to_owned()))
}

/// The CSP gave no clear answer.
pub fn unclear(record: &Transaction) -> UnitOfWork {
    answered(record, &Heard::Unclear("time-out".to_owned()))
}

/// The CSP did nothing.
pub fn not_applied(record: &Transaction) -> UnitOfWork {
    answered(record, &Heard::NotApplied("connection refused".to_owned()))
}

fn answered(record: &Transaction, heard: &Heard) -> UnitOfWork {
    settle::by_answer(record, heard, &profile(), &moment(record))
}

/// A second after the beginning.
pub fn moment(record: &Transaction) -> Moment {
    Moment { now: after_s(1), event_id: event_id(&record.key), delivery: Delivery::Due, jitter: 0 }
}

/// Another gateway takes it.
pub fn taken(record: &Transaction) -> UnitOfWork {
    settle::take(record, Lease { owner: InstanceId::new("gateway-2"), until: after_s(90) }, after_s(31))
}

/// The key of a transaction of the usual partner.
pub fn key(kind: Kind, id: &str) -> TransactionKey {
    TransactionKey {
        partner: PartnerId::new(PARTNER),
        kind,
        ext_transaction_id: onbill::domain::ids::ExtTransactionId::parse(id).expect("an id"),
    }
}

/// A reference that is the same for ever for one key, as the keyed digest is.
pub fn reference(key: &TransactionKey) -> Reference {
    Reference::from_bytes(digest(key).to_be_bytes())
}

/// The event's id for a key: one transaction has one event.
pub fn event_id(key: &TransactionKey) -> EventId {
    EventId::from_bits(digest(key))
}

/// FNV-1a over the key. It only has to tell the keys of one test apart.
fn digest(key: &TransactionKey) -> u128 {
    let text = format!("{}/{}/{}", key.partner, key.kind.word(), key.ext_transaction_id.as_str());
    let step = |hash: u128, byte: u8| (hash ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013B);
    text.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, step)
}

fn later_s(time: Time, seconds: i64) -> Time {
    Time::from_microsecond(time.as_microsecond() + seconds * 1_000_000).expect("in range")
}

fn partner(id: &str) -> Partner {
    let product = Product {
        id: ProductId::new("ott-basic"),
        charge_codes: BTreeMap::from([(CspId::new("sandbox"), ChargeCode::new("BASIC"))]),
    };
    Partner {
        id: PartnerId::new(id),
        csps: vec![CspId::new("sandbox")],
        products: BTreeMap::from([(product.id.clone(), product)]),
        pin_before_first_charge_minutes: None,
        pin_sms: None,
        webhook: None,
        rate: SharedRate { per_second: 10, burst: 20 },
    }
}

/// The CSP.
pub fn profile() -> CspProfile {
    CspProfile {
        id: CspId::new("sandbox"),
        currency: Currency::from_code("MXN").expect("a currency"),
        msisdn_pattern: Pattern::new("^[0-9]{10}$").expect("a pattern"),
        prefixes: vec![String::new()],
        takes_email: true,
        call_timeout_ms: 600,
        forget_after_s: Some(2),
        recovery: Recovery::Inquiry,
        capabilities: Capabilities::USUAL,
        amount_max: None,
        time_zone: jiff::tz::TimeZone::UTC,
        limits: Vec::new(),
        verdicts: BTreeMap::from([("daily-limit".to_owned(), "Over spending daily limit".to_owned())]),
        pin_quota: SendQuota { per_partner_max: 3, per_address_max: 10, window_s: 600 },
        test_numbers: None,
        pin_sms: PinSms { sender: "onbill".to_owned(), language: "en".to_owned(), text: "Code {pin}".to_owned() },
    }
}

/// A charge as somebody read it before any refund.
pub fn unrefunded(charge: &Transaction) -> Transaction {
    Transaction { refunds_held_minor: 0, refunds_done_minor: 0, ..charge.clone() }
}
