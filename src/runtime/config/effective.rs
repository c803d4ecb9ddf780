//! The configuration in effect, as the start log shows it.
//!
//! Invariant: every setting is in it, with where it came from, and no secret is: keys are not in the configuration at
//! all, and of their digests only the beginning is shown.

use std::fmt::{self, Write as _};

use figment::value::{Dict, Value};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::layers::Layers;
use super::problem::key_text;
use super::schema::{self, Allowed, Place};
use super::tables::Tables;
use crate::domain::webhook::SECRET_PREFIX;

/// Digits of a digest that are shown.
const DIGEST_SHOWN: usize = 8;

/// One setting in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value as a file would spell it, digests shortened.
    pub value: String,
    /// Where it came from.
    pub origin: String,
}

/// All settings in effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Effective(pub Vec<Entry>);

impl Effective {
    /// Reads the settings off the tables.
    #[must_use]
    pub fn of(tables: &Tables, layers: &Layers) -> Self {
        let mut entries = Vec::new();
        let values = Value::serialize(tables).ok().and_then(Value::into_dict).unwrap_or_default();
        collect(&mut Vec::new(), &values, layers, &mut entries);
        Self(entries)
    }
}

impl Effective {
    /// A digest of all settings: two gateways, or two starts, that say the same have the same settings. Secrets are not
    /// in it.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for entry in &self.0 {
            digest.update(format!("{} = {}\n", entry.key, entry.value));
        }
        digest.finalize().iter().take(DIGEST_SHOWN).fold(String::new(), |mut text, byte| {
            // Writing to a text cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// One line for each, with its origin as a comment.
impl fmt::Display for Effective {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Entry { key, value, origin } in &self.0 {
            writeln!(formatter, "{key} = {value}  # {origin}")?;
        }
        Ok(())
    }
}

fn collect(path: &mut Vec<String>, values: &Dict, layers: &Layers, entries: &mut Vec<Entry>) {
    for (key, value) in values {
        path.push(key.clone());
        match (value, schema::place(path)) {
            // A key without a value: there is nothing in effect.
            (Value::Empty(..), _) => {}
            (_, Place::Value(allowed)) => {
                let origin = layers.origin(path).unwrap_or_else(|| "default".to_owned());
                entries.push(Entry { key: key_text(path), value: shown(allowed, value), origin });
            }
            (Value::Dict(_, inner), _) => collect(path, inner, layers, entries),
            (_, Place::Table(_) | Place::Nothing) => {}
        }
        path.pop();
    }
}

fn shown(allowed: Allowed, value: &Value) -> String {
    let text = |value: &Value| serde_json::to_string(value).unwrap_or_default();
    if allowed == Allowed::Secrets {
        let count = value.as_array().unwrap_or_default().len();
        return format!("[{}]", vec![format!("\"{SECRET_PREFIX}…\""); count].join(","));
    }
    if let (Allowed::Digest, Some(digest)) = (allowed, value.as_str()) {
        return format!("\"{}…\"", digest.get(..DIGEST_SHOWN).unwrap_or_default());
    }
    if allowed != Allowed::Digests {
        return text(value);
    }
    let digests = value.as_array().unwrap_or_default().iter().filter_map(Value::as_str);
    let shortened: Vec<_> =
        digests.map(|digest| format!("\"{}…\"", digest.get(..DIGEST_SHOWN).unwrap_or_default())).collect();
    format!("[{}]", shortened.join(","))
}
