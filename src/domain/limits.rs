//! Spend limits: which of them a charge is held against, what each counts, and where.
//!
//! Invariant: what a charge is counted on is decided once, from the configuration and the time of its acceptance, and
//! kept with its record; what it holds and gives back later goes to these very counters, whatever the configuration says
//! by then. A counter follows the account and not the address, so that all addresses of one account count together. The
//! sums themselves are not here: the ledger keeps them, and refuses what would take one above its ceiling.

use std::collections::BTreeSet;
use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::catalogue::outcome;
use super::directory::CspProfile;
use super::ids::{LimitId, PartnerId, ProductId};
use super::transaction::{Kind, State, Transaction, UnitOfWork};

/// What separates the parts of a counter's name.
const PART: char = '/';
/// Parts of a counter's name: CSP, currency, limit, period, first day, partner, product, account.
const NAME_PARTS: usize = 8;
/// What separates the counters that a record is counted on.
const NEXT: char = ' ';

/// What is counted apart: each of these has a counter of its own, and what is not among them is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Each {
    /// Each account of the CSP, whichever of its addresses is charged.
    pub account: bool,
    /// Each partner.
    pub partner: bool,
    /// Each product, by the id that requests name.
    pub product: bool,
}

impl Each {
    /// The words, in the order in which they are written.
    pub const WORDS: [&'static str; 3] = ["address", "partner", "product"];

    fn flags(self) -> [bool; 3] {
        [self.account, self.partner, self.product]
    }

    /// Reads words; `None` where one is unknown.
    #[must_use]
    pub fn from_words<'w>(words: impl IntoIterator<Item = &'w str>) -> Option<Self> {
        let mut each = Self::default();
        for word in words {
            match word {
                "address" => each.account = true,
                "partner" => each.partner = true,
                "product" => each.product = true,
                _ => return None,
            }
        }
        Some(each)
    }
}

/// The words between plus signs.
impl fmt::Display for Each {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = Self::WORDS.into_iter().zip(self.flags()).filter(|(_, is_set)| *is_set);
        formatter.write_str(&words.map(|(word, _)| word).collect::<Vec<_>>().join("+"))
    }
}

/// A time over which charges are added up, in the calendar of the CSP's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From the first to the last of a month.
    Month,
}

impl Period {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    fn first_day(self, day: Date) -> Date {
        match self {
            Self::Day => day,
            Self::Month => day.first_of_month(),
        }
    }
}

/// A limit as it is configured for a CSP, in minor units of its currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendLimit {
    /// Its name: counters are its own, and begin anew under another.
    pub id: LimitId,
    /// What is counted apart.
    pub each: Each,
    /// Whose charges it is for; `None`: everybody's.
    pub partners: Option<BTreeSet<PartnerId>>,
    /// The products it is for; `None`: all.
    pub products: Option<BTreeSet<ProductId>>,
    /// Most of one charge.
    pub transaction_max_minor: Option<i64>,
    /// Most of a day.
    pub day_max_minor: Option<i64>,
    /// Most of a month.
    pub month_max_minor: Option<i64>,
}

impl SpendLimit {
    fn is_for(&self, charge: &Transaction) -> bool {
        self.partners.as_ref().is_none_or(|partners| partners.contains(&charge.key.partner))
            && self.products.as_ref().is_none_or(|products| products.contains(&charge.compared.partner_product))
    }

    const fn most_of(&self, period: Period) -> Option<i64> {
        match period {
            Period::Day => self.day_max_minor,
            Period::Month => self.month_max_minor,
        }
    }
}

/// What PSD2 (directive (EU) 2015/2366, article 3 point (l)) leaves to operators without a licence: 50 euros a purchase and
/// 300 a month for each subscriber.
pub mod psd2 {
    /// The only currency that the directive's amounts are in.
    pub const CURRENCY: &str = "EUR";
    /// Cents of one purchase.
    pub const TRANSACTION_MAX_MINOR: i64 = 5_000;
    /// Cents of a month.
    pub const MONTH_MAX_MINOR: i64 = 30_000;
}

