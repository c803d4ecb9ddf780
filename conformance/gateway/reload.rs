//! Claims about a configuration that is read again while the gateway runs.
//!
//! Invariant: it is asked for by the signal, and what came of it is read from what the gateway counts and answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use onbill::domain::api_key::KeyDigest;
use serde_json::json;

use super::client::Partner;
use super::process::{Running, Setup, id, number};

const SANDBOX: &str = "[sandbox]\nenabled = true\n";

fn with_partner(key: &str) -> String {
    let digest = KeyDigest::of(key.as_bytes());
    format!(
        "{SANDBOX}[partner.new-ott]\nkey_sha256 = [\"{digest}\"]\ncsps = [\"sandbox\"]\n\
         [partner.new-ott.product.film.charge_codes]\nsandbox = \"FILM\"\n"
    )
}

/// How many configurations were read again so far, taken and refused.
async fn counted(gateway: &Running) -> (u64, u64) {
    let metrics = Partner::at(gateway.admin(), "none").get("/metrics").await.body;
    let of = |outcome: &str| {
        let name = format!("onbill_config_reloads_total{{outcome=\"{outcome}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
    };
    (of("taken"), of("refused"))
}

/// Writes another configuration, has it read, and waits until it was taken or refused.
async fn reload(gateway: &Running, text: &str) {
    let before = counted(gateway).await;
    gateway.rewrite(text);
    gateway.hang_up();
    for _ in 0..500 {
        if counted(gateway).await != before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing was read again: {}", gateway.log());
}

fn started(config: &str) -> Running {
    tokio::task::block_in_place(|| Setup::default().config(config).start())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partners_come_and_go_while_not_one_request_is_dropped() {
    let gateway = started(SANDBOX);
    let demo = Partner::demo(&gateway);
    let over = Arc::new(AtomicBool::new(false));
    let busy = tokio::spawn({
        let (demo, over) = (demo.clone(), Arc::clone(&over));
        async move {
            let mut answered = 0;
            while !over.load(Ordering::SeqCst) {
                // Each answer takes 250 ms: some of them are under way whenever a configuration is taken.
                let charges = (0..8).map(|_| {
                    let demo = demo.clone();
                    tokio::spawn(
                        async move { demo.charge(&number("13"), &id("reload"), json!({ "amount": "1" })).await },
                    )
                });
                for charge in charges.collect::<Vec<_>>() {
                    let answer = charge.await.expect("no panic");
                    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("Success")), "{answer:?}");
                    answered += 1;
                }
            }
            answered
        }
    });
    let (one, other) = (Partner::with_key(&gateway, "key-1"), Partner::with_key(&gateway, "key-2"));
    let charge = async |partner: &Partner| {
        let fields = json!({ "partnerProduct": "film" });
        partner.charge(&number("01"), &id("new"), fields).await.status
    };
    assert_eq!((charge(&one).await, charge(&other).await), (401, 401));
    reload(&gateway, &with_partner("key-1")).await;
    assert_eq!((charge(&one).await, charge(&other).await), (200, 401));
    reload(&gateway, &with_partner("key-2")).await;
    assert_eq!((charge(&one).await, charge(&other).await), (401, 200));
    reload(
        &gateway,
        &with_partner("key-2").replace("sandbox = \"FILM\"", "sandbox = \"FILM\"\n[csp.sandbox]\namount_max = \"5\""),
    )
    .await;
    assert_eq!(charge(&other).await, 400, "above the bound");
    reload(&gateway, SANDBOX).await;
    assert_eq!((charge(&one).await, charge(&other).await), (401, 401));
    over.store(true, Ordering::SeqCst);
    assert!(busy.await.expect("no panic") > 0);
    assert_eq!(counted(&gateway).await, (4, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_is_wrong_or_changes_what_cannot_is_refused_whole() {
    let gateway = started(SANDBOX);
    let one = Partner::with_key(&gateway, "key-1");
    for (why, text, logged) in [
        ("two mistakes", with_partner("key-1") + "[csp.sandbox]\ncurrency = \"XXQ\"\nvoid = 1\n", vec!["XXQ", "void"]),
        ("no TOML", "[partner".to_owned(), vec!["onbill.toml"]),
        ("another store", with_partner("key-1") + "[charge]\nlease_s = 50\n", vec!["charge.lease_s cannot change"]),
        (
            "another operator",
            {
                let table =
                    "[csp.second]\nadapter = \"sandbox\"\ncurrency = \"MXN\"\nmsisdn_pattern = \"^[0-9]{10}$\"\n";
                with_partner("key-1") + table
            },
            vec!["second", "restart"],
        ),
        (
            "a key that is not there",
            {
                let table = "[csp.second]\nadapter = \"http\"\nurl = \"http://127.0.0.1:1\"\napi_key_file = \"/nowhere\"\n\
                         currency = \"MXN\"\nmsisdn_pattern = \"^[0-9]{10}$\"\n";
                with_partner("key-1") + table
            },
            vec!["/nowhere"],
        ),
    ] {
        reload(&gateway, &text).await;
        let log = gateway.log();
        assert!(logged.iter().all(|part| log.contains(part)), "{why}: {log}");
        assert_eq!(one.charge(&number("01"), &id("bad"), json!({})).await.status, 401, "{why}: nothing of it is taken");
    }
    assert_eq!(counted(&gateway).await, (0, 5));
    let demo = Partner::demo(&gateway);
    assert_eq!(demo.charge(&number("01"), &id("bad"), json!({})).await.status, 200);
    reload(&gateway, &with_partner("key-1")).await;
    assert_eq!(counted(&gateway).await, (1, 5));
    assert!(gateway.stop().success());
}
