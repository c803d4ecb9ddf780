//! GET /transactions: pages, filters, and the order of keys.

use serde_json::{Value, json};

use super::client::{Partner, invalid};
use super::process::{Running, id, number};

async fn ids(partner: &Partner, query: &str) -> Vec<String> {
    let page = partner.get(&format!("/transactions{query}")).await.json();
    let rows = page["transactions"].as_array().unwrap_or_else(|| panic!("{page}")).clone();
    rows.iter().map(|row| row["extTransactionId"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn pages_are_newest_first_without_gaps_or_repeats() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let empty = demo.get("/transactions").await;
    assert_eq!(empty.brief(), (200, r#"{"transactions":[],"nextPageToken":""}"#));
    let number = number("01");
    let mut made: Vec<String> = (0..7).map(|_| id("l")).collect();
    for id in &made {
        assert_eq!(demo.charge(&number, id, json!({})).await.status, 200);
    }
    made.reverse();
    assert_eq!(ids(&demo, "").await, made);
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = demo.get(&format!("/transactions?pageSize=3&pageToken={token}")).await.json();
        let rows = page["transactions"].as_array().expect("rows");
        seen.extend(rows.iter().map(|row| row["extTransactionId"].as_str().expect("an id").to_owned()));
        token = page["nextPageToken"].as_str().expect("a token").to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, made);
    let token = demo.get("/transactions?pageSize=1").await.json()["nextPageToken"].as_str().expect("one").to_owned();
    let not_valid = invalid(&[("violation-on-pageToken", "is not valid")]);
    let query = format!("/transactions?pageToken={token}");
    assert_eq!(Partner::other(&gateway).get(&query).await.brief(), (400, not_valid.as_str()), "another partner's");
    assert_eq!(demo.get(&format!("{query}&status=Success")).await.brief(), (400, not_valid.as_str()), "other filters");
}

#[tokio::test]
async fn a_row_has_its_keys_in_order_and_tells_charges_from_refunds() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number, charge, refund) = (number("01"), id("l"), id("l"));
    demo.charge(&number, &charge, json!({})).await;
    demo.charge(&number, &refund, json!({ "amount": "-4", "referenceId": charge })).await;
    let page = demo.get("/transactions").await.json();
    let keys = |row: &Value| row.as_object().expect("a row").keys().cloned().collect::<Vec<_>>();
    let rows = page["transactions"].as_array().expect("rows");
    let common = ["chargeDate", "currency", "amount"];
    let tail = ["message", "status", "partnerProduct"];
    let of_refund = [&["extTransactionId", "kind", "referenceId"], &common[..], &tail[..]].concat();
    let of_charge = [&["extTransactionId", "kind"], &common[..], &["refundedAmount"], &tail[..]].concat();
    assert_eq!((keys(&rows[0]), keys(&rows[1])), (of_refund.map_owned(), of_charge.map_owned()));
    assert_eq!((&rows[0]["kind"], &rows[0]["amount"]), (&json!("refund"), &json!("-4.0")));
    assert_eq!((&rows[1]["refundedAmount"], &rows[1]["partnerProduct"]), (&json!("4.0"), &json!("ott-basic")));
}

/// Texts of their own from borrowed ones.
trait Owned {
    fn map_owned(&self) -> Vec<String>;
}

impl Owned for Vec<&str> {
    fn map_owned(&self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }
}

#[tokio::test]
async fn filters_narrow_and_what_they_are_not_is_told() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (rich, poor) = (number("01"), number("08"));
    let (success, failure) = (id("l"), id("l"));
    demo.charge(&rich, &success, json!({})).await;
    demo.charge(&poor, &failure, json!({})).await;
    let account = demo.post("/account/validate", &json!({ "type": "MSISDN", "address": poor })).await;
    let account = account.header("x-account-id").to_owned();
    for (query, expected) in [
        ("?status=Success".to_owned(), vec![&success]),
        ("?status=Failure".to_owned(), vec![&failure]),
        ("?status=Pending".to_owned(), vec![]),
        ("?status=".to_owned(), vec![&failure, &success]),
        (format!("?accountId={account}"), vec![&failure]),
        ("?since=2000-01-01T00:00:00Z".to_owned(), vec![&failure, &success]),
        ("?until=2000-01-01T02:00:00%2B02:00".to_owned(), vec![]),
        ("?since=2999-01-01T00:00:00.5Z".to_owned(), vec![]),
    ] {
        assert_eq!(ids(&demo, &query).await.iter().collect::<Vec<_>>(), expected, "{query}");
    }
    let size = "must be between 1 and 500";
    for (query, violation) in [
        ("pageSize=0", ("violation-on-pageSize", size)),
        ("pageSize=501", ("violation-on-pageSize", size)),
        ("pageSize=many", ("violation-on-pageSize", size)),
        ("pageToken=nonsense", ("violation-on-pageToken", "is not valid")),
        ("since=yesterday", ("violation-on-since", "must be an RFC 3339 time")),
        ("until=2020-01-01", ("violation-on-until", "must be an RFC 3339 time")),
        ("status=success", ("violation-on-status", "must be one of Success, Failure, Pending")),
        ("colour=red", ("violation-on-colour", "unknown field")),
        ("status=Success&status=Failure", ("violation-on-status", "duplicate field")),
    ] {
        let answer = demo.get(&format!("/transactions?{query}")).await;
        assert_eq!(answer.brief(), (400, invalid(&[violation]).as_str()), "{query}");
    }
    let unknown = demo.get("/transactions?accountId=acc_nonsense").await;
    assert_eq!(unknown.brief(), (404, r#"{"code":"account-not-found","message":"Account not found"}"#));
    let kind = demo.get(&format!("/transaction/{success}?kind=gift")).await;
    let expected = invalid(&[("violation-on-kind", "must be one of charge, refund")]);
    assert_eq!(kind.brief(), (400, expected.as_str()));
}
