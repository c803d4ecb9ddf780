//! Spend limits at many gateways: one ceiling for all of them.
//!
//! Invariant: the operator's bill says what was booked. Whoever is refused is refused for want of room, and nothing else.

use serde_json::json;
use tokio::task::JoinSet;

use super::fleet::Fleet;
use super::stores::Stores;
use crate::gateway::client::{Answer, answered};
use crate::gateway::process::{id, number};

const LIMITED: &str = "[csp.operator.limit.purse]\nday_max = \"10.00\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charges_at_a_limit_at_three_gateways_are_booked_as_long_as_they_fit_and_nobody_else_is_refused() {
    let fleet = Fleet::start(3, Stores::beside_others(), LIMITED);
    let partners = fleet.partners();
    let number = number("01");
    let charge = async |turn: usize, id: &str| -> Answer {
        partners[turn % 3].charge(&number, id, json!({ "amount": "0.35" })).await
    };
    let mut calls = JoinSet::new();
    for turn in 0..90 {
        let (partner, number, id) = (partners[turn % 3].clone(), number.clone(), id("purse"));
        calls.spawn(async move {
            let answer = partner.charge(&number, &id, json!({ "amount": "0.35" })).await;
            (id, answer)
        });
    }
    let mut booked = Vec::new();
    for (turn, (id, answer)) in calls.join_all().await.into_iter().enumerate() {
        let is_booked = answer.body == answered(&id, "Success", "Charge success");
        let over = answered(&id, "Failure", "Over spending daily limit");
        assert!(answer.status == 200 && (is_booked || answer.body == over), "{answer:?}");
        assert_eq!(charge(turn, &id).await.body, answer.body, "whoever is asked again");
        if is_booked {
            booked.push(id);
        }
    }
    assert_eq!(booked.len(), 28, "28 times 0.35 is 9.80, and 29 times is more than 10");
    let back = partners[0].charge(&number, &booked[0], json!({ "amount": "-0.35" })).await;
    assert_eq!(back.brief(), (200, answered(&booked[0], "Success", "Charge success").as_str()));
    for (turn, text) in [(1, "Charge success"), (2, "Over spending daily limit")] {
        let answer = charge(turn, &id("purse")).await;
        assert!(answer.body.contains(text), "what was given back is there for one: {answer:?}");
    }
    assert_eq!(fleet.billed(&number).await.len(), 28 + 2);
    let (sound, told) = fleet.stores.verify(&fleet.config);
    assert!(sound, "{told}");
}
