//! One line of the audit log, and what binds it to the one before.
//!
//! Invariant: a line is a JSON object whose last member is its hash: SHA-256 over the hash of the line before and the text
//! of this one without that member. So a line that was changed, moved or taken out breaks the chain there.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::domain::Time;
use crate::ports::audit::{Entry, Who};

/// The hash before the first line of all.
pub(super) const GENESIS: Hash = [0; 32];
/// What stands before the hash in a line.
const BEFORE_HASH: &[u8] = b",\"hash\":\"";
/// What stands after it.
const AFTER_HASH: &[u8] = b"\"}";
/// Digits of a hash.
const DIGITS: usize = 64;

/// A line's hash.
pub(super) type Hash = [u8; 32];

pub(super) fn to_hex(hash: &Hash) -> String {
    hash.iter().fold(String::with_capacity(DIGITS), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn from_hex(text: &str) -> Option<Hash> {
    let digits = text.as_bytes();
    let is_hex = digits.len() == DIGITS && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if !is_hex {
        return None;
    }
    let mut hash = GENESIS;
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

fn link(previous: &Hash, body: &[u8]) -> Hash {
    Sha256::new().chain_update(previous).chain_update(body).finalize().into()
}

/// The text of an entry, without its hash.
pub(super) fn body(seq: u64, at: Time, entry: &Entry) -> String {
    let mut members = Map::new();
    members.insert("seq".to_owned(), seq.into());
    members.insert("at".to_owned(), format!("{at:.3}").into());
    let who = match &entry.who {
        Who::Partner(id) => format!("partner:{id}"),
        Who::Operator(name) => format!("operator:{name}"),
        Who::Gateway => "gateway".to_owned(),
        Who::Nobody => "nobody".to_owned(),
    };
    members.insert("who".to_owned(), who.into());
    members.insert("what".to_owned(), entry.what.as_ref().into());
    members.insert("outcome".to_owned(), entry.outcome.as_ref().into());
    for (name, value) in &entry.details {
        members.insert((*name).to_owned(), value.as_str().into());
    }
    Value::Object(members).to_string()
}

/// Appends the line of a text, with its end, and answers its hash.
pub(super) fn append(line: &mut Vec<u8>, previous: &Hash, body: &str) -> Hash {
    let hash = link(previous, body.as_bytes());
    let open = body.strip_suffix('}').unwrap_or(body);
    line.extend_from_slice(open.as_bytes());
    line.extend_from_slice(BEFORE_HASH);
    line.extend_from_slice(to_hex(&hash).as_bytes());
    line.extend_from_slice(AFTER_HASH);
    line.push(b'\n');
    hash
}

/// A line as it was read.
#[derive(Debug)]
pub(super) struct Read {
    /// What it says.
    pub members: Map<String, Value>,
    /// The hash that it bears.
    pub hash: Hash,
    body: Vec<u8>,
}

impl Read {
    /// Reads a line without its end. `None`: it is none.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let rest = line.strip_suffix(AFTER_HASH)?;
        let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
        let open = rest.strip_suffix(BEFORE_HASH)?;
        let body = [open, b"}"].concat();
        let members = serde_json::from_slice::<Map<String, Value>>(&body).ok()?;
        let hash = from_hex(std::str::from_utf8(digits).ok()?)?;
        Some(Self { members, hash, body })
    }

    /// Whether its hash is that of its text after this one.
    pub(super) fn follows(&self, previous: &Hash) -> bool {
        link(previous, &self.body) == self.hash
    }

    /// Its number.
    pub(super) fn seq(&self) -> Option<u64> {
        self.members.get("seq")?.as_u64()
    }

    /// A text that it says.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name)?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::PartnerId;

    #[test]
    fn a_line_is_json_and_is_read_back_as_it_was_written() {
        let entry = Entry {
            who: Who::Partner(PartnerId::new("demo")),
            what: "SendPin".into(),
            outcome: "ok".into(),
            details: vec![("address", "****01".to_owned())],
        };
        let text = body(7, Time::UNIX_EPOCH, &entry);
        let mut line = Vec::new();
        let hash = append(&mut line, &GENESIS, &text);
        let json: Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(json["hash"], to_hex(&hash));
        assert_eq!(json["who"], "partner:demo");
        let read = Read::of(line.trim_ascii_end()).expect("a line");
        assert!(read.follows(&GENESIS) && !read.follows(&hash));
        assert_eq!((read.seq(), read.text("address")), (Some(7), Some("****01")));
        for changed in [7, 20, 60] {
            let mut other = line.trim_ascii_end().to_vec();
            other[changed] ^= 1;
            assert!(Read::of(&other).is_none_or(|read| !read.follows(&GENESIS)), "byte {changed}");
        }
    }
}