/// A counter that a record is counted on, as the record keeps it. What the record itself tells is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Counted {
    /// Whose counter.
    pub limit: LimitId,
    /// Over what.
    pub period: Period,
    /// The first day of it, where the CSP is.
    pub first_day: Date,
    /// What the counter is for.
    pub each: Each,
}

/// The name of a counter in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CounterName(String);

impl CounterName {
    /// The text. It names an account where one is counted: never logged.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Counted {
    /// The name of the counter. The account comes last, since it may be any text: no two counters share a name.
    #[must_use]
    pub fn counter(&self, record: &Transaction) -> CounterName {
        let only = |is_set: bool, text| if is_set { text } else { "" };
        let parts = [
            record.account.csp.as_str(),
            record.money.currency.code(),
            self.limit.as_str(),
            self.period.word(),
            &self.first_day_text(),
            only(self.each.partner, record.key.partner.as_str()),
            only(self.each.product, record.compared.partner_product.as_str()),
            only(self.each.account, record.account.reference.as_str()),
        ];
        CounterName(parts.join(&PART.to_string()))
    }

    /// The day, or the month without a day.
    fn first_day_text(&self) -> String {
        match self.period {
            Period::Day => self.first_day.strftime("%Y-%m-%d").to_string(),
            Period::Month => self.first_day.strftime("%Y-%m").to_string(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(PART);
        let (limit, period, first_day, each) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let (period, first_day) = match period {
            "day" => (Period::Day, first_day.parse().ok()?),
            "month" => (Period::Month, format!("{first_day}-01").parse().ok()?),
            _ => return None,
        };
        let each = Each::from_words(each.split('+').filter(|word| !word.is_empty()))?;
        let is_whole = !limit.is_empty() && parts.next().is_none();
        is_whole.then(|| Self { limit: LimitId::new(limit), period, first_day, each })
    }
}

/// `purchase/day/2026-11-23/address+partner`
impl fmt::Display for Counted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, period, each, .. } = self;
        write!(formatter, "{limit}{PART}{}{PART}{}{PART}{each}", period.word(), self.first_day_text())
    }
}

/// What a record is counted on, as one text; `None` where it is counted on nothing.
#[must_use]
pub fn to_text(counted: &[Counted]) -> Option<String> {
    let texts: Vec<_> = counted.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join(&NEXT.to_string()))
}

/// Reads what [`to_text`] has written. `None` for anything else.
#[must_use]
pub fn from_text(text: &str) -> Option<Vec<Counted>> {
    text.split(NEXT).map(Counted::parse).collect()
}

/// A counter's name without the account in it, for people.
#[must_use]
pub fn shown(name: &str) -> String {
    let parts: Vec<_> = name.splitn(NAME_PARTS, PART).collect();
    match parts.split_last() {
        Some((account, rest)) if parts.len() == NAME_PARTS && !account.is_empty() => {
            format!("{}{PART}…", rest.join(&PART.to_string()))
        }
        Some(_) | None if parts.len() == NAME_PARTS => name.to_owned(),
        Some(_) | None => "…".to_owned(),
    }
}

/// A change of one counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterChange {
    /// Which.
    pub counter: CounterName,
    /// Minor units that it gains; negative where they are given back.
    pub by_minor: i64,
    /// Most that it may come to; there exactly where it gains.
    pub ceiling_minor: Option<i64>,
}

impl CounterChange {
    /// What a counter comes to by this.
    #[must_use]
    pub const fn after(&self, used_minor: i64) -> i64 {
        used_minor.saturating_add(self.by_minor)
    }

    /// What a counter has come from by this.
    #[must_use]
    pub const fn before(&self, used_minor: i64) -> i64 {
        used_minor.saturating_sub(self.by_minor)
    }

    /// Whether a counter that stands at so many minor units stays at its ceiling or below.
    #[must_use]
    pub fn has_room(&self, used_minor: i64) -> bool {
        self.ceiling_minor.is_none_or(|ceiling| used_minor.checked_add(self.by_minor).is_some_and(|sum| sum <= ceiling))
    }
}

/// A limit that a charge would exceed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// Which limit.
    pub limit: LimitId,
    /// Over which period; `None`: the charge is too much by itself.
    pub period: Option<Period>,
}

