//! The contract of `ports::ephemeral`, for every store: PINs, quotas, proofs, flights and rates (contract section 5).
//!
//! Invariant: whatever a store is, concurrent tries never get more than the rules allow, and `now` rules what expires.
//! The rules themselves are tested where they are, in `domain::pin`; here they are tested through a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use onbill::adapters::ephemeral::{Bounds, MemoryEphemeral};
use onbill::domain::Time;
use onbill::domain::address::Msisdn;
use onbill::domain::directory::SendQuota;
use onbill::domain::ids::{ExtTransactionId, InstanceId, PartnerId};
use onbill::domain::pin::{PinDigest, StoredPin, Verdict};
use onbill::domain::rate::SharedRate;
use onbill::domain::transaction::{Kind, TransactionKey};
use onbill::ports::ephemeral::{Ephemeral, Flight, Issued, PinSlot, Ticket};

use super::ephemeral_answers::{a_final_answer_is_given_again_to_the_very_same_request_or_to_nobody, answer, request};
use super::ephemeral_ids::{
    an_id_is_free_again_where_nothing_was_sent_and_after_a_day, of_many_that_take_one_id_at_once_one_texts,
    only_who_has_taken_an_id_says_what_came_of_it, the_id_of_a_notification_is_taken_once_and_for_one_content,
};

/// Stamps the suite onto a store: its name, how a fresh and empty one is made, and whether its time is paused.
macro_rules! suite {
    ($store:ident, $make:path, paused: $paused:tt) => {
        suite!(@claims $store, $make, $paused,
            a_pin_that_was_never_sent_is_wrong,
            the_right_pin_is_right_again_until_it_expires_by_now,
            a_wrong_try_does_not_burn_a_pin_and_the_fifth_one_does,
            a_new_pin_replaces_the_old_one_and_its_tries,
            a_pin_belongs_to_its_partner_and_its_number,
            a_partner_may_send_three_times_in_ten_minutes,
            all_partners_together_may_send_ten_times_in_ten_minutes,
            a_send_over_the_quota_leaves_the_pin_as_it_was,
            each_number_has_the_quota_that_is_handed_in,
            a_proof_is_of_its_slot_and_as_old_as_its_last_right_try,
            a_forgotten_number_is_as_new_for_all_partners,
            one_flight_at_a_time_for_a_key,
            nobody_ends_the_flight_of_somebody_else,
            those_who_wait_for_a_flight_are_woken_when_it_ends,
            nobody_waits_for_a_flight_that_is_not_there,
            waiting_ends_after_its_time_and_leaves_the_flight_alone,
            a_flight_whose_time_is_up_holds_up_nobody,
            a_final_answer_is_given_again_to_the_very_same_request_or_to_nobody,
            the_id_of_a_notification_is_taken_once_and_for_one_content,
            an_id_is_free_again_where_nothing_was_sent_and_after_a_day,
            only_who_has_taken_an_id_says_what_came_of_it,
            a_rate_gives_its_burst_and_what_flows_in_since,
            each_partner_has_a_rate_of_its_own,
            a_store_that_is_there_answers,
            ;
            concurrent_tries_never_get_more_than_five,
            concurrent_sends_never_exceed_the_quota,
            of_many_that_begin_at_once_one_does,
            of_many_that_take_one_id_at_once_one_texts,
            shares_taken_at_once_never_exceed_the_rate,
        );
    };
    (@claims $store:ident, $make:path, $paused:tt, $($claim:ident,)+; $($concurrent:ident,)+) => {
        mod $store {
            $(
                #[tokio::test(start_paused = $paused)]
                async fn $claim() {
                    super::$claim(std::sync::Arc::new($make())).await;
                }
            )+
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $concurrent() {
                    super::$concurrent(std::sync::Arc::new($make())).await;
                }
            )+
        }
    };
}

