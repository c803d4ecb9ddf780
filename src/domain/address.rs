//! Addresses: the phone number (MSISDN) or e-mail address that names a subscriber.
//!
//! Invariant: an address never prints itself. `Debug` is masked and there is no `Display`; whoever needs the text
//! calls `expose`, which can be searched for. Which CSP an address belongs to is decided in `directory.rs`.

use std::fmt;
use std::sync::Arc;

/// Most characters of an address of any type (RFC 5321's bound on an e-mail path, with room for any number).
pub const ADDRESS_LENGTH_MAX: usize = 254;

/// A phone number, written as its CSP writes numbers.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Msisdn(Arc<str>);

impl Msisdn {
    /// Wraps a number. Its form is the CSP's matter.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The number itself. Personal data: not for logs, traces, metrics or errors.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Msisdn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&masked(&self.0))
    }
}

/// An e-mail address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Email(Arc<str>);

impl Email {
    /// Checks the form that browsers check (WHATWG HTML, valid e-mail address), and RFC 5321's length.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > ADDRESS_LENGTH_MAX {
            return None;
        }
        let (local, domain) = text.split_once('@')?;
        let local_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&byte);
        let well_formed = !local.is_empty()
            && local.len() <= 64
            && local.bytes().all(local_allowed)
            && domain.split('.').all(is_domain_label);
        well_formed.then(|| Self(Arc::from(text)))
    }

    /// The address itself. Personal data: not for logs, traces, metrics or errors.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&masked(&self.0))
    }
}

/// One label of a domain name: letters, digits and inner dashes, at most 63.
fn is_domain_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// What names a subscriber in a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// Type `MSISDN`.
    Msisdn(Msisdn),
    /// Type `EMAIL`.
    Email(Email),
}

impl Address {
    /// The word for its type, as requests spell it.
    #[must_use]
    pub const fn type_word(&self) -> &'static str {
        match self {
            Self::Msisdn(_) => MSISDN,
            Self::Email(_) => EMAIL,
        }
    }

    /// The address itself. Personal data: not for logs, traces, metrics or errors.
    #[must_use]
    pub fn expose(&self) -> &str {
        match self {
            Self::Msisdn(number) => number.expose(),
            Self::Email(email) => email.expose(),
        }
    }
}

/// What stands for an address that is kept no longer: a keyed digest, by which it is known again when it comes again, and
/// which tells nobody without the key what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressDigest {
    /// The word for the type that the address had.
    pub type_word: &'static str,
    /// The digest.
    pub bits: [u8; 16],
}

/// The word for phone numbers.
pub const MSISDN: &str = "MSISDN";
/// The word for e-mail addresses.
pub const EMAIL: &str = "EMAIL";

/// A text with all but its last two characters hidden, for people who must tell two addresses apart.
#[must_use]
pub fn masked(text: &str) -> String {
    let length = text.chars().count();
    let shown: String = text.chars().skip(length.saturating_sub(2)).collect();
    if length <= 4 {
        return "****".to_owned();
    }
    format!("****{shown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_masked() {
        let number = Address::Msisdn(Msisdn::new("5550100001"));
        assert_eq!(format!("{number:?}"), "Msisdn(****01)");
        assert_eq!(masked("12"), "****");
    }

    #[test]
    fn emails_are_checked_as_browsers_check_them() {
        for (text, allowed) in [
            ("5550100020@sandbox.example", true),
            ("a@b", true),
            ("first.last+tag@sub.example.org", true),
            ("no-at.example", false),
            ("two@@example.org", false),
            ("@example.org", false),
            ("a@", false),
            ("a@-b.example", false),
            ("a@b..example", false),
            ("a b@example.org", false),
            ("ü@example.org", false),
        ] {
            assert_eq!(Email::parse(text).is_some(), allowed, "{text:?}");
        }
    }
}
