//! Message tables: what reading and writing JSON need of a message, compiled once at start.
//!
//! Invariant: the fields of a message stand in the order of their numbers, and every index and id inside the tables
//! was made by the same [`Builder`]. On the path of a request nothing looks into a descriptor again.
//! Any, Struct, Value, ListValue, FieldMask and groups are deliberately not there: a request with one could not be
//! checked field by field, so an RPC that has one stops the start.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderName;
use prost_reflect::{Cardinality, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, MessageDescriptor};

use super::JsonFaceError;
use crate::faces::pb::v1::FieldRule;

/// The extension that holds a [`FieldRule`].
pub(super) const FIELD_RULE: &str = "onbill.v1.field";

/// Where a message stands in its [`Schema`].
pub(super) type MessageId = usize;

/// All messages that some route needs.
#[derive(Debug)]
pub(super) struct Schema {
    messages: Vec<Message>,
}

impl Schema {
    /// The message with this id.
    pub(super) fn message(&self, id: MessageId) -> &Message {
        self.messages.get(id).expect("an id is only made together with its message")
    }
}

/// One message.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// In the order of their numbers.
    pub(super) fields: Vec<Field>,
    /// JSON name and index, sorted by name.
    names: Vec<(String, usize)>,
}

impl Message {
    /// The index of the field with this JSON name. Proto names are not known here.
    pub(super) fn index_of(&self, name: &str) -> Option<usize> {
        let found = self.names.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        self.names.get(found).map(|(_, index)| *index)
    }

    /// The index of the field with this number.
    pub(super) fn index_of_number(&self, number: u32) -> Option<usize> {
        self.fields.binary_search_by_key(&number, |field| field.number).ok()
    }
}

/// One field.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    /// Its name in JSON.
    pub(super) name: String,
    /// `"name":`, as it is printed.
    pub(super) key: String,
    pub(super) shape: Shape,
    pub(super) kind: Kind,
    pub(super) presence: Presence,
    /// Which oneof of its message it belongs to.
    pub(super) oneof: Option<String>,
    /// The header that carries it in an answer, in place of the body.
    pub(super) header: Option<HeaderName>,
    /// The bounds that the refusal of a wrong integer names.
    pub(super) range: Option<Range>,
}

/// How often a field occurs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// At most once.
    Single,
    /// As a JSON list.
    List,
    /// As a JSON object; the kind is that of the keys, the field's own kind that of the values.
    Map(Kind),
}

/// Whether an absent field can be told from an empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// No: it is printed even when it is empty.
    Implicit,
    /// Yes (`optional`, a message, part of a oneof): it is left out when it is absent.
    Explicit,
}

/// Bounds of an integer, as `reason::between` names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) minimum: i64,
    pub(super) maximum: i64,
    pub(super) suffix: String,
}

/// What one value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    /// A string that holds a decimal number; in JSON it may be a number as well.
    Decimal,
    Bytes,
    Enum(Arc<Vec<EnumValue>>),
    Message(MessageId),
    Timestamp,
    Duration,
    /// `google.protobuf.*Value`: a scalar that can be absent.
    Wrapper(Box<Kind>),
}

/// One value of an enum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnumValue {
    pub(super) name: String,
    pub(super) number: i32,
}

/// Compiles messages, each once.
#[derive(Debug)]
pub(super) struct Builder {
    messages: Vec<Message>,
    ids: HashMap<String, MessageId>,
    rule: Option<ExtensionDescriptor>,
}

impl Builder {
    /// `rule` is the extension that holds a [`FieldRule`], where the descriptors have one.
    pub(super) fn new(rule: Option<ExtensionDescriptor>) -> Self {
        Self { messages: Vec::new(), ids: HashMap::new(), rule }
    }

    /// The tables so far.
    pub(super) fn finish(self) -> Schema {
        Schema { messages: self.messages }
    }

    /// A message compiled before.
    pub(super) fn message(&self, id: MessageId) -> &Message {
        self.messages.get(id).expect("an id is only made together with its message")
    }

    /// Compiles this message and all that it holds.
    pub(super) fn compile(&mut self, descriptor: &MessageDescriptor) -> Result<MessageId, JsonFaceError> {
        if let Some(id) = self.ids.get(descriptor.full_name()) {
            return Ok(*id);
        }
        // The id is known before the fields are, so that a message may hold itself.
        let id = self.messages.len();
        self.messages.push(Message::default());
        self.ids.insert(descriptor.full_name().to_owned(), id);
        let mut descriptors: Vec<_> = descriptor.fields().collect();
        descriptors.sort_by_key(FieldDescriptor::number);
        let mut fields = Vec::with_capacity(descriptors.len());
        for field in &descriptors {
            fields.push(self.field(field)?);
        }
        let mut names: Vec<_> = fields.iter().enumerate().map(|(index, field)| (field.name.clone(), index)).collect();
        names.sort();
        if let Some(message) = self.messages.get_mut(id) {
            *message = Message { fields, names };
        }
        Ok(id)
    }

