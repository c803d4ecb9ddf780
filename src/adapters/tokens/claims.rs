//! Claims out of the JSON of a token.
//!
//! Invariant: a claim of another type than it should have is absent, which the rule refuses where it asks for the claim.

use serde_json::Value;

use crate::domain::token::Claims;

/// Reads the claims that anybody asks for. A path is names between dots, `realm_access.roles`, or, where it begins with
/// a slash, a JSON pointer (RFC 6901), for names with dots: `/resource_access/my.client/roles`.
pub(super) fn read(payload: &Value, client_claim: &str, scope_claims: &[String]) -> Claims {
    let text = |name: &str| payload.get(name).and_then(Value::as_str).map(str::to_owned);
    let client = at(payload, client_claim).and_then(Value::as_str).map(str::to_owned);
    Claims {
        issuer: text("iss"),
        audiences: payload.get("aud").map(texts).unwrap_or_default().map(str::to_owned).collect(),
        expires_at_s: payload.get("exp").and_then(seconds),
        // One that is there and cannot be read must not count as absent.
        not_before_s: payload.get("nbf").map(|nbf| seconds(nbf).unwrap_or(i64::MAX)),
        kind: payload.get("typ").map(|typ| typ.as_str().unwrap_or_default().to_owned()),
        is_bound: payload.get("cnf").is_some(),
        client,
        words: scope_claims
            .iter()
            .filter_map(|path| at(payload, path))
            .flat_map(|claim| texts(claim).flat_map(str::split_ascii_whitespace))
            .map(str::to_owned)
            .collect(),
    }
}

fn at<'a>(payload: &'a Value, path: &str) -> Option<&'a Value> {
    if path.starts_with('/') {
        return payload.pointer(path);
    }
    path.split('.').try_fold(payload, |value, name| value.get(name))
}

/// A text, or the texts of a list.
#[derive(Default)]
enum Texts<'a> {
    #[default]
    None,
    One(&'a str),
    Many(std::slice::Iter<'a, Value>),
}

fn texts(value: &Value) -> Texts<'_> {
    match value {
        Value::String(one) => Texts::One(one),
        Value::Array(many) => Texts::Many(many.iter()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Texts::None,
    }
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        match std::mem::take(self) {
            Self::None => None,
            Self::One(one) => Some(one),
            Self::Many(mut many) => {
                let found = many.find_map(Value::as_str);
                *self = Self::Many(many);
                found
            }
        }
    }
}

/// A moment in seconds since 1970; RFC 7519 allows a fraction, which is cut off.
fn seconds(value: &Value) -> Option<i64> {
    let whole = |seconds| jiff::SignedDuration::try_from_secs_f64(seconds).ok().map(|duration| duration.as_secs());
    value.as_i64().or_else(|| value.as_f64().and_then(whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn claims_are_found_by_path_and_are_absent_where_they_have_another_type() {
        let payload = json!({
            "iss": "https://id.example", "aud": ["onbill", 5, "account"], "exp": 100.9, "nbf": 7, "typ": "Bearer",
            "azp": "shop", "scope": "openid onbill:pins",
            "realm_access": { "roles": ["onbill:accounts", 7] },
            "resource_access": { "my.client": { "roles": ["onbill:transactions:read"] } },
        });
        let paths = ["scope", "realm_access.roles", "/resource_access/my.client/roles", "none.such", "realm_access"];
        let read = read(&payload, "azp", &paths.map(str::to_owned));
        assert_eq!(
            read,
            Claims {
                issuer: Some("https://id.example".to_owned()),
                audiences: vec!["onbill".to_owned(), "account".to_owned()],
                expires_at_s: Some(100),
                not_before_s: Some(7),
                kind: Some("Bearer".to_owned()),
                is_bound: false,
                client: Some("shop".to_owned()),
                words: ["openid", "onbill:pins", "onbill:accounts", "onbill:transactions:read"]
                    .map(str::to_owned)
                    .into(),
            }
        );
    }

    #[test]
    fn what_cannot_be_read_is_absent_or_never_true() {
        let payload = json!({
            "iss": 1, "aud": { "onbill": true }, "exp": "100", "nbf": "7", "typ": 1, "cnf": null, "azp": ["shop"],
        });
        let read = read(&payload, "azp", &["scope".to_owned()]);
        let expected =
            Claims { not_before_s: Some(i64::MAX), kind: Some(String::new()), is_bound: true, ..Claims::default() };
        assert_eq!(read, expected);
        let one = super::read(&json!({ "aud": "onbill", "exp": 1e300 }), "azp", &[]);
        assert_eq!((one.audiences, one.expires_at_s), (vec!["onbill".to_owned()], None));
    }
}
