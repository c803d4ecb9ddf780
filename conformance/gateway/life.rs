//! Starting, being watched, stopping.

use serde_json::json;

use super::client::Partner;
use super::process::{Running, Setup, id, number};

#[tokio::test]
async fn the_operations_port_tells_life_readiness_and_metrics() {
    let gateway = Running::sandbox();
    let admin = Partner::at(gateway.admin(), "");
    for (path, begins) in [("/healthz", "ok"), ("/readyz", "ledger: ok")] {
        let answer = admin.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.starts_with(begins), "{path}: {}", answer.body);
    }
    Partner::demo(&gateway).charge(&number("01"), &id("m"), json!({})).await;
    let metrics = admin.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    let expected = "onbill_requests_total{rpc=\"onbill.v1.TransactionService/CreateTransaction\",face=\"json\",partner=\"demo-ott\",code=\"ok\"} 1";
    assert!(metrics.body.contains(expected), "{}", metrics.body);
    assert_eq!(Partner::demo(&gateway).get("/metrics").await.status, 404, "not on the main port");
}

#[tokio::test]
async fn a_stop_in_order_answers_what_is_under_way() {
    let gateway = Running::sandbox();
    let demo = Partner::demo(&gateway);
    let (number, id) = (number("13"), id("s"));
    let call = tokio::spawn({
        let (demo, number, id) = (demo.clone(), number.clone(), id.clone());
        async move { demo.charge(&number, &id, json!({})).await }
    });
    while demo.get(&format!("/transaction/{id}")).await.status == 404 && !call.is_finished() {
        tokio::task::yield_now().await;
    }
    let stopped = tokio::task::spawn_blocking(move || gateway.stop());
    assert_eq!(call.await.expect("an answer").json()["status"], "Success");
    assert!(stopped.await.expect("a status").success());
}

#[test]
fn one_data_directory_is_one_gateways() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let first = Setup::default().data_dir(directory.path()).start();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_onbill"))
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"])
        .arg(directory.path())
        .output()
        .expect("the built gateway");
    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8_lossy(&second.stderr);
    assert!(told.contains(&directory.path().display().to_string()), "it names the directory: {told}");
    assert!(first.stop().success());
}

#[tokio::test]
async fn outside_the_sandbox_its_paths_do_not_exist() {
    let gateway = Running::sandbox();
    let openapi = Partner::demo(&gateway).get("/openapi.json").await.json();
    assert!(openapi["paths"].as_object().expect("paths").contains_key("/sandbox/bill"));
}
