//! The part of the CSP's contract that is about many callers at once.
//!
//! Invariant: callers run on several threads in real time, so that what is claimed does not rest on their order.

use super::{Rig, assert_booked};

pub(super) async fn concurrent_repeats_are_booked_once(rig: Rig) {
    let repeats = (0..200).map(|count: u128| {
        let rig = rig.clone();
        tokio::spawn(async move { rig.charge("01", count % 10, 999).await })
    });
    for repeat in repeats.collect::<Vec<_>>() {
        let booked = repeat.await.expect("no panic").expect("booked");
        assert_eq!(booked.money.minor, 999);
    }
    assert_eq!(rig.amounts("01").await, (vec![999; 10], 9990));
}

pub(super) async fn concurrent_refunds_never_exceed_their_charge(rig: Rig) {
    assert_booked(rig.charge("01", 0, 1000).await, 0, 1000);
    let refunds = (1..=100).map(|count: u128| {
        let rig = rig.clone();
        tokio::spawn(async move { rig.refund("01", count, 0, 30).await.is_ok() })
    });
    let mut booked = 0;
    for refund in refunds.collect::<Vec<_>>() {
        booked += usize::from(refund.await.expect("no panic"));
    }
    assert_eq!(booked, 33);
    assert_eq!(rig.amounts("01").await.1, 10);
}

pub(super) async fn concurrent_charges_never_exceed_a_limit(rig: Rig) {
    let charges = (0..100).map(|count: u128| {
        let rig = rig.clone();
        tokio::spawn(async move { rig.charge("06", count, 3000).await.is_ok() })
    });
    let mut booked = 0;
    for charge in charges.collect::<Vec<_>>() {
        booked += usize::from(charge.await.expect("no panic"));
    }
    assert_eq!(booked, 6);
    assert_eq!(rig.amounts("06").await.1, 18_000);
}
