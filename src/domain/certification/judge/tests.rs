//! One row a rule: calls in short, and what they make of a case.

use super::*;
use crate::domain::Time;
use crate::domain::certification::Face;

/// A call in short: `A validate 404 account-not-found`, where `A` is the account.
fn call(at_s: i64, account: u8, rpc: Rpc, status: u16, code: &str) -> Call {
    Call {
        at: Time::from_second(at_s).expect("a time"),
        rpc,
        face: Face::Json,
        correlation: "c".to_owned(),
        address: "****01".to_owned(),
        account: Some([account; 16]),
        told_account: None,
        condition: None,
        transaction: None,
        subject: None,
        finals: Vec::new(),
        request: [0; 16],
        purchase: None,
        facts: Vec::new(),
        status,
        code: code.to_owned(),
        violations: Vec::new(),
        outcome: String::new(),
    }
}

/// A charge (or with `-` a refund) under an id.
fn charge(at_s: i64, account: u8, id: u8, amount: i8, status: u16, outcome: &str) -> Call {
    let (sign, kind) = if amount < 0 { (Fact::AmountNegative, 100) } else { (Fact::AmountPositive, 0) };
    let subject = [id.saturating_add(kind); 16];
    Call {
        transaction: Some([id; 16]),
        subject: Some(subject),
        finals: if matches!(outcome, "Success" | "Failure") { vec![subject] } else { Vec::new() },
        request: [id, amount.unsigned_abs(), u8::from(amount < 0), account, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        purchase: Some([amount.unsigned_abs(); 16]),
        facts: vec![sign],
        outcome: outcome.to_owned(),
        ..call(at_s, account, Rpc::CreateTransaction, status, "")
    }
}

fn recogniser(call: Rpc, status: u16, code: &str, then: Behaviour, next: &[Rpc]) -> Recogniser {
    Recogniser {
        case: 1,
        title: "A case".to_owned(),
        category: "A group".to_owned(),
        expected: "This.".to_owned(),
        hint: "Do this.".to_owned(),
        call,
        facts: Vec::new(),
        facts_not: Vec::new(),
        condition: None,
        condition_not: None,
        status,
        code: code.to_owned(),
        violation: None,
        outcome: None,
        before: Vec::new(),
        then,
        next: next.to_vec(),
        within_s: 600,
        pin_ttl_s: 300,
    }
}

fn check(name: &str, recogniser: &Recogniser, calls: &[Call], verdict: Verdict, evidence: &[usize]) {
    let judged = judge(recogniser, calls);
    assert_eq!((judged.verdict, judged.evidence.as_slice()), (verdict, evidence), "{name}: {}", judged.note);
    assert_eq!(judged.broken_by.is_some(), verdict == Verdict::Failed, "{name}");
}

#[test]
fn an_ott_that_continues_is_seen_to() {
    use Verdict::{Incomplete, NotSeen, Passed};
    let case = recogniser(Rpc::ValidateAccount, 200, "", Behaviour::Continues, &[Rpc::SendPin]);
    let valid = || call(0, 1, Rpc::ValidateAccount, 200, "");
    for (name, calls, verdict, evidence) in [
        ("nothing", vec![], NotSeen, vec![]),
        ("another answer", vec![call(0, 1, Rpc::ValidateAccount, 404, "account-not-found")], NotSeen, vec![]),
        ("not yet", vec![valid()], Incomplete, vec![0]),
        ("at once", vec![valid(), call(1, 1, Rpc::SendPin, 201, "")], Passed, vec![0, 1]),
        ("another account", vec![valid(), call(1, 2, Rpc::SendPin, 201, "")], Incomplete, vec![0]),
        ("too late", vec![valid(), call(601, 1, Rpc::SendPin, 201, "")], Incomplete, vec![0]),
        ("at the last moment", vec![valid(), call(600, 1, Rpc::SendPin, 201, "")], Passed, vec![0, 1]),
        ("second time", vec![valid(), valid(), call(1, 1, Rpc::SendPin, 201, "")], Passed, vec![0, 2]),
    ] {
        check(name, &case, &calls, verdict, &evidence);
    }
}

#[test]
fn an_ott_that_cannot_continue_is_free_again_after_a_validation_and_not_before() {
    use Verdict::{Failed, Passed};
    let next = [Rpc::SendPin, Rpc::CreateTransaction];
    let case = recogniser(Rpc::ValidateAccount, 404, "account-not-found", Behaviour::CannotContinue, &next);
    let refused = || call(0, 1, Rpc::ValidateAccount, 404, "account-not-found");
    let pin = |account| call(1, account, Rpc::SendPin, 201, "");
    let valid = || call(1, 1, Rpc::ValidateAccount, 200, "");
    for (name, calls, verdict, evidence) in [
        ("stops", vec![refused()], Passed, vec![0]),
        ("goes on", vec![refused(), pin(1)], Failed, vec![0, 1]),
        ("goes on for another", vec![refused(), pin(2)], Passed, vec![0]),
        ("goes on later", vec![refused(), pin(2), pin(1)], Failed, vec![0, 2]),
        ("asks again", vec![refused(), refused()], Passed, vec![0]),
        ("is valid by now", vec![refused(), valid(), pin(1)], Passed, vec![0]),
        ("broken once is broken", vec![refused(), pin(1), valid(), refused()], Failed, vec![0, 1]),
        ("charges", vec![refused(), charge(1, 1, 1, 5, 404, "")], Failed, vec![0, 1]),
        ("gives back", vec![refused(), charge(1, 1, 1, -5, 200, "Success")], Passed, vec![0]),
        (
            "asks again for what was charged before",
            vec![charge(0, 1, 1, 5, 200, "Success"), refused(), charge(1, 1, 1, 5, 200, "Success")],
            Passed,
            vec![1],
        ),
    ] {
        check(name, &case, &calls, verdict, &evidence);
    }
}

#[test]
fn a_repeat_is_the_same_request_and_a_doubt_is_no_reason_for_a_new_id() {
    use Verdict::{Failed, NotSeen, Passed};
    let case = Recogniser {
        facts: vec![Fact::AmountPositive],
        outcome: Some("Success".to_owned()),
        before: vec![Before::SameRequest],
        ..recogniser(Rpc::CreateTransaction, 200, "", Behaviour::SameRequestAgain, &[])
    };
    let booked = |id, amount| charge(0, 1, id, amount, 200, "Success");
    let pending = || charge(0, 1, 1, 5, 200, "Pending");
    let away = || charge(0, 1, 1, 5, 503, "");
    let mut used = charge(0, 1, 1, 6, 400, "");
    used.violations = vec!["violation-on-extTransactionId".to_owned()];
    let mut looked = call(0, 1, Rpc::GetTransaction, 200, "");
    (looked.transaction, looked.outcome) = (Some([1; 16]), "Failure".to_owned());
    (looked.subject, looked.finals) = (Some([1; 16]), vec![[1; 16]]);
    let listed = |finals: &[u8]| Call {
        finals: finals.iter().map(|id| [*id; 16]).collect(),
        ..call(0, 1, Rpc::ListTransactions, 200, "")
    };
    let elsewhere = || Call { account: Some([2; 16]), ..booked(2, 5) };
    for (name, calls, verdict, evidence) in [
        ("once", vec![booked(1, 5)], NotSeen, vec![]),
        ("twice", vec![booked(1, 5), booked(1, 5)], Passed, vec![0, 1]),
        ("two purchases", vec![booked(1, 5), booked(2, 5)], NotSeen, vec![]),
        ("away, then booked", vec![away(), booked(1, 5)], Passed, vec![0, 1]),
        ("a new id after 503", vec![away(), booked(2, 5)], Failed, vec![0, 1]),
        ("a new id while pending", vec![pending(), booked(2, 5)], Failed, vec![0, 1]),
        ("another amount while pending", vec![pending(), booked(2, 6)], NotSeen, vec![]),
        ("a new id after a failure", vec![pending(), looked, booked(2, 5)], NotSeen, vec![]),
        ("a new id after a list", vec![pending(), listed(&[7, 1]), booked(2, 5)], NotSeen, vec![]),
        ("a list without it", vec![pending(), listed(&[7]), booked(2, 5)], Failed, vec![0, 2]),
        ("a list with a refund of its id", vec![pending(), listed(&[101]), booked(2, 5)], Failed, vec![0, 2]),
        ("somebody else buys the same", vec![pending(), elsewhere()], NotSeen, vec![]),
        ("another request under the id", vec![booked(1, 5), used], Failed, vec![0, 1]),
    ] {
        check(name, &case, &calls, verdict, &evidence);
    }
}

#[test]
fn a_failed_refund_is_no_reason_to_charge() {
    use Verdict::{Failed, Passed};
    let case = recogniser(Rpc::CreateTransaction, 404, "invalid-charge-refund", Behaviour::NoNewCharge, &[]);
    let refused = || Call { code: "invalid-charge-refund".to_owned(), ..charge(0, 1, 9, -5, 404, "") };
    let valid = || call(1, 1, Rpc::ValidateAccount, 200, "");
    for (name, calls, verdict, evidence) in [
        ("stops", vec![refused()], Passed, vec![0]),
        ("charges", vec![refused(), charge(1, 1, 2, 5, 200, "Success")], Failed, vec![0, 1]),
        ("charges somebody else", vec![refused(), charge(1, 2, 2, 5, 200, "Success")], Passed, vec![0]),
        ("a new purchase", vec![refused(), valid(), charge(1, 1, 2, 5, 200, "Success")], Passed, vec![0]),
        ("charges under its id", vec![refused(), valid(), charge(1, 1, 9, 5, 200, "Success")], Failed, vec![0, 2]),
    ] {
        check(name, &case, &calls, verdict, &evidence);
    }
}

#[test]
fn a_pin_is_wrong_or_late_and_right_at_the_first_or_second_try() {
    use Verdict::{NotSeen, Passed};
    let invalid = |before| Recogniser {
        before: vec![before],
        ..recogniser(Rpc::ValidatePin, 400, "invalid-pin", Behaviour::Nothing, &[])
    };
    let right =
        |before| Recogniser { before: vec![before], ..recogniser(Rpc::ValidatePin, 201, "", Behaviour::Nothing, &[]) };
    let sent = || call(0, 1, Rpc::SendPin, 201, "");
    let refused =
        |at_s, facts: &[Fact]| Call { facts: facts.to_vec(), ..call(at_s, 1, Rpc::ValidatePin, 400, "invalid-pin") };
    let taken = || call(10, 1, Rpc::ValidatePin, 201, "");
    let own = [Fact::PinAsSent];
    for (name, case, calls, verdict, evidence) in [
        ("another", invalid(Before::AnotherPin), vec![sent(), refused(1, &[])], Passed, vec![1]),
        ("not another", invalid(Before::AnotherPin), vec![sent(), refused(300, &own)], NotSeen, vec![]),
        ("late", invalid(Before::PinExpired), vec![sent(), refused(300, &own)], Passed, vec![1]),
        ("burnt, not late", invalid(Before::PinExpired), vec![sent(), refused(299, &own)], NotSeen, vec![]),
        ("late, but another", invalid(Before::PinExpired), vec![sent(), refused(300, &[])], NotSeen, vec![]),
        ("first try", right(Before::NoWrongPin), vec![sent(), taken()], Passed, vec![1]),
        ("no first try", right(Before::NoWrongPin), vec![sent(), refused(1, &[]), taken()], NotSeen, vec![]),
        ("second try", right(Before::AfterWrongPin), vec![sent(), refused(1, &[]), taken()], Passed, vec![2]),
        ("a new PIN", right(Before::AfterWrongPin), vec![refused(1, &[]), sent(), taken()], NotSeen, vec![]),
    ] {
        check(name, &case, &calls, verdict, &evidence);
    }
}

#[test]
fn an_account_id_is_its_account() {
    let next = [Rpc::CreateTransaction];
    let case = recogniser(Rpc::ValidatePin, 400, "invalid-pin", Behaviour::CannotContinue, &next);
    let told = Call { told_account: Some([77; 16]), ..call(0, 1, Rpc::ValidateAccount, 200, "") };
    let calls = [told, call(1, 1, Rpc::ValidatePin, 400, "invalid-pin"), charge(2, 77, 1, 5, 200, "Success")];
    check("by id", &case, &calls, Verdict::Failed, &[1, 2]);
}

#[test]
fn a_refused_purchase_is_not_posted_after_all_without_a_validation() {
    use Verdict::{Failed, Passed};
    let case = recogniser(Rpc::CreateTransaction, 400, "invalid-partner-product", Behaviour::PurchaseFails, &[]);
    let refused = || Call { code: "invalid-partner-product".to_owned(), ..charge(0, 1, 3, 5, 400, "") };
    let booked = |account, id, amount| charge(1, account, id, amount, 200, "Success");
    let valid = |account| call(1, account, Rpc::ValidateAccount, 200, "");
    for (name, calls, verdict, evidence) in [
        ("stops", vec![refused()], Passed, vec![0]),
        ("its id", vec![refused(), booked(1, 3, 6)], Failed, vec![0, 1]),
        ("a new id", vec![refused(), booked(1, 4, 5)], Failed, vec![0, 1]),
        ("a new id, pending", vec![refused(), charge(1, 1, 4, 5, 200, "Pending")], Failed, vec![0, 1]),
        ("refused again", vec![refused(), charge(1, 1, 4, 5, 400, "")], Passed, vec![0]),
        ("somebody else", vec![refused(), booked(2, 4, 5)], Passed, vec![0]),
        ("its id for somebody else", vec![refused(), booked(2, 3, 5)], Failed, vec![0, 1]),
        ("a new purchase", vec![refused(), valid(1), booked(1, 4, 5)], Passed, vec![0]),
        ("a new purchase of the same order", vec![refused(), valid(1), booked(1, 3, 5)], Passed, vec![0]),
        ("another is validated", vec![refused(), valid(2), booked(1, 3, 5)], Failed, vec![0, 2]),
        ("an older charge again", vec![booked(1, 8, 5), refused(), booked(1, 8, 5)], Passed, vec![1]),
        ("the charge itself again", vec![booked(1, 3, 5), refused(), booked(1, 3, 5)], Passed, vec![1]),
    ] {
        check(name, &case, &calls, verdict, &evidence);
    }
}

#[test]
fn an_account_id_of_nobody_is_meant_for_whoever_was_validated_last_if_that_is_plain() {
    use Verdict::{Failed, Passed};
    let case = recogniser(Rpc::CreateTransaction, 404, "account-not-found", Behaviour::PurchaseFails, &[]);
    let refused = || {
        let known = charge(0, 1, 3, 5, 404, "");
        let facts = vec![Fact::AccountId, Fact::AmountPositive];
        Call { account: None, code: "account-not-found".to_owned(), facts, ..known }
    };
    let booked = |account| charge(1, account, 4, 5, 200, "Success");
    let right = |account| call(0, account, Rpc::ValidatePin, 201, "");
    for (name, calls, verdict, evidence) in [
        ("nobody was", vec![refused(), booked(1)], Passed, vec![0]),
        ("the last", vec![right(1), refused(), booked(1)], Failed, vec![1, 2]),
        ("another", vec![right(1), refused(), booked(2)], Passed, vec![1]),
        ("an earlier one is done", vec![right(2), booked(2), right(1), refused(), booked(1)], Failed, vec![3, 4]),
        ("either of two", vec![right(2), right(1), refused(), booked(1)], Passed, vec![2]),
        ("validated anew", vec![right(1), refused(), right(1), booked(1)], Passed, vec![1]),
    ] {
        check(name, &case, &calls, verdict, &evidence);
    }
}
