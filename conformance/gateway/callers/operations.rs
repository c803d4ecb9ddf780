//! The token of the operations port.

use serde_json::json;

use crate::gateway::client::Partner;
use crate::gateway::endpoint::{Endpoint, SECRET, with_endpoint};
use crate::gateway::ledger_commands::ledger;
use crate::gateway::process::{Running, Setup};

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

/// Exit code and what was printed, of `onbill webhook`.
fn webhook(
    gateway: &Running,
    words: &[&str],
    token_file: Option<&str>,
    variable: Option<&str>,
) -> (Option<i32>, String) {
    let url = format!("http://{}", gateway.admin());
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_onbill"));
    command.arg("webhook").args(words).args(["--admin", &url]).env_remove("ONBILL_ADMIN_TOKEN_FILE");
    if let Some(file) = token_file {
        command.args(["--admin-token-file", file]);
    }
    if let Some(file) = variable {
        command.env("ONBILL_ADMIN_TOKEN_FILE", file);
    }
    let output = command.output().expect("the built binary");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn onbill_webhook_shows_the_token_of_its_file_and_is_let_in_by_the_right_one_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).expect("a file");
        dir.path().join(name).display().to_string()
    };
    let (right, wrong, empty) =
        (file("right", &format!("{TOKEN}\n")), file("wrong", "another-token-here"), file("empty", ""));
    let missing = dir.path().join("missing").display().to_string();
    let text = format!("[sandbox]\nenabled = true\n[server]\nadmin_token_file = \"{right}\"\n");
    let endpoint = Endpoint::new().await;
    let setup = with_endpoint(Setup::default().config(&text), "DEMO_OTT", &endpoint.url(), SECRET);
    let gateway = tokio::task::block_in_place(|| setup.start());
    for words in
        [&["list"][..], &["list", "--json"], &["test", "--partner", "demo-ott"], &["resend", "--partner", "demo-ott"]]
    {
        let asked =
            |token: Option<&str>, variable| tokio::task::block_in_place(|| webhook(&gateway, words, token, variable));
        for refused in [None, Some(wrong.as_str()), Some(&empty), Some(&missing)] {
            let (code, told) = asked(refused, None);
            assert_eq!(code, Some(1), "{words:?} {refused:?}: {told}");
            assert!(!told.contains("another-token-here") && !told.contains(TOKEN), "{told}");
        }
        let (code, told) = asked(None, None);
        assert!(code == Some(1) && told.contains("--admin-token-file"), "it says what is missing: {told}");
        assert_eq!(asked(Some(&right), None).0, Some(0), "{words:?}");
        assert_eq!(asked(None, Some(&right)).0, Some(0), "{words:?}, by the environment");
        let (code, told) = asked(Some(&wrong), Some(&right));
        assert_eq!(code, Some(1), "the command line wins: {told}");
    }
    assert_eq!(endpoint.wait(2).await.len(), 2, "one test event for each token that was let in");
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
