//! The events: what the partner's endpoint got must be the same story, told at least once and in order.
//!
//! Invariant: the endpoint takes whatever comes, so that only crashes keep an event from it. What a failing endpoint is
//! sent, and when, is the matter of the gateway's tests of events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::story::{Stories, Story, Verdict};
use crate::gateway::endpoint::{Endpoint, Received};

/// How long deliveries may take: longer than a claim lasts that a crash has left.
const TOLD_WITHIN: Duration = Duration::from_secs(90);

/// Waits until every final outcome was taken by the endpoint, and complains of what is wrong.
pub async fn compare(endpoint: &Endpoint, stories: &Stories) -> Vec<String> {
    let all = stories.all();
    let since = Instant::now();
    loop {
        let received = endpoint.received();
        let taken: BTreeSet<String> = received.iter().filter(|event| event.status == 204).map(key).collect();
        let missing = all.iter().any(|story| is_final(story) && !taken.contains(&story.ask.key()));
        if !missing || since.elapsed() > TOLD_WITHIN {
            return complaints(&all, &received);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn is_final(story: &Story) -> bool {
    matches!(story.verdict(), Some(Verdict::Success | Verdict::Failure))
}

fn key(event: &Received) -> String {
    let (id, kind, _) = event.brief();
    format!("{kind} {id}")
}

fn complaints(all: &[Story], received: &[Received]) -> Vec<String> {
    let mut by_key: BTreeMap<String, Vec<(usize, &Received)>> = BTreeMap::new();
    for (place, event) in received.iter().enumerate() {
        by_key.entry(key(event)).or_default().push((place, event));
    }
    let mut complaints = Vec::new();
    for story in all {
        let events = by_key.get(&story.ask.key()).map(Vec::as_slice).unwrap_or_default();
        complaints.extend(against(story, events).map(|wrong| story.tell(&wrong)));
        let charge = story.ask.charge.as_ref().and_then(|charge| by_key.get(&format!("charge {charge}")));
        if let (Some((first, _)), Some([(charged, _), ..])) = (events.first(), charge.map(Vec::as_slice))
            && first < charged
        {
            complaints.push(story.tell("its event came before that of its charge"));
        }
    }
    complaints
}

/// What is wrong with the events of one key.
fn against(story: &Story, events: &[(usize, &Received)]) -> Option<String> {
    let told = match story.verdict() {
        Some(Verdict::Success) => "Success",
        Some(Verdict::Failure) => "Failure",
        Some(Verdict::Refused) | None if events.is_empty() => return None,
        Some(Verdict::Refused) | None => return Some("it has an event and no outcome".to_owned()),
    };
    let Some((_, first)) = events.first() else {
        return Some("its event never came".to_owned());
    };
    if first.brief().2 != told {
        return Some(format!("its event tells {}", first.body));
    }
    let same = events.iter().all(|(_, event)| event.body == first.body);
    if !same {
        return Some("its event was told in two ways".to_owned());
    }
    events.iter().all(|(_, event)| event.status != 204).then(|| "its event was never taken".to_owned())
}
