//! The operator's own doors, for whoever tests: bills, messages, the clock, faults, and a number made as new.
//!
//! Invariant: reading them changes nothing, and memory does not grow with the bill: all lines are sent page by page.
//! Nothing here is part of the API that a CSP has to offer.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};

use super::faults;
use super::routes::{Body, Closed, Operator, Reply, invalid, respond};
use crate::domain::address::Msisdn;
use crate::ports::sandbox::{BookedLine, SandboxCsp};

/// Lines that are read at a time.
const PAGE: usize = 500;
/// Lines of one number's bill that are shown: the newest.
const LINES_MAX: usize = 10_000;
/// Messages that are shown, newest first.
const MESSAGES_MAX: usize = 100;

#[derive(Deserialize)]
struct Address {
    address: String,
}

#[derive(Deserialize)]
struct Advance {
    seconds: i64,
}

/// Answers what is not part of the CSP's API.
pub(super) async fn answer(
    operator: &Operator,
    method: &Method,
    path: &str,
    query: &str,
    body: &[u8],
) -> Result<Response<Body>, Closed> {
    let reply = match (method, path, address(query)) {
        (method, "/faults", _) => Some(faults::answer(operator, method, body).await),
        (&Method::GET, "/bill", None) => return Ok(all_lines(Arc::clone(operator.back()))),
        (&Method::GET, "/bill", Some(number)) => bill(operator, &number).await,
        (&Method::GET, "/messages", Some(number)) => messages(operator, &number).await,
        (&Method::POST, "/reset", _) => reset(operator, body).await,
        (&Method::GET, "/clock", _) => Some(now(operator)),
        (&Method::POST, "/clock/advance", _) => Some(advance(operator, body)),
        _ => Some(Reply::refusal(StatusCode::NOT_FOUND, "not-found")),
    };
    Ok(reply.unwrap_or_else(|| Reply::refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable")).into_response())
}

fn address(query: &str) -> Option<Msisdn> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("address="))?;
    Some(Msisdn::new(&percent_decode_str(value).decode_utf8_lossy()))
}

async fn bill(operator: &Operator, number: &Msisdn) -> Option<Reply> {
    let bill = operator.back().bill(number, LINES_MAX).await.ok()?;
    let lines = bill.lines.iter().map(|line| {
        json!({
            "reference": line.reference.to_string(),
            "amount": line.money.to_string(),
            "currency": line.money.currency.code(),
            "description": line.text,
            "bookedAt": line.at.to_string(),
        })
    });
    Some(Reply::ok(json!({ "lines": lines.collect::<Vec<_>>(), "total": bill.total.to_string() })))
}

async fn messages(operator: &Operator, number: &Msisdn) -> Option<Reply> {
    let received = operator.back().messages(number, MESSAGES_MAX).await.ok()?;
    let messages = received.iter().map(|message| {
        json!({ "address": number.expose(), "text": message.text.expose(), "sentAt": message.at.to_string() })
    });
    Some(Reply::ok(json!({ "messages": messages.collect::<Vec<_>>() })))
}

async fn reset(operator: &Operator, body: &[u8]) -> Option<Reply> {
    let Ok(Address { address }) = serde_json::from_slice(body) else {
        return Some(invalid());
    };
    operator.back().reset(&Msisdn::new(&address)).await.ok()?;
    Some(Reply { status: StatusCode::CREATED, body: None })
}

fn now(operator: &Operator) -> Reply {
    Reply::ok(json!({ "now": operator.clock().now().to_string() }))
}

fn advance(operator: &Operator, body: &[u8]) -> Reply {
    let moved =
        serde_json::from_slice(body).ok().and_then(|Advance { seconds }| operator.clock().advance(seconds).ok());
    moved.map_or_else(invalid, |now| Reply::ok(json!({ "now": now.to_string() })))
}

/// Every line of every bill, one JSON object a line, in the order of booking.
fn all_lines(back: Arc<dyn SandboxCsp>) -> Response<Body> {
    let pages = futures_util::stream::try_unfold(0_u64, move |after| {
        let back = Arc::clone(&back);
        async move {
            let lines = back.booked(after, PAGE).await.map_err(|_| Closed)?;
            let page = lines.last().map(|last| {
                let text: String = lines.iter().flat_map(|line| [shown(line).to_string(), "\n".to_owned()]).collect();
                (Frame::data(Bytes::from(text)), last.sequence)
            });
            Ok(page)
        }
    });
    respond(StatusCode::OK, "application/x-ndjson", StreamBody::new(pages).boxed_unsync())
}

fn shown(booked: &BookedLine) -> Value {
    json!({
        "sequence": booked.sequence,
        "address": booked.number.expose(),
        "reference": booked.line.reference.to_string(),
        "referenceId": booked.charge.map(|charge| charge.to_string()),
        "amount": booked.line.money.to_string(),
        "currency": booked.line.money.currency.code(),
        "description": booked.line.text,
        "bookedAt": booked.line.at.to_string(),
    })
}
