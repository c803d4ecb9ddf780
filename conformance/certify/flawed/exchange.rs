//! A call and its answer as a flaw sees them, the same on both faces where that makes sense.
//!
//! Invariant: what is read here can be written back: a message that nobody changed goes on as the bytes it came in.

use std::sync::LazyLock;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use onbill::commands::certify::Face;
use onbill::faces::pb;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage as _, Value};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| DescriptorPool::decode(pb::DESCRIPTORS).expect("descriptors"));

/// Length of the prefix of a gRPC message: a flag and four bytes of length.
const PREFIX: usize = 5;

/// Paths of the JSON face by the RPC that they are.
const PATHS: [(&str, &str); 9] = [
    ("/account/validate", "ValidateAccount"),
    ("/pin/validation", "ValidatePin"),
    ("/pin", "SendPin"),
    ("/transaction/", "GetTransaction"),
    ("/transaction", "CreateTransaction"),
    ("/notification", "SendNotification"),
    ("/sandbox/messages", "ListMessages"),
    ("/sandbox/bill", "GetBill"),
    ("/sandbox/clock/advance", "AdvanceClock"),
];

/// A call.
pub struct Asked {
    pub face: Face,
    /// Name of the RPC, or empty where the path is none.
    pub rpc: String,
    pub method: Method,
    pub headers: HeaderMap,
    path: String,
    body: Bytes,
    /// The fields that are strings, by their JSON names, as they came or as an act has changed them.
    fields: Vec<(String, String)>,
    changed: bool,
}

impl Asked {
    /// Reads a call.
    pub fn read(parts: &Parts, body: Bytes, http2: bool) -> Self {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let (face, rpc, fields) = if http2 {
            let rpc = path.rsplit('/').next().unwrap_or_default().to_owned();
            let fields = grpc_fields(&path, &body);
            (Face::Grpc, rpc, fields)
        } else {
            let named = PATHS.iter().find(|(prefix, _)| path.starts_with(prefix));
            (Face::Json, named.map_or("", |(_, rpc)| rpc).to_owned(), json_fields(&path, &body))
        };
        Self {
            face,
            rpc,
            method: parts.method.clone(),
            headers: parts.headers.clone(),
            path,
            body,
            fields,
            changed: false,
        }
    }

    /// A call of an act's own, over JSON.
    pub fn post(path: &str, body: &serde_json::Value) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::from_static("demo-key"));
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let (face, method, body) = (Face::Json, Method::POST, Bytes::from(body.to_string()));
        let (rpc, path, fields) = (String::new(), path.to_owned(), Vec::new());
        Self { face, rpc, method, headers, path, body, fields, changed: false }
    }

    pub fn is_grpc(&self) -> bool {
        self.face == Face::Grpc
    }

    /// Whether it is a call of this RPC.
    pub fn is(&self, rpc: &str) -> bool {
        self.rpc == rpc
    }

    /// Whether it asks for what only a sandbox has.
    pub fn is_sandbox(&self) -> bool {
        self.path.contains("/sandbox/") || self.path.contains("SandboxService")
    }

    /// A field, or nothing where it is absent.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// A field as text, empty where it is absent.
    pub fn text(&self, name: &str) -> &str {
        self.field(name).unwrap_or_default()
    }

    /// Changes a field that is there.
    pub fn set(&mut self, name: &str, value: String) {
        let field = self.fields.iter_mut().find(|(field, _)| field == name).expect("a field that is there");
        field.1 = value;
        self.changed = true;
    }

    /// Whether it asks for a refund.
    pub fn is_refund(&self) -> bool {
        self.is("CreateTransaction") && self.text("amount").starts_with('-')
    }

    /// Whether it asks for a charge.
    pub fn is_charge(&self) -> bool {
        self.is("CreateTransaction") && !self.is_refund() && self.field("referenceId").is_none()
    }

    /// Path and query as they go on.
    pub fn path(&self) -> String {
        if self.changed && self.is("GetTransaction") && !self.is_grpc() {
            return format!("/transaction/{}", self.text("extTransactionId"));
        }
        self.path.clone()
    }

    /// The body as it goes on.
    pub fn bytes(&self) -> Bytes {
        if !self.changed || self.method == Method::GET {
            return self.body.clone();
        }
        if !self.is_grpc() {
            let members: serde_json::Map<_, _> =
                self.fields.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
            return Bytes::from(serde_json::Value::Object(members).to_string());
        }
        let mut message = DynamicMessage::new(input(&self.path));
        for (name, value) in &self.fields {
            let field = message.descriptor().get_field_by_json_name(name).expect("a field");
            message.set_field(&field, Value::String(value.clone()));
        }
        framed(&message)
    }

    /// The answer's empty message.
    fn output(&self) -> DynamicMessage {
        let (service, method) = service_and_method(&self.path);
        let service = POOL.get_service_by_name(&service).expect("a service");
        DynamicMessage::new(service.methods().find(|it| it.name() == method).expect("a method").output())
    }
}

