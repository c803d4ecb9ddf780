//! A JSON request → the bytes of its protobuf message, and what is wrong with its shape.
//!
//! Invariant: whatever comes in, a well-formed message goes out: a field that cannot be read is left out of it and
//! found once, under its JSON name. Which values are good is not decided here; requests are bounded by whoever reads
//! the body, nesting by [`DEPTH_MAX`] (skipping a value that nobody asked for does not recurse at all).

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::findings::{Collector, Findings, NAME_CHARACTERS_MAX};
use super::routes::{Binding, BodyRule};
use super::schema::{Field, Kind, Message, MessageId, Schema, Shape};
use super::text::{self, Plus};
use super::value::{self, Reason, Value};
use super::wire::{self, Wire};
use crate::domain::catalogue::reason;

/// Deepest nesting of messages within messages. A proto that holds itself needs some bound.
pub(super) const DEPTH_MAX: usize = 32;

/// The parts of a request that hold fields.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    /// One text for each variable of the path, in the order of the binding, still percent-encoded.
    pub(super) path: Vec<&'a str>,
    pub(super) query: Option<&'a str>,
    /// The whole body, where the method has one; or why it cannot be read.
    pub(super) body: Result<&'a [u8], &'static str>,
}

/// A path whose variable cannot be of its type, so that no such thing exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoSuchPath;

/// What has come for one field so far.
#[derive(Debug, Clone)]
enum Slot<'a> {
    Absent,
    One(Value<'a>),
    /// A list in a query, element by element.
    Many(Vec<Value<'a>>),
    /// The field came twice.
    Twice,
}

/// Reads a request: the message, and the findings.
pub(super) fn request(
    schema: &Schema,
    binding: &Binding,
    sources: &Sources<'_>,
) -> Result<(Vec<u8>, Findings), NoSuchPath> {
    let message = schema.message(binding.input);
    let mut slots = vec![Slot::Absent; message.fields.len()];
    let mut reader = Reader { schema, collector: Collector::default(), position: 0, path: String::new(), depth: 0 };
    if let Some(query) = sources.query {
        reader.query(message, binding, query, &mut slots);
    }
    let body = match (&binding.body, &sources.body) {
        (BodyRule::None, _) => Ok(()),
        (_, Err(reason)) => Err(*reason),
        (rule, Ok(bytes)) => reader.body(message, binding, rule, bytes, &mut slots),
    };
    if let Err(reason) = body {
        return Ok((Vec::new(), Findings::of_body(reason)));
    }
    let mut out = Vec::with_capacity(256);
    for (index, raw) in binding.path.iter().zip(&sources.path) {
        let field = message.fields.get(*index).ok_or(NoSuchPath)?;
        // A text that cannot be decoded names nothing that exists: the method finds that out by itself.
        let text = text::percent_decode(raw, Plus::IsPlus).unwrap_or(Cow::Borrowed(*raw));
        value::put(&mut out, field.number, &field.kind, None, &Value::Query(text)).map_err(|_| NoSuchPath)?;
    }
    reader.fields(message, &slots, &mut out);
    Ok((out, reader.collector.finish()))
}

struct Reader<'s> {
    schema: &'s Schema,
    collector: Collector,
    /// Number of the request's own field that is being read.
    position: u32,
    /// What stands before the name of a nested field, with its dot.
    path: String,
    depth: usize,
}

