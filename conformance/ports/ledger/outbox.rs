//! Claims about the outbox: who may send what, when, and how that ends.

use std::sync::Arc;

use onbill::domain::Time;
use onbill::domain::event::EventId;
use onbill::domain::ids::PartnerId;
use onbill::domain::transaction::Kind;
use onbill::ports::outbox::{Claim, Claimed, Ending, Resend};

use super::Subject;
use super::samples::{self, PARTNER, Sample, after_s, sample};

fn asked(now: Time, until: Time, rows_max: u32) -> Claim {
    Claim { partner: PartnerId::new(PARTNER), now, until, rows_max }
}

async fn claim(subject: &Subject, now_s: i64, until_s: i64, rows_max: u32) -> Vec<Claimed> {
    let asked = asked(after_s(now_s), after_s(until_s), rows_max);
    subject.outbox.claim(&asked).await.expect("the ledger answers")
}

fn ids(claimed: &[Claimed]) -> Vec<&str> {
    claimed.iter().map(|claimed| claimed.transaction.key.ext_transaction_id.as_str()).collect()
}

async fn end(subject: &Subject, claimed: &Claimed, ending: Ending) -> bool {
    subject.outbox.end(&claimed.event.id, claimed.attempts, ending).await.expect("the ledger answers")
}

async fn resend(subject: &Subject, which: Resend, now_s: i64) -> u64 {
    subject.outbox.resend(&which, after_s(now_s)).await.expect("the ledger answers")
}

async fn dead(subject: &Subject, partner: Option<&str>) -> Vec<(String, u32, String)> {
    let partner = partner.map(PartnerId::new);
    let letters = subject.outbox.dead(partner.as_ref(), 100).await.expect("the ledger answers");
    letters
        .into_iter()
        .map(|letter| (letter.event.key.ext_transaction_id.as_str().to_owned(), letter.attempts, letter.note))
        .collect()
}

fn dead_of(note: &str) -> Ending {
    Ending::Dead { note: note.to_owned() }
}

pub async fn an_event_is_due_with_its_outcome_and_tells_of_its_transaction(subject: Subject) {
    let pending = subject.done(samples::charge("c1", "10")).await;
    assert!(claim(&subject, 100, 120, 9).await.is_empty(), "nothing is final");
    let record = subject.done(samples::booked(&pending)).await;
    assert!(claim(&subject, 0, 20, 9).await.is_empty(), "before its time");
    let claimed = claim(&subject, 1, 21, 9).await;
    let [one] = claimed.as_slice() else { panic!("{claimed:?}") };
    assert_eq!((&one.transaction, one.attempts), (&record, 1));
    assert_eq!(one.event.id, samples::event_id(&record.key));
    assert_eq!((one.event.at, &one.event.key), (after_s(1), &record.key));
}

pub async fn a_claim_keeps_others_away_until_it_runs_out(subject: Subject) {
    subject.success("c1", "10").await;
    let first = claim(&subject, 1, 21, 9).await;
    assert_eq!(ids(&first), ["c1"]);
    assert!(claim(&subject, 20, 40, 9).await.is_empty());
    let second = claim(&subject, 21, 41, 9).await;
    assert_eq!(second[0].attempts, 2);
    assert!(!end(&subject, &first[0], Ending::Delivered).await, "the first claim has run out");
    assert!(end(&subject, &second[0], Ending::Delivered).await);
    assert!(!end(&subject, &second[0], dead_of("late")).await, "an end is final");
    assert!(claim(&subject, 9_999, 10_000, 9).await.is_empty());
}

pub async fn of_many_claims_each_event_is_in_exactly_one(subject: Subject) {
    for index in 0..20 {
        subject.success(&format!("c{index}"), "10").await;
    }
    let subject = Arc::new(subject);
    let claims: Vec<_> = (0..10)
        .map(|_| {
            let subject = Arc::clone(&subject);
            tokio::spawn(async move { claim(&subject, 1, 21, 5).await })
        })
        .collect();
    let mut seen = Vec::new();
    for claimed in claims {
        let claimed = claimed.await.expect("a claim");
        assert!(claimed.len() <= 5);
        seen.extend(claimed.into_iter().map(|claimed| claimed.event.id.as_str().to_owned()));
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), count), (20, 20), "each once");
}

