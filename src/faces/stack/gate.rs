//! What a call of a method passes before anything of it is read: authentication, rate, load.
//!
//! Invariant: in this order, and once for each call, over whichever face it comes. A JSON request passes here before its
//! body is read, so that whoever has no key, or too many calls, costs no memory; what it was let through with travels with
//! it to the layers behind. How a call is refused is not here.

use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use metrics::counter;

use super::methods::Method;
use super::once;
use super::places::{Place, Places};
use crate::domain::catalogue::ErrorCode;
use crate::domain::directory::Partner;
use crate::faces::auth::Callers;
use crate::faces::grpc::RETRY_AFTER_S;
use crate::faces::status::ApiError;
use crate::flows::Gateway;
use crate::flows::rate::{Over, Rates, Standing};
use crate::ports::measures::RATE_LIMITED;

/// What a partner may do (draft-ietf-httpapi-ratelimit-headers-10, section 3).
const POLICY_HEADER: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of it (section 4).
const LIMIT_HEADER: HeaderName = HeaderName::from_static("ratelimit");

/// Who was let through. It holds the call's place until the last copy is gone.
#[derive(Clone)]
pub(super) struct Admitted {
    pub partner: Arc<Partner>,
    pub standing: Option<Standing>,
    _place: Arc<Place>,
}

/// Why a call was not let through.
pub(super) struct Refused {
    pub error: ApiError,
    pub standing: Option<Standing>,
    /// Whose call it is, where that is known.
    pub partner: Option<Arc<Partner>>,
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Self { error: ApiError::new(code), standing: None, partner: None }
    }
}

/// The layers before anything is read.
pub(super) struct Gate {
    pub callers: Callers,
    pub rates: Arc<Rates>,
    pub places: Arc<Places>,
}

impl Gate {
    pub(super) const fn new(callers: Callers, rates: Arc<Rates>, places: Arc<Places>) -> Self {
        Self { callers, rates, places }
    }

    /// Lets a call of a method through.
    pub(super) async fn admit(
        &self,
        gateway: &Gateway,
        method: &Method,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Admitted, Refused> {
        let partner = self.callers.admit(method.scope, headers, extensions).await;
        let partner = partner.map_err(|error| Refused { error, standing: None, partner: None })?;
        let admitted = self.rates.admit(&partner.id, &gateway.ephemeral, gateway.clock.as_ref()).await;
        let standing = admitted.map_err(|Over { standing }| over(&partner, standing))?;
        let place = self.places.take(&partner.id).ok_or_else(|| Refused {
            error: ApiError::new(ErrorCode::ServiceUnavailable).retry_after(RETRY_AFTER_S),
            standing,
            partner: Some(Arc::clone(&partner)),
        })?;
        Ok(Admitted { partner, standing, _place: Arc::new(place) })
    }
}

fn over(partner: &Arc<Partner>, standing: Standing) -> Refused {
    counter!(RATE_LIMITED.name, "partner" => partner.id.as_str().to_owned()).increment(1);
    let error = ApiError::new(ErrorCode::TooManyRequests).retry_after(standing.reset_s);
    Refused { error, standing: Some(standing), partner: Some(Arc::clone(partner)) }
}

/// Tells a partner its quota, in the form of the draft: the burst within the time in which it flows in, what is left of
/// it, and when it is whole again.
pub(super) fn tell(standing: Option<Standing>, headers: &mut HeaderMap) {
    let Some(Standing { rate, left, reset_s }) = standing else { return };
    let window_s = rate.burst.div_ceil(rate.per_second.max(1));
    let policy = quota(b"q", rate.burst, b"w", window_s);
    let limit = quota(b"r", left, b"t", reset_s).map(|mut value| {
        once(&mut value);
        value
    });
    for (name, value) in [(POLICY_HEADER, policy), (LIMIT_HEADER, limit)] {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
}

/// `"partner";q=NUMBER;w=NUMBER`, without the formatter: it is written twice a call.
fn quota(one: &[u8], of_one: u32, other: &[u8], of_other: u32) -> Option<HeaderValue> {
    const LENGTH_MAX: usize = 36;
    let mut digits = itoa::Buffer::new();
    let mut text = BytesMut::with_capacity(LENGTH_MAX);
    text.put_slice(b"\"partner\";");
    text.put_slice(one);
    text.put_u8(b'=');
    text.put_slice(digits.format(of_one).as_bytes());
    text.put_u8(b';');
    text.put_slice(other);
    text.put_u8(b'=');
    text.put_slice(digits.format(of_other).as_bytes());
    HeaderValue::from_maybe_shared(text.freeze()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rate::SharedRate;

    #[test]
    fn a_quota_is_told_in_the_form_of_the_draft() {
        let mut headers = HeaderMap::new();
        let rate = SharedRate { per_second: 100, burst: 250 };
        tell(Some(Standing { rate, left: u32::MAX, reset_s: 0 }), &mut headers);
        assert_eq!(headers[POLICY_HEADER], "\"partner\";q=250;w=3");
        assert_eq!(headers[LIMIT_HEADER], "\"partner\";r=4294967295;t=0");
    }
}
