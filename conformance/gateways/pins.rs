//! PINs at many gateways: sent by one, judged by all.

use super::fleet::{send_pin, shared, validate_pin};
use crate::gateway::process::number;

const WRONG: (u16, &str) = (400, r#"{"code":"invalid-pin","message":"Invalid pin"}"#);

#[tokio::test]
async fn a_pin_sent_by_one_validates_at_another() {
    let fleet = shared();
    let partners = fleet.partners();
    for sender in 0..3 {
        let number = number("01");
        assert_eq!(send_pin(&partners[sender], &number).await.status, 201);
        let pin = fleet.pin(&number).await;
        for other in [1, 2] {
            assert_eq!(validate_pin(&partners[(sender + other) % 3], &number, &pin).await.status, 201);
        }
    }
}

#[tokio::test]
async fn wrong_tries_are_counted_over_all_gateways() {
    let fleet = shared();
    let partners = fleet.partners();
    let number = number("01");
    assert_eq!(send_pin(&partners[0], &number).await.status, 201);
    let pin = fleet.pin(&number).await;
    for wrong in 0..4 {
        assert_eq!(validate_pin(&partners[wrong % 3], &number, "not it").await.brief(), WRONG);
    }
    assert_eq!(validate_pin(&partners[1], &number, &pin).await.status, 201, "four wrong ones do not burn it");
    assert_eq!(validate_pin(&partners[2], &number, "not it").await.brief(), WRONG);
    for partner in &partners {
        assert_eq!(validate_pin(partner, &number, &pin).await.brief(), WRONG, "the fifth one has");
    }
}

#[tokio::test]
async fn the_send_quota_is_one_for_all_gateways() {
    let fleet = shared();
    let partners = fleet.partners();
    let number = number("01");
    let mut sent = Vec::new();
    for partner in partners.iter().chain(&partners) {
        sent.push(send_pin(partner, &number).await.status);
    }
    assert_eq!(sent, [201, 201, 201, 429, 429, 429], "three in ten minutes, wherever they are asked for");
}
