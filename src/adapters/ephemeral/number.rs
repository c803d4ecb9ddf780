//! What is known of one number: its PINs and the sends that count.
//!
//! Invariant: the rules are those of `domain::pin`; this only keeps what they say. A send counts for its partner and for
//! the number over all partners. How long all of it matters is [`Number::due`]; proofs are kept elsewhere, since they
//! matter longer.

use jiff::SignedDuration;

use crate::domain::Time;
use crate::domain::directory::SendQuota;
use crate::domain::ids::PartnerId;
use crate::domain::pin::{self, PinDigest, StoredPin, Verdict};
use crate::ports::ephemeral::Issued;

/// PINs and sends of one number.
#[derive(Debug, Default)]
pub(super) struct Number {
    /// Length of the longest window that a send was counted by.
    window_s: u32,
    /// Sends that may still count, over all partners, oldest first.
    sends: Vec<Time>,
    /// The same for each partner. There are few.
    partners: Vec<OfPartner>,
}

#[derive(Debug)]
struct OfPartner {
    partner: PartnerId,
    pin: Option<StoredPin>,
    sends: Vec<Time>,
}

impl Number {
    /// Keeps a new PIN if the quotas allow one more send, and counts the send.
    pub(super) fn issue(&mut self, partner: &PartnerId, pin: StoredPin, quota: SendQuota, now: Time) -> Issued {
        self.window_s = self.window_s.max(quota.window_s);
        self.forget_before(now);
        let own = self.partners.iter().find(|own| own.partner == *partner).map_or(&[][..], |own| &own.sends);
        if let Err(retry_after_s) = pin::admit_sends(own, &self.sends, quota, now) {
            return Issued::QuotaReached { retry_after_s };
        }
        count(&mut self.sends, now);
        if let Some(own) = self.of(partner) {
            count(&mut own.sends, now);
            own.pin = Some(pin);
        } else {
            self.partners.push(OfPartner { partner: partner.clone(), pin: Some(pin), sends: vec![now] });
        }
        Issued::Kept
    }

    /// Judges a try and keeps what is left of the PIN.
    pub(super) fn redeem(&mut self, partner: &PartnerId, offered: &PinDigest, now: Time) -> Verdict {
        let Some(own) = self.of(partner) else {
            return Verdict::Wrong;
        };
        let (verdict, kept) = pin::redeem(own.pin.take(), offered, now);
        own.pin = kept;
        verdict
    }

    /// From when on nothing of it matters.
    pub(super) fn due(&self) -> Time {
        let window = SignedDuration::from_secs(i64::from(self.window_s));
        let sent = self.sends.last().map(|last| last.checked_add(window).unwrap_or(Time::MAX));
        let expires = self.partners.iter().filter_map(|own| own.pin.as_ref()).map(|pin| pin.expires_at).max();
        sent.max(expires).unwrap_or(Time::MIN)
    }

    fn of(&mut self, partner: &PartnerId) -> Option<&mut OfPartner> {
        self.partners.iter_mut().find(|own| own.partner == *partner)
    }

    /// Drops what does not matter any more.
    fn forget_before(&mut self, now: Time) {
        let window = SignedDuration::from_secs(i64::from(self.window_s));
        let counts = |sent: &Time| now.duration_since(*sent) < window;
        self.sends.retain(counts);
        for own in &mut self.partners {
            own.sends.retain(counts);
        }
        self.partners.retain(|own| !own.sends.is_empty() || own.pin.as_ref().is_some_and(|pin| pin.expires_at > now));
    }
}

/// Adds a send in its place: two gateways' threads may take the lock in another order than the time.
fn count(sends: &mut Vec<Time>, now: Time) {
    let place = sends.partition_point(|sent| *sent <= now);
    sends.insert(place, now);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time::from_second(second).expect("in range")
    }

    fn pin(expires_at: Time) -> StoredPin {
        StoredPin { digest: PinDigest([1; 32]), expires_at, tries_left: 5 }
    }

    const QUOTA: SendQuota = SendQuota { per_partner_max: 3, per_address_max: 10, window_s: 600 };

    #[test]
    fn it_matters_until_its_last_pin_and_its_last_send_are_past() {
        let partner = PartnerId::new("a");
        let mut number = Number::default();
        assert_eq!(number.due(), Time::MIN);
        number.issue(&partner, pin(at(300)), QUOTA, at(0));
        assert_eq!(number.due(), at(600));
        number.issue(&partner, pin(at(3600)), QUOTA, at(10));
        assert_eq!(number.due(), at(3600));
    }

    #[test]
    fn sends_that_do_not_count_any_more_are_dropped() {
        let mut number = Number::default();
        for second in 0..100 {
            number.issue(&PartnerId::new("a"), pin(at(second * 300 + 300)), QUOTA, at(second * 300));
        }
        assert_eq!((number.sends.len(), number.partners.len()), (2, 1));
        number.issue(&PartnerId::new("b"), pin(at(40_000)), QUOTA, at(39_000));
        assert_eq!((number.sends.len(), number.partners.len()), (1, 1));
    }
}
