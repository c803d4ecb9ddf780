//! The files of the 28 use cases, and what of them certification reads: how an OTT shows each.
//!
//! Invariant: the binary holds each file once, for the certifier of gateways and for the certification of OTTs. What a
//! file says to the certifier of gateways is not read here.

use figment::Figment;
use figment::providers::{Format, Toml};
use serde::Deserialize;

use crate::domain::certification::recogniser::{Before, Behaviour, Recogniser};
use crate::domain::certification::{Fact, Rpc};

/// Each case file, in the order of the page of use cases.
pub const CASE_FILES: [&str; 28] = [
    include_str!("../../conformance/cases/01-account-active.toml"),
    include_str!("../../conformance/cases/02-account-ceased.toml"),
    include_str!("../../conformance/cases/03-account-suspended-non-payment.toml"),
    include_str!("../../conformance/cases/04-account-suspended-lost-stolen.toml"),
    include_str!("../../conformance/cases/05-account-not-eligible.toml"),
    include_str!("../../conformance/cases/06-account-unknown.toml"),
    include_str!("../../conformance/cases/07-account-malformed.toml"),
    include_str!("../../conformance/cases/08-pin-sent.toml"),
    include_str!("../../conformance/cases/09-pin-unknown-number.toml"),
    include_str!("../../conformance/cases/10-pin-right.toml"),
    include_str!("../../conformance/cases/11-pin-wrong.toml"),
    include_str!("../../conformance/cases/12-pin-expired.toml"),
    include_str!("../../conformance/cases/13-pin-right-at-second-try.toml"),
    include_str!("../../conformance/cases/14-charge.toml"),
    include_str!("../../conformance/cases/15-charge-repeated.toml"),
    include_str!("../../conformance/cases/16-charge-unknown-account-id.toml"),
    include_str!("../../conformance/cases/17-charge-malformed-currency.toml"),
    include_str!("../../conformance/cases/18-charge-unknown-product.toml"),
    include_str!("../../conformance/cases/19-refund.toml"),
    include_str!("../../conformance/cases/20-refund-repeated.toml"),
    include_str!("../../conformance/cases/21-refund-of-no-charge.toml"),
    include_str!("../../conformance/cases/22-refund-without-id.toml"),
    include_str!("../../conformance/cases/23-refund-positive.toml"),
    include_str!("../../conformance/cases/24-status.toml"),
    include_str!("../../conformance/cases/25-status-unknown.toml"),
    include_str!("../../conformance/cases/26-notification.toml"),
    include_str!("../../conformance/cases/27-notification-without-message.toml"),
    include_str!("../../conformance/cases/28-notification-wrong-type.toml"),
];

/// The tables that the cases share.
pub const CONTRACT_FILE: &str = include_str!("../../conformance/cases/contract.toml");

/// How long what follows a case may take, in seconds: people read, and type PINs.
const WITHIN_S: u32 = 1_800;

/// A case file cannot be read: a fault of the build.
#[derive(Debug, thiserror::Error)]
pub enum UseCaseError {
    /// It is no such file.
    #[error("a use case cannot be read")]
    Unreadable(#[from] Box<figment::Error>),
    /// It uses a word that the rules do not know.
    #[error("use case {case}: {word} is not a word of certification")]
    Word {
        /// Which case.
        case: u8,
        /// Which word.
        word: String,
    },
}

#[derive(Debug, Deserialize)]
struct UseCase {
    id: u8,
    title: String,
    category: String,
    behaviour: String,
    recognise: Recognise,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recognise {
    call: String,
    #[serde(default)]
    facts: Vec<String>,
    #[serde(default)]
    facts_not: Vec<String>,
    condition: Option<String>,
    condition_not: Option<String>,
    status: u16,
    #[serde(default)]
    code: String,
    violation: Option<String>,
    outcome: Option<String>,
    #[serde(default)]
    before: Vec<String>,
    then: String,
    #[serde(default)]
    next: Vec<String>,
    hint: String,
}

/// How each case is shown, in order. `pin_ttl_s` is the time for which this gateway's PINs are good.
///
/// # Errors
/// A file that is not as it must be; a test reads them all, so that a released binary never meets this.
pub fn recognisers(pin_ttl_s: u32) -> Result<Vec<Recogniser>, UseCaseError> {
    CASE_FILES.into_iter().map(|text| recogniser(text, pin_ttl_s)).collect()
}

fn recogniser(text: &str, pin_ttl_s: u32) -> Result<Recogniser, UseCaseError> {
    let file: UseCase = Figment::from(Toml::string(text)).extract().map_err(Box::new)?;
    let (case, read) = (file.id, file.recognise);
    let unknown = |word: &str| UseCaseError::Word { case, word: word.to_owned() };
    let rpc = |word: &String| Rpc::parse(word).ok_or_else(|| unknown(word));
    let fact = |word: &String| Fact::parse(word).ok_or_else(|| unknown(word));
    let before = |word: &String| Before::parse(word).ok_or_else(|| unknown(word));
    Ok(Recogniser {
        case,
        title: file.title,
        category: file.category,
        expected: file.behaviour,
        hint: read.hint,
        call: rpc(&read.call)?,
        facts: read.facts.iter().map(fact).collect::<Result<_, _>>()?,
        facts_not: read.facts_not.iter().map(fact).collect::<Result<_, _>>()?,
        condition: read.condition,
        condition_not: read.condition_not,
        status: read.status,
        code: read.code,
        violation: read.violation,
        outcome: read.outcome,
        before: read.before.iter().map(before).collect::<Result<_, _>>()?,
        then: Behaviour::parse(&read.then).ok_or_else(|| unknown(&read.then))?,
        next: read.next.iter().map(rpc).collect::<Result<_, _>>()?,
        within_s: WITHIN_S,
        pin_ttl_s,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_says_how_it_is_shown() {
        let read = recognisers(300).expect("the case files");
        assert_eq!(read.iter().map(|known| known.case).collect::<Vec<_>>(), (1..=28).collect::<Vec<u8>>());
        for known in &read {
            let needs_next = matches!(known.then, Behaviour::Continues | Behaviour::CannotContinue);
            assert_eq!(needs_next, !known.next.is_empty(), "case {}", known.case);
        }
    }

    #[test]
    fn a_word_that_no_rule_knows_is_refused() {
        let text = CASE_FILES[0].replace("\"continues\"", "\"hopes\"");
        assert!(matches!(recogniser(&text, 300), Err(UseCaseError::Word { case: 1, .. })));
    }
}
