//! Bearer tokens: what the claims of one must say, and whose it then is.
//!
//! Invariant: every claim that is asked for must be there; one that is missing is as bad as a wrong one. A token is a
//! partner's only where the configuration gives that partner the client that the token names, and what it is good for is
//! what it says in words that begin with the issuer's prefix: no such word, no scope. That its signature holds, and by
//! which key, was seen before its claims come here.

use std::collections::BTreeMap;

use super::Time;
use super::caller::Grant;
use super::ids::PartnerId;
use super::scope::Scope;

/// The algorithms that may sign a token. None of them is made with a secret that we would have to share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSA, PKCS #1 v1.5, SHA-256; keys of 2048 bits or more.
    Rs256,
    /// RSA-PSS, SHA-256; keys of 2048 bits or more.
    Ps256,
    /// ECDSA on P-256, SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rs256, Self::Ps256, Self::Es256, Self::EdDsa];

    /// Its name in the header of a token.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of a name, spelt exactly so.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.word() == word)
    }
}

/// What the claims of a token say, as far as anybody here asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// `iss`
    pub issuer: Option<String>,
    /// `aud`, whether one or many.
    pub audiences: Vec<String>,
    /// `exp`, in seconds since 1970.
    pub expires_at_s: Option<i64>,
    /// `nbf`, in seconds since 1970.
    pub not_before_s: Option<i64>,
    /// `typ` among the claims: Keycloak tells access tokens (`Bearer`) from `ID` and `Refresh` tokens by it.
    pub kind: Option<String>,
    /// `cnf`: it is good only together with a proof that we do not ask for.
    pub is_bound: bool,
    /// The client, from the claim that the issuer's table names.
    pub client: Option<String>,
    /// The words of all claims that the issuer's table names for scopes.
    pub words: Vec<String>,
}

/// What is asked of the tokens of one issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRule {
    /// What `iss` must be.
    pub issuer: String,
    /// One of these must be in `aud`.
    pub audiences: Vec<String>,
    /// Seconds by which clocks may differ.
    pub leeway_s: u32,
    /// What a word of a scope begins with.
    pub scope_prefix: String,
    /// Which client is which partner.
    pub clients: BTreeMap<String, PartnerId>,
}

/// Why a token that was signed by its issuer is not taken. For logs and counters; callers are never told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Of another issuer.
    Issuer,
    /// For somebody else.
    Audience,
    /// Its time is over, or it has none.
    Expired,
    /// Its time has not come.
    NotYet,
    /// It is no access token.
    Kind,
    /// It is bound to a key that was not shown.
    Bound,
    /// Its client is no partner.
    Client,
}

impl Refused {
    /// In a word, for logs and counters.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Kind => "kind",
            Self::Bound => "bound",
            Self::Client => "client",
        }
    }
}