impl Reader<'_> {
    fn query<'a>(&mut self, message: &Message, binding: &Binding, query: &'a str, slots: &mut [Slot<'a>]) {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (raw_name, raw_value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = text::percent_decode(raw_name, Plus::IsSpace).unwrap_or(Cow::Borrowed(raw_name));
            let index = message.index_of(&name).filter(|index| binding.in_query(*index));
            let found = index.and_then(|index| Some((message.fields.get(index)?, slots.get_mut(index)?)));
            let Some((field, slot)) = found else {
                self.collector.unknown(&name);
                continue;
            };
            let value = text::percent_decode(raw_value, Plus::IsSpace).map_or(Value::Broken, Value::Query);
            if field.shape == Shape::Single {
                slot.give(value);
            } else {
                slot.add(value);
            }
        }
    }

    fn body<'a>(
        &mut self,
        message: &Message,
        binding: &Binding,
        rule: &BodyRule,
        bytes: &'a [u8],
        slots: &mut [Slot<'a>],
    ) -> Result<(), &'static str> {
        let json = std::str::from_utf8(bytes).map_err(|_| reason::BODY_UTF8)?;
        match rule {
            BodyRule::None => Ok(()),
            BodyRule::Whole => self
                .object(message, json, &|index| binding.in_body(index), slots)
                .map_err(|_: serde_json::Error| reason::BODY_OBJECT),
            BodyRule::Field(index) => {
                let raw: &'a RawValue = serde_json::from_str(json).map_err(|_| reason::BODY_OBJECT)?;
                match (Value::of(raw), slots.get_mut(*index)) {
                    (object @ Value::Object(_), Some(slot)) => {
                        slot.give(object);
                        Ok(())
                    }
                    _ => Err(reason::BODY_OBJECT),
                }
            }
        }
    }

    /// Sorts the members of a JSON object into slots. Unknown ones are found at once.
    fn object<'a>(
        &mut self,
        message: &Message,
        json: &'a str,
        allowed: &dyn Fn(usize) -> bool,
        slots: &mut [Slot<'a>],
    ) -> Result<(), serde_json::Error> {
        let mut parser = serde_json::Deserializer::from_str(json);
        let collector = &mut self.collector;
        Members { message, allowed, slots, collector, path: &self.path }.deserialize(&mut parser)?;
        parser.end()
    }

    /// Writes the fields that have come, in the order of their numbers.
    fn fields(&mut self, message: &Message, slots: &[Slot<'_>], out: &mut Vec<u8>) {
        let mut chosen: Vec<&str> = Vec::new();
        for (field, slot) in message.fields.iter().zip(slots) {
            if self.depth == 0 {
                self.position = field.number;
            }
            if let (Some(oneof), Slot::One(value)) = (&field.oneof, slot)
                && !matches!(value, Value::Null)
            {
                if chosen.contains(&oneof.as_str()) {
                    self.found(field, Cow::Borrowed(reason::ALTERNATIVES));
                    continue;
                }
                chosen.push(oneof);
            }
            let length = out.len();
            if let Err(reason) = self.field(field, slot, out) {
                out.truncate(length);
                self.found(field, reason);
            }
        }
    }

    fn found(&mut self, field: &Field, reason: Reason) {
        let name = format!("{}{}", self.path, field.name);
        self.collector.known(self.position, name, reason);
    }

    fn field(&mut self, field: &Field, slot: &Slot<'_>, out: &mut Vec<u8>) -> Result<(), Reason> {
        match slot {
            Slot::Absent | Slot::One(Value::Null) => Ok(()),
            Slot::Twice => Err(Cow::Borrowed(reason::DUPLICATE_FIELD)),
            // In a query an empty value is an absent one, whatever the field.
            Slot::One(Value::Query(text)) if text.is_empty() => Ok(()),
            Slot::Many(values) => {
                let mut given = values.iter().filter(|value| !matches!(value, Value::Query(text) if text.is_empty()));
                given.try_for_each(|value| self.value(field, field.number, value, out))
            }
            Slot::One(value) => match &field.shape {
                Shape::Single => self.value(field, field.number, value, out),
                Shape::List => self.list(field, value, out),
                Shape::Map(key) => self.map(field, key, value, out),
            },
        }
    }

    fn list(&mut self, field: &Field, value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), Reason> {
        let Value::List(json) = value else { return Err(Cow::Borrowed(reason::LIST)) };
        let elements: Vec<&RawValue> = serde_json::from_str(json).map_err(|_| reason::LIST)?;
        let length = self.path.len();
        for (place, element) in elements.into_iter().enumerate() {
            let named = NamedElement { field: &field.name, place: &place };
            let read = self.nested_value(field, field.number, &Value::of(element), &named, out);
            self.path.truncate(length);
            read?;
        }
        Ok(())
    }

    fn map(&mut self, field: &Field, key_kind: &Kind, value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), Reason> {
        let Value::Object(json) = value else { return Err(Cow::Borrowed(reason::OBJECT)) };
        let entries: Entries<'_> = serde_json::from_str(json).map_err(|_| reason::OBJECT)?;
        let mut seen = HashSet::new();
        let length = self.path.len();
        for (key, raw) in entries.0 {
            let mut entry = Vec::new();
            // The keys of a JSON object are strings, whatever they stand for.
            value::put(&mut entry, 1, key_kind, None, &Value::Query(Cow::Borrowed(&key)))?;
            let named = NamedElement { field: &field.name, place: &key };
            let read = self.nested_value(field, 2, &Value::of(raw), &named, &mut entry);
            self.path.truncate(length);
            read?;
            wire::put(out, field.number, Wire::Bytes(&entry));
            if !seen.insert(key) {
                return Err(Cow::Borrowed(reason::DUPLICATE_FIELD));
            }
        }
        Ok(())
    }

    /// One value, as field `number`.
    fn value(&mut self, field: &Field, number: u32, value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), Reason> {
        self.nested_value(field, number, value, &field.name, out)
    }

    /// The same for an element of a list or map, which has a name of its own.
    fn nested_value(
        &mut self,
        field: &Field,
        number: u32,
        value: &Value<'_>,
        name: &dyn fmt::Display,
        out: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        let Kind::Message(id) = field.kind else {
            return value::put(out, number, &field.kind, field.range.as_ref(), value);
        };
        let Value::Object(json) = value else { return Err(Cow::Borrowed(reason::OBJECT)) };
        let length = self.path.len();
        self.path = format!("{}{name}.", self.path);
        let mut inner = Vec::new();
        let read = self.message(id, json, &mut inner);
        self.path.truncate(length);
        read?;
        wire::put(out, number, Wire::Bytes(&inner));
        Ok(())
    }

    fn message(&mut self, id: MessageId, json: &str, out: &mut Vec<u8>) -> Result<(), Reason> {
        if self.depth >= DEPTH_MAX {
            return Err(Cow::Borrowed(reason::TOO_DEEP));
        }
        let schema = self.schema;
        let message = schema.message(id);
        let mut slots = vec![Slot::Absent; message.fields.len()];
        self.object(message, json, &|_| true, &mut slots).map_err(|_| reason::OBJECT)?;
        self.depth = self.depth.saturating_add(1);
        self.fields(message, &slots, out);
        self.depth = self.depth.saturating_sub(1);
        Ok(())
    }
}

