//! The 28 use cases, over both faces, against the built gateway.

use std::sync::Arc;

use onbill::commands::certify::{Options, Silent, Verdict, certify};

use super::process::Running;

#[tokio::test(flavor = "multi_thread")]
async fn all_28_use_cases_hold_over_both_faces() {
    let gateway = Running::sandbox();
    let target = format!("http://{}", gateway.authority()).parse().expect("a target");
    let outcome = certify(Options::new(target, "demo-key"), Arc::new(Silent)).await.expect("a run");
    let failed: Vec<_> = outcome.results.iter().filter(|result| result.verdict != Verdict::Passed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(outcome.results.len(), 2 * 28);
}
