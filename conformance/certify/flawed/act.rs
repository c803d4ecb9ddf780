//! What a flawed gateway does otherwise than a sound one.
//!
//! Invariant: an act says in one line what is wrong, and touches no call but those that it is about.

use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::exchange::{Asked, GrpcAnswer, Reply};
use super::proxy::Upstream;

/// What an act sees of an answer.
pub struct Seen {
    /// The error code, where it is no success.
    pub code: Option<String>,
    /// It repeats an earlier answer.
    pub replay: bool,
}

/// One deed.
#[derive(Clone, Copy)]
pub enum Act {
    /// Something else is asked of the gateway.
    Ask(fn(&mut Asked)),
    /// The gateway is not asked at all, and success is answered.
    Swallow(fn(&Asked) -> bool),
    /// The gateway is asked to do something else first, over JSON.
    First(fn(&Asked) -> Vec<Besides>),
    /// The gateway is asked to do something else afterwards, over JSON.
    Then(fn(&Asked, &Seen) -> Vec<Besides>),
    /// A refusal is answered as a success.
    Pardon(fn(&Asked, &str) -> bool),
    /// The JSON answer is another one.
    Json(fn(&Asked, &mut Reply)),
    /// The text of the JSON body is another one.
    Text(fn(&Asked, &str) -> String),
    /// A header of either face is another one.
    Headers(fn(&Asked, &mut Reply)),
    /// The gRPC answer is another one.
    Grpc(fn(&Asked, &mut GrpcAnswer)),
}

/// A call that is made besides: path and body.
pub type Besides = (&'static str, Value);

impl Act {
    /// What is done before the gateway is asked.
    pub async fn before(&self, asked: &mut Asked, reply: &mut Option<Reply>, upstream: &Upstream) {
        match self {
            Self::Ask(change) => change(asked),
            Self::Swallow(which) if which(asked) => *reply = Some(Reply::success(asked)),
            Self::First(what) => besides(upstream, what(asked)).await,
            _ => {}
        }
    }

    /// What is done once it has answered.
    pub async fn after(&self, asked: &Asked, reply: &mut Reply, upstream: &Upstream) {
        match self {
            Self::Then(what) => {
                let seen = Seen { code: reply.code(asked), replay: reply.is_replay() };
                besides(upstream, what(asked, &seen)).await;
            }
            Self::Pardon(which) if reply.code(asked).is_some_and(|code| which(asked, &code)) => {
                *reply = Reply::success(asked);
            }
            Self::Json(change) if !asked.is_grpc() => change(asked, reply),
            Self::Text(change) if !asked.is_grpc() => {
                let text = String::from_utf8(reply.body.to_vec()).expect("text");
                reply.body = change(asked, &text).into();
            }
            Self::Headers(change) => change(asked, reply),
            Self::Grpc(change) if asked.is_grpc() && !asked.rpc.is_empty() => {
                let mut answer = GrpcAnswer::read(asked, reply);
                change(asked, &mut answer);
                answer.write(reply);
            }
            _ => {}
        }
    }
}

async fn besides(upstream: &Upstream, calls: Vec<Besides>) {
    for (path, body) in calls {
        let reply = upstream.send(&Asked::post(path, &body)).await;
        assert!(reply.status.is_success() || reply.status == 400, "{path}: {}", reply.status);
    }
}

/// The same transaction under another id.
pub fn once_more(asked: &Asked, id: &str) -> Besides {
    let mut body = json!({ "extTransactionId": format!("{}-{id}", asked.text("extTransactionId")) });
    for name in ["type", "address", "partnerProduct", "amount", "currency", "description"] {
        body[name] = asked.text(name).into();
    }
    ("/transaction", body)
}

/// A message to the same number.
pub fn message(asked: &Asked, text: &str) -> Besides {
    ("/notification", json!({ "type": "MSISDN", "address": asked.text("address"), "message": text }))
}

impl GrpcAnswer {
    /// Answers a refusal with another code.
    pub fn recode(&mut self, from: Code, to: Code) {
        if self.status.code() == from {
            let (message, details) = (self.status.message().to_owned(), self.status.get_error_details());
            self.status = Status::with_error_details(to, message, details);
        }
    }

    /// Answers a refusal with another message.
    pub fn reword(&mut self, from: &str, to: &str) {
        if self.status.message() == from {
            self.status = Status::with_error_details(self.status.code(), to, self.status.get_error_details());
        }
    }

    /// Answers a refusal with other details.
    pub fn detail(&mut self, change: impl FnOnce(ErrorDetails) -> ErrorDetails) {
        if self.status.code() != Code::Ok {
            let details = change(self.status.get_error_details());
            self.status = Status::with_error_details(self.status.code(), self.status.message(), details);
        }
    }

    /// Answers a refusal with another ErrorInfo: reason, domain, code.
    pub fn inform(&mut self, change: impl FnOnce(&mut String, &mut String, &mut String)) {
        self.detail(|mut details| {
            let info = details.error_info().expect("ErrorInfo").clone();
            let (mut reason, mut domain) = (info.reason, info.domain);
            let mut code = info.metadata.get("code").expect("a code").clone();
            change(&mut reason, &mut domain, &mut code);
            details.set_error_info(reason, domain, [("code".to_owned(), code)]);
            details
        });
    }

    /// Answers a refusal with other violations.
    pub fn violate(&mut self, change: impl Fn(&mut FieldViolation)) {
        self.detail(|mut details| {
            if let Some(mut violations) = details.bad_request().map(|request| request.field_violations.clone()) {
                violations.iter_mut().for_each(change);
                details.set_bad_request(violations);
            }
            details
        });
    }
}
