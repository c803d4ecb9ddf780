//! The phones' inboxes: what was sent to each number.
//!
//! Invariant: memory is bounded. A phone keeps its newest messages; where there are too many over all phones, the inbox
//! that has been quiet the longest is emptied. Messages may hold PINs: they are never printed and never on disk.
//! Where gateways share a sandbox, `inbox_file` stands in.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::domain::address::Msisdn;
use crate::ports::sandbox::ReceivedSms;

/// Messages that one phone keeps.
pub(super) const PER_NUMBER_MAX: usize = 100;
/// Messages that all phones keep together: some tens of megabytes at worst.
pub(super) const IN_ALL_MAX: usize = 50_000;

/// All inboxes.
pub(super) struct Inbox {
    phones: Mutex<Phones>,
}

#[derive(Default)]
struct Phones {
    by_number: HashMap<Msisdn, Phone>,
    /// Who received something at which step; the first has been quiet the longest.
    by_step: BTreeMap<u64, Msisdn>,
    /// Messages received so far.
    step: u64,
    /// Messages kept.
    kept: usize,
}

struct Phone {
    /// Step of its newest message.
    step: u64,
    /// Oldest first.
    messages: VecDeque<ReceivedSms>,
}

impl Inbox {
    /// Inboxes without messages.
    pub(super) fn new() -> Self {
        Self { phones: Mutex::default() }
    }

    /// Delivers a message.
    pub(super) fn receive(&self, number: &Msisdn, message: ReceivedSms) {
        self.phones.lock().unwrap_or_else(PoisonError::into_inner).receive(number, message);
    }

    /// What a number has received, newest first.
    pub(super) fn messages(&self, number: &Msisdn, messages_max: usize) -> Vec<ReceivedSms> {
        let phones = self.phones.lock().unwrap_or_else(PoisonError::into_inner);
        let phone = phones.by_number.get(number);
        phone.map(|phone| phone.messages.iter().rev().take(messages_max).cloned().collect()).unwrap_or_default()
    }

    /// Empties the inbox of a number.
    pub(super) fn clear(&self, number: &Msisdn) {
        self.phones.lock().unwrap_or_else(PoisonError::into_inner).remove(number);
    }
}

impl Phones {
    fn receive(&mut self, number: &Msisdn, message: ReceivedSms) {
        let mut messages = self.remove(number);
        messages.push_back(message);
        if messages.len() > PER_NUMBER_MAX {
            messages.pop_front();
        }
        self.step = self.step.saturating_add(1);
        self.kept = self.kept.saturating_add(messages.len());
        self.by_step.insert(self.step, number.clone());
        self.by_number.insert(number.clone(), Phone { step: self.step, messages });
        while self.kept > IN_ALL_MAX {
            let Some((_, quietest)) = self.by_step.first_key_value() else { return };
            self.remove(&quietest.clone());
        }
    }

    fn remove(&mut self, number: &Msisdn) -> VecDeque<ReceivedSms> {
        let Some(phone) = self.by_number.remove(number) else {
            return VecDeque::new();
        };
        self.by_step.remove(&phone.step);
        self.kept = self.kept.saturating_sub(phone.messages.len());
        phone.messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Time;
    use crate::ports::csp::SmsText;

    fn message(text: usize) -> ReceivedSms {
        ReceivedSms { text: SmsText::new(text.to_string()), at: Time::UNIX_EPOCH }
    }

    fn texts(inbox: &Inbox, number: &Msisdn, messages_max: usize) -> Vec<String> {
        inbox.messages(number, messages_max).iter().map(|message| message.text.expose().to_owned()).collect()
    }

    #[test]
    fn a_phone_keeps_its_newest_messages_newest_first() {
        let (inbox, number) = (Inbox::new(), Msisdn::new("5550100001"));
        for text in 0..150 {
            inbox.receive(&number, message(text));
        }
        let all = texts(&inbox, &number, usize::MAX);
        assert_eq!((all.len(), all[0].as_str(), all[99].as_str()), (PER_NUMBER_MAX, "149", "50"));
        assert_eq!(texts(&inbox, &number, 2), ["149", "148"]);
        inbox.clear(&number);
        assert!(texts(&inbox, &number, 2).is_empty());
    }

    #[test]
    fn the_inbox_that_was_quiet_the_longest_makes_room() {
        let inbox = Inbox::new();
        let number = |count: usize| Msisdn::new(&count.to_string());
        for count in 0..IN_ALL_MAX {
            inbox.receive(&number(count), message(count));
        }
        inbox.receive(&number(0), message(1));
        assert_eq!(texts(&inbox, &number(0), 9), ["1", "0"], "it has just received something");
        assert!(texts(&inbox, &number(1), 9).is_empty(), "nobody was quieter");
        assert_eq!(texts(&inbox, &number(2), 9), ["2"]);
        let phones = inbox.phones.lock().expect("not poisoned");
        assert_eq!((phones.kept, phones.by_step.len()), (IN_ALL_MAX, phones.by_number.len()));
    }
}
