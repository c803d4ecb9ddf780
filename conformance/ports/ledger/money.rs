//! Claims about money: postings, events, and refunds under the cap of their charge.

use std::sync::Arc;

use onbill::domain::transaction::{Kind, State};
use onbill::ports::ledger::Commit;

use super::samples::{self, Sample, sample};
use super::{Books, Subject};

pub async fn money_is_posted_with_its_outcome_and_sums_to_zero(subject: Subject) {
    let pending = subject.done(samples::charge("c1", "10")).await;
    assert_eq!((subject.books)(), Books::default(), "an intent moves no money");
    let charge = subject.done(samples::booked(&pending)).await;
    let refund = subject.done(samples::refund("r1", &charge, "-4")).await;
    subject.done(samples::booked(&refund)).await;
    let failing = subject.done(samples::charge("c2", "10")).await;
    subject.done(samples::refused(&failing)).await;
    let unclear = subject.done(samples::charge("c3", "10")).await;
    subject.done(samples::unclear(&unclear)).await;
    let posted: Vec<_> = (subject.books)().postings;
    let expected = [("c1", -1000), ("c1", 1000), ("r1", 400), ("r1", -400)];
    assert_eq!(posted, expected.map(|(id, minor)| (id.to_owned(), minor)));
}

pub async fn each_final_outcome_makes_one_event(subject: Subject) {
    let charge = subject.success("c1", "10").await;
    let refund = subject.done(samples::refund("r1", &charge, "-4")).await;
    subject.done(samples::refused(&refund)).await;
    let open = subject.done(samples::charge("c2", "10")).await;
    subject.done(samples::unclear(&open)).await;
    let released = subject.done(samples::charge("c3", "10")).await;
    subject.done(samples::not_applied(&released)).await;
    let expected = [(Kind::Charge, "c1"), (Kind::Refund, "r1")].map(|(kind, id)| {
        let event_id = samples::event_id(&samples::key(kind, id));
        (id.to_owned(), event_id.as_str().to_owned())
    });
    assert_eq!((subject.books)().events, expected);
}

pub async fn a_hundred_concurrent_refunds_never_exceed_their_charge(subject: Subject) {
    // All are judged on the same reading of the charge, as a hundred callers at once would be.
    let charge = subject.success("c1", "10").await;
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let ledger = Arc::clone(&subject.ledger);
            let unit = samples::refund(&format!("r{number}"), &charge, "-0.35");
            tokio::spawn(async move {
                let pending = unit.transaction.clone();
                let committed = ledger.commit(unit).await.expect("an answer");
                (pending, committed)
            })
        })
        .collect();
    let mut taken = Vec::new();
    for task in tasks {
        if let (mut pending, Commit::Done { version }) = task.await.expect("no panic") {
            pending.version = version;
            taken.push(pending);
        }
    }
    assert_eq!(taken.len(), 28, "28 times 0.35 is 9.80, and 29 times is more than 10");
    for pending in &taken {
        subject.done(samples::booked(pending)).await;
    }
    let charge = subject.recall(Kind::Charge, "c1").await.expect("the charge");
    assert_eq!((charge.refunds_held_minor, charge.refunds_done_minor), (980, 980));
    subject.conflict(samples::refund("one-more", &samples::unrefunded(&charge), "-0.21")).await;
    subject.done(samples::refund("the-rest", &charge, "-0.2")).await;
}

pub async fn a_refund_that_is_not_booked_gives_its_share_back(subject: Subject) {
    let charge = subject.success("c1", "10").await;
    let first = subject.done(samples::refund("r1", &charge, "-6")).await;
    let second = samples::refund("r2", &charge, "-6");
    subject.conflict(second.clone()).await;
    subject.done(samples::refused(&first)).await;
    let second = subject.done(second).await;
    let unknown = subject.done(samples::unclear(&second)).await;
    let third = samples::refund("r3", &charge, "-6");
    subject.conflict(third.clone()).await;
    subject.done(samples::refused(&unknown)).await;
    let third = subject.done(third).await;
    let released = subject.done(samples::not_applied(&third)).await;
    let charge = subject.recall(Kind::Charge, "c1").await.expect("the charge");
    assert_eq!((charge.refunds_held_minor, charge.refunds_done_minor), (0, 0));
    let again = Sample {
        reference_id: Some("c1"),
        expected: onbill::domain::transaction::Expected::Version(released.version),
        ..sample("r3", "-6")
    };
    let third = subject.done(again.refund(&charge)).await;
    subject.done(samples::booked(&third)).await;
    let charge = subject.recall(Kind::Charge, "c1").await.expect("the charge");
    assert_eq!((charge.refunds_held_minor, charge.refunds_done_minor), (600, 600));
}