suite!(memory, crate::ports::ephemeral::memory_store, paused: true);
suite!(redis, crate::ports::ephemeral_redis::on_one_server, paused: false);
suite!(redis_cluster, crate::ports::ephemeral_redis::on_a_cluster, paused: false);

fn memory_store() -> MemoryEphemeral {
    MemoryEphemeral::new(Bounds::default())
}

const QUOTA: SendQuota = SendQuota { per_partner_max: 3, per_address_max: 10, window_s: 600 };
const AMPLE: SendQuota = SendQuota { per_partner_max: 1000, per_address_max: 1000, window_s: 600 };
const RIGHT: PinDigest = PinDigest([1; 32]);
const WRONG: PinDigest = PinDigest([2; 32]);

pub(super) fn at(second: i64) -> Time {
    Time::from_second(1_700_000_000 + second).expect("in range")
}

fn slot(partner: &str, number: &str) -> PinSlot {
    PinSlot { partner: PartnerId::new(partner), number: Msisdn::new(number) }
}

fn demo() -> PinSlot {
    slot("demo-ott", "5550100016")
}

fn pin(digest: PinDigest, now: Time) -> StoredPin {
    let expires_at = now.checked_add(SignedDuration::from_secs(300)).expect("in range");
    StoredPin { digest, expires_at, tries_left: 5 }
}

async fn issue(store: &dyn Ephemeral, slot: &PinSlot, digest: PinDigest, quota: SendQuota, now: Time) -> Issued {
    store.issue_pin(slot, pin(digest, now), quota, now).await.expect("the store answers")
}

async fn redeem(store: &dyn Ephemeral, slot: &PinSlot, offered: PinDigest, now: Time) -> Verdict {
    store.redeem_pin(slot, &offered, now).await.expect("the store answers")
}

async fn a_pin_that_was_never_sent_is_wrong(store: Arc<impl Ephemeral>) {
    assert_eq!(redeem(&*store, &demo(), RIGHT, at(0)).await, Verdict::Wrong);
    assert_eq!(store.pin_proved_at(&demo(), 5, at(0)).await.expect("the store answers"), None);
}

async fn the_right_pin_is_right_again_until_it_expires_by_now(store: Arc<impl Ephemeral>) {
    assert_eq!(issue(&*store, &demo(), RIGHT, QUOTA, at(0)).await, Issued::Kept);
    for (now, verdict) in [
        (1, Verdict::Right),
        (200, Verdict::Right),
        (299, Verdict::Right),
        (300, Verdict::Wrong),
        (299, Verdict::Wrong),
    ] {
        assert_eq!(redeem(&*store, &demo(), RIGHT, at(now)).await, verdict, "after {now} s");
    }
}

async fn a_wrong_try_does_not_burn_a_pin_and_the_fifth_one_does(store: Arc<impl Ephemeral>) {
    issue(&*store, &demo(), RIGHT, QUOTA, at(0)).await;
    for _ in 0..4 {
        assert_eq!(redeem(&*store, &demo(), WRONG, at(1)).await, Verdict::Wrong);
    }
    assert_eq!(redeem(&*store, &demo(), RIGHT, at(2)).await, Verdict::Right, "after four wrong tries");
    assert_eq!(redeem(&*store, &demo(), WRONG, at(3)).await, Verdict::Wrong);
    assert_eq!(redeem(&*store, &demo(), RIGHT, at(4)).await, Verdict::Wrong, "after five");
}

async fn a_new_pin_replaces_the_old_one_and_its_tries(store: Arc<impl Ephemeral>) {
    issue(&*store, &demo(), RIGHT, QUOTA, at(0)).await;
    for _ in 0..4 {
        redeem(&*store, &demo(), WRONG, at(1)).await;
    }
    let newer = PinDigest([3; 32]);
    assert_eq!(issue(&*store, &demo(), newer, QUOTA, at(2)).await, Issued::Kept);
    for _ in 0..4 {
        assert_eq!(redeem(&*store, &demo(), RIGHT, at(3)).await, Verdict::Wrong, "the old one");
    }
    assert_eq!(redeem(&*store, &demo(), newer, at(4)).await, Verdict::Right);
    assert_eq!(redeem(&*store, &demo(), newer, at(301)).await, Verdict::Right, "it has its own five minutes");
}