/// Whose token this is at a moment, and what it is good for.
///
/// # Errors
/// Why it is not taken.
pub fn judge(rule: &TokenRule, claims: &Claims, now: Time) -> Result<Grant, Refused> {
    let (now_s, leeway_s) = (now.as_second(), i64::from(rule.leeway_s));
    if claims.issuer.as_ref() != Some(&rule.issuer) {
        return Err(Refused::Issuer);
    }
    if !claims.audiences.iter().any(|audience| rule.audiences.contains(audience)) {
        return Err(Refused::Audience);
    }
    // RFC 7519: the moment of exp is over already.
    if claims.expires_at_s.is_none_or(|end_s| end_s.saturating_add(leeway_s) <= now_s) {
        return Err(Refused::Expired);
    }
    if claims.not_before_s.is_some_and(|begin_s| begin_s.saturating_sub(leeway_s) > now_s) {
        return Err(Refused::NotYet);
    }
    if claims.kind.as_ref().is_some_and(|kind| !kind.eq_ignore_ascii_case("Bearer")) {
        return Err(Refused::Kind);
    }
    if claims.is_bound {
        return Err(Refused::Bound);
    }
    let partner = claims.client.as_ref().and_then(|client| rule.clients.get(client)).ok_or(Refused::Client)?;
    let words = claims.words.iter().filter_map(|word| word.strip_prefix(rule.scope_prefix.as_str()));
    Ok(Grant { partner: partner.clone(), scopes: words.filter_map(Scope::from_word).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scope::Scopes;

    fn rule() -> TokenRule {
        TokenRule {
            issuer: "https://id.example/realms/ott".to_owned(),
            audiences: vec!["onbill".to_owned(), "billing".to_owned()],
            leeway_s: 30,
            scope_prefix: "onbill:".to_owned(),
            clients: [("shop".to_owned(), PartnerId::new("my-ott"))].into(),
        }
    }

    fn good() -> Claims {
        Claims {
            issuer: Some("https://id.example/realms/ott".to_owned()),
            audiences: vec!["account".to_owned(), "onbill".to_owned()],
            expires_at_s: Some(1_000),
            not_before_s: Some(500),
            kind: Some("Bearer".to_owned()),
            is_bound: false,
            client: Some("shop".to_owned()),
            words: ["openid", "onbill:pins", "onbill:transactions:read", "onbill:root", "accounts"]
                .map(str::to_owned)
                .into(),
        }
    }

    fn judged(change: impl FnOnce(&mut Claims), now_s: i64) -> Result<Grant, Refused> {
        let mut claims = good();
        change(&mut claims);
        judge(&rule(), &claims, Time::from_second(now_s).expect("a time"))
    }

    #[test]
    fn a_good_token_is_its_clients_partner_with_the_scopes_of_its_prefixed_words() {
        let granted = judged(|_| {}, 700).expect("it is good");
        let scopes: Scopes = [Scope::Pins, Scope::TransactionsRead].into_iter().collect();
        assert_eq!(granted, Grant { partner: PartnerId::new("my-ott"), scopes });
        let none = judged(|claims| claims.words.clear(), 700).expect("it is good, for nothing");
        assert_eq!(none.scopes, Scopes::NONE);
    }

    #[test]
    fn each_claim_that_is_missing_or_wrong_is_refused() {
        type Change = fn(&mut Claims);
        let changes: [(Change, Refused); 13] = [
            (|claims| claims.issuer = None, Refused::Issuer),
            (|claims| claims.issuer = Some("https://id.example/realms/ott/".to_owned()), Refused::Issuer),
            (|claims| claims.audiences.clear(), Refused::Audience),
            (|claims| claims.audiences = vec!["onbill2".to_owned()], Refused::Audience),
            (|claims| claims.expires_at_s = None, Refused::Expired),
            (|claims| claims.expires_at_s = Some(i64::MIN), Refused::Expired),
            (|claims| claims.not_before_s = Some(i64::MAX), Refused::NotYet),
            (|claims| claims.kind = Some("ID".to_owned()), Refused::Kind),
            (|claims| claims.kind = Some("Refresh".to_owned()), Refused::Kind),
            (|claims| claims.is_bound = true, Refused::Bound),
            (|claims| claims.client = None, Refused::Client),
            (|claims| claims.client = Some("Shop".to_owned()), Refused::Client),
            (|claims| claims.client = Some("my-ott".to_owned()), Refused::Client),
        ];
        for (index, (change, expected)) in changes.into_iter().enumerate() {
            assert_eq!(judged(change, 700), Err(expected), "{index}");
        }
        assert!(judged(|claims| (claims.kind, claims.not_before_s) = (None, None), 700).is_ok());
    }

    #[test]
    fn its_time_is_judged_to_the_second_with_the_leeway() {
        for (now_s, expected) in
            [(469, Err(Refused::NotYet)), (470, Ok(())), (999, Ok(())), (1_029, Ok(())), (1_030, Err(Refused::Expired))]
        {
            assert_eq!(judged(|_| {}, now_s).map(|_| ()), expected, "at {now_s}");
        }
    }

    #[test]
    fn no_algorithm_is_none_or_a_shared_secret_or_misspelt() {
        for word in ["none", "None", "HS256", "HS512", "rs256", "RS256 ", "ES384", "", "EDDSA"] {
            assert_eq!(Algorithm::from_word(word), None, "{word}");
        }
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_word(algorithm.word()), Some(algorithm));
        }
    }
}
