//! What many gateways let through together: calls of a partner, and tries at a PIN.

use serde_json::json;
use tokio::task::JoinSet;

use super::fleet::{Fleet, send_pin, shared, validate_pin};
use super::stores::Stores;
use crate::gateway::client::Partner;
use crate::gateway::process::number;

/// Cheap calls at all gateways at once: how many were let through, and how many were over the rate.
async fn volley(partners: &[Partner], each: usize) -> (usize, usize) {
    let mut calls = JoinSet::new();
    for partner in partners {
        for _ in 0..each {
            let partner = partner.clone();
            calls.spawn(async move { partner.get("/transaction/never-made").await });
        }
    }
    let answers = calls.join_all().await;
    let over = answers.iter().filter(|answer| answer.status == 429).count();
    assert!(answers.iter().all(|answer| matches!(answer.status, 404 | 429)), "{answers:?}");
    (answers.len() - over, over)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_let_one_rate_through_and_each_its_share_while_redis_is_away() {
    let rate = "[partner.ott.rate]\nper_second = 1\nburst = 15\n";
    let mut fleet = Fleet::start(0, Stores::beside_others(), rate);
    let another = || tokio::task::block_in_place(|| fleet.another("ONBILL__REDIS__GATEWAYS", "3"));
    fleet.gateways = vec![another(), another(), another()];
    let partners = fleet.partners();
    let since = std::time::Instant::now();
    let (through, over) = volley(&partners, 30).await;
    let flowed = usize::try_from(since.elapsed().as_secs()).expect("not long") + 1;
    assert!((15..=15 + flowed).contains(&through), "{through} in {flowed} s, {over} over");
    fleet.stores.redis.kill();
    let since = std::time::Instant::now();
    // A gateway that knows the store to be empty asks it again only when a call has flowed in.
    let mut through = 0;
    while through == 0 && since.elapsed() < std::time::Duration::from_secs(20) {
        through = volley(&partners, 10).await.0;
    }
    let flowed = usize::try_from(since.elapsed().as_secs()).expect("not long") + 1;
    assert!((1..=3 * (5 + flowed)).contains(&through), "{through}: five each, a third of the burst");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brute_force_over_three_gateways_gets_five_tries_at_a_pin_however_they_race() {
    let fleet = shared();
    let partners = fleet.partners();
    for _ in 0..3 {
        let number = number("01");
        assert_eq!(send_pin(&partners[0], &number).await.status, 201);
        let pin = fleet.pin(&number).await;
        let right: u32 = pin.parse().expect("six digits");
        let mut tries = JoinSet::new();
        for turn in 0..120_u32 {
            let (partner, number) = (partners[usize::try_from(turn).expect("small") % 3].clone(), number.clone());
            let guess = format!("{:06}", (right + 1 + turn) % 1_000_000);
            tries.spawn(async move { validate_pin(&partner, &number, &guess).await.status });
        }
        assert!(tries.join_all().await.iter().all(|status| *status == 400));
        for partner in &partners {
            assert_eq!(validate_pin(partner, &number, &pin).await.status, 400, "it is burnt everywhere");
        }
    }
    // Four wrong ones at once leave it good, so that not one of them was counted twice.
    let number = number("01");
    assert_eq!(send_pin(&partners[0], &number).await.status, 201);
    let pin = fleet.pin(&number).await;
    let wrong: JoinSet<_> = (0..4)
        .map(|turn| {
            let (partner, number) = (partners[turn % 3].clone(), number.clone());
            async move { validate_pin(&partner, &number, "wrong").await.status }
        })
        .collect();
    assert_eq!(wrong.join_all().await, [400; 4]);
    assert_eq!(validate_pin(&partners[1], &number, &pin).await.status, 201);
    let charged = partners[2].charge(&number, &crate::gateway::process::id("proved"), json!({})).await;
    assert_eq!(charged.status, 200);
}
