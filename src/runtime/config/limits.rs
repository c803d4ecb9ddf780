//! `[csp.<id>.limit.<id>]`: spend limits, from tables to what charges are held against.
//!
//! Invariant: amounts are exact in the CSP's currency; a preset that a law gives is never exceeded, and stands only in
//! the currency that the law speaks of; a limit that could never be reached, or that nobody is held against, is a
//! mistake and stops the start.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::shape::Report;
use super::tables::{CspTable, Tables};
use crate::domain::ids::{LimitId, PartnerId, ProductId};
use crate::domain::limits::{Each, SpendLimit, psd2};
use crate::domain::money::{Currency, Money};

/// Most limits of one CSP: each may cost every charge two counters.
const LIMITS_MAX: usize = 8;

/// Amounts that a law gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Of the European Union: 50 euros a purchase and 300 a month for each subscriber.
    Psd2,
}

/// `[csp.<id>.limit.<id>]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitTable {
    /// Where amounts that are not given come from.
    pub preset: Option<Preset>,
    /// What is counted apart.
    pub each: Vec<String>,
    /// Whose charges it is for. `None`: everybody's.
    pub partners: Option<Vec<String>>,
    /// The products it is for. `None`: all.
    pub products: Option<Vec<String>>,
    /// Most of one charge, in major units of the CSP's currency.
    pub transaction_max: Option<String>,
    /// Most of a day.
    pub day_max: Option<String>,
    /// Most of a month.
    pub month_max: Option<String>,
}

impl Default for LimitTable {
    fn default() -> Self {
        Self {
            preset: None,
            each: vec!["address".to_owned()],
            partners: None,
            products: None,
            transaction_max: None,
            day_max: None,
            month_max: None,
        }
    }
}

/// The limits of a CSP, by the order of their names; `None` where something was reported.
pub fn build(
    csp: &str,
    table: &CspTable,
    currency: Option<Currency>,
    tables: &Tables,
    report: &mut Report,
) -> Option<Vec<SpendLimit>> {
    if table.limit.len() > LIMITS_MAX {
        report.at(&["csp", csp, "limit"], format!("are {}, must be at most {LIMITS_MAX}", table.limit.len()));
        return None;
    }
    let currency = currency?;
    let limits: Vec<_> =
        table.limit.iter().map(|(id, limit)| Reading { csp, id, currency, tables, report }.limit(limit)).collect();
    limits.into_iter().collect()
}

/// What is wrong was reported already.
struct Reported;

/// A limit that is being read.
struct Reading<'a, 'r, 'layers> {
    csp: &'a str,
    id: &'a str,
    currency: Currency,
    tables: &'a Tables,
    report: &'r mut Report<'layers>,
}

