//! Claims about faults on order: what a gateway hears, and what is on the bill all the same.
//!
//! Invariant: each fault is seen through an adapter, as a gateway sees it, over HTTP and over gRPC.

use std::time::{Duration, Instant};

use onbill::domain::address::{Address, Msisdn};
use onbill::domain::ids::{AccountRef, ChargeCode, CorrelationId, Reference};
use onbill::domain::money::{Currency, Money};
use onbill::domain::trace::Trace;
use onbill::domain::transaction::settle::Receipt;
use onbill::ports::csp::{CallContext, ChargeOrder, Csp, CspError, Identifier, Inquiry};
use serde_json::{Value, json};

use super::{Operator, all_lines};
use crate::ports::{csp_grpc, csp_http};

/// An operator of each protocol, and the adapter that speaks to it.
fn operators() -> [(Operator, Box<dyn Csp>); 2] {
    let (http, grpc) = (Operator::start(&[]), Operator::start(&["--protocol", "grpc"]));
    let csps: [Box<dyn Csp>; 2] =
        [Box::new(csp_http::adapter(http.authority())), Box::new(csp_grpc::adapter(grpc.authority()))];
    let [over_http, over_grpc] = csps;
    [(http, over_http), (grpc, over_grpc)]
}

fn call(budget_ms: u64) -> CallContext {
    let correlation = CorrelationId::parse("faults").expect("well formed");
    CallContext {
        trace: Trace::begun_by(&correlation),
        correlation,
        partner: None,
        trace_state: None,
        budget: Duration::from_millis(budget_ms),
    }
}

async fn account(csp: &dyn Csp, number: &str) -> AccountRef {
    let who = Identifier::Address(Address::Msisdn(Msisdn::new(number)));
    csp.account(&who, None, &call(5000)).await.expect("an answer").expect("an account").reference
}

async fn charge(csp: &dyn Csp, account: &AccountRef, count: u8, budget_ms: u64) -> Result<Receipt, CspError> {
    let money = Money::new(999, Currency::from_code("MXN").expect("a currency"));
    let order = ChargeOrder {
        reference: Reference::from_bytes([count; 16]),
        account: account.clone(),
        charge_code: ChargeCode::new("BASIC"),
        money,
        bill_text: String::new(),
    };
    csp.charge(&order, &call(budget_ms)).await
}

fn verdict(answer: &Result<Receipt, CspError>) -> &'static str {
    match answer {
        Ok(receipt) if receipt.money.minor != 999 => "another amount",
        Ok(receipt) if receipt.reference.as_bytes()[0] == 0xff => "another reference",
        Ok(_) => "booked",
        Err(CspError::NotApplied(_)) => "not applied",
        Err(CspError::Refused { .. }) => "refused",
        Err(CspError::Unknown(_)) => "unknown",
    }
}

#[tokio::test]
async fn each_fault_is_heard_as_it_should_be_and_books_what_it_says() {
    for (operator, csp) in operators() {
        every_fault(&operator, csp.as_ref()).await;
    }
}

async fn every_fault(operator: &Operator, csp: &dyn Csp) {
    let client = operator.client();
    let account = account(csp, "5550100001").await;
    let is_http = client.post("/account/validate", &json!({})).await.status == 400;
    let (broken, busy) = if is_http { (500, 429) } else { (13, 8) };
    let mut booked = 0;
    for (count, (fault, expected, lines)) in (1..).zip([
        (json!({ "fault": "answer-lost" }), "unknown", 1),
        (json!({ "fault": "request-lost" }), "unknown", 0),
        (json!({ "fault": "cut-before" }), "unknown", 0),
        (json!({ "fault": "cut-after" }), "unknown", 1),
        (json!({ "fault": "cut-answer" }), "unknown", 1),
        (json!({ "fault": "delay", "delayMs": 10 }), "booked", 1),
        (json!({ "fault": "delay", "delayMs": 60_000 }), "unknown", 1),
        (json!({ "fault": "twice" }), "booked", 1),
        (json!({ "fault": "not-applied" }), "not applied", 0),
        (json!({ "fault": "status", "status": broken }), "unknown", 0),
        (json!({ "fault": "status", "status": broken, "applied": true }), "unknown", 1),
        (json!({ "fault": "status", "status": busy }), "unknown", 0),
        (json!({ "fault": "wrong-amount" }), "another amount", 1),
        (json!({ "fault": "wrong-reference" }), "another reference", 1),
        (json!({ "fault": "broken-json" }), "unknown", 1),
    ]) {
        assert_eq!(client.post("/faults", &fault).await.status, 201, "{fault}");
        let patience = if expected == "unknown" { 700 } else { 5000 };
        assert_eq!(verdict(&charge(csp, &account, count, patience).await), expected, "{fault}");
        booked += lines;
        assert_eq!(all_lines(&client).await.len(), booked, "{fault}");
        assert_eq!(client.get("/faults").await.json(), json!({ "faults": [] }), "{fault} is used up");
    }
}

