//! Tables of the spend limits' rules.

use super::*;
use crate::domain::Time;
use crate::domain::transaction::samples;

fn limit(id: &str) -> SpendLimit {
    SpendLimit {
        id: LimitId::new(id),
        each: Each { account: true, ..Each::default() },
        partners: None,
        products: None,
        transaction_max_minor: None,
        day_max_minor: None,
        month_max_minor: None,
    }
}

fn csp(time_zone: &str, limits: Vec<SpendLimit>) -> CspProfile {
    CspProfile { time_zone: TimeZone::get(time_zone).expect("a time zone"), limits, ..samples::profile() }
}

fn intent(amount: &str, accepted_at: &str) -> UnitOfWork {
    let mut unit = UnitOfWork::of(samples::charge("c1", amount), crate::domain::transaction::Expected::Absent);
    unit.transaction.accepted_at = accepted_at.parse::<Time>().expect("a time");
    unit
}

fn counters(unit: &UnitOfWork) -> Vec<(String, i64, Option<i64>)> {
    let row = |change: &CounterChange| (change.counter.as_str().to_owned(), change.by_minor, change.ceiling_minor);
    unit.counters.iter().map(row).collect()
}

#[test]
fn days_and_months_are_those_of_the_csps_time_zone() {
    let limits = vec![SpendLimit { day_max_minor: Some(5000), month_max_minor: Some(9000), ..limit("purchase") }];
    for (zone, accepted_at, day, month) in [
        ("UTC", "2026-11-30T23:59:59.999Z", "2026-11-30", "2026-11"),
        ("UTC", "2026-12-01T00:00:00Z", "2026-12-01", "2026-12"),
        // Six hours behind: the month ends later.
        ("America/Mexico_City", "2026-12-01T05:59:59Z", "2026-11-30", "2026-11"),
        ("America/Mexico_City", "2026-12-01T06:00:00Z", "2026-12-01", "2026-12"),
        // The day on which summer time ends has 25 hours, and all of them are its own.
        ("Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25", "2026-10"),
        ("Europe/Berlin", "2026-10-25T22:59:59Z", "2026-10-25", "2026-10"),
        ("Europe/Berlin", "2026-10-25T23:00:00Z", "2026-10-26", "2026-10"),
    ] {
        let mut unit = intent("10", accepted_at);
        assert_eq!(apply(&mut unit, &csp(zone, limits.clone())), Ok(()));
        let expected = [
            (format!("sandbox/MXN/purchase/day/{day}///sub-1"), 1000, Some(5000)),
            (format!("sandbox/MXN/purchase/month/{month}///sub-1"), 1000, Some(9000)),
        ];
        assert_eq!(counters(&unit), expected, "{zone} {accepted_at}");
    }
}

#[test]
fn a_counter_is_of_what_is_counted_apart() {
    let each = |account, partner, product| Each { account, partner, product };
    for (each, name) in [
        (each(false, false, false), "sandbox/MXN/l/day/2026-11-23///"),
        (each(true, false, false), "sandbox/MXN/l/day/2026-11-23///sub-1"),
        (each(false, true, false), "sandbox/MXN/l/day/2026-11-23/demo-ott//"),
        (each(false, false, true), "sandbox/MXN/l/day/2026-11-23//ott-basic/"),
        (each(true, true, true), "sandbox/MXN/l/day/2026-11-23/demo-ott/ott-basic/sub-1"),
    ] {
        let limits = vec![SpendLimit { each, day_max_minor: Some(5000), ..limit("l") }];
        let mut unit = intent("10", "2026-11-23T12:00:00Z");
        assert_eq!(apply(&mut unit, &csp("UTC", limits)), Ok(()));
        assert_eq!(counters(&unit), [(name.to_owned(), 1000, Some(5000))], "{each}");
    }
}

#[test]
fn a_limit_is_for_its_partners_and_products_only() {
    let partners = |id: &str| Some(BTreeSet::from([PartnerId::new(id)]));
    let products = |id: &str| Some(BTreeSet::from([ProductId::new(id)]));
    for (partners, products, counts) in [
        (None, None, true),
        (partners("demo-ott"), None, true),
        (partners("other-ott"), None, false),
        (None, products("ott-basic"), true),
        (None, products("ott-plus"), false),
        (partners("demo-ott"), products("ott-plus"), false),
    ] {
        let limits = vec![SpendLimit {
            partners,
            products,
            transaction_max_minor: Some(999),
            day_max_minor: Some(5000),
            ..limit("l")
        }];
        let mut unit = intent("10", "2026-11-23T12:00:00Z");
        let over = apply(&mut unit, &csp("UTC", limits)).err();
        assert_eq!(over.map(|over| over.reason()), counts.then_some("Over spending transaction limit"));
        assert!(unit.counters.is_empty() && unit.transaction.counted.is_empty());
    }
}

#[test]
fn one_charge_may_be_as_much_as_its_limit_and_no_more() {
    for (amount, over) in [("9.99", false), ("10", false), ("10.01", true)] {
        let limits = vec![limit("none"), SpendLimit { transaction_max_minor: Some(1000), ..limit("one") }];
        let mut unit = intent(amount, "2026-11-23T12:00:00Z");
        let expected = if over { Err(Over { limit: LimitId::new("one"), period: None }) } else { Ok(()) };
        assert_eq!(apply(&mut unit, &csp("UTC", limits)), expected, "{amount}");
    }
}

