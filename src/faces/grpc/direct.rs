//! Calls of the services from within the process: a message in, a message out.
//!
//! Invariant: the same method runs as for a gRPC client, with the same request and the same answer; only what gRPC puts
//! around a message on its way (frames, buffers, trailers) is left out, which would be a fifth of a call over JSON. Which
//! methods there are is generated from the protos, so that a new one needs no edit here. Streams are not called so.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::Extensions;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::codec::unreadable;

/// The message of a request, among its extensions; its body is empty.
#[derive(Debug, Clone)]
pub struct Message(pub Bytes);

/// The message of an answer that is a success, among its extensions; its body is empty.
#[derive(Debug, Clone)]
pub struct Answer(pub Bytes);

/// A call on its way.
pub(super) type Called = Pin<Box<dyn Future<Output = http::Response<Body>> + Send>>;

/// A method, called with what came with a message, and the message.
pub(super) type Call = Box<dyn Fn(MetadataMap, Extensions, Bytes) -> Called + Send + Sync>;

/// Methods by their paths.
pub(super) type Calls = Vec<(&'static str, Call)>;

/// A method that answers once.
fn unary<S, M, R, F, C>(service: &Arc<S>, call: C) -> Call
where
    S: Send + Sync + 'static,
    M: prost::Message + Default + Send + 'static,
    R: prost::Message,
    F: Future<Output = Result<Response<R>, Status>> + Send + 'static,
    C: Fn(Arc<S>, Request<M>) -> F + Send + Sync + 'static,
{
    let service = Arc::clone(service);
    Box::new(move |metadata, extensions, message| {
        let begun = M::decode(message)
            .map(|message| call(Arc::clone(&service), Request::from_parts(metadata, extensions, message)));
        Box::pin(async move {
            match begun {
                Ok(answered) => answered.await.map_or_else(Status::into_http, answer),
                Err(error) => unreadable(&error).into_http(),
            }
        })
    })
}

fn answer<R: prost::Message>(response: Response<R>) -> http::Response<Body> {
    let (metadata, message, extensions) = response.into_parts();
    let mut answer = http::Response::new(Body::empty());
    *answer.headers_mut() = metadata.into_headers();
    *answer.extensions_mut() = extensions;
    answer.extensions_mut().insert(Answer(Bytes::from(message.encode_to_vec())));
    answer
}

include!(concat!(env!("OUT_DIR"), "/direct.rs"));
