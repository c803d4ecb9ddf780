//! Values for the tests of the rules: one partner, one CSP, one number.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::admit::Stamp;
use super::request::WellFormed;
use super::{Compared, Expected, Kind, Lease, State, Transaction, TransactionKey};
use crate::domain::Time;
use crate::domain::account::AccountKey;
use crate::domain::address::{Address, Email, Msisdn};
use crate::domain::directory::{
    Capabilities, CspProfile, Directory, Partner, Pattern, PinSms, Product, Recovery, SendQuota,
};
use crate::domain::event::{Delivery, EventId};
use crate::domain::ids::{
    AccountRef, ChargeCode, CspId, ExtTransactionId, InstanceId, PartnerId, ProductId, Reference,
};
use crate::domain::money::{Currency, Decimal, Money};
use crate::domain::transaction::settle::Moment;

pub(crate) fn now() -> Time {
    Time::from_second(1_700_000_000).expect("in range")
}

pub(crate) fn after_s(seconds: i64) -> Time {
    Time::from_second(1_700_000_000_i64.saturating_add(seconds)).expect("in range")
}

pub(crate) fn msisdn(number: &str) -> Address {
    Address::Msisdn(Msisdn::new(number))
}

pub(crate) fn email(address: &str) -> Address {
    Address::Email(Email::parse(address).expect("an e-mail address"))
}

pub(crate) fn ext_id(text: &str) -> ExtTransactionId {
    ExtTransactionId::parse(text).expect("an id")
}

pub(crate) fn stamp() -> Stamp {
    Stamp {
        reference: Reference::from_bytes([9; 16]),
        now: now(),
        lease: Lease { owner: InstanceId::new("gateway-1"), until: after_s(30) },
        expected: Expected::Absent,
    }
}

pub(crate) fn moment(now: Time) -> Moment {
    Moment { now, event_id: EventId::from_bits(1), delivery: Delivery::Skipped, jitter: 0 }
}

pub(crate) fn request(kind: Kind, id: &str, reference_id: Option<&str>, amount: &str) -> WellFormed {
    WellFormed {
        key: TransactionKey { partner: PartnerId::new("demo-ott"), kind, ext_transaction_id: ext_id(id) },
        compared: Compared {
            address: Some(msisdn("5550100001")),
            account_id: None,
            partner_product: ProductId::new("ott-basic"),
            amount: Decimal::parse(amount).expect("a decimal"),
            currency: Arc::from("MXN"),
            description: Arc::from(""),
            reference_id: reference_id.map(ext_id),
        },
    }
}

pub(crate) fn refund_request(id: &str, charge: &str, amount: &str) -> WellFormed {
    request(Kind::Refund, id, (id != charge).then_some(charge), amount)
}

pub(crate) fn account() -> AccountKey {
    AccountKey { csp: CspId::new("sandbox"), reference: AccountRef::new("sub-1") }
}

/// A charge as its intent leaves it: Pending and leased.
pub(crate) fn charge(id: &str, amount: &str) -> Transaction {
    let request = request(Kind::Charge, id, None, amount);
    let currency = Currency::from_code("MXN").expect("a currency");
    let minor = request.compared.amount.to_minor(currency).expect("an amount");
    super::admit::intent(&request, account(), ChargeCode::new("BASIC"), Money::new(minor, currency), stamp())
        .transaction
}

/// A refund as its intent leaves it.
pub(crate) fn refund(id: &str, charge_id: &str, amount: &str) -> Transaction {
    let mut charge = charge(charge_id, "100");
    charge.state = State::Success;
    let request = refund_request(id, charge_id, amount);
    let evidence = super::refund::AddressEvidence::Text;
    super::refund::admit(&request, Some(&charge), None, &evidence, stamp()).expect("a refund").transaction
}

pub(crate) fn profile() -> CspProfile {
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

pub(crate) fn partner() -> Partner {
    let csp = CspId::new("sandbox");
    let product = Product {
        id: ProductId::new("ott-basic"),
        charge_codes: BTreeMap::from([(csp.clone(), ChargeCode::new("BASIC"))]),
    };
    Partner {
        id: PartnerId::new("demo-ott"),
        csps: vec![csp],
        products: BTreeMap::from([(product.id.clone(), product)]),
        pin_before_first_charge_minutes: None,
        pin_sms: None,
        webhook: None,
        rate: crate::domain::rate::SharedRate { per_second: 10, burst: 20 },
    }
}

pub(crate) fn directory() -> Directory {
    Directory::new(vec![partner()], vec![profile()]).expect("a directory")
}