#[test]
fn a_counter_takes_up_to_its_ceiling_and_no_more() {
    for (used_minor, by_minor, ceiling_minor, has_room) in [
        (0, 1000, Some(1000), true),
        (0, 1001, Some(1000), false),
        (600, 400, Some(1000), true),
        (600, 401, Some(1000), false),
        (i64::MAX, 1, Some(i64::MAX), false),
        // What is given back fits, even where a ceiling was lowered meanwhile.
        (5000, -400, None, true),
    ] {
        let mut unit = intent("10", "2026-11-23T12:00:00Z");
        apply(&mut unit, &csp("UTC", vec![SpendLimit { day_max_minor: Some(1), ..limit("l") }])).expect("it fits");
        let change = CounterChange { by_minor, ceiling_minor, ..unit.counters.remove(0) };
        assert_eq!(change.has_room(used_minor), has_room, "{used_minor} {by_minor}");
    }
}

#[test]
fn what_is_open_or_booked_counts_and_a_refund_gives_back_once_it_is_booked() {
    use State::{Failure, Pending, Released, Success, Unknown};
    for (kind, previous, next, by_minor) in [
        (Kind::Charge, None, Pending, 1000),
        (Kind::Charge, None, Failure, 0),
        (Kind::Charge, Some(Pending), Unknown, 0),
        (Kind::Charge, Some(Pending), Success, 0),
        (Kind::Charge, Some(Pending), Failure, -1000),
        (Kind::Charge, Some(Pending), Released, -1000),
        (Kind::Charge, Some(Unknown), Success, 0),
        (Kind::Charge, Some(Unknown), Failure, -1000),
        (Kind::Charge, Some(Released), Pending, 1000),
        (Kind::Charge, Some(Released), Failure, 0),
        (Kind::Charge, Some(Success), Success, 0),
        (Kind::Refund, None, Pending, 0),
        (Kind::Refund, Some(Pending), Success, -1000),
        (Kind::Refund, Some(Unknown), Success, -1000),
        (Kind::Refund, Some(Pending), Failure, 0),
        (Kind::Refund, Some(Pending), Released, 0),
        (Kind::Refund, Some(Released), Pending, 0),
    ] {
        let record = match kind {
            Kind::Charge => samples::charge("c1", "10"),
            Kind::Refund => samples::refund("r1", "c1", "-10"),
        };
        assert_eq!(change_minor(&record, previous, next), by_minor, "{kind:?} {previous:?} to {next:?}");
    }
}

#[test]
fn a_refund_gives_back_to_the_counters_of_its_charge() {
    let limits = vec![SpendLimit { day_max_minor: Some(5000), month_max_minor: Some(9000), ..limit("purchase") }];
    let mut charge = intent("10", "2026-11-30T23:59:59Z");
    apply(&mut charge, &csp("UTC", limits.clone())).expect("it fits");
    let mut refund = samples::refund("r1", "c1", "-4");
    refund.accepted_at = "2027-02-01T00:00:00Z".parse().expect("a time");
    refund.counted.clone_from(&charge.transaction.counted);
    let held: Vec<_> = charge.counters.iter().map(|change| change.counter.clone()).collect();
    let given = given_back(&refund, State::Success);
    assert_eq!(given.iter().map(|change| change.counter.clone()).collect::<Vec<_>>(), held);
    assert!(given.iter().all(|change| change.by_minor == -400 && change.ceiling_minor.is_none()));
    let mut unit = UnitOfWork::of(refund, crate::domain::transaction::Expected::Absent);
    assert_eq!(apply(&mut unit, &csp("UTC", limits)), Ok(()), "and is held against nothing itself");
    assert!(unit.counters.is_empty());
}

#[test]
fn what_a_record_is_counted_on_is_read_as_it_was_written_and_nothing_else_is() {
    let limits = vec![
        SpendLimit { day_max_minor: Some(5000), month_max_minor: Some(9000), ..limit("a-1") },
        SpendLimit { each: Each::default(), month_max_minor: Some(9000), ..limit("b_2") },
    ];
    let mut unit = intent("10", "2026-02-28T12:00:00Z");
    apply(&mut unit, &csp("UTC", limits)).expect("it fits");
    let text = to_text(&unit.transaction.counted).expect("it is counted");
    assert_eq!(text, "a-1/day/2026-02-28/address a-1/month/2026-02/address b_2/month/2026-02/");
    assert_eq!(from_text(&text), Some(unit.transaction.counted));
    assert_eq!(to_text(&[]), None);
    for text in [
        "",
        "a",
        "a/day/2026-02-30/",
        "a/month/2026-02-01/",
        "a/year/2026/",
        "a/day/2026-02-01/phone",
        "/day/2026-02-01/",
        "a/day/2026-02-01//",
    ] {
        assert_eq!(from_text(text), None, "{text:?}");
    }
}

#[test]
fn the_first_counter_without_room_names_the_limit() {
    let limits = vec![SpendLimit { day_max_minor: Some(5000), month_max_minor: Some(9000), ..limit("purchase") }];
    let mut unit = intent("10", "2026-11-23T12:00:00Z");
    apply(&mut unit, &csp("UTC", limits)).expect("it fits");
    for (place, reason) in [(0, Some("Over spending daily limit")), (1, Some("Over spending monthly limit")), (2, None)]
    {
        let over = reached(&unit.transaction, place);
        assert_eq!(over.as_ref().map(Over::reason), reason);
        assert!(over.is_none_or(|over| is_reason(over.reason())));
    }
}
