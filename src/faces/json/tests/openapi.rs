//! The description of the face, held against what the face does.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Recorder, every_kind, get, post};
use crate::domain::catalogue::ErrorCode;
use crate::faces::status::http_status;

async fn document() -> Value {
    let read = get(&Recorder::default().face(), "/openapi.json").await;
    assert_eq!((read.status, read.header("content-type")), (200, Some("application/json")));
    serde_json::from_str(&read.body).expect("JSON")
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// Follows a reference, where there is one.
fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).expect("a reference leads somewhere"),
        None => value,
    }
}

fn check_references(document: &Value, value: &Value) {
    resolve(document, value);
    match value {
        Value::Object(members) => members.values().for_each(|member| check_references(document, member)),
        Value::Array(elements) => elements.iter().for_each(|element| check_references(document, element)),
        _ => {}
    }
}

#[tokio::test]
async fn it_lists_what_is_served_and_nothing_else() {
    let document = document().await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], "1.2.3");
    let paths = [
        "/account/validate",
        "/pin",
        "/pin/validation",
        "/transaction",
        "/transaction/{extTransactionId}",
        "/transactions",
    ];
    assert_eq!(keys(&document["paths"]), paths);
    assert_eq!(keys(&document["paths"]["/pin"]), ["post"]);
    assert_eq!(document["paths"]["/pin"]["post"]["operationId"], "SendPin");
    let summary = &document["paths"]["/pin/validation"]["post"]["summary"];
    assert_eq!(summary, "Checks a PIN");
    check_references(&document, &document);
}

#[tokio::test]
async fn each_status_lists_exactly_the_codes_that_it_can_have() {
    let document = document().await;
    let codes_of = |path: &str, method: &str, status: &str| {
        let response = resolve(&document, &document["paths"][path][method]["responses"][status]);
        response["content"]["application/json"]["schema"]["properties"]["code"]["enum"].clone()
    };
    for (path, method, status, codes) in [
        ("/pin/validation", "post", "400", json!(["invalid-request", "invalid-pin"])),
        ("/pin/validation", "post", "404", Value::Null),
        ("/transaction", "post", "404", json!(["account-not-found", "invalid-charge-refund"])),
        (
            "/transaction",
            "post",
            "400",
            json!([
                "suspended-non-payment",
                "suspended-lost-stolen",
                "eligibility-failed csp",
                "invalid-request",
                "invalid-pin",
                "invalid-partner-product"
            ]),
        ),
        ("/transaction/{extTransactionId}", "get", "404", json!(["transaction-not-found", "not-found"])),
        ("/transactions", "get", "400", json!(["invalid-request"])),
        ("/transactions", "get", "401", json!(["authorization-failure"])),
        ("/transactions", "get", "403", json!(["forbidden"])),
        ("/transactions", "get", "429", json!(["too-many-requests"])),
        ("/transactions", "get", "500", json!(["system-error"])),
        ("/transactions", "get", "503", json!(["service-unavailable"])),
    ] {
        assert_eq!(codes_of(path, method, status), codes, "{path} {status}");
    }
}

/// All of the catalogue, but for what is of paths and methods that are not described, which the text tells.
#[tokio::test]
async fn every_error_of_the_catalogue_is_described_where_it_can_be_met() {
    let document = document().await;
    let operations = document["paths"].as_object().expect("paths").iter().flat_map(|(path, methods)| {
        methods.as_object().expect("methods").iter().map(move |(method, operation)| (path, method, operation))
    });
    let mut met = BTreeSet::new();
    for (path, method, operation) in operations {
        let responses = operation["responses"].as_object().expect("responses");
        let mut here = BTreeSet::new();
        for (status, response) in responses {
            let content = &resolve(&document, response)["content"]["application/json"]["schema"];
            for code in content["properties"]["code"]["enum"].as_array().into_iter().flatten() {
                let code = ErrorCode::ALL.into_iter().find(|known| *code == known.code()).expect("of the catalogue");
                assert_eq!(http_status(code).as_str(), status, "{method} {path}: {}", code.code());
                here.insert(code.code());
            }
        }
        for code in [
            ErrorCode::InvalidRequest,
            ErrorCode::AuthorizationFailure,
            ErrorCode::Forbidden,
            ErrorCode::TooManyRequests,
            ErrorCode::ServiceUnavailable,
            ErrorCode::SystemError,
        ] {
            assert!(here.contains(code.code()), "{method} {path}: {}", code.code());
        }
        assert_eq!(
            here.contains("not-found"),
            path.contains('{'),
            "{path}: what a path may hold and still lead nowhere"
        );
        assert!(responses.contains_key("431"), "{method} {path}: what the server of HTTP answers");
        met.extend(here);
    }
    let told = document["info"]["description"].as_str().expect("a text");
    for code in ErrorCode::ALL {
        let is_told = told.contains(&format!("`{}`", code.code()));
        // These services have no certification.
        let is_elsewhere = code == ErrorCode::RunNotFound;
        assert!(met.contains(code.code()) || is_told || is_elsewhere, "{} is described nowhere", code.code());
    }
}

