//! Claims about single records: uniqueness, versions, states, and that what is written is read.

use std::sync::Arc;

use onbill::domain::account::{AccountKey, SealedAccountId};
use onbill::domain::address::{Address, Email, Msisdn};
use onbill::domain::ids::{AccountRef, ChargeCode, CspId, ExtTransactionId, InstanceId, ProductId};
use onbill::domain::money::{Currency, Decimal, Money};
use onbill::domain::transaction::settle::{self, Heard, Receipt};
use onbill::domain::transaction::{Compared, Expected, Kind, Lease, State, Transaction, UnitOfWork};
use onbill::ports::ledger::Commit;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use super::Subject;
use super::samples::{self, Sample, sample};

pub async fn a_key_is_taken_once(subject: Subject) {
    let record = subject.done(samples::charge("c1", "10")).await;
    assert_eq!((record.version, record.state), (1, State::Pending));
    subject.conflict(samples::charge("c1", "10")).await;
    subject.conflict(samples::charge("c1", "99")).await;
    assert_eq!(subject.recall(Kind::Charge, "c1").await, Some(record.clone()));
    assert_eq!(subject.recall(Kind::Refund, "c1").await, None, "a charge and a refund may share an id");
    let booked = subject.done(samples::booked(&record)).await;
    let own = Sample { reference_id: None, ..sample("c1", "-1") };
    subject.done(own.refund(&booked)).await;
    subject.done(Sample { partner: "other-ott", ..sample("c1", "10") }.charge()).await;
}

pub async fn of_many_commits_of_one_key_exactly_one_is_done(subject: Subject) {
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let ledger = Arc::clone(&subject.ledger);
            tokio::spawn(async move { ledger.commit(samples::charge("c1", "10")).await.expect("an answer") })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += u32::from(task.await.expect("no panic") == Commit::Done { version: 1 });
    }
    assert_eq!(done, 1);
}

pub async fn a_change_needs_the_version_that_it_was_decided_on(subject: Subject) {
    let pending = subject.done(samples::charge("c1", "10")).await;
    let taken = subject.done(samples::taken(&pending)).await;
    assert_eq!(taken.version, 2);
    subject.conflict(samples::booked(&pending)).await;
    subject.conflict(samples::charge("c1", "10")).await;
    let mut never_begun = samples::booked(&pending);
    never_begun.transaction.key = samples::key(Kind::Charge, "c2");
    subject.conflict(never_begun).await;
    assert_eq!(subject.recall(Kind::Charge, "c1").await, Some(taken.clone()));
    let booked = subject.done(samples::booked(&taken)).await;
    assert_eq!(booked.version, 3);
}

pub async fn final_states_never_change(subject: Subject) {
    let success = subject.success("c1", "10").await;
    let pending = subject.done(samples::charge("c2", "10")).await;
    let failure = subject.done(samples::refused(&pending)).await;
    for unit in [
        samples::refused(&success),
        samples::unclear(&success),
        samples::not_applied(&success),
        samples::booked(&failure),
        samples::unclear(&failure),
        samples::not_applied(&failure),
    ] {
        subject.conflict(unit).await;
    }
    assert_eq!(subject.recall(Kind::Charge, "c1").await, Some(success));
    assert_eq!(subject.recall(Kind::Charge, "c2").await, Some(failure));
}

pub async fn a_record_moves_only_forward(subject: Subject) {
    let pending = subject.done(samples::charge("c1", "10")).await;
    let unknown = subject.done(samples::unclear(&pending)).await;
    subject.conflict(samples::not_applied(&unknown)).await;
    let mut back = samples::taken(&unknown);
    back.transaction.state = State::Pending;
    subject.conflict(back).await;
    let unknown = subject.done(samples::unclear(&unknown)).await;
    let unknown = subject.done(samples::taken(&unknown)).await;
    assert_eq!(unknown.state, State::Unknown);
    let failure = subject.done(samples::refused(&unknown)).await;
    assert_eq!((failure.state, failure.message()), (State::Failure, "Over spending daily limit"));
}

