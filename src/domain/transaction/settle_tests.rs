//! Every answer of a CSP, and what becomes of the record.

use super::*;
use crate::domain::ids::InstanceId;
use crate::domain::transaction::samples;

fn receipt(record: &Transaction) -> Receipt {
    Receipt { reference: record.reference, money: record.money }
}

#[test]
fn each_answer_has_its_state_and_only_final_ones_make_an_event() {
    let record = samples::charge("c1", "10");
    let profile = samples::profile();
    for (heard, state, message, event) in [
        (Heard::Booked(receipt(&record)), State::Success, "Charge success", true),
        (Heard::Refused("daily-limit".into()), State::Failure, "Over spending daily limit", true),
        (Heard::Refused("E-17".into()), State::Failure, "Charge declined", true),
        (Heard::NotApplied("connect refused".into()), State::Released, "Charge pending", false),
        (Heard::Unclear("time-out".into()), State::Unknown, "Charge pending", false),
    ] {
        let unit = by_answer(&record, &heard, &profile, &samples::moment(samples::now()));
        assert_eq!(unit.transaction.state, state, "{heard:?}");
        assert_eq!(unit.transaction.message(), message, "{heard:?}");
        assert_eq!(unit.event.is_some(), event, "{heard:?}");
        assert!(record.state.may_become(state), "{heard:?}");
        assert!(unit.transaction.lease.is_none(), "{heard:?}");
        assert_eq!(unit.expected, Expected::Version(record.version), "{heard:?}");
    }
}

#[test]
fn a_receipt_for_anything_else_is_never_success() {
    let record = samples::charge("c1", "10");
    let mut amount = receipt(&record);
    amount.money.minor += 1;
    let mut currency = receipt(&record);
    currency.money.currency = crate::domain::money::Currency::from_code("USD").expect("a currency");
    let mut reference = receipt(&record);
    reference.reference = Reference::from_bytes([0; 16]);
    for wrong in [amount, currency, reference] {
        let unit = by_answer(&record, &Heard::Booked(wrong), &samples::profile(), &samples::moment(samples::now()));
        assert_eq!(unit.transaction.state, State::Unknown, "{wrong:?}");
        assert!(unit.transaction.stuck.is_some() && unit.event.is_none() && unit.postings.is_empty());
        assert_eq!(unit.transaction.due_at, None, "a person has to look");
        let said = format!("it says {} {} under {}", wrong.money, wrong.money.currency.code(), wrong.reference);
        assert_eq!(unit.transaction.private_note.as_deref(), Some(said.as_str()), "what to ask the CSP about");
    }
}

#[test]
fn postings_sum_to_zero_and_a_refund_turns_them_around() {
    for (record, partner_minor) in [(samples::charge("c1", "10"), 1000), (samples::refund("r1", "c1", "-4.5"), -450)] {
        let heard = Heard::Booked(receipt(&record));
        let unit = by_answer(&record, &heard, &samples::profile(), &samples::moment(samples::now()));
        let sum: i64 = unit.postings.iter().map(|posting| posting.money.minor).sum();
        assert_eq!(sum, 0);
        let partner = BookAccount::Partner(record.key.partner.clone());
        let gained = unit.postings.iter().find(|posting| posting.account == partner).expect("the partner's side");
        assert_eq!(gained.money.minor, partner_minor);
    }
}

#[test]
fn a_refund_keeps_its_share_only_where_it_is_booked_or_still_may_be() {
    let record = samples::refund("r1", "c1", "-4.5");
    for (heard, held_and_done) in [
        (Heard::Booked(receipt(&record)), Some((0, 450))),
        (Heard::Refused("no".into()), Some((-450, 0))),
        (Heard::NotApplied("no".into()), Some((-450, 0))),
        (Heard::Unclear("no".into()), None),
    ] {
        let unit = by_answer(&record, &heard, &samples::profile(), &samples::moment(samples::now()));
        let hold = unit.hold.map(|hold| (hold.held_minor, hold.done_minor));
        assert_eq!(hold, held_and_done, "{heard:?}");
    }
}

