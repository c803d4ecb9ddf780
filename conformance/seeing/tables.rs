//! The numbers: what a gateway prints, what the table says that it does, and what rules, dashboard and runbook make of it.
//!
//! Invariant: a name or a label that is wrong anywhere is found here, and so is a number that nobody looks at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use onbill::ports::measures::{ALL, Measure, Moves};
use serde_json::{Value, json};

use crate::gateway::client::Partner;
use crate::gateway::endpoint::{Endpoint, SECRET, with_endpoint};
use crate::gateway::process::{Setup, id, number};
use crate::house::sources::root;

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every expression of the dashboard, with the panel's title.
pub fn dashboard() -> Vec<(String, String)> {
    let json: Value = serde_json::from_str(&read("deploy/grafana/onbill.json")).expect("JSON");
    let mut found = Vec::new();
    for panel in json["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let title = panel["title"].as_str().expect("a title").to_owned();
            found.push((title, target["expr"].as_str().expect("an expression").to_owned()));
        }
    }
    assert!(found.len() > 40, "{}", found.len());
    found
}

/// Expressions of the rules, with the names of what they make.
fn rules() -> Vec<(String, String)> {
    let text = read("deploy/prometheus/onbill.rules.yml");
    let mut found: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("- alert: ").or_else(|| line.strip_prefix("- record: ")) {
            found.push((name.to_owned(), String::new()));
        } else if let Some((_, expression)) = found.last_mut()
            && !["for:", "labels:", "annotations:", "summary:", "runbook_url:", "- name:"]
                .iter()
                .any(|key| line.starts_with(key))
        {
            expression.push_str(line.trim_start_matches("expr:"));
        }
    }
    assert!(found.len() > 30);
    found
}

fn words(text: &str, is_part: impl Fn(char) -> bool) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    for word in text.split(|c| !is_part(c)) {
        if !word.is_empty() {
            found.push((at, word));
        }
        at += word.len() + text[at + word.len()..].chars().next().map_or(0, char::len_utf8);
    }
    found
}

/// The numbers that an expression names, recorded ones aside.
fn named(expression: &str) -> Vec<(&'static Measure, String)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let ours = words(expression, is_part).into_iter().filter(|(_, word)| word.starts_with("onbill_"));
    ours.map(|(at, word)| {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        let row = ALL.iter().find(|row| match row.moves {
            Moves::Histogram => Some(row.name) == of_histogram,
            Moves::Counter | Moves::Gauge => row.name == word,
        });
        let rest = &expression[at + word.len()..];
        let labels = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(labels, _)| labels);
        (row.unwrap_or_else(|| panic!("{word} of {expression} is no number of the table")), labels.to_owned())
    })
    .collect()
}

/// The labels that a filter names.
fn filtered(labels: &str) -> Vec<&str> {
    labels.split(',').filter_map(|part| part.split(['=', '!']).next()).filter(|name| !name.is_empty()).collect()
}

/// Labels that Prometheus adds, and that of buckets.
const FROM_OUTSIDE: [&str; 3] = ["instance", "job", "le"];

fn check(place: &str, expression: &str) {
    let recorded: BTreeSet<String> =
        rules().into_iter().map(|(name, _)| name).filter(|name| name.contains(':')).collect();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    for (_, word) in words(expression, is_part).into_iter().filter(|(_, word)| word.starts_with("onbill:")) {
        assert!(recorded.contains(word), "{place}: nothing records {word}");
    }
    let found = named(expression);
    for (row, labels) in &found {
        for label in filtered(labels) {
            assert!(
                row.labels.contains(&label) || FROM_OUTSIDE.contains(&label),
                "{place}: {} has no {label}",
                row.name
            );
        }
    }
    for (at, _) in expression.match_indices(" by (") {
        let inside = expression[at + 5..].split(')').next().expect("it closes");
        for label in inside.split(',').map(str::trim) {
            let known = found.is_empty() || found.iter().any(|(row, _)| row.labels.contains(&label));
            assert!(known || FROM_OUTSIDE.contains(&label), "{place}: nothing in {expression} has {label}");
        }
    }
}

#[test]
fn rules_and_dashboard_name_numbers_and_labels_that_there_are_and_leave_none_out() {
    let mut shown = BTreeSet::new();
    for (place, expression) in dashboard().into_iter().chain(rules()) {
        check(&place, &expression);
        shown.extend(named(&expression).into_iter().map(|(row, _)| row.name));
    }
    let unseen: Vec<_> = ALL.iter().map(|row| row.name).filter(|name| !shown.contains(name)).collect();
    assert!(unseen.is_empty(), "nobody looks at {unseen:?}");
    let panels: BTreeSet<_> =
        dashboard().iter().flat_map(|(_, expression)| named(expression)).map(|(row, _)| row.name).collect();
    assert_eq!(panels.len(), ALL.len(), "every number is on the dashboard");
}

