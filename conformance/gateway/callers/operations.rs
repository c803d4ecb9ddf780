//! The token of the operations port.

use serde_json::json;

use crate::gateway::client::Partner;
use crate::gateway::ledger_commands::ledger;
use crate::gateway::process::Setup;

const TOKEN: &str = "0123456789abcdef-operations";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_something_asks_for_the_token_that_is_in_the_file_now() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("admin.token");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("a file");
    let text = format!("[sandbox]\nenabled = true\n[server]\nadmin_token_file = \"{}\"\n", file.display());
    let gateway = tokio::task::block_in_place(|| Setup::default().config(&text).start());
    let admin = Partner::at(gateway.admin(), "");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(admin.get(path).await.status, 200, "{path} asks for nothing");
    }
    let settle = json!({ "reference": "0".repeat(32), "as": "success", "evidence": "e", "by": "b" }).to_string();
    let asked = async |token: &str| {
        let mut statuses = Vec::new();
        for (method, path, body) in [
            (http::Method::GET, "/webhooks", String::new()),
            (http::Method::POST, "/webhooks/resend", json!({ "partner": "demo-ott" }).to_string()),
            (http::Method::POST, "/webhooks/test", json!({ "partner": "demo-ott" }).to_string()),
            (http::Method::POST, "/ledger/settle", settle.clone()),
        ] {
            let headers = [("content-type", "application/json"), ("authorization", token)];
            statuses.push(admin.send(method, path, &headers, body).await.status);
        }
        statuses
    };
    for wrong in ["", "Bearer", "Bearer wrong", &format!("Bearer {TOKEN}x"), &format!("Basic {TOKEN}"), TOKEN] {
        assert_eq!(asked(wrong).await, [401; 4], "{wrong}");
    }
    assert_eq!(asked(&format!("Bearer {TOKEN}")).await, [200, 404, 404, 404]);
    let url = format!("http://{}", gateway.admin());
    let reference = "0".repeat(32);
    let named = file.display().to_string();
    let mut arguments = vec!["settle", &reference, "--as", "success", "--evidence", "e", "--by", "b", "--admin", &url];
    let refused = ledger(&arguments, None);
    assert!(refused.0 == 1 && refused.2.contains("--admin-token-file"), "{refused:?}");
    arguments.extend(["--admin-token-file", &named]);
    let shown = ledger(&arguments, None);
    assert!(shown.0 == 1 && shown.2.contains("no transaction has this reference"), "{shown:?}");
    std::fs::write(&file, "fedcba9876543210-operations").expect("a file");
    assert_eq!(asked(&format!("Bearer {TOKEN}")).await, [401; 4], "another token from now on");
    std::fs::remove_file(&file).expect("it was there");
    assert_eq!(asked(&format!("Bearer {TOKEN}")).await, [503; 4], "nobody is let in by default");
    assert!(!gateway.log().contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_an_address_that_others_reach_nothing_changes_without_a_token() {
    let text = "[sandbox]\nenabled = true\n";
    let gateway = tokio::task::block_in_place(|| Setup::default().config(text).admin_listen("0.0.0.0:0").start());
    let admin = Partner::at(&gateway.admin().replace("0.0.0.0", "127.0.0.1"), "");
    assert_eq!(admin.get("/webhooks").await.status, 403);
    assert_eq!(admin.get("/metrics").await.status, 200);
    assert!(gateway.log().contains("server.admin_token_file"), "said loudly");
}
