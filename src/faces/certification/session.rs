//! Who is signed in on the page.
//!
//! Invariant: a session is a text that this gateway has made: partner, end, a name of its own and a keyed digest of all
//! three. What is kept are the sessions that were ended before their end, until then: they are good no more, whoever has
//! a copy. The API key itself is never in it. What a form carries against forgery is made from the session, and is good
//! with no other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
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

/// Most sessions that are remembered as ended; beyond that the one that would end first is forgotten, and a copy of it
/// is good until then.
const ENDED_MAX: usize = 10_000;

/// Makes, reads and ends sessions.
#[derive(Clone)]
pub struct Sessions {
    secrets: Arc<dyn Secrets>,
    /// What was signed out, with the second at which it would have ended.
    ended: Arc<Mutex<HashMap<String, u64>>>,
}

/// A session that is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who is signed in.
    pub partner: PartnerId,
    /// What a form carries against forgery. It names the session.
    pub form_token: String,
    ends: u64,
}

impl Sessions {
    /// Sessions under the gateway's key.
    #[must_use]
    pub fn new(secrets: Arc<dyn Secrets>) -> Self {
        Self { secrets, ended: Arc::default() }
    }

    /// The cookie's value for a partner that has just shown its key.
    #[must_use]
    pub fn begin(&self, partner: &PartnerId) -> String {
        self.at(partner, seconds_now().saturating_add(LIFE.as_secs()))
    }

    fn at(&self, partner: &PartnerId, ends: u64) -> String {
        let text = format!("{partner}.{ends}.{}", self.secrets.fresh_correlation_id().as_str());
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
        let (partner, ends) = text.rsplit_once('.')?.0.rsplit_once('.')?;
        let ends: u64 = ends.parse().ok()?;
        let form_token = self.digest("form", value);
        let was_ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&form_token);
        let is_good = made_here && now < ends && !was_ended;
        is_good.then(|| Session { partner: PartnerId::new(partner), form_token, ends })
    }

    /// Ends a session before its time.
    pub fn end(&self, session: &Session) {
        self.end_at(session, seconds_now());
    }

    fn end_at(&self, session: &Session, now: u64) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|_, ends| now < *ends);
        if ended.len() >= ENDED_MAX
            && let Some(first) = ended.iter().min_by_key(|(_, ends)| **ends).map(|(token, _)| token.clone())
        {
            ended.remove(&first);
        }
        ended.insert(session.form_token.clone(), session.ends);
    }

    fn digest(&self, what: &str, text: &str) -> String {
        let digest = self.secrets.name_digest(&["certification page", what, text]);
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
