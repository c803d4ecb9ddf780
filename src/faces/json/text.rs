//! Texts that stand for something else: percent-encoding, integers, times, durations.
//!
//! Invariant: what is refused here is not of that form at all; bounds and meaning are for the domain. No number goes
//! through a binary float on its way to an integer.

use std::borrow::Cow;

use jiff::Timestamp;

/// Most digits of an integer in any form: more than any 64-bit number has, with room for trailing zeros of a fraction.
const DIGITS_MAX: usize = 38;

/// Decodes a part of a query, where a plus is a space, or of a path, where it is a plus.
/// None for a lone percent sign and for bytes that are no UTF-8.
pub(super) fn percent_decode(text: &str, plus: Plus) -> Option<Cow<'_, str>> {
    let spaced = match plus {
        Plus::IsSpace if text.contains('+') => Cow::Owned(text.replace('+', " ")),
        Plus::IsSpace | Plus::IsPlus => Cow::Borrowed(text),
    };
    if !spaced.contains('%') {
        return Some(spaced);
    }
    let hexadecimal = |pair: Option<&[u8]>| pair.is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit));
    let mut after_percent = spaced.split('%').skip(1);
    if !after_percent.all(|part| hexadecimal(part.as_bytes().get(..2))) {
        return None;
    }
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}

/// What a plus sign stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plus {
    IsSpace,
    IsPlus,
}

/// The integer that a JSON number is, if it is one: `1`, `1.0` and `1e0` are the same (RFC 8259 section 6, proto3 JSON).
/// None for anything else, and for more than 38 digits.
pub(super) fn integer(text: &str) -> Option<i128> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    // How many zeros follow the significant digits: those cut off at the end, moved by the exponent and the fraction.
    let cut = digits.len().checked_sub(digits.trim_end_matches('0').len())?;
    let zeros = i64::try_from(cut).ok()?.checked_add(exponent)?.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let zeros = usize::try_from(zeros).ok()?;
    if significant.len().checked_add(zeros)? > DIGITS_MAX {
        return None;
    }
    let value: i128 = format!("{significant}{}", "0".repeat(zeros)).parse().ok()?;
    if negative { value.checked_neg() } else { Some(value) }
}

fn exponent_of(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // An exponent that does not fit is as good as a very large one: only zero has so many zeros, or none.
    let magnitude: i64 = digits.parse().unwrap_or(i64::MAX >> 1);
    if text.starts_with('-') { magnitude.checked_neg() } else { Some(magnitude) }
}

/// Seconds and nanoseconds since the epoch of an RFC 3339 time, years 1 to 9999. Digits beyond the nanosecond are cut.
pub(super) fn time(text: &str) -> Option<(i64, u32)> {
    let bytes = text.as_bytes();
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let (head, tail) = bytes.split_at_checked(shape.len())?;
    let fits = head.iter().zip(shape).all(|(byte, form)| match form {
        b'd' => byte.is_ascii_digit(),
        form => byte.eq_ignore_ascii_case(form),
    });
    let (head_text, mut rest) = text.split_at_checked(shape.len())?;
    let mut fraction = "";
    if tail.first() == Some(&b'.') {
        let digits = tail.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        (fraction, rest) = rest.split_at_checked(digits.checked_add(1)?)?;
    }
    let fraction = fraction.get(..fraction.len().min(10))?;
    if !fits || !is_offset(rest.as_bytes()) || head_text.starts_with("0000") {
        return None;
    }
    let parsed: Timestamp = format!("{head_text}{fraction}{rest}").to_ascii_uppercase().parse().ok()?;
    let nanoseconds = parsed.as_nanosecond();
    let second = nanoseconds.div_euclid(1_000_000_000);
    Some((i64::try_from(second).ok()?, u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).ok()?))
}

fn is_offset(text: &[u8]) -> bool {
    match text {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', hour @ .., b':', m1, m2] => {
            let digits = hour.len() == 2 && hour.iter().chain([m1, m2]).all(u8::is_ascii_digit);
            digits && hour <= b"23".as_slice() && *m1 <= b'5'
        }
        _ => false,
    }
}

