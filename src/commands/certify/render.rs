//! Answers as texts that can be laid side by side.
//!
//! Invariant: what should be and what was are written in the same form, line for line, so that a line that differs is a
//! difference. Masking is the caller's matter.

use std::fmt::Write as _;

use super::answer::{Answer, Body, Expected};
use super::check::is_time;
use super::document::Document;
use super::faces::Face;
use super::values::TIME;

/// What an answer must be. A time is written as it came where its form is right, so that the lines agree.
#[must_use]
pub fn expected(face: Face, expected: &Expected, answer: &Answer) -> String {
    let body = expected.body.as_ref().map(|body| with_time(body, answer.body.document()));
    lines(face, expected, body)
}

/// What an answer that did not come should have been.
#[must_use]
pub fn expected_alone(face: Face, expected: &Expected) -> String {
    lines(face, expected, expected.body.as_ref().map(|body| with_time(body, None)))
}

fn lines(face: Face, expected: &Expected, body: Option<Document>) -> String {
    let mut text = status_line(face, &expected.status);
    for (name, rule) in &expected.headers {
        let _ = write!(text, "\n{name}: {rule}");
    }
    let body = body.map_or_else(|| "(empty body)".to_owned(), |body| body.pretty());
    format!("{text}\n\n{body}")
}

/// What it was: status, the headers that matter, body.
#[must_use]
pub fn actual(face: Face, expected: &Expected, answer: &Answer) -> String {
    let mut text = status_line(face, &answer.status);
    for (name, rule) in &expected.headers {
        let value = answer.headers.get(name).map(String::as_str);
        let shown = if rule.allows(value) { rule.to_string() } else { value.unwrap_or("(absent)").to_owned() };
        let _ = write!(text, "\n{name}: {shown}");
    }
    let body = match &answer.body {
        Body::Empty => "(empty body)".to_owned(),
        Body::Document(document) => document.pretty(),
        Body::Unreadable(text) => text.clone(),
    };
    format!("{text}\n\n{body}")
}

fn status_line(face: Face, status: &str) -> String {
    match face {
        Face::Json => format!("HTTP {status}"),
        Face::Grpc => format!("gRPC {status}"),
    }
}

fn with_time(wanted: &Document, found: Option<&Document>) -> Document {
    match wanted {
        Document::Text(text) if text == TIME => match found {
            Some(Document::Text(time)) if is_time(time) => Document::from(time.as_str()),
            _ => Document::from("(a time such as 2020-05-18T15:05:03Z)"),
        },
        Document::Object(members) => Document::Object(
            members
                .iter()
                .map(|(key, value)| (key.clone(), with_time(value, found.and_then(|found| found.get(key)))))
                .collect(),
        ),
        _ => wanted.clone(),
    }
}
