//! What the sandbox's bill promises beyond the contract of its port: it outlives its process, counts in whole units of
//! its currency and in days of its place, and is not taken for something else.
//!
//! Invariant: a file is opened through the public interface; damage is done to it from outside.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use onbill::adapters::clock::ManualClock;
use onbill::adapters::csp::sandbox::BillError;
use onbill::domain::money::Money;
use onbill::ports::csp::CspError;

use super::csp::{HALF_A_DAY, Rig, assert_booked, assert_refused, currency, noon, number, open};

fn place() -> (Arc<tempfile::TempDir>, Arc<ManualClock>, PathBuf) {
    let folder = Arc::new(tempfile::tempdir().expect("a folder"));
    let file = folder.path().join("bill");
    (folder, Arc::new(ManualClock::new(noon())), file)
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_is_there_for_the_next_process_even_if_this_one_never_closes() {
    let (folder, clock, file) = place();
    let before = Rig::of(open(&file, &clock, "MXN", TimeZone::UTC).expect("a sandbox"), &clock, &folder);
    assert_booked(before.charge("06", 1, 5000).await, 1, 5000);
    before.back.reset(&number("06")).await.expect("reset");
    assert_booked(before.charge("06", 2, 15_000).await, 2, 15_000);
    assert_booked(before.refund("06", 3, 2, 1000).await, 3, 1000);
    assert_refused(before.charge("06", 4, 6001).await, "insufficient-funds");

    let after = Rig::of(open(&file, &clock, "MXN", TimeZone::UTC).expect("opened again"), &clock, &folder);
    assert_eq!(after.bill("06").await, before.bill("06").await);
    assert_eq!(after.amounts("06").await, (vec![15_000, -1000], 14_000));
    assert_booked(after.charge("06", 1, 5000).await, 1, 5000);
    assert_refused(after.charge("06", 4, 6001).await, "insufficient-funds");
    assert_refused(after.refund("06", 5, 2, 14_001).await, "refund-exceeds-charge");
    assert_refused(after.charge("06", 6, 6001).await, "insufficient-funds");
    assert_booked(after.charge("06", 7, 6000).await, 7, 6000);
}

#[tokio::test(start_paused = true)]
async fn limits_are_whole_units_of_whatever_currency() {
    for (code, balance_minor, daily_minor) in [("JPY", 200, 1000), ("KWD", 200_000, 1_000_000)] {
        let (folder, clock, file) = place();
        let rig = Rig::of(open(&file, &clock, code, TimeZone::UTC).expect("a sandbox"), &clock, &folder);
        for (condition, max) in [("06", balance_minor), ("07", daily_minor)] {
            let count = u128::from(condition == "07");
            let over = rig.charge_money(condition, count, Money::new(max + 1, currency(code))).await;
            assert!(matches!(over, Err(CspError::Refused { .. })), "{code} {condition}: {over:?}");
            let all = rig.charge_money(condition, count + 10, Money::new(max, currency(code))).await;
            assert!(all.is_ok(), "{code} {condition}: {all:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_begins_where_the_operator_is() {
    let (folder, clock, file) = place();
    let six_hours_behind = TimeZone::fixed(jiff::tz::offset(-6));
    let rig = Rig::of(open(&file, &clock, "MXN", six_hours_behind).expect("a sandbox"), &clock, &folder);
    assert_booked(rig.charge("07", 1, 100_000).await, 1, 100_000);
    clock.pass(HALF_A_DAY);
    assert_refused(rig.charge("07", 2, 1).await, "daily-limit");
    clock.pass(Duration::from_hours(6));
    assert_booked(rig.charge("07", 3, 100_000).await, 3, 100_000);
}

#[test]
fn a_file_that_is_not_this_bill_is_refused() {
    let (_folder, clock, file) = place();
    drop(open(&file, &clock, "MXN", TimeZone::UTC).expect("a sandbox"));
    let in_yen = open(&file, &clock, "JPY", TimeZone::UTC).err();
    assert!(matches!(in_yen, Some(BillError::OtherCurrency { .. })), "{in_yen:?}");

    let database = rusqlite::Connection::open(&file).expect("a database");
    database.pragma_update(None, "user_version", 99).expect("written");
    let newer = open(&file, &clock, "MXN", TimeZone::UTC).err();
    assert!(matches!(newer, Some(BillError::Newer(99))), "{newer:?}");
    database.pragma_update(None, "application_id", 1).expect("written");
    let foreign = open(&file, &clock, "MXN", TimeZone::UTC).err();
    assert!(matches!(foreign, Some(BillError::NotABill(_))), "{foreign:?}");

    let garbage = file.with_file_name("garbage");
    std::fs::write(&garbage, vec![7; 4096]).expect("a file");
    assert!(matches!(open(&garbage, &clock, "MXN", TimeZone::UTC).err(), Some(BillError::File(_))));
}