pub async fn a_refund_needs_a_charge_that_is_success(subject: Subject) {
    // The refunds were judged on a charge that was Success when it was read.
    let success = subject.success("seen", "10").await;
    let as_if_success = |id: &str| {
        let mut charge = success.clone();
        charge.key = samples::key(Kind::Charge, id);
        charge
    };
    let pending = subject.done(samples::charge("pending", "10")).await;
    let unknown = subject.done(samples::charge("unknown", "10")).await;
    let failure = subject.done(samples::charge("failure", "10")).await;
    let released = subject.done(samples::charge("released", "10")).await;
    subject.done(samples::unclear(&unknown)).await;
    subject.done(samples::refused(&failure)).await;
    subject.done(samples::not_applied(&released)).await;
    for id in ["pending", "unknown", "failure", "released", "never-begun"] {
        subject.conflict(samples::refund(&format!("r-{id}"), &as_if_success(id), "-1")).await;
    }
    subject.done(samples::booked(&pending)).await;
    subject.done(samples::refund("r-pending", &as_if_success("pending"), "-1")).await;
}

pub async fn a_unit_that_does_not_fit_leaves_nothing_behind(subject: Subject) {
    let charge = subject.success("c1", "10").await;
    let first = subject.done(samples::refund("r1", &charge, "-6")).await;
    let before = (subject.books)();
    subject.conflict(samples::refund("r2", &charge, "-6")).await;
    assert_eq!(subject.recall(Kind::Refund, "r2").await, None);
    // The outcome of a refund that somebody else has settled meanwhile: its share must not be taken twice.
    let unknown = subject.done(samples::unclear(&first)).await;
    subject.conflict(samples::booked(&first)).await;
    assert_eq!((subject.books)(), before);
    assert_eq!(subject.recall(Kind::Refund, "r1").await, Some(unknown));
    let charge = subject.recall(Kind::Charge, "c1").await.expect("the charge");
    assert_eq!((charge.refunds_held_minor, charge.refunds_done_minor), (600, 0));
}

pub async fn a_unit_that_would_break_the_books_is_refused_whole(subject: Subject) {
    let charge = subject.success("c1", "10").await;
    let refund = subject.done(samples::refund("r1", &charge, "-4")).await;
    let before = (subject.books)();
    let mut unbalanced = samples::booked(&refund);
    unbalanced.postings[0].money.minor += 1;
    let mut untold = samples::booked(&refund);
    untold.event = None;
    let mut unheld = samples::booked(&refund);
    unheld.hold = None;
    let mut renamed = samples::booked(&refund);
    renamed.transaction.reference = charge.reference;
    let mut begun_as_success = samples::charge("c2", "10");
    begun_as_success.transaction.state = State::Success;
    for unit in [unbalanced, untold, unheld, renamed, begun_as_success] {
        assert!(subject.ledger.commit(unit.clone()).await.is_err(), "{unit:?}");
    }
    assert_eq!((subject.books)(), before);
    assert_eq!(subject.recall(Kind::Refund, "r1").await, Some(refund.clone()));
    assert_eq!(subject.recall(Kind::Charge, "c2").await, None);
    subject.done(samples::booked(&refund)).await;
}

pub async fn a_change_of_the_charge_itself_keeps_what_its_refunds_hold(subject: Subject) {
    use onbill::domain::transaction::settle::{Heard, contradicted};
    let charge = subject.success("c1", "10").await;
    let refund = subject.done(samples::refund("r1", &charge, "-4")).await;
    subject.done(samples::booked(&refund)).await;
    // Decided on a reading that knows nothing of the refund.
    let note = contradicted(&charge, &Heard::Refused("E-17".to_owned())).expect("a contradiction");
    let noted = subject.done(note).await;
    assert!(noted.stuck.is_some());
    assert_eq!((noted.refunds_held_minor, noted.refunds_done_minor), (400, 400));
}
