//! Rates of partners: who is over, what is said of it on both faces, and what it takes from others.

use onbill::faces::pb::v1 as pb;
use onbill::faces::pb::v1::transaction_service_client::TransactionServiceClient;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::super::client::Partner;
use super::super::grpc::{channel, keyed};
use super::super::process::{Running, Setup, number};
use super::super::reload::reload;
use super::{cheap, counted};

/// One call in some hours flows in, so that a test sees the burst and nothing else.
fn with_burst(burst: u32) -> String {
    format!("[sandbox]\nenabled = true\n[partner.demo-ott.rate]\nper_second = 1\nburst = {burst}\n")
}

fn started(config: &str) -> Running {
    tokio::task::block_in_place(|| Setup::default().config(config).start())
}

const TOO_MANY: &str = r#"{"code":"too-many-requests","message":"Too many requests."}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_rate_is_429_before_anything_else_and_others_are_served() {
    let gateway = started(&with_burst(20));
    let (demo, other) = (Partner::demo(&gateway), Partner::other(&gateway));
    let mut refused = None;
    for _ in 0..200 {
        let answer = cheap(&demo).await;
        assert_eq!(answer.header("ratelimit-policy"), r#""partner";q=20;w=20"#);
        let left = answer.header("ratelimit").strip_prefix("\"partner\";r=").expect("what is left").to_owned();
        let (left, reset) = left.split_once(";t=").expect("and until when");
        let (left, reset): (u32, u32) = (left.parse().expect("a number"), reset.parse().expect("a number"));
        if answer.status == 429 {
            assert_eq!((left, answer.header("retry-after")), (0, reset.to_string().as_str()));
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status, 404);
        assert!(left < 20 && reset <= 20, "{answer:?}");
    }
    assert_eq!(refused.expect("200 calls are more than 20 and what flows in meanwhile").brief(), (429, TOO_MANY));
    // Neither a broken body nor a wrong path changes the order of the checks; without a key nobody is told of a rate.
    let broken = demo.post_text("/transaction", "{").await;
    assert!(matches!(broken.status, 429 | 400), "{broken:?}");
    let without = Partner::with_key(&gateway, "wrong-key").post_text("/transaction", "{").await;
    assert_eq!((without.status, without.header("ratelimit")), (401, ""));
    assert_eq!(cheap(&other).await.status, 404, "another partner has a rate of its own");
    assert!(counted(&gateway, "onbill_rate_limited_total", &["partner=\"demo-ott\""]).await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_hears_resource_exhausted_with_retry_info_and_the_same_headers() {
    let gateway = started(&with_burst(3));
    let mut client = TransactionServiceClient::new(channel(&gateway).await);
    let ask = || keyed(pb::GetTransactionRequest { ext_transaction_id: "none".to_owned(), ..Default::default() });
    let mut refused: Option<Status> = None;
    for _ in 0..200 {
        let status = client.get_transaction(ask()).await.expect_err("there is none");
        assert_eq!(status.metadata().get("ratelimit-policy").expect("a policy"), r#""partner";q=3;w=3"#);
        if status.code() == Code::ResourceExhausted {
            refused = Some(status);
            break;
        }
        assert_eq!(status.code(), Code::NotFound);
    }
    let refused = refused.expect("200 calls are more than 3 and what flows in meanwhile");
    assert_eq!(refused.message(), "Too many requests.");
    let details = refused.get_error_details();
    assert_eq!(details.error_info().expect("ErrorInfo").reason, "TOO_MANY_REQUESTS");
    let delay = details.retry_info().expect("RetryInfo").retry_delay.expect("a delay");
    assert_eq!(
        refused.metadata().get("ratelimit").expect("what is left"),
        &*format!("\"partner\";r=0;t={}", delay.as_secs())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_charge_leaves_nothing_and_the_same_request_is_done_later() {
    let gateway = started(&with_burst(1));
    let demo = Partner::demo(&gateway);
    let number = number("01");
    let (mut refused, mut done) = (0, 0);
    for turn in 0..600 {
        if done == 2 {
            break;
        }
        let answer = demo.charge(&number, &format!("paced-{done}"), json!({})).await;
        match answer.status {
            429 => {
                refused += 1;
                assert_eq!(answer.header("retry-after"), "1", "{turn}");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            200 => done += 1,
            _ => panic!("{answer:?}"),
        }
    }
    assert_eq!(done, 2);
    assert!(refused > 0);
    let other = Partner::other(&gateway);
    assert_eq!(other.bill(&number).await.0.len(), 2, "one line for each, however often it was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_changes_when_the_configuration_is_read_again_and_what_was_used_counts_on_where_it_does_not() {
    let gateway = started(&with_burst(1000));
    let demo = Partner::demo(&gateway);
    let left = async || -> u32 {
        let answer = cheap(&demo).await;
        let text = answer.header("ratelimit").to_owned();
        text.split(['=', ';']).nth(2).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{text}"))
    };
    for _ in 0..200 {
        cheap(&demo).await;
    }
    let before = left().await;
    assert!(before < 999, "{before}");
    reload(&gateway, &format!("{}[pin]\nttl_s = 200\n", with_burst(1000))).await;
    let since = std::time::Instant::now();
    let after = left().await;
    assert!(after < 999, "{before}, {after}, {:?}", since.elapsed());
    reload(&gateway, &with_burst(7)).await;
    assert_eq!(cheap(&demo).await.header("ratelimit-policy"), r#""partner";q=7;w=7"#);
    assert!(left().await < 7);
}
