//! What stands between gateways and what they call: a proxy that delays and cuts, and a balancer.
//!
//! Invariant: neither reads what it carries. The proxy loses nothing but with the connection that carried it; the
//! balancer gives each request to the next gateway, whatever connection it came on.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Most bytes that are carried at a time: a message may be cut in its middle.
const CHUNK_BYTES: usize = 1024;

/// A proxy of one address.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    delay_ms: Arc<AtomicU64>,
    cuts: watch::Sender<u32>,
}

impl Proxy {
    /// One that carries everything at once, until it is told otherwise.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let delay_ms = Arc::new(AtomicU64::new(0));
        let (cuts, cut) = watch::channel(0);
        let delay = Arc::clone(&delay_ms);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (delay, mut cut) = (Arc::clone(&delay), cut.clone());
                cut.mark_unchanged();
                tokio::spawn(async move {
                    // Whoever is not there is not there through the proxy either.
                    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::select! {
                        _ = cut.changed() => {}
                        () = carry(near_in, far_out, &delay) => {}
                        () = carry(far_in, near_out, &delay) => {}
                    }
                });
            }
        });
        Self { address, delay_ms, cuts }
    }

    /// Holds up whatever comes from now on.
    pub fn delay(&self, delay_ms: u64) {
        self.delay_ms.store(delay_ms, Ordering::Relaxed);
    }

    /// Ends every connection, with whatever is on its way.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    delay_ms: &AtomicU64,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        let held_up_ms = delay_ms.load(Ordering::Relaxed);
        if held_up_ms > 0 {
            tokio::time::sleep(Duration::from_millis(held_up_ms)).await;
        }
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}

/// A balancer that gives each request to the next of these.
pub async fn balancer(authorities: Vec<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let balancer = Arc::new(Balancer {
        authorities,
        next: AtomicUsize::new(0),
        http1: Client::builder(TokioExecutor::new()).build_http(),
        http2: Client::builder(TokioExecutor::new()).http2_only(true).build_http(),
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let balancer = Arc::clone(&balancer);
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| {
                    let balancer = Arc::clone(&balancer);
                    async move { Ok::<_, Infallible>(balancer.pass(request).await) }
                });
                // A connection that breaks is its client's matter.
                let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

struct Balancer {
    authorities: Vec<String>,
    next: AtomicUsize,
    http1: Client<HttpConnector, Incoming>,
    http2: Client<HttpConnector, Incoming>,
}

impl Balancer {
    async fn pass(&self, mut request: Request<Incoming>) -> Response<UnsyncBoxBody<Bytes, hyper::Error>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.authorities.len();
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() =
            format!("http://{}{path}", self.authorities[turn]).parse::<Uri>().expect("a path was a path");
        request.headers_mut().remove("host");
        let client = if request.version() == Version::HTTP_2 { &self.http2 } else { &self.http1 };
        if let Ok(response) = client.request(request).await {
            return response.map(http_body_util::BodyExt::boxed_unsync);
        }
        let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    }
}
