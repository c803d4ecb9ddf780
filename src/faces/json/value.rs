//! One JSON value, or one text of a query or path → one protobuf value.
//!
//! Invariant: a value of the wrong form is a reason, never a panic and never a guess; nothing is written for it.
//! Messages, lists and maps are not here (`read` walks them), and no rule of the domain is: a number in range of its
//! type is passed on, whatever the field's own bounds.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::value::RawValue;

use super::schema::{EnumValue, Kind, Range};
use super::text;
use super::wire::{self, Wire};
use crate::domain::catalogue::reason;

/// Why a value is refused, as the caller reads it.
pub(super) type Reason = Cow<'static, str>;

/// A value as it came.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    /// Its raw text: no digit is lost.
    Number(&'a str),
    Text(Cow<'a, str>),
    /// A string that is no text: a lone surrogate in JSON, bytes that are no UTF-8 in a query.
    Broken,
    /// Raw JSON.
    List(&'a str),
    /// Raw JSON.
    Object(&'a str),
    /// From a query or a path, where everything is text.
    Query(Cow<'a, str>),
}

impl<'a> Value<'a> {
    /// The value whose JSON this is.
    pub(super) fn of(raw: &'a RawValue) -> Self {
        let raw = raw.get();
        match raw.as_bytes() {
            [b'"', inner @ .., b'"'] => {
                if inner.contains(&b'\\') {
                    serde_json::from_str(raw).map_or(Self::Broken, |text| Self::Text(Cow::Owned(text)))
                } else {
                    Self::Text(Cow::Borrowed(raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()))
                }
            }
            [b'{', ..] => Self::Object(raw),
            [b'[', ..] => Self::List(raw),
            [b't', ..] => Self::Bool(true),
            [b'f', ..] => Self::Bool(false),
            [b'n', ..] => Self::Null,
            _ => Self::Number(raw),
        }
    }
}

/// Appends field `number` with this value of a kind that is no message.
pub(super) fn put(
    out: &mut Vec<u8>,
    number: u32,
    kind: &Kind,
    range: Option<&Range>,
    value: &Value<'_>,
) -> Result<(), Reason> {
    match kind {
        Kind::String => put_text(out, number, string(value).ok_or(reason::STRING)?),
        Kind::Decimal => put_text(out, number, decimal(value).ok_or(reason::DECIMAL)?),
        Kind::Bytes => {
            let bytes = string(value).and_then(base64_bytes).ok_or(reason::BASE64)?;
            wire::put(out, number, Wire::Bytes(&bytes));
        }
        Kind::Bool => {
            let truth = boolean(value).ok_or(reason::BOOLEAN)?;
            wire::put(out, number, Wire::Varint(u64::from(truth)));
        }
        Kind::Double | Kind::Float => {
            let float = float(value, kind).ok_or(reason::NUMBER)?;
            wire::put(out, number, float);
        }
        Kind::Enum(values) => {
            let found = string(value).and_then(|name| values.iter().find(|known| known.name == name));
            let found = found.ok_or_else(|| one_of(values))?;
            wire::put(out, number, Wire::Varint(i64::from(found.number).cast_unsigned()));
        }
        Kind::Timestamp => {
            let (seconds, nanos) = string(value).and_then(text::time).ok_or(reason::TIME)?;
            put_moment(out, number, seconds, i64::from(nanos));
        }
        Kind::Duration => {
            let (seconds, nanos) = string(value).and_then(text::duration).ok_or(reason::DURATION)?;
            put_moment(out, number, seconds, i64::from(nanos));
        }
        Kind::Wrapper(kind) => {
            let mut inner = Vec::new();
            put(&mut inner, 1, kind, range, value)?;
            wire::put(out, number, Wire::Bytes(&inner));
        }
        // Written by `read`; here only where a query names one, which no route allows.
        Kind::Message(_) => return Err(Cow::Borrowed(reason::OBJECT)),
        Kind::Int32
        | Kind::Sint32
        | Kind::Sfixed32
        | Kind::Uint32
        | Kind::Fixed32
        | Kind::Int64
        | Kind::Sint64
        | Kind::Sfixed64
        | Kind::Uint64
        | Kind::Fixed64 => {
            let read = integer(value, kind);
            let on_wire = read.and_then(|integer| integer_on_wire(kind, integer));
            wire::put(out, number, on_wire.ok_or_else(|| not_an_integer(kind, range, read))?);
        }
    }
    Ok(())
}

fn put_text(out: &mut Vec<u8>, number: u32, text: &str) {
    wire::put(out, number, Wire::Bytes(text.as_bytes()));
}

/// Timestamp and Duration have the same two fields.
fn put_moment(out: &mut Vec<u8>, number: u32, seconds: i64, nanos: i64) {
    let mut inner = Vec::with_capacity(16);
    wire::put(&mut inner, 1, Wire::Varint(seconds.cast_unsigned()));
    if nanos != 0 {
        wire::put(&mut inner, 2, Wire::Varint(nanos.cast_unsigned()));
    }
    wire::put(out, number, Wire::Bytes(&inner));
}

fn string<'v>(value: &'v Value<'_>) -> Option<&'v str> {
    match value {
        Value::Text(text) | Value::Query(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Broken | Value::List(_) | Value::Object(_) => None,
    }
}

/// The text that the domain is to judge: `1e-3` and `NaN` are its to refuse.
fn decimal<'v>(value: &'v Value<'_>) -> Option<&'v str> {
    match value {
        Value::Number(raw) => Some(raw),
        other => string(other),
    }
}

fn boolean(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Query(text) if text == "true" => Some(true),
        Value::Query(text) if text == "false" => Some(false),
        _ => None,
    }
}

/// A JSON number; a 64-bit kind may be a string as well, as proto3 JSON prints it.
fn integer(value: &Value<'_>, kind: &Kind) -> Option<i128> {
    let is_64_bits = matches!(kind, Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64);
    match value {
        Value::Number(raw) => text::integer(raw),
        Value::Query(text) => text::integer(text),
        Value::Text(text) if is_64_bits => text::integer(text),
        _ => None,
    }
}

fn integer_on_wire(kind: &Kind, integer: i128) -> Option<Wire<'static>> {
    Some(match kind {
        Kind::Int32 => Wire::Varint(i64::from(i32::try_from(integer).ok()?).cast_unsigned()),
        Kind::Sint32 => Wire::Varint(wire::zigzag(i64::from(i32::try_from(integer).ok()?))),
        Kind::Sfixed32 => Wire::Fixed32(i32::try_from(integer).ok()?.cast_unsigned()),
        Kind::Uint32 => Wire::Varint(u64::from(u32::try_from(integer).ok()?)),
        Kind::Fixed32 => Wire::Fixed32(u32::try_from(integer).ok()?),
        Kind::Int64 => Wire::Varint(i64::try_from(integer).ok()?.cast_unsigned()),
        Kind::Sint64 => Wire::Varint(wire::zigzag(i64::try_from(integer).ok()?)),
        Kind::Sfixed64 => Wire::Fixed64(i64::try_from(integer).ok()?.cast_unsigned()),
        Kind::Uint64 => Wire::Varint(u64::try_from(integer).ok()?),
        Kind::Fixed64 => Wire::Fixed64(u64::try_from(integer).ok()?),
        _ => return None,
    })
}

/// A bounded field names its bounds; any other says what is wrong: no integer, or one that its type cannot hold.
fn not_an_integer(kind: &Kind, range: Option<&Range>, read: Option<i128>) -> Reason {
    if let Some(range) = range {
        return reason::between(range.minimum, range.maximum, &range.suffix);
    }
    match (kind, read) {
        (Kind::Int32 | Kind::Sint32 | Kind::Sfixed32, Some(_)) => {
            reason::between(i64::from(i32::MIN), i64::from(i32::MAX), "")
        }
        (Kind::Uint32 | Kind::Fixed32, Some(_)) => reason::between(0, i64::from(u32::MAX), ""),
        (_, Some(_)) => Cow::Borrowed(reason::INTEGER_64),
        (_, None) => Cow::Borrowed(reason::INTEGER),
    }
}

/// Numbers, and the three texts that JSON numbers lack. A number that is too large for its type is refused.
fn float(value: &Value<'_>, kind: &Kind) -> Option<Wire<'static>> {
    let double: f64 = match value {
        Value::Number(raw) => raw.parse().ok().filter(|number: &f64| number.is_finite())?,
        Value::Text(text) | Value::Query(text) => match text.as_ref() {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            other => {
                let raw: &RawValue = serde_json::from_str(other).ok()?;
                raw.get().parse().ok().filter(|number: &f64| number.is_finite())?
            }
        },
        _ => return None,
    };
    match kind {
        Kind::Float => {
            // Printed and read again: the shortest way from f64 to f32 without a cast.
            let single: f32 = double.to_string().parse().ok()?;
            (single.is_finite() || !double.is_finite()).then(|| Wire::Fixed32(single.to_bits()))
        }
        _ => Some(Wire::Fixed64(double.to_bits())),
    }
}

/// Both alphabets, with or without padding, as proto3 JSON accepts them.
fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if text.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    GeneralPurpose::new(alphabet, LENIENT).decode(text).ok()
}

fn one_of(values: &[EnumValue]) -> Reason {
    reason::one_of(values.iter().map(|value| value.name.as_str()))
}
