//! The outbox of the ledger in memory.
//!
//! Invariant: it gives the same answers as the durable stores; it looks through all its events where they use an index.

use std::cmp::Reverse;

use async_trait::async_trait;

use super::{Books, MemoryLedger, microsecond};
use crate::domain::Time;
use crate::domain::event::{Delivery, Event, EventId};
use crate::domain::ids::PartnerId;
use crate::domain::transaction::TransactionKey;
use crate::ports::ledger::LedgerUnavailable;
use crate::ports::outbox::{Claim, Claimed, DeadLetter, Ending, Outbox, Resend};

/// How far an event has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is to be sent at this time, or, while it is claimed, the claim ends then.
    Due(Time),
    /// Nobody waits for it.
    Skipped,
    /// It has arrived.
    Delivered,
    /// It was given up, for this reason.
    Dead(String),
}

/// An event with how far it has come.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub event: Event,
    attempts: u32,
    progress: Progress,
}

impl Outgoing {
    pub(super) fn new(event: Event) -> Self {
        let progress = match event.delivery {
            Delivery::Due => Progress::Due(event.at),
            Delivery::Skipped => Progress::Skipped,
        };
        Self { event, attempts: 0, progress }
    }
}

impl Books {
    /// Whether the charge that a transaction gives back has an event that is still on its way.
    fn waits_for_its_charge(&self, key: &TransactionKey) -> bool {
        let charge = self.find(key).and_then(crate::domain::transaction::Transaction::charge_key);
        let is_due = |outgoing: &Outgoing| matches!(outgoing.progress, Progress::Due(_));
        charge.is_some_and(|charge| self.outbox.iter().any(|other| other.event.key == charge && is_due(other)))
    }

    fn claim(&mut self, claim: &Claim) -> Vec<Claimed> {
        let mut due: Vec<(Time, usize)> = Vec::new();
        for (place, outgoing) in self.outbox.iter().enumerate() {
            let Progress::Due(at) = outgoing.progress else { continue };
            let event = &outgoing.event;
            if *event.partner() == claim.partner && at <= claim.now && !self.waits_for_its_charge(&event.key) {
                due.push((at, place));
            }
        }
        due.sort_unstable();
        due.truncate(usize::try_from(claim.rows_max).unwrap_or(usize::MAX));
        let mut claimed = Vec::with_capacity(due.len());
        for (_, place) in due {
            let Some(outgoing) = self.outbox.get_mut(place) else { continue };
            outgoing.attempts = outgoing.attempts.saturating_add(1);
            outgoing.progress = Progress::Due(microsecond(claim.until));
            let (event, attempts) = (outgoing.event.clone(), outgoing.attempts);
            if let Some(transaction) = self.find(&event.key).cloned() {
                claimed.push(Claimed { event, attempts, transaction });
            }
        }
        claimed
    }

    fn end(&mut self, id: &EventId, attempts: u32, ending: Ending) -> bool {
        let held = |outgoing: &&mut Outgoing| {
            outgoing.event.id == *id && outgoing.attempts == attempts && matches!(outgoing.progress, Progress::Due(_))
        };
        let Some(outgoing) = self.outbox.iter_mut().find(held) else {
            return false;
        };
        outgoing.progress = match ending {
            Ending::Delivered => Progress::Delivered,
            Ending::Again { at, note: _ } => Progress::Due(microsecond(at)),
            Ending::Dead { note } => Progress::Dead(note),
        };
        true
    }

    fn dead(&self, partner: Option<&PartnerId>, rows_max: u32) -> Vec<DeadLetter> {
        let mut dead: Vec<DeadLetter> = self
            .outbox
            .iter()
            .rev()
            .filter(|outgoing| partner.is_none_or(|partner| outgoing.event.partner() == partner))
            .filter_map(|outgoing| match &outgoing.progress {
                Progress::Dead(note) => {
                    Some(DeadLetter { event: outgoing.event.clone(), attempts: outgoing.attempts, note: note.clone() })
                }
                Progress::Due(_) | Progress::Skipped | Progress::Delivered => None,
            })
            .collect();
        dead.sort_by_key(|letter| Reverse(letter.event.at));
        dead.truncate(usize::try_from(rows_max).unwrap_or(usize::MAX));
        dead
    }

    fn resend(&mut self, which: &Resend, now: Time) -> u64 {
        let mut count = 0_u64;
        for outgoing in &mut self.outbox {
            let is_dead = matches!(outgoing.progress, Progress::Dead(_));
            let wanted = match which {
                Resend::One(partner, id) => {
                    let is_over = is_dead || outgoing.progress == Progress::Delivered;
                    outgoing.event.id == *id && outgoing.event.partner() == partner && is_over
                }
                Resend::DeadOf(partner) => outgoing.event.partner() == partner && is_dead,
            };
            if wanted {
                outgoing.attempts = 0;
                outgoing.progress = Progress::Due(microsecond(now));
                count = count.saturating_add(1);
            }
        }
        count
    }
}

#[async_trait]
impl Outbox for MemoryLedger {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Claimed>, LedgerUnavailable> {
        Ok(self.books().claim(claim))
    }

    async fn end(&self, id: &EventId, attempts: u32, ending: Ending) -> Result<bool, LedgerUnavailable> {
        Ok(self.books().end(id, attempts, ending))
    }

    async fn dead(&self, partner: Option<&PartnerId>, rows_max: u32) -> Result<Vec<DeadLetter>, LedgerUnavailable> {
        Ok(self.books().dead(partner, rows_max))
    }

    async fn resend(&self, which: &Resend, now: Time) -> Result<u64, LedgerUnavailable> {
        Ok(self.books().resend(which, now))
    }
}