#[tokio::test]
async fn a_late_request_is_not_known_first_and_booked_afterwards() {
    for (operator, csp) in operators() {
        a_late_one(&operator, csp.as_ref()).await;
    }
}

async fn a_late_one(operator: &Operator, csp: &dyn Csp) {
    let account = account(csp, "5550100001").await;
    operator.client().post("/faults", &json!({ "fault": "late", "delayMs": 1500 })).await;
    assert_eq!(verdict(&charge(csp, &account, 1, 5000).await), "unknown");
    let reference = Reference::from_bytes([1; 16]);
    let mut seen = Vec::new();
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(30) && !matches!(seen.last(), Some(Inquiry::Booked(_))) {
        seen.push(csp.inquire(&reference, &call(5000)).await.expect("an answer"));
    }
    assert!(matches!(seen.first(), Some(Inquiry::NotKnown)) && matches!(seen.last(), Some(Inquiry::Booked(_))));
}

#[tokio::test]
async fn an_order_fits_by_verb_number_and_reference_from_the_nth_on_and_so_many_times() {
    let operator = Operator::start(&[]);
    let (csp, client) = (csp_http::adapter(operator.authority()), operator.client());
    let (one, other) = (account(&csp, "5550100001").await, account(&csp, "5550100101").await);
    let reference = |count: u8| Reference::from_bytes([count; 16]).to_string();
    for (fits, verdicts) in [
        (json!({ "verb": "refund" }), ["booked", "booked", "booked", "booked"]),
        (json!({ "verb": "charge" }), ["not applied", "booked", "booked", "booked"]),
        (json!({ "address": "5550100101" }), ["booked", "not applied", "booked", "booked"]),
        (json!({ "reference": reference(3) }), ["booked", "booked", "not applied", "booked"]),
        (json!({ "nth": 2, "count": 2 }), ["booked", "not applied", "not applied", "booked"]),
    ] {
        let mut order = fits.clone();
        order["fault"] = json!("not-applied");
        assert_eq!(client.post("/faults", &order).await.status, 201, "{order}");
        let mut heard = Vec::new();
        for (count, account) in [(1, &one), (2, &other), (3, &one), (4, &other)] {
            heard.push(verdict(&charge(&csp, account, count, 5000).await));
        }
        assert_eq!(heard, verdicts, "{fits}");
        client.send(http::Method::DELETE, "/faults", &[], "").await;
    }
}

#[tokio::test]
async fn an_order_that_is_none_is_refused() {
    let operator = Operator::start(&[]);
    let client = operator.client();
    let refused: [Value; 8] = [
        json!({}),
        json!({ "fault": "fire" }),
        json!({ "fault": "twice", "verb": "steal" }),
        json!({ "fault": "twice", "nth": 0 }),
        json!({ "fault": "twice", "status": 500 }),
        json!({ "fault": "status" }),
        json!({ "fault": "twice", "address": "5550100099" }),
        json!({ "fault": "twice", "typo": 1 }),
    ];
    for order in refused {
        assert_eq!(client.post("/faults", &order).await.status, 400, "{order}");
    }
    let over_grpc = Operator::start(&["--protocol", "grpc"]);
    let no_status = json!({ "fault": "status", "status": 500 });
    assert_eq!(over_grpc.client().post("/faults", &no_status).await.status, 400, "no status of gRPC");
    assert_eq!(client.get("/faults").await.json(), json!({ "faults": [] }));
}
