//! The directory: which partners there are, what they sell, through which CSPs, and what each CSP is like.
//!
//! Invariant: it is built once from a checked configuration and never changes; routing an address is a local look-up.
//! How CSPs are reached is not here. What an operator cannot do is data of its [`CspProfile`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;
use regex::Regex;

use super::address::Address;
use super::catalogue::outcome;
use super::ids::{ChargeCode, CspId, PartnerId, ProductId};
use super::limits::SpendLimit;
use super::money::{Currency, Money};
use super::rate::SharedRate;
use super::webhook::Webhook;

/// A regular expression with the text that it is shown as in errors.
#[derive(Clone)]
pub struct Pattern {
    text: Arc<str>,
    regex: Regex,
}

impl Pattern {
    /// Compiles a pattern. It must be anchored at both ends, so that it speaks of the whole text.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let anchored = text.starts_with('^') && text.ends_with('$');
        // Wrapped, so that an alternative cannot slip past an anchor: ^a|b$ is held to the whole text too.
        Regex::new(text).ok()?;
        let regex = Regex::new(&format!("^(?:{text})$")).ok()?;
        anchored.then(|| Self { text: Arc::from(text), regex })
    }

    /// The pattern as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole text matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// How often PINs may be sent to one address (contract section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendQuota {
    /// Most sends a window for one partner and address.
    pub per_partner_max: u32,
    /// Most sends a window for one address, over all partners.
    pub per_address_max: u32,
    /// Length of the window in seconds.
    pub window_s: u32,
}

/// Numbers that are there to be tested with, and the quota that they have instead.
#[derive(Debug, Clone)]
pub struct TestNumbers {
    /// Which numbers.
    pub pattern: Pattern,
    /// Their quota.
    pub quota: SendQuota,
}

/// The text message that carries a PIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinSms {
    /// Who it is from, as the phone shows it.
    pub sender: String,
    /// Language of the text, a BCP 47 tag.
    pub language: String,
    /// The text, with `{pin}` where the PIN goes, and no other run of six digits.
    pub text: String,
}

/// How a CSP's outcome is learnt when its answer did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// It can be asked for a reference.
    Inquiry,
    /// It promises that a request sent again under its reference is done once.
    Resend,
    /// Neither: a person has to find out.
    None,
}

/// Which refunds an operator books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refunds {
    /// Of any part of a charge, as often as something is left.
    Partial,
    /// Of a whole charge only.
    Whole,
    /// None.
    None,
}

/// Whether an operator has something that not every one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// It can.
    Able,
    /// It cannot.
    Unable,
}

/// What an operator can do beyond what every one does. Whether it can be asked for a reference, or takes a request again,
/// is its [`Recovery`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Which refunds it books.
    pub refunds: Refunds,
    /// Whether it makes references void.
    pub void: Ability,
    /// Whether accounts that pay beforehand may be charged.
    pub prepaid: Ability,
}

impl Capabilities {
    /// All of them.
    pub const ALL: Self = Self { refunds: Refunds::Partial, void: Ability::Able, prepaid: Ability::Able };
    /// What is taken to be there where nothing else is said: all but void.
    pub const USUAL: Self = Self { void: Ability::Unable, ..Self::ALL };
}

/// What an operator is like: everything about it that is not code.
#[derive(Debug, Clone)]
pub struct CspProfile {
    /// The operator.
    pub id: CspId,
    /// The only currency it bills in.
    pub currency: Currency,
    /// The form of its numbers.
    pub msisdn_pattern: Pattern,
    /// The beginnings of its numbers; the longest that fits wins over all CSPs of a partner. An empty one fits all.
    pub prefixes: Vec<String>,
    /// Whether it knows subscribers by e-mail address.
    pub takes_email: bool,
    /// Milliseconds that one call to it may take.
    pub call_timeout_ms: u32,
    /// Seconds after which a request that it has not seen is never applied any more. `None`: it promises nothing.
    pub forget_after_s: Option<u32>,
    /// How an outcome is learnt afterwards.
    pub recovery: Recovery,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Most that one charge may be, in its currency. `None`: it has no bound that is known here.
    pub amount_max: Option<Money>,
    /// Where its days begin.
    pub time_zone: TimeZone,
    /// What charges are held against, by the order of their names.
    pub limits: Vec<SpendLimit>,
    /// Its refusal codes → the public text that each becomes, at most 128 characters.
    pub verdicts: BTreeMap<String, String>,
    /// Quota of PIN sends.
    pub pin_quota: SendQuota,
    /// Numbers with a quota of their own.
    pub test_numbers: Option<TestNumbers>,
    /// The PIN message, where the partner has none of its own.
    pub pin_sms: PinSms,
}

