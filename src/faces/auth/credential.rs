//! Where a request carries what its caller is known by.
//!
//! Invariant: one credential in one place. Two of a kind, one of each, an empty one, or an `authorization` of another
//! scheme is unclear, and an unclear one is refused even where a part of it would do: whoever put it there meant
//! somebody.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The header, and the metadata key, that carries an API key.
pub const API_KEY_HEADER: &str = "x-api-key";
const API_KEY: HeaderName = HeaderName::from_static(API_KEY_HEADER);
/// Longest API key: `onbill key new` makes 47 bytes, and configurations may hold digests of others.
const KEY_BYTES_MAX: usize = 1_024;
/// The scheme of `authorization` (RFC 6750); its case does not count.
const BEARER: &str = "bearer";

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credential<'a> {
    /// Nothing.
    None,
    /// An API key.
    Key(&'a [u8]),
    /// A bearer token.
    Token(&'a [u8]),
    /// Something that is none of these, or more than one.
    Unclear,
}

/// Reads it off the headers.
pub(super) fn of(headers: &HeaderMap) -> Credential<'_> {
    match (sent(headers, &API_KEY), sent(headers, &AUTHORIZATION)) {
        (Sent::Nothing, Sent::Nothing) => Credential::None,
        (Sent::One(key), Sent::Nothing) if (1..=KEY_BYTES_MAX).contains(&key.len()) => Credential::Key(key.as_bytes()),
        (Sent::Nothing, Sent::One(authorization)) => {
            token(authorization.as_bytes()).map_or(Credential::Unclear, Credential::Token)
        }
        (_, _) => Credential::Unclear,
    }
}

/// What a header was sent as.
enum Sent<'a> {
    Nothing,
    One(&'a HeaderValue),
    Many,
}

fn sent<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Sent<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Sent::Nothing,
        (Some(value), None) => Sent::One(value),
        (Some(_), Some(_)) => Sent::Many,
    }
}

fn token(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = authorization.split_at_checked(BEARER.len())?;
    let token = rest.strip_prefix(b" ")?.trim_ascii();
    // What a token may be made of (RFC 6750, section 2.1): nothing that would join two of them.
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    (scheme.eq_ignore_ascii_case(BEARER.as_bytes()) && !token.is_empty() && token.iter().all(is_token)).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_credential_in_one_place_and_nothing_else() {
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        for (sent, expected) in [
            (vec![], Credential::None),
            (vec![("x-api-key", "k")], Credential::Key(b"k")),
            (vec![("x-api-key", "")], Credential::Unclear),
            (vec![("x-api-key", long.as_str())], Credential::Unclear),
            (vec![("x-api-key", "k"), ("x-api-key", "k")], Credential::Unclear),
            (vec![("x-api-key", "k"), ("authorization", "Bearer t")], Credential::Unclear),
            (vec![("x-api-key", "k"), ("authorization", "Basic t")], Credential::Unclear),
            (vec![("authorization", "Bearer t.t-_.t")], Credential::Token(b"t.t-_.t")),
            (vec![("authorization", "bEARER  t")], Credential::Token(b"t")),
            (vec![("authorization", "Bearer t"), ("authorization", "Bearer t")], Credential::Unclear),
            (vec![("authorization", "Bearer t, Bearer u")], Credential::Unclear),
            (vec![("authorization", "Bearer t u")], Credential::Unclear),
            (vec![("authorization", "Bearer")], Credential::Unclear),
            (vec![("authorization", "Bearer ")], Credential::Unclear),
            (vec![("authorization", "Bearert")], Credential::Unclear),
            (vec![("authorization", "Basic t")], Credential::Unclear),
            (vec![("authorization", "t")], Credential::Unclear),
            (vec![("authorization", "")], Credential::Unclear),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in &sent {
                headers.append(*name, value.parse().expect("a value"));
            }
            assert_eq!(of(&headers), expected, "{sent:?}");
        }
    }
}
