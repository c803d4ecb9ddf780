//! Claims about one gateway and several CSPs, of which some are sick.
//!
//! Invariant: nothing rests on how fast anything is: what a healthy CSP's calls had to wait for is read from what the
//! gateway has counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use onbill::domain::api_key::KeyDigest;
use onbill::faces::pb::v1 as pb;
use onbill::faces::pb::v1::account_service_client::AccountServiceClient;
use onbill::faces::pb::v1::transaction_service_client::TransactionServiceClient;
use serde_json::json;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use super::client::{Answer, Partner, bill_of, charge};
use super::grpc::channel;
use super::ledger_commands::ledger;
use super::process::{Running, Setup};
use super::reload::reload;
use crate::operator::{KEY, Operator};

pub(super) const PARTNER_KEY: &str = "partner-key";
/// Charges at the healthy CSP while the others are sick.
const CHARGES: usize = 150;
/// Callers of each sick CSP.
const CALLERS: usize = 16;

pub(super) fn configuration(operators: &[(&str, &str, &Operator)]) -> String {
    let digest = KeyDigest::of(PARTNER_KEY.as_bytes());
    let lines = |line: &dyn Fn(&(&str, &str, &Operator)) -> String| operators.iter().map(line).collect::<Vec<_>>();
    let csps = lines(&|(id, ..)| format!("{id:?}")).join(", ");
    let codes = lines(&|(id, ..)| format!("{id} = \"BASIC\"")).join("\n");
    let tables = lines(&|(id, prefix, operator)| {
        let url = operator.authority();
        format!(
            "[csp.{id}]\nadapter = \"http\"\nurl = \"http://{url}\"\napi_key = \"{KEY}\"\ncurrency = \"MXN\"\n\
             msisdn_pattern = \"^[0-9]{{10}}$\"\nprefixes = [\"{prefix}\"]\nforget_after_s = 2\ncall_timeout_ms = 1000\n\
             [csp.{id}.guard]\ncalls_max = 8\nqueue_max = 8\ncalls_min = 5\nopen_ms = 200\n"
        )
    });
    format!(
        "[reconcile]\npoll_ms = 50\n[partner.ott]\nkey_sha256 = [\"{digest}\"]\ncsps = [{csps}]\n\
         [partner.ott.product.ott-basic.charge_codes]\n{codes}\n{}",
        tables.concat()
    )
}

pub(super) async fn order(operator: &Operator, fault: serde_json::Value) {
    let ordered = operator.client().post("/faults", &fault).await;
    assert_eq!(ordered.status, 201, "{ordered:?}");
}

/// What the gateway has counted under a name with these labels.
async fn counted(gateway: &Running, name: &str, labels: &[&str]) -> u64 {
    let metrics = Partner::at(gateway.admin(), "none").get("/metrics").await.body;
    let fits = |line: &&str| line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label));
    let value = |line: &str| line.rsplit(' ').next().and_then(|text| text.parse::<u64>().ok()).expect("a number");
    metrics.lines().filter(fits).map(value).sum()
}