impl CspProfile {
    /// The public text for one of its refusal codes.
    #[must_use]
    pub fn verdict(&self, code: &str) -> &str {
        self.verdicts.get(code).map_or(outcome::DECLINED, String::as_str)
    }

    /// The PIN quota of an address.
    #[must_use]
    pub fn quota_of(&self, address: &str) -> SendQuota {
        match &self.test_numbers {
            Some(test) if test.pattern.matches(address) => test.quota,
            _ => self.pin_quota,
        }
    }
}

/// What a partner sells.
#[derive(Debug, Clone)]
pub struct Product {
    /// As requests name it.
    pub id: ProductId,
    /// What each CSP calls it. A CSP that is not in here cannot charge it.
    pub charge_codes: BTreeMap<CspId, ChargeCode>,
}

/// An OTT.
#[derive(Debug, Clone)]
pub struct Partner {
    /// The partner.
    pub id: PartnerId,
    /// Its CSPs; the first stands in where an address routes nowhere.
    pub csps: Vec<CspId>,
    /// What it sells.
    pub products: BTreeMap<ProductId, Product>,
    /// Minutes within which a PIN must have been validated before a first charge. `None`: no PIN is asked for.
    pub pin_before_first_charge_minutes: Option<u32>,
    /// The PIN message, where it differs from the CSP's.
    pub pin_sms: Option<PinSms>,
    /// Where its events go. `None`: nowhere, they are only kept.
    pub webhook: Option<Webhook>,
    /// How many calls it may make, at all gateways together.
    pub rate: SharedRate,
}

/// Where an address leads.
#[derive(Debug, Clone, Copy)]
pub enum Route<'a> {
    /// To this CSP.
    To(&'a CspProfile),
    /// Nowhere: its form is held against the partner's first CSP.
    Nowhere(&'a CspProfile),
}

impl<'a> Route<'a> {
    /// The CSP whose forms apply.
    #[must_use]
    pub const fn profile(self) -> &'a CspProfile {
        match self {
            Self::To(profile) | Self::Nowhere(profile) => profile,
        }
    }
}

/// All partners and CSPs.
#[derive(Debug, Clone)]
pub struct Directory {
    partners: BTreeMap<PartnerId, Arc<Partner>>,
    csps: BTreeMap<CspId, Arc<CspProfile>>,
}

/// Why a set of partners and CSPs is no directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// A partner without CSPs could not be routed.
    #[error("partner {0} has no CSP")]
    PartnerWithoutCsp(PartnerId),
    /// A partner names a CSP that is not there.
    #[error("partner {0} names the CSP {1}, which is not configured")]
    UnknownCsp(PartnerId, CspId),
}

impl Directory {
    /// Builds a directory whose partners name only CSPs that it holds.
    pub fn new(partners: Vec<Partner>, csps: Vec<CspProfile>) -> Result<Self, DirectoryError> {
        let csps: BTreeMap<_, _> = csps.into_iter().map(|csp| (csp.id.clone(), Arc::new(csp))).collect();
        for partner in &partners {
            if partner.csps.is_empty() {
                return Err(DirectoryError::PartnerWithoutCsp(partner.id.clone()));
            }
            if let Some(missing) = partner.csps.iter().find(|id| !csps.contains_key(*id)) {
                return Err(DirectoryError::UnknownCsp(partner.id.clone(), missing.clone()));
            }
        }
        let partners = partners.into_iter().map(|partner| (partner.id.clone(), Arc::new(partner))).collect();
        Ok(Self { partners, csps })
    }

    /// A partner by its id.
    #[must_use]
    pub fn partner(&self, id: &PartnerId) -> Option<&Arc<Partner>> {
        self.partners.get(id)
    }

    /// All partners.
    pub fn partners(&self) -> impl Iterator<Item = &Arc<Partner>> {
        self.partners.values()
    }

    /// A CSP by its id.
    #[must_use]
    pub fn csp(&self, id: &CspId) -> Option<&Arc<CspProfile>> {
        self.csps.get(id)
    }

    /// All CSPs.
    pub fn csps(&self) -> impl Iterator<Item = &Arc<CspProfile>> {
        self.csps.values()
    }

    /// The profiles of a partner's CSPs, in its order.
    fn csps_of<'a>(&'a self, partner: &'a Partner) -> impl Iterator<Item = &'a CspProfile> {
        partner.csps.iter().filter_map(|id| self.csps.get(id)).map(AsRef::as_ref)
    }

