//! Takes numbers and PINs out of whatever is shown or stored.
//!
//! Invariant: every text of a report or of the terminal that came from a call passes through here. Keys need no mask:
//! they are never put into a text.

use std::sync::LazyLock;

use regex::Regex;

use super::document::Document;

/// What an attempt must not show, and what stands for it.
#[derive(Debug, Clone, Default)]
pub struct Mask {
    secrets: Vec<(String, String)>,
}

/// A run of six digits may be a PIN, a longer one a number: neither is shown, whoever wrote it.
static DIGITS: LazyLock<Regex> = LazyLock::new(|| Regex::new("[0-9]{6,}").expect("a constant pattern"));

impl Mask {
    /// Hides a number but for its first three and last two digits.
    pub fn hide_number(&mut self, msisdn: &str) {
        self.secrets.push((msisdn.to_owned(), masked_number(msisdn)));
    }

    /// Hides a PIN altogether.
    pub fn hide_pin(&mut self, pin: &str) {
        self.secrets.push((pin.to_owned(), "*".repeat(pin.chars().count())));
    }

    /// The text without them.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        for (secret, stands_for) in self.secrets.iter().filter(|(secret, _)| !secret.is_empty()) {
            shown = shown.replace(secret, stands_for);
        }
        DIGITS.replace_all(&shown, |found: &regex::Captures<'_>| masked_number(&found[0])).into_owned()
    }

    /// The document without them, keys aside.
    #[must_use]
    pub fn document(&self, document: &Document) -> Document {
        let masked = document.map_text(&mut |text| Ok::<_, std::convert::Infallible>(self.text(text)));
        masked.unwrap_or(Document::Null)
    }
}

/// `555*****01`; a text too short for that is hidden altogether.
#[must_use]
pub fn masked_number(number: &str) -> String {
    let length = number.chars().count();
    if length < 8 {
        return "*".repeat(length);
    }
    let hidden = length.saturating_sub(5);
    number
        .chars()
        .enumerate()
        .map(|(position, character)| if position >= 3 && position < hidden.saturating_add(3) { '*' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_ends_and_pins_nothing() {
        let mut mask = Mask::default();
        mask.hide_number("5550100001");
        mask.hide_pin("4711");
        assert_eq!(
            mask.text("to 5550100001: 4711, 123456 and 5559876543."),
            "to 555*****01: ****, ****** and 555*****43."
        );
    }

    #[test]
    fn amounts_dates_and_ids_stay() {
        let text = "9.99 1500.0 2020-05-18T15:05:03Z cert-abc";
        assert_eq!(Mask::default().text(text), text);
    }
}
