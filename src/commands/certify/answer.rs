//! An answer as a client of either face sees it, and what one should look like.
//!
//! Invariant: both faces are compared in one form (status, headers, body), so that no check is written twice. How an
//! answer is fetched, and what an expectation is made from, is the matter of each face.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::document::Document;

/// What came back from a call.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `200`, or a gRPC status such as `NOT_FOUND`.
    pub status: String,
    /// Headers or initial metadata, by their lower-case names; on gRPC also fields that are headers on JSON.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Body,
    /// The body's own bytes: a repeat must give the same.
    pub bytes: Bytes,
    /// Seconds after which to come back, where the gateway had no room for the call.
    pub come_back_after: Option<Duration>,
    /// What is not as the contract says, but decides nothing.
    pub remarks: Vec<String>,
}

/// What an answer holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Nothing.
    Empty,
    /// A document; on gRPC a message or an error written as one.
    Document(Document),
    /// Something else, as text.
    Unreadable(String),
}

impl Body {
    /// The document, if it is one.
    #[must_use]
    pub const fn document(&self) -> Option<&Document> {
        match self {
            Self::Document(document) => Some(document),
            Self::Empty | Self::Unreadable(_) => None,
        }
    }
}

/// What an answer must be.
#[derive(Debug, Clone)]
pub struct Expected {
    /// As [`Answer::status`].
    pub status: String,
    /// Rules for headers, by their lower-case names.
    pub headers: BTreeMap<String, HeaderRule>,
    /// The document, or nothing.
    pub body: Option<Document>,
}

/// What a header must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderRule {
    /// There, and not empty.
    Present,
    /// Not there, or saying no.
    AbsentOr(String),
    /// This very value.
    Is(String),
    /// This media type, with or without parameters.
    MediaType(String),
}

impl HeaderRule {
    /// The rule that a case writes as `present`, `absent` or a value.
    #[must_use]
    pub fn from_case(text: &str) -> Self {
        match text {
            "present" => Self::Present,
            "absent" => Self::AbsentOr("false".to_owned()),
            value => Self::Is(value.to_owned()),
        }
    }

    /// Whether a value, or its absence, is as the rule says.
    #[must_use]
    pub fn allows(&self, value: Option<&str>) -> bool {
        match self {
            Self::Present => value.is_some_and(|value| !value.is_empty()),
            Self::AbsentOr(other) => value.is_none_or(|value| value == other),
            Self::Is(wanted) => value == Some(wanted),
            Self::MediaType(wanted) => value
                .and_then(|value| value.split(';').next())
                .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(wanted)),
        }
    }
}

impl fmt::Display for HeaderRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => formatter.write_str("(any value)"),
            Self::AbsentOr(_) => formatter.write_str("(absent)"),
            Self::Is(value) | Self::MediaType(value) => formatter.write_str(value),
        }
    }
}

/// Why a call has no answer. It says nothing about the gateway, so that a case may be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// No connection came about: nothing was sent.
    NotConnected(String),
    /// The connection broke before the answer was complete.
    Lost(String),
    /// Nothing came within the time-out.
    TimedOut(Duration),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected(why) => write!(formatter, "no connection: {why}"),
            Self::Lost(why) => write!(formatter, "connection lost: {why}"),
            Self::TimedOut(after) => write!(formatter, "no answer within {} s", after.as_secs_f32()),
        }
    }
}

/// The innermost cause of an error: what people can act on.
#[must_use]
pub fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
