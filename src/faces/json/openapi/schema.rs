//! JSON Schemas of messages, parameters and headers.
//!
//! Invariant: what a schema allows, the face can read; what it forbids, the face or the domain refuses. So an optional
//! field of a request may be null, an optional query parameter may be empty, and a decimal may be a number, here as
//! there.

use prost_reflect::{Cardinality, DescriptorPool, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::comments::Comments;
use crate::faces::json::JsonFaceError;
use crate::faces::json::schema::{FIELD_RULE, field_rule};
use crate::faces::pb::v1::FieldRule;

/// Whether a message comes in or goes out: what must be there differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Answer,
}

/// Named schemas, each made once.
#[derive(Debug)]
pub(super) struct Components<'c> {
    comments: &'c Comments,
    rule: Option<ExtensionDescriptor>,
    made: Vec<(MessageDescriptor, Direction, String)>,
    schemas: Map<String, Value>,
}

impl<'c> Components<'c> {
    pub(super) fn new(pool: &DescriptorPool, comments: &'c Comments) -> Self {
        Self { comments, rule: pool.get_extension_by_name(FIELD_RULE), made: Vec::new(), schemas: Map::new() }
    }

    /// All that were made.
    pub(super) fn finish(self) -> Map<String, Value> {
        self.schemas
    }

    /// A reference to the schema of a message.
    pub(super) fn reference(
        &mut self,
        message: &MessageDescriptor,
        direction: Direction,
    ) -> Result<Value, JsonFaceError> {
        let known = self.made.iter().find(|(known, way, _)| known == message && *way == direction);
        let name = match known {
            Some((_, _, name)) => name.clone(),
            None => self.make(message, direction)?,
        };
        Ok(json!({ "$ref": format!("#/components/schemas/{name}") }))
    }

    fn make(&mut self, message: &MessageDescriptor, direction: Direction) -> Result<String, JsonFaceError> {
        let package = format!("{}.", message.package_name());
        let mut name = message.full_name().strip_prefix(&package).unwrap_or(message.full_name()).to_owned();
        while self.schemas.contains_key(&name) {
            name.push_str("Answer");
        }
        // Named before it is made, so that a message may hold itself.
        self.made.push((message.clone(), direction, name.clone()));
        self.schemas.insert(name.clone(), Value::Null);
        let schema = self.object(message, direction, &|_| true)?;
        self.schemas.insert(name.clone(), schema);
        Ok(name)
    }

    /// The schema of a message, or of those fields of it that `holds` says.
    pub(super) fn object(
        &mut self,
        message: &MessageDescriptor,
        direction: Direction,
        holds: &dyn Fn(&FieldDescriptor) -> bool,
    ) -> Result<Value, JsonFaceError> {
        let mut fields: Vec<_> = message.fields().collect();
        fields.sort_by_key(FieldDescriptor::number);
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for field in fields.iter().filter(|field| holds(field)) {
            let rule = field_rule(self.rule.as_ref(), field)?;
            if direction == Direction::Answer && !rule.header.is_empty() {
                continue;
            }
            let is_required = match direction {
                Direction::Request => rule.required,
                Direction::Answer => rule.required || !field.supports_presence(),
            };
            let mut schema = self.field(field, &rule, direction)?;
            if direction == Direction::Request && !rule.required {
                allow_null(&mut schema, field.supports_presence());
            }
            describe(&mut schema, self.comments.without_example(&field.parent_message().parent_file(), field.path()));
            properties.insert(field.json_name().to_owned(), schema);
            if is_required {
                required.push(field.json_name().to_owned());
            }
        }
        let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        if let (false, Some(schema)) = (required.is_empty(), schema.as_object_mut()) {
            schema.insert("required".to_owned(), json!(required));
        }
        describe(&mut schema, self.comments.of_path(&message.parent_file(), message.path()));
        Ok(schema)
    }

