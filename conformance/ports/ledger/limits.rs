//! Claims about spend limits: counters hold what is open or booked, never above their ceilings, and give back exactly.
//!
//! Invariant: what is expected of a counter is added up here by hand; the rules that made the units are not asked again.

use std::sync::Arc;

use onbill::domain::directory::CspProfile;
use onbill::domain::ids::LimitId;
use onbill::domain::limits::{self, Each, SpendLimit};
use onbill::domain::transaction::{Expected, Kind, State, Transaction, UnitOfWork, settle};
use onbill::ports::ledger::Commit;

use super::Subject;
use super::samples::{self, Sample, sample};

/// So many minor units a day and a month for each account.
pub fn limit(day_max_minor: i64, month_max_minor: i64) -> Vec<SpendLimit> {
    let each = Each { account: true, ..Each::default() };
    vec![SpendLimit {
        id: LimitId::new("purchase"),
        each,
        partners: None,
        products: None,
        transaction_max_minor: None,
        day_max_minor: Some(day_max_minor),
        month_max_minor: Some(month_max_minor),
    }]
}

/// A charge under limits.
pub fn limited(sample: &Sample<'_>, limits: Vec<SpendLimit>) -> UnitOfWork {
    let mut unit = sample.charge();
    limits::apply(&mut unit, &CspProfile { limits, ..samples::profile() }).expect("it may be as much by itself");
    unit
}

/// The usual charge under 10.00 a day and 15.00 a month.
pub fn charge(id: &str, amount: &str) -> UnitOfWork {
    limited(&sample(id, amount), limit(1000, 1500))
}

impl Subject {
    async fn over(&self, unit: UnitOfWork, counter: usize) {
        assert_eq!(self.ledger.commit(unit).await.expect("the ledger answers"), Commit::Over { counter });
    }

    /// What is counted for the usual account on the first day of the samples and in its month, and how many counters are not
    /// at 0.
    fn counted(&self) -> (i64, i64, usize) {
        let counters = (self.books)().counters;
        let of = |name: &str| counters.iter().find(|(counter, _)| counter == name).map_or(0, |(_, minor)| *minor);
        let day = of("sandbox/MXN/purchase/day/2023-11-14///sub-1");
        (day, of("sandbox/MXN/purchase/month/2023-11///sub-1"), counters.len())
    }
}

pub async fn what_is_open_or_booked_counts_and_what_failed_gives_back(subject: Subject) {
    let booked = subject.done(charge("booked", "1")).await;
    subject.done(samples::booked(&booked)).await;
    assert_eq!(subject.counted(), (100, 100, 2), "no more than it held");
    let unclear = subject.done(charge("unclear", "2")).await;
    let unclear = subject.done(samples::unclear(&unclear)).await;
    let refused = subject.done(charge("refused", "3")).await;
    let released = subject.done(charge("released", "4")).await;
    assert_eq!(subject.counted(), (1000, 1000, 2));
    subject.over(charge("one-more", "0.01"), 0).await;
    subject.done(samples::refused(&refused)).await;
    assert_eq!(subject.counted(), (700, 700, 2));
    subject.done(samples::not_applied(&released)).await;
    assert_eq!(subject.counted(), (300, 300, 2));
    subject.done(samples::refused(&unclear)).await;
    assert_eq!(subject.counted(), (100, 100, 2));
    subject.done(samples::charge("unlimited", "1000")).await;
    assert_eq!(subject.counted(), (100, 100, 2));
}

pub async fn of_two_charges_that_fit_alone_and_not_together_one_is_done(subject: Subject) {
    let [one, other] = ["c1", "c2"].map(|id| {
        let (ledger, unit) = (Arc::clone(&subject.ledger), charge(id, "6"));
        tokio::spawn(async move { ledger.commit(unit).await.expect("an answer") })
    });
    let mut answers = [one.await.expect("no panic"), other.await.expect("no panic")];
    answers.sort_by_key(|answer| *answer != Commit::Done { version: 1 });
    assert_eq!(answers, [Commit::Done { version: 1 }, Commit::Over { counter: 0 }]);
    assert_eq!(subject.counted(), (600, 600, 2));
}

