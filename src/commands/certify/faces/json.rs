//! A client of the JSON face, over HTTP/1.1.
//!
//! Invariant: a request is exactly what the case says, and an answer is kept as it came. Requests are never sent
//! twice from here: whether that is safe is known elsewhere.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::answer::{Answer, Body, Expected, HeaderRule, NoAnswer, root_cause};
use super::super::cases::{Contract, Rpc, Step};
use super::super::connect::{self, Connector};
use super::super::document::Document;
use super::Target;

/// Longest answer that is read.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Idle connections are dropped before a gateway's own idle time-out is likely to cut them.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// What may stand in a path or query as it is (RFC 3986, unreserved).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A client of one gateway's JSON face.
#[derive(Clone)]
pub struct JsonClient {
    client: legacy::Client<Connector, Full<Bytes>>,
    base: Uri,
    api_key: HeaderValue,
    timeout: Duration,
    contract: Arc<Contract>,
    more: HeaderMap,
}

impl JsonClient {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// One line, where key or certificates cannot be used.
    pub fn new(target: &Target, contract: &Arc<Contract>) -> Result<Self, String> {
        let mut api_key = HeaderValue::from_str(&target.api_key).map_err(|_| "the API key is no header value")?;
        api_key.set_sensitive(true);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .build(connect::connector(target.ca_pem.as_deref(), target.timeout, connect::Protocol::Http1)?);
        let (base, timeout) = (target.url.clone(), target.timeout);
        Ok(Self { client, base, api_key, timeout, contract: Arc::clone(contract), more: HeaderMap::new() })
    }

    /// Sends this header with every request from now on.
    ///
    /// # Errors
    /// It is no header.
    pub fn add_header(&mut self, name: &'static str, value: &str) -> Result<(), String> {
        let value = HeaderValue::from_str(value).map_err(|error| format!("{name}: {error}"))?;
        self.more.insert(name, value);
        Ok(())
    }

    /// The tables that this client was made with.
    #[must_use]
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// Calls an RPC.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn call(&self, rpc: &Rpc, request: &Document, correlation: &str) -> Result<Answer, NoAnswer> {
        let (method, path) = rpc.http.split_once(' ').unwrap_or(("POST", &rpc.http));
        let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::POST);
        let (path, rest) = with_path_fields(path, request);
        let (path, body) = if method == Method::GET {
            (with_query(&path, &rest), Bytes::new())
        } else {
            (path, Bytes::from(Document::Object(rest).compact()))
        };
        let answer = self.send(method, &path, body, correlation).await?;
        Ok(answer)
    }

    /// Fetches a path as it is: for what has no RPC, such as `/openapi.json`.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn get(&self, path: &str) -> Result<Answer, NoAnswer> {
        self.send(Method::GET, path, Bytes::new(), "certify").await
    }

    async fn send(&self, method: Method, path: &str, body: Bytes, correlation: &str) -> Result<Answer, NoAnswer> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.uri(path)?)
            .header("x-api-key", self.api_key.clone())
            .header("x-correlation-id", correlation)
            .header("accept", "application/json");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let mut request = request.body(Full::new(body)).map_err(|error| NoAnswer::NotConnected(error.to_string()))?;
        request.headers_mut().extend(self.more.clone());
        match tokio::time::timeout(self.timeout, self.exchange(request, correlation)).await {
            Ok(answer) => answer,
            Err(_) => Err(NoAnswer::TimedOut(self.timeout)),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, correlation: &str) -> Result<Answer, NoAnswer> {
        let response = self.client.request(request).await.map_err(|error| {
            let cause = error.source().map_or_else(|| error.to_string(), root_cause);
            if error.is_connect() { NoAnswer::NotConnected(cause) } else { NoAnswer::Lost(cause) }
        })?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let bytes = body.map_err(|error| NoAnswer::Lost(root_cause(error.as_ref())))?.to_bytes();
        Ok(answer(&Response::from_parts(parts, bytes), correlation))
    }

    fn uri(&self, path: &str) -> Result<Uri, NoAnswer> {
        let mut parts = self.base.clone().into_parts();
        let joined = format!("{}{path}", self.base.path().trim_end_matches('/'));
        let unusable = |error: &dyn std::fmt::Display| NoAnswer::NotConnected(error.to_string());
        parts.path_and_query = Some(PathAndQuery::try_from(joined).map_err(|error| unusable(&error))?);
        Uri::from_parts(parts).map_err(|error| unusable(&error))
    }
}

