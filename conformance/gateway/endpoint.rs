//! A partner's endpoint for events, on this machine: it keeps what it gets and answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::Value;

use super::process::Setup;

/// Longest wait for an event: generous, since test machines are busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// The secret that tests sign with.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What came.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
    /// What it was answered with.
    pub status: u16,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// The id of the transaction that it tells of, its kind and its status.
    pub fn brief(&self) -> (String, String, String) {
        let data = &self.json()["data"];
        let text = |name: &str| data[name].as_str().expect("a text").to_owned();
        (text("extTransactionId"), text("kind"), text("status"))
    }

    /// Whether a secret has signed it, by the reference implementation, time included.
    pub fn is_signed_by(&self, secret: &str) -> bool {
        let verifier = standardwebhooks::Webhook::new(secret).expect("a secret");
        verifier.verify(self.body.as_bytes(), &self.headers).is_ok()
    }
}

#[derive(Default)]
struct Kept {
    received: Vec<Received>,
    answers: VecDeque<u16>,
}

/// An endpoint that listens.
#[derive(Clone)]
pub struct Endpoint {
    kept: Arc<Mutex<Kept>>,
    pub authority: String,
}

impl Endpoint {
    /// Answers with these statuses in turn, and with 204 afterwards. 0 stands for no answer at all.
    pub async fn answering(statuses: &[u16]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let authority = listener.local_addr().expect("an address").to_string();
        let kept = Arc::new(Mutex::new(Kept { received: Vec::new(), answers: statuses.iter().copied().collect() }));
        let router = Router::new().fallback(take).with_state(Arc::clone(&kept));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { kept, authority }
    }

    pub async fn new() -> Self {
        Self::answering(&[]).await
    }

    pub fn url(&self) -> String {
        format!("http://{}/events", self.authority)
    }

    /// All that has come so far.
    pub fn received(&self) -> Vec<Received> {
        self.kept.lock().expect("not poisoned").received.clone()
    }

    /// Waits until so many have come.
    pub async fn wait(&self, count: usize) -> Vec<Received> {
        let since = Instant::now();
        loop {
            let received = self.received();
            if received.len() >= count {
                return received;
            }
            assert!(since.elapsed() < PATIENCE, "only {} of {count} came: {received:#?}", received.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn take(State(kept): State<Arc<Mutex<Kept>>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Answer {
    let status = {
        let mut kept = kept.lock().expect("not poisoned");
        let status = kept.answers.pop_front().unwrap_or(204);
        let body = String::from_utf8(body.to_vec()).expect("UTF-8");
        kept.received.push(Received { path: uri.path().to_owned(), headers, body, status });
        status
    };
    if status == 0 {
        std::future::pending::<()>().await;
    }
    (StatusCode::from_u16(status).expect("a status"), [("location", "/elsewhere")])
}

type Answer = (StatusCode, [(&'static str, &'static str); 1]);

/// Settings that send a partner's events to an endpoint. The partner is as variables name it.
pub fn with_endpoint(setup: Setup, partner: &str, url: &str, secrets: &str) -> Setup {
    setup
        .environment(&format!("ONBILL__PARTNER__{partner}__WEBHOOK__URL"), url)
        .environment(&format!("ONBILL__PARTNER__{partner}__WEBHOOK__SECRETS"), secrets)
        .environment(&format!("ONBILL__PARTNER__{partner}__WEBHOOK__ALLOW_PRIVATE"), "true")
}
