//! The compact form of a signed token: three parts in base64url.
//!
//! Invariant: what is read here is not yet believed. A header with `crit` asks for something that we do not do, so it is
//! refused; so is one that says a thing twice, and a part that is not exactly base64url without padding.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::TOKEN_BYTES_MAX;

/// A token in its parts.
pub(super) struct Jws<'a> {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    /// In lower case, without `application/`: media types have no case.
    pub(super) typ: Option<String>,
    /// What is signed: header, dot, payload, as they came.
    pub(super) signed: &'a [u8],
    pub(super) signature: Vec<u8>,
    payload: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
    enc: Option<IgnoredAny>,
    zip: Option<IgnoredAny>,
}

impl<'a> Jws<'a> {
    /// Takes a token apart; `None` where it is none.
    pub(super) fn read(token: &'a [u8]) -> Option<Self> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let last = token.iter().rposition(|byte| *byte == b'.')?;
        let first = token.iter().position(|byte| *byte == b'.')?;
        let (signed, signature) = (token.get(..last)?, token.get(last.checked_add(1)?..)?);
        let (header, payload) = (signed.get(..first)?, signed.get(first.checked_add(1)?..)?);
        // A dot within a part is no base64url, so there are exactly three.
        let decoded = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).ok().filter(|bytes| !bytes.is_empty());
        let header: Header = serde_json::from_slice(&decoded(header)?).ok()?;
        if header.crit.is_some() || header.enc.is_some() || header.zip.is_some() {
            return None;
        }
        let typ = header.typ.map(|typ| typ.to_ascii_lowercase());
        let typ = typ.map(|typ| typ.strip_prefix("application/").map_or(typ.clone(), str::to_owned));
        let (payload, signature) = (decoded(payload)?, decoded(signature)?);
        Some(Self { alg: header.alg, kid: header.kid, typ, signed, signature, payload })
    }

    /// What it says: a JSON object.
    pub(super) fn payload(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.payload).ok().filter(serde_json::Value::is_object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, payload: &str, signature: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", part(header), part(payload), part(signature))
    }

    #[test]
    fn a_token_is_three_parts_and_nothing_else() {
        let good = token(r#"{"alg":"RS256","kid":"1","typ":"application/AT+JWT"}"#, r#"{"a":1}"#, "s");
        let read = Jws::read(good.as_bytes()).expect("a token");
        assert_eq!((read.alg.as_str(), read.kid.as_deref(), read.typ.as_deref()), ("RS256", Some("1"), Some("at+jwt")));
        assert!(good.as_bytes().starts_with(read.signed) && read.signature == b"s" && read.payload().is_some());
        for bad in [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            "...".to_owned(),
            "a.b".to_owned(),
            format!("{good}."),
            format!("{good}.x"),
            format!(".{good}"),
            format!("{good}="),
            format!("{good} "),
            good.replace('.', "+"),
            token("", "{}", "s"),
            token("{}", "{}", "s"),
            token("[]", "{}", "s"),
            token(r#"{"alg":"none"}"#, "{}", ""),
            token(r#"{"alg":1}"#, "{}", "s"),
            token(r#"{"alg":"RS256","alg":"none"}"#, "{}", "s"),
            token(r#"{"alg":"RS256","crit":["b64"],"b64":false}"#, "{}", "s"),
            token(r#"{"alg":"RS256","zip":"DEF"}"#, "{}", "s"),
            token(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#, "{}", "s"),
            token(r#"{"alg":"RS256"}"#, &"x".repeat(TOKEN_BYTES_MAX), "s"),
        ] {
            assert!(Jws::read(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn what_it_says_is_a_json_object() {
        for payload in ["1", "\"a\"", "[]", "null", "{", "{} {}", "{\"a\":1,}"] {
            let made = token(r#"{"alg":"RS256"}"#, payload, "s");
            assert!(Jws::read(made.as_bytes()).expect("a token").payload().is_none(), "{payload}");
        }
    }
}
