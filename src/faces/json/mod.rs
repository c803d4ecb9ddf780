//! The JSON face: a transcoder in front of the gRPC services.
//!
//! Invariant: a JSON request becomes the protobuf message and goes through the very same services and layers as a gRPC
//! one, in process; no RPC is known here by name. What is wrong with the shape of a request travels with it as
//! [`Findings`] and is answered by a layer behind authentication. Only unknown paths, wrong methods
//! and the description of the face are answered here, and need no key (contract section 1).

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::ALLOW;
use http::request::Parts;
use http::{Method, Request, Response, Version};
use prost_reflect::DescriptorPool;
use tonic::body::Body;

use self::findings::Findings;
use self::routes::{Binding, BodyRule, Found, Routes};
use self::schema::Schema;
use crate::domain::catalogue::ErrorCode;
use crate::faces::grpc::direct::Message;
use crate::faces::status::ApiError;

mod answer;
pub mod findings;
pub mod framed;
mod intake;
mod openapi;
mod read;
mod routes;
mod schema;
mod text;
mod value;
mod wire;
mod write;

/// The services with all their layers, as the JSON face calls them.
pub trait Inner: Send + Sync {
    /// Answers a call of the method of this path, whose message is a [`Message`] among the extensions. A success is an
    /// [`Answer`](crate::faces::grpc::direct::Answer) among those of the response, anything else a status.
    fn call(&self, request: Request<Body>) -> InnerAnswer;
}

/// An answer of the services on its way.
pub type InnerAnswer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Which RPC a request is for.
#[derive(Debug, Clone, Copy)]
pub struct Target(usize);