impl Reading<'_, '_, '_> {
    fn at(&mut self, key: &str, text: impl Into<String>) {
        self.report.at(&["csp", self.csp, "limit", self.id, key], text);
    }

    fn limit(mut self, table: &LimitTable) -> Option<SpendLimit> {
        let each = self.each(table);
        let partners = self.partners(table);
        let products = self.products(table);
        let amounts = self.amounts(table);
        let [transaction_max_minor, day_max_minor, month_max_minor] = amounts?;
        Some(SpendLimit {
            id: LimitId::new(self.id),
            each: each?,
            partners: partners.ok()?,
            products: products.ok()?,
            transaction_max_minor,
            day_max_minor,
            month_max_minor,
        })
    }

    fn each(&mut self, table: &LimitTable) -> Option<Each> {
        let each = Each::from_words(table.each.iter().map(String::as_str));
        let words = Each::WORDS.map(|word| format!("{word:?}")).join(", ");
        if each.is_none() {
            self.at("each", format!("must be some of {words}"));
        }
        let each = each?;
        if table.preset == Some(Preset::Psd2) && each != (Each { account: true, ..Each::default() }) {
            self.at("each", "must be [\"address\"] where preset is \"psd2\": it is for each subscriber as a whole");
            return None;
        }
        Some(each)
    }

    fn partners(&mut self, table: &LimitTable) -> Result<Option<BTreeSet<PartnerId>>, Reported> {
        let Some(named) = &table.partners else { return Ok(None) };
        let sells =
            |id: &str| self.tables.partner.get(id).is_some_and(|one| one.csps.iter().any(|csp| csp == self.csp));
        if let Some(stranger) = named.iter().find(|id| !sells(id)) {
            let text = format!("names {stranger:?}, which is no partner of the CSP {}", self.csp);
            self.at("partners", text);
            return Err(Reported);
        }
        Ok(Some(named.iter().map(|id| PartnerId::new(id)).collect()))
    }

    fn products(&mut self, table: &LimitTable) -> Result<Option<BTreeSet<ProductId>>, Reported> {
        let Some(named) = &table.products else { return Ok(None) };
        let sold = |id: &str| {
            self.tables
                .partner
                .values()
                .any(|one| one.product.get(id).is_some_and(|product| product.charge_codes.contains_key(self.csp)))
        };
        if let Some(unsold) = named.iter().find(|id| !sold(id)) {
            let text = format!("names {unsold:?}, which no partner sells through the CSP {}", self.csp);
            self.at("products", text);
            return Err(Reported);
        }
        Ok(Some(named.iter().map(|id| ProductId::new(id)).collect()))
    }

    /// What one charge, a day and a month may come to: each at most the next.
    fn amounts(&mut self, table: &LimitTable) -> Option<[Option<i64>; 3]> {
        if table.preset == Some(Preset::Psd2) && self.currency.code() != psd2::CURRENCY {
            let text = format!("is \"psd2\", which is for {}, and the CSP bills in {}", psd2::CURRENCY, self.currency);
            self.at("preset", text);
            return None;
        }
        let [by_transaction, by_month] = match table.preset {
            Some(Preset::Psd2) => [Some(psd2::TRANSACTION_MAX_MINOR), Some(psd2::MONTH_MAX_MINOR)],
            None => [None, None],
        };
        let transaction = self.amount("transaction_max", table.transaction_max.as_ref(), by_transaction);
        let day = self.amount("day_max", table.day_max.as_ref(), None);
        let month = self.amount("month_max", table.month_max.as_ref(), by_month);
        let (transaction, day, month) = (transaction.ok()?, day.ok()?, month.ok()?);
        if [transaction, day, month].iter().all(Option::is_none) {
            self.at(
                "transaction_max",
                "must be set, or day_max or month_max: there is nothing to hold charges against",
            );
            return None;
        }
        let longer = [
            ("transaction_max", transaction, "day_max", day),
            ("day_max", day, "month_max", month),
            ("transaction_max", transaction, "month_max", month),
        ];
        for (key, most, longer_key, longest) in longer {
            if most.zip(longest).is_some_and(|(most, longest)| most > longest) {
                self.at(key, format!("must be at most {longer_key}: it could never be reached"));
                return None;
            }
        }
        Some([transaction, day, month])
    }

    /// Minor units of an amount, or those of the preset, which it must not exceed.
    fn amount(&mut self, key: &str, given: Option<&String>, by_preset: Option<i64>) -> Result<Option<i64>, Reported> {
        let Some(text) = given else { return Ok(by_preset) };
        let currency = self.currency;
        let Some(amount) = Money::parse(text, currency).filter(|money| money.minor > 0) else {
            let text =
                format!("is {text:?}, must be an amount above 0 with at most the decimals of {currency}, like 300");
            self.at(key, text);
            return Err(Reported);
        };
        if let Some(most) = by_preset.filter(|most| amount.minor > *most) {
            let text = format!("is {text:?}, must be at most the preset's {}", Money::new(most, currency));
            self.at(key, text);
            return Err(Reported);
        }
        Ok(Some(amount.minor))
    }
}
