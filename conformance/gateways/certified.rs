//! The 28 use cases against three gateways behind a balancer, each request to the next of them.

use std::sync::Arc;

use onbill::commands::certify::{Options, Silent, Verdict, certify};

use super::between::balancer;
use super::stores::{PATIENT_MS, Stores};
use crate::gateway::process::Setup;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_28_use_cases_hold_over_both_faces_of_three_gateways() {
    let stores = Stores::beside_others();
    let directory = tempfile::tempdir().expect("a directory");
    let dir = directory.path().display();
    let config = format!("[sandbox]\nenabled = true\ndir = \"{dir}\"\n{}", stores.settings(PATIENT_MS));
    let gateways: Vec<_> = (0..3).map(|_| Setup::default().config(&config).start()).collect();
    let authorities = gateways.iter().map(|gateway| gateway.authority().to_owned()).collect();
    let target = format!("http://{}", balancer(authorities).await).parse().expect("a target");
    let outcome = certify(Options::new(target, "demo-key"), Arc::new(Silent)).await.expect("a run");
    let failed: Vec<_> = outcome.results.iter().filter(|result| result.verdict != Verdict::Passed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(outcome.results.len(), 2 * 28);
    for gateway in gateways {
        assert!(gateway.stop().success());
    }
}
