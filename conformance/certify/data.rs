//! The 28 cases as data: whole, well formed, and saying what the page of use cases says.
//!
//! Invariant: the lists below are written from the contract, and never from a case file.

use std::collections::BTreeSet;

use onbill::commands::certify::accounts::TargetFacts;
use onbill::commands::certify::cases::{Case, Contract, Step, load};
use onbill::commands::certify::document::Document;
use onbill::commands::certify::values::Values;

fn cases() -> (Vec<Case>, Contract) {
    load().expect("the cases are well formed")
}

fn keys(document: &Document) -> Vec<&str> {
    document.members().iter().map(|(key, _)| key.as_str()).collect()
}

/// The steps that the case is about.
fn judged(case: &Case) -> impl Iterator<Item = &Step> {
    case.steps.iter().filter(|step| !step.prepare)
}

#[test]
fn there_are_28_cases_in_the_order_of_the_page() {
    let (cases, _) = cases();
    assert_eq!(cases.iter().map(|case| case.id).collect::<Vec<_>>(), (1..=28).collect::<Vec<_>>());
    let titles: BTreeSet<&str> = cases.iter().map(|case| case.title.as_str()).collect();
    assert_eq!(titles.len(), 28, "titles are unique");
}

#[test]
fn requests_and_answers_have_the_keys_of_the_contract_in_its_order() {
    let (cases, _) = cases();
    for case in &cases {
        for step in &case.steps {
            let (request, answer): (&[&str], &[&str]) = match step.call.as_str() {
                "ValidateAccount" => (&["type", "address", "partnerProduct"], &["status", "type"]),
                "SendPin" => (&["type", "address"], &[]),
                "ValidatePin" => (&["type", "address", "pin"], &[]),
                "CreateTransaction" => (
                    &[
                        "extTransactionId",
                        "type",
                        "address",
                        "accountId",
                        "partnerProduct",
                        "amount",
                        "currency",
                        "description",
                        "referenceId",
                    ],
                    &["extTransactionId", "status", "description"],
                ),
                "GetTransaction" => {
                    (&["extTransactionId", "kind"], &["chargeDate", "currency", "amount", "message", "status"])
                }
                "SendNotification" => (&["type", "address", "message"], &[]),
                other => panic!("case {}: {other} is no call of a use case", case.id),
            };
            let sent = keys(&step.request);
            let in_order: Vec<&str> = request.iter().copied().filter(|key| sent.contains(key)).collect();
            assert_eq!(sent, in_order, "case {}", case.id);
            match &step.answer {
                None => assert_eq!(step.status, 201, "case {}: only a 201 is empty", case.id),
                Some(body) if step.status < 300 => assert_eq!(keys(body), answer, "case {}", case.id),
                Some(body) => error_is_well_formed(case, body),
            }
        }
    }
}

fn error_is_well_formed(case: &Case, body: &Document) {
    let invalid = body.get("code").and_then(Document::text) == Some("invalid-request");
    let wanted: &[&str] = if invalid { &["code", "message", "validationErrors"] } else { &["code", "message"] };
    assert_eq!(keys(body), wanted, "case {}", case.id);
    for violation in body.get("validationErrors").map(Document::items).unwrap_or_default() {
        assert_eq!(keys(violation), ["code", "reason"], "case {}", case.id);
    }
}

#[test]
fn statuses_and_codes_are_those_of_the_page() {
    let wanted: [(u16, &str); 28] = [
        (200, ""),
        (404, "account-not-found"),
        (400, "suspended-non-payment"),
        (400, "suspended-lost-stolen"),
        (400, "eligibility-failed csp"),
        (404, "account-not-found"),
        (400, "violation-on-address"),
        (201, ""),
        (404, "account-not-found"),
        (201, ""),
        (400, "invalid-pin"),
        (400, "invalid-pin"),
        (201, ""),
        (200, ""),
        (200, ""),
        (404, "account-not-found"),
        (400, "violation-on-currency"),
        (400, "invalid-partner-product"),
        (200, ""),
        (200, ""),
        (404, "invalid-charge-refund"),
        (400, "reference-id-required"),
        (400, "negative-amount"),
        (200, ""),
        (404, "transaction-not-found"),
        (201, ""),
        (400, "violation-on-message"),
        (400, "violation-on-type"),
    ];
    let (cases, _) = cases();
    for (case, (status, code)) in cases.iter().zip(wanted) {
        assert!(judged(case).next().is_some(), "case {} judges nothing", case.id);
        for step in judged(case) {
            let answer = step.answer.as_ref();
            let text = |document: Option<&Document>| {
                document.and_then(|it| it.get("code")).and_then(Document::text).unwrap_or_default().to_owned()
            };
            let violation = answer.and_then(|it| it.get("validationErrors")).and_then(|it| it.items().first());
            let told = if violation.is_some() { text(violation) } else { text(answer) };
            assert_eq!((step.status, told.as_str()), (status, code), "case {}", case.id);
        }
    }
}