#[test]
fn not_known_is_not_never_until_the_csp_has_promised_to_forget() {
    let mut record = samples::charge("c1", "10");
    record.state = State::Unknown;
    record.sent_before = samples::now();
    for (forget_after_s, asked_after_s, state, stuck) in [
        (Some(2), 1, State::Unknown, false),
        (Some(2), 2, State::Failure, false),
        (Some(60), 59, State::Unknown, false),
        (None, 1_000_000, State::Unknown, true),
    ] {
        let mut profile = samples::profile();
        profile.forget_after_s = forget_after_s;
        let moment = samples::moment(samples::after_s(asked_after_s));
        let unit = by_inquiry(&record, &Learnt::NotKnown, &profile, &moment);
        assert_eq!(unit.transaction.state, state, "{forget_after_s:?} {asked_after_s}");
        assert_eq!(unit.transaction.stuck.is_some(), stuck, "{forget_after_s:?} {asked_after_s}");
        if state == State::Failure {
            assert_eq!(unit.transaction.message(), "Charge not confirmed");
        }
    }
}

#[test]
fn a_void_reference_is_never_booked_so_that_not_known_needs_no_more_waiting() {
    let mut record = samples::charge("c1", "10");
    record.state = State::Unknown;
    record.sent_before = samples::now();
    for (void, forget_after_s, asked_after_s, to_be_void) in [
        (Ability::Unable, None, 1, false),
        (Ability::Unable, Some(60), 1, false),
        (Ability::Able, None, 1_000_000, true),
        (Ability::Able, Some(60), 59, true),
        (Ability::Able, Some(60), 60, false),
    ] {
        let mut profile = samples::profile();
        (profile.forget_after_s, profile.capabilities.void) = (forget_after_s, void);
        let asked = is_to_be_void(&record, &profile, samples::after_s(asked_after_s));
        assert_eq!(asked, to_be_void, "{void:?} {forget_after_s:?} {asked_after_s}");
    }
    let mut promises_nothing = samples::profile();
    promises_nothing.forget_after_s = None;
    let unit = by_inquiry(&record, &Learnt::Void, &promises_nothing, &samples::moment(samples::after_s(1)));
    assert_eq!((unit.transaction.state, unit.transaction.message()), (State::Failure, "Charge not confirmed"));
    assert!(unit.event.is_some() && unit.transaction.stuck.is_none());
}

#[test]
fn an_inquiry_is_not_later_than_the_moment_from_which_not_known_means_never() {
    let mut record = samples::charge("c1", "10");
    record.state = State::Unknown;
    record.sent_before = samples::now();
    record.inquiries = 5;
    let unit = by_inquiry(&record, &Learnt::NotKnown, &samples::profile(), &samples::moment(samples::after_s(1)));
    assert_eq!(unit.transaction.due_at, Some(samples::after_s(2)));
}

#[test]
fn asking_goes_on_more_slowly_and_people_are_told_after_a_while() {
    let mut record = samples::charge("c1", "10");
    record.state = State::Unknown;
    let moment = samples::moment(samples::now());
    let mut pauses = Vec::new();
    for _ in 0..25 {
        let unit = by_inquiry(&record, &Learnt::Unclear("5xx".into()), &samples::profile(), &moment);
        let due = unit.transaction.due_at.expect("asked again");
        pauses.push(due.duration_since(moment.now).as_millis());
        record = unit.transaction;
    }
    assert!(pauses.is_sorted(), "{pauses:?}");
    assert_eq!((pauses[0], pauses[24]), (1000, 60_000));
    assert!(record.stuck.is_some());
}

#[test]
fn whoever_takes_a_record_knows_that_its_former_owner_sends_nothing_more() {
    let record = samples::charge("c1", "10");
    let lease = Lease { owner: crate::domain::ids::InstanceId::new("gateway-2"), until: samples::after_s(40) };
    let taken = take(&record, lease, samples::after_s(5)).transaction;
    assert_eq!(taken.sent_before, samples::after_s(5));
    assert_eq!((taken.state, taken.due_at), (State::Pending, Some(samples::after_s(40))));
}