pub async fn a_released_record_is_taken_up_again_under_its_reference(subject: Subject) {
    let pending = subject.done(samples::charge("c1", "10")).await;
    let released = subject.done(samples::not_applied(&pending)).await;
    for unit in [samples::booked(&released), samples::unclear(&released)] {
        subject.conflict(unit).await;
    }
    let again = Sample {
        account: "sub-2",
        accepted_at: samples::after_s(60),
        expected: Expected::Version(released.version),
        ..sample("c1", "10")
    };
    let record = subject.done(again.charge()).await;
    assert_eq!((record.state, record.version), (State::Pending, 3));
    assert_eq!(record.accepted_at, samples::after_s(60));
    assert_eq!(record.account.reference, AccountRef::new("sub-2"));
    assert_eq!(record.reference, pending.reference);
    assert_eq!(record.private_note, None);
}

pub async fn a_final_record_takes_a_note_and_nothing_else(subject: Subject) {
    let pending = subject.done(samples::charge("c1", "10")).await;
    let failure = subject.done(samples::refused(&pending)).await;
    let late = Heard::Booked(Receipt { reference: failure.reference, money: failure.money });
    let mut noting = settle::contradicted(&failure, &late).expect("a contradiction");
    noting.transaction.failure = Some(Arc::from("something else"));
    noting.transaction.due_at = Some(samples::after_s(9));
    let noted = subject.done(noting).await;
    assert!(noted.stuck.is_some());
    assert_eq!(noted, Transaction { stuck: noted.stuck.clone(), version: 3, ..failure });
}

pub async fn what_a_request_fixed_is_not_changed_by_its_outcome(subject: Subject) {
    let pending = subject.done(samples::charge("c1", "10")).await;
    let mut unit = samples::unclear(&pending);
    unit.transaction.compared.description = Arc::from("something else");
    unit.transaction.account.reference = AccountRef::new("sub-9");
    unit.transaction.charge_code = ChargeCode::new("PREMIUM");
    unit.transaction.money.minor = 1;
    unit.transaction.accepted_at = samples::after_s(77);
    unit.transaction.refunds_held_minor = 5;
    let unknown = subject.done(unit).await;
    assert_eq!(unknown.compared, pending.compared);
    assert_eq!(unknown.account, pending.account);
    assert_eq!(unknown.charge_code, pending.charge_code);
    assert_eq!((unknown.money, unknown.accepted_at), (pending.money, pending.accepted_at));
    assert_eq!(unknown.refunds_held_minor, 0);
}

/// A record that has something in every field that a Pending one may have.
fn full(id: &str) -> Transaction {
    let key = samples::key(Kind::Charge, id);
    Transaction {
        counted: Vec::new(),
        reference: samples::reference(&key),
        key,
        state: State::Pending,
        version: 0,
        compared: Compared {
            address: Some(Address::Email(Email::parse("a.b+c@sub.example.org").expect("an e-mail address"))),
            account_id: Some(SealedAccountId::new("acc_x-Y_z")),
            partner_product: ProductId::new("ott-ünï"),
            amount: Decimal::parse("999999999.999").expect("a decimal"),
            currency: Arc::from("KWD"),
            description: Arc::from("films \u{1F3AC}\0and more\r\n'\";--"),
            reference_id: ExtTransactionId::parse("A.b_c:d-9"),
        },
        forgotten: None,
        account: AccountKey { csp: CspId::new("csp-2"), reference: AccountRef::new("sub\0-1\u{1F4F1}") },
        charge_code: ChargeCode::new("BÁSICO"),
        money: Money::new(999_999_999_999, Currency::from_code("KWD").expect("a currency")),
        accepted_at: samples::after_us(123_456),
        failure: None,
        private_note: Some(Arc::from("E-17\0?")),
        refunds_held_minor: 0,
        refunds_done_minor: 0,
        lease: Some(Lease { owner: InstanceId::new("gateway-é"), until: samples::after_us(7) }),
        due_at: Some(samples::after_us(8)),
        sent_before: samples::after_us(9),
        inquiries: 17,
        stuck: Some(Arc::from("why \u{0} not")),
    }
}