/// Why the JSON face cannot start: always a fault of the protos or of the list of services.
#[derive(Debug, thiserror::Error)]
pub enum JsonFaceError {
    /// The descriptor set cannot be read.
    #[error("the descriptor set cannot be read")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// Without `google.api.http` there are no routes.
    #[error("the descriptor set has no google.api.http")]
    NoAnnotations,
    /// A service to serve is not in the descriptor set.
    #[error("there is no service {0}")]
    UnknownService(String),
    /// An option cannot be read.
    #[error("an option of {place} cannot be read")]
    Option {
        /// Full name of what has the option.
        place: String,
        /// What is wrong with it.
        source: Box<prost::DecodeError>,
    },
    /// An annotation that cannot be served.
    #[error("{rpc} cannot be served as JSON: {why}")]
    Binding {
        /// Full name of the RPC.
        rpc: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A field of a type, or with a header, that has no JSON form here.
    #[error("{0} has no JSON form here")]
    Field(String),
    /// The description of the face cannot be printed.
    #[error("the OpenAPI document cannot be printed")]
    OpenApi(#[from] serde_json::Error),
}

/// The JSON face. Cheap to clone; built once at start.
#[derive(Clone)]
pub struct JsonFace {
    face: Arc<Face>,
    /// How long a body may take to arrive.
    body_wait: Duration,
}

struct Face {
    routes: Routes,
    schema: Schema,
    inner: Arc<dyn Inner>,
    openapi: Bytes,
}

impl JsonFace {
    /// Compiles the routes of `services` (full names, for example `onbill.v1.PinService`) from an encoded descriptor
    /// set with options and comments. `inner` serves them; `version` is that of the gateway, for the description.
    ///
    /// # Errors
    ///
    /// An annotation, option or type that cannot be served, named in the error. A service that is in the descriptors
    /// and not in `services` does not exist here: its paths are unknown, and the description does not list them.
    pub fn new(
        descriptors: &[u8],
        services: &[&str],
        inner: Arc<dyn Inner>,
        version: &str,
    ) -> Result<Self, JsonFaceError> {
        let pool = DescriptorPool::decode(descriptors)?;
        let mut schema = schema::Builder::new(pool.get_extension_by_name(schema::FIELD_RULE));
        let routes = Routes::compile(&pool, services, &mut schema)?;
        let openapi = openapi::document(&pool, &routes, version)?;
        let schema = schema.finish();
        let face = Arc::new(Face { routes, schema, inner, openapi });
        Ok(Self { face, body_wait: intake::BODY_WAIT })
    }

    /// The RPC that a request is for, and its gRPC path; `None` where it is for none.
    #[must_use]
    pub fn rpc(&self, method: &Method, path: &str) -> Option<(Target, &str)> {
        match self.face.routes.find(method, path) {
            Found::Rpc(index, binding) => Some((Target(index), binding.uri.path())),
            Found::OpenApi | Found::WrongMethod(_) | Found::Nothing => None,
        }
    }

    /// Whether a request is for the description of the face.
    #[must_use]
    pub fn describes(&self, method: &Method, path: &str) -> bool {
        matches!(self.face.routes.find(method, path), Found::OpenApi)
    }

    /// Refuses a request without a look at what it says.
    pub async fn refuse<B>(&self, error: &ApiError, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let (parts, body) = request.into_parts();
        intake::discard(&parts.headers, body).await;
        answer::refusal(error)
    }

    /// The same face, which waits so long for the body of a request.
    #[must_use]
    pub fn waiting(self, body_wait: Duration) -> Self {
        Self { body_wait, ..self }
    }

    /// Answers one request. Whatever comes in, the answer is one of the contract.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
    {
        if let Some((target, _)) = self.rpc(request.method(), request.uri().path()) {
            return self.answer_rpc(target, request).await;
        }
        let face = &*self.face;
        let (parts, body) = request.into_parts();
        intake::discard(&parts.headers, body).await;
        match face.routes.find(&parts.method, parts.uri.path()) {
            Found::OpenApi => answer::json(face.openapi.clone()),
            Found::WrongMethod(allow) => {
                let mut response = answer::refusal(&ApiError::new(ErrorCode::MethodNotAllowed));
                response.headers_mut().insert(ALLOW, allow);
                response
            }
            Found::Rpc(_, _) | Found::Nothing => answer::refusal(&ApiError::new(ErrorCode::NotFound)),
        }
    }

    /// Answers a request of which is known for which RPC it is.
    pub async fn answer_rpc<B>(&self, Target(index): Target, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let face = &*self.face;
        let (mut parts, body) = request.into_parts();
        let Some(binding) = face.routes.bindings().get(index) else {
            return answer::refusal(&ApiError::new(ErrorCode::NotFound));
        };
        match face.read(binding, &parts, body, self.body_wait).await {
            Ok((message, findings)) => {
                if !findings.is_empty() {
                    parts.extensions.insert(findings);
                }
                face.call(binding, parts, message).await
            }
            Err(error) => answer::refusal(&error),
        }
    }
}

impl Face {
    /// The message of a request, and what is wrong with its shape. The error is one that cannot wait for the
    /// services: there is no such path, or no whole request.
    async fn read<B>(
        &self,
        binding: &Binding,
        parts: &Parts,
        body: B,
        body_wait: Duration,
    ) -> Result<(Vec<u8>, Findings), ApiError>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let body = match binding.body {
            BodyRule::None => {
                Box::pin(intake::discard(&parts.headers, body)).await;
                Ok(Bytes::new())
            }
            BodyRule::Whole | BodyRule::Field(_) => intake::body(&parts.headers, body, body_wait)
                .await
                .map_err(|intake::TooSlow| ApiError::new(ErrorCode::ServiceUnavailable).retry_after(1))?,
        };
        let body = body.as_ref().map(Bytes::as_ref).map_err(|reason| *reason);
        let path = binding.variables(parts.uri.path());
        let sources = read::Sources { path, query: parts.uri.query(), body };
        read::request(&self.schema, binding, &sources).map_err(|read::NoSuchPath| ApiError::new(ErrorCode::NotFound))
    }

    /// Calls the RPC in process.
    async fn call(&self, binding: &Binding, mut parts: Parts, message: Vec<u8>) -> Response<Body> {
        intake::keep_end_to_end(&mut parts.headers);
        parts.method = Method::POST;
        parts.uri = binding.uri.clone();
        parts.version = Version::HTTP_2;
        parts.extensions.insert(Message(Bytes::from(message)));
        let request = Request::from_parts(parts, Body::empty());
        answer::of_rpc(&self.schema, binding, self.inner.call(request).await)
    }
}

#[cfg(test)]
mod tests;