    /// A parameter of a path or query.
    pub(super) fn parameter(&mut self, field: &FieldDescriptor, place: &str) -> Result<Value, JsonFaceError> {
        let rule = field_rule(self.rule.as_ref(), field)?;
        let mut schema = self.field(field, &rule, Direction::Request)?;
        let is_required = place == "path" || rule.required;
        let mut text = self.comments.without_example(&field.parent_message().parent_file(), field.path());
        if !is_required {
            allow_empty(&mut schema);
            text.push_str(" Empty is the same as absent.");
        }
        if let (true, Some(schema)) = (place == "path", schema.as_object_mut()) {
            schema.entry("minLength").or_insert_with(|| json!(1));
        }
        Ok(json!({
            "name": field.json_name(),
            "in": place,
            "description": text.trim_start(),
            "required": is_required,
            "schema": schema,
        }))
    }

    /// The headers that carry fields of an answer.
    pub(super) fn headers(&mut self, message: &MessageDescriptor) -> Result<Map<String, Value>, JsonFaceError> {
        let mut headers = Map::new();
        for field in message.fields() {
            let rule = field_rule(self.rule.as_ref(), &field)?;
            if !rule.header.is_empty() {
                let schema = self.field(&field, &rule, Direction::Answer)?;
                let text = self.comments.without_example(&message.parent_file(), field.path());
                let is_required = !field.supports_presence();
                let header = json!({ "description": text, "required": is_required, "schema": schema });
                headers.insert(rule.header.clone(), header);
            }
        }
        Ok(headers)
    }

    /// A request made of the examples of its fields; none where no field has one.
    pub(super) fn example(&mut self, message: &MessageDescriptor) -> Result<Option<Value>, JsonFaceError> {
        let mut example = Map::new();
        for field in message.fields() {
            let rule = field_rule(self.rule.as_ref(), &field)?;
            if !rule.example.is_empty() {
                example.insert(field.json_name().to_owned(), example_value(&rule.example, &field.kind()));
            }
        }
        Ok((!example.is_empty()).then_some(Value::Object(example)))
    }

    fn field(
        &mut self,
        field: &FieldDescriptor,
        rule: &FieldRule,
        direction: Direction,
    ) -> Result<Value, JsonFaceError> {
        let kind = field.kind();
        if let (true, Some(entry)) = (field.is_map(), kind.as_message()) {
            let values = self.value(&entry.map_entry_value_field(), rule, direction)?;
            return Ok(json!({ "type": "object", "additionalProperties": values }));
        }
        let value = self.value(field, rule, direction)?;
        if field.cardinality() == Cardinality::Repeated {
            return Ok(json!({ "type": "array", "items": value }));
        }
        Ok(value)
    }

