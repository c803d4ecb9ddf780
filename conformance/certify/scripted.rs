//! A gateway that answers from a script: enough of one to see what the certifier makes of an answer.
//!
//! Invariant: it has no rules. Whatever a test wants answered, it says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use onbill::commands::certify::document::Document;
use tokio::net::TcpListener;

/// Method, path with query, body → status, headers, body.
pub type Script = dyn Fn(&str, &str, &Document) -> Reply + Send + Sync;

/// What is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers beside the content type.
    pub headers: Vec<(&'static str, String)>,
    /// Body; JSON where it is not empty.
    pub body: String,
}

impl Reply {
    /// A JSON answer.
    pub fn json(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: body.to_owned() }
    }

    /// The same, with a header.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// Serves a script on a free port until the test ends.
pub async fn serve(script: Arc<Script>) -> Uri {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let script = Arc::clone(&script);
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(Arc::clone(&script), request));
                // A client that hangs up ends its own connection only.
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    format!("http://{address}").parse().expect("a URL")
}

async fn answer(script: Arc<Script>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let document = Document::parse(&body).unwrap_or(Document::Null);
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let reply = script(parts.method.as_str(), path, &document);
    let mut response = Response::builder().status(reply.status);
    if !reply.body.is_empty() {
        response = response.header("content-type", "application/json");
    }
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(Bytes::from(reply.body))).expect("a response"))
}