impl Over {
    /// The text that callers read.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self.period {
            None => outcome::TRANSACTION_LIMIT,
            Some(Period::Day) => outcome::DAILY_LIMIT,
            Some(Period::Month) => outcome::MONTHLY_LIMIT,
        }
    }

    /// One word for what was exceeded.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self.period {
            None => "transaction",
            Some(period) => period.word(),
        }
    }
}

/// Whether a text is one that a charge over a limit is answered with.
#[must_use]
pub fn is_reason(text: &str) -> bool {
    [outcome::TRANSACTION_LIMIT, outcome::DAILY_LIMIT, outcome::MONTHLY_LIMIT].contains(&text)
}

/// Puts the intent of a charge under the limits of its CSP: it is counted on all of their counters, or on none. Refunds
/// are held against nothing.
///
/// # Errors
/// The charge is more than one charge may be.
pub fn apply(intent: &mut UnitOfWork, csp: &CspProfile) -> Result<(), Over> {
    let charge = &intent.transaction;
    if charge.key.kind == Kind::Refund || csp.limits.is_empty() {
        return Ok(());
    }
    let limits: Vec<_> = csp.limits.iter().filter(|limit| limit.is_for(charge)).collect();
    let too_much = |limit: &&&SpendLimit| limit.transaction_max_minor.is_some_and(|most| charge.money.minor > most);
    if let Some(limit) = limits.iter().find(too_much) {
        return Err(Over { limit: limit.id.clone(), period: None });
    }
    let (mut counted, mut changes) = (Vec::new(), Vec::new());
    for period in [Period::Day, Period::Month] {
        for limit in &limits {
            let Some(most_minor) = limit.most_of(period) else { continue };
            let on = counted_on(limit, period, charge, &csp.time_zone);
            changes.push(CounterChange {
                counter: on.counter(charge),
                by_minor: charge.money.minor,
                ceiling_minor: Some(most_minor),
            });
            counted.push(on);
        }
    }
    intent.transaction.counted = counted;
    intent.counters = changes;
    Ok(())
}

fn counted_on(limit: &SpendLimit, period: Period, charge: &Transaction, time_zone: &TimeZone) -> Counted {
    let day = time_zone.to_datetime(charge.accepted_at).date();
    Counted { limit: limit.id.clone(), period, first_day: period.first_day(day), each: limit.each }
}

/// The limit whose counter, by its place among those of an intent, has no room for it.
#[must_use]
pub fn reached(intent: &Transaction, place: usize) -> Option<Over> {
    let counted = intent.counted.get(place)?;
    Some(Over { limit: counted.limit.clone(), period: Some(counted.period) })
}

/// Minor units by which the counters of a record change as it goes from one state to the next. What is Pending or Unknown
/// holds, what has failed or was released gives back; a refund gives back to the counters of its charge once it is
/// Success.
#[must_use]
pub fn change_minor(record: &Transaction, previous: Option<State>, next: State) -> i64 {
    let amount_minor = record.signed_money().minor;
    let counts = |state: State| match (record.key.kind, state) {
        (Kind::Charge, State::Pending | State::Unknown | State::Success) | (Kind::Refund, State::Success) => true,
        (Kind::Charge, State::Failure | State::Released)
        | (Kind::Refund, State::Pending | State::Unknown | State::Failure | State::Released) => false,
    };
    match (previous.is_some_and(counts), counts(next)) {
        (false, true) => amount_minor,
        (true, false) => amount_minor.saturating_neg(),
        (true, true) | (false, false) => 0,
    }
}

/// What a record that moves on gives back to its counters.
#[must_use]
pub fn given_back(record: &Transaction, next: State) -> Vec<CounterChange> {
    changes(record, change_minor(record, Some(record.state), next))
}

/// What a record counts as on each of its counters, as it stands.
#[must_use]
pub fn counts_as(record: &Transaction) -> Vec<CounterChange> {
    changes(record, change_minor(record, None, record.state))
}

fn changes(record: &Transaction, by_minor: i64) -> Vec<CounterChange> {
    let change = |on: &Counted| CounterChange { counter: on.counter(record), by_minor, ceiling_minor: None };
    if by_minor == 0 { Vec::new() } else { record.counted.iter().map(change).collect() }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
