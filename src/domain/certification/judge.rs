//! From calls to verdicts.
//!
//! Invariant: a verdict follows from the calls alone, in the order in which they were answered: the same calls always
//! give the same verdicts. A case that was once broken stays so. What is not seen is never held against an OTT:
//! a case fails by a call that was made, and that call is named.

use std::collections::HashMap;

use super::recogniser::{Before, Behaviour, Recogniser};
use super::{Call, Digest, Fact, Rpc, words};

words! {
    /// What is known of one case.
    Verdict {
        /// No call has shown it.
        NotSeen = "not seen",
        /// It was shown, and what is expected after it was not yet.
        Incomplete = "incomplete",
        /// It was shown, and so was what is expected after it.
        Passed = "passed",
        /// A call broke what is expected.
        Failed = "failed",
    }
}

/// One case of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Its number.
    pub case: u8,
    /// What is known of it.
    pub verdict: Verdict,
    /// Why, for people; on a case that is not passed, what would show it.
    pub note: String,
    /// The calls that the verdict rests on, by their places, in order.
    pub evidence: Vec<usize>,
    /// The call that broke it.
    pub broken_by: Option<usize>,
}

/// Judges one case.
#[must_use]
pub fn judge(recogniser: &Recogniser, calls: &[Call]) -> Judged {
    let trail = Trail::new(calls);
    let mut best: Option<Finding> = None;
    for (place, call) in calls.iter().enumerate() {
        let found = if trail.shows(recogniser, place, call) {
            trail.followed(recogniser, place, call)
        } else if recogniser.then == Behaviour::SameRequestAgain {
            match trail.another_request(recogniser, place, call) {
                Some(finding) => finding,
                None => continue,
            }
        } else {
            continue;
        };
        // The first one of its kind stays, and a failure stays whatever comes.
        if best.as_ref().is_none_or(|known| known.verdict < found.verdict) {
            best = Some(found);
        }
    }
    let case = recogniser.case;
    match best {
        None => Judged {
            case,
            verdict: Verdict::NotSeen,
            note: recogniser.hint.clone(),
            evidence: Vec::new(),
            broken_by: None,
        },
        Some(Finding { verdict, note, mut evidence, broken_by }) => {
            evidence.sort_unstable();
            evidence.dedup();
            Judged { case, verdict, note, evidence, broken_by }
        }
    }
}

struct Finding {
    verdict: Verdict,
    note: String,
    evidence: Vec<usize>,
    broken_by: Option<usize>,
}

impl Finding {
    fn broken(evidence: Vec<usize>, by: usize, note: &str) -> Self {
        Self { verdict: Verdict::Failed, note: note.to_owned(), evidence, broken_by: Some(by) }
    }
}

/// The calls, with each one's account.
struct Trail<'a> {
    calls: &'a [Call],
    /// Account ids that answers have told, by the account they are of.
    told: HashMap<Digest, Digest>,
}

impl<'a> Trail<'a> {
    fn new(calls: &'a [Call]) -> Self {
        let told = calls.iter().filter_map(|call| Some((call.told_account?, call.account?))).collect();
        Self { calls, told }
    }

    fn account(&self, call: &Call) -> Option<Digest> {
        call.account.map(|account| self.told.get(&account).copied().unwrap_or(account))
    }

    fn after(&self, place: usize) -> impl Iterator<Item = (usize, &'a Call)> {
        self.calls.iter().enumerate().skip(place.saturating_add(1))
    }

    fn before(&self, place: usize) -> impl DoubleEndedIterator<Item = (usize, &'a Call)> {
        self.calls.get(..place).unwrap_or_default().iter().enumerate()
    }

    fn shows(&self, wanted: &Recogniser, place: usize, call: &Call) -> bool {
        call.rpc == wanted.call
            && call.status == wanted.status
            && call.code == wanted.code
            && wanted.violation.as_ref().is_none_or(|violation| call.violations.contains(violation))
            && wanted.outcome.as_ref().is_none_or(|outcome| call.outcome == *outcome)
            && wanted.condition.as_ref().is_none_or(|condition| call.condition.as_ref() == Some(condition))
            && wanted.condition_not.as_ref().is_none_or(|condition| call.condition.as_ref() != Some(condition))
            && wanted.facts.iter().all(|fact| call.is(*fact))
            && !wanted.facts_not.iter().any(|fact| call.is(*fact))
            && wanted.before.iter().all(|before| self.came_before(*before, wanted, place, call))
    }

    fn came_before(&self, before: Before, wanted: &Recogniser, place: usize, call: &Call) -> bool {
        match before {
            Before::NoWrongPin => !self.wrong_pin_before(place, call),
            Before::AfterWrongPin => self.wrong_pin_before(place, call),
            Before::AnotherPin => !call.is(Fact::PinAsSent),
            Before::PinExpired => {
                let sent = self.pin_sent(place, call).and_then(|sent| self.calls.get(sent));
                let age = |sent: &Call| call.at.duration_since(sent.at).as_secs();
                call.is(Fact::PinAsSent) && sent.is_some_and(|sent| age(sent) >= i64::from(wanted.pin_ttl_s))
            }
            Before::SameRequest => self.first_of(place, call).is_some(),
            Before::FirstRequest => self.first_of(place, call).is_none(),
        }
    }

