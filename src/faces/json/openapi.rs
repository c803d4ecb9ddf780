//! The description of the face: OpenAPI 3.1, printed once at start.
//!
//! Invariant: everything in it comes from what the face itself runs by, that is the routes, the options and the
//! comments of the protos, and the error catalogue; so it cannot promise what the face does not do. Header parameters
//! that every request may carry (correlation, trace, time-out) are in the text only: a wrong one is never refused.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::StatusCode;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use serde_json::{Map, Value, json};

use self::comments::Comments;
use self::schema::{Components, Direction};
use super::JsonFaceError;
use super::routes::{Binding, BodyRule, Routes};
use crate::domain::catalogue::ErrorCode;
use crate::faces::pb::v1::{ErrorReason, ResponseHeader};
use crate::faces::status::http_status;

mod comments;
mod schema;

const ABOUT: &str = "Carrier billing: charge to the phone bill.\n\n\
    Every request needs a key in `X-API-KEY`. `X-Correlation-Id` (at most 128 of A-Z, a-z, 0-9, dot, underscore, colon \
    and dash) is taken up and answered, and made where it is absent; W3C `traceparent` with `tracestate` and B3 headers \
    are taken up; `X-Request-Timeout-Ms` sets the deadline, within the gateway's bounds. Null stands for an absent field; an optional \
    query parameter that is empty is absent. Bodies come without a content coding. Fields, query parameters and JSON \
    types that are not described here are refused. A path that is not described here is 404 `not-found`, another method \
    on one that is 405 `method-not-allowed` with `Allow`.";

/// What every RPC may answer, besides its own errors.
const COMMON: [ErrorCode; 6] = [
    ErrorCode::InvalidRequest,
    ErrorCode::AuthorizationFailure,
    ErrorCode::Forbidden,
    ErrorCode::TooManyRequests,
    ErrorCode::SystemError,
    ErrorCode::ServiceUnavailable,
];

/// The one refusal that is no error of the catalogue: the server of HTTP makes it before there is a request.
const TOO_LARGE_HEAD: &str = "HeadTooLarge";

/// Prints the document.
pub(super) fn document(pool: &DescriptorPool, routes: &Routes, version: &str) -> Result<Bytes, JsonFaceError> {
    let comments = Comments::of(pool);
    let mut components = Components::new(pool, &comments);
    let mut operations = Vec::new();
    // Requests first: where one message is both, it is the answer that gets another name.
    for binding in routes.bindings() {
        operations.push(request(binding, &mut components)?);
    }
    let mut paths = Map::new();
    let mut tags: Vec<Value> = Vec::new();
    let mut ids = BTreeMap::<String, u32>::new();
    for (binding, request) in routes.bindings().iter().zip(operations) {
        let service = binding.descriptor.parent_service();
        let tag =
            json!({ "name": service.name(), "description": comments.of_path(&service.parent_file(), service.path()) });
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        let mut operation = Map::new();
        operation.insert("tags".to_owned(), json!([service.name()]));
        operation.insert("operationId".to_owned(), json!(operation_id(&binding.descriptor, &mut ids)));
        let text = comments.of_path(&service.parent_file(), binding.descriptor.path());
        let summary = text.split_once(". ").map_or(text.trim_end_matches('.'), |(first, _)| first);
        operation.insert("summary".to_owned(), json!(summary));
        operation.insert("description".to_owned(), json!(text));
        operation.extend(request);
        operation.insert("responses".to_owned(), responses(binding, &mut components, &comments, pool)?);
        let path = paths.entry(binding.path_text.clone()).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(binding.method.as_str().to_ascii_lowercase(), Value::Object(operation));
        }
    }
    let common = COMMON.map(|code| {
        let response = error_response(http_status(code), &[code], &comments, pool);
        (code.code().to_owned(), response)
    });
    let mut described = Map::from_iter(common);
    described.insert(TOO_LARGE_HEAD.to_owned(), json!({ "description": "The head is larger than the gateway takes." }));
    let mut schemas = components.finish();
    schemas.insert("Violation".to_owned(), violation());
    let document = json!({
        "openapi": "3.1.0",
        "info": { "title": "onbill", "version": version, "description": ABOUT },
        "security": [{ "apiKey": [] }, { "bearer": [] }, { "certificate": [] }],
        "tags": tags,
        "paths": paths,
        "components": {
            "securitySchemes": {
                "apiKey": { "type": "apiKey", "in": "header", "name": "X-API-KEY" },
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
                "certificate": { "type": "mutualTLS" },
            },
            "headers": headers(),
            "responses": described,
            "schemas": schemas,
        },
    });
    Ok(Bytes::from(serde_json::to_vec(&document)?))
}

