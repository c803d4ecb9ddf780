//! Money: exact amounts in a currency.
//!
//! Invariant: no amount ever passes through a binary float, and arithmetic is checked; inside the gateway money is
//! an integer number of minor units beside its currency. Decimals exist at the edge only: [`Decimal`] reads and
//! prints them. Which currency is right is not decided here: that is the CSP's profile and the transaction's rules.

use std::fmt;

/// Digits before the point that an amount may have.
const INTEGER_DIGITS_MAX: usize = 12;
/// Digits after the point that an amount may be written with. 12 + 18 digits fit an `i128` with room to spare.
const FRACTION_DIGITS_MAX: usize = 18;
/// Digits before the point of anything that fits 64 bits of minor units. With the fraction they still fit an `i128`.
const MINOR_DIGITS_MAX: usize = 19;

/// An exact decimal number, kept without trailing zeros, so that equal values are equal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decimal {
    coefficient: i128,
    scale: u8,
}

impl Decimal {
    /// Reads `-?(0|[1-9][0-9]{0,11})(\.[0-9]{1,18})?` (contract section 2); anything else is `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::read(text, INTEGER_DIGITS_MAX)
    }

    fn read(text: &str, integer_digits_max: usize) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (integer, fraction) = match digits.split_once('.') {
            Some((integer, fraction)) => (integer, Some(fraction)),
            None => (digits, None),
        };
        let fraction = match fraction {
            Some(fraction) if fraction.is_empty() || fraction.len() > FRACTION_DIGITS_MAX => {
                return None;
            }
            Some(fraction) => fraction.trim_end_matches('0'),
            None => "",
        };
        let leading_zero = integer.len() > 1 && integer.starts_with('0');
        if integer.is_empty() || integer.len() > integer_digits_max || leading_zero {
            return None;
        }
        let mut coefficient: i128 = 0;
        for digit in integer.bytes().chain(fraction.bytes()) {
            if !digit.is_ascii_digit() {
                return None;
            }
            coefficient = coefficient.checked_mul(10)?.checked_add(i128::from(digit.wrapping_sub(b'0')))?;
        }
        Some(Self {
            coefficient: if negative { coefficient.checked_neg()? } else { coefficient },
            scale: u8::try_from(fraction.len()).ok()?,
        })
    }

    /// Whether it is less than, equal to or greater than zero. -0 is 0.
    #[must_use]
    pub fn sign(self) -> std::cmp::Ordering {
        self.coefficient.cmp(&0)
    }

    /// Decimals it has, trailing zeros aside.
    #[must_use]
    pub const fn decimals(self) -> u8 {
        self.scale
    }

    /// The amount in minor units of a currency, or `None` where it has more decimals than the currency.
    #[must_use]
    pub fn to_minor(self, currency: Currency) -> Option<i64> {
        let shift = currency.decimals().checked_sub(self.scale)?;
        let factor = 10_i128.checked_pow(u32::from(shift))?;
        i64::try_from(self.coefficient.checked_mul(factor)?).ok()
    }
}

/// Printed with at least one decimal and no other trailing zero: `1500.0`, `9.99`, `-9.99`.
impl fmt::Display for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.coefficient < 0 { "-" } else { "" };
        let digits = self.coefficient.unsigned_abs();
        let Some(factor) = 10_u128.checked_pow(u32::from(self.scale)) else {
            return Err(fmt::Error);
        };
        let (integer, fraction) =
            (digits.checked_div(factor).unwrap_or_default(), digits.checked_rem(factor).unwrap_or_default());
        let width = usize::from(self.scale.max(1));
        write!(formatter, "{sign}{integer}.{fraction:0width$}")
    }
}

/// A currency of ISO 4217 and the decimals of its minor unit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency {
    code: [u8; 3],
    decimals: u8,
}

impl Currency {
    /// The pattern that a currency code is held against.
    pub const PATTERN: &'static str = "^[A-Z]{3}$";

