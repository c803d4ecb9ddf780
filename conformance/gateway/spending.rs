//! Spend limits, seen from outside: what is over one is a Failure that is kept, and what fits is exactly what may be
//! spent, whichever address, face or moment it comes by.
//!
//! Invariant: the bill of the CSP says what was booked; no test waits for a day to end, the sandbox's clock is moved.

use std::process::Command;

use jiff::{Timestamp, ToSpan as _};
use onbill::faces::pb::v1 as pb;
use onbill::faces::pb::v1::transaction_service_client::TransactionServiceClient;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Answer, Partner, answered};
use super::grpc::{channel, keyed};
use super::process::{Running, Setup, id, number};
use super::reload::reload;

/// Where the CSP's days begin: six hours after those of Greenwich.
const ZONE: &str = "America/Mexico_City";
const DAILY: &str = "Over spending daily limit";

/// A sandbox whose CSP has one limit.
fn config(limit: &str) -> String {
    format!("[sandbox]\nenabled = true\n[csp.sandbox]\ntime_zone = '{ZONE}'\n[csp.sandbox.limit.purchases]\n{limit}\n")
}

fn limited(limit: &str) -> Running {
    tokio::task::block_in_place(|| Setup::default().config(&config(limit)).start())
}

fn amount(amount: &str) -> Value {
    json!({ "amount": amount })
}

/// The text of an answer.
fn text(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["description"].as_str().expect("a text").to_owned()
}