pub async fn a_hundred_concurrent_charges_never_exceed_a_ceiling(subject: Subject) {
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let (ledger, unit) = (Arc::clone(&subject.ledger), charge(&format!("c{number}"), "0.35"));
            tokio::spawn(async move {
                let pending = unit.transaction.clone();
                (pending, ledger.commit(unit).await.expect("an answer"))
            })
        })
        .collect();
    let (mut taken, mut over) = (Vec::new(), 0);
    for task in tasks {
        match task.await.expect("no panic") {
            (pending, Commit::Done { version }) => taken.push(Transaction { version, ..pending }),
            (_, Commit::Over { counter }) => over += i32::from(counter == 0),
            (_, Commit::Conflict) => panic!("each has a key of its own"),
        }
    }
    assert_eq!((taken.len(), over), (28, 72), "28 times 0.35 is 9.80, and 29 times is more than 10");
    assert_eq!(subject.counted(), (980, 980, 2));
    for pending in taken.iter().take(10) {
        subject.done(samples::refused(pending)).await;
    }
    assert_eq!(subject.counted(), (630, 630, 2));
    subject.done(charge("the-rest", "3.7")).await;
    subject.over(charge("one-more", "0.01"), 0).await;
}

pub async fn a_charge_without_room_on_one_counter_takes_nothing_from_another(subject: Subject) {
    let other_day = |id, amount| Sample { accepted_at: samples::after_s(86_400), ..sample(id, amount) };
    subject.done(charge("c1", "9")).await;
    let before = (subject.books)();
    subject.over(limited(&other_day("c2", "7"), limit(1000, 1500)), 1).await;
    assert_eq!((subject.books)(), before);
    assert_eq!(subject.recall(Kind::Charge, "c2").await, None);
    subject.done(limited(&other_day("c2", "6"), limit(1000, 1500))).await;
    assert_eq!(subject.counted(), (900, 1500, 3));
}

pub async fn accounts_have_counters_of_their_own_whatever_they_are_called(subject: Subject) {
    for account in ["sub-1", "sub-2", "sub\0-1", "sub/1", "", "\u{1F4F1} é'\";--"] {
        let id = format!("c{}", (subject.books)().counters.len());
        let sample = Sample { account, ..sample(&id, "10") };
        let pending = subject.done(limited(&sample, limit(1000, 1500))).await;
        assert_eq!(pending.counted.len(), 2, "{account:?}");
        let again = Sample { id: "again", ..sample };
        subject.over(limited(&again, limit(1000, 1500)), 0).await;
        subject.done(samples::booked(&pending)).await;
    }
    assert_eq!((subject.books)().counters.len(), 12);
}

pub async fn a_charge_over_a_limit_is_a_failure_without_an_intent(subject: Subject) {
    subject.done(charge("c1", "10")).await;
    let intent = charge("c2", "0.5");
    subject.over(intent.clone(), 0).await;
    let over = limits::reached(&intent.transaction, 0).expect("a limit");
    let failure =
        settle::over_limit(&intent.transaction, Expected::Absent, &over, &samples::moment(&intent.transaction));
    let failed = subject.done(failure.clone()).await;
    assert_eq!((failed.state, failed.version, failed.message()), (State::Failure, 1, "Over spending daily limit"));
    assert_eq!((&failed.lease, failed.due_at, failed.counted.len()), (&None, None, 0));
    subject.conflict(failure).await;
    subject.conflict(charge("c2", "0.5")).await;
    assert_eq!(subject.counted(), (1000, 1000, 2));
    let events = (subject.books)().events;
    assert_eq!(events, [("c2".to_owned(), samples::event_id(&failed.key).as_str().to_owned())]);
    let mut of_another_kind = settle::over_limit(
        &charge("c3", "1").transaction,
        Expected::Absent,
        &over,
        &samples::moment(&charge("c3", "1").transaction),
    );
    of_another_kind.transaction.failure = Some(Arc::from("Charge declined"));
    assert!(subject.ledger.commit(of_another_kind).await.is_err(), "the CSP's own refusals have an intent before them");
}

pub async fn a_released_charge_holds_anew_on_the_day_on_which_it_is_taken_up(subject: Subject) {
    let first = subject.done(charge("c1", "6")).await;
    let released = subject.done(samples::not_applied(&first)).await;
    let between = subject.done(charge("c2", "5")).await;
    let expected = Expected::Version(released.version);
    subject.over(limited(&Sample { expected, ..sample("c1", "6") }, limit(1000, 1500)), 0).await;
    assert_eq!(subject.recall(Kind::Charge, "c1").await, Some(released.clone()));
    let tomorrow = Sample { expected, accepted_at: samples::after_s(86_400), ..sample("c1", "6") };
    let taken_up = subject.done(limited(&tomorrow, limit(1000, 1500))).await;
    assert_ne!(taken_up.counted, first.counted);
    assert_eq!(subject.counted(), (500, 1100, 3), "tomorrow's counter is the third");
    subject.done(samples::refused(&between)).await;
    subject.done(samples::refused(&taken_up)).await;
    assert_eq!(subject.counted(), (0, 0, 0));
}

