//! A plain HTTP client: bytes out, bytes in.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::process::Running;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    /// A header's text, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status and body, as most claims are about.
    pub fn brief(&self) -> (u16, &str) {
        (self.status, &self.body)
    }
}

/// A partner at a gateway.
#[derive(Clone)]
pub struct Partner {
    base: String,
    key: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Partner {
    /// The sandbox's first partner.
    pub fn demo(gateway: &Running) -> Self {
        Self::with_key(gateway, "demo-key")
    }

    /// The sandbox's second partner.
    pub fn other(gateway: &Running) -> Self {
        Self::with_key(gateway, "other-key")
    }

    pub fn with_key(gateway: &Running, key: &str) -> Self {
        Self::at(gateway.authority(), key)
    }

    /// A partner at any address.
    pub fn at(authority: &str, key: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { base: format!("http://{authority}"), key: key.to_owned(), client }
    }

    /// Sends a request as it is, with the key unless a header of that name is given.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.try_send(method, path, headers, body).await.expect("an answer")
    }

    /// The same; `None` where the connection breaks, or there is none.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Option<Answer> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-api-key")) {
            request = request.header("x-api-key", &self.key);
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let response = self.client.request(request).await.ok()?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("UTF-8");
        Some(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string()).await
    }

    /// Posts a text as JSON.
    pub async fn post_text(&self, path: &str, body: &str) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], body.to_owned()).await
    }

    /// Gets a path.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    /// Charges, with fields put over those of a perfect charge; null takes a field away.
    pub async fn charge(&self, number: &str, id: &str, fields: Value) -> Answer {
        self.post("/transaction", &charge(number, id, fields)).await
    }

    /// The CSP's bill of a number: amounts and the total.
    pub async fn bill(&self, number: &str) -> (Vec<String>, String) {
        let bill = self.get(&format!("/sandbox/bill?address={number}")).await.json();
        let lines = bill["lines"].as_array().expect("lines");
        let amounts = lines.iter().map(|line| line["amount"].as_str().expect("an amount").to_owned()).collect();
        (amounts, bill["total"].as_str().expect("a total").to_owned())
    }

    /// The texts that a number has received, newest first.
    pub async fn inbox(&self, number: &str) -> Vec<String> {
        let inbox = self.get(&format!("/sandbox/messages?address={number}")).await.json();
        let messages = inbox["messages"].as_array().expect("messages");
        messages.iter().map(|message| message["text"].as_str().expect("a text").to_owned()).collect()
    }

    /// The newest PIN that a number has received: the only run of six digits.
    pub async fn pin(&self, number: &str) -> String {
        let text = self.inbox(number).await.into_iter().next().expect("a message");
        let runs: Vec<&str> = text.split(|c: char| !c.is_ascii_digit()).filter(|run| run.len() == 6).collect();
        assert_eq!(runs.len(), 1, "one run of six digits");
        runs[0].to_owned()
    }

    /// Moves the gateway's clock.
    pub async fn advance(&self, seconds: u32) {
        let answer = self.post("/sandbox/clock/advance", &json!({ "seconds": seconds })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// The body of a charge.
#[allow(clippy::needless_pass_by_value, reason = "callers write the fields in place")]
pub fn charge(number: &str, id: &str, fields: Value) -> Value {
    let mut body = json!({
        "extTransactionId": id,
        "type": "MSISDN",
        "address": number,
        "partnerProduct": "ott-basic",
        "amount": "9.99",
        "currency": "MXN",
    });
    let base = body.as_object_mut().expect("an object");
    for (name, value) in fields.as_object().expect("fields") {
        if value.is_null() {
            base.remove(name);
        } else {
            base.insert(name.clone(), value.clone());
        }
    }
    body
}

/// The body of `invalid-request` with these violations.
pub fn invalid(violations: &[(&str, &str)]) -> String {
    let lone = matches!(violations, [("violation-on-currency" | "negative-amount", _)]);
    let message = if lone { "Invalid request" } else { "Invalid request." };
    let listed: Vec<Value> =
        violations.iter().map(|(code, reason)| json!({ "code": code, "reason": reason })).collect();
    json!({ "code": "invalid-request", "message": message, "validationErrors": listed }).to_string()
}

/// The body of a charge's or refund's answer.
pub fn answered(id: &str, status: &str, description: &str) -> String {
    json!({ "extTransactionId": id, "status": status, "description": description }).to_string()
}

/// The amounts on an operator's bill of a number.
pub async fn bill_of(operator: &Partner, number: &str) -> Vec<String> {
    let bill = operator.get(&format!("/bill?address={number}")).await.json();
    let lines = bill["lines"].as_array().expect("lines");
    lines.iter().map(|line| line["amount"].as_str().expect("an amount").to_owned()).collect()
}