async fn a_pin_belongs_to_its_partner_and_its_number(store: Arc<impl Ephemeral>) {
    let others = [slot("other-ott", "5550100016"), slot("demo-ott", "5550100116")];
    issue(&*store, &demo(), RIGHT, QUOTA, at(0)).await;
    for other in &others {
        for _ in 0..6 {
            assert_eq!(redeem(&*store, other, RIGHT, at(1)).await, Verdict::Wrong, "{other:?}");
        }
    }
    assert_eq!(redeem(&*store, &demo(), RIGHT, at(2)).await, Verdict::Right, "tries of others do not burn it");
    let newer = PinDigest([3; 32]);
    issue(&*store, &others[0], newer, QUOTA, at(3)).await;
    assert_eq!(redeem(&*store, &demo(), RIGHT, at(4)).await, Verdict::Right, "another partner's PIN leaves it");
    assert_eq!(redeem(&*store, &others[0], newer, at(4)).await, Verdict::Right);
}

async fn a_partner_may_send_three_times_in_ten_minutes(store: Arc<impl Ephemeral>) {
    for (now, issued) in [
        (0, Issued::Kept),
        (10, Issued::Kept),
        (20, Issued::Kept),
        (30, Issued::QuotaReached { retry_after_s: 570 }),
        (599, Issued::QuotaReached { retry_after_s: 1 }),
        (600, Issued::Kept),
        (609, Issued::QuotaReached { retry_after_s: 1 }),
        (620, Issued::Kept),
    ] {
        assert_eq!(issue(&*store, &demo(), RIGHT, QUOTA, at(now)).await, issued, "after {now} s");
    }
    let other = slot("demo-ott", "5550100116");
    assert_eq!(issue(&*store, &other, RIGHT, QUOTA, at(621)).await, Issued::Kept, "another number has its own");
}

async fn all_partners_together_may_send_ten_times_in_ten_minutes(store: Arc<impl Ephemeral>) {
    for send in 0..10 {
        let partner = slot(&format!("partner-{}", send % 4), "5550100016");
        assert_eq!(issue(&*store, &partner, RIGHT, QUOTA, at(send)).await, Issued::Kept, "send {send}");
    }
    let fresh = slot("partner-9", "5550100016");
    let refused = issue(&*store, &fresh, RIGHT, QUOTA, at(60)).await;
    assert_eq!(refused, Issued::QuotaReached { retry_after_s: 540 });
    assert_eq!(issue(&*store, &fresh, RIGHT, QUOTA, at(600)).await, Issued::Kept);
}

async fn a_send_over_the_quota_leaves_the_pin_as_it_was(store: Arc<impl Ephemeral>) {
    for now in 0..3 {
        issue(&*store, &demo(), RIGHT, QUOTA, at(now)).await;
    }
    let refused = issue(&*store, &demo(), WRONG, QUOTA, at(3)).await;
    assert!(matches!(refused, Issued::QuotaReached { .. }), "{refused:?}");
    assert_eq!(redeem(&*store, &demo(), WRONG, at(4)).await, Verdict::Wrong);
    assert_eq!(redeem(&*store, &demo(), RIGHT, at(4)).await, Verdict::Right);
    assert_eq!(issue(&*store, &demo(), RIGHT, QUOTA, at(600)).await, Issued::Kept, "a refused send does not count");
}

async fn each_number_has_the_quota_that_is_handed_in(store: Arc<impl Ephemeral>) {
    for send in 0..1000 {
        assert_eq!(issue(&*store, &demo(), RIGHT, AMPLE, at(send / 10)).await, Issued::Kept, "send {send}");
    }
    let refused = issue(&*store, &demo(), RIGHT, AMPLE, at(100)).await;
    assert_eq!(refused, Issued::QuotaReached { retry_after_s: 500 });
}

