//! A message with every kind of field, behind a service that echoes it.
//!
//! Invariant: an implementation that is not ours (prost-reflect) decodes and encodes the message on its way, so that a
//! mistake made alike in reading and in writing does not pass.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use proptest::collection::{btree_map, vec};
use proptest::prelude::{any, proptest};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    MessageOptions, OneofDescriptorProto,
};
use serde_json::{Value, json};
use tonic::body::Body;

use super::super::findings::Findings;
use super::super::framed::Framed;
use super::super::wire::{self, Wire};
use super::super::{JsonFace, JsonFaceError};
use super::{Read, found, get, send};
use crate::faces::pb;
use crate::faces::pb::google::api::{HttpRule, http_rule::Pattern};

/// The number of the extension `google.api.http`.
const HTTP: u32 = 72_295_728;

fn field(number: i32, name: &str, kind: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    }
}

fn typed(number: i32, name: &str, kind: Type, of: &str) -> FieldDescriptorProto {
    FieldDescriptorProto { type_name: Some(of.to_owned()), ..field(number, name, kind) }
}

fn list(field: FieldDescriptorProto) -> FieldDescriptorProto {
    FieldDescriptorProto { label: Some(Label::Repeated.into()), ..field }
}

fn in_oneof(index: i32, field: FieldDescriptorProto) -> FieldDescriptorProto {
    FieldDescriptorProto { oneof_index: Some(index), ..field }
}

fn map_entry(name: &str, key: Type, value: FieldDescriptorProto) -> DescriptorProto {
    DescriptorProto {
        name: Some(name.to_owned()),
        field: vec![field(1, "key", key), value],
        options: Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
        ..DescriptorProto::default()
    }
}

fn every_kind() -> DescriptorProto {
    let scalars = [
        (1, "double", Type::Double),
        (2, "float", Type::Float),
        (3, "an_int32", Type::Int32),
        (4, "an_int64", Type::Int64),
        (5, "a_uint32", Type::Uint32),
        (6, "a_uint64", Type::Uint64),
        (7, "a_sint32", Type::Sint32),
        (8, "a_sint64", Type::Sint64),
        (9, "a_fixed32", Type::Fixed32),
        (10, "a_fixed64", Type::Fixed64),
        (11, "a_sfixed32", Type::Sfixed32),
        (12, "a_sfixed64", Type::Sfixed64),
        (13, "truth", Type::Bool),
        (14, "text", Type::String),
        (15, "blob", Type::Bytes),
    ];
    let own = ".test.Every";
    let mut fields: Vec<_> = scalars.into_iter().map(|(number, name, kind)| field(number, name, kind)).collect();
    let optional = FieldDescriptorProto { proto3_optional: Some(true), ..field(29, "maybe", Type::Int32) };
    fields.extend([
        typed(16, "colour", Type::Enum, ".test.Colour"),
        typed(17, "child", Type::Message, own),
        list(field(18, "numbers", Type::Int32)),
        list(field(19, "words", Type::String)),
        list(typed(20, "children", Type::Message, own)),
        list(typed(21, "counts", Type::Message, ".test.Every.CountsEntry")),
        list(typed(22, "by_number", Type::Message, ".test.Every.ByNumberEntry")),
        typed(23, "time", Type::Message, ".google.protobuf.Timestamp"),
        typed(24, "span", Type::Message, ".google.protobuf.Duration"),
        typed(25, "wrapped", Type::Message, ".google.protobuf.StringValue"),
        typed(26, "wrapped_number", Type::Message, ".google.protobuf.Int64Value"),
        in_oneof(0, field(27, "left", Type::String)),
        in_oneof(0, field(28, "right", Type::Int32)),
        in_oneof(1, optional),
        list(field(30, "fixed", Type::Fixed64)),
        list(field(31, "halves", Type::Float)),
    ]);
    let oneof = |name: &str| OneofDescriptorProto { name: Some(name.to_owned()), ..OneofDescriptorProto::default() };
    DescriptorProto {
        name: Some("Every".to_owned()),
        field: fields,
        nested_type: vec![
            map_entry("CountsEntry", Type::String, field(2, "value", Type::Int32)),
            map_entry("ByNumberEntry", Type::Int32, typed(2, "value", Type::Message, own)),
        ],
        oneof_decl: vec![oneof("side"), oneof("_maybe")],
        ..DescriptorProto::default()
    }
}

