//! One call: what is asked, as a request of either face, and what its answer is worth.
//!
//! Invariant: an answer counts as good only if it says what was asked: the same id, amount and currency, and no final
//! status that was another one before. Everything else has a code, which is the contract's where the answer has one.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode, Uri};
use prost::Message;
use serde::Deserialize;
use serde_json::json;
use tonic_types::StatusExt as _;

use super::book::{Book, Standing};
use super::mix::Verb;
use crate::faces::pb::v1;

/// An answer that is not what was asked for.
pub const WRONG_ANSWER: &str = "wrong-answer";
/// Bytes before a gRPC message: whether it is compressed, and its length.
const FRAME_HEAD_BYTES: usize = 5;
/// What notifications say.
const MESSAGE: &str = "onbill load";

/// One of the two faces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Face {
    /// gRPC.
    Grpc,
    /// HTTP/JSON.
    Json,
}

impl Face {
    /// The word in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Json => "json",
        }
    }
}

/// The version of HTTP that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One call at a time.
    Http1,
    /// Many.
    Http2,
}

/// What one call asks for. Places are those of the [`Book`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// ValidateAccount, SendPin, SendNotification or ListTransactions.
    Plain(Verb, u64),
    /// A charge of its own.
    Charge(u64),
    /// A charge that was taken, again.
    Replay(u64),
    /// A refund of its own, and its charge.
    Refund(u64, u64),
    /// How a charge stands.
    GetCharge(u64),
    /// How a refund stands.
    GetRefund(u64),
}

impl Order {
    /// The row of the report that it belongs to.
    #[must_use]
    pub const fn verb(self) -> Verb {
        match self {
            Self::Plain(verb, _) => verb,
            Self::Charge(_) => Verb::Charge,
            Self::Replay(_) => Verb::Replay,
            Self::Refund(..) => Verb::Refund,
            Self::GetCharge(_) | Self::GetRefund(_) => Verb::Get,
        }
    }
}

/// What is bought.
#[derive(Debug, Clone)]
pub struct Wares {
    /// `partnerProduct`.
    pub product: String,
    /// Of a charge, in major units.
    pub amount: String,
    /// ISO 4217.
    pub currency: String,
}

impl Wares {
    /// Of a refund: the smallest amount with as many decimals as the charge's, so that a charge has room for many.
    fn refund_amount(&self) -> String {
        match self.amount.split_once('.') {
            Some((_, decimals)) => format!("-0.{:0>width$}", 1, width = decimals.len()),
            None => "-1".to_owned(),
        }
    }
}

/// An answer as it came.
#[derive(Debug)]
pub struct Raw {
    /// Of HTTP.
    pub status: StatusCode,
    /// Headers; where the answer has trailers, those too.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// What an answer tells of a transaction.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Told {
    ext_transaction_id: Option<String>,
    status: String,
    amount: Option<String>,
    currency: Option<String>,
}

/// Writes requests of one face and reads its answers.
#[derive(Debug, Clone)]
pub struct Clerk {
    face: Face,
    version: Version,
    target: Uri,
    headers: HeaderMap,
    wares: Wares,
    book: Arc<Book>,
}

