//! Runs in company: what other runs and people do to the same sandbox disturbs, and fails nothing.
//!
//! Invariant: where a run says that it was disturbed, a test has disturbed it, and where a test has, the run says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::join_all;
use onbill::commands::certify::{Options, Outcome, Silent, certify};
use serde_json::json;

use super::flawed::act::Act;
use super::flawed::exchange::Asked;
use super::flawed::proxy::{Upstream, serve};
use super::shared::sandbox;
use crate::gateway::process::Running;

/// In a sandbox of its own, where nobody but the act disturbs.
async fn run(acts: &[Act], cases: &str) -> Outcome {
    let gateway = Running::sandbox();
    let target = serve(Upstream::at(gateway.authority()), Arc::from(acts)).await;
    let mut options = Options::new(target, "demo-key");
    options.cases = cases.parse().expect("cases");
    certify(options, Arc::new(Silent)).await.expect("a run")
}

/// The notes of all results, without the number of the attempt.
fn notes(outcome: &Outcome) -> Vec<&str> {
    let notes = outcome.results.iter().flat_map(|result| &result.notes);
    notes.map(|note| note.split_once(": ").expect("an attempt").1).collect()
}

/// Whether this is one of the first tries of a PIN, counted by `tries`.
fn is_early(asked: &Asked, tries: &AtomicU32) -> bool {
    asked.is("ValidatePin") && tries.fetch_add(1, Ordering::Relaxed) < 2
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_is_begun_anew_where_somebody_has_moved_the_clock() {
    static TRIES: AtomicU32 = AtomicU32::new(0);
    let act = Act::First(|asked| {
        if is_early(asked, &TRIES) { vec![("/sandbox/clock/advance", json!({ "seconds": 400 }))] } else { vec![] }
    });
    let outcome = run(&[act], "10").await;
    assert!(outcome.all_hold(), "{outcome:#?}");
    assert!(notes(&outcome).contains(&"the sandbox clock was moved by another run"), "{outcome:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_is_begun_anew_where_somebody_has_asked_for_another_pin() {
    static TRIES: AtomicU32 = AtomicU32::new(0);
    let act = Act::First(|asked| {
        let fields = json!({ "type": "MSISDN", "address": asked.text("address") });
        if is_early(asked, &TRIES) { vec![("/pin", fields)] } else { vec![] }
    });
    let outcome = run(&[act], "10").await;
    assert!(outcome.all_hold(), "{outcome:#?}");
    assert_eq!(notes(&outcome), ["another PIN was sent to the same number, by another run"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_is_begun_anew_where_somebody_texts_the_same_number() {
    static SENT: AtomicU32 = AtomicU32::new(0);
    let act = Act::First(|asked| {
        let fields = json!({ "type": "MSISDN", "address": asked.text("address"), "message": "Hello." });
        let early = asked.is("SendNotification") && SENT.fetch_add(1, Ordering::Relaxed) < 2;
        if early { vec![("/notification", fields)] } else { vec![] }
    });
    let outcome = run(&[act], "26").await;
    assert!(outcome.all_hold(), "{outcome:#?}");
    assert_eq!(notes(&outcome), ["more messages came than were due, perhaps of another run on the same number"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_runs_hold_side_by_side() {
    let gateway = sandbox();
    let target: http::Uri = format!("http://{}", gateway.authority()).parse().expect("a target");
    let runs = (0..20).map(|_| certify(Options::new(target.clone(), "demo-key"), Arc::new(Silent)));
    for outcome in join_all(runs).await {
        let outcome = outcome.expect("a run");
        assert_eq!((outcome.totals.passed, outcome.totals.with_unseen_effects), (56, 0), "{outcome:#?}");
    }
}
