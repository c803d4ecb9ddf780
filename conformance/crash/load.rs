//! The load: clients that charge, repeat themselves, refund in whole and in part, and hang up.
//!
//! Invariant: a client never asks for another thing under a key that it has used.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use onbill::faces::pb::v1::transaction_service_client::TransactionServiceClient;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use super::story::{Ask, Stories, Verdict};
use super::{Draw, PARTNER_KEY};
use crate::gateway::client::answered;
use crate::operator::Operator;

/// Longest wait of a client that does not hang up; longer than the gateway's own deadline.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a client waits that has found nobody.
const DOWN_PAUSE: Duration = Duration::from_millis(20);
/// What the accounts do, by the last digits of their numbers: mostly nothing, else lose answers, never arrive, take
/// their time, or turn each request away twice.
const CONDITIONS: [&str; 12] = ["01", "01", "01", "01", "01", "01", "01", "11", "12", "13", "14", "20"];

/// How a client speaks to the gateway.
#[derive(Debug, Clone, Copy)]
pub enum Face {
    Json,
    Grpc,
}

impl Face {
    const fn other(self) -> Self {
        match self {
            Self::Json => Self::Grpc,
            Self::Grpc => Self::Json,
        }
    }
}

/// A partner's client, which calls one gateway after another, wherever each has been started again.
#[derive(Clone)]
pub struct Client {
    /// All that may be called.
    authorities: watch::Receiver<Vec<String>>,
    turn: Arc<AtomicUsize>,
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    channels: Arc<Mutex<BTreeMap<String, Channel>>>,
    stories: Arc<Stories>,
    down: Arc<AtomicBool>,
}

impl Client {
    pub fn new(authorities: watch::Receiver<Vec<String>>, stories: Arc<Stories>) -> Self {
        Self {
            authorities,
            turn: Arc::default(),
            http: legacy::Client::builder(TokioExecutor::new()).build_http(),
            channels: Arc::default(),
            stories,
            down: Arc::default(),
        }
    }

    /// Asks over a face, and hangs up when its patience is over. What is heard becomes part of the story.
    pub async fn ask(&self, ask: &Ask, face: Face, patience: Duration) {
        self.stories.begin(ask);
        let began = self.stories.now();
        let call = async {
            match face {
                Face::Json => self.call(Method::POST, "/transaction", ask.body().to_string()).await,
                Face::Grpc => self.call_grpc(ask).await,
            }
        };
        let answer = tokio::time::timeout(patience, call).await.ok().flatten();
        self.stories.add(ask, began, answer);
    }

    /// Whose turn it is.
    fn authority(&self) -> String {
        let authorities = self.authorities.borrow();
        authorities[self.turn.fetch_add(1, Ordering::Relaxed) % authorities.len()].clone()
    }

    /// Asks over gRPC. What comes is told as the JSON face would, so that both are held against one another.
    async fn call_grpc(&self, ask: &Ask) -> Option<(u16, String)> {
        let authority = self.authority();
        let channel = match self.channels.lock().expect("no panic before").get(&authority).cloned() {
            Some(channel) => channel,
            None => Channel::from_shared(format!("http://{authority}")).expect("a URI").connect_lazy(),
        };
        self.channels.lock().expect("no panic before").entry(authority).or_insert_with(|| channel.clone());
        let mut request = tonic::Request::new(ask.message());
        request.metadata_mut().insert("x-api-key", PARTNER_KEY.parse().expect("a key"));
        let answer = TransactionServiceClient::new(channel).create_transaction(request).await;
        // What the client's own library makes up, for want of an answer, has no details.
        let unheard = answer.as_ref().err().is_some_and(|status| status.get_details_error_info().is_none());
        self.down.store(unheard, Ordering::Relaxed);
        match answer {
            Ok(answer) => {
                let answer = answer.into_inner();
                Some((200, answered(&answer.ext_transaction_id, &answer.status, &answer.description)))
            }
            Err(_) if unheard => None,
            Err(status) => {
                let http = match status.code() {
                    Code::InvalidArgument | Code::AlreadyExists | Code::FailedPrecondition => 400,
                    Code::NotFound => 404,
                    Code::Unavailable => 503,
                    other => panic!("{other:?}: {status:?}"),
                };
                Some((http, status.message().to_owned()))
            }
        }
    }

    /// Gets a path.
    pub async fn get(&self, path: &str) -> Option<(u16, Value)> {
        let call = self.call(Method::GET, path, String::new());
        let (status, body) = tokio::time::timeout(PATIENCE, call).await.ok().flatten()?;
        Some((status, serde_json::from_str(&body).expect("JSON")))
    }

    /// Asks as long as it takes, within reason.
    pub async fn ask_patiently(&self, ask: &Ask) {
        self.ask(ask, Face::Json, PATIENCE).await;
    }

