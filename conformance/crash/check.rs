//! The checker: what the operator has booked, what clients heard, and what the gateway says of it must be one story.
//!
//! Invariant: it knows nothing of how the gateway works, only what a partner and an operator may see.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::MONTH_MAX;
use super::load::Client;
use super::story::{Stories, Story, Verdict};
use crate::operator::{Line, Operator, all_lines};

/// How long the gateway may take to find out what became of everything. Its longest pause between two inquiries of a
/// young transaction, the lease and the time after which the operator forgets are all well below it.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// Nearly the time that the gateways of these runs give a request.
const WHOLE_TIME: Duration = Duration::from_millis(1_400);
/// Requests at a time.
const AT_A_TIME: usize = 32;

/// Repeats every request, those without a final answer until they have one, and complains of what stays open.
pub async fn settle(client: &Client, stories: &Stories) -> Vec<String> {
    ask_again(client, stories.all()).await;
    let since = Instant::now();
    loop {
        let open: Vec<Story> = stories.all().into_iter().filter(|story| story.verdict().is_none()).collect();
        if open.is_empty() || since.elapsed() > SETTLED_WITHIN {
            return open.iter().map(|story| story.tell("stuck: it never became final")).collect();
        }
        ask_again(client, open).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn ask_again(client: &Client, stories: Vec<Story>) {
    let mut running = tokio::task::JoinSet::new();
    for story in stories {
        if running.len() >= AT_A_TIME {
            running.join_next().await;
        }
        let client = client.clone();
        running.spawn(async move { client.ask_patiently(&story.ask).await });
    }
    while let Some(done) = running.join_next().await {
        done.expect("no client panics");
    }
}

/// Whether the ledger is where the gateway is, or can be away while the gateway answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ledger {
    Here,
    Elsewhere,
}

/// Compares everything with everything.
pub async fn compare(client: &Client, operator: &Operator, stories: &Stories, ledger: Ledger) -> Vec<String> {
    let lines = all_lines(&operator.client()).await;
    let overspent = overspent(&lines);
    let mut by_key: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for line in lines {
        by_key.entry(line.description.clone()).or_default().push(line);
    }
    let listed = listed(client).await;
    let all = stories.all();
    let mut complaints = overspent;
    for story in &all {
        let lines = by_key.remove(&story.ask.key()).unwrap_or_default();
        complaints
            .extend(against_bill(story, &lines).map(|wrong| story.tell(&format!("{wrong}; on the bill {lines:?}"))));
        complaints.extend(against_itself(story, ledger).map(|wrong| story.tell(&wrong)));
        complaints.extend(against_gateway(client, story, &listed).await.map(|wrong| story.tell(&wrong)));
    }
    complaints.extend(by_key.values().map(|lines| format!("booked, and never asked for: {lines:?}")));
    complaints.extend(over_refunded(&all));
    let known: BTreeSet<String> = all.iter().map(|story| story.ask.key()).collect();
    complaints
        .extend(listed.keys().filter(|key| !known.contains(*key)).map(|key| format!("{key}: listed, never asked for")));
    complaints
}

/// Doubles, losses and wrong answers.
fn against_bill(story: &Story, lines: &[Line]) -> Option<String> {
    match (story.verdict(), lines) {
        (_, [_, _, ..]) => Some("double: booked more than once".to_owned()),
        (Some(Verdict::Success), []) => Some("lost: it succeeded and is not on the bill".to_owned()),
        (Some(Verdict::Success), [line]) if line.amount != story.ask.amount() => {
            Some("another amount is billed".into())
        }
        (Some(Verdict::Success), [line]) if line.address != story.ask.number => Some("another number is billed".into()),
        (Some(Verdict::Success), [line]) if line.reference_id.is_some() != story.ask.charge.is_some() => {
            Some("another kind is billed".to_owned())
        }
        (Some(Verdict::Failure), [_]) => Some("wrong answer: it failed and is on the bill".to_owned()),
        (Some(Verdict::Refused), [_]) => Some("wrong answer: it was refused and is on the bill".to_owned()),
        (Some(_) | None, _) => None,
    }
}

/// A final answer never changes, and whoever asks after it was given gets it. Where the ledger can be away it is 503; or
/// Pending, for a duplicate of a call that was under way somewhere, when it has waited for its whole time.
fn against_itself(story: &Story, ledger: Ledger) -> Option<String> {
    let first = story.heard.iter().find(|heard| heard.final_body().is_some())?;
    for heard in &story.heard {
        match (&heard.answer, heard.final_body()) {
            (_, Some(body)) if Some(body) != first.final_body() => return Some("a final answer changed".to_owned()),
            (Some((503, _)), None) if ledger == Ledger::Elsewhere => {}
            (Some((200, _)), None) if ledger == Ledger::Elsewhere && heard.ended > heard.began + WHOLE_TIME => {}
            (Some(answer), None) if heard.began > first.ended => {
                return Some(format!("{answer:?} came after a final answer"));
            }
            _ => {}
        }
    }
    None
}

/// What GET and List say.
async fn against_gateway(client: &Client, story: &Story, listed: &BTreeMap<String, String>) -> Option<String> {
    let expected = match story.verdict()? {
        Verdict::Success => Some("Success"),
        Verdict::Failure => Some("Failure"),
        Verdict::Refused => None,
    };
    let path = format!("/transaction/{}?kind={}", story.ask.id, story.ask.kind);
    let Some((status, body)) = client.get(&path).await else {
        return Some("GET has no answer".to_owned());
    };
    let shown = (status == 200).then(|| body["status"].as_str()).flatten();
    if shown != expected || (shown.is_some() && body["amount"] != story.ask.amount()) {
        return Some(format!("GET says {status} {body}"));
    }
    let listed = listed.get(&story.ask.key()).map(String::as_str);
    (listed != expected).then(|| format!("the list says {listed:?}"))
}

/// All transactions of the list, by key: their status.
async fn listed(client: &Client) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut token = String::new();
    loop {
        let (status, page) =
            client.get(&format!("/transactions?pageSize=500&pageToken={token}")).await.expect("a list");
        assert_eq!(status, 200, "{page}");
        for row in page["transactions"].as_array().expect("rows") {
            let text = |field: &str| row[field].as_str().expect("a text").to_owned();
            let key = format!("{} {}", text("kind"), text("extTransactionId"));
            assert!(all.insert(key.clone(), text("status")).is_none(), "{key} is listed twice");
        }
        page["nextPageToken"].as_str().expect("a token").clone_into(&mut token);
        if token.is_empty() {
            return all;
        }
    }
}