pub async fn a_released_charge_may_end_over_a_limit(subject: Subject) {
    let first = subject.done(charge("c1", "6")).await;
    let released = subject.done(samples::not_applied(&first)).await;
    subject.done(charge("c2", "5")).await;
    let expected = Expected::Version(released.version);
    let again = Sample { expected, accepted_at: samples::after_s(60), ..sample("c1", "6") };
    let intent = limited(&again, limit(1000, 1500));
    subject.over(intent.clone(), 0).await;
    let over = limits::reached(&intent.transaction, 0).expect("a limit");
    let unit = settle::over_limit(&intent.transaction, expected, &over, &samples::moment(&intent.transaction));
    let failed = subject.done(unit).await;
    assert_eq!((failed.state, failed.accepted_at), (State::Failure, samples::after_s(60)));
    assert_eq!((failed.counted.len(), subject.counted()), (0, (500, 500, 2)));
}

pub async fn a_refund_gives_back_to_the_day_of_its_charge_once_it_is_success(subject: Subject) {
    let pending = subject.done(charge("c1", "10")).await;
    let charged = subject.done(samples::booked(&pending)).await;
    let much_later = |id, amount| Sample {
        reference_id: Some("c1"),
        accepted_at: samples::after_s(90 * 86_400),
        ..sample(id, amount)
    };
    let refund = subject.done(much_later("r1", "-4").refund(&charged)).await;
    assert_eq!(refund.counted, charged.counted);
    assert_eq!(subject.counted(), (1000, 1000, 2), "not before it is booked");
    let refund = subject.done(samples::unclear(&refund)).await;
    subject.done(samples::booked(&refund)).await;
    assert_eq!(subject.counted(), (600, 600, 2));
    let failing = subject.done(much_later("r2", "-6").refund(&charged)).await;
    subject.done(samples::refused(&failing)).await;
    assert_eq!(subject.counted(), (600, 600, 2), "and not where it fails");
    subject.done(charge("c2", "4")).await;
    subject.over(charge("c3", "0.01"), 0).await;
}

pub async fn many_refunds_and_charges_at_once_leave_the_exact_sum(subject: Subject) {
    let pending = subject.done(limited(&sample("c0", "8"), limit(1_000_000, 1_000_000))).await;
    let charged = subject.done(samples::booked(&pending)).await;
    let mut open = Vec::new();
    for number in 0..40 {
        let refund = samples::refund(&format!("r{number}"), &charged, "-0.2");
        open.push(samples::booked(&subject.done(refund).await));
        let next = limited(&sample(&format!("n{number}"), "0.03"), limit(1_000_000, 1_000_000));
        open.push(samples::refused(&subject.done(next).await));
        open.push(limited(&sample(&format!("m{number}"), "0.07"), limit(1_000_000, 1_000_000)));
    }
    let commit = |unit| {
        let ledger = Arc::clone(&subject.ledger);
        tokio::spawn(async move { ledger.commit(unit).await.expect("an answer") })
    };
    let tasks: Vec<_> = open.into_iter().map(commit).collect();
    for task in tasks {
        assert!(matches!(task.await.expect("no panic"), Commit::Done { .. }));
    }
    assert_eq!(subject.counted(), (40 * 7, 40 * 7, 2), "8.00 were given back, and 40 times 0.07 is new");
}

pub async fn counters_that_do_not_follow_from_the_change_are_refused_whole(subject: Subject) {
    let pending = subject.done(charge("c1", "4")).await;
    let before = (subject.books)();
    let mut forgotten = samples::refused(&pending);
    forgotten.counters.clear();
    let mut half = samples::refused(&pending);
    half.counters.truncate(1);
    let mut too_much = samples::refused(&pending);
    too_much.counters[0].by_minor -= 1;
    let mut of_another = samples::refused(&pending);
    of_another.counters.reverse();
    let mut by_success = samples::booked(&pending);
    by_success.counters = samples::refused(&pending).counters;
    let mut without_ceiling = charge("c2", "1");
    without_ceiling.counters[1].ceiling_minor = None;
    let mut uncounted = charge("c2", "1");
    uncounted.counters.clear();
    for unit in [forgotten, half, too_much, of_another, by_success, without_ceiling, uncounted] {
        assert!(subject.ledger.commit(unit.clone()).await.is_err(), "{unit:?}");
    }
    assert_eq!((subject.books)(), before);
    subject.done(samples::refused(&pending)).await;
}
