//! That the checker bites: the gateway is broken on purpose, and each time a seed is found that shows it.
//!
//! Invariant: each break is found within a bounded number of seeds, by what the checker says of it and not by a panic.

use super::mutation::Mutation;
use super::seeds::{report, search};

/// Seeds within which each must be found.
const SEEDS_MAX: u64 = 1_500;

/// Breaks the gateway and looks for a seed that shows it in these words.
fn assert_found(mutation: Mutation, words: &[&str]) {
    let run = search(0, SEEDS_MAX, mutation).unwrap_or_else(|| panic!("{mutation:?} is not found"));
    let said = report(&run).expect("a run that failed");
    let known = run.findings.iter().any(|finding| words.iter().any(|word| finding.text.contains(word)));
    assert!(known, "{mutation:?} is found by something else than {words:?}: {said}");
}

#[test]
fn the_plain_ledger_is_sound_until_it_is_broken() {
    assert_eq!(search(0, 300, Mutation::PlainLedger).as_ref().and_then(report), None);
}

#[test]
fn a_ledger_that_ignores_what_is_expected_is_found() {
    assert_found(Mutation::ExpectedIgnored, &["times", "went to", "events"]);
}

#[test]
fn a_ledger_that_ignores_shares_is_found() {
    assert_found(Mutation::HoldsIgnored, &["is refunded by", "says refunds"]);
}

#[test]
fn a_ledger_that_ignores_ceilings_is_found() {
    assert_found(Mutation::CeilingsIgnored, &["more than it may"]);
}

#[test]
fn a_ledger_that_gives_nothing_back_is_found() {
    assert_found(Mutation::NothingGivenBack, &["records add up to", "there was room for it"]);
}

#[test]
fn lost_postings_are_found() {
    assert_found(Mutation::PostingsLost, &["postings"]);
}

#[test]
fn a_ledger_that_answers_before_it_is_durable_is_found() {
    assert_found(Mutation::AcknowledgedTooSoon, &["not in the ledger", "was answered", "times", "went to"]);
}

#[test]
fn an_event_kept_twice_is_found() {
    assert_found(Mutation::EventTwice, &["has 2 events"]);
}

#[test]
fn a_lost_event_is_found() {
    assert_found(Mutation::EventLost, &["has 0 events"]);
}

#[test]
fn a_reference_of_each_attempt_is_found() {
    assert_found(Mutation::ReferencePerAttempt, &["its reference is another"]);
}

#[test]
fn taking_not_known_for_never_is_found() {
    assert_found(Mutation::NotKnownIsNever, &["is booked and Failure", "while it was booked"]);
}

#[test]
fn a_void_that_is_not_kept_is_found() {
    assert_found(Mutation::VoidIsForgotten, &["is booked and Failure", "while it was booked"]);
}

#[test]
fn sending_again_after_no_answer_is_found() {
    assert_found(Mutation::UnknownIsNotApplied, &["times", "is booked and Released"]);
}

#[test]
fn receipts_that_are_believed_are_found() {
    assert_found(Mutation::ReceiptsBelieved, &["has a wrong receipt"]);
}

#[test]
fn a_replay_that_differs_is_found() {
    assert_found(Mutation::ReplayDiffers, &["was answered"]);
}

#[test]
fn two_flights_and_a_ledger_without_uniqueness_are_found() {
    assert_found(Mutation::NoUniqueness, &["times", "is booked and Failure", "is booked with"]);
}

#[test]
fn taking_no_answer_for_a_refusal_is_found() {
    assert_found(Mutation::LostIsRefused, &["is booked and Failure", "while it was booked"]);
}