/// The descriptors of the gateway with those of the test behind them: one RPC with this annotation.
fn descriptors(rule: &HttpRule) -> Vec<u8> {
    let colours = ["RED", "GREEN"].into_iter().zip(0..);
    let colours = colours.map(|(name, number)| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        options: None,
    });
    let wrappers = ["StringValue", "Int64Value"].into_iter().zip([Type::String, Type::Int64]);
    let wrappers = wrappers.map(|(name, kind)| DescriptorProto {
        name: Some(name.to_owned()),
        field: vec![field(1, "value", kind)],
        ..DescriptorProto::default()
    });
    let file =
        |name: &str, package: &str, dependency: &[&str], message_type: Vec<DescriptorProto>| FileDescriptorProto {
            name: Some(name.to_owned()),
            package: Some(package.to_owned()),
            dependency: dependency.iter().map(|name| (*name).to_owned()).collect(),
            message_type,
            syntax: Some("proto3".to_owned()),
            ..FileDescriptorProto::default()
        };
    let wrappers = file("google/protobuf/wrappers.proto", "google.protobuf", &[], wrappers.collect());
    let mut pool = DescriptorPool::decode(pb::DESCRIPTORS).expect("our own descriptors");
    if pool.get_file_by_name("google/protobuf/duration.proto").is_none() {
        let global = DescriptorPool::global();
        let duration = global.get_file_by_name("google/protobuf/duration.proto").expect("a well-known file");
        pool.add_file_descriptor_proto(duration.file_descriptor_proto().clone()).expect("a new file");
    }
    let needs = [
        "google/api/annotations.proto",
        "google/protobuf/timestamp.proto",
        "google/protobuf/duration.proto",
        "google/protobuf/wrappers.proto",
    ];
    let mut every = file("test.proto", "test", &needs, vec![every_kind()]);
    every.enum_type = vec![EnumDescriptorProto {
        name: Some("Colour".to_owned()),
        value: colours.collect(),
        ..EnumDescriptorProto::default()
    }];
    // The service by hand: the generated types drop options that they do not know.
    let (mut options, mut method, mut service) = (Vec::new(), Vec::new(), Vec::new());
    wire::put(&mut options, HTTP, Wire::Bytes(&rule.encode_to_vec()));
    for (number, text) in [(1, "Echo"), (2, ".test.Every"), (3, ".test.Every")] {
        wire::put(&mut method, number, Wire::Bytes(text.as_bytes()));
    }
    wire::put(&mut method, 4, Wire::Bytes(&options));
    wire::put(&mut service, 1, Wire::Bytes(b"EchoService"));
    wire::put(&mut service, 2, Wire::Bytes(&method));
    let mut every = every.encode_to_vec();
    wire::put(&mut every, 6, Wire::Bytes(&service));
    let mut set = pool.encode_to_vec();
    wire::put(&mut set, 1, Wire::Bytes(&wrappers.encode_to_vec()));
    wire::put(&mut set, 1, Wire::Bytes(&every));
    set
}