fn is_promise(answer: &Answer) -> bool {
    let pending = answer.status == 200 && answer.json()["status"] != "Failure";
    pending || (answer.status == 503 && !answer.header("retry-after").is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn csps_that_hang_and_flap_take_nothing_from_a_healthy_one_and_no_money_is_lost() {
    let (well, hangs, flaps) = (Operator::start(&[]), Operator::start(&[]), Operator::start(&[]));
    order(&hangs, json!({ "fault": "request-lost", "count": 1_000_000 })).await;
    for nth in [10, 40, 70] {
        order(&flaps, json!({ "fault": "status", "status": 500, "verb": "charge", "nth": nth, "count": 20 })).await;
    }
    let operators = [("well", "5551", &well), ("hangs", "5552", &hangs), ("flaps", "5553", &flaps)];
    let gateway = tokio::task::block_in_place(|| Setup::default().config(&configuration(&operators)).start());
    let partner = Partner::with_key(&gateway, PARTNER_KEY);

    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = [("5552", "h"), ("5553", "f")]
        .into_iter()
        .flat_map(|(prefix, name)| {
            (0..CALLERS).map(move |caller| (format!("{prefix}000001"), format!("{name}{caller}")))
        })
        .map(|(number, name)| tokio::spawn(calls(partner.clone(), number, name, Arc::clone(&over))))
        .collect();
    for count in 0..CHARGES {
        let answer = partner.post("/transaction", &charge("5551000001", &format!("w-{count}"), json!({}))).await;
        assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("Success")), "{answer:?}");
    }
    over.store(true, Ordering::SeqCst);
    let mut sent = Vec::new();
    for caller in callers {
        sent.push(caller.await.expect("no panic"));
    }

    assert_eq!(counted(&gateway, "onbill_csp_queued_total", &["csp=\"well\""]).await, 0, "none had to wait");
    let outcome = async |csp: &str, outcome: &str| {
        counted(&gateway, "onbill_csp_calls_total", &[&format!("csp={csp:?}"), &format!("outcome={outcome:?}")]).await
    };
    assert_eq!(outcome("well", "turned_away").await + outcome("well", "unknown").await, 0);
    assert!(outcome("hangs", "turned_away").await > 0, "the one that hangs is left alone");
    assert!(gateway.log().contains("left alone"), "{}", gateway.log());
    assert_eq!(bill_of(&well.client(), "5551000001").await.len(), CHARGES);

    // Whatever a caller of the flapping one has heard: the same request again becomes final, and the bill agrees.
    let flapping = sent.into_iter().filter(|(number, _)| number.starts_with("5553"));
    let ends = flapping.flat_map(|(number, ids)| ids.into_iter().map(move |id| (number.clone(), id)));
    let ends: Vec<_> = ends
        .map(|(number, id)| {
            let partner = partner.clone();
            tokio::spawn(async move { finally(&partner, &number, &id).await })
        })
        .collect();
    let mut booked = 0;
    for end in ends {
        match end.await.expect("no panic").as_str() {
            "Success" => booked += 1,
            "Failure" => {}
            other => panic!("ended as {other}"),
        }
    }
    assert_eq!(bill_of(&flaps.client(), "5553000001").await.len(), booked);
}

/// Charges a number under one new id after the other until it is over; answers the ids.
async fn calls(partner: Partner, number: String, name: String, over: Arc<AtomicBool>) -> (String, Vec<String>) {
    let mut ids = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let id = format!("{name}-{}", ids.len());
        let answer = partner.post("/transaction", &charge(&number, &id, json!({}))).await;
        assert!(is_promise(&answer), "{answer:?}");
        ids.push(id);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (number, ids)
}

