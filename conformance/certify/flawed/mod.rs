//! The certifier certified: a gateway with one flaw is caught by exactly the cases that are about it.
//!
//! Invariant: before the proxy stands the certifier as it ships, and behind it the built gateway; each run changes one
//! thing, and what all 28 cases make of it on both faces is compared with a table.

pub mod act;
pub mod exchange;
pub mod proxy;
mod table;

use std::sync::Arc;

use futures_util::StreamExt as _;
use onbill::commands::certify::verdict::CaseResult;
use onbill::commands::certify::{Face, Options, Outcome, Silent, Verdict, certify, select};

use self::proxy::{Upstream, serve};
use self::table::{FLAWS, Flaw, NO_EXPIRY};
use super::shared::sandbox;
use crate::gateway::process::Running;

/// Flawed gateways that are certified at a time.
const AT_A_TIME: usize = 4;

/// `11,12 ?13`: what failed, and what could not be run.
fn found(outcome: &Outcome, face: Face) -> String {
    let ids = |verdict: Verdict| {
        let of = |result: &&CaseResult| result.face == face && result.verdict == verdict;
        select::written(&outcome.results.iter().filter(of).map(|result| result.id).collect::<Vec<_>>())
    };
    match (ids(Verdict::Failed), ids(Verdict::NotChecked)) {
        (failed, open) if open.is_empty() => failed,
        (failed, open) => format!("{failed} ?{open}"),
    }
}

async fn surprise(flaw: &Flaw, upstream: Upstream) -> Option<String> {
    let target = serve(upstream, Arc::from(flaw.acts)).await;
    let outcome = certify(Options::new(target, "demo-key"), Arc::new(Silent)).await.expect("a run");
    let (json, grpc) = (found(&outcome, Face::Json), found(&outcome, Face::Grpc));
    if (json.as_str(), grpc.as_str()) == (flaw.json, flaw.grpc) {
        return None;
    }
    let places: Vec<String> = outcome
        .results
        .iter()
        .flat_map(|result| {
            let needs = result.needs.iter().map(|needs| format!("{} {}: {needs}", result.id, result.face));
            let differences = result.differences().map(|(step, it)| {
                format!("{} {} {}: {}: -{} +{}", result.id, result.face, step.name, it.at, it.expected, it.actual)
            });
            needs.chain(differences).collect::<Vec<_>>()
        })
        .collect();
    let (name, wanted) = (flaw.name, (flaw.json, flaw.grpc));
    Some(format!("{name}: wanted {wanted:?}, found ({json:?}, {grpc:?})\n  {}", places.join("\n  ")))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_flaw_is_caught_by_exactly_the_cases_that_are_about_it() {
    assert!(FLAWS.len() > 20);
    let gateway = sandbox();
    let runs = FLAWS.iter().map(|flaw| surprise(flaw, Upstream::at(gateway.authority())));
    let surprises: Vec<_> = futures_util::stream::iter(runs).buffer_unordered(AT_A_TIME).collect().await;
    let surprises: Vec<String> = surprises.into_iter().flatten().collect();
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_does_not_expire_is_caught_by_its_case() {
    let gateway = Running::sandbox();
    assert_eq!(surprise(&NO_EXPIRY, Upstream::at(gateway.authority())).await, None);
}