/// A service that decodes the message and encodes it again; findings come back as a header.
async fn echo(pool: DescriptorPool, request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a body in memory").to_bytes();
    let every = pool.get_message_by_name("test.Every").expect("the message of this test");
    let message = DynamicMessage::decode(every, body.slice(5..)).expect("what is read is always a message");
    let mut answer = vec![0];
    let encoded = message.encode_to_vec();
    answer.extend(u32::try_from(encoded.len()).expect("small").to_be_bytes());
    answer.extend(encoded);
    let mut response = Response::new(Body::new(Full::new(Bytes::from(answer))));
    if let Some(findings) = parts.extensions.get::<Findings>() {
        let shown = serde_json::to_string(&found(findings)).expect("strings");
        response.headers_mut().insert("findings", shown.parse().expect("ASCII"));
    }
    Ok(response)
}

fn try_face(rule: &HttpRule) -> Result<JsonFace, JsonFaceError> {
    let set = descriptors(rule);
    let pool = DescriptorPool::decode(set.as_slice()).expect("descriptors of this test");
    let service = tower::service_fn(move |request| echo(pool.clone(), request));
    JsonFace::new(&set, &["test.EchoService"], Arc::new(Framed(service)), "1")
}

fn rule(pattern: Pattern, body: &str) -> HttpRule {
    HttpRule { pattern: Some(pattern), body: body.to_owned(), ..HttpRule::default() }
}

pub(super) fn face() -> JsonFace {
    let mut first = rule(Pattern::Post("/echo".to_owned()), "*");
    first.additional_bindings = vec![
        rule(Pattern::Get("/echo/{an_int32}".to_owned()), ""),
        rule(Pattern::Put("/children/{text}/of".to_owned()), "child"),
        rule(Pattern::Get("/children/all/of".to_owned()), ""),
    ];
    try_face(&first).expect("it can be served")
}

async fn post(face: &JsonFace, method: Method, path: &str, body: &str) -> Read {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    Read::of(face.answer(request.body(Full::new(Bytes::from(body.to_owned()))).expect("a request")).await).await
}

/// The JSON of a message in which everything is empty.
const EMPTY: &str = concat!(
    r#"{"double":0.0,"float":0.0,"anInt32":0,"anInt64":"0","aUint32":0,"aUint64":"0","aSint32":0,"aSint64":"0","#,
    r#""aFixed32":0,"aFixed64":"0","aSfixed32":0,"aSfixed64":"0","truth":false,"text":"","blob":"","colour":"RED","#,
    r#""numbers":[],"words":[],"children":[],"counts":{},"byNumber":{},"fixed":[],"halves":[]}"#
);

#[tokio::test]
async fn an_empty_message_prints_what_has_no_presence() {
    assert_eq!(post(&face(), Method::POST, "/echo", "{}").await.body, EMPTY);
}

#[tokio::test]
async fn every_kind_survives_the_round_trip() {
    let full = concat!(
        r#"{"double":1.5,"float":0.1,"anInt32":-3,"anInt64":"-9223372036854775808","aUint32":4294967295,"#,
        r#""aUint64":"18446744073709551615","aSint32":-2147483648,"aSint64":"-1","aFixed32":7,"aFixed64":"8","#,
        r#""aSfixed32":-9,"aSfixed64":"-10","truth":true,"text":"é\n","blob":"AP/+","colour":"GREEN","child":CHILD,"#,
        r#""numbers":[1,-2,0],"words":["","a"],"children":[CHILD,CHILD],"counts":{"":0,"b":2},"#,
        r#""byNumber":{"-1":CHILD,"5":CHILD},"time":"1969-12-31T23:59:59.250Z","span":"-1.000001s","wrapped":"","#,
        r#""wrappedNumber":"12","right":0,"maybe":0,"fixed":["1","2"],"halves":[0.5,"NaN"]}"#
    );
    let full = full.replace("CHILD", EMPTY);
    let read = post(&face(), Method::POST, "/echo", &full).await;
    assert_eq!(read.header("findings"), None);
    assert_eq!(read.body, full);
}

