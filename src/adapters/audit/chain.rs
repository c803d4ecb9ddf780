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
/// Room for most lines.
const TEXT_BYTES: usize = 512;
/// Digits of a hash.
const DIGITS: usize = 64;

/// A line's hash.
pub(super) type Hash = [u8; 32];

pub(super) fn to_hex(hash: &Hash) -> String {
    const DIGIT: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGIT.get(usize::from(nibble)).copied().unwrap_or_default();
    hash.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
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

/// The text of an entry, without its hash. It is written as it is read, member by member: there is one for each charge.
pub(super) fn body(seq: u64, at: Time, entry: &Entry) -> String {
    let mut text = String::with_capacity(TEXT_BYTES);
    let (kind, name) = match &entry.who {
        Who::Partner(id) => ("partner:", id.as_str()),
        Who::Operator(name) => ("operator:", &**name),
        Who::Gateway => ("gateway", ""),
        Who::Nobody => ("nobody", ""),
    };
    // Writing to a text cannot fail.
    let _ = write!(text, r#"{{"seq":{seq},"at":"{at:.3}""#);
    member(&mut text, "who", &[kind, name]);
    member(&mut text, "what", &[&entry.what]);
    member(&mut text, "outcome", &[&entry.outcome]);
    for (name, value) in &entry.details {
        member(&mut text, name, &[value]);
    }
    text.push('}');
    text
}

/// One member: a name of ours, and a text in pieces.
fn member(text: &mut String, name: &str, pieces: &[&str]) {
    text.push_str(",\"");
    text.push_str(name);
    text.push_str("\":\"");
    for piece in pieces {
        let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
        if piece.bytes().all(is_plain) {
            text.push_str(piece);
        } else {
            let quoted = Value::from(*piece).to_string();
            text.push_str(quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default());
        }
    }
    text.push('"');
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
    fn whatever_an_entry_says_is_one_json_object_that_says_it() {
        for said in ["", "plain", "\"", "\"\"", "a\"b\\c", "\n\u{7}\u{1f}", "ä😀", "\\\"", "{},:"] {
            let entry = Entry {
                who: Who::Operator(said.into()),
                what: said.to_owned().into(),
                outcome: said.to_owned().into(),
                details: vec![("one", said.to_owned()), ("other", said.to_owned())],
            };
            let read: Value = serde_json::from_str(&body(1, Time::UNIX_EPOCH, &entry)).expect("JSON");
            let expected = serde_json::json!({
                "seq": 1, "at": "1970-01-01T00:00:00.000Z", "who": format!("operator:{said}"), "what": said,
                "outcome": said, "one": said, "other": said,
            });
            assert_eq!(read, expected, "{said:?}");
        }
    }

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
