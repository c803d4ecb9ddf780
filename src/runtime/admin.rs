//! The operations port: is it alive, is it ready, what does it measure, and what became of events.
//!
//! Invariant: it answers without the main port and shows no secret; what changes something is behind a door of its own. `/healthz` says that the process runs;
//! `/readyz` says whether it can take requests, and what is away of what it needs or could do with.

pub mod ledger;
mod ephemeral;
pub mod token;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::body::Incoming;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::current::Current;
use super::ready::Standing;
use super::serve::{self, Answers, Bounds};
use super::webhooks;

use self::ledger::Overseen;
use self::token::Door;

/// Media type of the Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the operations port shows.
#[derive(Clone)]
pub struct Admin {
    /// Asked whether its ledger would take a commit.
    pub current: Current,
    /// What its people settle by hand.
    pub overseen: Overseen,
    /// Who may change something.
    pub door: Door,
    /// Prints what is measured.
    pub metrics: PrometheusHandle,
    /// Whether it can take requests.
    pub standing: Standing,
}

/// Serves until `stop` is called, within bounds of its own: no load on the main port takes its connections.
pub async fn serve(listener: TcpListener, admin: Admin, bounds: Bounds, stop: CancellationToken) -> bool {
    serve::serve("admin", listener, None, Answering(router(admin)), bounds, stop, CancellationToken::new()).await
}

/// The router as a port asks it.
#[derive(Clone)]
struct Answering(Router);

impl Answers for Answering {
    type Body = axum::body::Body;

    async fn answer(&self, request: http::Request<Incoming>) -> http::Response<Self::Body> {
        match self.0.clone().oneshot(request.map(axum::body::Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Measures what the gateway stands on, until `stop` is called.
pub async fn measure(overseen: Overseen, stop: CancellationToken) {
    let gateway = overseen.current.gateway();
    tokio::join!(
        ledger::measure_presence(overseen.clone(), stop.clone()),
        ledger::measure(overseen, stop.clone()),
        ephemeral::measure(gateway, stop),
    );
}

fn router(admin: Admin) -> Router {
    let ledger = ledger::router(admin.overseen.clone());
    let guarded = middleware::from_fn_with_state(admin.door.clone(), token::guard);
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .merge(webhooks::routes().route_layer(guarded.clone()))
        .with_state(admin)
        .merge(ledger.route_layer(guarded))
}

async fn ready(State(admin): State<Admin>) -> (StatusCode, String) {
    let found = admin.standing.look().await;
    (if found.is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, found.lines)
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    ([(CONTENT_TYPE, METRICS_TYPE)], admin.metrics.render())
}