async fn a_proof_is_of_its_slot_and_as_old_as_its_last_right_try(store: Arc<impl Ephemeral>) {
    issue(&*store, &demo(), RIGHT, QUOTA, at(0)).await;
    redeem(&*store, &demo(), WRONG, at(5)).await;
    assert_eq!(store.pin_proved_at(&demo(), 10, at(6)).await.expect("the store answers"), None);
    redeem(&*store, &demo(), RIGHT, at(10)).await;
    redeem(&*store, &demo(), RIGHT, at(20)).await;
    for (minutes, now, proved) in [
        (1, 20, Some(at(20))),
        (1, 79, Some(at(20))),
        (1, 80, None),
        (10, 619, Some(at(20))),
        (10, 620, None),
        (0, 20, None),
    ] {
        let found = store.pin_proved_at(&demo(), minutes, at(now)).await.expect("the store answers");
        assert_eq!(found, proved, "{minutes} minutes, after {now} s");
    }
    for other in [slot("other-ott", "5550100016"), slot("demo-ott", "5550100116")] {
        assert_eq!(store.pin_proved_at(&other, 10, at(21)).await.expect("the store answers"), None, "{other:?}");
    }
}

async fn a_forgotten_number_is_as_new_for_all_partners(store: Arc<impl Ephemeral>) {
    let (other, neighbour) = (slot("other-ott", "5550100016"), slot("demo-ott", "5550100116"));
    for send in 0..3 {
        for slot in [&demo(), &other, &neighbour] {
            issue(&*store, slot, RIGHT, QUOTA, at(send)).await;
        }
    }
    for slot in [&demo(), &other, &neighbour] {
        redeem(&*store, slot, RIGHT, at(4)).await;
    }
    store.forget_number(&demo().number).await.expect("the store answers");
    for forgotten in [&demo(), &other] {
        assert_eq!(redeem(&*store, forgotten, RIGHT, at(5)).await, Verdict::Wrong);
        assert_eq!(store.pin_proved_at(forgotten, 10, at(5)).await.expect("the store answers"), None);
        for send in 0..3 {
            assert_eq!(issue(&*store, forgotten, RIGHT, QUOTA, at(5 + send)).await, Issued::Kept);
        }
    }
    assert_eq!(redeem(&*store, &neighbour, RIGHT, at(5)).await, Verdict::Right, "other numbers are left alone");
}

/// Four wrong tries at once leave one; had one been lost in a race, the fifth would not burn the PIN.
async fn concurrent_tries_never_get_more_than_five(store: Arc<impl Ephemeral + 'static>) {
    for round in 0..50 {
        let slot = slot("demo-ott", &format!("55501{round:03}16"));
        issue(&*store, &slot, RIGHT, QUOTA, at(0)).await;
        for wrong in [4_u8, 1] {
            let tries: Vec<_> = (0..wrong)
                .map(|_| {
                    let (store, slot) = (Arc::clone(&store), slot.clone());
                    tokio::spawn(async move { redeem(&*store, &slot, WRONG, at(1)).await })
                })
                .collect();
            for tried in tries {
                assert_eq!(tried.await.expect("no panic"), Verdict::Wrong);
            }
            let left = if wrong == 4 { Verdict::Right } else { Verdict::Wrong };
            assert_eq!(redeem(&*store, &slot, RIGHT, at(2)).await, left, "each of them was counted, once");
        }
    }
}

async fn concurrent_sends_never_exceed_the_quota(store: Arc<impl Ephemeral + 'static>) {
    let sends = (0..40).map(|send| {
        let store = Arc::clone(&store);
        let slot = slot(&format!("partner-{}", send % 8), "5550100016");
        tokio::spawn(async move { issue(&*store, &slot, RIGHT, QUOTA, at(0)).await })
    });
    let mut kept = 0;
    for send in sends.collect::<Vec<_>>() {
        kept += u32::from(send.await.expect("no panic") == Issued::Kept);
    }
    assert_eq!(kept, QUOTA.per_address_max);
}

