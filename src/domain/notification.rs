//! A notification that must not text twice: what its id stands for, and what a repeat may hear.
//!
//! Invariant: of all requests under one id, at most one texts while the id is remembered. What is not known to have been
//! sent and not known to have stayed unsent counts as sent: nobody texts again under that id. Ids are remembered for a
//! day and not for ever, since no money hangs on them.

use jiff::SignedDuration;

use super::Time;
use super::ids::{ExtNotificationId, PartnerId};

/// How long an id is remembered, counted from the request that took it.
pub const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

/// What makes a notification one: ids belong to their partner.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NotificationKey {
    /// The partner.
    pub partner: PartnerId,
    /// The partner's own id.
    pub id: ExtNotificationId,
}

/// Keyed digest of whom a notification is for and what it says: the same for the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentDigest(pub [u8; 16]);

/// What is remembered of the request that has taken an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// What it was.
    pub content: ContentDigest,
    /// Whether the CSP has taken the text. Before that it may be under way, or nobody knows.
    pub is_sent: bool,
    /// When the id is free again.
    pub until: Time,
}

/// What a request under an id may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The id is its own now: it texts, and says what came of that.
    Begun,
    /// The text was sent for an earlier request: the same answer again.
    Sent,
    /// An earlier request is about to text, or it is not known whether it has: nothing may be sent.
    Undecided,
    /// The id is that of another notification.
    Used,
}

/// Judges a request by what is remembered under its id.
#[must_use]
pub fn claim(taken: Option<Taken>, content: ContentDigest, now: Time) -> Claim {
    match taken {
        None => Claim::Begun,
        Some(taken) if taken.until <= now => Claim::Begun,
        Some(taken) if taken.content != content => Claim::Used,
        Some(Taken { is_sent: true, .. }) => Claim::Sent,
        Some(Taken { is_sent: false, .. }) => Claim::Undecided,
    }
}

/// When an id that is taken now is free again.
#[must_use]
pub fn remembered_until(now: Time) -> Time {
    now.checked_add(REMEMBERED).unwrap_or(Time::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_texts_once_for_one_content_and_is_free_after_a_day() {
        let at = |second: i64| Time::from_second(second).expect("in range");
        let (this, other) = (ContentDigest([1; 16]), ContentDigest([2; 16]));
        let taken = |is_sent| Some(Taken { content: this, is_sent, until: remembered_until(at(0)) });
        for (taken, content, second, claimed) in [
            (None, this, 0, Claim::Begun),
            (taken(true), this, 1, Claim::Sent),
            (taken(false), this, 1, Claim::Undecided),
            (taken(true), other, 1, Claim::Used),
            (taken(false), other, 1, Claim::Used),
            (taken(true), this, 86_399, Claim::Sent),
            (taken(true), this, 86_400, Claim::Begun),
            (taken(false), other, 86_400, Claim::Begun),
        ] {
            assert_eq!(claim(taken, content, at(second)), claimed, "{taken:?} {content:?} after {second} s");
        }
    }
}
