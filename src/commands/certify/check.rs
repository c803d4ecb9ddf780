//! Compares an answer with what it should be.
//!
//! Invariant: every difference is found, not only the first, and each says where it is. Whether a difference fails a
//! case is not decided here.

use serde::Serialize;

use super::answer::{Answer, Body, Expected};
use super::document::Document;
use super::values::TIME;

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where: `status`, `header idempotency-replayed`, `body.message`, `bill`, `inbox`.
    pub at: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub actual: String,
}

impl Difference {
    /// A difference at `at`.
    #[must_use]
    pub fn new(at: impl Into<String>, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self { at: at.into(), expected: expected.into(), actual: actual.into() }
    }
}

const NOT_THERE: &str = "(absent)";

/// Every difference of an answer: status, headers, body.
#[must_use]
pub fn compare(expected: &Expected, actual: &Answer) -> Vec<Difference> {
    let mut differences = Vec::new();
    if expected.status != actual.status {
        differences.push(Difference::new("status", &expected.status, &actual.status));
    }
    for (name, rule) in &expected.headers {
        let value = actual.headers.get(name).map(String::as_str);
        if !rule.allows(value) {
            differences.push(Difference::new(format!("header {name}"), rule.to_string(), value.unwrap_or(NOT_THERE)));
        }
    }
    match (&expected.body, &actual.body) {
        (None, Body::Empty) => {}
        (None, body) => differences.push(Difference::new("body", "(empty)", shown(body))),
        (Some(wanted), Body::Document(found)) => compare_documents("body", wanted, found, &mut differences),
        (Some(wanted), body) => differences.push(Difference::new("body", wanted.compact(), shown(body))),
    }
    differences
}

/// The loose comparison of steps that only prepare: success is success, and a transaction has the wanted status.
#[must_use]
pub fn compare_loosely(expected: &Expected, actual: &Answer) -> Vec<Difference> {
    let mut differences = Vec::new();
    if class(&expected.status) != class(&actual.status) {
        differences.push(Difference::new("status", &expected.status, &actual.status));
    }
    let wanted = expected.body.as_ref().and_then(|body| body.get("status"));
    let found = actual.body.document().and_then(|body| body.get("status"));
    if class(&expected.status) == "success" && wanted != found {
        let text = |status: Option<&Document>| status.map_or_else(|| NOT_THERE.to_owned(), Document::compact);
        differences.push(Difference::new("body.status", text(wanted), text(found)));
    }
    differences
}

/// Success, or whose fault it is.
fn class(status: &str) -> &str {
    match status.as_bytes() {
        [b'2', _, _] | b"OK" => "success",
        [b'4', _, _] | b"INVALID_ARGUMENT" | b"NOT_FOUND" | b"FAILED_PRECONDITION" | b"ALREADY_EXISTS" => "refusal",
        _ => status,
    }
}

/// A body as text.
#[must_use]
pub fn shown(body: &Body) -> String {
    match body {
        Body::Empty => "(empty)".to_owned(),
        Body::Document(document) => document.compact(),
        Body::Unreadable(text) => format!("(not JSON) {text}"),
    }
}

/// Every difference of two documents, below `at`.
pub fn compare_documents(at: &str, wanted: &Document, found: &Document, differences: &mut Vec<Difference>) {
    match (wanted, found) {
        (Document::Object(wanted), Document::Object(found)) => compare_objects(at, wanted, found, differences),
        (Document::List(wanted), Document::List(found)) => {
            for position in 0..wanted.len().max(found.len()) {
                let at = format!("{at}[{position}]");
                compare_members(&at, wanted.get(position), found.get(position), differences);
            }
        }
        (Document::Text(text), Document::Text(time)) if text == TIME => {
            if !is_time(time) {
                differences.push(Difference::new(at, "a time such as 2020-05-18T15:05:03Z", found.compact()));
            }
        }
        _ if wanted == found => {}
        _ => differences.push(Difference::new(at, wanted.compact(), found.compact())),
    }
}

fn compare_objects(
    at: &str,
    wanted: &[(String, Document)],
    found: &[(String, Document)],
    differences: &mut Vec<Difference>,
) {
    let before = differences.len();
    for (key, value) in wanted {
        let there = found.iter().find(|(name, _)| name == key).map(|(_, value)| value);
        compare_members(&format!("{at}.{key}"), Some(value), there, differences);
    }
    for (position, (key, value)) in found.iter().enumerate() {
        let seen_before = found.iter().take(position).any(|(name, _)| name == key);
        if seen_before {
            differences.push(Difference::new(format!("{at}.{key}"), "(once)", format!("again: {}", value.compact())));
        } else if !wanted.iter().any(|(name, _)| name == key) {
            compare_members(&format!("{at}.{key}"), None, Some(value), differences);
        }
    }
    let same_keys = wanted.len() == found.len() && differences.len() == before;
    if same_keys && wanted.iter().zip(found).any(|((wanted, _), (found, _))| wanted != found) {
        differences.push(Difference::new(format!("{at} (order of keys)"), keys(wanted), keys(found)));
    }
}

