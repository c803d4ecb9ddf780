//! Newtypes for every id, so that no two can be mixed up.
//!
//! Invariant: a value of a type here has the form that its constructor demands, for as long as it lives.
//! Addresses are not here (`address.rs`): they are personal data and print masked.

use std::fmt;
use std::sync::Arc;

/// The pattern of ids that partners make: `extTransactionId`, `referenceId` and `extNotificationId`.
pub const EXT_TRANSACTION_ID_PATTERN: &str = "^[A-Za-z0-9._:-]{1,64}$";
/// Most characters of an id that a partner makes.
const EXT_TRANSACTION_ID_LENGTH_MAX: usize = 64;
/// Most characters of a correlation id.
const CORRELATION_ID_LENGTH_MAX: usize = 128;

/// Defines a cheap-to-clone text id whose form is somebody else's matter.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the text as it is.
            #[must_use]
            pub fn new(text: &str) -> Self {
                Self(Arc::from(text))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, formatter)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id! {
    /// A partner (an OTT): the name of its table in the configuration.
    PartnerId
}
text_id! {
    /// A CSP (an operator): the name of its table in the configuration.
    CspId
}
text_id! {
    /// A product of a partner, as requests name it.
    ProductId
}
text_id! {
    /// What a CSP calls a product on its side.
    ChargeCode
}
text_id! {
    /// A spend limit of a CSP: the name of its table in the configuration.
    LimitId
}
text_id! {
    /// A running gateway: the owner of leases. A new one at every start.
    InstanceId
}
text_id! {
    /// A CSP's own, lasting name of an account. Personal data: never logged.
    AccountRef
}

/// The partner's own id of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExtTransactionId(Arc<str>);

impl ExtTransactionId {
    /// Checks [`EXT_TRANSACTION_ID_PATTERN`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_partners_id(text).then(|| Self(Arc::from(text)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The partner's own id of a notification, so that a repeat does not text twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExtNotificationId(Arc<str>);

impl ExtNotificationId {
    /// Checks [`EXT_TRANSACTION_ID_PATTERN`], which is that of this id as well.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_partners_id(text).then(|| Self(Arc::from(text)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_partners_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    !text.is_empty() && text.len() <= EXT_TRANSACTION_ID_LENGTH_MAX && text.bytes().all(allowed)
}

/// Ties the log lines, traces and CSP calls of one request together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorrelationId(Arc<str>);

impl CorrelationId {
    /// At most 128 of `[A-Za-z0-9._:-]` (contract section 1).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        let well_formed = !text.is_empty() && text.len() <= CORRELATION_ID_LENGTH_MAX && text.bytes().all(allowed);
        well_formed.then(|| Self(Arc::from(text)))
    }

    /// One that the gateway makes: 32 hexadecimal digits.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        let digits = bits.to_be_bytes().map(|byte| [byte >> 4, byte & 15].map(hex_digit));
        Self(Arc::from(&*String::from_utf8_lossy(digits.as_flattened())))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0'.saturating_add(nibble) } else { b'a'.saturating_add(nibble).saturating_sub(10) }
}

/// The name under which a CSP knows a transaction: 128 bits, the same for ever for one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference([u8; 16]);

impl Reference {
    /// From its bits.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bits.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads the 32 hexadecimal digits that [`fmt::Display`] prints.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|bits| Self(bits.to_be_bytes()))
    }
}

/// 32 lower-case hexadecimal digits.
impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ext_transaction_ids_follow_their_pattern() {
        let longest = "x".repeat(64);
        let too_long = "x".repeat(65);
        for (text, allowed) in [
            ("15094524571", true),
            ("A.b_c:d-9", true),
            (longest.as_str(), true),
            (too_long.as_str(), false),
            ("", false),
            ("with space", false),
            ("with/slash", false),
            ("new\nline", false),
            ("ümlaut", false),
        ] {
            assert_eq!(ExtTransactionId::parse(text).is_some(), allowed, "{text:?}");
        }
    }

    #[test]
    fn a_reference_survives_being_printed() {
        let reference = Reference::from_bytes([7; 16]);
        assert_eq!(Reference::parse(&reference.to_string()), Some(reference));
        assert_eq!(Reference::parse("zz"), None);
    }
}