/// Repeats a charge until it is final.
async fn finally(partner: &Partner, number: &str, id: &str) -> String {
    for _ in 0..600 {
        let answer = partner.post("/transaction", &charge(number, id, json!({}))).await;
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        let status = if answer.status == 200 { answer.json()["status"].as_str().map(str::to_owned) } else { None };
        match status {
            Some(status) if status != "Pending" => return status,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("{id} never became final");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_csp_that_is_left_alone_is_503_on_both_faces_with_the_time_to_come_back() {
    let dead = Operator::start(&[]);
    let config = configuration(&[("dead", "5551", &dead)]).replace("open_ms = 200", "open_ms = 600000");
    dead.kill();
    let gateway = tokio::task::block_in_place(|| Setup::default().config(&config).start());
    let partner = Partner::with_key(&gateway, PARTNER_KEY);
    let account = json!({ "type": "MSISDN", "address": "5551000001" });
    for _ in 0..6 {
        assert_eq!(partner.post("/account/validate", &account).await.status, 503);
    }
    let turned_away = counted(&gateway, "onbill_csp_calls_total", &["outcome=\"turned_away\""]).await;
    assert!(turned_away > 0, "{}", gateway.log());
    assert_eq!(counted(&gateway, "onbill_csp_breaker_state", &["csp=\"dead\""]).await, 2);

    let unavailable = r#"{"code":"service-unavailable","message":"Service unavailable."}"#;
    let texted = json!({ "type": "MSISDN", "address": "5551000001", "message": "hello" });
    for (path, body) in [
        ("/account/validate", account),
        ("/transaction", charge("5551000001", "c1", json!({}))),
        ("/notification", texted),
    ] {
        let answer = partner.post(path, &body).await;
        assert_eq!((answer.brief(), answer.header("retry-after")), ((503, unavailable), "1"), "{path}");
    }
    let mut accounts = AccountServiceClient::new(channel(&gateway).await);
    let mut transactions = TransactionServiceClient::new(channel(&gateway).await);
    let (type_word, address) = ("MSISDN".to_owned(), "5551000001".to_owned());
    let account =
        pb::ValidateAccountRequest { r#type: type_word.clone(), address: address.clone(), ..Default::default() };
    let charge = pb::CreateTransactionRequest {
        ext_transaction_id: "c2".to_owned(),
        r#type: type_word,
        address,
        partner_product: "ott-basic".to_owned(),
        amount: "9.99".to_owned(),
        currency: "MXN".to_owned(),
        ..Default::default()
    };
    for status in [
        accounts.validate_account(keyed(account)).await.expect_err("unavailable"),
        transactions.create_transaction(keyed(charge)).await.expect_err("unavailable"),
    ] {
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "Service unavailable."));
        let details = status.get_error_details();
        assert_eq!(details.retry_info().expect("RetryInfo").retry_delay, Some(Duration::from_secs(1)));
        assert_eq!(details.error_info().expect("ErrorInfo").reason, "SERVICE_UNAVAILABLE");
    }
}

fn keyed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-api-key", PARTNER_KEY.parse().expect("a key"));
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_not_known_when_its_csp_is_removed_is_shown_to_people_and_final_once_it_is_back() {
    let (stays, goes) = (Operator::start(&[]), Operator::start(&[]));
    order(&goes, json!({ "fault": "status", "status": 500, "verb": "inquire", "count": 1_000_000 })).await;
    order(&goes, json!({ "fault": "cut-after", "verb": "charge" })).await;
    let both = configuration(&[("stays", "5551", &stays), ("goes", "5552", &goes)]);
    let directory = tempfile::TempDir::new().expect("a directory");
    let setup = Setup::default().config(&both).data_dir(directory.path());
    let gateway = tokio::task::block_in_place(|| setup.start());
    let partner = Partner::with_key(&gateway, PARTNER_KEY);
    let sent = partner.post("/transaction", &charge("5552000001", "c1", json!({}))).await;
    assert_eq!((sent.status, sent.json()["status"].as_str()), (200, Some("Pending")), "{sent:?}");

    reload(&gateway, &configuration(&[("stays", "5551", &stays)])).await;
    let mut shown = String::new();
    for _ in 0..600 {
        shown = tokio::task::block_in_place(|| ledger(&["stuck"], Some(directory.path()))).1;
        if shown.contains("its CSP is not configured any more") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(shown.contains("its CSP is not configured any more") && shown.contains("ott charge c1"), "{shown}");
    let asked = partner.get("/transaction/c1").await;
    assert_eq!(asked.json()["status"], "Pending", "{asked:?}");

    let cleared = goes.client().send(http::Method::DELETE, "/faults", &[], "").await;
    assert!(cleared.status < 300, "{cleared:?}");
    reload(&gateway, &both).await;
    assert_eq!(finally(&partner, "5552000001", "c1").await, "Success");
    let shown = tokio::task::block_in_place(|| ledger(&["stuck"], Some(directory.path()))).1;
    assert_eq!(shown, "nothing is stuck\n");
}