    /// Where the same request was sent first and not refused.
    fn first_of(&self, place: usize, call: &Call) -> Option<usize> {
        let same = |known: &Call| {
            known.rpc == call.rpc && known.request == call.request && (known.succeeded() || known.status >= 500)
        };
        self.before(place).find(|(_, known)| same(known)).map(|(at, _)| at)
    }

    /// Where the last PIN was sent to this account.
    fn pin_sent(&self, place: usize, call: &Call) -> Option<usize> {
        let account = self.account(call)?;
        let sent =
            |known: &Call| known.rpc == Rpc::SendPin && known.succeeded() && self.account(known) == Some(account);
        self.before(place).rev().find(|(_, known)| sent(known)).map(|(at, _)| at)
    }

    fn wrong_pin_before(&self, place: usize, call: &Call) -> bool {
        let Some(sent) = self.pin_sent(place, call) else { return false };
        let account = self.account(call);
        self.before(place).skip(sent).any(|(_, known)| {
            known.rpc == Rpc::ValidatePin && known.code == "invalid-pin" && self.account(known) == account
        })
    }

    /// What became of a case that was shown at this place.
    fn followed(&self, wanted: &Recogniser, place: usize, call: &Call) -> Finding {
        let passed = |evidence: Vec<usize>, note: &str| Finding {
            verdict: Verdict::Passed,
            note: note.to_owned(),
            evidence,
            broken_by: None,
        };
        match wanted.then {
            Behaviour::Nothing => passed(vec![place], "Shown."),
            Behaviour::Continues => self.continued(wanted, place, call),
            Behaviour::SameRequestAgain => {
                let first = self.first_of(place, call);
                passed(first.into_iter().chain([place]).collect(), "The same request was sent again.")
            }
            Behaviour::CannotContinue => match self.went_on(wanted, place, call) {
                Some(at) => Finding::broken(vec![place, at], at, "The OTT went on although it could not continue."),
                None => passed(vec![place], "The OTT did not go on."),
            },
            Behaviour::NoNewCharge => match self.charged_after(place, call) {
                Some(at) => Finding::broken(vec![place, at], at, "The OTT charged after a refund that failed."),
                None => passed(vec![place], "No charge came after the refund that failed."),
            },
            Behaviour::PurchaseFails => match self.posted_after_all(place, call) {
                Some(at) => Finding::broken(
                    vec![place, at],
                    at,
                    "The purchase that was refused was posted after all, without a new validation.",
                ),
                None => passed(vec![place], "The purchase was not posted."),
            },
        }
    }

    fn continued(&self, wanted: &Recogniser, place: usize, call: &Call) -> Finding {
        let account = self.account(call);
        let in_time = |known: &Call| known.at.duration_since(call.at).as_secs() <= i64::from(wanted.within_s);
        let next = self.after(place).take_while(|(_, known)| in_time(known)).find(|(_, known)| {
            wanted.next.contains(&known.rpc) && self.account(known) == account && !known.is(Fact::AmountNegative)
        });
        match next {
            Some((at, _)) => Finding {
                verdict: Verdict::Passed,
                note: "The OTT went on.".to_owned(),
                evidence: vec![place, at],
                broken_by: None,
            },
            None => Finding {
                verdict: Verdict::Incomplete,
                note: format!(
                    "Seen, but the OTT has not gone on: {} for the same account within {} minutes.",
                    wanted.next.iter().map(|rpc| rpc.word()).collect::<Vec<_>>().join(" or "),
                    wanted.within_s.div_euclid(60),
                ),
                evidence: vec![place],
                broken_by: None,
            },
        }
    }

    /// Whether a call begins a new flow for its account: the account was found fit, or its holder proved it.
    fn lifts(call: &Call) -> bool {
        matches!(call.rpc, Rpc::ValidateAccount | Rpc::ValidatePin) && call.succeeded()
    }

    /// The calls of this account after a place, until a validation succeeds.
    fn rest_of_flow(&self, place: usize, call: &Call) -> impl Iterator<Item = (usize, &'a Call)> {
        let account = self.account(call);
        self.after(place)
            .filter(move |(_, known)| account.is_some() && self.account(known) == account)
            .take_while(|(_, known)| !Self::lifts(known))
    }

    /// Whether a call asks for money that was not asked for before.
    fn is_new_charge(&self, place: usize, call: &Call) -> bool {
        call.rpc == Rpc::CreateTransaction && call.is(Fact::AmountPositive) && self.first_of(place, call).is_none()
    }

    fn went_on(&self, wanted: &Recogniser, place: usize, call: &Call) -> Option<usize> {
        let breaks = |at: usize, known: &Call| {
            wanted.next.contains(&known.rpc) && (known.rpc != Rpc::CreateTransaction || self.is_new_charge(at, known))
        };
        self.rest_of_flow(place, call).find(|(at, known)| breaks(*at, known)).map(|(at, _)| at)
    }

