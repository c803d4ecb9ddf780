//! Claims about `onbill certify csp`: who passes it, and that each flaw is caught by exactly the cases that are about it.
//!
//! Invariant: a flawed CSP is the scripted one with one thing changed; the processes are those that are built.

mod flaws;
mod processes;

use std::sync::Arc;

use jiff::tz::TimeZone;
use onbill::adapters::clock::SystemClock;
use onbill::adapters::csp::sandbox::{Sandbox, Settings};
use onbill::commands::certify::select::written;
use onbill::runtime::csp_suite::{CaseReport, Subject, Terms, Verdict, run, terms};

use flaws::{Flaw, Flawed, Seen};

use crate::ports::csp_currency;

fn subject(flaw: Flaw) -> Subject {
    let settings =
        Settings { currency: csp_currency("MXN"), time_zone: TimeZone::UTC, clock: Arc::new(SystemClock::new()) };
    let sound = Arc::new(Sandbox::open_in_memory(settings).expect("a sandbox"));
    let csp = Arc::new(Flawed { sound, flaw, seen: std::sync::Mutex::new(Seen::default()) });
    Subject { csp, stranger: None, authority: None }
}

fn sandbox_terms() -> Terms {
    // A generous deadline, on a machine that is busy with other tests.
    Terms::parse(&terms::EXAMPLE.replace("call_timeout_ms = 300", "call_timeout_ms = 2000")).expect("well formed")
}

async fn reports(flaw: Flaw, terms: &Terms) -> Vec<CaseReport> {
    run(&subject(flaw), terms, "test", |_| true, |_| ()).await
}

fn with(verdict: Verdict, reports: &[CaseReport]) -> String {
    let of = |report: &&CaseReport| report.verdict == verdict;
    written(&reports.iter().filter(of).map(|report| report.case.id).collect::<Vec<_>>())
}

/// Which flaw is caught by which cases.
const TABLE: &[(Flaw, &str)] = &[
    (Flaw::None, ""),
    (Flaw::DoublesCharges, "15"),
    (Flaw::DoublesRefunds, "18,21,23"),
    (Flaw::RefusesRepeats, "12-15,28-29,32,36"),
    (Flaw::AnswersAnyRequestUnderAReference, "14,21,23,26"),
    (Flaw::BooksAnyRequestUnderAReference, "14"),
    (Flaw::ForgetsAll, "11-14,18-19,23-24,28-29,36"),
    (Flaw::ForgetsTheFirst, "36"),
    (Flaw::LiesAboutAmounts, "10-15,18-21,23-24,26,28-29,32,36"),
    (Flaw::LiesAboutAmountsLater, "11-14,18-19,23-24,28-29,36"),
    (Flaw::LiesAboutReferences, "10-15,18-21,23-24,26,28-29,32,36"),
    (Flaw::RoundsAmounts, "11,15,19"),
    (Flaw::TakesAnyCurrency, "16"),
    (Flaw::ChargesNobody, "17"),
    (Flaw::GivesBackTooMuch, "20-21,26,29"),
    (Flaw::GivesBackWhatNobodyCharged, "22"),
    (Flaw::ChangesItsMind, "26"),
    (Flaw::NeverKnowsNot, "16-17,25,27"),
    (Flaw::NobodyIsAnError, "7-8"),
    (Flaw::AllAreActive, "2-4"),
    (Flaw::AllMayBuy, "5"),
    (Flaw::RenamesAccounts, "8"),
    (Flaw::VoidsWhatIsBooked, "28"),
    (Flaw::BooksWhatIsVoid, "27"),
    (Flaw::TextsNobody, "35"),
    (Flaw::TextsFail, "34-35"),
    (Flaw::KnowsNoReferences, "11-15,18-21,23-24,27-29,36"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_flaw_is_caught_by_exactly_the_cases_that_are_about_it() {
    let terms = sandbox_terms();
    let mut surprises = Vec::new();
    for (flaw, caught) in TABLE {
        let reports = reports(*flaw, &terms).await;
        let failed = with(Verdict::Failed, &reports);
        if failed != *caught {
            let steps = reports.iter().flat_map(|report| {
                let wrong = report.steps.iter().filter(|step| !step.held);
                wrong.map(|step| format!("{}: {}: -{} +{}", report.case.id, step.name, step.expected, step.actual))
            });
            let steps: Vec<_> = steps.collect();
            surprises.push(format!("{flaw:?}: wanted {caught}, found {failed}\n  {}", steps.join("\n  ")));
        }
        assert_eq!(with(Verdict::NotChecked, &reports), "30,33", "no key and no socket");
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

#[tokio::test]
async fn a_slow_csp_is_told_as_slow_and_as_nothing_else() {
    let terms = Terms::parse(&terms::EXAMPLE.replace("call_timeout_ms = 300", "call_timeout_ms = 50"));
    assert_eq!(with(Verdict::Failed, &reports(Flaw::IsSlow, &terms.expect("well formed")).await), "31");
}

#[tokio::test]
async fn what_a_csp_says_it_lacks_is_not_offered_and_never_passed() {
    for (from, to, not_offered) in [
        ("refunds = \"partial\"", "refunds = \"none\"", "18-23,26"),
        ("refunds = \"partial\"", "refunds = \"whole\"", "19,21"),
        ("void = true", "void = false", "27-28"),
        ("takes_email = true", "takes_email = false", "9"),
        ("prepaid = true", "prepaid = false", "6"),
        ("recovery = \"inquiry\"", "recovery = \"resend\"", "24-25"),
    ] {
        let text = terms::EXAMPLE.replace("call_timeout_ms = 300", "call_timeout_ms = 2000").replace(from, to);
        let reports = reports(Flaw::None, &Terms::parse(&text).expect("well formed")).await;
        assert_eq!(with(Verdict::NotOffered, &reports), not_offered, "{to}");
        assert_eq!(with(Verdict::Failed, &reports), "", "{to}");
    }
}

#[tokio::test]
async fn accounts_that_are_not_given_leave_their_cases_not_checked() {
    let text = terms::EXAMPLE.replace("ceased = \"5550100002\"", "");
    let text = text.split("[accounts.limited]").next().expect("a beginning").to_owned();
    let reports = reports(Flaw::DoublesCharges, &Terms::parse(&text).expect("well formed")).await;
    assert_eq!(with(Verdict::NotChecked, &reports), "2,15,30,33");
    assert_eq!(with(Verdict::Failed, &reports), "", "without a limit nobody can see it");
}
