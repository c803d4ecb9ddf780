//! A partner's endpoint for events: how they are signed, and what its answer means.
//!
//! Invariant: a secret prints masked wherever it is printed, and a signature covers id, time and body (Standard Webhooks
//! 1.0). An event is tried ten times over three and a half days, never sooner than the schedule says, and then lies on
//! the list of dead letters; an endpoint that says 410 is left alone. What an event says, and how it is carried, is not
//! here.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::SignedDuration;
use sha2::Sha256;

use super::Time;
use super::public_address::Addresses;

/// What every secret begins with.
pub const SECRET_PREFIX: &str = "whsec_";
/// Fewest bytes of a secret (Standard Webhooks, signature scheme).
const SECRET_BYTES_MIN: usize = 24;
/// Most bytes of a secret.
const SECRET_BYTES_MAX: usize = 64;
/// Most secrets of an endpoint: the one in use and the next.
pub const SECRETS_MAX: usize = 2;
/// The version of the signature scheme: HMAC-SHA256.
const SCHEME: &str = "v1";

/// Seconds after each failed attempt until the next (contract section 7).
pub const RETRY_PAUSES_S: [u32; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// Most seconds that a `Retry-After` may put an attempt off.
const RETRY_AFTER_MAX_S: i64 = 86_400;
/// Most characters of a note on a failed attempt.
const NOTE_LENGTH_MAX: usize = 256;

/// A secret that an endpoint and the gateway share.
#[derive(Clone)]
pub struct SigningSecret(Hmac<Sha256>);

impl SigningSecret {
    /// Reads `whsec_` and 24 to 64 bytes in base64.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix(SECRET_PREFIX)?).ok()?;
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
            return None;
        }
        Hmac::new_from_slice(&bytes).ok().map(Self)
    }

    /// The signature of a message: `v1,` and the HMAC-SHA256 of id, time and body in base64.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &str) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp_s}.{body}").as_bytes());
        format!("{SCHEME},{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{SECRET_PREFIX}…")
    }
}

/// Where and how a partner's events are delivered.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// The URL, http or https.
    pub url: Arc<str>,
    /// One secret, or two while the partner changes from one to the other.
    pub secrets: Vec<SigningSecret>,
    /// Which addresses it may have.
    pub addresses: Addresses,
}

impl Webhook {
    /// The signatures of a message by each secret, as the header `webhook-signature` lists them.
    #[must_use]
    pub fn signatures(&self, id: &str, timestamp_s: i64, body: &str) -> String {
        let signatures: Vec<String> = self.secrets.iter().map(|secret| secret.sign(id, timestamp_s, body)).collect();
        signatures.join(" ")
    }
}

/// What was heard of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The endpoint has answered.
    Answered {
        /// The HTTP status.
        status: u16,
        /// Its `Retry-After`, as it stands.
        retry_after: Option<String>,
    },
    /// It has not, in time or at all. The note says what was seen, for the people who run the gateway.
    Failed(String),
}

/// What becomes of an event after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It has arrived.
    Delivered,
    /// It is tried again.
    Again {
        /// Not before this time.
        at: Time,
        /// Why.
        note: String,
    },
    /// It is given up: a person may send it again.
    Dead {
        /// Why.
        note: String,
    },
    /// It is given up, and so is the endpoint, which asked for it.
    Gone {
        /// Why.
        note: String,
    },
}

/// Decides by what was heard of attempt number `attempts`, which begin with 1. `jitter` is 0 to 1023.
#[must_use]
pub fn judge(attempts: u32, heard: &Heard, now: Time, jitter: u16) -> Fate {
    let (note, wait) = match heard {
        Heard::Answered { status: 200..=299, .. } => return Fate::Delivered,
        Heard::Answered { status: 410, .. } => {
            return Fate::Gone { note: "answered 410: the endpoint wants no more".to_owned() };
        }
        Heard::Answered { status: status @ 300..=399, .. } => {
            (format!("answered {status}: redirects are not followed"), None)
        }
        Heard::Answered { status, retry_after } => {
            let wait = retry_after.as_deref().and_then(|text| read_retry_after(text, now));
            (format!("answered {status}"), wait)
        }
        Heard::Failed(note) => (note.chars().take(NOTE_LENGTH_MAX).collect(), None),
    };
    let place = usize::try_from(attempts).ok().and_then(|attempts| attempts.checked_sub(1));
    let Some(seconds) = place.and_then(|place| RETRY_PAUSES_S.get(place)) else {
        return Fate::Dead { note };
    };
    let pause_ms = i64::from(*seconds).saturating_mul(1_000);
    // Up to a tenth more, so that a thousand events do not come back at once.
    let spread_ms = pause_ms.saturating_mul(i64::from(jitter.min(1_023))) / 10_240;
    let pause = SignedDuration::from_millis(pause_ms.saturating_add(spread_ms));
    let wait = wait.unwrap_or(SignedDuration::ZERO).min(SignedDuration::from_secs(RETRY_AFTER_MAX_S));
    Fate::Again { at: now.checked_add(pause.max(wait)).unwrap_or(Time::MAX), note }
}