fn key(kind: Kind, id: &str) -> TransactionKey {
    let ext_transaction_id = ExtTransactionId::parse(id).expect("an id");
    TransactionKey { partner: PartnerId::new("demo-ott"), kind, ext_transaction_id }
}

/// Long enough that nothing ends by it in a test.
const LONG: Duration = Duration::from_hours(1);
/// Short enough to be waited for where time is real.
const SHORT: Duration = Duration::from_millis(200);

pub(super) fn ticket(number: u64) -> Ticket {
    Ticket::new(&InstanceId::new("gateway"), number)
}

async fn begin_with(store: &dyn Ephemeral, key: &TransactionKey, number: u64, ttl: Duration) -> Flight {
    store.begin_flight(key, None, &ticket(number), ttl).await.expect("the store answers")
}

/// Begins with a ticket that nobody else has.
async fn begin(store: &dyn Ephemeral, key: &TransactionKey, ttl: Duration) -> Flight {
    static NEXT: AtomicU64 = AtomicU64::new(1000);
    begin_with(store, key, NEXT.fetch_add(1, Ordering::Relaxed), ttl).await
}

async fn one_flight_at_a_time_for_a_key(store: Arc<impl Ephemeral>) {
    let charge = key(Kind::Charge, "1");
    assert_eq!(begin_with(&*store, &charge, 1, LONG).await, Flight::Begun);
    assert_eq!(begin(&*store, &charge, LONG).await, Flight::Underway);
    assert_eq!(begin(&*store, &key(Kind::Refund, "1"), LONG).await, Flight::Begun, "its refund is another key");
    assert_eq!(begin(&*store, &key(Kind::Charge, "2"), LONG).await, Flight::Begun);
    store.end_flight(&charge, &ticket(1), None).await;
    store.end_flight(&charge, &ticket(1), None).await;
    assert_eq!(begin(&*store, &charge, LONG).await, Flight::Begun);
}

async fn nobody_ends_the_flight_of_somebody_else(store: Arc<impl Ephemeral>) {
    let charge = key(Kind::Charge, "1");
    begin_with(&*store, &charge, 1, SHORT).await;
    tokio::time::sleep(2 * SHORT).await;
    assert_eq!(begin_with(&*store, &charge, 2, LONG).await, Flight::Begun, "the time of the first is up");
    store.end_flight(&charge, &ticket(1), None).await;
    assert_eq!(begin_with(&*store, &charge, 3, LONG).await, Flight::Underway, "the first is late");
    store.end_flight(&charge, &ticket(2), None).await;
    assert_eq!(begin_with(&*store, &charge, 3, LONG).await, Flight::Begun);
}

async fn those_who_wait_for_a_flight_are_woken_when_it_ends(store: Arc<impl Ephemeral + 'static>) {
    let charge = key(Kind::Charge, "1");
    begin_with(&*store, &charge, 1, LONG).await;
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let (store, charge) = (Arc::clone(&store), charge.clone());
            tokio::spawn(async move { store.await_flight(&charge, LONG).await })
        })
        .collect();
    tokio::time::sleep(SHORT).await;
    assert!(waiting.iter().all(|waiter| !waiter.is_finished()), "they wait while it lasts");
    let before = tokio::time::Instant::now();
    store.end_flight(&charge, &ticket(1), None).await;
    for waiter in waiting {
        waiter.await.expect("no panic").expect("the store answers");
    }
    assert!(before.elapsed() < LONG, "they were woken and did not wait their time out");
}

