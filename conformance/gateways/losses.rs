//! A store that goes away while many gateways work, and comes back.
//!
//! Invariant: each test has stores of its own. Without Redis a charge never hears of it; without PostgreSQL nothing is
//! acknowledged that is lost, and nothing is done twice when it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};

use super::fleet::{Fleet, PARTNER_KEY, charge_at_two, send_pin, status, validate_pin};
use super::stores::Stores;
use crate::gateway::client::{Answer, Partner, answered};
use crate::gateway::process::{id, number};
use crate::gateway::replays::{in_haste, under_way};
use crate::operator::all_lines;

/// Longest wait for what must come by itself: generous, since test machines are busy.
pub const PATIENCE: Duration = Duration::from_mins(1);
const UNAVAILABLE: (u16, &str) = (503, r#"{"code":"service-unavailable","message":"Service unavailable."}"#);
pub fn is_unavailable(answer: &Answer) {
    assert_eq!(answer.brief(), UNAVAILABLE);
    assert_eq!(answer.header("retry-after"), "1");
}

/// Waits until a gateway's operations port shows a text.
pub async fn until_shown(admin: &Partner, path: &str, text: &str) -> Answer {
    let since = Instant::now();
    loop {
        let answer = admin.get(path).await;
        if answer.body.contains(text) {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "{path} does not show {text}: {}", answer.body);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a PIN can be sent again; until then it is 503 and nothing else.
pub async fn until_pins_are_sent(partner: &Partner) {
    let since = Instant::now();
    let number = number("01");
    loop {
        let answer = send_pin(partner, &number).await;
        if answer.status == 201 {
            return;
        }
        is_unavailable(&answer);
        assert!(since.elapsed() < PATIENCE, "Redis is back, and PINs are not");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Charges until told to stop, each id at both gateways at once: both must hear the same success.
pub async fn charge_at_both(over: Arc<AtomicBool>, partners: Vec<Partner>, number: String) -> usize {
    let mut charges = 0;
    while !over.load(Ordering::Relaxed) {
        let id = id("without");
        let both =
            tokio::join!(partners[0].charge(&number, &id, json!({})), partners[1].charge(&number, &id, json!({})));
        let expected = answered(&id, "Success", "Charge success");
        assert_eq!((both.0.brief(), both.1.brief()), ((200, expected.as_str()), (200, expected.as_str())));
        charges += 1;
    }
    charges
}

async fn without_redis(fleet: &Fleet) {
    let partners = fleet.partners();
    let number = number("01");
    for (partner, admin) in partners.iter().zip(fleet.admins()) {
        is_unavailable(&send_pin(partner, &number).await);
        is_unavailable(&validate_pin(partner, &number, "000000").await);
        let ready = until_shown(&admin, "/readyz", "ephemeral: degraded").await;
        assert_eq!(ready.status, 200, "charges go on: {}", ready.body);
        until_shown(&admin, "/metrics", "onbill_ephemeral_up 0\n").await;
    }
    charge_at_two(&partners[0], &partners[1], &number).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_comes_and_goes_charges_go_on_at_every_gateway_and_pins_come_back_with_it() {
    let fleet = Fleet::start(2, Stores::beside_others(), "");
    let (redis, partners) = (&fleet.stores.redis, fleet.partners());
    until_pins_are_sent(&partners[0]).await;
    let over = Arc::new(AtomicBool::new(false));
    let numbers: Vec<_> = ["01", "01", "13"].map(number).to_vec();
    let charging: Vec<_> = numbers
        .iter()
        .map(|number| tokio::spawn(charge_at_both(Arc::clone(&over), partners.clone(), number.clone())))
        .collect();
    for _ in 0..5 {
        tokio::task::block_in_place(|| redis.flush());
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    tokio::task::block_in_place(|| redis.kill());
    without_redis(&fleet).await;
    tokio::task::block_in_place(|| redis.restart());
    until_pins_are_sent(&partners[1]).await;
    tokio::task::block_in_place(|| redis.pause());
    without_redis(&fleet).await;
    tokio::task::block_in_place(|| redis.resume());
    for (partner, admin) in partners.iter().zip(fleet.admins()) {
        until_pins_are_sent(partner).await;
        until_shown(&admin, "/metrics", "onbill_ephemeral_up 1\n").await;
    }
    over.store(true, Ordering::Relaxed);
    for (charging, number) in charging.into_iter().zip(&numbers) {
        let charged = charging.await.expect("no other answer came");
        assert_eq!(fleet.billed(number).await.len(), charged, "each once");
        assert!(charged > 0);
    }
}

/// What a charge was first answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    Booked,
    Pending,
    Unavailable,
}

/// Charges until told to stop: every id, and what was answered.
pub async fn sell_without_ledger(over: Arc<AtomicBool>, partner: Partner, number: String) -> Vec<(String, First)> {
    let mut asked = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let id = id("ledger");
        let answer = partner.charge(&number, &id, json!({})).await;
        let first = match answer.status {
            503 => {
                is_unavailable(&answer);
                First::Unavailable
            }
            _ if answer.body == answered(&id, "Pending", "Charge pending") => First::Pending,
            _ => {
                assert_eq!(answer.brief(), (200, answered(&id, "Success", "Charge success").as_str()));
                First::Booked
            }
        };
        asked.push((id, first));
        // Whoever is told "unavailable" comes back later.
        tokio::time::sleep(Duration::from_millis(if first == First::Booked { 5 } else { 100 })).await;
    }
    asked
}

/// Repeats a request until it is final, and answers whether it was booked. What was answered 503 for want of a commit's
/// answer may have been kept all the same: the CSP has not heard of it, and never will.
async fn is_booked(partner: &Partner, number: &str, id: &str, first: First) -> bool {
    let since = Instant::now();
    loop {
        let answer = partner.charge(number, id, json!({})).await;
        if answer.status == 200 && status(&answer) != "Pending" {
            let is_booked = answer.body == answered(id, "Success", "Charge success");
            let is_never = answer.body == answered(id, "Failure", "Charge not confirmed");
            assert!(is_booked || (is_never && first == First::Unavailable), "{first:?}: {answer:?}");
            return is_booked;
        }
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        assert!(since.elapsed() < PATIENCE, "{id} never becomes final: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_postgresql_was_killed_is_there_after_it() {
    let fleet = Fleet::hasty(2, Stores::apart());
    let (partners, server) = (fleet.partners(), Arc::clone(fleet.stores.database.server()));
    let over = Arc::new(AtomicBool::new(false));
    let numbers: Vec<_> = ["01", "01", "13", "13"].map(number).to_vec();
    let selling: Vec<_> = numbers
        .iter()
        .enumerate()
        .map(|(turn, number)| {
            tokio::spawn(sell_without_ledger(Arc::clone(&over), partners[turn % 2].clone(), number.clone()))
        })
        .collect();
    for round in 0..3 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        tokio::task::block_in_place(|| if round == 1 { server.stop() } else { server.kill() });
        for admin in fleet.admins() {
            let ready = admin.get("/readyz").await;
            assert_eq!(ready.status, 503, "it can take no charge: {}", ready.body);
            until_shown(&admin, "/metrics", "onbill_ledger_up 0\n").await;
        }
        tokio::task::block_in_place(|| server.restart());
        for admin in fleet.admins() {
            until_shown(&admin, "/readyz", "ledger: ok").await;
        }
    }
    for admin in fleet.admins() {
        until_shown(&admin, "/metrics", "onbill_ledger_up 1\n").await;
    }
    over.store(true, Ordering::Relaxed);
    compare(&fleet, selling, &numbers).await;
}

/// Holds what was answered to those who sold against what is there now: what was booked is, and all is booked once.
pub async fn compare(fleet: &Fleet, selling: Vec<JoinHandle<Vec<(String, First)>>>, numbers: &[String]) {
    let partners = fleet.partners();
    for (selling, number) in selling.into_iter().zip(numbers) {
        let asked = selling.await.expect("no other answer came");
        assert!(asked.iter().any(|(_, first)| *first == First::Booked), "{asked:?}");
        let mut repeats = JoinSet::new();
        for (id, first) in asked {
            let (partners, number) = (partners.clone(), number.clone());
            repeats.spawn(async move {
                if first == First::Booked {
                    let found = partners[0].get(&format!("/transaction/{id}")).await;
                    assert_eq!((found.status, status(&found).as_str()), (200, "Success"), "{id} was acknowledged");
                }
                is_booked(&partners[1], &number, &id, first).await
            });
        }
        let booked = repeats.join_all().await.into_iter().filter(|is_booked| *is_booked).count();
        assert_eq!(fleet.billed(number).await.len(), booked, "each once");
    }
    let (sound, told) = fleet.stores.verify(&fleet.config);
    assert!(sound, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_that_came_while_the_ledger_was_away_is_asked_for_again_under_its_reference() {
    let fleet = Fleet::hasty(1, Stores::apart());
    let patient = fleet.another("ONBILL__CSP__OPERATOR__CALL_TIMEOUT_MS", "2400");
    let (partner, operator) = (Partner::with_key(&patient, PARTNER_KEY), fleet.operator.client());
    let server = Arc::clone(fleet.stores.database.server());
    let (number, new, id) = (number("01"), id("new"), id("away"));
    let slow = json!({ "fault": "delay", "delayMs": 1500, "verb": "charge", "count": 1 });
    assert_eq!(operator.post("/faults", &slow).await.status, 201);
    let call = tokio::spawn({
        let (partner, number, id) = (partner.clone(), number.clone(), id.clone());
        async move { partner.charge(&number, &id, json!({})).await }
    });
    while all_lines(&operator).await.is_empty() {
        tokio::task::yield_now().await;
    }
    tokio::task::block_in_place(|| server.kill());
    let answer = call.await.expect("an answer");
    assert_eq!(answer.brief(), (200, answered(&id, "Pending", "Charge pending").as_str()), "it is not forgotten");
    is_unavailable(&partner.charge(&number, &new, json!({})).await);
    is_unavailable(&partner.get(&format!("/transaction/{id}")).await);
    tokio::task::block_in_place(|| server.restart());
    assert!(is_booked(&fleet.partners()[0], &number, &id, First::Pending).await);
    let lines = all_lines(&operator).await;
    assert_eq!(lines.len(), 1, "asked for, and not sent again: {lines:?}");
    let reference = fleet.stores.database.sql("SELECT encode(reference, 'hex') FROM transactions");
    assert_eq!(reference, [[lines[0].reference.clone()]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_duplicate_was_told_pending_without_a_ledger_becomes_final_by_itself() {
    // The CSP applies nothing, and is asked again after rests in which the ledger goes and comes back.
    let fleet = Fleet::start(1, Stores::apart(), "[charge]\nretry_pause_ms = 1500\n[reconcile]\npoll_ms = 50\n");
    let (partner, database) = (&fleet.partners()[0], fleet.stores.database.server());
    let (number, id) = (number("15"), id("noted"));
    let first = under_way(partner, &number, &id).await;
    tokio::task::block_in_place(|| database.kill());
    let duplicate = in_haste(partner, &number, &id).await;
    assert_eq!((duplicate.status, &duplicate.json()["status"]), (200, &json!("Pending")));
    tokio::task::block_in_place(|| database.restart());
    let first = first.await.expect("an answer");
    assert!(first.status == 503 || first.json()["status"] == "Pending", "{first:?}");
    let since = Instant::now();
    loop {
        let seen = partner.get(&format!("/transaction/{id}")).await;
        if seen.status == 200 && seen.json()["status"] == "Failure" {
            assert_eq!(seen.json()["message"], "Charge not confirmed");
            break;
        }
        assert!(since.elapsed() < PATIENCE, "nobody makes it final: {seen:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(fleet.billed(&number).await, Vec::<String>::new());
}
