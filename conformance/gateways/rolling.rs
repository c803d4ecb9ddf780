//! Gateways that are replaced one after another while partners go on.
//!
//! Invariant: the client here is the contract's: it sends the same request again after a broken connection or a 503, and
//! after a Pending; nothing else may ever come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Method;
use serde_json::json;

use super::fleet::{Fleet, PARTNER_KEY, send_pin, status, validate_pin};
use super::stores::Stores;
use crate::gateway::client::{Partner, answered, charge};
use crate::gateway::process::{Setup, id, number};

/// Where the gateways are now.
type Places = Arc<Mutex<Vec<Partner>>>;

/// Charges until told to stop, at a gateway after another: how many charges there were, and how many repeats.
async fn sell(places: Places, number: String, over: Arc<AtomicBool>) -> (usize, usize) {
    let (mut charges, mut repeats, mut turn) = (0, 0, 0);
    while !over.load(Ordering::Relaxed) {
        let id = id("rolling");
        let body = Bytes::from(charge(&number, &id, json!({})).to_string());
        loop {
            turn += 1;
            let partner = {
                let places = places.lock().expect("no panic");
                places[turn % places.len()].clone()
            };
            let headers = [("content-type", "application/json")];
            match partner.try_send(Method::POST, "/transaction", &headers, body.clone()).await {
                None => {}
                Some(answer) if answer.status == 503 => assert_eq!(answer.header("retry-after"), "1", "{answer:?}"),
                Some(answer) if answer.status == 200 && status(&answer) == "Pending" => {}
                Some(answer) => {
                    assert_eq!(answer.brief(), (200, answered(&id, "Success", "Charge success").as_str()));
                    break;
                }
            }
            repeats += 1;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        charges += 1;
    }
    (charges, repeats)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_nothing_that_a_client_would_not_send_again() {
    let mut fleet = Fleet::start(3, Stores::beside_others(), "");
    let places: Places = Arc::new(Mutex::new(fleet.partners()));
    let known = number("01");
    assert_eq!(send_pin(&fleet.partners()[0], &known).await.status, 201);
    let pin = fleet.pin(&known).await;
    let over = Arc::new(AtomicBool::new(false));
    let numbers: Vec<_> = ["01", "01", "01", "13"].map(number).to_vec();
    let selling: Vec<_> = numbers
        .iter()
        .map(|number| tokio::spawn(sell(Arc::clone(&places), number.clone(), Arc::clone(&over))))
        .collect();
    for place in 0..3 {
        let new = tokio::task::block_in_place(|| Setup::default().config(&fleet.config).start());
        places.lock().expect("no panic")[place] = Partner::with_key(&new, PARTNER_KEY);
        let old = std::mem::replace(&mut fleet.gateways[place], new);
        let exit = tokio::task::block_in_place(|| old.stop());
        assert!(exit.success(), "it stops in order");
        // And one that stops before the load balancer has heard of it.
        fleet.gateways[(place + 1) % 3].terminate();
        let next = tokio::task::block_in_place(|| Setup::default().config(&fleet.config).start());
        places.lock().expect("no panic")[(place + 1) % 3] = Partner::with_key(&next, PARTNER_KEY);
        fleet.gateways[(place + 1) % 3] = next;
    }
    over.store(true, Ordering::Relaxed);
    let mut charges = 0;
    for (selling, number) in selling.into_iter().zip(&numbers) {
        let (sold, repeats) = selling.await.expect("no other answer came");
        let billed = fleet.billed(number).await.len();
        assert_eq!(billed, sold, "each once, after {repeats} repeats");
        charges += sold;
    }
    assert!(charges > 20, "too little happened to claim anything: {charges}");
    assert_eq!(validate_pin(&fleet.partners()[2], &known, &pin).await.status, 201, "none of the first three is left");
}