fn compare_members(at: &str, wanted: Option<&Document>, found: Option<&Document>, differences: &mut Vec<Difference>) {
    match (wanted, found) {
        (Some(wanted), Some(found)) => compare_documents(at, wanted, found, differences),
        (Some(wanted), None) => differences.push(Difference::new(at, wanted.compact(), NOT_THERE)),
        (None, Some(found)) => differences.push(Difference::new(at, NOT_THERE, found.compact())),
        (None, None) => {}
    }
}

fn keys(members: &[(String, Document)]) -> String {
    members.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(", ")
}

/// Whole seconds of UTC, as `2020-05-18T15:05:03Z`, and a time that exists.
#[must_use]
pub fn is_time(text: &str) -> bool {
    let form = "dddd-dd-ddTdd:dd:ddZ";
    text.len() == form.len()
        && text
            .bytes()
            .zip(form.bytes())
            .all(|(byte, form)| if form == b'd' { byte.is_ascii_digit() } else { byte == form })
        && text.parse::<jiff::Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::super::answer::HeaderRule;
    use super::*;

    fn differences(wanted: &str, found: &str) -> Vec<(String, String, String)> {
        let parse = |text: &str| Document::parse(text.as_bytes()).expect("JSON");
        let mut differences = Vec::new();
        compare_documents("body", &parse(wanted), &parse(found), &mut differences);
        differences.into_iter().map(|d| (d.at, d.expected, d.actual)).collect()
    }

    #[test]
    fn each_kind_of_difference_is_found_where_it_is() {
        let wanted = r#"{"a":"1","b":[{"c":"2"}]}"#;
        for (found, at) in [
            (r#"{"a":"1.","b":[{"c":"2"}]}"#, "body.a"),
            (r#"{"a":1,"b":[{"c":"2"}]}"#, "body.a"),
            (r#"{"b":[{"c":"2"}]}"#, "body.a"),
            (r#"{"a":"1","b":[{"c":"2"}],"d":null}"#, "body.d"),
            (r#"{"a":"1","b":[{"c":"2"}],"a":"1"}"#, "body.a"),
            (r#"{"b":[{"c":"2"}],"a":"1"}"#, "body (order of keys)"),
            (r#"{"a":"1","b":[{"c":"3"}]}"#, "body.b[0].c"),
            (r#"{"a":"1","b":[]}"#, "body.b[0]"),
            (r#"{"a":"1","b":[{"c":"2"},{}]}"#, "body.b[1]"),
            (r#"["a"]"#, "body"),
        ] {
            let found_differences = differences(wanted, found);
            assert_eq!(found_differences.iter().map(|d| d.0.as_str()).collect::<Vec<_>>(), [at], "{found}");
        }
        assert_eq!(differences(wanted, wanted), []);
    }

    #[test]
    fn a_time_is_compared_by_its_form() {
        for (time, holds) in [
            ("2020-05-18T15:05:03Z", true),
            ("2020-05-18T15:05:03.5Z", false),
            ("2020-05-18T15:05:03+00:00", false),
            ("2020-13-18T15:05:03Z", false),
            ("now", false),
        ] {
            let found = format!(r#"{{"at":"{time}"}}"#);
            assert_eq!(differences(r#"{"at":"{time}"}"#, &found).is_empty(), holds, "{time}");
        }
    }

    #[test]
    fn headers_follow_their_rules() {
        let json = HeaderRule::MediaType("application/json".to_owned());
        for (rule, value, holds) in [
            (HeaderRule::from_case("present"), Some("x"), true),
            (HeaderRule::from_case("present"), Some(""), false),
            (HeaderRule::from_case("present"), None, false),
            (HeaderRule::from_case("absent"), None, true),
            (HeaderRule::from_case("absent"), Some("false"), true),
            (HeaderRule::from_case("absent"), Some("true"), false),
            (HeaderRule::from_case("true"), Some("true"), true),
            (HeaderRule::from_case("true"), Some("True"), false),
            (json.clone(), Some("application/json; charset=utf-8"), true),
            (json, Some("text/json"), false),
        ] {
            assert_eq!(rule.allows(value), holds, "{rule} {value:?}");
        }
    }

    #[test]
    fn a_preparation_is_judged_by_its_outcome_alone() {
        let answer = |status: &str, body: &str| Answer {
            status: status.to_owned(),
            headers: BTreeMap::new(),
            body: Body::Document(Document::parse(body.as_bytes()).expect("JSON")),
            bytes: Bytes::new(),
            come_back_after: None,
            remarks: Vec::new(),
        };
        let body = Document::parse(br#"{"status":"Success","description":"Charge success"}"#).expect("JSON");
        let expected = Expected { status: "200".to_owned(), headers: BTreeMap::new(), body: Some(body) };
        for (status, body, holds) in [
            ("200", r#"{"status":"Success","description":"other"}"#, true),
            ("201", r#"{"status":"Success"}"#, true),
            ("200", r#"{"status":"Pending"}"#, false),
            ("400", r#"{"code":"x"}"#, false),
        ] {
            assert_eq!(compare_loosely(&expected, &answer(status, body)).is_empty(), holds, "{status} {body}");
        }
    }
}
