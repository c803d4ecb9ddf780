//! Deadlines: how long a call may take, by what its caller allows and what the configuration does.
//!
//! Invariant: an answer leaves early enough to arrive. What a deadline ends is not here: work that moves money goes on.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tokio::time::Instant;

/// The deadline of a gRPC caller.
const GRPC_TIMEOUT_HEADER: HeaderName = HeaderName::from_static("grpc-timeout");
/// The deadline of a JSON caller, in milliseconds.
const JSON_TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-request-timeout-ms");
/// How much earlier than its caller's deadline a call is answered, so that the answer still arrives.
const ANSWER_MARGIN: Duration = Duration::from_millis(20);

/// Bounds of the layers, from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Deadline of a call that names none.
    pub deadline_default: Duration,
    /// Least deadline: a shorter one is lengthened.
    pub deadline_min: Duration,
    /// Greatest deadline: a longer one is shortened.
    pub deadline_max: Duration,
}

/// The deadline that a gRPC caller has named. Calls with one answer have one anyway; a stream has none unless it is
/// named, and the upper bound is not for it.
#[derive(Debug, Clone, Copy)]
pub struct NamedDeadline(pub Instant);

/// The deadline that a stream ends at, where its caller has named one.
pub(super) fn named_deadline(headers: &HeaderMap, bounds: &Bounds) -> Option<NamedDeadline> {
    let text = headers.get(&GRPC_TIMEOUT_HEADER).and_then(|value| value.to_str().ok());
    let asked = text.and_then(grpc_timeout)?.max(bounds.deadline_min).saturating_sub(ANSWER_MARGIN);
    Instant::now().checked_add(asked).map(NamedDeadline)
}

/// How long a call may take: what its caller allows, between the bounds, less the time that the answer travels.
pub(super) fn time_allowed(headers: &HeaderMap, bounds: &Bounds) -> Duration {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let grpc = text(&GRPC_TIMEOUT_HEADER).and_then(grpc_timeout);
    let json = text(&JSON_TIMEOUT_HEADER).and_then(|text| text.parse().ok()).map(Duration::from_millis);
    let asked = grpc.or(json).unwrap_or(bounds.deadline_default);
    let allowed = asked.clamp(bounds.deadline_min, bounds.deadline_max);
    allowed.saturating_sub(ANSWER_MARGIN)
}

/// Reads `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, Requests).
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(count.saturating_mul(60))),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        deadline_default: Duration::from_secs(10),
        deadline_min: Duration::from_millis(100),
        deadline_max: Duration::from_secs(30),
    };

    #[test]
    fn deadlines_are_read_on_both_faces_and_kept_between_the_bounds() {
        for (header, text, allowed_ms) in [
            ("grpc-timeout", "2S", 1980),
            ("grpc-timeout", "500m", 480),
            ("grpc-timeout", "1H", 29_980),
            ("grpc-timeout", "1n", 80),
            ("grpc-timeout", "123456789S", 9980),
            ("grpc-timeout", "S", 9980),
            ("grpc-timeout", "", 9980),
            ("x-request-timeout-ms", "1500", 1480),
            ("x-request-timeout-ms", "soon", 9980),
            ("x-other", "1", 9980),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(header), HeaderValue::from_static(text));
            let allowed = time_allowed(&headers, &BOUNDS);
            assert_eq!(allowed, Duration::from_millis(allowed_ms), "{header}: {text}");
        }
    }
}
