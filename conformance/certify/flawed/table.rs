//! Each flaw, and exactly the cases that it must fail on each face.
//!
//! Invariant: `12,14 ?13` reads: cases 12 and 14 fail, case 13 cannot be run, all others hold. What stands here follows
//! from the contract and the use cases. Cases 15 and 20 end with a call over the other face, so that a flaw of one face
//! in charges and refunds shows on both.

use http::{HeaderValue, StatusCode};
use serde_json::json;
use tonic::Code;

use super::act::Act::{self, Ask, First, Grpc, Headers, Json, Pardon, Swallow, Text, Then};
use super::act::{message, once_more};

/// A flaw.
pub struct Flaw {
    pub name: &'static str,
    pub acts: &'static [Act],
    /// What becomes of it on JSON.
    pub json: &'static str,
    /// What becomes of it on gRPC.
    pub grpc: &'static str,
}

const fn flaw(name: &'static str, json: &'static str, grpc: &'static str, acts: &'static [Act]) -> Flaw {
    Flaw { name, acts, json, grpc }
}

/// Tried in a sandbox of its own, where nobody else moves the clock.
pub const NO_EXPIRY: Flaw = flaw("a PIN does not expire", "12", "12", &[Swallow(|asked| asked.is("AdvanceClock"))]);