async fn charged(partner: &Partner, number: &str, of: &str) -> String {
    text(&partner.charge(number, &id("l"), amount(of)).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_over_a_limit_is_a_failure_that_is_kept_and_is_the_same_over_both_faces() {
    let gateway = limited("transaction_max = '15'\nday_max = '20'\nmonth_max = '30'");
    let demo = Partner::demo(&gateway);
    let mut grpc = TransactionServiceClient::new(channel(&gateway).await);
    let (number, too_much, over) = (number("01"), id("l"), id("l"));
    let refused = demo.charge(&number, &too_much, amount("15.01")).await;
    assert_eq!(refused.brief(), (200, answered(&too_much, "Failure", "Over spending transaction limit").as_str()));
    assert_eq!(charged(&demo, &number, "10").await, "Charge success");
    let request = pb::CreateTransactionRequest {
        ext_transaction_id: over.clone(),
        r#type: "MSISDN".to_owned(),
        address: number.clone(),
        partner_product: "ott-basic".to_owned(),
        amount: "10.01".to_owned(),
        currency: "MXN".to_owned(),
        ..Default::default()
    };
    let first = grpc.create_transaction(keyed(request.clone())).await.expect("an answer");
    assert_eq!((first.get_ref().status.as_str(), first.get_ref().description.as_str()), ("Failure", DAILY));
    assert!(first.metadata().get("idempotency-replayed").is_none());
    assert_eq!(charged(&demo, &number, "10").await, "Charge success", "what fits exactly");
    let again = demo.charge(&number, &over, amount("10.01")).await;
    assert_eq!(again.brief(), (200, answered(&over, "Failure", DAILY).as_str()));
    assert_eq!(again.header("idempotency-replayed"), "true");
    let replay = grpc.create_transaction(keyed(request)).await.expect("an answer");
    assert_eq!(replay.metadata().get("idempotency-replayed").expect("replayed"), "true");
    let seen = demo.get(&format!("/transaction/{over}")).await.json();
    assert_eq!(
        (&seen["status"], &seen["message"], &seen["amount"]),
        (&json!("Failure"), &json!(DAILY), &json!("10.01"))
    );
    let failed = demo.get("/transactions?status=Failure").await.json();
    assert_eq!(failed["transactions"].as_array().expect("a list").len(), 2);
    let used = demo.charge(&number, &over, amount("1")).await;
    assert_eq!(used.status, 400, "the id belongs to the failed one: {used:?}");
    assert_eq!(demo.bill(&number).await, (vec!["10.0".to_owned(), "10.0".to_owned()], "20.0".to_owned()));
    let metrics = Partner::at(gateway.admin(), "none").get("/metrics").await.body;
    for period in ["transaction", "day"] {
        let line =
            format!("onbill_charges_over_limit_total{{csp=\"sandbox\",limit=\"purchases\",period=\"{period}\"}} 1");
        assert!(metrics.lines().any(|found| found == line), "{period}: {metrics}");
    }
    assert!(!metrics.contains(&number) && !gateway.log().contains(&number));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_charges_at_once_exactly_as_many_are_booked_as_fit() {
    let gateway = limited("day_max = '20'");
    let demo = Partner::demo(&gateway);
    let number = number("01");
    let calls = (0..60).map(|_| {
        let (demo, number) = (demo.clone(), number.clone());
        tokio::spawn(async move { charged(&demo, &number, "0.99").await })
    });
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(call.await.expect("an answer"));
    }
    let booked = answers.iter().filter(|text| *text == "Charge success").count();
    let over = answers.iter().filter(|text| *text == DAILY).count();
    assert_eq!((booked, over), (20, 40), "20 times 0.99 is 19.80");
    assert_eq!(demo.bill(&number).await.1, "19.8");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_addresses_of_an_account_count_together() {
    let gateway = limited("day_max = '20'");
    let (demo, other) = (Partner::demo(&gateway), Partner::other(&gateway));
    let number = number("20");
    let validated = demo.post("/account/validate", &json!({ "type": "MSISDN", "address": number })).await;
    let account = validated.header("x-account-id").to_owned();
    assert_eq!(charged(&demo, &number, "8").await, "Charge success");
    let by_email = json!({ "type": "EMAIL", "address": format!("{number}@sandbox.example"), "amount": "8" });
    assert_eq!(text(&demo.charge(&number, &id("l"), by_email.clone()).await), "Charge success");
    let by_account = json!({ "type": null, "address": null, "accountId": account, "amount": "4.01" });
    for (partner, fields) in [(&demo, by_account), (&demo, by_email), (&other, amount("4.01"))] {
        assert_eq!(text(&partner.charge(&number, &id("l"), fields).await), DAILY, "for all partners together");
    }
    assert_eq!(charged(&other, &number, "4").await, "Charge success");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partners_and_products_may_be_counted_apart_or_alone() {
    let gateway = limited("each = ['partner', 'product']\nproducts = ['ott-basic']\nday_max = '20'");
    let (demo, other) = (Partner::demo(&gateway), Partner::other(&gateway));
    assert_eq!(charged(&demo, &number("01"), "15").await, "Charge success");
    assert_eq!(charged(&demo, &number("01"), "6").await, DAILY, "whichever address it is");
    assert_eq!(charged(&other, &number("01"), "15").await, "Charge success");
    let premium = json!({ "amount": "1000", "partnerProduct": "ott-premium" });
    assert_eq!(text(&demo.charge(&number("01"), &id("l"), premium).await), "Charge success", "it has no limit");
    assert_eq!(charged(&demo, &number("01"), "5").await, "Charge success");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_holds_what_failed_gives_back_and_so_does_a_refund() {
    let gateway = limited("day_max = '20'");
    let demo = Partner::demo(&gateway);
    let [usual, poor, away, lost] = ["01", "08", "15", "12"].map(number);
    for _ in 0..3 {
        assert_eq!(charged(&demo, &poor, "15").await, "Insufficient funds", "which takes nothing from the limit");
        assert_eq!(demo.charge(&away, &id("l"), amount("15")).await.status, 503, "nor does what was never sent");
    }
    let open = id("l");
    assert_eq!(text(&demo.charge(&lost, &open, amount("15")).await), "Charge pending");
    assert_eq!(charged(&demo, &lost, "15").await, DAILY);
    for _ in 0..600 {
        demo.advance(1).await;
        if demo.get(&format!("/transaction/{open}")).await.json()["status"] == "Failure" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(charged(&demo, &lost, "15").await, "Charge pending", "the first one has failed");
    let charge = id("l");
    assert_eq!(text(&demo.charge(&usual, &charge, amount("20")).await), "Charge success");
    assert_eq!(charged(&demo, &usual, "5").await, DAILY);
    let part = json!({ "amount": "-5", "referenceId": charge });
    assert_eq!(text(&demo.charge(&usual, &id("l"), part).await), "Charge success");
    assert_eq!(charged(&demo, &usual, "5").await, "Charge success");
    assert_eq!(charged(&demo, &usual, "0.01").await, DAILY);
}

/// Seconds from a moment to the next midnight where the CSP is.
fn to_midnight_s(now: Timestamp) -> i64 {
    let here = now.in_tz(ZONE).expect("a time zone");
    let midnight = here.start_of_day().expect("a day").checked_add(1.day()).expect("in range");
    midnight.timestamp().as_second() - now.as_second()
}

/// Whether the day after a moment is of another month where the CSP is.
fn month_ends(now: Timestamp) -> bool {
    let here = now.in_tz(ZONE).expect("a time zone");
    here.checked_add(1.day()).expect("in range").month() != here.month()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_ends_at_the_csps_midnight_and_a_month_goes_on() {
    let gateway = limited("day_max = '20'\nmonth_max = '30'");
    let demo = Partner::demo(&gateway);
    let number = number("01");
    let mut moved_s = 0;
    let now = |moved_s: i64| Timestamp::now().checked_add(moved_s.seconds()).expect("in range");
    // Ten minutes are more than all of this takes.
    let mut wait_s = to_midnight_s(now(0)) - 600;
    while wait_s < 1 || month_ends(now(moved_s + wait_s)) {
        wait_s += 86_400;
    }
    demo.advance(u32::try_from(wait_s).expect("small")).await;
    moved_s += wait_s;
    let charge = id("l");
    assert_eq!(text(&demo.charge(&number, &charge, amount("20")).await), "Charge success");
    assert_eq!(charged(&demo, &number, "1").await, DAILY);
    let left_s = to_midnight_s(now(moved_s));
    demo.advance(u32::try_from(left_s + 1).expect("small")).await;
    assert_eq!(charged(&demo, &number, "9").await, "Charge success", "another day");
    assert_eq!(charged(&demo, &number, "1.01").await, "Over spending monthly limit");
    // What yesterday's charge gives back is of yesterday, and of the month.
    let refund = json!({ "amount": "-5", "referenceId": charge });
    assert_eq!(text(&demo.charge(&number, &id("l"), refund).await), "Charge success");
    assert_eq!(charged(&demo, &number, "11.01").await, DAILY);
    assert_eq!(charged(&demo, &number, "6.01").await, "Over spending monthly limit");
    assert_eq!(charged(&demo, &number, "6").await, "Charge success");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_outlive_the_gateway_and_are_what_verification_adds_up() {
    let directory = TempDir::new().expect("a directory");
    let start = || {
        tokio::task::block_in_place(|| {
            Setup::default().config(&config("day_max = '20'")).data_dir(directory.path()).start()
        })
    };
    let number = number("01");
    let gateway = start();
    assert_eq!(charged(&Partner::demo(&gateway), &number, "12").await, "Charge success");
    assert_eq!(charged(&Partner::demo(&gateway), &number, "12").await, DAILY);
    gateway.kill();
    let gateway = start();
    let demo = Partner::demo(&gateway);
    assert_eq!(charged(&demo, &number, "12").await, DAILY);
    assert_eq!(charged(&demo, &number, "8").await, "Charge success");
    assert!(gateway.stop().success());
    let mut command = Command::new(env!("CARGO_BIN_EXE_onbill"));
    let verified = command.args(["ledger", "verify", "--data-dir"]).arg(directory.path()).output().expect("it runs");
    assert!(verified.status.success(), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_limit_is_for_new_charges_and_keeps_what_was_counted() {
    let gateway = limited("day_max = '20'");
    let demo = Partner::demo(&gateway);
    let (number, over, charge) = (number("01"), id("l"), id("l"));
    assert_eq!(text(&demo.charge(&number, &charge, amount("15")).await), "Charge success");
    assert_eq!(text(&demo.charge(&number, &over, amount("6")).await), DAILY);
    reload(&gateway, &config("day_max = '21'")).await;
    assert_eq!(text(&demo.charge(&number, &over, amount("6")).await), DAILY, "what was final stays so");
    assert_eq!(charged(&demo, &number, "6").await, "Charge success", "15 are counted on");
    reload(&gateway, &config("day_max = '10'")).await;
    assert_eq!(charged(&demo, &number, "1").await, DAILY);
    let refund = json!({ "amount": "-15", "referenceId": charge });
    assert_eq!(text(&demo.charge(&number, &id("l"), refund).await), "Charge success");
    assert_eq!(charged(&demo, &number, "4").await, "Charge success", "6 and 4 are 10");
    assert_eq!(charged(&demo, &number, "0.01").await, DAILY);
    reload(&gateway, &format!("[sandbox]\nenabled = true\n[csp.sandbox]\ntime_zone = '{ZONE}'\n")).await;
    assert_eq!(charged(&demo, &number, "100").await, "Charge success", "no limit any more");
}