impl Clerk {
    /// A clerk of a face.
    ///
    /// # Errors
    /// One line, where the key is no header or the target has no host.
    pub fn new(
        face: Face,
        version: Version,
        target: &Uri,
        api_key: &str,
        wares: &Wares,
        book: &Arc<Book>,
    ) -> Result<Self, String> {
        let mut key = HeaderValue::from_str(api_key).map_err(|_| "the API key is no header value")?;
        key.set_sensitive(true);
        let mut headers = HeaderMap::new();
        if version == Version::Http1 {
            let authority = target.authority().ok_or("the target has no host")?;
            let host = HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?;
            headers.insert(HOST, host);
        }
        headers.insert(HeaderName::from_static("x-api-key"), key);
        match face {
            Face::Grpc => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                headers.insert(TE, HeaderValue::from_static("trailers"));
            }
            Face::Json => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
        }
        Ok(Self { face, version, target: target.clone(), headers, wares: wares.clone(), book: Arc::clone(book) })
    }

    /// Its face.
    #[must_use]
    pub const fn face(&self) -> Face {
        self.face
    }

    /// The request of an order; `None` where its path cannot be written, which no id of a book leads to.
    #[must_use]
    pub fn request(&self, order: Order) -> Option<Request<Bytes>> {
        let (method, path, body) = match self.face {
            Face::Grpc => self.in_grpc(order),
            Face::Json => self.in_json(order),
        };
        let mut request = Request::new(body);
        *request.uri_mut() = self.uri(&path)?;
        *request.headers_mut() = self.headers.clone();
        if method == Method::GET {
            request.headers_mut().remove(CONTENT_TYPE);
        }
        *request.method_mut() = method;
        Some(request)
    }

    /// Absolute on HTTP/2, which has no `Host`; a path on HTTP/1.1.
    fn uri(&self, path: &str) -> Option<Uri> {
        let prefix = self.target.path().trim_end_matches('/');
        let path: PathAndQuery =
            if prefix.is_empty() { path.parse().ok()? } else { format!("{prefix}{path}").parse().ok()? };
        let mut parts = http::uri::Parts::default();
        if self.version == Version::Http2 {
            parts.scheme = self.target.scheme().cloned();
            parts.authority = self.target.authority().cloned();
        }
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).ok()
    }

    fn in_grpc(&self, order: Order) -> (Method, String, Bytes) {
        let msisdn = || "MSISDN".to_owned();
        let (path, body) = match order {
            Order::Plain(Verb::Pin, place) => (
                "PinService/SendPin",
                framed(&v1::SendPinRequest { r#type: msisdn(), address: self.book.number(place) }),
            ),
            Order::Plain(Verb::Notify, place) => {
                let (address, message) = (self.book.number(place), MESSAGE.to_owned());
                let request =
                    v1::SendNotificationRequest { r#type: msisdn(), address, message, ext_notification_id: None };
                ("NotificationService/SendNotification", framed(&request))
            }
            Order::Plain(Verb::List, _) => {
                ("TransactionService/ListTransactions", framed(&v1::ListTransactionsRequest::default()))
            }
            Order::Plain(_, place) => {
                let (address, partner_product) = (self.book.number(place), String::new());
                let request = v1::ValidateAccountRequest { r#type: msisdn(), address, partner_product };
                ("AccountService/ValidateAccount", framed(&request))
            }
            Order::Charge(_) | Order::Replay(_) | Order::Refund(..) => {
                ("TransactionService/CreateTransaction", framed(&self.transaction(order)))
            }
            Order::GetCharge(_) | Order::GetRefund(_) => {
                let (ext_transaction_id, kind) = self.looked_up(order);
                let request = v1::GetTransactionRequest { ext_transaction_id, kind: kind.to_owned() };
                ("TransactionService/GetTransaction", framed(&request))
            }
        };
        (Method::POST, format!("/onbill.v1.{path}"), body)
    }

    fn in_json(&self, order: Order) -> (Method, String, Bytes) {
        let (path, body) = match order {
            Order::Plain(Verb::Pin, place) => ("/pin", json!({ "type": "MSISDN", "address": self.book.number(place) })),
            Order::Plain(Verb::Notify, place) => {
                ("/notification", json!({ "type": "MSISDN", "address": self.book.number(place), "message": MESSAGE }))
            }
            Order::Plain(Verb::List, _) => return (Method::GET, "/transactions".to_owned(), Bytes::new()),
            Order::Plain(_, place) => {
                ("/account/validate", json!({ "type": "MSISDN", "address": self.book.number(place) }))
            }
            Order::Charge(_) | Order::Replay(_) | Order::Refund(..) => {
                let asked = self.transaction(order);
                let mut body = json!({
                    "extTransactionId": asked.ext_transaction_id, "type": asked.r#type, "address": asked.address,
                    "partnerProduct": asked.partner_product, "amount": asked.amount, "currency": asked.currency,
                });
                if let (Some(charge), Some(fields)) = (asked.reference_id, body.as_object_mut()) {
                    fields.insert("referenceId".to_owned(), charge.into());
                }
                ("/transaction", body)
            }
            Order::GetCharge(_) | Order::GetRefund(_) => {
                let (id, kind) = self.looked_up(order);
                return (Method::GET, format!("/transaction/{id}?kind={kind}"), Bytes::new());
            }
        };
        (Method::POST, path.to_owned(), Bytes::from(body.to_string()))
    }

    /// A charge or refund, the same each time.
    fn transaction(&self, order: Order) -> v1::CreateTransactionRequest {
        let (place, refund) = match order {
            Order::Refund(refund, charge) => (charge, Some(refund)),
            Order::Charge(place)
            | Order::Replay(place)
            | Order::GetCharge(place)
            | Order::GetRefund(place)
            | Order::Plain(_, place) => (place, None),
        };
        let charge_id = self.book.charge_id(place);
        let (ext_transaction_id, amount, reference_id) = match refund {
            Some(refund) => (self.book.refund_id(refund), self.wares.refund_amount(), Some(charge_id)),
            None => (charge_id, self.wares.amount.clone(), None),
        };
        v1::CreateTransactionRequest {
            ext_transaction_id,
            r#type: "MSISDN".to_owned(),
            address: self.book.number(place),
            partner_product: self.wares.product.clone(),
            amount,
            currency: self.wares.currency.clone(),
            reference_id,
            ..v1::CreateTransactionRequest::default()
        }
    }

    /// Id and kind of what is looked up.
    fn looked_up(&self, order: Order) -> (String, &'static str) {
        match order {
            Order::GetRefund(place) => (self.book.refund_id(place), "refund"),
            Order::GetCharge(place)
            | Order::Charge(place)
            | Order::Replay(place)
            | Order::Refund(place, _)
            | Order::Plain(_, place) => (self.book.charge_id(place), "charge"),
        }
    }

    /// How the transaction stands that an order was about, if it was about one.
    ///
    /// # Errors
    /// The code of what went wrong.
    pub fn read(&self, order: Order, raw: &Raw) -> Result<Option<Standing>, String> {
        let message = match self.face {
            Face::Grpc => grpc_message(raw)?,
            Face::Json => json_body(raw)?,
        };
        let told = match (order, self.face) {
            (Order::Plain(..), _) => return Ok(None),
            (Order::Charge(_) | Order::Replay(_) | Order::Refund(..), Face::Grpc) => {
                v1::CreateTransactionResponse::decode(message).ok().map(|told| Told {
                    ext_transaction_id: Some(told.ext_transaction_id),
                    status: told.status,
                    ..Told::default()
                })
            }
            (Order::GetCharge(_) | Order::GetRefund(_), Face::Grpc) => {
                v1::GetTransactionResponse::decode(message).ok().map(|told| Told {
                    ext_transaction_id: None,
                    status: told.status,
                    amount: Some(told.amount),
                    currency: Some(told.currency),
                })
            }
            (_, Face::Json) => serde_json::from_slice(&message).ok(),
        };
        told.and_then(|told| self.judged(order, &told)).map(Some).ok_or_else(|| WRONG_ANSWER.to_owned())
    }

    /// What an answer says, if it says what it must.
    fn judged(&self, order: Order, told: &Told) -> Option<Standing> {
        let standing = Standing::of(&told.status)?;
        let before = match order {
            Order::Charge(_) | Order::Refund(..) | Order::Plain(..) => None,
            Order::Replay(place) | Order::GetCharge(place) => self.book.charges.standing(place),
            Order::GetRefund(place) => self.book.refunds.standing(place),
        };
        let as_before = matches!(before, None | Some(Standing::Pending)) || before == Some(standing);
        let asked = match order {
            Order::GetRefund(_) => None,
            Order::Refund(..) | Order::Charge(_) | Order::Replay(_) | Order::GetCharge(_) | Order::Plain(..) => {
                Some(self.transaction(order))
            }
        };
        let amount = asked.as_ref().map_or_else(|| self.wares.refund_amount(), |asked| asked.amount.clone());
        let same_id = match (&told.ext_transaction_id, &asked) {
            (Some(id), Some(asked)) => *id == asked.ext_transaction_id,
            (Some(_), None) | (None, _) => true,
        };
        let same_amount = told.amount.as_ref().is_none_or(|told| plain(told) == plain(&amount));
        let same_currency = told.currency.as_ref().is_none_or(|told| *told == self.wares.currency);
        (as_before && same_id && same_amount && same_currency).then_some(standing)
    }
}

/// An amount without zeros at its end.
fn plain(amount: &str) -> &str {
    if amount.contains('.') { amount.trim_end_matches('0').trim_end_matches('.') } else { amount }
}

fn framed<M: Message>(message: &M) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(length.saturating_add(FRAME_HEAD_BYTES));
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(&mut bytes);
    bytes.freeze()
}

/// The message of a gRPC answer, or its code.
fn grpc_message(raw: &Raw) -> Result<Bytes, String> {
    if raw.status != StatusCode::OK {
        return Err(format!("http-{}", raw.status.as_u16()));
    }
    if raw.headers.get("grpc-status").is_some_and(|status| status.as_bytes() == b"0") {
        let whole = raw.body.len() >= FRAME_HEAD_BYTES && raw.body.first() == Some(&0);
        return if whole { Ok(raw.body.slice(FRAME_HEAD_BYTES..)) } else { Err(WRONG_ANSWER.to_owned()) };
    }
    let Some(status) = tonic::Status::from_header_map(&raw.headers) else {
        return Err(WRONG_ANSWER.to_owned());
    };
    let code = status.get_details_error_info().and_then(|info| info.metadata.get("code").cloned());
    Err(code.unwrap_or_else(|| format!("grpc-{:?}", status.code())))
}

/// The body of a JSON answer, or its code.
fn json_body(raw: &Raw) -> Result<Bytes, String> {
    /// The part of an error that is read.
    #[derive(Deserialize)]
    struct Refusal {
        code: String,
    }
    if raw.status.is_success() {
        return Ok(raw.body.clone());
    }
    let refusal: Option<Refusal> = serde_json::from_slice(&raw.body).ok();
    Err(refusal.map_or_else(|| format!("http-{}", raw.status.as_u16()), |refusal| refusal.code))
}

#[cfg(test)]
mod tests {
    use super::super::book::{Ids, Numbers};
    use super::*;

    fn clerk(face: Face, version: Version) -> Clerk {
        let numbers = Numbers::Sandbox { first: 0, condition: "01".to_owned() };
        let book = Arc::new(Book::new("abcdefgh", Ids::Ordered, numbers, 2));
        let wares = Wares { product: "ott-basic".to_owned(), amount: "9.90".to_owned(), currency: "MXN".to_owned() };
        let target = "http://gateway.example:8080/".parse().expect("a URL");
        Clerk::new(face, version, &target, "demo-key", &wares, &book).expect("a clerk")
    }

    fn raw(status: u16, headers: &[(&'static str, &'static str)], body: &[u8]) -> Raw {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let status = StatusCode::from_u16(status).expect("a status");
        Raw { status, headers, body: Bytes::copy_from_slice(body) }
    }

    #[test]
    fn a_charge_is_the_same_request_each_time_it_is_sent() {
        for (face, version) in [(Face::Grpc, Version::Http2), (Face::Json, Version::Http1)] {
            let clerk = clerk(face, version);
            let sent = |order| clerk.request(order).expect("a request").into_body();
            assert_eq!(sent(Order::Charge(1)), sent(Order::Replay(1)));
            assert_ne!(sent(Order::Charge(1)), sent(Order::Charge(0)));
        }
    }

    #[test]
    fn requests_are_written_as_their_face_and_version_want_them() {
        let json = clerk(Face::Json, Version::Http1).request(Order::Refund(3, 1)).expect("a request");
        let body = r#"{"extTransactionId":"abcdefgh-r000000000003","type":"MSISDN","address":"5550000101","partnerProduct":"ott-basic","amount":"-0.01","currency":"MXN","referenceId":"abcdefgh-c000000000001"}"#;
        assert_eq!((json.uri().to_string().as_str(), json.body().as_ref()), ("/transaction", body.as_bytes()));
        assert_eq!(json.headers()[HOST], "gateway.example:8080");
        let looked_up = clerk(Face::Json, Version::Http1).request(Order::GetRefund(3)).expect("a request");
        assert_eq!(looked_up.uri(), "/transaction/abcdefgh-r000000000003?kind=refund");
        assert!(looked_up.body().is_empty() && !looked_up.headers().contains_key(CONTENT_TYPE));
        let grpc = clerk(Face::Grpc, Version::Http2).request(Order::Plain(Verb::Validate, 5)).expect("a request");
        assert_eq!(grpc.uri(), "http://gateway.example:8080/onbill.v1.AccountService/ValidateAccount");
        let message = v1::ValidateAccountRequest::decode(grpc.body().slice(5..)).expect("a message");
        assert_eq!(message.address, "5550000501");
    }

    #[test]
    fn an_answer_that_says_something_else_is_wrong() {
        let clerk = clerk(Face::Json, Version::Http1);
        let wrong = || Err(WRONG_ANSWER.to_owned());
        for (order, body, expected) in [
            (
                Order::Charge(0),
                r#"{"extTransactionId":"abcdefgh-c000000000000","status":"Pending"}"#,
                Ok(Some(Standing::Pending)),
            ),
            (Order::Charge(0), r#"{"extTransactionId":"abcdefgh-c000000000001","status":"Success"}"#, wrong()),
            (Order::Charge(0), r#"{"extTransactionId":"abcdefgh-c000000000000","status":"success"}"#, wrong()),
            (Order::Charge(0), "<html>", wrong()),
            (
                Order::GetCharge(0),
                r#"{"amount":"9.9","currency":"MXN","status":"Success"}"#,
                Ok(Some(Standing::Success)),
            ),
            (Order::GetCharge(0), r#"{"amount":"9.91","currency":"MXN","status":"Success"}"#, wrong()),
            (Order::GetCharge(0), r#"{"amount":"9.9","currency":"USD","status":"Success"}"#, wrong()),
            // It was Success before.
            (Order::GetCharge(0), r#"{"amount":"9.9","currency":"MXN","status":"Failure"}"#, wrong()),
            (Order::Plain(Verb::Validate, 0), r#"{"status":"ACTIVE"}"#, Ok(None)),
        ] {
            assert_eq!(clerk.read(order, &raw(200, &[], body.as_bytes())), expected, "{body}");
        }
    }

    #[test]
    fn errors_have_the_contracts_code_where_they_have_one() {
        let json = clerk(Face::Json, Version::Http1);
        let order = Order::Plain(Verb::Validate, 0);
        let refused = raw(404, &[], br#"{"code":"account-not-found","message":"Account not found"}"#);
        assert_eq!(json.read(order, &refused), Err("account-not-found".to_owned()));
        assert_eq!(json.read(order, &raw(502, &[], b"<html>")), Err("http-502".to_owned()));
        let grpc = clerk(Face::Grpc, Version::Http2);
        assert_eq!(grpc.read(order, &raw(200, &[("grpc-status", "14")], b"")), Err("grpc-Unavailable".to_owned()));
        assert_eq!(grpc.read(order, &raw(200, &[], b"")), Err(WRONG_ANSWER.to_owned()));
        assert_eq!(grpc.read(order, &raw(503, &[], b"")), Err("http-503".to_owned()));
    }
}
