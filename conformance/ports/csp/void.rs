//! The contract of `ports::csp` where a reference is made void.
//!
//! Invariant: as in the suite that this is part of: by the port, and checked on the bill.

use onbill::domain::transaction::settle::Receipt;
use onbill::ports::csp::{Inquiry, Voiding};

use super::{Rig, assert_booked, assert_refused, reference};

pub(super) async fn a_void_reference_is_never_booked_and_a_decided_one_stays(rig: Rig) {
    let void = async |count| rig.csp.void(&reference(count), &rig.call()).await;
    for _ in 0..2 {
        let voided = void(1).await;
        assert!(matches!(voided, Ok(Voiding::Void)), "{voided:?}");
    }
    assert_refused(rig.charge("01", 1, 999).await, "reference-void");
    assert_refused(rig.refund("01", 1, 2, 999).await, "reference-void");
    let inquired = rig.csp.inquire(&reference(1), &rig.call()).await;
    assert!(matches!(inquired, Ok(Inquiry::NotKnown)), "{inquired:?}");
    assert_booked(rig.charge("01", 2, 999).await, 2, 999);
    assert_booked(rig.refund("01", 3, 2, 400).await, 3, 400);
    assert_refused(rig.refund("01", 4, 2, 999).await, "refund-exceeds-charge");
    for (count, minor) in [(2, 999), (3, 400)] {
        let voided = void(count).await;
        let booked = |receipt: &Receipt| receipt.money.minor == minor && receipt.reference == reference(count);
        assert!(matches!(&voided, Ok(Voiding::Booked(receipt)) if booked(receipt)), "{voided:?}");
    }
    let voided = void(4).await;
    assert!(matches!(&voided, Ok(Voiding::Refused { code }) if code == "refund-exceeds-charge"), "{voided:?}");
    assert_eq!(rig.amounts("01").await, (vec![999, -400], 599), "a void takes nothing back");
}