    fn value(
        &mut self,
        field: &FieldDescriptor,
        rule: &FieldRule,
        direction: Direction,
    ) -> Result<Value, JsonFaceError> {
        let mut schema = match field.kind() {
            Kind::Double | Kind::Float => json!({ "type": ["number", "string"], "pattern": "^(NaN|-?Infinity)$" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => integer(rule, i64::from(i32::MIN), i64::from(i32::MAX)),
            Kind::Uint32 | Kind::Fixed32 => integer(rule, 0, i64::from(u32::MAX)),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => integer_64(direction, "^-?(0|[1-9][0-9]{0,18})$"),
            Kind::Uint64 | Kind::Fixed64 => integer_64(direction, "^(0|[1-9][0-9]{0,19})$"),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => string(rule, direction),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Enum(values) => {
                json!({ "enum": values.values().map(|value| value.name().to_owned()).collect::<Vec<_>>() })
            }
            Kind::Message(message) => match message.full_name() {
                "google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
                "google.protobuf.Duration" => {
                    json!({ "type": "string", "pattern": "^-?[0-9]{1,12}(\\.[0-9]{1,9})?s$" })
                }
                name if name.starts_with("google.protobuf.") && name.ends_with("Value") => {
                    let inner = message.fields().next();
                    let inner = inner.map(|inner| self.value(&inner, rule, direction)).transpose()?;
                    return Ok(inner.unwrap_or(Value::Bool(true)));
                }
                _ => self.reference(&message, direction)?,
            },
        };
        if let (false, Some(schema)) = (rule.example.is_empty(), schema.as_object_mut()) {
            schema.insert("examples".to_owned(), json!([example_value(&rule.example, &field.kind())]));
        }
        Ok(schema)
    }
}

fn integer(rule: &FieldRule, least: i64, greatest: i64) -> Value {
    let is_bounded = rule.minimum != 0 || rule.maximum != 0;
    let minimum = if is_bounded { rule.minimum } else { least };
    let maximum = if rule.maximum == 0 { greatest } else { rule.maximum };
    json!({ "type": "integer", "minimum": minimum, "maximum": maximum })
}

/// Printed as a string; read from either.
fn integer_64(direction: Direction, pattern: &str) -> Value {
    match direction {
        Direction::Request => json!({ "type": ["integer", "string"], "pattern": pattern }),
        Direction::Answer => json!({ "type": "string", "pattern": pattern }),
    }
}

fn string(rule: &FieldRule, direction: Direction) -> Value {
    let mut schema = Map::new();
    let is_either = rule.decimal && direction == Direction::Request;
    schema.insert("type".to_owned(), if is_either { json!(["string", "number"]) } else { json!("string") });
    if !rule.values.is_empty() {
        schema.insert("enum".to_owned(), json!(rule.values));
    }
    if !rule.pattern.is_empty() {
        schema.insert("pattern".to_owned(), json!(rule.pattern));
    }
    // What is required must not be empty either (contract section 2).
    let is_required = direction == Direction::Request && rule.required;
    if rule.length_min > 0 || is_required {
        schema.insert("minLength".to_owned(), json!(rule.length_min.max(u32::from(is_required))));
    }
    if rule.length_max > 0 {
        schema.insert("maxLength".to_owned(), json!(rule.length_max));
    }
    Value::Object(schema)
}

/// The example of an integer or boolean is one, not its text.
fn example_value(example: &str, kind: &Kind) -> Value {
    match kind {
        Kind::Int32
        | Kind::Sint32
        | Kind::Sfixed32
        | Kind::Uint32
        | Kind::Fixed32
        | Kind::Bool
        | Kind::Double
        | Kind::Float => serde_json::from_str(example).unwrap_or_else(|_| json!(example)),
        _ => json!(example),
    }
}

/// Lets a value also be null; and a word also be empty where that cannot be told from absent.
fn allow_null(schema: &mut Value, has_presence: bool) {
    let Some(object) = schema.as_object_mut() else { return };
    if object.contains_key("$ref") {
        *schema = json!({ "anyOf": [schema.clone(), { "type": "null" }] });
        return;
    }
    match object.get_mut("type") {
        Some(Value::Array(types)) => types.push(json!("null")),
        Some(only) => *only = json!([only.clone(), "null"]),
        None => {}
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.extend((!has_presence).then(|| json!("")));
        values.push(Value::Null);
    }
}

/// Lets a query parameter also be empty.
fn allow_empty(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    let is_free = object.keys().all(|key| ["type", "examples", "maxLength"].contains(&key.as_str()));
    if object.get("type") == Some(&json!("string")) && is_free {
        return;
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.push(json!(""));
        return;
    }
    // The examples stay outside, where readers of the document look for them.
    let examples = object.shift_remove("examples");
    *schema = json!({ "anyOf": [schema.clone(), { "const": "" }] });
    if let (Some(examples), Some(schema)) = (examples, schema.as_object_mut()) {
        schema.insert("examples".to_owned(), examples);
    }
}

fn describe(schema: &mut Value, text: String) {
    if let (false, Some(schema)) = (text.is_empty(), schema.as_object_mut()) {
        schema.insert("description".to_owned(), Value::String(text));
    }
}