/// Accounts that have spent more than they may, at any moment. A run in which a month ends shows twice as much.
fn overspent(lines: &[Line]) -> Vec<String> {
    let mut spent: BTreeMap<&str, i64> = BTreeMap::new();
    let most = 2 * 100 * i64::try_from(MONTH_MAX).expect("small");
    let most = if month_has_ended() { most } else { most / 2 };
    let mut complaints = BTreeMap::new();
    for line in lines {
        let spent = spent.entry(&line.address).or_default();
        *spent += minor(&line.amount);
        if *spent > most {
            complaints.insert(&line.address, format!("{}: {spent} is spent, {most} is the limit", line.address));
        }
    }
    complaints.into_values().collect()
}

/// Whether this month began within the last hour, so that it may have begun during the run.
fn month_has_ended() -> bool {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    now.day() == 1 && now.hour() == 0
}

/// Minor units of an amount as it is printed.
fn minor(amount: &str) -> i64 {
    let (units, cents) = amount.split_once('.').expect("a decimal");
    let sign = if units.starts_with('-') { -1 } else { 1 };
    let cents = format!("{cents:0<2}").parse::<i64>().expect("cents");
    units.parse::<i64>().expect("units") * 100 + sign * cents
}

/// Charges of which more was given back than they were.
fn over_refunded(all: &[Story]) -> Vec<String> {
    let mut refunded: BTreeMap<&str, u64> = BTreeMap::new();
    for story in all.iter().filter(|story| story.verdict() == Some(Verdict::Success)) {
        if let Some(charge) = &story.ask.charge {
            *refunded.entry(charge).or_default() += story.ask.minor;
        }
    }
    let charges = all.iter().filter(|story| story.ask.charge.is_none());
    charges
        .filter(|story| refunded.get(story.ask.id.as_str()).is_some_and(|sum| *sum > story.ask.minor))
        .map(|story| story.tell("more was given back than it was"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::story::{Ask, Heard};
    use super::*;

    fn story(answers: &[(u16, &str)]) -> Story {
        let ask = Ask { kind: "charge", id: "1".into(), charge: None, number: "5550100001".into(), minor: 150 };
        let heard = answers.iter().zip(0_u64..).map(|((status, state), second)| Heard {
            began: Duration::from_secs(2 * second + 1),
            ended: Duration::from_secs(2 * second + 2),
            kills: 0,
            answer: Some((*status, format!("{{\"status\":\"{state}\"}}"))),
        });
        Story { ask, heard: heard.collect() }
    }

    fn line(amount: &str, number: &str) -> Line {
        let (reference, description) = (String::new(), String::new());
        Line { address: number.into(), reference, reference_id: None, amount: amount.into(), description }
    }

    #[test]
    fn a_bill_that_tells_another_story_is_complained_of() {
        let (right, other) = (line("1.5", "5550100001"), line("1.51", "5550100001"));
        let elsewhere = line("1.5", "5550100101");
        for (answers, lines, complaint) in [
            (&[(200, "Success")][..], vec![right.clone()], None),
            (&[(200, "Success")], vec![], Some("lost")),
            (&[(200, "Success")], vec![right.clone(), right.clone()], Some("double")),
            (&[(200, "Success")], vec![other], Some("another amount")),
            (&[(200, "Success")], vec![elsewhere], Some("another number")),
            (&[(200, "Failure")], vec![], None),
            (&[(200, "Failure")], vec![right.clone()], Some("wrong answer")),
            (&[(400, "x")], vec![right.clone()], Some("wrong answer")),
            (&[(503, "x")], vec![right.clone(), right], Some("double")),
        ] {
            let found = against_bill(&story(answers), &lines);
            assert_eq!(found.is_some(), complaint.is_some(), "{answers:?}");
            assert!(found.unwrap_or_default().starts_with(complaint.unwrap_or_default()), "{answers:?}");
        }
    }

    #[test]
    fn a_final_answer_that_changes_is_complained_of() {
        for (answers, wrong) in [
            (&[(200, "Pending"), (503, "x"), (200, "Success"), (200, "Success")][..], false),
            (&[(200, "Success"), (200, "Failure")], true),
            (&[(200, "Success"), (200, "Pending")], true),
            (&[(200, "Failure"), (503, "x")], true),
        ] {
            assert_eq!(against_itself(&story(answers), Ledger::Here).is_some(), wrong, "{answers:?}");
        }
    }
    #[test]
    fn a_ledger_elsewhere_excuses_unavailable_and_nothing_else() {
        for (then, wrong) in [((503, "x"), false), ((200, "Pending"), true), ((404, "x"), true)] {
            let found = against_itself(&story(&[(200, "Success"), then]), Ledger::Elsewhere);
            assert_eq!(found.is_some(), wrong, "{then:?}");
        }
    }
}
