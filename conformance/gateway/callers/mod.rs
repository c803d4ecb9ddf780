//! Who may call: stolen, expired, swapped, malformed and doubled credentials on every RPC of both faces, tokens of an
//! issuer that misbehaves, and TLS.
//!
//! Invariant: the RPCs are read off the descriptors and the routes off the gateway's own description, so that a new one
//! is tried without anybody's thinking of it.

mod every_rpc;
pub mod issuer;
mod tokens;
mod encrypted;
mod operations;

use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use onbill::faces::auth::methods::SCOPES;

/// What is answered to nobody, and to who may not, on either face.
pub(super) const NOBODY: (u16, &str) = (401, r#"{"code":"authorization-failure","message":"Not authorized."}"#);
pub(super) const FORBIDDEN: (u16, &str) = (403, r#"{"code":"forbidden","message":"Forbidden."}"#);

/// What came back, without what differs from answer to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) status: u16,
    /// `grpc-status`, where there is one.
    pub(super) grpc: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

/// Calls an RPC with these headers and an empty message.
pub(super) async fn over_grpc(authority: &str, path: &str, headers: &[(&str, &str)]) -> Seen {
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let mut request = Request::post(format!("http://{authority}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from_static(&[0; 5]))).expect("a request");
    seen(client.request(request).await.expect("an answer")).await
}

/// Sends a JSON request that nothing could be done with.
pub(super) async fn over_json(authority: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Seen {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let uri: Uri = format!("http://{authority}{path}").parse().expect("a URI");
    let mut request = Request::builder().method(method.parse::<Method>().expect("a method")).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from_static(b"{ broken"))).expect("a request");
    seen(client.request(request).await.expect("an answer")).await
}

async fn seen(response: http::Response<hyper::body::Incoming>) -> Seen {
    let (head, body) = response.into_parts();
    let collected = body.collect().await.expect("a body");
    let mut all = head.headers.clone();
    all.extend(collected.trailers().cloned().unwrap_or_default());
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or("not text").to_owned();
    let differing = ["date", "x-correlation-id"];
    let kept = all.iter().filter(|(name, _)| !differing.contains(&name.as_str()));
    let mut headers: Vec<_> = kept.map(|(name, value)| (name.to_string(), text(value))).collect();
    headers.sort();
    Seen {
        status: head.status.as_u16(),
        grpc: all.get("grpc-status").map(text).unwrap_or_default(),
        headers,
        body: String::from_utf8_lossy(&collected.to_bytes()).into_owned(),
    }
}

/// Every RPC, by its path.
pub(super) fn rpcs() -> impl Iterator<Item = &'static str> {
    SCOPES.iter().map(|(path, _)| *path)
}

/// Every route, as the gateway itself describes it.
pub(super) async fn routes(authority: &str) -> Vec<(String, String)> {
    let document = over_json(authority, "GET", "/openapi.json", &[]).await;
    let document: serde_json::Value = serde_json::from_str(&document.body).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let filled = |path: &String| path.replace(['{', '}'], "");
    let all = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods");
        methods.keys().map(move |method| (method.to_uppercase(), filled(path)))
    });
    all.collect()
}