#[tokio::test]
async fn other_spellings_of_a_value_are_read() {
    let face = face();
    for (sent, printed) in [
        (r#"{"anInt64":5}"#, r#""anInt64":"5""#),
        (r#"{"anInt32":3e2}"#, r#""anInt32":300"#),
        (r#"{"double":"-Infinity"}"#, r#""double":"-Infinity""#),
        (r#"{"double":"1e3"}"#, r#""double":1000.0"#),
        (r#"{"float":3.4028235e38}"#, r#""float":3.4028235e+38"#),
        (r#"{"blob":"AP_-"}"#, r#""blob":"AP/+""#),
        (r#"{"blob":"AA"}"#, r#""blob":"AA==""#),
        (r#"{"time":"2020-05-18T17:05:03+02:00"}"#, r#""time":"2020-05-18T15:05:03Z""#),
        (r#"{"time":"2020-05-18T15:05:03.1234567Z"}"#, r#""time":"2020-05-18T15:05:03.123456700Z""#),
        (r#"{"span":"3s"}"#, r#""span":"3s""#),
        (r#"{"left":null,"right":4}"#, r#""right":4"#),
    ] {
        let read = post(&face, Method::POST, "/echo", sent).await;
        assert_eq!(read.header("findings"), None, "{sent}");
        assert!(read.body.contains(printed), "{sent}: {}", read.body);
    }
}

#[tokio::test]
async fn every_wrong_type_is_found_and_left_out() {
    let face = face();
    let (integer, number, string) = ("must be an integer", "must be a number", "must be a string");
    for (sent, position, name, reason) in [
        (r#"{"double":"x"}"#, 1, "double", number),
        (r#"{"double":true}"#, 1, "double", number),
        (r#"{"double":1e400}"#, 1, "double", number),
        (r#"{"float":1e39}"#, 2, "float", number),
        (r#"{"anInt32":"3"}"#, 3, "anInt32", integer),
        (r#"{"anInt32":1.5}"#, 3, "anInt32", integer),
        (r#"{"anInt32":2147483648}"#, 3, "anInt32", "must be between -2147483648 and 2147483647"),
        (r#"{"anInt64":9223372036854775808}"#, 4, "anInt64", "must be an integer of at most 64 bits"),
        (r#"{"anInt64":"1 "}"#, 4, "anInt64", integer),
        (r#"{"aUint32":-1}"#, 5, "aUint32", "must be between 0 and 4294967295"),
        (r#"{"aUint64":-1}"#, 6, "aUint64", "must be an integer of at most 64 bits"),
        (r#"{"truth":1}"#, 13, "truth", "must be true or false"),
        (r#"{"truth":"true"}"#, 13, "truth", "must be true or false"),
        (r#"{"text":1}"#, 14, "text", string),
        (r#"{"blob":"*"}"#, 15, "blob", "must be base64"),
        (r#"{"colour":"BLUE"}"#, 16, "colour", "must be one of RED, GREEN"),
        (r#"{"colour":1}"#, 16, "colour", "must be one of RED, GREEN"),
        (r#"{"child":[]}"#, 17, "child", "must be an object"),
        (r#"{"child":{"\ud800":1}}"#, 17, "child", "must be an object"),
        (r#"{"child":{"text":1}}"#, 17, "child.text", string),
        (r#"{"child":{"child":{"text":"a","text":"a"}}}"#, 17, "child.child.text", "duplicate field"),
        (r#"{"child":{"nope":1}}"#, u32::MAX, "child.nope", "unknown field"),
        (r#"{"numbers":1}"#, 18, "numbers", "must be a list"),
        (r#"{"numbers":[1,null]}"#, 18, "numbers", integer),
        (r#"{"words":["a",1]}"#, 19, "words", string),
        (r#"{"children":[{},{"text":1}]}"#, 20, "children[1].text", string),
        (r#"{"children":[{},1]}"#, 20, "children", "must be an object"),
        (r#"{"counts":[]}"#, 21, "counts", "must be an object"),
        (r#"{"counts":{"a":"1"}}"#, 21, "counts", integer),
        (r#"{"counts":{"a":1,"a":1}}"#, 21, "counts", "duplicate field"),
        (r#"{"byNumber":{"x":{}}}"#, 22, "byNumber", integer),
        (r#"{"byNumber":{"7":{"text":1}}}"#, 22, "byNumber[7].text", string),
        (r#"{"time":1}"#, 23, "time", "must be an RFC 3339 time"),
        (r#"{"span":"1"}"#, 24, "span", "must be a number of seconds followed by s"),
        (r#"{"wrapped":1}"#, 25, "wrapped", string),
        (r#"{"left":"a","right":1}"#, 28, "right", "must be the only one of its alternatives"),
    ] {
        let read = post(&face, Method::POST, "/echo", sent).await;
        let expected = json!([[position, format!("violation-on-{name}"), reason]]).to_string();
        assert_eq!(read.header("findings"), Some(expected.as_str()), "{sent}");
        assert!(!read.body.contains('1') || sent.contains("{},"), "{sent}: {}", read.body);
    }
}

#[tokio::test]
async fn messages_in_messages_have_a_bound() {
    let face = face();
    let nested = |depth: usize| format!("{}{}", r#"{"child":"#.repeat(depth), "{}".to_owned() + &"}".repeat(depth));
    assert_eq!(post(&face, Method::POST, "/echo", &nested(32)).await.header("findings"), None);
    for depth in [33, 34, 6000] {
        let read = post(&face, Method::POST, "/echo", &nested(depth)).await;
        let findings = read.header("findings").expect("a finding");
        assert!(findings.contains("must not be nested deeper"), "{findings}");
    }
}

#[tokio::test]
async fn a_query_reads_lists_and_every_scalar() {
    let query = "/echo/-7?words=a&words=&words=b%20c&numbers=1&numbers=2&truth=true&double=0.5&anInt64=9&colour=GREEN&\
        blob=AA&time=2020-05-18T15:05:03Z&wrapped=w&maybe=0";
    let read = get(&face(), query).await;
    assert_eq!(read.header("findings"), None);
    let printed: Value = serde_json::from_str(&read.body).expect("JSON");
    for (name, value) in [
        ("anInt32", json!(-7)),
        ("words", json!(["a", "b c"])),
        ("numbers", json!([1, 2])),
        ("truth", json!(true)),
        ("double", json!(0.5)),
        ("anInt64", json!("9")),
        ("colour", json!("GREEN")),
        ("blob", json!("AA==")),
        ("time", json!("2020-05-18T15:05:03Z")),
        ("wrapped", json!("w")),
        ("maybe", json!(0)),
    ] {
        assert_eq!(printed[name], value, "{name}");
    }
    for (query, name, reason) in [
        ("child=1", "child", "unknown field"),
        ("counts=1", "counts", "unknown field"),
        ("anInt32=1", "anInt32", "unknown field"),
        ("truth=1", "truth", "must be true or false"),
        ("numbers=1&numbers=x", "numbers", "must be an integer"),
    ] {
        let read = get(&face(), &format!("/echo/1?{query}")).await;
        let findings = read.header("findings").expect("a finding");
        assert!(findings.contains(&format!("\"violation-on-{name}\",\"{reason}\"")), "{query}: {findings}");
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_of_its_type_does_not_exist() {
    let face = face();
    for path in ["/echo/x", "/echo/1.5", "/echo/99999999999", "/echo/%ff"] {
        assert_eq!(get(&face, path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_body_can_be_one_field_with_the_others_in_path_and_query() {
    let face = face();
    let read = post(&face, Method::PUT, "/children/a%20b/of?anInt32=4", r#"{"text":"inner"}"#).await;
    assert_eq!(read.header("findings"), None);
    let printed: Value = serde_json::from_str(&read.body).expect("JSON");
    assert_eq!((&printed["text"], &printed["anInt32"]), (&json!("a b"), &json!(4)));
    assert_eq!(printed["child"]["text"], "inner");
    let read = post(&face, Method::PUT, "/children/a/of", "[]").await;
    assert!(read.header("findings").expect("a finding").contains("violation-on-body"));
}

#[tokio::test]
async fn a_path_without_variables_comes_before_one_with() {
    let face = face();
    assert_eq!(get(&face, "/children/all/of").await.status, 200);
    let read = send(&face, Method::PUT, "/children/all/of").await;
    assert_eq!((read.status, read.header("allow")), (405, Some("GET")));
    assert_eq!(send(&face, Method::GET, "/children/b/of").await.header("allow"), Some("PUT"));
}

#[test]
fn annotations_that_cannot_be_served_stop_the_start() {
    let twice = HttpRule {
        additional_bindings: vec![rule(Pattern::Get("/a/{left}".to_owned()), "")],
        ..rule(Pattern::Get("/a/{text}".to_owned()), "")
    };
    let response_body = HttpRule { response_body: "text".to_owned(), ..rule(Pattern::Get("/a".to_owned()), "") };
    for rule in [
        HttpRule::default(),
        twice,
        response_body,
        rule(Pattern::Get("a".to_owned()), ""),
        rule(Pattern::Get("/a/".to_owned()), ""),
        rule(Pattern::Get("/a:verb".to_owned()), ""),
        rule(Pattern::Get("/a/**".to_owned()), ""),
        rule(Pattern::Get("/a/{text=b/*}".to_owned()), ""),
        rule(Pattern::Get("/a/{child.text}".to_owned()), ""),
        rule(Pattern::Get("/a/{nope}".to_owned()), ""),
        rule(Pattern::Get("/a/{words}".to_owned()), ""),
        rule(Pattern::Get("/a/{child}".to_owned()), ""),
        rule(Pattern::Get("/openapi.json".to_owned()), ""),
        rule(Pattern::Post("/a".to_owned()), "text"),
        rule(Pattern::Post("/a".to_owned()), "nope"),
    ] {
        let started = try_face(&rule);
        assert!(matches!(started, Err(JsonFaceError::Binding { .. })), "{rule:?}");
    }
}

proptest! {
    #[test]
    fn json_to_protobuf_to_json_changes_nothing(
        eighths in any::<i32>(), int32 in any::<i32>(), int64 in any::<i64>(), uint64 in any::<u64>(),
        sint32 in any::<i32>(), text in any::<String>(), truth in any::<bool>(), numbers in vec(any::<i32>(), 0..5),
        words in vec(any::<String>(), 0..3), counts in btree_map(any::<String>(), any::<i32>(), 0..3),
        maybe in any::<Option<i32>>(), fixed in vec(any::<u64>(), 0..4),
    ) {
        static FACE: LazyLock<JsonFace> = LazyLock::new(face);
        let mut sent: Value = serde_json::from_str(EMPTY).expect("JSON");
        let fixed: Vec<_> = fixed.iter().map(u64::to_string).collect();
        let fields = json!({
            "double": f64::from(eighths) / 8.0, "anInt32": int32, "anInt64": int64.to_string(), "aUint64": uint64.to_string(),
            "aSint32": sint32, "text": text, "truth": truth, "numbers": numbers, "words": words, "counts": counts,
            "fixed": fixed,
        });
        for (name, value) in fields.as_object().expect("an object") {
            sent[name] = value.clone();
        }
        sent["child"] = sent.clone();
        if let Some(maybe) = maybe {
            sent["maybe"] = json!(maybe);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let read = runtime.block_on(post(&FACE, Method::POST, "/echo", &sent.to_string()));
        assert_eq!(read.header("findings"), None);
        let printed: Value = serde_json::from_str(&read.body).expect("JSON");
        assert_eq!(printed, sent);
    }
}
