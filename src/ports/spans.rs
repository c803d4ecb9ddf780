//! The port of traces: spans that have ended go here.
//!
//! Invariant: nothing here waits. What does not fit is dropped and counted by whoever is behind it, so that no charge is
//! slower for a collector that is. A span holds names and codes; whoever makes one leaves addresses and PINs out.

use std::borrow::Cow;
use std::time::Duration;

/// On which side of a call a span stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The call came in here.
    Server,
    /// The call goes out from here.
    Client,
    /// It is this program's own work.
    Own,
}

/// What a span tells of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Whole(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Whole(number)
    }
}

/// A span that has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// What was done.
    pub name: Cow<'static, str>,
    /// On which side.
    pub side: Side,
    /// The trace that it belongs to.
    pub trace_id: u128,
    /// Its own id.
    pub span_id: u64,
    /// The span that it is part of; `None`: it is the first of its trace.
    pub parent_id: Option<u64>,
    /// When it began, in nanoseconds since 1970.
    pub began_unix_ns: u64,
    /// How long it took.
    pub took: Duration,
    /// What else is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed, where it did.
    pub failed: Option<Cow<'static, str>>,
}

/// Where spans go.
pub trait Spans: Send + Sync {
    /// Whether a trace is recorded about which nobody has decided yet. The answer is the same for one id everywhere.
    fn samples(&self, trace_id: u128) -> bool;

    /// An id that no other span has. Never 0.
    fn fresh_id(&self) -> u64;

    /// The time, in nanoseconds since 1970.
    fn now_unix_ns(&self) -> u64;

    /// Takes a span that has ended. Never waits.
    fn take(&self, span: Ended);
}