/// The RPC's name; a second route of the same RPC gets a number, as ids must differ.
fn operation_id(descriptor: &MethodDescriptor, ids: &mut BTreeMap<String, u32>) -> String {
    let count = ids.entry(descriptor.name().to_owned()).or_default();
    *count = count.saturating_add(1);
    if *count == 1 { descriptor.name().to_owned() } else { format!("{}{count}", descriptor.name()) }
}

/// `parameters` and `requestBody`.
fn request(binding: &Binding, components: &mut Components<'_>) -> Result<Map<String, Value>, JsonFaceError> {
    let input = binding.descriptor.input();
    let mut fields: Vec<_> = input.fields().collect();
    fields.sort_by_key(prost_reflect::FieldDescriptor::number);
    let mut parameters = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        if binding.path.contains(&index) {
            parameters.push(components.parameter(field, "path")?);
        } else if binding.in_query(index) {
            parameters.push(components.parameter(field, "query")?);
        }
    }
    let mut request = Map::new();
    if !parameters.is_empty() {
        request.insert("parameters".to_owned(), Value::Array(parameters));
    }
    let body = match binding.body {
        BodyRule::None => None,
        BodyRule::Whole if binding.path.is_empty() => Some(components.reference(&input, Direction::Request)?),
        BodyRule::Whole => {
            let in_body = |field: &prost_reflect::FieldDescriptor| {
                !binding.path.iter().any(|index| fields.get(*index).is_some_and(|known| known == field))
            };
            Some(components.object(&input, Direction::Request, &in_body)?)
        }
        BodyRule::Field(index) => {
            let message = fields.get(index).and_then(|field| field.kind().as_message().cloned());
            message.map(|message| components.reference(&message, Direction::Request)).transpose()?
        }
    };
    if let Some(schema) = body {
        let mut content = json!({ "schema": schema });
        if let (BodyRule::Whole, Some(example), Some(content)) =
            (binding.body, components.example(&input)?, content.as_object_mut())
        {
            content.insert("example".to_owned(), example);
        }
        request
            .insert("requestBody".to_owned(), json!({ "required": true, "content": { "application/json": content } }));
    }
    Ok(request)
}

fn responses(
    binding: &Binding,
    components: &mut Components<'_>,
    comments: &Comments,
    pool: &DescriptorPool,
) -> Result<Value, JsonFaceError> {
    let output = binding.descriptor.output();
    let mut headers = json!({ "X-Correlation-Id": { "$ref": "#/components/headers/X-Correlation-Id" } });
    if let Some(headers) = headers.as_object_mut() {
        headers.extend(components.headers(&output)?);
        headers.extend(binding.rule.response_headers.iter().map(response_header));
    }
    let mut success =
        json!({ "description": comments.of_path(&output.parent_file(), output.path()), "headers": headers });
    if let (true, Some(success)) = (binding.answers_body(), success.as_object_mut()) {
        let schema = components.reference(&output, Direction::Answer)?;
        success.insert("content".to_owned(), json!({ "application/json": { "schema": schema } }));
    }
    let mut responses = Map::new();
    responses.insert(binding.success.as_str().to_owned(), success);
    for (status, codes) in errors(binding)? {
        let response = match codes.as_slice() {
            // The same on every path, so described once.
            [only] if COMMON.contains(only) => json!({ "$ref": format!("#/components/responses/{}", only.code()) }),
            codes => error_response(status, codes, comments, pool),
        };
        responses.insert(status.as_str().to_owned(), response);
    }
    let head = json!({ "$ref": format!("#/components/responses/{TOO_LARGE_HEAD}") });
    responses.insert(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.as_str().to_owned(), head);
    Ok(Value::Object(responses))
}

