//! The bytes of a protobuf message → JSON.
//!
//! Invariant: keys come in the order of the field numbers; a field without presence is printed even when it is empty,
//! one with presence only where it is there (contract section 2); a field with a header of its own is in the headers
//! and never in the body. The JSON is compact. What a value means is not known here.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;

use super::schema::{Field, Kind, MessageId, Presence, Schema, Shape};
use super::wire::{self, Broken, Reader, Wire};

/// Deepest nesting of messages within messages that is printed: as deep as the protobuf library reads.
const DEPTH_MAX: usize = 100;

/// An answer as JSON.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) body: Vec<u8>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// An answer of ours that cannot be printed: a fault of the gateway.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("a value is not of its field's type")]
    Type,
    #[error("a string is not UTF-8")]
    Utf8(#[from] std::str::Utf8Error),
    #[error("a time is out of range")]
    Time(#[from] jiff::Error),
    #[error("a value does not fit in a header")]
    Header(#[from] http::header::InvalidHeaderValue),
    #[error("messages are nested too deeply")]
    Depth,
    #[error("JSON could not be written")]
    Json(#[from] serde_json::Error),
    #[error("a number could not be written")]
    Number(#[from] std::io::Error),
}

/// Prints one message.
pub(super) fn answer(schema: &Schema, id: MessageId, bytes: &[u8]) -> Result<Written, WriteError> {
    let body = Vec::with_capacity(bytes.len().saturating_mul(2).saturating_add(64));
    let mut writer = Writer { schema, out: body, entries: Vec::with_capacity(16), headers: Vec::new(), depth: 0 };
    writer.message(id, bytes)?;
    Ok(Written { body: writer.out, headers: writer.headers })
}

/// One value on the wire, and the index of its field.
#[derive(Debug, Clone, Copy)]
struct Entry<'b> {
    index: usize,
    value: Wire<'b>,
}

struct Writer<'s, 'b> {
    schema: &'s Schema,
    out: Vec<u8>,
    /// Those of the message that is being printed, after those of the messages around it.
    entries: Vec<Entry<'b>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    depth: usize,
}

impl<'b> Writer<'_, 'b> {
    fn message(&mut self, id: MessageId, bytes: &'b [u8]) -> Result<(), WriteError> {
        if self.depth >= DEPTH_MAX {
            return Err(WriteError::Depth);
        }
        let schema = self.schema;
        let message = schema.message(id);
        let start = self.entries.len();
        let mut reader = Reader(bytes);
        while let Some((number, value)) = reader.field()? {
            if let Some(index) = message.index_of_number(number) {
                self.entries.push(Entry { index, value });
            }
        }
        if let Some(own) = self.entries.get_mut(start..)
            && !own.is_sorted_by_key(|entry| entry.index)
        {
            // Stable: the values of a list stay in their order, and the last of a single field stays the last.
            own.sort_by_key(|entry| entry.index);
        }
        self.depth = self.depth.saturating_add(1);
        self.out.push(b'{');
        let first = self.out.len();
        let mut from = start;
        for (index, field) in message.fields.iter().enumerate() {
            let rest = self.entries.get(from..).unwrap_or_default();
            let count = rest.iter().take_while(|entry| entry.index == index).count();
            let until = from.saturating_add(count);
            self.field(field, first, from, until)?;
            from = until;
        }
        self.out.push(b'}');
        self.depth = self.depth.saturating_sub(1);
        self.entries.truncate(start);
        Ok(())
    }

    /// Prints a field from its entries; `first` is where the members of its object begin.
    fn field(&mut self, field: &Field, first: usize, from: usize, until: usize) -> Result<(), WriteError> {
        let last = if from < until { self.entries.get(until.saturating_sub(1)).map(|entry| entry.value) } else { None };
        if self.depth == 1
            && let Some(name) = &field.header
        {
            return self.header(field, name, last);
        }
        if last.is_none() && field.shape == Shape::Single && field.presence == Presence::Explicit {
            return Ok(());
        }
        if self.out.len() > first {
            self.out.push(b',');
        }
        self.out.extend_from_slice(field.key.as_bytes());
        match &field.shape {
            Shape::Single => match last {
                Some(value) => self.value(&field.kind, value),
                None => self.empty(&field.kind),
            },
            Shape::List => self.list(field, from, until),
            Shape::Map(key) => self.map(key, &field.kind, from, until),
        }
    }

    fn header(&mut self, field: &Field, name: &HeaderName, last: Option<Wire<'b>>) -> Result<(), WriteError> {
        let Some(value) = last else { return Ok(()) };
        let text = match (&field.kind, value) {
            (Kind::String | Kind::Decimal, Wire::Bytes(text)) => HeaderValue::from_bytes(text)?,
            (kind, value) => {
                let length = self.out.len();
                self.value(kind, value)?;
                let printed = self.out.split_off(length);
                let quoted = printed.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\""));
                HeaderValue::from_bytes(quoted.unwrap_or(&printed))?
            }
        };
        if !text.is_empty() {
            self.headers.push((name.clone(), text));
        }
        Ok(())
    }

    fn list(&mut self, field: &Field, from: usize, until: usize) -> Result<(), WriteError> {
        self.out.push(b'[');
        let first = self.out.len();
        for place in from..until {
            let Some(entry) = self.entries.get(place).copied() else { break };
            match (packed(&field.kind), entry.value) {
                (Some(form), Wire::Bytes(bytes)) => {
                    let mut reader = Reader(bytes);
                    while !reader.0.is_empty() {
                        let value = match form {
                            Packed::Varint => Wire::Varint(reader.varint()?),
                            Packed::Fixed32 => Wire::Fixed32(reader.fixed32()?),
                            Packed::Fixed64 => Wire::Fixed64(reader.fixed64()?),
                        };
                        self.element(&field.kind, value, first)?;
                    }
                }
                (_, value) => self.element(&field.kind, value, first)?,
            }
        }
        self.out.push(b']');
        Ok(())
    }

    fn element(&mut self, kind: &Kind, value: Wire<'b>, first: usize) -> Result<(), WriteError> {
        if self.out.len() > first {
            self.out.push(b',');
        }
        self.value(kind, value)
    }

    /// Prints the entries of a map, sorted by key: the wire has them in no order.
    fn map(&mut self, key_kind: &Kind, kind: &Kind, from: usize, until: usize) -> Result<(), WriteError> {
        let mut members = Vec::new();
        for place in from..until {
            let Some(Entry { value: Wire::Bytes(bytes), .. }) = self.entries.get(place).copied() else {
                return Err(WriteError::Type);
            };
            let (mut key, mut value) = (None, None);
            let mut reader = Reader(bytes);
            while let Some((number, read)) = reader.field()? {
                match number {
                    1 => key = Some(read),
                    2 => value = Some(read),
                    _ => {}
                }
            }
            let start = self.out.len();
            match key {
                Some(key) => self.value(key_kind, key)?,
                None => self.empty(key_kind)?,
            }
            members.push((self.out.split_off(start), value));
        }
        members.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.out.push(b'{');
        let first = self.out.len();
        for (key, value) in members {
            if self.out.len() > first {
                self.out.push(b',');
            }
            let is_quoted = key.first() == Some(&b'"');
            let quote: &[u8] = if is_quoted { b"" } else { b"\"" };
            for part in [quote, key.as_slice(), quote, b":"] {
                self.out.extend_from_slice(part);
            }
            match value {
                Some(value) => self.value(kind, value)?,
                None => self.empty(kind)?,
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    fn value(&mut self, kind: &Kind, value: Wire<'b>) -> Result<(), WriteError> {
        match (kind, value) {
            (Kind::String | Kind::Decimal, Wire::Bytes(bytes)) => {
                serde_json::to_writer(&mut self.out, std::str::from_utf8(bytes)?)?;
            }
            (Kind::Bytes, Wire::Bytes(bytes)) => write!(self.out, "\"{}\"", STANDARD.encode(bytes))?,
            (Kind::Message(id), Wire::Bytes(bytes)) => self.message(*id, bytes)?,
            (Kind::Timestamp, Wire::Bytes(bytes)) => self.timestamp(bytes)?,
            (Kind::Duration, Wire::Bytes(bytes)) => self.duration(bytes)?,
            (Kind::Wrapper(kind), Wire::Bytes(bytes)) => {
                let mut last = None;
                let mut reader = Reader(bytes);
                while let Some((number, read)) = reader.field()? {
                    last = if number == 1 { Some(read) } else { last };
                }
                match last {
                    Some(value) => self.value(kind, value)?,
                    None => self.empty(kind)?,
                }
            }
            (Kind::Bool, Wire::Varint(value)) => write!(self.out, "{}", value != 0)?,
            (Kind::Enum(values), Wire::Varint(value)) => {
                let number = low_32(value);
                match values.iter().find(|known| known.number == number) {
                    Some(known) => write!(self.out, "\"{}\"", known.name)?,
                    // A newer value than this build knows: proto3 JSON prints its number.
                    None => write!(self.out, "{number}")?,
                }
            }
            (Kind::Int32, Wire::Varint(value)) => write!(self.out, "{}", low_32(value))?,
            (Kind::Uint32, Wire::Varint(value)) => write!(self.out, "{}", low_32(value).cast_unsigned())?,
            (Kind::Sint32, Wire::Varint(value)) => write!(self.out, "{}", wire::unzigzag(value))?,
            (Kind::Fixed32, Wire::Fixed32(value)) => write!(self.out, "{value}")?,
            (Kind::Sfixed32, Wire::Fixed32(value)) => write!(self.out, "{}", value.cast_signed())?,
            // 64 bits do not fit in the numbers of every JSON reader: proto3 JSON prints them as strings.
            (Kind::Int64, Wire::Varint(value)) | (Kind::Sfixed64, Wire::Fixed64(value)) => {
                write!(self.out, "\"{}\"", value.cast_signed())?;
            }
            (Kind::Uint64, Wire::Varint(value)) | (Kind::Fixed64, Wire::Fixed64(value)) => {
                write!(self.out, "\"{value}\"")?;
            }
            (Kind::Sint64, Wire::Varint(value)) => write!(self.out, "\"{}\"", wire::unzigzag(value))?,
            (Kind::Float, Wire::Fixed32(bits)) => {
                let number = f32::from_bits(bits);
                if !self.no_number(f64::from(number)) {
                    serde_json::to_writer(&mut self.out, &number)?;
                }
            }
            (Kind::Double, Wire::Fixed64(bits)) => {
                let number = f64::from_bits(bits);
                if !self.no_number(number) {
                    serde_json::to_writer(&mut self.out, &number)?;
                }
            }
            (_, Wire::Varint(_) | Wire::Fixed32(_) | Wire::Fixed64(_) | Wire::Bytes(_)) => {
                return Err(WriteError::Type);
            }
        }
        Ok(())
    }

    /// Prints what JSON numbers cannot say, as proto3 JSON does.
    fn no_number(&mut self, number: f64) -> bool {
        let text: &[u8] = match number {
            number if number.is_nan() => b"\"NaN\"",
            number if number == f64::INFINITY => b"\"Infinity\"",
            number if number == f64::NEG_INFINITY => b"\"-Infinity\"",
            _ => return false,
        };
        self.out.extend_from_slice(text);
        true
    }

    /// Prints an absent field without presence.
    fn empty(&mut self, kind: &Kind) -> Result<(), WriteError> {
        let value = match kind {
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Wire::Fixed64(0),
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Wire::Fixed32(0),
            Kind::String
            | Kind::Decimal
            | Kind::Bytes
            | Kind::Message(_)
            | Kind::Timestamp
            | Kind::Duration
            | Kind::Wrapper(_) => Wire::Bytes(b""),
            Kind::Int32
            | Kind::Int64
            | Kind::Uint32
            | Kind::Uint64
            | Kind::Sint32
            | Kind::Sint64
            | Kind::Bool
            | Kind::Enum(_) => Wire::Varint(0),
        };
        self.value(kind, value)
    }

    /// RFC 3339 in UTC, whole seconds where there is no fraction, else 3, 6 or 9 digits (proto3 JSON).
    fn timestamp(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let (seconds, nanos) = moment(bytes)?;
        let time = Timestamp::new(seconds, nanos)?;
        match fraction_digits(nanos) {
            0 => write!(self.out, "\"{time:.0}\"")?,
            3 => write!(self.out, "\"{time:.3}\"")?,
            6 => write!(self.out, "\"{time:.6}\"")?,
            _ => write!(self.out, "\"{time:.9}\"")?,
        }
        Ok(())
    }

    fn duration(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let (seconds, nanos) = moment(bytes)?;
        let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
        let fraction = format!("{:09}", nanos.unsigned_abs());
        let fraction = fraction.get(..fraction_digits(nanos)).unwrap_or_default();
        let point = if fraction.is_empty() { "" } else { "." };
        write!(self.out, "\"{sign}{}{point}{fraction}s\"", seconds.unsigned_abs())?;
        Ok(())
    }
}

fn fraction_digits(nanos: i32) -> usize {
    match nanos {
        0 => 0,
        nanos if nanos.checked_rem(1_000_000) == Some(0) => 3,
        nanos if nanos.checked_rem(1_000) == Some(0) => 6,
        _ => 9,
    }
}

/// The two fields of a Timestamp or Duration.
fn moment(bytes: &[u8]) -> Result<(i64, i32), WriteError> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader(bytes);
    while let Some(field) = reader.field()? {
        match field {
            (1, Wire::Varint(value)) => seconds = value.cast_signed(),
            (2, Wire::Varint(value)) => nanos = low_32(value),
            _ => {}
        }
    }
    Ok((seconds, nanos))
}

/// A 32-bit number as a varint holds it: negative ones are extended to 64 bits, and only the low half counts.
fn low_32(value: u64) -> i32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

#[derive(Debug, Clone, Copy)]
enum Packed {
    Varint,
    Fixed32,
    Fixed64,
}

/// How a list of this kind is packed, if it may be.
fn packed(kind: &Kind) -> Option<Packed> {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Some(Packed::Fixed64),
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Some(Packed::Fixed32),
        Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Bool
        | Kind::Enum(_) => Some(Packed::Varint),
        Kind::String
        | Kind::Decimal
        | Kind::Bytes
        | Kind::Message(_)
        | Kind::Timestamp
        | Kind::Duration
        | Kind::Wrapper(_) => None,
    }
}