async fn nobody_waits_for_a_flight_that_is_not_there(store: Arc<impl Ephemeral>) {
    let charge = key(Kind::Charge, "1");
    let before = tokio::time::Instant::now();
    store.await_flight(&charge, LONG).await.expect("the store answers");
    begin_with(&*store, &charge, 1, LONG).await;
    store.end_flight(&charge, &ticket(1), None).await;
    store.await_flight(&charge, LONG).await.expect("the store answers");
    assert!(before.elapsed() < LONG);
}

async fn waiting_ends_after_its_time_and_leaves_the_flight_alone(store: Arc<impl Ephemeral>) {
    let charge = key(Kind::Charge, "1");
    begin(&*store, &charge, LONG).await;
    let before = tokio::time::Instant::now();
    store.await_flight(&charge, SHORT).await.expect("the store answers");
    assert!(before.elapsed() >= SHORT && before.elapsed() < LONG);
    assert_eq!(begin(&*store, &charge, LONG).await, Flight::Underway);
}

async fn a_flight_whose_time_is_up_holds_up_nobody(store: Arc<impl Ephemeral>) {
    let charge = key(Kind::Charge, "1");
    begin(&*store, &charge, SHORT).await;
    let before = tokio::time::Instant::now();
    store.await_flight(&charge, LONG).await.expect("the store answers");
    assert!(before.elapsed() < LONG, "who waits is let go when its time is up");
    tokio::time::sleep(SHORT).await;
    assert_eq!(begin(&*store, &charge, LONG).await, Flight::Begun);
    assert_eq!(begin(&*store, &charge, LONG).await, Flight::Underway);
}

async fn of_many_that_begin_at_once_one_does(store: Arc<impl Ephemeral + 'static>) {
    let tries = (0..50).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { begin(&*store, &key(Kind::Charge, "1"), LONG).await })
    });
    let mut begun = 0;
    for tried in tries.collect::<Vec<_>>() {
        begun += u32::from(tried.await.expect("no panic") == Flight::Begun);
    }
    assert_eq!(begun, 1);
}

const RATE: SharedRate = SharedRate { per_second: 10, burst: 20 };

async fn lease(store: &dyn Ephemeral, partner: &str, wanted: u32, now_ms: i64) -> u32 {
    let now = Time::from_millisecond(1_700_000_000_000 + now_ms).expect("in range");
    store.lease_rate(&PartnerId::new(partner), RATE, wanted, now).await.expect("the store answers")
}

async fn a_rate_gives_its_burst_and_what_flows_in_since(store: Arc<impl Ephemeral>) {
    for (now_ms, wanted, granted) in [
        (0, 15, 15),
        (0, 15, 5),
        (99, 15, 0),
        (100, 15, 1),
        (350, 1, 1),
        (350, 15, 1),
        (60_000, 15, 15),
        (60_000, 15, 5),
        (59_000, 15, 0),
        (60_100, 15, 1),
        (20_000, 15, 0),
        (20_500, 15, 5),
    ] {
        assert_eq!(lease(&*store, "demo-ott", wanted, now_ms).await, granted, "{wanted} after {now_ms} ms");
    }
}

async fn each_partner_has_a_rate_of_its_own(store: Arc<impl Ephemeral>) {
    assert_eq!(lease(&*store, "demo-ott", 100, 0).await, 20);
    assert_eq!(lease(&*store, "other-ott", 100, 0).await, 20);
    assert_eq!(lease(&*store, "demo-ott", 100, 0).await, 0);
}

async fn a_store_that_is_there_answers(store: Arc<impl Ephemeral>) {
    store.check().await.expect("the store answers");
}

async fn shares_taken_at_once_never_exceed_the_rate(store: Arc<impl Ephemeral + 'static>) {
    let shares = (0..40).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { lease(&*store, "demo-ott", 3, 0).await })
    });
    let mut granted = 0;
    for share in shares.collect::<Vec<_>>() {
        granted += share.await.expect("no panic");
    }
    assert_eq!(granted, RATE.burst);
}

