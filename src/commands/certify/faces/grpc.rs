//! A client of the gRPC face that writes and reads messages by their descriptors.
//!
//! Invariant: one generic path for every RPC, and nothing of an answer is lost: initial metadata is kept apart from
//! trailers, and fields that the descriptors do not know show as `#<number>`. Calls are never sent twice from here.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost_reflect::DescriptorPool;
use tonic::client::Grpc;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{Ascii, KeyAndValueRef, MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::super::answer::{Answer, Body, Expected, HeaderRule, NoAnswer, root_cause};
use super::super::cases::{Contract, Rpc, Step};
use super::super::connect;
use super::super::document::Document;
use super::Target;
use super::message;
use crate::faces::pb;

/// `google.rpc.ErrorInfo.domain` of every error (contract section 4).
const ERROR_DOMAIN: &str = "onbill";

/// A client of one gateway's gRPC face.
#[derive(Clone)]
pub struct GrpcClient {
    channel: Channel,
    pool: DescriptorPool,
    api_key: MetadataValue<Ascii>,
    timeout: Duration,
    contract: Arc<Contract>,
    more: Vec<(&'static str, MetadataValue<Ascii>)>,
}

impl GrpcClient {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// One line, where URL, key or certificates cannot be used.
    pub fn new(target: &Target, contract: &Arc<Contract>) -> Result<Self, String> {
        let mut api_key: MetadataValue<Ascii> =
            target.api_key.parse().map_err(|_| "the API key is no metadata value")?;
        api_key.set_sensitive(true);
        let pool = DescriptorPool::decode(pb::DESCRIPTORS).map_err(|error| error.to_string())?;
        let channel = connect::channel(&target.url, target.ca_pem.as_deref(), target.timeout)?;
        Ok(Self { channel, pool, api_key, timeout: target.timeout, contract: Arc::clone(contract), more: Vec::new() })
    }

    /// Sends this metadata with every call from now on.
    ///
    /// # Errors
    /// It is no metadata.
    pub fn add_header(&mut self, name: &'static str, value: &str) -> Result<(), String> {
        let value = value.parse().map_err(|_| format!("{name}: no metadata value"))?;
        self.more.push((name, value));
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
        match tokio::time::timeout(self.timeout, self.exchange(rpc, request, correlation)).await {
            Ok(answer) => answer,
            Err(_) => Err(NoAnswer::TimedOut(self.timeout)),
        }
    }

    async fn exchange(&self, rpc: &Rpc, document: &Document, correlation: &str) -> Result<Answer, NoAnswer> {
        let unusable = |why: String| NoAnswer::NotConnected(why);
        let (input, output) = message::types(&self.pool, &rpc.grpc).map_err(unusable)?;
        let mut request = Request::new(message::encode(input, document).map_err(unusable)?);
        request.metadata_mut().insert("x-api-key", self.api_key.clone());
        for (name, value) in &self.more {
            request.metadata_mut().insert(*name, value.clone());
        }
        if let Ok(value) = correlation.parse() {
            request.metadata_mut().insert("x-correlation-id", value);
        }
        let path = PathAndQuery::try_from(rpc.grpc.as_str()).map_err(|error| unusable(error.to_string()))?;
        let mut client = Grpc::new(self.channel.clone());
        client.ready().await.map_err(|error| NoAnswer::NotConnected(root_cause(&error)))?;
        // As a stream: only so are initial metadata and trailers told apart.
        let response = match client.server_streaming(request, path, RawCodec).await {
            Ok(response) => response,
            Err(status) => return refusal(&status, &MetadataMap::new(), correlation),
        };
        let (metadata, mut stream, _) = response.into_parts();
        let mut messages: Vec<Bytes> = Vec::new();
        loop {
            match stream.message().await {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(status) => return refusal(&status, &metadata, correlation),
            }
        }
        let body = match messages.as_slice() {
            [bytes] => message::decode(output, bytes).map_or_else(Body::Unreadable, Body::Document),
            [] => Body::Empty,
            several => Body::Unreadable(format!("{} messages in answer to one", several.len())),
        };
        Ok(success(rpc, body, messages.concat().into(), &metadata, correlation))
    }
}

fn success(rpc: &Rpc, body: Body, bytes: Bytes, metadata: &MetadataMap, correlation: &str) -> Answer {
    let mut headers = headers(metadata);
    let mut body = body;
    if let Body::Document(document) = &mut body {
        for (field, header) in &rpc.headers {
            if let Some(Document::Text(value)) = document.take(field) {
                headers.insert(header.clone(), value);
            }
        }
    }
    let remarks = remarks(&headers, correlation);
    Answer { status: "OK".to_owned(), headers, body, bytes, come_back_after: None, remarks }
}

/// An error as the gateway sent it; what the client's own library says of a broken connection is no answer.
fn refusal(status: &Status, initial: &MetadataMap, correlation: &str) -> Result<Answer, NoAnswer> {
    if let Some(source) = status.source() {
        let connect = status.code() == Code::Unavailable;
        let cause = root_cause(source);
        return Err(if connect { NoAnswer::NotConnected(cause) } else { NoAnswer::Lost(cause) });
    }
    let mut headers = headers(status.metadata());
    headers.extend(self::headers(initial));
    let remarks = remarks(&headers, correlation);
    let details = status.check_error_details();
    let come_back_after = (status.code() == Code::ResourceExhausted)
        .then(|| details.as_ref().ok().and_then(|details| details.retry_info()?.retry_delay))
        .flatten();
    Ok(Answer {
        status: name(status.code()).to_owned(),
        headers,
        body: Body::Document(error_document(status)),
        bytes: Bytes::copy_from_slice(status.details()),
        come_back_after,
        remarks,
    })
}

/// An error, its message and the two details of the contract, as a document.
fn error_document(status: &Status) -> Document {
    let mut members = vec![("message".to_owned(), Document::from(status.message()))];
    let details = match status.check_error_details() {
        Ok(details) => details,
        Err(error) => {
            members.push(("details".to_owned(), Document::from(format!("unreadable: {error}").as_str())));
            return Document::Object(members);
        }
    };
    if let Some(info) = details.error_info() {
        let code = info.metadata.get("code").map_or(Document::Null, |code| Document::from(code.as_str()));
        members.push(("errorInfo".to_owned(), error_info(&info.reason, &info.domain, code)));
    }
    if let Some(bad_request) = details.bad_request() {
        let violations = bad_request
            .field_violations
            .iter()
            .map(|violation| field_violation(&violation.field, &violation.description, &violation.reason));
        members.push(("badRequest".to_owned(), Document::List(violations.collect())));
    }
    Document::Object(members)
}

fn error_info(reason: &str, domain: &str, code: Document) -> Document {
    let metadata = Document::object([("code", code)]);
    Document::object([("reason", reason.into()), ("domain", domain.into()), ("metadata", metadata)])
}

fn field_violation(field: &str, description: &str, reason: &str) -> Document {
    Document::object([("field", field.into()), ("description", description.into()), ("reason", reason.into())])
}

fn headers(metadata: &MetadataMap) -> BTreeMap<String, String> {
    let mut by_name = BTreeMap::new();
    for entry in metadata.iter() {
        if let KeyAndValueRef::Ascii(name, value) = entry {
            let value = String::from_utf8_lossy(value.as_encoded_bytes()).into_owned();
            by_name.entry(name.as_str().to_owned()).or_insert(value);
        }
    }
    by_name
}

fn remarks(headers: &BTreeMap<String, String>, correlation: &str) -> Vec<String> {
    if headers.get("x-correlation-id").is_some_and(|echo| echo == correlation) {
        return Vec::new();
    }
    vec!["x-correlation-id was not echoed".to_owned()]
}

/// What a step's answer must be on this face: derived from the JSON answer by the rule of contract section 4.
///
/// # Errors
/// The error code that the tables do not know.
pub fn expected(contract: &Contract, step: &Step, answer: Option<Document>) -> Result<Expected, String> {
    let headers = step.headers.iter().map(|(name, rule)| (name.clone(), HeaderRule::from_case(rule))).collect();
    if step.status < 300 {
        let body = Some(answer.unwrap_or_else(|| Document::object([])));
        return Ok(Expected { status: "OK".to_owned(), headers, body });
    }
    let answer = answer.unwrap_or(Document::Null);
    let text = |key: &str| answer.get(key).and_then(Document::text).unwrap_or_default();
    let code = text("code");
    let status = contract.grpc_status.get(code).ok_or_else(|| format!("no gRPC status for the code `{code}`"))?;
    let mut members = vec![
        ("message".to_owned(), Document::from(text("message"))),
        ("errorInfo".to_owned(), error_info(&upper_snake(code), ERROR_DOMAIN, code.into())),
    ];
    if let Some(violations) = answer.get("validationErrors") {
        let violations = violations.items().iter().map(|violation| expected_violation(contract, violation));
        members.push(("badRequest".to_owned(), Document::List(violations.collect())));
    }
    Ok(Expected { status: status.clone(), headers, body: Some(Document::Object(members)) })
}

fn expected_violation(contract: &Contract, violation: &Document) -> Document {
    let text = |key: &str| violation.get(key).and_then(Document::text).unwrap_or_default();
    let code = text("code");
    let field = contract
        .violation_field
        .get(code)
        .cloned()
        .unwrap_or_else(|| upper_snake(code.strip_prefix("violation-on-").unwrap_or(code)).to_ascii_lowercase());
    field_violation(&field, text("reason"), &upper_snake(code))
}

/// Upper-case words joined by one underscore: a run of other characters, or a hump, begins a word.
fn upper_snake(text: &str) -> String {
    let mut snake = String::new();
    for character in text.chars() {
        if !character.is_ascii_alphanumeric() {
            if !snake.ends_with('_') {
                snake.push('_');
            }
            continue;
        }
        let hump = character.is_ascii_uppercase() && !snake.is_empty() && !snake.ends_with('_');
        if hump {
            snake.push('_');
        }
        snake.push(character.to_ascii_uppercase());
    }
    snake
}

/// The name of a status, as the gRPC documents write it.
#[must_use]
pub const fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Bytes in, bytes out: what they mean is decided by the descriptors, and a bad answer is not mistaken for a status.
#[derive(Debug, Clone, Copy)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put(buffer, item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = bytes::Buf::remaining(buffer);
        Ok(Some(bytes::Buf::copy_to_bytes(buffer, length)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::cases;
    use super::*;

    #[test]
    fn reasons_and_fields_follow_the_rule_of_the_contract() {
        for (code, reason) in [
            ("eligibility-failed csp", "ELIGIBILITY_FAILED_CSP"),
            ("violation-on-extTransactionId", "VIOLATION_ON_EXT_TRANSACTION_ID"),
            ("reference-id-required", "REFERENCE_ID_REQUIRED"),
        ] {
            assert_eq!(upper_snake(code), reason);
        }
    }

    #[test]
    fn every_error_that_a_case_expects_has_a_grpc_form() {
        let (cases, contract) = cases::load().expect("cases");
        for case in &cases {
            for step in &case.steps {
                let expected = expected(&contract, step, step.answer.clone()).expect("a known code");
                assert_eq!(expected.status == "OK", step.status < 300, "case {}", case.id);
            }
        }
    }

    #[test]
    fn a_refusal_of_a_field_becomes_error_info_and_bad_request() {
        let (cases, contract) = cases::load().expect("cases");
        let step = &cases.iter().find(|case| case.id == 22).expect("case 22").steps[1];
        let expected = expected(&contract, step, step.answer.clone()).expect("a known code");
        assert_eq!(expected.status, "INVALID_ARGUMENT");
        let wanted = concat!(
            r#"{"message":"Invalid request.","errorInfo":{"reason":"INVALID_REQUEST","domain":"onbill","#,
            r#""metadata":{"code":"invalid-request"}},"badRequest":[{"field":"reference_id","#,
            r#""description":"Reference Id is required to proceed refund transaction","#,
            r#""reason":"REFERENCE_ID_REQUIRED"}]}"#
        );
        assert_eq!(expected.body.expect("a body").compact(), wanted);
    }
}