/// A header that a success may carry.
fn response_header(header: &ResponseHeader) -> (String, Value) {
    let mut schema = json!({ "type": "string" });
    if let (false, Some(schema)) = (header.values.is_empty(), schema.as_object_mut()) {
        schema.insert("enum".to_owned(), json!(header.values));
    }
    (header.name.clone(), json!({ "description": header.description, "schema": schema }))
}

/// Every error of this route, by HTTP status.
fn errors(binding: &Binding) -> Result<BTreeMap<StatusCode, Vec<ErrorCode>>, JsonFaceError> {
    let mut codes = COMMON.to_vec();
    if !binding.path.is_empty() {
        codes.push(ErrorCode::NotFound);
    }
    for number in &binding.rule.errors {
        let code = ErrorReason::try_from(*number).ok().and_then(code_of);
        codes.push(code.ok_or_else(|| JsonFaceError::Binding {
            rpc: binding.descriptor.full_name().to_owned(),
            why: "one of its errors is not in the catalogue",
        })?);
    }
    let mut by_status = BTreeMap::<StatusCode, Vec<ErrorCode>>::new();
    for code in ErrorCode::ALL.into_iter().filter(|code| codes.contains(code)) {
        by_status.entry(http_status(code)).or_default().push(code);
    }
    Ok(by_status)
}

fn code_of(reason: ErrorReason) -> Option<ErrorCode> {
    ErrorCode::from_reason(reason.as_str_name().strip_prefix("ERROR_REASON_")?)
}

fn error_response(status: StatusCode, codes: &[ErrorCode], comments: &Comments, pool: &DescriptorPool) -> Value {
    let mut properties = Map::new();
    properties.insert("code".to_owned(), json!({ "enum": codes.iter().map(|code| code.code()).collect::<Vec<_>>() }));
    properties.insert(
        "message".to_owned(),
        json!({ "type": "string", "examples": codes.iter().map(|code| code.message()).collect::<Vec<_>>() }),
    );
    if codes.contains(&ErrorCode::InvalidRequest) {
        let items = json!({ "$ref": "#/components/schemas/Violation" });
        let about = "What is wrong, in the order of the fields; of invalid-request only.";
        properties
            .insert("validationErrors".to_owned(), json!({ "type": "array", "items": items, "description": about }));
    }
    let mut headers = Map::new();
    let mut with = |name: &str| {
        headers.insert(name.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }));
    };
    with("X-Correlation-Id");
    if status == StatusCode::UNAUTHORIZED {
        with("WWW-Authenticate");
    }
    if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
        with("Retry-After");
    }
    let lines: Vec<_> =
        codes.iter().map(|code| format!("`{}`: {}", code.code(), about_code(*code, comments, pool))).collect();
    let schema = json!({
        "type": "object",
        "properties": properties,
        "required": ["code", "message"],
        "additionalProperties": false,
    });
    json!({
        "description": lines.join("\n\n"),
        "headers": headers,
        "content": { "application/json": { "schema": schema } },
    })
}

/// What the protos say about a code.
fn about_code(code: ErrorCode, comments: &Comments, pool: &DescriptorPool) -> String {
    let reasons = pool.get_enum_by_name("onbill.v1.ErrorReason");
    let value = reasons.as_ref().and_then(|reasons| {
        let value = reasons.get_value_by_name(&format!("ERROR_REASON_{}", code.reason()))?;
        Some(comments.of_path(&reasons.parent_file(), value.path()))
    });
    value.unwrap_or_default()
}

fn violation() -> Value {
    json!({
        "type": "object",
        "description": "One thing that is wrong with a request.",
        "properties": {
            "code": {
                "type": "string",
                "description": "violation-on- and the name of the field, or a code of its own.",
                "examples": ["violation-on-address"],
            },
            "reason": { "type": "string", "description": "For people.", "examples": ["must not be null"] },
        },
        "required": ["code", "reason"],
        "additionalProperties": false,
    })
}

fn headers() -> Value {
    json!({
        "X-Correlation-Id": {
            "description": "The caller's own, or one that was made for this request.",
            "schema": { "type": "string", "maxLength": 128, "pattern": "^[A-Za-z0-9._:-]+$" },
        },
        "Retry-After": {
            "description": "Seconds after which the same request makes sense again.",
            "schema": { "type": "integer", "minimum": 0 },
        },
        "WWW-Authenticate": { "description": "How to authenticate.", "schema": { "type": "string" } },
    })
}