pub async fn what_failed_is_due_again_at_its_time_and_longest_due_comes_first(subject: Subject) {
    for id in ["c1", "c2", "c3"] {
        subject.success(id, "10").await;
    }
    let claimed = claim(&subject, 1, 21, 9).await;
    for (claimed, second) in claimed.iter().zip([50, 30, 40]) {
        let note = "answered 500".to_owned();
        assert!(end(&subject, claimed, Ending::Again { at: after_s(second), note }).await);
    }
    assert!(claim(&subject, 29, 49, 9).await.is_empty());
    assert_eq!(ids(&claim(&subject, 45, 65, 1).await), ["c2"]);
    assert_eq!(ids(&claim(&subject, 60, 80, 9).await), ["c3", "c1"]);
}

pub async fn a_refund_is_not_told_before_its_charge(subject: Subject) {
    let charge = subject.success("c1", "10").await;
    let refund = subject.done(samples::refund("r1", &charge, "-4")).await;
    subject.done(samples::booked(&refund)).await;
    let same_id = subject.done(Sample { reference_id: None, ..sample("c1", "-3") }.refund(&charge)).await;
    subject.done(samples::booked(&same_id)).await;
    let first = claim(&subject, 1, 21, 9).await;
    assert_eq!(ids(&first), ["c1"]);
    assert_eq!(first[0].event.key.kind, Kind::Charge);
    let again = Ending::Again { at: after_s(6), note: "answered 500".to_owned() };
    assert!(end(&subject, &first[0], again).await);
    assert!(claim(&subject, 5, 25, 9).await.is_empty(), "the charge is not told yet");
    let second = claim(&subject, 6, 26, 9).await;
    assert!(end(&subject, &second[0], dead_of("given up")).await);
    assert_eq!(ids(&claim(&subject, 7, 27, 9).await), ["r1", "c1"], "both refunds, now that the charge is over");
}

pub async fn partners_have_outboxes_of_their_own(subject: Subject) {
    for partner in [PARTNER, "other-ott"] {
        let pending = subject.done(Sample { partner, ..sample("c1", "10") }.charge()).await;
        subject.done(samples::booked(&pending)).await;
    }
    let claimed = claim(&subject, 1, 21, 9).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].event.partner().as_str(), PARTNER);
}

pub async fn dead_letters_are_listed_and_sent_again(subject: Subject) {
    for id in ["c1", "c2", "c3"] {
        subject.success(id, "10").await;
    }
    for claimed in claim(&subject, 1, 21, 9).await {
        let ending = if ids(std::slice::from_ref(&claimed)) == ["c3"] { Ending::Delivered } else { dead_of("no") };
        assert!(end(&subject, &claimed, ending).await);
    }
    let two = [("c2".to_owned(), 1, "no".to_owned()), ("c1".to_owned(), 1, "no".to_owned())];
    assert_eq!(dead(&subject, Some(PARTNER)).await, two);
    assert_eq!(dead(&subject, None).await, two);
    assert!(dead(&subject, Some("other-ott")).await.is_empty());
    assert!(claim(&subject, 9_999, 10_000, 9).await.is_empty());

    let me = || PartnerId::new(PARTNER);
    let event = |id: &str| samples::event_id(&samples::key(Kind::Charge, id));
    assert_eq!(resend(&subject, Resend::One(PartnerId::new("other-ott"), event("c1")), 100).await, 0, "not theirs");
    assert_eq!(resend(&subject, Resend::One(me(), EventId::from_bits(1)), 100).await, 0, "no such event");
    assert_eq!(resend(&subject, Resend::One(me(), event("c3")), 100).await, 1, "delivered once more");
    let claimed = claim(&subject, 100, 120, 9).await;
    assert_eq!((ids(&claimed), claimed[0].attempts), (vec!["c3"], 1), "as if never tried");
    assert_eq!(resend(&subject, Resend::One(me(), event("c3")), 100).await, 0, "it is on its way");
    assert_eq!(resend(&subject, Resend::DeadOf(me()), 110).await, 2);
    assert_eq!(resend(&subject, Resend::DeadOf(me()), 110).await, 0);
    assert!(dead(&subject, None).await.is_empty());
    assert_eq!(ids(&claim(&subject, 110, 130, 9).await), ["c1", "c2"]);
}

pub async fn what_nobody_waits_for_is_never_claimed(subject: Subject) {
    let pending = subject.done(samples::charge("c1", "10")).await;
    let mut unit = samples::booked(&pending);
    if let Some(event) = &mut unit.event {
        event.delivery = onbill::domain::event::Delivery::Skipped;
    }
    subject.done(unit).await;
    assert!(claim(&subject, 9_999, 10_000, 9).await.is_empty());
    assert_eq!(resend(&subject, Resend::DeadOf(PartnerId::new(PARTNER)), 100).await, 0);
}
