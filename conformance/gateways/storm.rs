//! Duplicates at once at many gateways, and what a charge asks of Redis.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::fleet::{Fleet, charge_at_two, send_pin, shared, validate_pin};
use super::stores::Stores;
use crate::gateway::client::{Partner, answered};
use crate::gateway::process::{id, number};
use crate::operator::all_lines;

/// The same request, at every gateway at once, so many times at each.
async fn storm(partners: &[Partner], each: usize, number: &str, id: &str, fields: &Value) {
    let mut calls = JoinSet::new();
    for partner in partners {
        for _ in 0..each {
            let (partner, number, id, fields) = (partner.clone(), number.to_owned(), id.to_owned(), fields.clone());
            calls.spawn(async move { partner.charge(&number, &id, fields).await });
        }
    }
    let answers = calls.join_all().await;
    let expected = answered(id, "Success", "Charge success");
    for answer in &answers {
        assert_eq!(answer.brief(), (200, expected.as_str()), "one answer, byte for byte");
    }
    let started = answers.iter().filter(|answer| answer.header("idempotency-replayed") != "true").count();
    assert_eq!(started, 1, "one call has done it, the others say that they have not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_duplicates_over_three_gateways_moves_money_once_a_key_and_has_one_answer() {
    let fleet = shared();
    let partners = fleet.partners();
    // The second number's operator takes its time, so that duplicates of every gateway wait.
    for condition in ["01", "13"] {
        let number = number(condition);
        for _ in 0..5 {
            let id = id("storm");
            storm(&partners, 10, &number, &id, &json!({})).await;
            storm(&partners, 10, &number, &id, &json!({ "amount": "-9.99" })).await;
        }
        let mut billed = fleet.billed(&number).await;
        billed.sort();
        assert_eq!(billed, [["-9.99"; 5], ["9.99"; 5]].concat());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refunds_of_one_charge_by_many_gateways_never_give_back_more_than_it_was() {
    let fleet = shared();
    let partners = fleet.partners();
    let (number, charge) = (number("01"), id("capped"));
    assert_eq!(partners[0].charge(&number, &charge, json!({ "amount": "10" })).await.status, 200);
    let mut calls = JoinSet::new();
    for turn in 0..30 {
        let (partner, number, charge) = (partners[turn % 3].clone(), number.clone(), charge.clone());
        let fields = json!({ "amount": "-0.75", "referenceId": charge });
        calls.spawn(async move { partner.charge(&number, &id("part"), fields).await });
    }
    let answers = calls.join_all().await;
    let given = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(given, 13, "0.75 goes into 10 thirteen times");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((answer.status, answer.body.contains("refund-exceeds-charge")), (400, true), "{answer:?}");
    }
    assert_eq!(fleet.billed(&number).await.len(), 14);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_request_under_a_key_is_refused_by_every_gateway() {
    let fleet = shared();
    let partners = fleet.partners();
    let (number, id) = (number("01"), id("used"));
    let amounts = ["1", "2", "3"];
    let calls = partners.iter().zip(amounts).map(|(partner, amount)| {
        let (partner, number, id) = (partner.clone(), number.clone(), id.clone());
        async move { partner.charge(&number, &id, json!({ "amount": amount })).await }
    });
    let answers: Vec<_> = calls.collect::<JoinSet<_>>().join_all().await;
    let taken = answers.iter().filter(|answer| answer.status == 200).count();
    let refused = answers.iter().filter(|answer| answer.body.contains("already used by another transaction")).count();
    assert_eq!((taken, refused), (1, 2), "{answers:?}");
    assert_eq!(fleet.billed(&number).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_asks_redis_twice_and_a_pin_call_once_however_many_gateways_there_are() {
    let fleet = Fleet::start(2, Stores::beside_others(), "");
    let partners = fleet.partners();
    let redis = &fleet.stores.redis;
    let asked = || -> u64 {
        ["eval", "evalsha", "exists", "hget", "unlink", "blpop", "subscribe", "script|load"]
            .map(|command| redis.calls(command))
            .iter()
            .sum()
    };
    let mut booked = 0;
    for partner in &partners {
        let number = number("01");
        // Scripts are loaded by who first needs them.
        partner.charge(&number, &id("warm"), json!({})).await;
        assert_eq!(send_pin(partner, &number).await.status, 201);
        assert_eq!(validate_pin(partner, &number, &fleet.pin(&number).await).await.status, 201);
        booked += 1;
        redis.ask::<()>(&["CONFIG", "RESETSTAT"]).expect("an answer");
        for charges in 1..=5 {
            assert_eq!(partner.charge(&number, &id("counted"), json!({})).await.status, 200);
            // What the scripts ask themselves takes no round trip.
            assert_eq!(redis.calls("evalsha"), 2 * charges);
            booked += 1;
        }
        assert_eq!(asked(), 5 * 2);
        let again = id("again");
        for (turn, replayed) in [(2, ""), (3, "true"), (4, "true")] {
            let answer = partner.charge(&number, &again, json!({})).await;
            assert_eq!(answer.brief(), (200, answered(&again, "Success", "Charge success").as_str()));
            assert_eq!(answer.header("idempotency-replayed"), replayed);
            assert_eq!(redis.calls("evalsha"), 5 * 2 + turn, "a repeat takes one");
        }
        booked += 1;
        let before = redis.calls("evalsha");
        assert_eq!(send_pin(partner, &number).await.status, 201);
        let pin = fleet.pin(&number).await;
        assert_eq!(redis.calls("evalsha"), before + 1);
        assert_eq!(validate_pin(partner, &number, &pin).await.status, 201);
        assert_eq!(redis.calls("evalsha"), before + 2);
        assert_eq!((redis.calls("eval"), redis.calls("script|load")), (0, 0), "they are loaded once");
    }
    charge_at_two(&partners[0], &partners[1], &number("01")).await;
    assert_eq!(all_lines(&fleet.operator.client()).await.len(), booked + 1);
}