    /// Looks a code up in ISO 4217. `None` for codes that are not in it, or that have no minor unit (gold, say).
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        let known = iso_currency::Currency::from_code(code)?;
        Some(Self { code: code.as_bytes().try_into().ok()?, decimals: u8::try_from(known.exponent()?).ok()? })
    }

    /// Whether a text is written as a code is, known or not.
    #[must_use]
    pub fn is_well_formed(code: &str) -> bool {
        code.len() == 3 && code.bytes().all(|letter| letter.is_ascii_uppercase())
    }

    /// The three letters.
    #[must_use]
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.code).unwrap_or_default()
    }

    /// Decimals of the minor unit: MXN 2, JPY 0, KWD 3.
    #[must_use]
    pub const fn decimals(self) -> u8 {
        self.decimals
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

/// An amount of money: minor units of a currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    /// Minor units, for example cents.
    pub minor: i64,
    /// What they are units of.
    pub currency: Currency,
}

impl Money {
    /// An amount from its minor units.
    #[must_use]
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Reads what [`fmt::Display`] prints, whatever fits 64 bits of minor units. `None` for anything else, and for more
    /// decimals than the currency has.
    #[must_use]
    pub fn parse(text: &str, currency: Currency) -> Option<Self> {
        Decimal::read(text, MINOR_DIGITS_MAX)?.to_minor(currency).map(|minor| Self { minor, currency })
    }

    /// The same amount with the other sign.
    #[must_use]
    pub const fn negated(self) -> Self {
        Self { minor: self.minor.saturating_neg(), currency: self.currency }
    }

    /// The amount in major units, exact.
    #[must_use]
    pub fn to_decimal(self) -> Decimal {
        let mut coefficient = i128::from(self.minor);
        let mut scale = self.currency.decimals();
        while scale > 0 && coefficient % 10 == 0 {
            coefficient /= 10;
            scale = scale.saturating_sub(1);
        }
        Decimal { coefficient, scale }
    }
}

/// Printed in major units, without the currency, as [`Decimal`] is.
impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_decimal().fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::from_code(code).expect("a currency of ISO 4217")
    }

    #[test]
    fn amounts_are_read_by_the_contracts_grammar_and_printed_its_way() {
        for (text, printed) in [
            ("1500", Some("1500.0")),
            ("9.99", Some("9.99")),
            ("-9.990", Some("-9.99")),
            ("10.00", Some("10.0")),
            ("0", Some("0.0")),
            ("-0", Some("0.0")),
            ("-0.000", Some("0.0")),
            ("0.05", Some("0.05")),
            ("-0.05", Some("-0.05")),
            ("999999999999.999999999999999999", Some("999999999999.999999999999999999")),
            ("0.10000000000000000", Some("0.1")),
            ("1000000000000", None),
            ("0.0000000000000000001", None),
            ("01", None),
            ("+1", None),
            ("1e-3", None),
            ("1E3", None),
            (".5", None),
            ("5.", None),
            ("-", None),
            ("", None),
            ("--1", None),
            ("1.-5", None),
            (" 1", None),
            ("NaN", None),
            ("Infinity", None),
            ("1,5", None),
            ("\u{0661}", None),
        ] {
            let read = Decimal::parse(text).map(|decimal| decimal.to_string());
            assert_eq!(read.as_deref(), printed, "{text:?}");
        }
    }

    #[test]
    fn decimals_beyond_the_currencys_are_refused_and_trailing_zeros_are_not_decimals() {
        for (text, code, minor) in [
            ("1.5", "JPY", None),
            ("1.0", "JPY", Some(1)),
            ("1.234", "KWD", Some(1234)),
            ("1.2345", "KWD", None),
            ("9.99", "MXN", Some(999)),
            ("9.999", "MXN", None),
            ("999999999999.99", "MXN", Some(99_999_999_999_999)),
        ] {
            let decimal = Decimal::parse(text).expect("a decimal");
            assert_eq!(decimal.to_minor(currency(code)), minor, "{text} {code}");
        }
    }

    proptest! {
        #[test]
        fn money_survives_being_printed_and_read(minor in -999_999_999_999_i64..=999_999_999_999) {
            for code in ["MXN", "JPY", "KWD"] {
                let money = Money::new(minor, currency(code));
                let read = Decimal::parse(&money.to_string()).expect("what we print we read");
                prop_assert_eq!(read.to_minor(money.currency), Some(minor));
            }
        }

        #[test]
        fn all_money_there_can_be_survives_being_printed_and_read(minor in proptest::num::i64::ANY) {
            for code in ["MXN", "JPY", "KWD"] {
                let money = Money::new(minor, currency(code));
                prop_assert_eq!(Money::parse(&money.to_string(), money.currency), Some(money));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}") {
            let _ = Decimal::parse(&text);
        }
    }
}