    fn charged_after(&self, place: usize, call: &Call) -> Option<usize> {
        let charges =
            |at: usize, known: &Call| self.is_new_charge(at, known) && !known.is(Fact::Reference) && known.succeeded();
        let in_flow = self.rest_of_flow(place, call).find(|(at, known)| charges(*at, known)).map(|(at, _)| at);
        let same_id = || {
            let same = |known: &Call| call.transaction.is_some() && known.transaction == call.transaction;
            self.after(place).find(|(at, known)| same(known) && charges(*at, known)).map(|(at, _)| at)
        };
        in_flow.or_else(same_id)
    }

    /// Where a purchase that was refused is posted after all: under its id, or to its account as a charge that is new,
    /// and without a validation of the account in between.
    fn posted_after_all(&self, place: usize, call: &Call) -> Option<usize> {
        let account = self.whose_purchase(place, call);
        let is_under_its_id = |known: &Call| call.transaction.is_some() && known.transaction == call.transaction;
        let is_fresh = !self.before(place).any(|(_, known)| is_under_its_id(known) && known.succeeded());
        let posts = |at: usize, known: &Call| {
            self.is_new_charge(at, known)
                && matches!(known.outcome.as_str(), "Success" | "Pending")
                && ((is_fresh && is_under_its_id(known)) || (account.is_some() && self.account(known) == account))
        };
        let validated = |at: usize, account: Option<Digest>| {
            let mut between = self.after(place).take_while(|(other, _)| *other < at);
            account.is_some() && between.any(|(_, known)| Self::lifts(known) && self.account(known) == account)
        };
        let found = self.after(place).find(|(at, known)| posts(*at, known) && !validated(*at, self.account(known)));
        found.map(|(at, _)| at)
    }

    /// The account that a refused charge was meant for. One that names an account id of nobody is meant for the account
    /// that was validated last, unless another customer's PIN was right too and is not followed by a charge yet: then
    /// it may be either's, and is held against neither.
    fn whose_purchase(&self, place: usize, call: &Call) -> Option<Digest> {
        if call.account.is_some() || !call.is(Fact::AccountId) {
            return self.account(call);
        }
        let last =
            self.before(place).rev().find(|(_, known)| Self::lifts(known)).and_then(|(_, known)| self.account(known));
        let is_charged = |from: usize, account: Option<Digest>| {
            let mut later = self.before(place).skip(from).filter(|(_, later)| later.rpc == Rpc::CreateTransaction);
            later.any(|(_, later)| later.account.is_none() || self.account(later) == account)
        };
        let may_be_anothers = self.before(place).any(|(at, known)| {
            let account = self.account(known);
            known.rpc == Rpc::ValidatePin && known.succeeded() && account != last && !is_charged(at, account)
        });
        last.filter(|_| !may_be_anothers)
    }

    /// A call that should have been the same request again and is another one.
    fn another_request(&self, wanted: &Recogniser, place: usize, call: &Call) -> Option<Finding> {
        if call.rpc != wanted.call || !wanted.facts.iter().all(|fact| call.is(*fact)) {
            return None;
        }
        if call.violations.iter().any(|code| code == "violation-on-extTransactionId") {
            let first = self.before(place).find(|(_, known)| {
                known.rpc == call.rpc && known.transaction.is_some() && known.transaction == call.transaction
            });
            let (first, _) = first?;
            return Some(Finding::broken(
                vec![first, place],
                place,
                "Another request was sent under an id that was used.",
            ));
        }
        let same_purchase = |known: &Call| {
            known.rpc == call.rpc
                && known.purchase.is_some()
                && known.purchase == call.purchase
                && self.account(known) == self.account(call)
                && known.transaction != call.transaction
                && wanted.facts.iter().all(|fact| known.is(*fact))
        };
        let beyond = call.violations.iter().any(|code| code == "refund-exceeds-charge");
        let (first, _) = self.before(place).find(|(at, known)| {
            let in_doubt = (known.status >= 500 || known.outcome == "Pending") && !self.settled(*at, place, known);
            same_purchase(known) && (in_doubt || (beyond && known.outcome == "Success"))
        })?;
        let note = if beyond {
            "A refund was asked for again under a new id."
        } else {
            "The request was sent again under a new id while its outcome was in doubt."
        };
        Some(Finding::broken(vec![first, place], place, note))
    }

    /// Whether the OTT had learned between two places what became of a transaction: by the answer to a repeat, a look at
    /// it, a list or a watch.
    fn settled(&self, from: usize, to: usize, call: &Call) -> bool {
        let Some(subject) = call.subject else { return false };
        self.before(to).skip(from.saturating_add(1)).any(|(_, known)| {
            known.finals.contains(&subject) || (known.subject == Some(subject) && known.code == "transaction-not-found")
        })
    }
}

#[cfg(test)]
mod tests;
