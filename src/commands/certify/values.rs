//! What stands for the placeholders of a case, `{msisdn}` or `{charge_id}`, in one attempt at it.
//!
//! Invariant: a name keeps its value for the whole attempt and gets another in the next, so that no attempt meets what
//! an earlier one has left behind. Which placeholders a case uses is its own matter.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::accounts::TargetFacts;
use super::document::Document;
use super::random;

/// Stands in an expected answer for any time such as `2020-05-18T15:05:03Z`: compared by its form.
pub const TIME: &str = "{time}";
/// Begins every text that a run puts on a bill or into an inbox; ten letters that name the attempt follow.
const TEXT_PREFIX: &str = "onbill certify ";
const TOKEN_LENGTH: usize = 10;

static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\{([a-z_]+)\}").expect("a constant pattern"));

/// A placeholder that has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(pub String);

/// The values of one attempt.
#[derive(Debug, Clone)]
pub struct Values {
    known: BTreeMap<String, String>,
    token: String,
}

impl Values {
    /// Fresh values for an attempt against this target.
    #[must_use]
    pub fn new(facts: &TargetFacts) -> Self {
        let token = random::token(TOKEN_LENGTH);
        let known = [
            ("product", facts.product.clone()),
            ("unknown_product", format!("no-such-product-{token}")),
            ("unknown_account_id", format!("acc_{}", random::token(40))),
            ("currency", facts.currency.clone()),
            ("address_pattern", facts.address_pattern.clone()),
            ("amount", facts.amount.clone()),
            ("amount_over_limit", facts.amount_over_limit.clone()),
            ("description", format!("{TEXT_PREFIX}{token}")),
            ("message", format!("{TEXT_PREFIX}{token}: your subscription is active.")),
            ("time", TIME.to_owned()),
        ];
        let known = known.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { known, token }
    }

    /// Gives a placeholder its value.
    pub fn set(&mut self, name: &str, value: String) {
        self.known.insert(name.to_owned(), value);
    }

    /// The value of a placeholder.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.known.get(name).map(String::as_str)
    }

    /// The PIN that was sent, and with it one that is surely another.
    pub fn set_pin(&mut self, pin: &str) {
        let wrong = pin.chars().map(|digit| digit.to_digit(10).map_or('0', next_digit)).collect();
        self.set("pin", pin.to_owned());
        self.set("wrong_pin", wrong);
    }

    /// The document with every placeholder replaced. Names that end in `_id` come into being here.
    ///
    /// # Errors
    /// The placeholder that has no value.
    pub fn fill(&mut self, template: &Document) -> Result<Document, Missing> {
        template.map_text(&mut |text| self.fill_text(text))
    }

    /// The text with every placeholder replaced.
    ///
    /// # Errors
    /// The placeholder that has no value.
    pub fn fill_text(&mut self, text: &str) -> Result<String, Missing> {
        let names: Vec<String> = PLACEHOLDER.captures_iter(text).filter_map(|found| name(&found)).collect();
        for name in &names {
            if !self.known.contains_key(name) {
                if !name.ends_with("_id") {
                    return Err(Missing(name.clone()));
                }
                self.set(name, format!("cert-{}", random::token(20)));
            }
        }
        let known = &self.known;
        let filled = PLACEHOLDER.replace_all(text, |found: &Captures<'_>| {
            name(found).and_then(|name| known.get(&name).cloned()).unwrap_or_default()
        });
        Ok(filled.into_owned())
    }

    /// Whether a text on a bill or in an inbox is of another attempt, ours or another run's: two that met on one number.
    #[must_use]
    pub fn is_foreign(&self, text: &str) -> bool {
        let Some((_, rest)) = text.split_once(TEXT_PREFIX) else { return false };
        !rest.starts_with(&self.token)
    }
}

fn name(found: &Captures<'_>) -> Option<String> {
    found.get(1).map(|name| name.as_str().to_owned())
}

fn next_digit(digit: u32) -> char {
    char::from_digit(digit.saturating_add(1) % 10, 10).unwrap_or('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_value_within_an_attempt_and_ids_come_by_themselves() {
        let mut values = Values::new(&TargetFacts::default());
        let first = values.fill_text("{charge_id}/{refund_id}").expect("ids");
        assert_eq!(values.fill_text("{charge_id}/{refund_id}").expect("ids"), first);
        let (charge, refund) = first.split_once('/').expect("two");
        assert_ne!(charge, refund);
        assert_eq!(values.fill_text("{pin}"), Err(Missing("pin".to_owned())));
    }

    #[test]
    fn values_are_put_in_once_and_braces_in_them_stay() {
        let mut values = Values::new(&TargetFacts::default());
        assert_eq!(values.fill_text("match \"{address_pattern}\"").expect("pattern"), "match \"^[0-9]{10}$\"");
        assert_eq!(values.fill_text("^[A-Z]{3}$").expect("no placeholder"), "^[A-Z]{3}$");
    }

    #[test]
    fn the_wrong_pin_is_another_of_the_same_length() {
        let mut values = Values::new(&TargetFacts::default());
        values.set_pin("099999");
        assert_eq!((values.get("pin"), values.get("wrong_pin")), (Some("099999"), Some("100000")));
    }

    #[test]
    fn texts_of_other_attempts_are_told_from_ours_and_from_a_gateways() {
        let values = Values::new(&TargetFacts::default());
        let other = Values::new(&TargetFacts::default());
        let text = other.get("message").expect("message");
        assert!(values.is_foreign(text) && !other.is_foreign(text) && !values.is_foreign("ott-basic"));
    }
}
