//! A proxy before a sound gateway that does one thing wrong.
//!
//! Invariant: what no act touches passes as it came, bytes and headers alike, so that whatever a run finds is the act's
//! doing. It speaks HTTP/1.1 for the JSON face and HTTP/2 for gRPC, as the gateway does, on one port.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{Request, Response, Uri, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

use super::act::Act;
use super::exchange::{Asked, Reply};

/// The sound gateway behind a proxy, as the proxy calls it.
#[derive(Clone)]
pub struct Upstream {
    authority: String,
    http1: Client<HttpConnector, Full<Bytes>>,
    http2: Client<HttpConnector, Full<Bytes>>,
}

impl Upstream {
    /// The gateway at this host and port.
    pub fn at(authority: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http1 = Client::builder(TokioExecutor::new()).build(connector.clone());
        let http2 = Client::builder(TokioExecutor::new()).http2_only(true).build(connector);
        Self { authority: authority.to_owned(), http1, http2 }
    }

    /// Passes a request on.
    pub async fn send(&self, asked: &Asked) -> Reply {
        let client = if asked.is_grpc() { &self.http2 } else { &self.http1 };
        let uri = format!("http://{}{}", self.authority, asked.path());
        let mut request = Request::builder().method(asked.method.clone()).uri(uri);
        for (name, value) in asked.headers.iter().filter(|(name, _)| !is_of_the_hop(name.as_str())) {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(asked.bytes())).expect("a request");
        let (parts, body) = client.request(request).await.expect("the gateway answers").into_parts();
        let collected = body.collect().await.expect("a whole answer");
        let trailers = collected.trailers().cloned();
        let (status, mut headers) = (parts.status, parts.headers);
        headers.remove(TRANSFER_ENCODING);
        Reply { status, headers, trailers, body: collected.to_bytes() }
    }
}

/// What is of one connection or one body, and is written anew for the next.
fn is_of_the_hop(name: &str) -> bool {
    [HOST.as_str(), CONTENT_LENGTH.as_str(), TRANSFER_ENCODING.as_str(), "connection"].contains(&name)
}

/// Serves a flawed gateway on a free port until the test ends.
pub async fn serve(upstream: Upstream, acts: Arc<[Act]>) -> Uri {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (upstream, acts) = (upstream.clone(), Arc::clone(&acts));
            tokio::spawn(async move {
                // Small answers must not wait for acknowledgements.
                stream.set_nodelay(true).expect("a socket");
                let service = service_fn(move |request| answer(upstream.clone(), Arc::clone(&acts), request));
                // A client that hangs up ends its own connection only.
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    format!("http://{address}").parse().expect("a URL")
}

async fn answer(
    upstream: Upstream,
    acts: Arc<[Act]>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let http2 = request.version() == Version::HTTP_2;
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut asked = Asked::read(&parts, body, http2);
    let mut reply = None;
    for act in acts.iter() {
        act.before(&mut asked, &mut reply, &upstream).await;
    }
    let mut reply = match reply {
        Some(reply) => reply,
        None => upstream.send(&asked).await,
    };
    for act in acts.iter() {
        act.after(&asked, &mut reply, &upstream).await;
    }
    Ok(response(reply))
}

fn response(reply: Reply) -> Response<BoxBody<Bytes, Infallible>> {
    let Reply { status, mut headers, trailers, body } = reply;
    headers.remove(CONTENT_LENGTH);
    if body.is_empty() && trailers.is_none() {
        headers.insert(CONTENT_LENGTH, 0.into());
    }
    let body = Full::new(body);
    let body = match trailers {
        Some(trailers) => body.with_trailers(async move { Some(Ok(trailers)) }).boxed(),
        None => body.boxed(),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
