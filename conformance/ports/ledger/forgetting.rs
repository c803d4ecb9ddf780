//! Claims about growing old: every record can be looked at in turn, and an address gives way to its digest for good.

use onbill::domain::address::AddressDigest;
use onbill::domain::transaction::forget::forget;
use onbill::domain::transaction::settle::{self, Heard, Receipt};
use onbill::domain::transaction::{Expected, Kind, State, Transaction};

use super::Subject;
use super::samples::{self, Sample, sample};

const DIGEST: AddressDigest = AddressDigest { type_word: "MSISDN", bits: [0xA5; 16] };

pub async fn every_record_is_walked_over_once_in_the_order_of_its_beginning(subject: Subject) {
    let charge = subject.success("c1", "10").await;
    subject.done(samples::refund("r1", &charge, "-4")).await;
    let pending = subject.done(samples::charge("c2", "10")).await;
    subject.done(samples::not_applied(&pending)).await;
    subject.done(Sample { partner: "other-ott", ..sample("c1", "10") }.charge()).await;
    let (mut walked, mut after) = (Vec::new(), 0);
    loop {
        let rows = subject.ledger.walk(after, 3).await.expect("the ledger answers");
        assert!(rows.len() <= 3 && rows.iter().all(|row| row.cursor.sequence > after));
        let Some(last) = rows.last() else { break };
        after = last.cursor.sequence;
        walked.extend(rows.into_iter().map(|row| row.transaction));
    }
    let keys: Vec<_> = walked.iter().map(|record| (record.key.partner.as_str(), record.state)).collect();
    let expected = [
        ("demo-ott", State::Success),
        ("demo-ott", State::Pending),
        ("demo-ott", State::Released),
        ("other-ott", State::Pending),
    ];
    assert_eq!(keys, expected);
    for record in walked {
        assert_eq!(subject.ledger.recall(&record.key).await.expect("the ledger answers"), Some(record));
    }
}

/// The record after it was forgotten.
fn forgotten(record: Transaction) -> Transaction {
    let version = record.version + 1;
    let mut record = Transaction { version, forgotten: Some(DIGEST), ..record };
    record.compared.address = None;
    record
}

pub async fn a_record_that_is_over_forgets_its_address_and_nothing_else(subject: Subject) {
    let success = subject.success("c1", "10").await;
    let pending = subject.done(samples::charge("c2", "10")).await;
    let failure = subject.done(samples::refused(&pending)).await;
    let pending = subject.done(samples::charge("c3", "10")).await;
    let released = subject.done(samples::not_applied(&pending)).await;
    let before = (subject.books)();
    for record in [success, failure, released] {
        assert_eq!(subject.done(forget(&record, DIGEST)).await, forgotten(record.clone()));
        subject.conflict(forget(&record, DIGEST)).await;
    }
    assert_eq!((subject.books)(), before);
}

pub async fn what_was_forgotten_stays_so_whatever_comes(subject: Subject) {
    let success = subject.success("c1", "10").await;
    let success = subject.done(forget(&success, DIGEST)).await;
    subject.done(samples::refund("r1", &success, "-4")).await;
    let refunded = subject.recall(Kind::Charge, "c1").await.expect("the charge");
    assert_eq!(refunded, Transaction { refunds_held_minor: 400, ..success });

    let pending = subject.done(samples::charge("c2", "10")).await;
    let failure = subject.done(samples::refused(&pending)).await;
    let failure = subject.done(forget(&failure, DIGEST)).await;
    let late = Heard::Booked(Receipt { reference: failure.reference, money: failure.money });
    let noted = subject.done(settle::contradicted(&failure, &late).expect("a contradiction")).await;
    assert_eq!(noted, Transaction { stuck: noted.stuck.clone(), version: failure.version + 1, ..failure });

    let pending = subject.done(samples::charge("c3", "10")).await;
    let released = subject.done(samples::not_applied(&pending)).await;
    let released = subject.done(forget(&released, DIGEST)).await;
    let again = Sample { expected: Expected::Version(released.version), ..sample("c3", "10") };
    let record = subject.done(again.charge()).await;
    assert_eq!((record.state, record.forgotten, &record.compared.address), (State::Pending, Some(DIGEST), &None));
    let record = subject.done(samples::booked(&record)).await;
    assert_eq!((record.state, record.forgotten, &record.compared.address), (State::Success, Some(DIGEST), &None));
}

pub async fn an_open_record_forgets_nothing(subject: Subject) {
    let pending = subject.done(samples::charge("c1", "10")).await;
    let kept = subject.done(forget(&pending, DIGEST)).await;
    assert_eq!((kept.forgotten, &kept.compared), (None, &pending.compared));
    let unknown = subject.done(samples::unclear(&kept)).await;
    let kept = subject.done(forget(&unknown, DIGEST)).await;
    assert_eq!((kept.forgotten, &kept.compared), (None, &pending.compared));
}
