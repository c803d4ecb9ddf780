//! Events on the operations port: which endpoints there are, what they did not take, and how to send it again.
//!
//! Invariant: no secret and no body of an event is shown. What changes something is a POST of JSON, which no page in
//! somebody's browser can send here unasked. Only configured endpoints are ever called.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::admin::Admin;
use crate::domain::public_address::Addresses;
use crate::flows::deliver::{self, NoEndpoint};
use crate::ports::audit::{Entry, Who};
use crate::ports::outbox::DeadLetter;

/// Most dead letters of one answer, the newest.
const DEAD_LETTERS_MAX: u32 = 1_000;
const JSON: &str = "application/json";

/// What there is to see.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// Every configured endpoint.
    pub endpoints: Vec<ListedEndpoint>,
    /// Events that were given up, newest first, at most a thousand.
    pub dead_letters: Vec<ListedLetter>,
}

/// An endpoint.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedEndpoint {
    /// Whose.
    pub partner: String,
    /// Where.
    pub url: String,
    /// How many secrets sign its events.
    pub secrets: usize,
    /// Whether it may be in a private network.
    pub allow_private: bool,
    /// Whether it has answered 410: nothing is sent until something is sent again by hand.
    pub stopped: bool,
}

/// A dead letter.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedLetter {
    /// The event's id.
    pub event: String,
    /// Whose.
    pub partner: String,
    /// What it tells of.
    pub ext_transaction_id: String,
    /// charge or refund.
    pub kind: String,
    /// When the outcome became final.
    pub time: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it was given up.
    pub error: String,
}

/// What to send again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResendOrder {
    /// Whose.
    pub partner: String,
    /// This event only, delivered or dead; else all dead letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
}

/// What is sent again.
#[derive(Debug, Serialize, Deserialize)]
pub struct Resent {
    /// How many events.
    pub resent: u64,
}

/// Which endpoint to try.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestOrder {
    /// Whose.
    pub partner: String,
}

/// What came of trying an endpoint.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tried {
    /// The id of the event that was sent.
    pub event: String,
    /// Whether an event would count as delivered.
    pub delivered: bool,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// The beginning of the answer's body.
    pub body: Option<String>,
    /// Why there was no answer.
    pub error: Option<String>,
}

/// An order that was not carried out.
#[derive(Debug, Serialize, Deserialize)]
pub struct Problem {
    /// Why, in a line.
    pub error: String,
}

/// The paths below `/webhooks`.
pub fn routes() -> Router<Admin> {
    Router::new()
        .route("/webhooks", get(list))
        .route("/webhooks/resend", post(resend))
        .route("/webhooks/test", post(test))
}

async fn list(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let partner = match query.as_deref().map(read_partner) {
        None => None,
        Some(Some(partner)) => Some(partner),
        Some(None) => return problem(StatusCode::BAD_REQUEST, "the only parameter is partner"),
    };
    match deliver::dead(&admin.current.gateway(), partner.as_deref(), DEAD_LETTERS_MAX).await {
        Ok(letters) => {
            let dead_letters = letters.iter().map(listed).collect();
            answer(StatusCode::OK, &Listing { endpoints: endpoints(&admin, partner.as_deref()), dead_letters })
        }
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.0.to_note()),
    }
}

fn read_partner(query: &str) -> Option<String> {
    let partner = query.strip_prefix("partner=").filter(|rest| !rest.contains('&'))?;
    percent_decode_str(partner).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

fn endpoints(admin: &Admin, wanted: Option<&str>) -> Vec<ListedEndpoint> {
    let gateway = admin.current.gateway();
    let partners = gateway.directory.partners();
    partners
        .filter(|partner| wanted.is_none_or(|wanted| partner.id.as_str() == wanted))
        .filter_map(|partner| {
            let webhook = partner.webhook.as_ref()?;
            Some(ListedEndpoint {
                partner: partner.id.to_string(),
                url: webhook.url.as_ref().to_owned(),
                secrets: webhook.secrets.len(),
                allow_private: webhook.addresses == Addresses::Any,
                stopped: gateway.posts.is_stopped(&partner.id),
            })
        })
        .collect()
}

fn listed(letter: &DeadLetter) -> ListedLetter {
    ListedLetter {
        event: letter.event.id.as_str().to_owned(),
        partner: letter.event.partner().to_string(),
        ext_transaction_id: letter.event.key.ext_transaction_id.as_str().to_owned(),
        kind: letter.event.kind().word().to_owned(),
        time: format!("{:.3}", letter.event.at),
        attempts: letter.attempts,
        error: letter.note.clone(),
    }
}

async fn resend(State(admin): State<Admin>, headers: HeaderMap, body: Bytes) -> Response {
    let order: ResendOrder = match read(&headers, &body) {
        Ok(order) => order,
        Err(refusal) => return *refusal,
    };
    let resent = deliver::resend(&admin.current.gateway(), &order.partner, order.event.as_deref()).await;
    note(&admin, "resend", &order.partner, resent.is_ok());
    match resent {
        Ok(resent) => answer(StatusCode::OK, &Resent { resent }),
        Err(error) => no_endpoint(&order.partner, &error),
    }
}

async fn test(State(admin): State<Admin>, headers: HeaderMap, body: Bytes) -> Response {
    let order: TestOrder = match read(&headers, &body) {
        Ok(order) => order,
        Err(refusal) => return *refusal,
    };
    let tested = deliver::test(&admin.current.gateway(), &order.partner).await;
    note(&admin, "test endpoint", &order.partner, tested.is_ok());
    match tested {
        Ok(tested) => {
            let event = tested.id.as_str().to_owned();
            let tried = match tested.answer {
                Ok(seen) => {
                    let delivered = (200..=299).contains(&seen.status);
                    Tried { event, delivered, status: Some(seen.status), body: Some(seen.beginning), error: None }
                }
                Err(note) => Tried { event, delivered: false, status: None, body: None, error: Some(note) },
            };
            answer(StatusCode::OK, &tried)
        }
        Err(error) => no_endpoint(&order.partner, &error),
    }
}

/// Writes down what somebody at this port has asked for, where it was for a partner that there is.
fn note(admin: &Admin, what: &'static str, partner: &str, is_done: bool) {
    if let Some(audit) = admin.overseen.audit.as_ref().filter(|_| is_done) {
        let details = vec![("partner", partner.to_owned())];
        audit.note(Entry {
            who: Who::Operator("operations port".to_owned()),
            what: what.into(),
            outcome: "ok".into(),
            details,
        });
    }
}

fn read<'a, T: Deserialize<'a>>(headers: &HeaderMap, body: &'a Bytes) -> Result<T, Box<Response>> {
    let is_json = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(JSON.as_bytes()));
    if !is_json {
        return Err(Box::new(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "must be application/json")));
    }
    serde_json::from_slice(body).map_err(|error| Box::new(problem(StatusCode::BAD_REQUEST, &error.to_string())))
}

fn no_endpoint(partner: &str, error: &NoEndpoint) -> Response {
    match error {
        NoEndpoint::Unknown => {
            problem(StatusCode::NOT_FOUND, &format!("there is no [partner.{partner}.webhook] in the configuration"))
        }
        NoEndpoint::Unavailable(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.0.to_note()),
    }
}

fn problem(status: StatusCode, text: &str) -> Response {
    answer(status, &Problem { error: text.to_owned() })
}

fn answer<T: Serialize>(status: StatusCode, body: &T) -> Response {
    let text = serde_json::to_string(body).expect("texts and numbers under fixed keys are JSON");
    (status, [(CONTENT_TYPE, JSON)], text).into_response()
}
