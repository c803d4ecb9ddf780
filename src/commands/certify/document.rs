//! A JSON document that keeps what other readers throw away: the order of keys, and keys that come twice.
//!
//! Invariant: two documents are equal only where a caller would read the same keys in the same order with the same
//! types; white space and the way a character is escaped do not count. Nothing here knows what a document means.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(serde_json::Number),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Document>),
    /// An object: keys in the order they came, repeated ones included.
    Object(Vec<(String, Document)>),
}

impl Document {
    /// Reads a whole JSON text.
    ///
    /// # Errors
    /// Where it is no JSON; the text says where.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The value of the first such key, if this is an object that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Document> {
        self.members().iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The text of a string.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text of the first such key; empty where there is none.
    #[must_use]
    pub fn text_at(&self, key: &str) -> String {
        self.get(key).and_then(Self::text).unwrap_or_default().to_owned()
    }

    /// The members of an object; none of anything else.
    #[must_use]
    pub fn members(&self) -> &[(String, Document)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    /// The items of an array; none of anything else.
    #[must_use]
    pub fn items(&self) -> &[Document] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// Takes the first such key out of an object.
    pub fn take(&mut self, key: &str) -> Option<Document> {
        let Self::Object(members) = self else { return None };
        let position = members.iter().position(|(name, _)| name == key)?;
        Some(members.remove(position).1)
    }

    /// The same document with every string (not the keys) passed through `change`.
    ///
    /// # Errors
    /// The first that `change` gives.
    pub fn map_text<E>(&self, change: &mut dyn FnMut(&str) -> Result<String, E>) -> Result<Self, E> {
        Ok(match self {
            Self::Text(text) => Self::Text(change(text)?),
            Self::List(items) => Self::List(items.iter().map(|item| item.map_text(change)).collect::<Result<_, E>>()?),
            Self::Object(members) => Self::Object(
                members
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), value.map_text(change)?)))
                    .collect::<Result<_, E>>()?,
            ),
            Self::Null | Self::Bool(_) | Self::Number(_) => self.clone(),
        })
    }

    /// An object from pairs.
    #[must_use]
    pub fn object<const N: usize>(members: [(&str, Document); N]) -> Self {
        Self::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Written on one line.
    #[must_use]
    pub fn compact(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Written with one member a line.
    #[must_use]
    pub fn pretty(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

impl From<&str> for Document {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(members) => serializer.collect_map(members.iter().map(|(key, value)| (key, value))),
        }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DocumentVisitor)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Document;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Document, E> {
        Ok(Document::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Document, E> {
        Ok(Document::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Document, E> {
        Ok(Document::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Document, E> {
        Ok(Document::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Document, E> {
        Ok(serde_json::Number::from_f64(value).map_or(Document::Null, Document::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Document, E> {
        Ok(Document::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Document, E> {
        Ok(Document::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Document, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Document::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Document::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Document {
        Document::parse(text.as_bytes()).expect("JSON")
    }

    #[test]
    fn order_types_and_repeated_keys_count_and_white_space_does_not() {
        assert_eq!(parse(r#"{"a":"1","b":[true,null]}"#), parse("{ \"a\" : \"1\",\n\"b\":[true , null] }"));
        assert_eq!(parse(r#"{"a":"é"}"#), parse(r#"{"a":"\u00e9"}"#));
        assert_ne!(parse(r#"{"a":"1","b":"2"}"#), parse(r#"{"b":"2","a":"1"}"#));
        assert_ne!(parse(r#"{"a":"1"}"#), parse(r#"{"a":1}"#));
        assert_ne!(parse(r#"{"a":"1"}"#), parse(r#"{"a":"1","a":"1"}"#));
        assert_ne!(parse(r#"{"a":"1"}"#), parse(r#"{"a":"1","b":null}"#));
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_end_the_process() {
        assert!(Document::parse("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn writing_gives_back_what_was_read() {
        let text = r#"{"b":"2","a":["x",1,{"c":null}],"a":false}"#;
        assert_eq!(parse(text).compact(), text);
    }
}
