//! Spend limits: at no moment does an account spend more in a day or a month than it may, nobody is turned away for whom
//! there was room, and at the end each counter says what the records add up to.
//!
//! Invariant: what an account has spent is added up from the commits, by the account and the civil day of the charge;
//! counters, and what the gateway's rules make of days, are held against that and never asked.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use onbill::domain::limits::CounterName;
use onbill::domain::transaction::{Kind, State, Transaction};

use super::super::gateway::time_zone;
use super::super::plan::Spending;
use super::super::world::label;
use super::{Evidence, Findings};

/// Whether a record is a charge that was turned away for a limit.
pub fn is_over_limit(record: &Transaction) -> bool {
    record.state == State::Failure && record.message().starts_with("Over spending ")
}

/// All of it.
pub fn check(evidence: &Evidence, findings: &mut Findings) {
    counters(evidence, findings);
    let Some(spending) = &evidence.world.plan.spending else {
        let turned_away = evidence.books.records.iter().find(|record| is_over_limit(record));
        findings.must(turned_away.is_none(), "", || "is over a limit where there is none".to_owned());
        return;
    };
    let zone = time_zone(spending);
    let mut purse = Purse { spending, zone, counted: BTreeMap::new(), spent: BTreeMap::new() };
    // What each charge that was turned away would have met since it was first asked for.
    let mut meant: Vec<(&str, u64, &Transaction, bool)> = Vec::new();
    for change in evidence.history.iter().filter(|change| is_over_limit(&change.record)) {
        let asked = evidence.calls.iter().filter(|call| call.ask.label == change.label).map(|call| call.from_ms).min();
        meant.push((&change.label, asked.unwrap_or_default(), &change.record, false));
    }
    for place in 0..=evidence.history.len() {
        // The time during which the sums are as they are now.
        let until_ms = evidence.history.get(place).map_or(u64::MAX, |next| next.at_ms);
        for (of, asked_ms, record, met) in &mut meant {
            let is_decided =
                evidence.history.iter().take(place).any(|change| change.label == *of && is_over_limit(&change.record));
            *met |= !is_decided && until_ms >= *asked_ms && !purse.has_room(record);
        }
        if let Some(change) = evidence.history.get(place) {
            let charge = change.record.charge_key().and_then(|key| evidence.record(&label(&key)));
            purse.take(&change.record, charge);
            if let Some(text) = purse.above(&change.record) {
                findings.must(false, &change.label, || text);
            }
        }
    }
    for (of, _, _, met) in meant {
        findings.must(met, of, || "was turned away for a limit, and there was room for it".to_owned());
    }
}

/// What accounts have spent so far.
struct Purse<'a> {
    spending: &'a Spending,
    zone: TimeZone,
    /// What each key counts as at present.
    counted: BTreeMap<String, (String, String, i64)>,
    /// By account and day, and by account and month.
    spent: BTreeMap<String, i64>,
}

impl Purse<'_> {
    fn periods(&self, charge: &Transaction) -> (String, String) {
        let day = self.zone.to_datetime(charge.accepted_at).date();
        let account = charge.account.reference.as_str();
        (format!("{account} {day}"), format!("{account} {}-{}", day.year(), day.month()))
    }

    /// A record is now as it was committed.
    fn take(&mut self, record: &Transaction, charge: Option<&Transaction>) {
        let minor = match (record.key.kind, record.state) {
            (Kind::Charge, State::Pending | State::Unknown | State::Success) => record.money.minor,
            (Kind::Refund, State::Success) => -record.money.minor,
            _ => 0,
        };
        let (day, month) = self.periods(charge.unwrap_or(record));
        if let Some((day, month, before)) = self.counted.insert(label(&record.key), (day.clone(), month.clone(), minor))
        {
            *self.spent.entry(day).or_default() -= before;
            *self.spent.entry(month).or_default() -= before;
        }
        *self.spent.entry(day).or_default() += minor;
        *self.spent.entry(month).or_default() += minor;
    }

    fn spent(&self, period: &str) -> i64 {
        self.spent.get(period).copied().unwrap_or_default()
    }

    fn has_room(&self, charge: &Transaction) -> bool {
        let (day, month) = self.periods(charge);
        self.spent(&day) + charge.money.minor <= self.spending.day_max_minor
            && self.spent(&month) + charge.money.minor <= self.spending.month_max_minor
    }

    /// What is above its limit after a change of a charge.
    fn above(&self, record: &Transaction) -> Option<String> {
        if record.key.kind == Kind::Refund {
            return None;
        }
        let (day, month) = self.periods(record);
        let limits = [(day, self.spending.day_max_minor), (month, self.spending.month_max_minor)];
        let above = limits.into_iter().find(|(period, most)| self.spent(period) > *most);
        above.map(|(period, most)| format!("{period}: {} is spent, more than it may: {most}", self.spent(&period)))
    }
}

/// At the end each counter is what the records add up to that are counted on it.
fn counters(evidence: &Evidence, findings: &mut Findings) {
    let mut sums: BTreeMap<CounterName, i64> = BTreeMap::new();
    for record in &evidence.books.records {
        let minor = match (record.key.kind, record.state) {
            (Kind::Charge, State::Pending | State::Unknown | State::Success) => record.money.minor,
            (Kind::Refund, State::Success) => -record.money.minor,
            _ => 0,
        };
        for on in &record.counted {
            *sums.entry(on.counter(record)).or_default() += minor;
        }
    }
    for (counter, said) in &evidence.books.counters {
        let sum = sums.remove(counter).unwrap_or_default();
        findings.must(*said == sum, "", || format!("{counter:?} says {said}, and records add up to {sum}"));
    }
    for (counter, sum) in sums.into_iter().filter(|(_, sum)| *sum != 0) {
        findings.must(false, "", || format!("{counter:?} is not there, and records add up to {sum}"));
    }
}
