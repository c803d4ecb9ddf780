//! What a crash has left is taken up when the gateway starts again, and not when its lease would have run out.

use std::time::{Duration, Instant};

use onbill::domain::api_key::KeyDigest;
use serde_json::json;

use super::PARTNER_KEY;
use crate::gateway::client::Partner;
use crate::gateway::process::Setup;
use crate::operator::{KEY, Operator, all_lines};

/// Far longer than this test may take: who waits for it is seen.
const LEASE_S: u64 = 3_600;
/// Longest wait for anything here: generous, since test machines are busy.
const PATIENCE: Duration = Duration::from_mins(1);

fn configuration(operator: &Operator) -> String {
    let (digest, url) = (KeyDigest::of(PARTNER_KEY.as_bytes()), operator.authority());
    format!(
        r#"
[charge]
lease_s = {LEASE_S}
[csp.operator]
adapter = "http"
url = "http://{url}"
api_key = "{KEY}"
currency = "MXN"
msisdn_pattern = "^[0-9]{{10}}$"
call_timeout_ms = 9000
forget_after_s = 2
[partner.ott]
key_sha256 = ["{digest}"]
csps = ["operator"]
[partner.ott.product.film.charge_codes]
operator = "FILM"
"#
    )
}

/// Faults that were ordered and have not struck yet.
async fn orders_left(operator: &Operator) -> usize {
    let orders = operator.client().get("/faults").await.json();
    orders["faults"].as_array().expect("orders").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_becomes_final_at_the_next_start_without_waiting_for_the_lease() {
    let operator = Operator::start(&[]);
    let data = tempfile::tempdir().expect("a directory");
    let config = configuration(&operator);
    let start = || Setup::default().config(&config).data_dir(data.path()).start();
    let gateway = start();
    let partner = Partner::with_key(&gateway, PARTNER_KEY);
    let mut callers = Vec::new();
    for (id, fault) in [("booked", "answer-lost"), ("never", "request-lost")] {
        let order = json!({ "fault": fault, "verb": "charge", "count": 1 });
        assert_eq!(operator.client().post("/faults", &order).await.status, 201);
        let caller = partner.clone();
        callers.push(tokio::spawn(async move {
            let answer = caller.charge("5550100001", id, json!({ "partnerProduct": "film" })).await;
            panic!("it was answered: {answer:?}");
        }));
        let since = Instant::now();
        while orders_left(&operator).await > 0 {
            assert!(since.elapsed() < PATIENCE, "the operator has not heard of {id}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(all_lines(&operator.client()).await.len(), 1);
    for caller in callers {
        assert!(!caller.is_finished(), "its answer never comes: the gateway dies first");
        caller.abort();
    }
    gateway.kill();
    let gateway = start();
    let partner = Partner::with_key(&gateway, PARTNER_KEY);
    for (id, status) in [("booked", "Success"), ("never", "Failure")] {
        let since = Instant::now();
        loop {
            let found = partner.get(&format!("/transaction/{id}")).await.json();
            if found["status"] == status {
                break;
            }
            assert_eq!(found["status"], "Pending", "{found}");
            assert!(since.elapsed() < PATIENCE, "{id} is still {found}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert_eq!(all_lines(&operator.client()).await.len(), 1);
}
