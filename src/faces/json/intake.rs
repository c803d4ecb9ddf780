//! What comes in: the body within its bounds, the content type, the headers that go on.
//!
//! Invariant: never more than [`BODY_BYTES_MAX`] of a body are kept, and no body is waited for longer than
//! its bound; what is in the body is not looked at (`read` does).

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderName};
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;

use crate::domain::catalogue::reason;

/// Most bytes of a body (contract section 2); `reason::BODY_OBJECT` names them.
pub(super) const BODY_BYTES_MAX: usize = 65_536;

/// Most bytes of a body that is too large that are still read and thrown away, so that a caller that sends first and
/// listens afterwards sees the refusal and not a broken connection.
const DRAIN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a body may take to arrive, unless the configuration says otherwise. It is before the deadline of the request,
/// which starts with the RPC.
pub(super) const BODY_WAIT: Duration = Duration::from_secs(10);

/// How long a body that nobody needs is waited for, so that the answer is not held up by it.
const DISCARD_WAIT: Duration = Duration::from_secs(1);

/// The body did not arrive in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooSlow;

/// The whole body; or why it cannot be one of a JSON request, as the caller reads it.
pub(super) async fn body<B>(
    headers: &HeaderMap,
    body: B,
    wait: Duration,
) -> Result<Result<Bytes, &'static str>, TooSlow>
where
    B: http_body::Body<Data = Bytes>,
{
    tokio::time::timeout(wait, collect(headers, body)).await.map_err(|_| TooSlow)
}

/// Reads a body that nobody needs and throws it away, within bounds: a caller that is answered while it still sends may
/// take the end of its stream for a failure (RFC 9113 section 8.1). One that asks before it sends is not told to.
pub(super) async fn discard<B>(headers: &HeaderMap, body: B)
where
    B: http_body::Body<Data = Bytes>,
{
    if body.is_end_stream() || headers.contains_key(EXPECT) {
        return;
    }
    let read = async {
        let (mut body, mut length) = (pin!(body), 0_usize);
        while let Some(Ok(frame)) = body.frame().await {
            length = length.saturating_add(frame.data_ref().map_or(0, Bytes::len));
            if length > DRAIN_BYTES_MAX {
                break;
            }
        }
    };
    // Late or whole makes no difference: the answer is the same.
    let _late = tokio::time::timeout(DISCARD_WAIT, read).await;
}

async fn collect<B>(headers: &HeaderMap, body: B) -> Result<Bytes, &'static str>
where
    B: http_body::Body<Data = Bytes>,
{
    let verdict = if is_json(headers) && is_plain(headers) { Ok(()) } else { Err(reason::BODY_JSON) };
    // A caller that asks first has not sent the body yet: to read it would be to ask for it.
    let announced = body.size_hint().lower();
    if headers.contains_key(EXPECT) && announced > u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX) {
        return verdict.and(Err(reason::BODY_OBJECT));
    }
    let mut body = pin!(body);
    let (mut first, mut rest, mut length) = (Bytes::new(), BytesMut::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        // A body that breaks off is no JSON object; whoever sent it is most likely gone.
        let Ok(frame) = frame else { return verdict.and(Err(reason::BODY_OBJECT)) };
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > DRAIN_BYTES_MAX {
            break;
        }
        if length > BODY_BYTES_MAX || verdict.is_err() {
            continue;
        }
        if first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    verdict?;
    if length > BODY_BYTES_MAX {
        return Err(reason::BODY_OBJECT);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// `application/json`, alone or with a charset of UTF-8 (RFC 9110 section 8.3). Other parameters mean nothing to JSON
/// (RFC 8259 section 11) and are let be.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Ok(value) = value.to_str() else { return false };
    let mut parts = value.split(';').map(str::trim);
    parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                let value = value.trim();
                let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
                quoted.unwrap_or(value).eq_ignore_ascii_case("utf-8")
            }
            Some(_) => true,
            None => parameter.is_empty(),
        })
}

