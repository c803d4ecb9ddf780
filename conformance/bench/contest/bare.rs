//! What the gateway is held against: the same libraries with nothing behind them, and a CSP that books nothing.
//!
//! Invariant: as plain as their own documentation shows them: no layers, no checks, a fixed answer. They speak the
//! gateway's API, so that the very same load meets them.

use std::convert::Infallible;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::routing::{get, post};
use onbill::faces::pb::v1;
use onbill::faces::pb::v1::account_service_server::{AccountService, AccountServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

pub async fn listen() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("listening on http://{}", listener.local_addr().expect("an address"));
    listener
}

struct Echo;

#[tonic::async_trait]
impl AccountService for Echo {
    async fn validate_account(
        &self,
        _request: Request<v1::ValidateAccountRequest>,
    ) -> Result<Response<v1::ValidateAccountResponse>, Status> {
        Ok(Response::new(v1::ValidateAccountResponse {
            status: "ACTIVE".to_owned(),
            r#type: "postpaid".to_owned(),
            account_id: "acc_0123456789012345678901234567890123456789".to_owned(),
        }))
    }
}

/// tonic, one method.
pub async fn tonic() -> Infallible {
    let incoming = tonic::transport::server::TcpIncoming::from(listen().await).with_nodelay(Some(true));
    let served = tonic::transport::Server::builder()
        .add_service(AccountServiceServer::new(Echo))
        .serve_with_incoming(incoming)
        .await;
    panic!("it ended: {served:?}");
}

/// The request, read as a program would that needs its fields.
#[derive(Deserialize)]
#[allow(dead_code, reason = "they are read, and nothing is done with them")]
struct Asked {
    r#type: String,
    address: String,
}

#[derive(Serialize)]
struct Answered {
    status: &'static str,
    r#type: &'static str,
}

/// axum, one route.
pub async fn axum() -> Infallible {
    let validate = |Json(_): Json<Asked>| async { Json(Answered { status: "ACTIVE", r#type: "postpaid" }) };
    serve(axum::Router::new().route("/account/validate", post(validate))).await
}

/// A time that all wait for, to some ten microseconds: a runtime's timer would round it up to its next millisecond, and
/// what it adds would count as the gateway's.
#[derive(Clone)]
struct Exactly {
    delay: Duration,
    waiting: mpsc::Sender<(Instant, oneshot::Sender<()>)>,
}

impl Exactly {
    fn new(delay: Duration) -> Self {
        let (waiting, next) = mpsc::channel::<(Instant, oneshot::Sender<()>)>();
        // All wait equally long, so that they are due in the order in which they came.
        std::thread::spawn(move || {
            for (due, waiter) in next {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let _ = waiter.send(());
            }
        });
        Self { delay, waiting }
    }

    async fn wait(&self) {
        if !self.delay.is_zero() {
            let (over, is_over) = oneshot::channel();
            self.waiting.send((Instant::now() + self.delay, over)).expect("the thread runs");
            is_over.await.expect("the thread runs");
        }
    }
}

/// A CSP that knows everybody and books everything in no time, or after a while.
pub async fn csp(delay: Duration) -> Infallible {
    let (before_account, before_booking) = (Exactly::new(delay), Exactly::new(delay));
    let validate = move |Json(asked): Json<Value>| async move {
        before_account.wait().await;
        let who = asked["address"].as_str().or(asked["accountId"].as_str()).unwrap_or_default().to_owned();
        Json(json!({ "accountId": format!("sub-{who}"), "status": "ACTIVE", "type": "postpaid", "eligible": true }))
    };
    let book = move |Json(asked): Json<Value>| async move {
        before_booking.wait().await;
        Json(json!({
            "transactionId": asked["transactionId"], "status": "booked", "amount": asked["amount"],
            "currency": asked["currency"], "bookedAt": "2026-11-23T04:00:00Z",
        }))
    };
    let never = || async { (axum::http::StatusCode::NOT_FOUND, Json(json!({ "code": "unknown-transaction" }))) };
    let router = axum::Router::new()
        .route("/account/validate", post(validate))
        .route("/transaction", post(book))
        .route("/transaction/{id}", get(never));
    serve(router).await
}

struct Taking;

#[tonic::async_trait]
impl TraceService for Taking {
    async fn export(
        &self,
        _request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A collector that takes spans over OTLP and keeps none.
pub async fn collector() -> Infallible {
    let incoming = tonic::transport::server::TcpIncoming::from(listen().await);
    let service = TraceServiceServer::new(Taking);
    let served = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await;
    panic!("it ended: {served:?}");
}

async fn serve(router: axum::Router) -> Infallible {
    let listener = axum::serve::ListenerExt::tap_io(listen().await, |stream| drop(stream.set_nodelay(true)));
    let served = axum::serve(listener, router).await;
    panic!("it ended: {served:?}");
}