#[test]
fn only_cases_17_and_23_drop_the_full_stop() {
    let (cases, _) = cases();
    for case in &cases {
        for body in judged(case).filter_map(|step| step.answer.as_ref()) {
            if body.get("code").and_then(Document::text) == Some("invalid-request") {
                let wanted = if [17, 23].contains(&case.id) { "Invalid request" } else { "Invalid request." };
                assert_eq!(body.get("message").and_then(Document::text), Some(wanted), "case {}", case.id);
            }
        }
    }
}

#[test]
fn effects_are_those_of_the_page() {
    let (cases, _) = cases();
    for case in &cases {
        for step in judged(case) {
            let bill = step.bill_gains.as_ref().map(Vec::len);
            let inbox = step.inbox_gains.as_ref().map(Vec::len);
            let wanted = match case.id {
                15 | 16 | 17 | 18 | 20 | 21 | 22 | 23 => (Some(0), None),
                14 | 19 => (Some(1), None),
                8 | 26 => (None, Some(1)),
                9 | 27 | 28 => (None, Some(0)),
                _ => (None, None),
            };
            assert_eq!((bill, inbox), wanted, "case {}, {}", case.id, step.name);
        }
    }
}

#[test]
fn refunds_name_their_charge_both_ways_and_replays_cross_the_faces() {
    let (cases, _) = cases();
    for id in [19, 20, 21] {
        let case = &cases[id - 1];
        let by_reference = |step: &&Step| step.request.get("referenceId").is_some();
        assert!(judged(case).any(|step| by_reference(&step)), "case {id} by reference");
        assert!(!judged(case).all(|step| by_reference(&step)), "case {id} by the charge's own id");
    }
    for id in [15, 20] {
        let replays: Vec<&Step> = judged(&cases[id - 1]).collect();
        let replayed = |step: &Step| step.headers.get("idempotency-replayed").map(String::as_str) == Some("true");
        assert!(replays.iter().all(|step| replayed(step)), "case {id}");
        let other = onbill::commands::certify::cases::StepFace::Other;
        assert!(replays.iter().any(|step| step.face == other), "case {id}");
        assert!(replays.iter().any(|step| step.repeats.is_some()), "case {id}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let (cases, contract) = cases();
    for case in &cases {
        if let Some(account) = &case.account {
            assert!(contract.condition.contains_key(account), "case {}: {account}", case.id);
        }
        let mut names = BTreeSet::new();
        for step in &case.steps {
            assert!(contract.rpc.contains_key(&step.call), "case {}: {}", case.id, step.call);
            let earlier = step.repeats.as_ref().is_none_or(|name| names.contains(name.as_str()));
            assert!(earlier, "case {}: {:?} is no earlier step", case.id, step.repeats);
            assert!(names.insert(step.name.as_str()), "case {}: {} twice", case.id, step.name);
        }
    }
}

#[test]
fn every_placeholder_has_a_value_once_account_and_pin_are_known() {
    let (cases, _) = cases();
    for case in &cases {
        let mut values = Values::new(&TargetFacts::default());
        if case.account.is_some() {
            values.set("msisdn", "5550100001".to_owned());
        }
        for step in &case.steps {
            let filled = [Some(&step.request), step.answer.as_ref()]
                .into_iter()
                .flatten()
                .all(|document| values.fill(document).is_ok_and(|filled| !filled.compact().contains("{msisdn}")));
            assert!(filled, "case {}, {}", case.id, step.name);
            if step.takes_pin {
                values.set_pin("123456");
            }
        }
    }
}
