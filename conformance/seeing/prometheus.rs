//! Prometheus as Debian ships it: it scrapes a gateway, takes the rules, and answers every query of the dashboard.
//!
//! Invariant: the server is real, on a free port, in a directory of its own.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::tables::{ELSEWHERE, dashboard};
use crate::gateway::client::Partner;
use crate::gateway::endpoint::{Endpoint, SECRET, with_endpoint};
use crate::gateway::process::{Running, Setup, id, number};
use crate::house::sources::root;

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).current_dir(root()).output().expect("promtool is installed");
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
}

#[test]
fn the_rules_are_rules_and_every_alert_fires_when_it_should_and_only_then() {
    promtool(&["check", "rules", "deploy/prometheus/onbill.rules.yml"]);
    promtool(&["test", "rules", "deploy/prometheus/onbill.test.yml"]);
}

/// A server that runs until it is dropped.
struct Prometheus {
    child: Child,
    api: Partner,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    fn scraping(target: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\n\
             scrape_configs:\n  - job_name: onbill\n    static_configs: [{{targets: ['{target}']}}]\n",
            root().join("deploy/prometheus/onbill.rules.yml").display()
        );
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("a file");
        let address = format!("127.0.0.1:{}", crate::servers::free_port());
        let log = std::fs::File::create(directory.path().join("log")).expect("a log");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus is installed");
        Self { child, api: Partner::at(&address, ""), _directory: directory }
    }

    async fn ask(&self, path: &str) -> Option<Value> {
        let answer = self.api.try_send(http::Method::GET, path, &[], "").await?;
        serde_json::from_str(&answer.body).ok()
    }

    /// The result of a query: how many series, or why it is none.
    async fn query(&self, expression: &str) -> Result<usize, String> {
        let expression = utf8_percent_encode(expression, NON_ALPHANUMERIC);
        let answer = self.ask(&format!("/api/v1/query?query={expression}")).await.ok_or("no answer")?;
        match answer["data"]["result"].as_array() {
            Some(series) if answer["status"] == "success" => Ok(series.len()),
            _ => Err(answer.to_string()),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Already gone where it did not start.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn traffic(gateway: &Running) {
    Partner::with_key(gateway, "nobody's").get("/transactions").await;
    let demo = Partner::demo(gateway);
    for condition in ["01", "11", "02"] {
        let (number, id) = (number(condition), id("p"));
        for _ in 0..2 {
            demo.charge(&number, &id, json!({})).await;
        }
    }
}

#[tokio::test]
async fn debians_prometheus_takes_the_rules_and_answers_every_query_of_the_dashboard() {
    let endpoint = Endpoint::new().await;
    let setup =
        with_endpoint(Setup::default().config("[sandbox]\nenabled = true\n"), "DEMO_OTT", &endpoint.url(), SECRET);
    // A collector that is gone: what is dropped is to be seen.
    let gone = format!("http://127.0.0.1:{}", crate::servers::free_port());
    let gateway = setup.environment("ONBILL__TRACES__ENDPOINT", &gone).start();
    gateway.hang_up();
    traffic(&gateway).await;
    let prometheus = Prometheus::scraping(gateway.admin());
    let asked: Vec<(String, String)> = dashboard()
        .into_iter()
        .map(|(title, expression)| {
            let whole = expression.replace("$instance", ".*").replace("$__rate_interval", "30s");
            (title, whole)
        })
        .collect();
    let since = Instant::now();
    loop {
        traffic(&gateway).await;
        let mut empty = Vec::new();
        for (title, expression) in &asked {
            match prometheus.query(expression).await {
                Ok(0) if ELSEWHERE.iter().any(|name| expression.contains(name)) => {}
                Ok(0) => empty.push(format!("{title}: {expression}")),
                Ok(_) => {}
                Err(why) if why == "no answer" => empty.push(why),
                Err(why) => panic!("{title}: {expression}: {why}"),
            }
        }
        if empty.is_empty() {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(90), "without a result: {empty:#?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let rules = prometheus.ask("/api/v1/rules").await.expect("rules");
    let groups = rules["data"]["groups"].as_array().expect("groups");
    let all: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")).collect();
    assert!(all.len() > 30);
    for rule in all {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}