/// Seconds and nanoseconds of a duration as proto3 JSON writes it: `1.5s`. Both have the sign of the whole.
pub(super) fn duration(text: &str) -> Option<(i64, i32)> {
    let number = text.strip_suffix('s')?;
    let (negative, unsigned) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (unsigned, ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // google.protobuf.Duration goes to 315576000000 seconds, 10000 years.
    if whole.is_empty() || whole.len() > 12 || fraction.len() > 9 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let seconds: i64 = whole.parse().ok().filter(|seconds| *seconds <= 315_576_000_000)?;
    let nanos: i32 = format!("{fraction:0<9}").parse().ok()?;
    if negative { Some((seconds.checked_neg()?, nanos.checked_neg()?)) } else { Some((seconds, nanos)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_percent_or_broken_utf8_is_refused() {
        for (text, plus, decoded) in [
            ("a+b", Plus::IsSpace, Some("a b")),
            ("a+b", Plus::IsPlus, Some("a+b")),
            ("a%2Bb", Plus::IsSpace, Some("a+b")),
            ("%C3%A9%c3%a9", Plus::IsPlus, Some("éé")),
            ("", Plus::IsSpace, Some("")),
            ("%", Plus::IsPlus, None),
            ("%4", Plus::IsPlus, None),
            ("%zz", Plus::IsPlus, None),
            ("%%41", Plus::IsPlus, None),
            ("%ff", Plus::IsPlus, None),
            ("%é1", Plus::IsPlus, None),
        ] {
            assert_eq!(percent_decode(text, plus).as_deref(), decoded, "{text}");
        }
    }

    #[test]
    fn integers_are_read_without_a_float() {
        for (text, value) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("301", Some(301)),
            ("301.000", Some(301)),
            ("3.01e2", Some(301)),
            ("30100E-2", Some(301)),
            ("-2592000", Some(-2_592_000)),
            ("9007199254740993", Some(9_007_199_254_740_993)),
            ("18446744073709551616", Some(18_446_744_073_709_551_616)),
            ("0e999999999999999999999", Some(0)),
            ("1e999999999999999999999", None),
            ("1e-999999999999999999999", None),
            ("1.5", None),
            ("1e-1", None),
            ("1e38", None),
            ("", None),
            ("-", None),
            ("+1", None),
            ("01", None),
            ("1.", None),
            (".5", None),
            ("1e", None),
            ("1e+", None),
            ("0x10", None),
            ("١", None),
        ] {
            assert_eq!(integer(text), value, "{text}");
        }
    }

    #[test]
    fn only_rfc_3339_times_are_times() {
        for (text, value) in [
            ("1970-01-01T00:00:00Z", Some((0, 0))),
            ("2020-05-18T15:05:03Z", Some((1_589_814_303, 0))),
            ("2020-05-18t15:05:03z", Some((1_589_814_303, 0))),
            ("2020-05-18T17:05:03+02:00", Some((1_589_814_303, 0))),
            ("2020-05-18T15:05:03.5Z", Some((1_589_814_303, 500_000_000))),
            ("2020-05-18T15:05:03.1234567891234Z", Some((1_589_814_303, 123_456_789))),
            ("1969-12-31T23:59:59.25Z", Some((-1, 250_000_000))),
            ("0001-01-01T00:00:00Z", Some((-62_135_596_800, 0))),
            ("0000-01-01T00:00:00Z", None),
            ("2020-05-18 15:05:03Z", None),
            ("2020-05-18T15:05:03", None),
            ("2020-05-18T15:05Z", None),
            ("2020-05-18T15:05:03.Z", None),
            ("2020-05-18T15:05:03+0200", None),
            ("2020-05-18T15:05:03+02", None),
            ("2020-05-18T15:05:03+24:00", None),
            ("2020-05-18T15:05:03Z[UTC]", None),
            ("2020-13-18T15:05:03Z", None),
            ("2020-02-30T15:05:03Z", None),
            ("2020-05-18T24:05:03Z", None),
            ("2020-05-18T15:05:03ZZ", None),
            ("yesterday", None),
            ("", None),
            ("2020-05-18T15:05:0é", None),
        ] {
            assert_eq!(time(text), value, "{text}");
        }
    }

    #[test]
    fn durations_end_in_s() {
        for (text, value) in [
            ("1s", Some((1, 0))),
            ("-1.5s", Some((-1, -500_000_000))),
            ("0.000000001s", Some((0, 1))),
            ("315576000000s", Some((315_576_000_000, 0))),
            ("315576000001s", None),
            ("1", None),
            ("s", None),
            ("1.s", None),
            ("1.0000000001s", None),
            ("--1s", None),
        ] {
            assert_eq!(duration(text), value, "{text}");
        }
    }
}