/// Reads `Retry-After`: seconds or a date (RFC 9110, section 10.2.3). What is neither is as good as none.
fn read_retry_after(text: &str, now: Time) -> Option<SignedDuration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(SignedDuration::from_secs(text.parse().unwrap_or(i64::MAX)));
    }
    let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(until.duration_since(now).max(SignedDuration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: i64 = 1_700_000_000;

    fn now() -> Time {
        Time::from_second(NOW_S).expect("in range")
    }

    fn answered(status: u16, retry_after: Option<&str>) -> Heard {
        Heard::Answered { status, retry_after: retry_after.map(str::to_owned) }
    }

    /// Whole seconds until the next attempt; `None` where there is none.
    fn wait_s(attempts: u32, heard: &Heard, jitter: u16) -> Option<i64> {
        match judge(attempts, heard, now(), jitter) {
            Fate::Again { at, .. } => Some(at.duration_since(now()).as_secs()),
            Fate::Delivered | Fate::Dead { .. } | Fate::Gone { .. } => None,
        }
    }

    #[test]
    fn each_failure_waits_as_the_contract_says_and_the_tenth_is_the_last() {
        let hours = |hours: i64| hours * 3_600;
        for heard in [answered(500, None), answered(302, None), Heard::Failed("no answer".to_owned())] {
            for (attempts, expected) in [
                (1, Some(5)),
                (2, Some(300)),
                (3, Some(1_800)),
                (4, Some(hours(2))),
                (5, Some(hours(5))),
                (6, Some(hours(10))),
                (7, Some(hours(14))),
                (8, Some(hours(20))),
                (9, Some(hours(24))),
                (10, None),
                (u32::MAX, None),
            ] {
                assert_eq!(wait_s(attempts, &heard, 0), expected, "{attempts}: {heard:?}");
            }
            assert!(matches!(judge(10, &heard, now(), 0), Fate::Dead { .. }));
        }
    }

    #[test]
    fn jitter_lengthens_a_pause_by_a_tenth_at_most_and_never_shortens_it() {
        for jitter in [0, 1, 512, 1_023, u16::MAX] {
            let waited = wait_s(2, &answered(500, None), jitter).expect("again");
            assert!((300..=330).contains(&waited), "{jitter}: {waited}");
        }
        assert_eq!(wait_s(2, &answered(500, None), 1_023), Some(329));
    }

    #[test]
    fn retry_after_is_honoured_up_to_a_day_and_never_hurries() {
        for (text, expected) in [
            ("120", 120),
            (" 120 ", 120),
            ("1", 5),
            ("0", 5),
            ("86401", 86_400),
            ("99999999999999999999", 86_400),
            ("Tue, 14 Nov 2023 22:15:20 GMT", 120),
            ("Tue, 14 Nov 2023 22:00:00 GMT", 5),
            ("Mon, 14 Nov 2033 22:00:00 GMT", 86_400),
            ("soon", 5),
            ("-1", 5),
            ("", 5),
        ] {
            assert_eq!(wait_s(1, &answered(429, Some(text)), 0), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn success_delivers_and_410_stops_the_endpoint_at_any_attempt() {
        for attempts in [1, 10] {
            for status in [200, 201, 204, 299] {
                assert_eq!(judge(attempts, &answered(status, None), now(), 0), Fate::Delivered, "{status}");
            }
            assert!(matches!(judge(attempts, &answered(410, Some("5")), now(), 0), Fate::Gone { .. }));
        }
        for status in [100, 199, 300, 301, 399, 400, 404, 429, 500, 503] {
            assert_eq!(wait_s(1, &answered(status, None), 0), Some(5), "{status}");
        }
    }

    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        let text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let (id, time_s, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        let secret = SigningSecret::parse(text).expect("a secret");
        assert_eq!(secret.sign(id, time_s, body), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let theirs = standardwebhooks::Webhook::new(text).expect("a secret");
        assert_eq!(secret.sign(id, time_s, body), theirs.sign(id, time_s, body.as_bytes()).expect("signed"));
        let other = SigningSecret::parse(&format!("whsec_{}", STANDARD.encode([7; 64]))).expect("a secret");
        let webhook =
            Webhook { url: Arc::from("https://x"), secrets: vec![secret, other], addresses: Addresses::Public };
        let both = webhook.signatures(id, time_s, body);
        assert_eq!(both.split(' ').count(), 2);
        assert!(both.starts_with("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,"), "{both}");
    }

    #[test]
    fn a_secret_has_its_form_and_prints_masked() {
        let of = |length: usize| format!("whsec_{}", STANDARD.encode(vec![1; length]));
        for (text, allowed) in [
            (of(24), true),
            (of(64), true),
            (of(23), false),
            (of(65), false),
            (STANDARD.encode([1; 32]), false),
            ("whsec_".to_owned(), false),
            ("whsec_not base64 at all, no".to_owned(), false),
        ] {
            assert_eq!(SigningSecret::parse(&text).is_some(), allowed, "{text}");
        }
        assert_eq!(format!("{:?}", SigningSecret::parse(&of(32))), "Some(whsec_…)");
    }
}