impl<'a> Slot<'a> {
    fn give(&mut self, value: Value<'a>) {
        *self = match self {
            Self::Absent => Self::One(value),
            Self::One(_) | Self::Many(_) | Self::Twice => Self::Twice,
        };
    }

    fn add(&mut self, value: Value<'a>) {
        match self {
            Self::Many(values) => values.push(value),
            Self::Absent | Self::One(_) | Self::Twice => *self = Self::Many(vec![value]),
        }
    }
}

/// `items[2]`, as a finding names it.
struct NamedElement<'a> {
    field: &'a str,
    place: &'a dyn fmt::Display,
}

impl fmt::Display for NamedElement<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}[{:.2$}]", self.field, self.place, NAME_CHARACTERS_MAX)
    }
}

/// Reads the members of one JSON object.
struct Members<'r, 'a> {
    message: &'r Message,
    allowed: &'r dyn Fn(usize) -> bool,
    slots: &'r mut [Slot<'a>],
    collector: &'r mut Collector,
    path: &'r str,
}

impl<'a> DeserializeSeed<'a> for Members<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Members<'_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { message, allowed, slots, collector, path } = self;
        while let Some(index) = members.next_key_seed(Name { message, allowed, collector, path })? {
            let raw: &'a RawValue = members.next_value()?;
            if let Some(slot) = index.and_then(|index| slots.get_mut(index)) {
                slot.give(Value::of(raw));
            }
        }
        Ok(())
    }
}

/// Looks a name up without copying it.
struct Name<'r> {
    message: &'r Message,
    allowed: &'r dyn Fn(usize) -> bool,
    collector: &'r mut Collector,
    path: &'r str,
}

impl<'a> DeserializeSeed<'a> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, parser: D) -> Result<Option<usize>, D::Error> {
        parser.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a field name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Option<usize>, E> {
        let index = self.message.index_of(name).filter(|index| (self.allowed)(*index));
        if index.is_none() {
            if self.path.is_empty() {
                self.collector.unknown(name);
            } else {
                self.collector.unknown(&format!("{}{name}", self.path));
            }
        }
        Ok(index)
    }
}

/// The members of a map, as they came.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(parser: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'a> Visitor<'a> for Collect {
            type Value = Entries<'a>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<Entries<'a>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = members.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        parser.deserialize_map(Collect)
    }
}