fn service_and_method(path: &str) -> (String, String) {
    let (service, method) = path.trim_start_matches('/').split_once('/').expect("a gRPC path");
    (service.to_owned(), method.to_owned())
}

fn input(path: &str) -> prost_reflect::MessageDescriptor {
    let (service, method) = service_and_method(path);
    let service = POOL.get_service_by_name(&service).expect("a service");
    service.methods().find(|it| it.name() == method).expect("a method").input()
}

fn grpc_fields(path: &str, body: &Bytes) -> Vec<(String, String)> {
    let message = DynamicMessage::decode(input(path), body.slice(PREFIX..)).expect("a request");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    message.fields().filter_map(|(field, value)| Some((field.json_name().to_owned(), text(value)?))).collect()
}

fn json_fields(path: &str, body: &Bytes) -> Vec<(String, String)> {
    if let Some(id) = path.strip_prefix("/transaction/") {
        return vec![("extTransactionId".to_owned(), id.to_owned())];
    }
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let members = body.as_object().cloned().unwrap_or_default();
    members.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect()
}

fn framed(message: &DynamicMessage) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).expect("a short message"));
    message.encode(&mut frame).expect("room");
    frame.freeze()
}

/// An answer as it came.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub trailers: Option<HeaderMap>,
    pub body: Bytes,
}

impl Reply {
    /// Success, as the contract words it for this call.
    pub fn success(asked: &Asked) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(correlation) = asked.headers.get("x-correlation-id") {
            headers.insert("x-correlation-id", correlation.clone());
        }
        let said = [
            ("extTransactionId", asked.text("extTransactionId")),
            ("status", "Success"),
            ("description", "Charge success"),
        ];
        let charged = asked.is("CreateTransaction");
        if asked.is_grpc() {
            headers.insert("content-type", HeaderValue::from_static("application/grpc"));
            let mut message = asked.output();
            for (name, value) in said.into_iter().filter(|_| charged) {
                let field = message.descriptor().get_field_by_json_name(name).expect("a field");
                message.set_field(&field, Value::String(value.to_owned()));
            }
            let mut reply = Self { status: StatusCode::OK, headers, trailers: None, body: Bytes::new() };
            GrpcAnswer { status: Status::ok(""), message: Some(message) }.write(&mut reply);
            return reply;
        }
        let (status, body) = match asked.rpc.as_str() {
            "CreateTransaction" => {
                let body: serde_json::Map<_, _> =
                    said.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
                (StatusCode::OK, serde_json::Value::Object(body).to_string())
            }
            "AdvanceClock" => (StatusCode::OK, r#"{"now":"2020-05-18T15:05:03Z"}"#.to_owned()),
            _ => (StatusCode::CREATED, String::new()),
        };
        if !body.is_empty() {
            headers.insert("content-type", HeaderValue::from_static("application/json"));
        }
        Self { status, headers, trailers: None, body: body.into() }
    }

    /// Whether the answer repeats an earlier one.
    pub fn is_replay(&self) -> bool {
        self.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
    }

    /// The literal error code, or nothing where it is a success.
    pub fn code(&self, asked: &Asked) -> Option<String> {
        if asked.is_grpc() {
            let status = GrpcAnswer::read(asked, self).status;
            return status.get_error_details().error_info().and_then(|info| info.metadata.get("code").cloned());
        }
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body.get("code").and_then(|code| code.as_str()).map(str::to_owned)
    }
}

/// A gRPC answer: a status, and a message where it is a success.
pub struct GrpcAnswer {
    pub status: Status,
    pub message: Option<DynamicMessage>,
}

impl GrpcAnswer {
    /// Reads an answer, trailers-only ones too.
    pub fn read(asked: &Asked, reply: &Reply) -> Self {
        let told = reply.trailers.as_ref().filter(|trailers| trailers.contains_key("grpc-status"));
        let status = Status::from_header_map(told.unwrap_or(&reply.headers)).expect("a status");
        let message = (status.code() == Code::Ok).then(|| {
            let descriptor = asked.output().descriptor();
            DynamicMessage::decode(descriptor, reply.body.slice(PREFIX..)).expect("a message")
        });
        Self { status, message }
    }

    /// Writes it over an answer.
    pub fn write(self, reply: &mut Reply) {
        for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
            reply.headers.remove(name);
        }
        reply.body = self.message.map(|message| framed(&message)).unwrap_or_default();
        let mut trailers = self.status.into_http::<()>().into_parts().0.headers;
        trailers.remove("content-type");
        reply.trailers = Some(trailers);
    }

    /// Changes a text of the message.
    pub fn set(&mut self, name: &str, value: &str) {
        let message = self.message.as_mut().expect("a message");
        let field = message.descriptor().get_field_by_json_name(name).expect("a field");
        message.set_field(&field, Value::String(value.to_owned()));
    }
}
