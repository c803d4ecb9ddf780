//! Who calls, and whether the call is theirs to make.
//!
//! Invariant: a caller is known by exactly one API key or bearer token, by the certificate of the connection, or by a
//! certificate together with one of them, of the same partner. Everything else is `authorization-failure`, in the same
//! words. What is wrong is for our logs alone, and they hold neither keys nor tokens.
//!
//! What time tells: a key costs one digest and one look-up, whether it is good, nobody's, over or another's. A token's
//! signature is verified before anything of a partner is looked at, so who cannot sign as the issuer learns nothing of
//! partners; what does differ in time is whether its issuer publishes the key that it names, which is public.

mod credential;
pub mod methods;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use http::{Extensions, HeaderMap};
use metrics::counter;

use self::credential::Credential;
use super::status::ApiError;
use crate::domain::Time;
use crate::domain::api_key::PartnerKeys;
use crate::domain::caller::{Grant, Told, caller};
use crate::domain::catalogue::ErrorCode;
use crate::domain::certificate::{PartnerCertificates, ShownCertificate};
use crate::domain::directory::{Directory, Partner};
use crate::domain::ids::PartnerId;
use crate::domain::scope::Scope;
use crate::domain::token::{self, TokenRule};
use crate::ports::clock::Clock;
use crate::ports::measures::CALLERS_REFUSED;
use crate::ports::tokens::{NotVerified, Tokens};

pub use self::credential::API_KEY_HEADER;

/// The certificate of a connection, among the extensions of each of its requests.
#[derive(Debug, Clone)]
pub struct Peer(pub Arc<ShownCertificate>);

/// What callers are known by.
#[derive(Debug, Clone, Default)]
pub struct KnownCallers {
    /// By API key.
    pub keys: PartnerKeys,
    /// By certificate.
    pub certificates: PartnerCertificates,
    /// Partners whose keys and tokens count only together with a certificate of theirs.
    pub bound: BTreeSet<PartnerId>,
    /// By token: what is asked of those of each issuer, by its `iss`.
    pub tokens: BTreeMap<String, TokenRule>,
}

/// Tells who calls.
#[derive(Clone)]
pub struct Callers(Arc<Known>);

struct Known {
    callers: KnownCallers,
    partners: HashMap<PartnerId, Arc<Partner>, RandomState>,
    tokens: Arc<dyn Tokens>,
    clock: Arc<dyn Clock>,
}

impl Callers {
    /// The callers of a directory's partners. `clock` tells the real time: no test's clock brings a key back to life.
    #[must_use]
    pub fn new(callers: KnownCallers, directory: &Directory, tokens: Arc<dyn Tokens>, clock: Arc<dyn Clock>) -> Self {
        let partners = directory.partners().map(|partner| (partner.id.clone(), Arc::clone(partner))).collect();
        Self(Arc::new(Known { callers, partners, tokens, clock }))
    }

    /// The partner that makes a call which needs a scope; `None` is granted to nobody.
    ///
    /// # Errors
    /// `authorization-failure`, `forbidden`, or `service-unavailable` where a token cannot be judged by anybody now.
    pub async fn admit(
        &self,
        scope: Option<Scope>,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Arc<Partner>, ApiError> {
        let credential = credential::of(headers);
        let now = self.0.clock.now();
        let told = match credential {
            Credential::None => Told::Nothing,
            Credential::Key(key) => self.0.by_key(key, now),
            Credential::Token(token) => Box::pin(self.0.by_token(token)).await?,
            Credential::Unclear => Told::Bad,
        };
        let shown = self.0.callers.certificates.shown(peer(extensions), now);
        let grant = caller(shown, told, &self.0.callers.bound);
        let grant = grant.ok_or_else(|| refused("credential", ErrorCode::AuthorizationFailure))?;
        let partner = self.0.partners.get(&grant.partner);
        let partner = partner.ok_or_else(|| refused("credential", ErrorCode::AuthorizationFailure))?;
        match scope {
            Some(scope) if grant.scopes.has(scope) => Ok(Arc::clone(partner)),
            Some(_) | None => Err(refused("scope", ErrorCode::Forbidden)),
        }
    }

    /// The partner of a key that was typed in, where it is good for a scope, on a connection with this certificate.
    #[must_use]
    pub fn of_key(&self, key: &[u8], scope: Scope, extensions: &Extensions) -> Option<&Arc<Partner>> {
        let now = self.0.clock.now();
        let shown = self.0.callers.certificates.shown(peer(extensions), now);
        let grant = caller(shown, self.0.by_key(key, now), &self.0.callers.bound)?;
        grant.scopes.has(scope).then(|| self.0.partners.get(&grant.partner))?
    }
}

fn peer(extensions: &Extensions) -> Option<&ShownCertificate> {
    extensions.get::<Peer>().map(|peer| &*peer.0)
}

fn refused(why: &'static str, code: ErrorCode) -> ApiError {
    counter!(CALLERS_REFUSED.name, "why" => why).increment(1);
    ApiError::new(code)
}

impl Known {
    fn by_key(&self, key: &[u8], now: Time) -> Told {
        self.callers.keys.grant(key, now).map_or(Told::Bad, |grant| Told::Good(grant.clone()))
    }

    async fn by_token(&self, token: &[u8]) -> Result<Told, ApiError> {
        let why = match self.tokens.claims(token).await {
            Ok(claims) => {
                let rule = claims.issuer.as_ref().and_then(|issuer| self.callers.tokens.get(issuer));
                let judged = rule.ok_or(token::Refused::Issuer);
                let judged: Result<Grant, _> = judged.and_then(|rule| token::judge(rule, &claims, self.clock.now()));
                match judged {
                    Ok(grant) => return Ok(Told::Good(grant)),
                    Err(refused) => refused.word(),
                }
            }
            // Said of the gateway and not of the token: it may well be good, and comes again.
            Err(NotVerified::NoKeys) => {
                counter!(CALLERS_REFUSED.name, "why" => "no_keys").increment(1);
                return Err(ApiError::new(ErrorCode::ServiceUnavailable).retry_after(super::grpc::RETRY_AFTER_S));
            }
            Err(not_verified) => not_verified.word(),
        };
        tracing::debug!(why, "a token was refused");
        counter!(CALLERS_REFUSED.name, "why" => why).increment(1);
        Ok(Told::Bad)
    }
}