    /// Finds the CSP of an address among those of a partner: by longest prefix for a number, by who takes e-mail for
    /// an e-mail address. `None` only for a partner that is not of this directory.
    #[must_use]
    pub fn route<'a>(&'a self, partner: &'a Partner, address: &Address) -> Option<Route<'a>> {
        let first = self.csps_of(partner).next()?;
        let found = match address {
            Address::Msisdn(number) => self.longest_prefix(partner, number.expose()),
            Address::Email(_) => self.csps_of(partner).find(|csp| csp.takes_email),
        };
        Some(found.map_or(Route::Nowhere(first), Route::To))
    }

    fn longest_prefix<'a>(&'a self, partner: &'a Partner, number: &str) -> Option<&'a CspProfile> {
        let fits = |csp: &&CspProfile| fitting_prefix(csp, number).is_some();
        // The first of a partner's CSPs wins a tie, hence the reversal: `max_by_key` keeps the last of equals.
        let mut candidates: Vec<_> = self.csps_of(partner).filter(fits).collect();
        candidates.reverse();
        candidates.into_iter().max_by_key(|csp| fitting_prefix(csp, number))
    }
}

/// Length of the longest prefix of a CSP that a number begins with.
fn fitting_prefix(csp: &CspProfile, number: &str) -> Option<usize> {
    csp.prefixes.iter().filter(|prefix| number.starts_with(prefix.as_str())).map(String::len).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::{Email, Msisdn};
    use crate::domain::transaction::samples;

    fn csp(id: &str, prefixes: &[&str], takes_email: bool) -> CspProfile {
        let prefixes = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        CspProfile { id: CspId::new(id), prefixes, takes_email, ..samples::profile() }
    }

    #[test]
    fn an_address_leads_to_the_partners_csp_whose_prefix_is_the_longest() {
        let csps = vec![
            csp("north", &["52", "5255"], false),
            csp("south", &["525", "52557"], true),
            csp("all", &[""], true),
            csp("twin", &["525"], false),
        ];
        for (paired, address, expected) in [
            (&["north", "south"][..], "5210000000", Some("north")),
            (&["north", "south"], "5256000000", Some("south")),
            (&["north", "south"], "5255600000", Some("north")),
            (&["north", "south"], "5255700000", Some("south")),
            (&["south", "north"], "5255700000", Some("south")),
            (&["north"], "5255700000", Some("north")),
            (&["north", "south"], "4400000000", None),
            (&["north", "all"], "4400000000", Some("all")),
            (&["all", "north"], "5210000000", Some("north")),
            (&["south", "twin"], "5256000000", Some("south")),
            (&["twin", "south"], "5256000000", Some("twin")),
            (&["north", "south", "all"], "a@example.com", Some("south")),
            (&["all", "south"], "a@example.com", Some("all")),
            (&["north", "twin"], "a@example.com", None),
        ] {
            let partner = Partner { csps: paired.iter().map(|id| CspId::new(id)).collect(), ..samples::partner() };
            let directory = Directory::new(vec![partner.clone()], csps.clone()).expect("a directory");
            let parsed = Email::parse(address).map_or_else(|| Address::Msisdn(Msisdn::new(address)), Address::Email);
            let found = match directory.route(&partner, &parsed).expect("a partner of it") {
                Route::To(profile) => Some(profile.id.as_str()),
                Route::Nowhere(first) => {
                    assert_eq!(Some(first.id.as_str()), paired.first().copied(), "its form is the first one's");
                    None
                }
            };
            assert_eq!(found, expected, "{paired:?} {address}");
        }
    }

    #[test]
    fn a_product_is_sold_where_the_csp_has_a_charge_code_for_it() {
        use crate::domain::transaction::Refusal;
        use crate::domain::transaction::admit::charge_code;
        let mut partner = samples::partner();
        let product = partner.products.values_mut().next().expect("a product");
        product.charge_codes = BTreeMap::from([
            (CspId::new("north"), ChargeCode::new("N-1")),
            (CspId::new("south"), ChargeCode::new("S-1")),
        ]);
        let id = product.id.as_str().to_owned();
        for (csp_id, product, expected) in [
            ("north", id.as_str(), Ok("N-1")),
            ("south", id.as_str(), Ok("S-1")),
            ("west", id.as_str(), Err(Refusal::UnknownProduct)),
            ("north", "another", Err(Refusal::UnknownProduct)),
        ] {
            let code = charge_code(&partner, product, &csp(csp_id, &[""], false));
            assert_eq!(code.map(ChargeCode::as_str), expected, "{csp_id} {product}");
        }
    }
}