    /// Whether the last attempt found nobody.
    fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    async fn call(&self, method: Method, path: &str, body: String) -> Option<(u16, String)> {
        let authority = self.authority();
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{authority}{path}"))
            .header("x-api-key", PARTNER_KEY)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        let sent = self.http.request(request).await;
        self.down.store(sent.is_err(), Ordering::Relaxed);
        let response = sent.ok()?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        Some((status, String::from_utf8(body.to_vec()).expect("UTF-8")))
    }
}

/// Loads the gateway until it is told to stop.
pub async fn run(client: Client, number: u64, mut draw: Draw, stop: CancellationToken) {
    let mut asked: Vec<Ask> = Vec::new();
    let mut count = 0_u32;
    while !stop.is_cancelled() {
        count += 1;
        let ask = match draw.below(10) {
            0..=4 => charge(number, count, &mut draw),
            5 | 6 if !asked.is_empty() => pick(&asked, &mut draw),
            _ => match refund(&client, number, count, &asked, &mut draw) {
                Some(ask) => ask,
                None => charge(number, count, &mut draw),
            },
        };
        asked.push(ask.clone());
        let patience = if draw.percent(20) { Duration::from_millis(draw.below(40)) } else { PATIENCE };
        let face = if draw.percent(50) { Face::Json } else { Face::Grpc };
        if draw.percent(15) {
            tokio::join!(client.ask(&ask, face, patience), client.ask(&ask, face.other(), PATIENCE));
        } else {
            client.ask(&ask, face, patience).await;
        }
        if client.is_down() {
            tokio::time::sleep(DOWN_PAUSE).await;
        }
        tokio::time::sleep(Duration::from_millis(draw.below(15))).await;
    }
}

fn charge(client: u64, count: u32, draw: &mut Draw) -> Ask {
    let condition = CONDITIONS[usize::try_from(draw.below(12)).expect("small")];
    let number = format!("555{:05}{condition}", draw.below(40));
    Ask { kind: "charge", id: format!("{client}-{count}"), charge: None, number, minor: 1 + draw.below(5000) }
}

fn pick(asked: &[Ask], draw: &mut Draw) -> Ask {
    let bound = u64::try_from(asked.len()).expect("small");
    asked[usize::try_from(draw.below(bound)).expect("small")].clone()
}

/// A refund of one of its own charges: in whole under the charge's id, or some of it under an id of its own.
fn refund(client: &Client, number: u64, count: u32, asked: &[Ask], draw: &mut Draw) -> Option<Ask> {
    let booked: Vec<Ask> = asked
        .iter()
        .filter(|ask| ask.charge.is_none() && client.stories.verdict(ask) == Some(Verdict::Success))
        .cloned()
        .collect();
    if booked.is_empty() {
        return None;
    }
    let of = pick(&booked, draw);
    let in_whole = draw.percent(30);
    let id = if in_whole { of.id.clone() } else { format!("{number}-{count}") };
    let minor = if in_whole { of.minor } else { 1 + draw.below(of.minor) };
    Some(Ask { kind: "refund", id, charge: Some(of.id.clone()), number: of.number.clone(), minor })
}

/// Has the operator misbehave for the next while. Every fault is one after which it answers inquiries truthfully, and
/// what is late is never later than it has promised.
pub async fn trouble(operator: &Operator, draw: &mut Draw) {
    for _ in 0..4 {
        let verb = ["charge", "charge", "refund", "inquire", "account"][usize::try_from(draw.below(5)).expect("small")];
        let delay_ms = 400 + draw.below(1000);
        let mut fault = match draw.below(16) {
            0 => json!({ "fault": "answer-lost" }),
            1 => json!({ "fault": "request-lost" }),
            2 => json!({ "fault": "cut-before" }),
            3 => json!({ "fault": "cut-after" }),
            4 => json!({ "fault": "cut-answer" }),
            5 => json!({ "fault": "delay", "delayMs": delay_ms }),
            6 | 7 | 13..=15 => json!({ "fault": "late", "delayMs": delay_ms }),
            8 => json!({ "fault": "twice" }),
            9 => json!({ "fault": "not-applied" }),
            10 => json!({ "fault": "status", "status": 500, "applied": true }),
            11 => json!({ "fault": "status", "status": 429 }),
            _ => json!({ "fault": "broken-json" }),
        };
        fault["verb"] = json!(verb);
        fault["count"] = json!(1 + draw.below(30));
        fault["nth"] = json!(1 + draw.below(20));
        let ordered = operator.client().post("/faults", &fault).await;
        assert_eq!(ordered.status, 201, "{fault}: {ordered:?}");
    }
}

/// Has it behave again.
pub async fn peace(operator: &Operator) {
    let deleted = operator.client().send(Method::DELETE, "/faults", &[], Bytes::new()).await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
}
