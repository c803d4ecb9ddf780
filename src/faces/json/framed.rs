//! gRPC services of any make behind the JSON face: what is a message within the gateway is a frame to them.
//!
//! Invariant: a service is called exactly as a gRPC client would call it; whatever it answers that is not one whole
//! message or a status is a fault of its own. The gateway's services need none of this: they are called directly.

use std::convert::Infallible;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Service, ServiceExt as _};

use super::{Inner, InnerAnswer};
use crate::faces::grpc::direct::{Answer, Message};

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Services of tonic's, or of tower's that speak gRPC.
#[derive(Debug, Clone)]
pub struct Framed<S>(pub S);

impl<S> Inner for Framed<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    fn call(&self, mut request: Request<Body>) -> InnerAnswer {
        if let Some(Message(message)) = request.extensions_mut().remove::<Message>() {
            let mut frame = BytesMut::with_capacity(message.len().saturating_add(5));
            frame.put_u8(0);
            frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
            frame.extend_from_slice(&message);
            *request.body_mut() = Body::new(Full::new(frame.freeze()));
        }
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        let answered = self.0.clone().oneshot(request);
        Box::pin(async move {
            match answered.await {
                Ok(response) => unframed(response).await,
                Err(never) => match never {},
            }
        })
    }
}

/// An answer with its message, or its status, among its extensions.
async fn unframed(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let known = parts.extensions.get::<Status>().cloned().or_else(|| Status::from_header_map(&parts.headers));
    let failed = known.filter(|status| status.code() != Code::Ok);
    let message = match failed {
        Some(status) => Err(status),
        None => message(body).await,
    };
    match message {
        Ok(message) => drop(parts.extensions.insert(Answer(message))),
        Err(status) => drop(parts.extensions.insert(status)),
    }
    Response::from_parts(parts, Body::empty())
}

/// The one message of an answer, or the status in its trailers.
async fn message(body: Body) -> Result<Bytes, Status> {
    let broken = |why: &str| Status::internal(why.to_owned());
    let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let collected = collected.map_err(|error| match error.downcast::<Status>() {
        Ok(status) => *status,
        Err(_) => broken("the answer is too large"),
    })?;
    let status = collected.trailers().and_then(Status::from_header_map);
    if let Some(status) = status.filter(|status| status.code() != Code::Ok) {
        return Err(status);
    }
    let mut frame = collected.to_bytes();
    if frame.len() < 5 || frame.get_u8() != 0 {
        return Err(broken("the answer is not one uncompressed message"));
    }
    let length = usize::try_from(frame.get_u32()).map_err(|_| broken("the answer has no length"))?;
    if length == frame.len() { Ok(frame) } else { Err(broken("the answer is not one message")) }
}