#[test]
fn a_contradiction_of_a_final_outcome_is_noted_and_changes_nothing() {
    let mut record = samples::charge("c1", "10");
    record.state = State::Failure;
    let heard = Heard::Booked(receipt(&record));
    let unit = contradicted(&record, &heard).expect("a contradiction");
    assert_eq!(unit.transaction.state, State::Failure);
    assert!(unit.transaction.stuck.is_some());
    record.state = State::Success;
    assert!(contradicted(&record, &heard).is_none(), "the same word again is none");
}

#[test]
fn what_was_released_after_its_caller_heard_pending_fails_and_holds_nothing() {
    let mut refund = samples::refund("r1", "c1", "-4");
    refund.state = State::Released;
    let unit = promised(&refund, &samples::moment(samples::now()));
    assert_eq!(unit.transaction.state, State::Failure);
    assert_eq!(unit.transaction.failure.as_deref(), Some(outcome::NOT_CONFIRMED));
    assert!(unit.event.is_some() && unit.postings.is_empty() && unit.hold.is_none());
}

#[test]
fn final_states_never_change() {
    use State::{Failure, Pending, Released, Success, Unknown};
    for (from, to) in [
        (Pending, &[Success, Failure, Unknown, Released][..]),
        (Unknown, &[Success, Failure][..]),
        (Released, &[Pending, Failure][..]),
        (Success, &[][..]),
        (Failure, &[][..]),
    ] {
        for next in [Pending, Success, Failure, Unknown, Released] {
            assert_eq!(from.may_become(next), to.contains(&next), "{from:?} to {next:?}");
        }
    }
}

#[test]
fn what_was_never_sent_is_known_by_its_record() {
    let mut intent = UnitOfWork::of(samples::charge("c1", "10"), Expected::Absent);
    assert!(!was_never_sent(&intent.transaction), "unless told otherwise, it may have been sent");
    not_sent_yet(&mut intent);
    assert!(was_never_sent(&intent.transaction));
    let noted = about_to_send(&intent.transaction).transaction;
    assert!(!was_never_sent(&noted));
    let lease = Lease { owner: InstanceId::new("gateway-2"), until: samples::after_s(90) };
    assert!(was_never_sent(&take(&intent.transaction, lease.clone(), samples::after_s(31)).transaction));
    assert!(!was_never_sent(&take(&noted, lease, samples::after_s(31)).transaction));
}

#[test]
fn a_record_whose_csp_is_gone_is_shown_to_people_until_the_csp_is_back() {
    let moment = samples::moment(samples::now());
    let gone = without_csp(&samples::charge("c1", "10"), &moment).transaction;
    assert_eq!((gone.state, gone.inquiries), (State::Unknown, 1));
    assert_eq!(gone.stuck.as_deref(), Some("its CSP is not configured any more"));
    assert!(gone.due_at.is_some_and(|due| due > moment.now), "looked at again");

    let back = by_inquiry(&gone, &Learnt::Booked(receipt(&gone)), &samples::profile(), &moment);
    assert_eq!((back.transaction.state, back.transaction.stuck), (State::Success, None));
}

#[test]
fn only_an_intent_is_noted_as_called_pending_and_only_once() {
    let intent = samples::charge("c1", "10");
    let noted = called_pending(&intent).expect("an intent may be given up");
    assert_eq!(noted.expected, Expected::Version(intent.version));
    let private_note = noted.transaction.private_note.clone();
    assert_eq!(noted.transaction, Transaction { private_note, ..intent.clone() }, "nothing else changes");
    assert!(noted.counters.is_empty() && noted.postings.is_empty() && noted.event.is_none() && noted.hold.is_none());
    assert!(called_pending(&noted.transaction).is_none());
    let lease = intent.lease.clone().expect("an intent is leased");
    let taken = take(&intent, lease, samples::now());
    assert!(called_pending(&taken.transaction).is_none(), "whoever asks for an outcome is not disturbed");
    for state in [State::Unknown, State::Success, State::Failure, State::Released] {
        assert!(called_pending(&Transaction { state, ..intent.clone() }).is_none(), "{state:?}");
    }
}