/// What a bounded store does at its bounds is its own matter, and so is tested for each.
mod memory_at_its_bounds {
    use super::*;

    fn tiny() -> MemoryEphemeral {
        // Entries are spread over locks by hash; with one or none for each, the bound is met soon and for certain.
        MemoryEphemeral::new(Bounds {
            numbers_max: 1,
            proofs_max: 1,
            proofs_kept_minutes: 60,
            flights_max: 1,
            notifications_max: 1,
            answers_max: 1,
        })
    }

    fn number(count: u32) -> PinSlot {
        slot("demo-ott", &format!("555{count:05}16"))
    }

    #[tokio::test]
    async fn a_full_store_takes_no_new_pin_and_keeps_the_ones_it_has() {
        let store = tiny();
        let mut kept = Vec::new();
        let mut refused = 0;
        for count in 0..200 {
            match store.issue_pin(&number(count), pin(RIGHT, at(0)), QUOTA, at(0)).await {
                Ok(_) => kept.push(number(count)),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 0 && !kept.is_empty(), "{refused} refused");
        for slot in &kept {
            assert_eq!(redeem(&store, slot, RIGHT, at(1)).await, Verdict::Right);
            assert_eq!(issue(&store, slot, RIGHT, QUOTA, at(2)).await, Issued::Kept);
        }
    }

    #[tokio::test]
    async fn what_does_not_matter_any_more_makes_room() {
        let store = tiny();
        for round in 0..50 {
            for count in 0..2 {
                // Each round's numbers are of no use in the next one, half an hour later.
                let now = at(i64::from(round * 2 + count) * 1800);
                assert_eq!(issue(&store, &number(round * 2 + count), RIGHT, QUOTA, now).await, Issued::Kept);
            }
        }
    }

    #[tokio::test]
    async fn the_newest_proof_is_never_the_one_that_is_lost() {
        let store = tiny();
        for count in 0..200 {
            let (slot, now) = (number(count), at(i64::from(count) * 700));
            issue(&store, &slot, RIGHT, QUOTA, now).await;
            redeem(&store, &slot, RIGHT, now).await;
            assert_eq!(store.pin_proved_at(&slot, 10, now).await.expect("the store answers"), Some(now));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_answer_is_kept_and_for_a_minute() {
        let store = tiny();
        let begin = async |key: &TransactionKey| {
            let begun = store.begin_flight(key, Some(&request()), &ticket(1), LONG).await.expect("the store answers");
            store.end_flight(key, &ticket(1), None).await;
            begun
        };
        let mut kept = 0;
        for count in 0..200 {
            let key = key(Kind::Charge, &count.to_string());
            store.end_flight(&key, &ticket(1), Some((&request(), &answer()))).await;
            assert_eq!(begin(&key).await, Flight::Answered(answer()));
        }
        for count in 0..200 {
            kept += usize::from(begin(&key(Kind::Charge, &count.to_string())).await == Flight::Answered(answer()));
        }
        assert!((1..=16).contains(&kept), "one for each lock: {kept}");
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(begin(&key(Kind::Charge, "199")).await, Flight::Begun);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_store_begins_no_flight_until_one_has_ended_or_run_out() {
        let store = tiny();
        let mut begun = Vec::new();
        let mut refused = Vec::new();
        for count in 0..200 {
            let key = key(Kind::Charge, &count.to_string());
            match store.begin_flight(&key, None, &ticket(1), SHORT).await {
                Ok(_) => begun.push(key),
                Err(_) => refused.push(key),
            }
        }
        assert!(!begun.is_empty() && !refused.is_empty());
        for key in &begun {
            store.end_flight(key, &ticket(1), None).await;
            assert_eq!(begin(&store, key, SHORT).await, Flight::Begun);
        }
        tokio::time::sleep(SHORT).await;
        assert_eq!(begin(&store, &refused[0], SHORT).await, Flight::Begun);
    }
}
