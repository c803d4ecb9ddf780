//! Documents to protobuf messages and back, by descriptor.
//!
//! Invariant: a document that came from a message shows all of it: fields in the order of their numbers under their
//! JSON names, empty ones too unless they are optional, and unknown ones as `#<number>`.

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};

use super::super::document::Document;

const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// The request and answer types of a method such as `/onbill.v1.PinService/SendPin`.
///
/// # Errors
/// The method that the descriptors do not have.
pub fn types(pool: &DescriptorPool, path: &str) -> Result<(MessageDescriptor, MessageDescriptor), String> {
    let unknown = || format!("{path}: no such method in the descriptors");
    let (service, method) = path.trim_start_matches('/').split_once('/').ok_or_else(unknown)?;
    let service = pool.get_service_by_name(service).ok_or_else(unknown)?;
    let method = service.methods().find(|candidate| candidate.name() == method).ok_or_else(unknown)?;
    Ok((method.input(), method.output()))
}

/// The message that a document stands for; `null` is absent.
///
/// # Errors
/// The field that the message does not have, or cannot hold.
pub fn encode(descriptor: MessageDescriptor, document: &Document) -> Result<Bytes, String> {
    let mut message = DynamicMessage::new(descriptor);
    for (key, value) in document.members() {
        let descriptor = message.descriptor();
        let field = descriptor.get_field_by_json_name(key).ok_or_else(|| format!("no field {key}"))?;
        let value = match (value, field.kind()) {
            (Document::Null, _) => continue,
            (Document::Text(text), Kind::String) => Value::String(text.clone()),
            (Document::Number(number), Kind::Int32) => {
                let number = number.as_i64().and_then(|number| i32::try_from(number).ok());
                Value::I32(number.ok_or_else(|| format!("{key}: no int32"))?)
            }
            _ => return Err(format!("{key}: cannot hold {}", value.compact())),
        };
        message.set_field(&field, value);
    }
    Ok(Bytes::from(message.encode_to_vec()))
}

/// The document that a message stands for.
///
/// # Errors
/// Why the bytes are no such message.
pub fn decode(descriptor: MessageDescriptor, bytes: &Bytes) -> Result<Document, String> {
    DynamicMessage::decode(descriptor, bytes.clone())
        .map(|message| document(&message))
        .map_err(|error| format!("no protobuf message: {error}"))
}

fn document(message: &DynamicMessage) -> Document {
    if message.descriptor().full_name() == TIMESTAMP {
        return timestamp(message);
    }
    let mut fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
    fields.sort_by_key(FieldDescriptor::number);
    let mut members: Vec<(String, Document)> = fields
        .into_iter()
        .filter(|field| !field.supports_presence() || message.has_field(field))
        .map(|field| (field.json_name().to_owned(), value(&message.get_field(&field))))
        .collect();
    members.extend(message.unknown_fields().map(|field| (format!("#{}", field.number()), Document::Null)));
    Document::Object(members)
}

fn value(value: &Value) -> Document {
    match value {
        Value::Bool(value) => Document::Bool(*value),
        Value::I32(number) | Value::EnumNumber(number) => Document::Number((*number).into()),
        Value::U32(number) => Document::Number((*number).into()),
        // Protobuf's JSON form writes 64-bit integers as strings.
        Value::I64(number) => Document::Text(number.to_string()),
        Value::U64(number) => Document::Text(number.to_string()),
        Value::F32(number) => float(f64::from(*number)),
        Value::F64(number) => float(*number),
        Value::String(text) => Document::Text(text.clone()),
        Value::Bytes(bytes) => Document::Text(format!("{} bytes", bytes.len())),
        Value::Message(message) => document(message),
        Value::List(items) => Document::List(items.iter().map(self::value).collect()),
        Value::Map(entries) => Document::Text(format!("a map of {}", entries.len())),
    }
}

fn float(number: f64) -> Document {
    serde_json::Number::from_f64(number).map_or(Document::Null, Document::Number)
}

/// As JSON writes it, with a fraction only where there is one.
fn timestamp(message: &DynamicMessage) -> Document {
    let number = |name: &str| message.get_field_by_name(name).map(std::borrow::Cow::into_owned);
    let seconds = number("seconds").and_then(|value| value.as_i64()).unwrap_or_default();
    let nanos = number("nanos").and_then(|value| value.as_i32()).unwrap_or_default();
    match jiff::Timestamp::new(seconds, nanos) {
        Ok(time) => Document::Text(time.to_string()),
        Err(_) => Document::Text(format!("no time: {seconds} s {nanos} ns")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faces::pb;

    fn pool() -> DescriptorPool {
        DescriptorPool::decode(pb::DESCRIPTORS).expect("descriptors")
    }

    #[test]
    fn a_request_is_written_field_by_field_and_null_is_absent() {
        let (input, _) = types(&pool(), "/onbill.v1.TransactionService/CreateTransaction").expect("method");
        let request = br#"{"extTransactionId":"a","accountId":null,"amount":"-9.99","referenceId":""}"#;
        let bytes = encode(input, &Document::parse(request).expect("JSON")).expect("a message");
        let message = pb::v1::CreateTransactionRequest::decode(bytes).expect("the same message");
        assert_eq!((message.ext_transaction_id.as_str(), message.amount.as_str()), ("a", "-9.99"));
        assert_eq!(message.reference_id.as_deref(), Some(""));
        assert_eq!(message.account_id, "");
    }

    #[test]
    fn an_answer_shows_empty_unknown_and_timed_fields() {
        let (_, output) = types(&pool(), "/onbill.v1.TransactionService/GetTransaction").expect("method");
        let answer = pb::v1::GetTransactionResponse {
            charge_date: Some(prost_types::Timestamp { seconds: 1_589_814_303, nanos: 0 }),
            amount: "1500.0".to_owned(),
            ..Default::default()
        };
        let mut bytes = answer.encode_to_vec();
        bytes.extend([0x98, 0x06, 0x01]);
        let document = decode(output.clone(), &bytes.into()).expect("a message");
        let wanted = concat!(
            r##"{"chargeDate":"2020-05-18T15:05:03Z","currency":"","amount":"1500.0","message":"","status":"","##,
            r##""#99":null}"##
        );
        assert_eq!(document.compact(), wanted);
        assert!(decode(output, &Bytes::from_static(&[0xff])).is_err());
    }
}