/// Everything that is tried in company.
pub const FLAWS: &[Flaw] = &[
    flaw("nothing is wrong", "", "", &[]),
    // Statuses, headers and bodies of the JSON face.
    flaw(
        "200 for 201",
        "8,10,13,26",
        "",
        &[Json(|_, reply| {
            if reply.status == StatusCode::CREATED {
                reply.status = StatusCode::OK;
            }
        })],
    ),
    flaw(
        "404 for the 400 of a suspended account",
        "3-4",
        "",
        &[Json(|_, reply| {
            if reply.body.starts_with(br#"{"code":"suspended"#) {
                reply.status = StatusCode::NOT_FOUND;
            }
        })],
    ),
    flaw(
        "400 for 404",
        "2,6,9,16,21,25",
        "",
        &[Json(|_, reply| {
            if reply.status == StatusCode::NOT_FOUND {
                reply.status = StatusCode::BAD_REQUEST;
            }
        })],
    ),
    flaw(
        "a body on 201",
        "8,10,13,26",
        "",
        &[Json(|_, reply| {
            if reply.status == StatusCode::CREATED {
                reply.body = "{}".into();
            }
        })],
    ),
    flaw(
        "a content type that is not JSON",
        "14-15,19-20",
        "15,20",
        &[Json(|asked, reply| {
            if asked.is("CreateTransaction") && reply.status == StatusCode::OK {
                reply.headers.insert("content-type", HeaderValue::from_static("text/plain"));
            }
        })],
    ),
    flaw(
        "no X-Account-Id",
        "1",
        "",
        &[Json(|_, reply| {
            reply.headers.remove("x-account-id");
        })],
    ),
    flaw(
        "an account id in the body too",
        "1",
        "",
        &[Text(|asked, text| {
            if asked.is("ValidateAccount") {
                text.replace(r#""type":"#, r#""accountId":"acc_1","type":"#)
            } else {
                text.into()
            }
        })],
    ),
    flaw(
        "a message without its full stop",
        "7,22,27-28",
        "",
        &[Text(|_, text| text.replace("Invalid request.", "Invalid request"))],
    ),
    flaw(
        "a full stop too many",
        "17,23",
        "",
        &[Text(|_, text| text.replace(r#""Invalid request""#, r#""Invalid request.""#))],
    ),
    flaw(
        "a missing key",
        "14-15,19-20",
        "15,20",
        &[Text(|_, text| text.replace(r#","description":"Charge success""#, ""))],
    ),
    flaw(
        "an extra key",
        "1",
        "",
        &[Text(|_, text| text.replace(r#""type":"postpaid""#, r#""type":"postpaid","plan":null"#))],
    ),
    flaw(
        "keys in another order",
        "1",
        "",
        &[Text(|_, text| {
            text.replace(r#""status":"ACTIVE","type":"postpaid""#, r#""type":"postpaid","status":"ACTIVE""#)
        })],
    ),
    flaw(
        "a key twice",
        "1",
        "",
        &[Text(|_, text| text.replace(r#""type":"postpaid""#, r#""type":"postpaid","type":"postpaid""#))],
    ),
    flaw("a status word in another case", "1", "", &[Text(|_, text| text.replace("ACTIVE", "active"))]),
    flaw(
        "a code that was tidied up",
        "5",
        "",
        &[Text(|_, text| text.replace("eligibility-failed csp", "eligibility-failed-csp"))],
    ),
    flaw("another pattern in a violation", "7", "", &[Text(|_, text| text.replace("[0-9]{10}", "\\\\d{10}"))]),
    flaw(
        "no validationErrors",
        "7,17,22-23,27-28",
        "",
        &[Text(|_, text| match text.split_once(r#","validationErrors""#) {
            Some((before, _)) => format!("{before}}}"),
            None => text.to_owned(),
        })],
    ),
    flaw(
        "a violation too many",
        "17",
        "",
        &[Text(|_, text| {
            text.replace(
                r#"[{"code":"violation-on-currency""#,
                r#"[{"code":"violation-on-amount","reason":"must not be 0"},{"code":"violation-on-currency""#,
            )
        })],
    ),
    flaw(
        "a charge date without its Z",
        "24",
        "",
        &[Text(|_, text| text.replace("Z\",\"currency\"", "\",\"currency\""))],
    ),
    flaw(
        "a charge date with fractions",
        "24",
        "",
        &[Text(|_, text| text.replace("Z\",\"currency\"", ".000Z\",\"currency\""))],
    ),
    flaw("an amount that is a number", "24", "", &[Text(|_, text| text.replace(r#""1500.0""#, "1500.0"))]),
    flaw("an amount with another zero", "24", "", &[Text(|_, text| text.replace(r#""1500.0""#, r#""1500.00""#))]),
    flaw(
        "an answer that is no JSON",
        "25",
        "",
        &[Text(
            |_, text| {
                if text.contains("transaction-not-found") { "<h1>Not Found</h1>".into() } else { text.into() }
            },
        )],
    ),
    // Statuses and details of gRPC.
    flaw(
        "gRPC: NOT_FOUND for FAILED_PRECONDITION",
        "",
        "3-5",
        &[Grpc(|_, it| it.recode(Code::FailedPrecondition, Code::NotFound))],
    ),
    flaw(
        "gRPC: UNKNOWN for every refusal of a PIN",
        "",
        "11-12 ?13",
        &[Grpc(|asked, it| {
            if asked.is("ValidatePin") {
                it.recode(Code::InvalidArgument, Code::Unknown);
            }
        })],
    ),
    flaw(
        "gRPC: no ErrorInfo",
        "",
        "2-7,9,11-12,16-18,21-23,25,27-28",
        &[Grpc(|_, it| {
            it.detail(|mut details| {
                let violations = details.bad_request().map(|request| request.field_violations.clone());
                details = tonic_types::ErrorDetails::new();
                if let Some(violations) = violations {
                    details.set_bad_request(violations);
                }
                details
            });
        })],
    ),
    flaw(
        "gRPC: a reason with the hyphens of its code",
        "",
        "2-7,9,11-12,16-18,21-23,25,27-28",
        &[Grpc(|_, it| {
            it.inform(|reason, _, code| reason.clone_from(code));
        })],
    ),
    flaw(
        "gRPC: another domain",
        "",
        "2-7,9,11-12,16-18,21-23,25,27-28",
        &[Grpc(|_, it| {
            it.inform(|_, domain, _| "gateway.example".clone_into(domain));
        })],
    ),
    flaw(
        "gRPC: another word for the literal code",
        "",
        "5",
        &[Grpc(|_, it| {
            it.inform(|reason, _, code| {
                if reason == "ELIGIBILITY_FAILED_CSP" {
                    code.clone_from(reason);
                }
            });
        })],
    ),
    flaw(
        "gRPC: no BadRequest",
        "",
        "7,17,22-23,27-28",
        &[Grpc(|_, it| {
            it.detail(|details| {
                let info = details.error_info().expect("ErrorInfo").clone();
                tonic_types::ErrorDetails::with_error_info(info.reason, info.domain, info.metadata)
            });
        })],
    ),
    flaw(
        "gRPC: a field by its JSON name",
        "",
        "22",
        &[Grpc(|_, it| {
            it.violate(|violation| {
                violation.field = violation.field.replace("reference_id", "referenceId");
            });
        })],
    ),
    flaw(
        "gRPC: a violation's code as it is on JSON",
        "",
        "7,17,22-23,27-28",
        &[Grpc(|_, it| {
            it.violate(|violation| {
                violation.reason = violation.reason.to_lowercase().replace('_', "-");
            });
        })],
    ),
    flaw(
        "gRPC: a status message without its full stop",
        "",
        "7,22,27-28",
        &[Grpc(|_, it| it.reword("Invalid request.", "Invalid request"))],
    ),
    flaw(
        "gRPC: no account id",
        "",
        "1",
        &[Grpc(|asked, it| {
            if asked.is("ValidateAccount") && it.message.is_some() {
                it.set("accountId", "");
            }
        })],
    ),
    flaw(
        "gRPC: another word for success",
        "15,20",
        "14-15,19-20",
        &[Grpc(|asked, it| {
            if asked.is("CreateTransaction") && it.message.is_some() {
                it.set("description", "OK");
            }
        })],
    ),
    // Replays.
    flaw(
        "a replay that does not say so",
        "15,20",
        "15,20",
        &[Headers(|_, reply| {
            reply.headers.remove("idempotency-replayed");
        })],
    ),
    flaw(
        "a first answer that calls itself a replay",
        "14,19",
        "14,19",
        &[Headers(|asked, reply| {
            if asked.is("CreateTransaction") {
                reply.headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
            }
        })],
    ),
    flaw(
        "a replay with another spacing",
        "15,20",
        "",
        &[Json(|asked, reply| {
            if asked.is("CreateTransaction") && reply.is_replay() {
                reply.body = [b" ", &reply.body[..]].concat().into();
            }
        })],
    ),
    flaw(
        "a replay is charged again",
        "15",
        "15",
        &[Then(|asked, seen| if asked.is_charge() && seen.replay { vec![once_more(asked, "again")] } else { vec![] })],
    ),
    flaw(
        "faces that do not know each other's charges",
        "15,20",
        "15,20",
        &[
            Ask(|asked| {
                for name in ["extTransactionId", "referenceId"] {
                    if !asked.is_grpc() && asked.text(name).starts_with("cert-") {
                        asked.set(name, asked.text(name).replace("cert-", "over-json-"));
                    }
                }
            }),
            Text(|_, text| text.replace("over-json-", "cert-")),
        ],
    ),
    // Bills.
    flaw(
        "each charge is billed twice",
        "14",
        "14",
        &[Then(|asked, seen| {
            let first = asked.is_charge() && !seen.replay && seen.code.is_none() && asked.text("amount") == "9.99";
            if first { vec![once_more(asked, "twice")] } else { vec![] }
        })],
    ),
    flaw(
        "another customer is charged",
        "14,19",
        "14,19",
        &[Ask(|asked| {
            if asked.is("CreateTransaction") && asked.text("address").ends_with("01") {
                asked.set("address", "5550000001".to_owned());
            }
        })],
    ),
    flaw(
        "a refund is booked twice",
        "19",
        "19",
        &[
            First(|asked| {
                // Something to refund once more; its text makes it a line of another run, which is not counted.
                let (path, mut body) = once_more(asked, "spare");
                body["description"] = "onbill certify elsewhere".into();
                if asked.is_charge() && asked.text("amount") == "9.99" { vec![(path, body)] } else { vec![] }
            }),
            Then(|asked, seen| {
                let first =
                    asked.is_refund() && !seen.replay && seen.code.is_none() && asked.field("referenceId").is_none();
                if first { vec![once_more(asked, "spare")] } else { vec![] }
            }),
        ],
    ),
    flaw(
        "a charge to an unknown account goes to the number beside it",
        "16",
        "16",
        &[Then(|asked, seen| {
            let refused = seen.code.as_deref() == Some("account-not-found");
            let beside = asked.is_charge() && refused && asked.field("address").is_some();
            if beside { vec![once_more(asked, "beside")] } else { vec![] }
        })],
    ),
    flaw(
        "a charge in a malformed currency is billed though it is refused",
        "17",
        "17",
        &[Then(|asked, _| {
            if asked.is_charge() && asked.text("currency") == "mxn" {
                let (path, mut body) = once_more(asked, "upper");
                body["currency"] = "MXN".into();
                vec![(path, body)]
            } else {
                vec![]
            }
        })],
    ),
    // Refunds.
    flaw("a refund of no charge is accepted", "21", "21", &[Pardon(|_, code| code == "invalid-charge-refund")]),
    flaw(
        "a refund by reference is not known",
        "19 ?20",
        "19 ?20",
        &[Ask(|asked| {
            if asked.is_refund() && asked.text("referenceId").starts_with("cert-") {
                asked.set("referenceId", "never-charged".to_owned());
            }
        })],
    ),
    flaw(
        "a positive refund is taken for a charge",
        "23",
        "23",
        &[Then(|asked, seen| {
            let botched = asked.is("CreateTransaction") && asked.field("referenceId").is_some() && !asked.is_refund();
            if botched && seen.code.is_some() { vec![once_more(asked, "charge")] } else { vec![] }
        })],
    ),
    // PINs.
    flaw("a wrong PIN is right", "11-12 ?13", "11-12 ?13", &[Pardon(|asked, _| asked.is("ValidatePin"))]),
    flaw(
        "one wrong try burns the PIN",
        "13",
        "13",
        &[Then(|asked, seen| {
            let wrong = asked.is("ValidatePin") && seen.code.as_deref() == Some("invalid-pin");
            let fields = json!({ "type": "MSISDN", "address": asked.text("address"), "pin": asked.text("pin") });
            if wrong { vec![("/pin/validation", fields); 4] } else { vec![] }
        })],
    ),
    flaw(
        "the right PIN is refused",
        "10,13",
        "10,13",
        &[Ask(|asked| {
            if asked.is("ValidatePin") {
                asked.set("pin", "no".to_owned());
            }
        })],
    ),
    // The phone.
    flaw(
        "no SMS is sent",
        "8,26 ?10-13",
        "8,26 ?10-13",
        &[Swallow(|asked| {
            let good = asked.text("type") == "MSISDN" && asked.text("address").ends_with("01");
            good && (asked.is("SendPin") || asked.is("SendNotification") && asked.field("message").is_some())
        })],
    ),
    flaw(
        "an SMS too many with each PIN",
        "8",
        "8",
        &[First(|asked| {
            let known = asked.is("SendPin") && asked.text("address").ends_with("01");
            if known { vec![message(asked, "Welcome.")] } else { vec![] }
        })],
    ),
    flaw(
        "a notification is sent twice",
        "26",
        "26",
        &[Then(|asked, seen| {
            let sent = asked.is("SendNotification") && seen.code.is_none();
            if sent { vec![message(asked, asked.text("message"))] } else { vec![] }
        })],
    ),
    flaw(
        "a notification without a message is accepted",
        "27",
        "27",
        &[Pardon(|asked, _| asked.is("SendNotification") && asked.field("message").is_none())],
    ),
    flaw(
        "a notification of a wrong type is sent though it is refused",
        "28",
        "28",
        &[Then(|asked, _| {
            if asked.is("SendNotification") && asked.text("type") == "SMS" {
                vec![message(asked, asked.text("message"))]
            } else {
                vec![]
            }
        })],
    ),
];
