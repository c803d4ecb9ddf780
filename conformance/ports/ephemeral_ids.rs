//! The part of the contract of `ports::ephemeral` that is about notifications with an id.
//!
//! Invariant: as for all of the contract, `ephemeral.rs` stamps these claims onto every store.

use std::sync::Arc;

use onbill::adapters::ephemeral::{Bounds, MemoryEphemeral};
use onbill::domain::ids::{ExtNotificationId, PartnerId};
use onbill::domain::notification::{Claim, ContentDigest, NotificationKey};
use onbill::ports::ephemeral::{Ephemeral, Texted};

use super::ephemeral::{at, ticket};

fn notification(partner: &str, id: &str) -> NotificationKey {
    NotificationKey { partner: PartnerId::new(partner), id: ExtNotificationId::parse(id).expect("an id") }
}

const TEXT: ContentDigest = ContentDigest([1; 16]);
const OTHER_TEXT: ContentDigest = ContentDigest([0xfe; 16]);

async fn claim(store: &dyn Ephemeral, key: &NotificationKey, content: ContentDigest, number: u64, now: i64) -> Claim {
    store.claim_notification(key, &content, &ticket(number), at(now)).await.expect("the store answers")
}

pub(super) async fn the_id_of_a_notification_is_taken_once_and_for_one_content(store: Arc<impl Ephemeral>) {
    let key = notification("demo-ott", "n-1");
    assert_eq!(claim(&*store, &key, TEXT, 1, 0).await, Claim::Begun);
    assert_eq!(claim(&*store, &key, TEXT, 2, 1).await, Claim::Undecided);
    assert_eq!(claim(&*store, &key, OTHER_TEXT, 2, 1).await, Claim::Used);
    store.settle_notification(&key, &ticket(1), Texted::Sent).await;
    store.settle_notification(&key, &ticket(1), Texted::Sent).await;
    assert_eq!(claim(&*store, &key, TEXT, 2, 2).await, Claim::Sent);
    assert_eq!(claim(&*store, &key, TEXT, 1, 2).await, Claim::Sent, "whoever asks");
    assert_eq!(claim(&*store, &key, OTHER_TEXT, 2, 2).await, Claim::Used);
    for other in [notification("demo-ott", "n-2"), notification("other-ott", "n-1")] {
        assert_eq!(claim(&*store, &other, OTHER_TEXT, 3, 3).await, Claim::Begun, "{other:?}");
    }
}

pub(super) async fn an_id_is_free_again_where_nothing_was_sent_and_after_a_day(store: Arc<impl Ephemeral>) {
    let key = notification("demo-ott", "n-1");
    assert_eq!(claim(&*store, &key, TEXT, 1, 0).await, Claim::Begun);
    store.settle_notification(&key, &ticket(1), Texted::NotSent).await;
    assert_eq!(claim(&*store, &key, OTHER_TEXT, 2, 1).await, Claim::Begun);
    store.settle_notification(&key, &ticket(2), Texted::Sent).await;
    store.settle_notification(&key, &ticket(2), Texted::NotSent).await;
    assert_eq!(claim(&*store, &key, OTHER_TEXT, 3, 86_400).await, Claim::Sent, "what was sent stays sent");
    assert_eq!(claim(&*store, &key, OTHER_TEXT, 3, 86_401).await, Claim::Begun, "a day later");
    assert_eq!(claim(&*store, &key, OTHER_TEXT, 4, 86_402 + 86_398).await, Claim::Undecided, "a day of its own");
}

pub(super) async fn only_who_has_taken_an_id_says_what_came_of_it(store: Arc<impl Ephemeral>) {
    let key = notification("demo-ott", "n-1");
    store.settle_notification(&key, &ticket(1), Texted::Sent).await;
    assert_eq!(claim(&*store, &key, TEXT, 1, 0).await, Claim::Begun, "nobody had taken it");
    assert_eq!(claim(&*store, &key, TEXT, 2, 86_400).await, Claim::Begun, "the day of the first is over");
    for texted in [Texted::NotSent, Texted::Sent] {
        store.settle_notification(&key, &ticket(1), texted).await;
        assert_eq!(claim(&*store, &key, TEXT, 3, 86_401).await, Claim::Undecided, "the first is late");
    }
}

pub(super) async fn of_many_that_take_one_id_at_once_one_texts(store: Arc<impl Ephemeral + 'static>) {
    let tries = (0..50).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { claim(&*store, &notification("demo-ott", "n-1"), TEXT, number, 0).await })
    });
    let mut begun = 0;
    for tried in tries.collect::<Vec<_>>() {
        begun += u32::from(tried.await.expect("no panic") == Claim::Begun);
    }
    assert_eq!(begun, 1);
}

#[tokio::test]
async fn a_full_store_takes_no_new_id_of_a_notification_and_forgets_none() {
    // Entries are spread over locks by hash; with one for each, the bound is met soon and for certain.
    let store = MemoryEphemeral::new(Bounds { notifications_max: 1, ..Bounds::default() });
    let keys: Vec<_> = (0..200).map(|count| notification("demo-ott", &format!("n-{count}"))).collect();
    let mut refused = Vec::new();
    for key in &keys {
        match store.claim_notification(key, &TEXT, &ticket(1), at(0)).await {
            Ok(claimed) => assert_eq!(claimed, Claim::Begun),
            Err(_) => refused.push(key),
        }
    }
    assert!(!refused.is_empty() && refused.len() < keys.len());
    for key in keys.iter().filter(|key| !refused.contains(key)) {
        assert_eq!(claim(&store, key, TEXT, 2, 86_399).await, Claim::Undecided);
    }
    assert_eq!(claim(&store, refused[0], TEXT, 1, 86_400).await, Claim::Begun, "a day later there is room");
}