/// No content coding (RFC 9110 section 8.4): none is offered here, and a packed body must not be taken for a plain one.
fn is_plain(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    values.all(|value| value.as_bytes().is_empty() || value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Headers that are about this connection, this body or this exchange, and not about the request.
fn is_passed_on(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "accept"
            | "accept-encoding"
            | "connection"
            | "content-encoding"
            | "content-length"
            | "content-type"
            | "expect"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    ) && !name.as_str().starts_with("grpc-")
}

/// Leaves those headers that go on to the RPC: the key, the trace, the correlation id, the time-out and the like.
/// Headers named `grpc-…` are taken out, as they would change how the call in process is read.
pub(super) fn keep_end_to_end(headers: &mut HeaderMap) {
    for named in nominated(headers) {
        headers.remove(named);
    }
    let others: Vec<HeaderName> = headers.keys().filter(|name| !is_passed_on(name)).cloned().collect();
    for name in &others {
        headers.remove(name);
    }
}

/// What the `Connection` header says is for this connection only (RFC 9110 section 7.6.1).
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    let names = values.filter_map(|value: &HeaderValue| value.to_str().ok()).flat_map(|value| value.split(','));
    names.filter_map(|name| HeaderName::try_from(name.trim()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    fn with_type(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))])
    }

    #[test]
    fn only_json_in_utf8_is_json() {
        for (value, is) in [
            ("application/json", true),
            ("Application/JSON", true),
            ("application/json; charset=utf-8", true),
            ("application/json;charset=UTF-8", true),
            ("application/json; charset=\"utf-8\"", true),
            ("application/json;", true),
            ("application/json; charset=latin1", false),
            ("application/json; charset=utf-16; charset=utf-8", false),
            ("application/json charset=utf-8", false),
            ("application/jsonp", false),
            ("application/problem+json", false),
            ("text/plain", false),
            ("", false),
        ] {
            assert_eq!(is_json(&with_type(value)), is, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
        let mut twice = with_type("application/json");
        twice.append(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert!(!is_json(&twice));
    }

    #[tokio::test]
    async fn a_body_is_kept_up_to_its_bound() {
        let headers = with_type("application/json");
        for (length, whole) in [(0, true), (BODY_BYTES_MAX, true), (BODY_BYTES_MAX + 1, false), (8 << 20, false)] {
            let read = body(&headers, Full::new(Bytes::from(vec![b' '; length])), BODY_WAIT).await;
            let expected = if whole { Ok(length) } else { Err(reason::BODY_OBJECT) };
            assert_eq!(read.map(|body| body.map(|bytes| bytes.len())), Ok(expected), "{length}");
        }
    }

    #[tokio::test]
    async fn a_packed_body_is_not_taken_for_a_plain_one() {
        for (coding, plain) in [("identity", true), ("Identity", true), ("", true), ("gzip", false), ("br", false)] {
            let mut headers = with_type("application/json");
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
            let read = body(&headers, Full::new(Bytes::from_static(b"{}")), BODY_WAIT).await;
            let expected = if plain { Ok(2) } else { Err(reason::BODY_JSON) };
            assert_eq!(read.map(|body| body.map(|bytes| bytes.len())), Ok(expected), "{coding}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_nobody_needs_is_not_waited_for_beyond_its_bound() {
        struct Silent;
        impl http_body::Body for Silent {
            type Data = Bytes;
            type Error = std::convert::Infallible;

            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
                std::task::Poll::Pending
            }
        }
        let waited = |headers: HeaderMap| async move {
            let started = tokio::time::Instant::now();
            discard(&headers, Silent).await;
            started.elapsed()
        };
        assert_eq!(waited(HeaderMap::new()).await, DISCARD_WAIT);
        let asks = HeaderMap::from_iter([(EXPECT, HeaderValue::from_static("100-continue"))]);
        assert_eq!(waited(asks).await, Duration::ZERO);
    }

    #[test]
    fn only_headers_of_the_request_itself_go_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-api-key", "demo-key"),
            ("traceparent", "00-1-2-01"),
            ("connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("grpc-encoding", "gzip"),
            ("grpc-timeout", "1n"),
            ("content-encoding", "gzip"),
            ("transfer-encoding", "chunked"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        keep_end_to_end(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["traceparent", "x-api-key"]);
    }
}