#[test]
fn every_alert_has_an_entry_in_the_runbook_and_every_entry_an_alert() {
    let runbook = read("deploy/runbook.md");
    let entries: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## Onbill")).collect();
    let alerts: Vec<String> = rules().into_iter().map(|(name, _)| name).filter(|name| !name.contains(':')).collect();
    let expected: Vec<&str> = alerts.iter().map(|name| name.strip_prefix("Onbill").expect("the prefix")).collect();
    assert_eq!(entries, expected);
    let text = read("deploy/prometheus/onbill.rules.yml");
    for alert in &alerts {
        let url = format!("runbook_url: \"deploy/runbook.md#{}\"", alert.to_lowercase());
        assert!(text.contains(&url), "{alert} does not lead to its entry");
    }
    let tested = read("deploy/prometheus/onbill.test.yml");
    for alert in &alerts {
        let fires = format!("  - name: {alert}\n");
        let rests = format!("alertname: {alert}, exp_alerts: []");
        assert!(tested.contains(&fires) && tested.contains(&rests), "{alert} is not tested both ways");
    }
}

#[test]
fn the_runbook_shows_the_table_of_numbers() {
    let runbook = read("deploy/runbook.md");
    let shown: Vec<&str> = runbook.lines().filter(|line| line.starts_with("| `onbill_")).collect();
    let row = |row: &Measure| {
        let labels: Vec<String> = row.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {} | {} | {} |", row.name, row.moves.word(), labels.join(", "), row.help)
    };
    let expected: Vec<String> = ALL.iter().map(row).collect();
    assert_eq!(shown, expected);
}

/// Numbers of what this file's gateways do not have: TLS, issuers of tokens, a limit of any kind that is reached.
pub const ELSEWHERE: [&str; 7] = [
    "onbill_tls_handshakes_total",
    "onbill_tls_reloads_total",
    "onbill_tls_certificate_expires_seconds",
    "onbill_jwks_fetches_total",
    "onbill_charges_over_limit_total",
    "onbill_rate_limited_total",
    "onbill_connections_ended_total",
];

/// What `/metrics` prints: kinds by name, and the labels of each.
fn printed(text: &str) -> (BTreeMap<String, String>, BTreeMap<String, BTreeSet<String>>) {
    let mut kinds = BTreeMap::new();
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kinds.insert(name.to_owned(), kind.to_owned());
        } else if !line.starts_with('#') && !line.is_empty() {
            let (name, inside) = match line.split_once('{') {
                Some((name, rest)) => (name, rest.rsplit_once('}').expect("it closes").0),
                None => (line.split(' ').next().expect("a name"), ""),
            };
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let name = of_histogram.filter(|base| kinds.contains_key(*base)).unwrap_or(name);
            let names = inside.split("\",").filter_map(|part| part.split("=\"").next()).filter(|name| !name.is_empty());
            labels.entry(name.to_owned()).or_default().extend(names.map(str::to_owned));
        }
    }
    (kinds, labels)
}

