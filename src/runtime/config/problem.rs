//! What is wrong with a configuration, one line for each thing.
//!
//! Invariant: a problem names the key, says what is allowed and where the value came from, and never shows a value
//! that may be a key of a partner. What is allowed is decided in `schema.rs` and in the checks, not here.

use std::fmt;

use serde::Serialize;

/// One thing that keeps the gateway from starting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The key, as a file would spell it: `server.deadline_max_ms`. `None` where the file as a whole is the problem.
    pub key: Option<String>,
    /// Where the value came from: a file, an environment variable, an option. `None` where there is no value.
    pub origin: Option<String>,
    /// What is wrong, and what is allowed.
    pub text: String,
}

/// Always one line, so that a list of problems can be read and searched line by line.
impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            write!(formatter, "{key}: ")?;
        }
        formatter.write_str(&self.text)?;
        match &self.origin {
            Some(origin) => write!(formatter, " (from {origin})"),
            None => Ok(()),
        }
    }
}

/// Everything that keeps the gateway from starting, at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

/// One line for each.
impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{problem}")?;
        }
        Ok(())
    }
}

/// A key from its segments, quoted where TOML would quote: `partner.demo-ott.product."a.b".charge_codes.sandbox`.
#[must_use]
pub fn key_text<S: AsRef<str>>(path: &[S]) -> String {
    let bare =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let segments = path.iter().map(AsRef::as_ref);
    let quoted = segments.map(|segment| if bare(segment) { segment.to_owned() } else { format!("{segment:?}") });
    quoted.collect::<Vec<_>>().join(".")
}