#[tokio::test]
async fn success_is_described_as_it_is_answered() {
    let document = document().await;
    let pin = &document["paths"]["/pin"]["post"]["responses"]["201"];
    assert_eq!(keys(pin), ["description", "headers"]);
    let account = &document["paths"]["/account/validate"]["post"]["responses"]["200"];
    assert_eq!(account["headers"]["X-Account-Id"]["required"], true);
    let schema = resolve(&document, &account["content"]["application/json"]["schema"]);
    assert_eq!(keys(&schema["properties"]), ["status", "type"]);
    assert_eq!(schema["required"], json!(["status", "type"]));
    let charged = &document["paths"]["/transaction"]["post"]["responses"]["200"]["headers"];
    assert_eq!(keys(charged), ["X-Correlation-Id", "Idempotency-Replayed"]);
    assert_eq!(charged["Idempotency-Replayed"]["schema"]["enum"], json!(["true"]));
    let found = &document["components"]["schemas"]["GetTransactionResponse"];
    assert_eq!(found["required"], json!(["chargeDate", "currency", "amount", "message", "status"]));
    let row = &document["components"]["schemas"]["Transaction"];
    let required: BTreeSet<_> = row["required"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(required.contains("chargeDate") && required.contains("amount"));
    assert!(!required.contains("referenceId") && !required.contains("refundedAmount"));
}

#[tokio::test]
async fn fields_are_described_with_what_the_face_accepts() {
    let document = document().await;
    let request = &document["components"]["schemas"]["CreateTransactionRequest"];
    assert_eq!(request["additionalProperties"], false);
    assert_eq!(request["required"], json!(["partnerProduct", "amount", "currency"]));
    let amount = &request["properties"]["amount"];
    assert_eq!(amount["type"], json!(["string", "number"]));
    assert_eq!(amount["pattern"], r"^-?(0|[1-9][0-9]{0,11})(\.[0-9]{1,18})?$");
    assert_eq!(request["properties"]["type"]["enum"], json!(["MSISDN", "EMAIL", "", null]));
    assert_eq!(request["properties"]["description"]["maxLength"], 128);
    let list = document["paths"]["/transactions"]["get"]["parameters"].as_array().expect("a list");
    assert_eq!(list[0]["name"], "pageSize");
    let page_size = json!([{ "type": "integer", "minimum": 1, "maximum": 500 }, { "const": "" }]);
    assert_eq!(list[0]["schema"]["anyOf"], page_size);
    let one = document["paths"]["/transaction/{extTransactionId}"]["get"]["parameters"].as_array().expect("a list");
    assert_eq!((&one[0]["in"], &one[0]["required"]), (&json!("path"), &json!(true)));
    assert_eq!((&one[1]["in"], &one[1]["required"]), (&json!("query"), &json!(false)));
}

#[tokio::test]
async fn every_example_request_can_be_read() {
    let document = document().await;
    let recorder = Recorder::default();
    let face = recorder.face();
    for path in ["/account/validate", "/pin", "/pin/validation", "/transaction"] {
        let content = &document["paths"][path]["post"]["requestBody"]["content"]["application/json"];
        let example = &content["example"];
        assert!(example.is_object(), "{path}");
        post(&face, path, example.to_string()).await;
        assert_eq!(super::found(&recorder.last().findings), [], "{path}");
        let schema = resolve(&document, &content["schema"]);
        for name in schema["required"].as_array().expect("a list") {
            assert!(example.get(name.as_str().expect("a name")).is_some(), "{path} {name}");
        }
    }
}

#[tokio::test]
async fn a_message_with_every_kind_of_field_can_be_described() {
    let read = get(&every_kind::face(), "/openapi.json").await;
    let document: Value = serde_json::from_str(&read.body).expect("JSON");
    check_references(&document, &document);
    assert_eq!(keys(&document["paths"]), ["/echo", "/echo/{anInt32}", "/children/{text}/of", "/children/all/of"]);
    let paths = document["paths"].as_object().expect("an object").values();
    let operations = paths.filter_map(Value::as_object).flat_map(|path| path.values());
    let ids: Vec<_> = operations.map(|operation| &operation["operationId"]).collect();
    assert_eq!(ids, ["Echo", "Echo2", "Echo3", "Echo4"]);
    let (request, answer) =
        (&document["components"]["schemas"]["Every"], &document["components"]["schemas"]["EveryAnswer"]);
    assert_eq!(request["properties"]["anInt64"]["type"], json!(["integer", "string", "null"]));
    assert_eq!(answer["properties"]["anInt64"]["type"], "string");
    assert_eq!(answer["properties"]["child"]["$ref"], "#/components/schemas/EveryAnswer");
    assert_eq!(answer["properties"]["byNumber"]["additionalProperties"]["$ref"], "#/components/schemas/EveryAnswer");
}