    fn field(&mut self, descriptor: &FieldDescriptor) -> Result<Field, JsonFaceError> {
        let rule = field_rule(self.rule.as_ref(), descriptor)?;
        let (shape, kind) = if descriptor.is_map() {
            let entry = descriptor.kind();
            let entry = entry.as_message().ok_or_else(|| unsupported(descriptor))?;
            let key = self.kind(&entry.map_entry_key_field(), &FieldRule::default())?;
            (Shape::Map(key), self.kind(&entry.map_entry_value_field(), &rule)?)
        } else if descriptor.cardinality() == Cardinality::Repeated {
            (Shape::List, self.kind(descriptor, &rule)?)
        } else {
            (Shape::Single, self.kind(descriptor, &rule)?)
        };
        let presence = if descriptor.supports_presence() { Presence::Explicit } else { Presence::Implicit };
        let oneof = descriptor.containing_oneof().filter(|oneof| !oneof.is_synthetic());
        let name = descriptor.json_name().to_owned();
        let header = match rule.header.as_str() {
            "" => None,
            text => Some(header_name(text, &shape, &kind).ok_or_else(|| unsupported(descriptor))?),
        };
        Ok(Field {
            number: descriptor.number(),
            key: format!("{}:", serde_json::Value::from(name.as_str())),
            name,
            range: range(&rule, &kind),
            shape,
            kind,
            presence,
            oneof: oneof.map(|oneof| oneof.name().to_owned()),
            header,
        })
    }

    fn kind(&mut self, descriptor: &FieldDescriptor, rule: &FieldRule) -> Result<Kind, JsonFaceError> {
        if descriptor.is_group() {
            return Err(unsupported(descriptor));
        }
        Ok(match descriptor.kind() {
            prost_reflect::Kind::Double => Kind::Double,
            prost_reflect::Kind::Float => Kind::Float,
            prost_reflect::Kind::Int32 => Kind::Int32,
            prost_reflect::Kind::Int64 => Kind::Int64,
            prost_reflect::Kind::Uint32 => Kind::Uint32,
            prost_reflect::Kind::Uint64 => Kind::Uint64,
            prost_reflect::Kind::Sint32 => Kind::Sint32,
            prost_reflect::Kind::Sint64 => Kind::Sint64,
            prost_reflect::Kind::Fixed32 => Kind::Fixed32,
            prost_reflect::Kind::Fixed64 => Kind::Fixed64,
            prost_reflect::Kind::Sfixed32 => Kind::Sfixed32,
            prost_reflect::Kind::Sfixed64 => Kind::Sfixed64,
            prost_reflect::Kind::Bool => Kind::Bool,
            prost_reflect::Kind::String if rule.decimal => Kind::Decimal,
            prost_reflect::Kind::String => Kind::String,
            prost_reflect::Kind::Bytes => Kind::Bytes,
            prost_reflect::Kind::Enum(values) => Kind::Enum(Arc::new(enum_values(&values))),
            prost_reflect::Kind::Message(message) => match message.full_name() {
                "google.protobuf.Timestamp" => Kind::Timestamp,
                "google.protobuf.Duration" => Kind::Duration,
                name => match wrapped(name) {
                    Some(kind) => Kind::Wrapper(Box::new(kind)),
                    None if UNSUPPORTED.contains(&name) => return Err(unsupported(descriptor)),
                    None => Kind::Message(self.compile(&message)?),
                },
            },
        })
    }
}

/// Messages whose JSON form is not that of their fields, and that no rule here could check.
const UNSUPPORTED: [&str; 5] = [
    "google.protobuf.Any",
    "google.protobuf.Struct",
    "google.protobuf.Value",
    "google.protobuf.ListValue",
    "google.protobuf.FieldMask",
];

/// The [`FieldRule`] of a field; an empty one where it has none.
pub(super) fn field_rule(
    extension: Option<&ExtensionDescriptor>,
    descriptor: &FieldDescriptor,
) -> Result<FieldRule, JsonFaceError> {
    let Some(extension) = extension else { return Ok(FieldRule::default()) };
    match descriptor.options().get_extension(extension).as_message() {
        Some(rule) => rule.transcode_to().map_err(|source| JsonFaceError::Option {
            place: descriptor.full_name().to_owned(),
            source: source.into(),
        }),
        None => Ok(FieldRule::default()),
    }
}

fn wrapped(name: &str) -> Option<Kind> {
    Some(match name {
        "google.protobuf.DoubleValue" => Kind::Double,
        "google.protobuf.FloatValue" => Kind::Float,
        "google.protobuf.Int64Value" => Kind::Int64,
        "google.protobuf.UInt64Value" => Kind::Uint64,
        "google.protobuf.Int32Value" => Kind::Int32,
        "google.protobuf.UInt32Value" => Kind::Uint32,
        "google.protobuf.BoolValue" => Kind::Bool,
        "google.protobuf.StringValue" => Kind::String,
        "google.protobuf.BytesValue" => Kind::Bytes,
        _ => return None,
    })
}

fn enum_values(descriptor: &EnumDescriptor) -> Vec<EnumValue> {
    descriptor.values().map(|value| EnumValue { name: value.name().to_owned(), number: value.number() }).collect()
}

/// Only a single string or number can travel in a header.
fn header_name(text: &str, shape: &Shape, kind: &Kind) -> Option<HeaderName> {
    let fits = *shape == Shape::Single
        && !matches!(kind, Kind::Message(_) | Kind::Wrapper(_) | Kind::Bytes | Kind::Float | Kind::Double);
    HeaderName::try_from(text).ok().filter(|_| fits)
}

fn range(rule: &FieldRule, kind: &Kind) -> Option<Range> {
    if rule.minimum == 0 && rule.maximum == 0 {
        return None;
    }
    let greatest = match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => i64::from(i32::MAX),
        Kind::Uint32 | Kind::Fixed32 => i64::from(u32::MAX),
        _ => i64::MAX,
    };
    let maximum = if rule.maximum == 0 { greatest } else { rule.maximum };
    Some(Range { minimum: rule.minimum, maximum, suffix: rule.range_suffix.clone() })
}

fn unsupported(descriptor: &FieldDescriptor) -> JsonFaceError {
    JsonFaceError::Field(descriptor.full_name().to_owned())
}