pub async fn every_field_survives(subject: Subject) {
    let begun = full("c1");
    let pending = subject.done(UnitOfWork::of(begun.clone(), Expected::Absent)).await;
    assert_eq!(pending, Transaction { version: 1, ..begun });
    let mut sparse = full("c2");
    sparse.compared.address = Some(Address::Msisdn(Msisdn::new("+5550100001")));
    sparse.compared.account_id = None;
    sparse.compared.reference_id = None;
    sparse.compared.description = Arc::from("");
    sparse.compared.amount = Decimal::parse("-0.000000000000000001").expect("a decimal");
    (sparse.private_note, sparse.lease, sparse.due_at, sparse.stuck) = (None, None, None, None);
    let kept = subject.done(UnitOfWork::of(sparse.clone(), Expected::Absent)).await;
    assert_eq!(kept, Transaction { version: 1, ..sparse });
    let mut nobody = full("c3");
    nobody.compared.address = None;
    let kept = subject.done(UnitOfWork::of(nobody.clone(), Expected::Absent)).await;
    assert_eq!(kept, Transaction { version: 1, ..nobody });
    let failed = samples::refused(&pending);
    let record = subject.done(failed.clone()).await;
    assert_eq!(record, Transaction { version: 2, ..failed.transaction });
}

pub async fn every_text_survives(subject: Subject) {
    let mut runner = TestRunner::deterministic();
    for number in 0..64 {
        let mut draw = || proptest::arbitrary::any::<String>().new_tree(&mut runner).expect("a text").current();
        let mut record = full(&format!("c{number}"));
        record.compared.description = Arc::from(draw());
        record.compared.partner_product = ProductId::new(&draw());
        record.account.reference = AccountRef::new(&draw());
        record.private_note = Some(Arc::from(draw()));
        record.stuck = Some(Arc::from(draw()));
        let kept = subject.done(UnitOfWork::of(record.clone(), Expected::Absent)).await;
        assert_eq!(kept, Transaction { version: 1, ..record });
    }
}

pub async fn times_are_kept_in_whole_microseconds(subject: Subject) {
    let mut unit = samples::charge("c1", "10");
    let exact = unit.transaction.clone();
    let finer = |time: onbill::domain::Time| time.checked_add(jiff::SignedDuration::from_nanos(999)).expect("in range");
    unit.transaction.accepted_at = finer(exact.accepted_at);
    unit.transaction.sent_before = finer(exact.sent_before);
    unit.transaction.due_at = exact.due_at.map(finer);
    unit.transaction.lease = exact.lease.clone().map(|lease| Lease { until: finer(lease.until), ..lease });
    assert_eq!(subject.done(unit).await, Transaction { version: 1, ..exact });
}

pub async fn several_are_recalled_at_once(subject: Subject) {
    let charge = subject.success("c1", "10").await;
    let refund = subject.done(samples::refund("r1", &charge, "-4")).await;
    let charge = subject.recall(Kind::Charge, "c1").await.expect("the charge");
    let keys = [refund.key.clone(), samples::key(Kind::Charge, "never"), charge.key.clone()];
    let mut found = subject.ledger.recall_all(&keys).await.expect("the ledger answers");
    found.sort_by(|one, other| one.key.cmp(&other.key));
    assert_eq!(found, [charge, refund]);
    assert_eq!(subject.ledger.recall_all(&[]).await.expect("the ledger answers"), []);
}

pub async fn of_many_that_ask_together_each_hears_of_its_own_and_nothing_older(subject: Subject) {
    let shared = subject.success("shared", "10").await;
    let tasks: Vec<_> = (0..200)
        .map(|number| {
            let (ledger, shared) = (Arc::clone(&subject.ledger), shared.clone());
            let id = format!("c{number}");
            tokio::spawn(async move {
                let recall = |kind, id| {
                    let (ledger, key) = (Arc::clone(&ledger), samples::key(kind, id));
                    async move { ledger.recall(&key).await.expect("the ledger answers") }
                };
                assert_eq!(recall(Kind::Charge, &id).await, None);
                let committed = ledger.commit(samples::charge(&id, "10")).await.expect("the ledger answers");
                assert_eq!(committed, Commit::Done { version: 1 });
                let own = recall(Kind::Charge, &id).await.expect("what was committed is there");
                assert_eq!((own.key.ext_transaction_id.as_str(), own.version), (id.as_str(), 1));
                assert_eq!(recall(Kind::Refund, &id).await, None);
                assert_eq!(recall(Kind::Charge, "shared").await, Some(shared));
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("each hears of its own");
    }
}

pub async fn a_ledger_that_works_says_so(subject: Subject) {
    for _ in 0..3 {
        subject.ledger.check().await.expect("it works");
    }
    subject.done(samples::charge("c1", "10")).await;
}