#[tokio::test]
async fn a_gateway_prints_the_numbers_of_the_table_and_no_other() {
    let endpoint = Endpoint::new().await;
    let config = "[sandbox]\nenabled = true\n";
    let setup = with_endpoint(Setup::default().config(config), "DEMO_OTT", &endpoint.url(), SECRET);
    let gateway = setup
        .environment("ONBILL__TRACES__ENDPOINT", &format!("http://127.0.0.1:{}", crate::servers::free_port()))
        .start();
    let demo = Partner::demo(&gateway);
    let (number, id) = (number("01"), id("m"));
    for _ in 0..2 {
        assert_eq!(demo.charge(&number, &id, json!({})).await.status, 200);
    }
    endpoint.wait(1).await;
    assert_eq!(demo.post("/pin", &json!({ "type": "MSISDN", "address": number })).await.status, 201);
    let stranger = Partner::with_key(&gateway, "nobody's key");
    assert_eq!(stranger.get("/transactions").await.status, 401);
    for (path, status) in [("/nowhere", 404), ("/pin/5550100001", 404), ("/pin", 405), ("/openapi.json", 200)] {
        assert_eq!(stranger.get(path).await.status, status, "{path}");
    }
    gateway.hang_up();
    let admin = Partner::at(gateway.admin(), "");
    let expected: BTreeSet<String> = ALL.iter().map(|row| row.name.to_owned()).collect();
    let since = Instant::now();
    let (kinds, labels) = loop {
        let (kinds, labels) = printed(&admin.get("/metrics").await.body);
        let missing: Vec<_> =
            expected.iter().filter(|name| !kinds.contains_key(*name) && !ELSEWHERE.contains(&name.as_str())).collect();
        if missing.is_empty() {
            break (kinds, labels);
        }
        assert!(since.elapsed() < Duration::from_secs(30), "not printed: {missing:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let strangers: Vec<_> = kinds.keys().filter(|name| !expected.contains(*name)).collect();
    assert!(strangers.is_empty(), "not in the table: {strangers:?}");
    for row in ALL.iter().filter(|row| !ELSEWHERE.contains(&row.name)) {
        assert_eq!(kinds[row.name], row.moves.word(), "{}", row.name);
        let mut known: BTreeSet<String> = row.labels.iter().map(|label| (*label).to_owned()).collect();
        if row.moves == Moves::Histogram {
            known.insert("le".to_owned());
        }
        assert_eq!(labels.get(row.name).cloned().unwrap_or_default(), known, "{}", row.name);
    }
    let metrics = admin.get("/metrics").await.body;
    for line in [
        "onbill_requests_total{rpc=\"onbill.v1.TransactionService/CreateTransaction\",face=\"json\",partner=\"demo-ott\",code=\"ok\"} 2\n",
        "onbill_requests_total{rpc=\"onbill.v1.TransactionService/ListTransactions\",face=\"json\",partner=\"none\",code=\"authorization-failure\"} 1\n",
        "onbill_requests_total{rpc=\"unknown\",face=\"json\",partner=\"none\",code=\"not-found\"} 2\n",
        "onbill_requests_total{rpc=\"unknown\",face=\"json\",partner=\"none\",code=\"method-not-allowed\"} 1\n",
        "onbill_slo_calls_total{rpc=\"onbill.v1.TransactionService/CreateTransaction\"} 2\n",
        "onbill_slo_down_total{rpc=\"onbill.v1.TransactionService/CreateTransaction\"} 0\n",
        "onbill_slo_calls_total{rpc=\"onbill.v1.TransactionService/ListTransactions\"} 0\n",
        "onbill_replays_total{partner=\"demo-ott\"} 1\n",
        "onbill_config_reloads_total{outcome=\"taken\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
}

#[tokio::test]
async fn what_a_slow_csp_takes_is_not_counted_as_ours() {
    let gateway = crate::gateway::process::Running::sandbox();
    let demo = Partner::demo(&gateway);
    for _ in 0..4 {
        demo.charge(&number("13"), &id("s"), json!({})).await;
    }
    let metrics = Partner::at(gateway.admin(), "").get("/metrics").await.body;
    let sum = |name: &str| -> f64 {
        let line = format!("{name}_sum{{rpc=\"onbill.v1.TransactionService/CreateTransaction\"");
        let found = metrics.lines().filter(|found| found.starts_with(&line));
        found.map(|found| found.rsplit(' ').next().expect("a number").parse::<f64>().expect("a number")).sum()
    };
    let (all, own, csp) =
        (sum("onbill_request_seconds"), sum("onbill_request_own_seconds"), sum("onbill_request_csp_seconds"));
    assert!(csp >= 4.0 * 0.25, "250 ms each: {csp}");
    assert!((all - own - csp).abs() < 0.001, "{all} = {own} + {csp}");
}

#[tokio::test]
async fn a_call_that_ends_in_503_counts_against_the_service_level_and_a_refusal_does_not() {
    let gateway = crate::gateway::process::Running::sandbox();
    let demo = Partner::demo(&gateway);
    assert_eq!(demo.charge(&number("15"), &id("d"), json!({})).await.status, 503);
    assert_eq!(demo.charge(&number("02"), &id("d"), json!({})).await.status, 404);
    assert_eq!(Partner::with_key(&gateway, "x").charge(&number("15"), &id("d"), json!({})).await.status, 401);
    let metrics = Partner::at(gateway.admin(), "").get("/metrics").await.body;
    for (name, count) in [("calls", 2), ("down", 1)] {
        let line =
            format!("onbill_slo_{name}_total{{rpc=\"onbill.v1.TransactionService/CreateTransaction\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}");
    }
}
