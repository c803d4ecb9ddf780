//! The outcome as JSON.
//!
//! Invariant: every field of the outcome and nothing else, so that a program can do what the page does.

use super::super::verdict::Outcome;

/// The outcome as JSON, indented.
#[must_use]
pub fn render(outcome: &Outcome) -> String {
    serde_json::to_string_pretty(outcome).unwrap_or_default()
}