fn answer(response: &Response<Bytes>, correlation: &str) -> Answer {
    let bytes = response.body().clone();
    let body = if bytes.is_empty() {
        Body::Empty
    } else {
        Document::parse(&bytes).map_or_else(|_| Body::Unreadable(beginning(&bytes)), Body::Document)
    };
    let status = response.status();
    let come_back_after = (status.as_u16() == 429).then(|| retry_after(response.headers())).flatten();
    let remarks = remarks(response, correlation);
    let headers = headers(response.headers());
    Answer { status: status.as_u16().to_string(), headers, body, bytes, come_back_after, remarks }
}

/// Headers by name; the first of those that come twice.
fn headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut by_name = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        by_name.entry(name.as_str().to_owned()).or_insert(value);
    }
    by_name
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// What the contract asks of every answer, but no use case shows.
fn remarks(response: &Response<Bytes>, correlation: &str) -> Vec<String> {
    let mut remarks = Vec::new();
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    if header("x-correlation-id") != Some(correlation) {
        remarks.push("x-correlation-id was not echoed".to_owned());
    }
    if response.status().as_u16() == 201 && response.body().is_empty() {
        let chunked = response.headers().contains_key(TRANSFER_ENCODING);
        if chunked || header(CONTENT_LENGTH.as_str()) != Some("0") {
            remarks.push("201 without content-length: 0".to_owned());
        }
    }
    remarks
}

/// Enough of a body that is no JSON for people to see what it is.
fn beginning(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(500).collect()
}

/// The path with its fields put in, and the fields that are left.
fn with_path_fields(path: &str, request: &Document) -> (String, Vec<(String, Document)>) {
    let mut filled = path.to_owned();
    let mut rest = Vec::new();
    for (key, value) in request.members() {
        let place = format!("{{{key}}}");
        if path.contains(&place) {
            filled = filled.replace(&place, &escaped(value));
        } else {
            rest.push((key.clone(), value.clone()));
        }
    }
    (filled, rest)
}

fn with_query(path: &str, fields: &[(String, Document)]) -> String {
    let query: Vec<String> = fields.iter().map(|(key, value)| format!("{key}={}", escaped(value))).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

fn escaped(value: &Document) -> String {
    let text = value.text().map_or_else(|| value.compact(), str::to_owned);
    utf8_percent_encode(&text, ESCAPED).to_string()
}

/// What a step's answer must be on this face.
#[must_use]
pub fn expected(step: &Step, answer: Option<Document>) -> Expected {
    let mut headers: BTreeMap<String, HeaderRule> =
        step.headers.iter().map(|(name, rule)| (name.clone(), HeaderRule::from_case(rule))).collect();
    if answer.is_some() {
        headers.insert("content-type".to_owned(), HeaderRule::MediaType("application/json".to_owned()));
    }
    Expected { status: step.status.to_string(), headers, body: answer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_fields_leave_the_request_and_the_rest_of_a_get_is_its_query() {
        let request = Document::parse(br#"{"id":"a/b","kind":"x y"}"#).expect("JSON");
        let (path, rest) = with_path_fields("/transaction/{id}", &request);
        assert_eq!(path, "/transaction/a%2Fb");
        assert_eq!(with_query(&path, &rest), "/transaction/a%2Fb?kind=x%20y");
    }
}
