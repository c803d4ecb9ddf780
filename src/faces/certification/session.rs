//! Who is signed in on the page.
//!
//! Invariant: a session is a text that this gateway has made: partner, end and a keyed digest of both. Nothing is kept
//! of it, so it cannot be taken back before its end, which is why that is near. The API key itself is never in it. What
//! a form carries against forgery is made from the session, and is good with no other.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::COOKIE;
use subtle::ConstantTimeEq as _;

use crate::domain::ids::PartnerId;
use crate::ports::secrets::Secrets;

/// The cookie.
pub const COOKIE_NAME: &str = "onbill_certification";
/// How long a session lasts.
pub const LIFE: Duration = Duration::from_hours(1);

/// Makes and reads sessions.
#[derive(Clone)]
pub struct Sessions(Arc<dyn Secrets>);

/// A session that is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who is signed in.
    pub partner: PartnerId,
    /// What a form carries against forgery.
    pub form_token: String,
}

impl Sessions {
    /// Sessions under the gateway's key.
    #[must_use]
    pub const fn new(secrets: Arc<dyn Secrets>) -> Self {
        Self(secrets)
    }

    /// The cookie's value for a partner that has just shown its key.
    #[must_use]
    pub fn begin(&self, partner: &PartnerId) -> String {
        self.at(partner, seconds_now().saturating_add(LIFE.as_secs()))
    }

    fn at(&self, partner: &PartnerId, ends: u64) -> String {
        let text = format!("{partner}.{ends}");
        format!("{text}.{}", self.digest("session", &text))
    }

    /// The session of a request, if it has one that is good.
    #[must_use]
    pub fn of(&self, headers: &HeaderMap) -> Option<Session> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let value = cookies
            .flat_map(|text| text.split(';'))
            .find_map(|cookie| cookie.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='))?;
        self.read(value, seconds_now())
    }

    fn read(&self, value: &str, now: u64) -> Option<Session> {
        let (text, digest) = value.rsplit_once('.')?;
        let made_here: bool = self.digest("session", text).as_bytes().ct_eq(digest.as_bytes()).into();
        let (partner, ends) = text.rsplit_once('.')?;
        let lasts = ends.parse::<u64>().is_ok_and(|ends| now < ends);
        let form_token = self.digest("form", value);
        (made_here && lasts).then(|| Session { partner: PartnerId::new(partner), form_token })
    }

    fn digest(&self, what: &str, text: &str) -> String {
        let digest = self.0.name_digest(&["certification page", what, text]);
        format!("{:032x}", u128::from_be_bytes(digest))
    }
}

impl Session {
    /// Whether a form was made for this session.
    #[must_use]
    pub fn made(&self, token: &str) -> bool {
        self.form_token.as_bytes().ct_eq(token.as_bytes()).into()
    }
}

/// The real time: a test that moves the gateway's clock signs nobody out.
fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}
