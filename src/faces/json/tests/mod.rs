//! The face from outside: requests in, responses out, in front of services that record what reaches them.
//!
//! Invariant: nothing here looks into the tables of the face, so that they may change freely.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use prost_types::Timestamp;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;

use super::JsonFace;
use super::findings::Findings;
use super::framed::Framed;
use crate::faces::pb;
use crate::faces::pb::v1;
use crate::faces::status::ApiError;

mod answers;
mod every_kind;
mod openapi;
mod requests;

/// What a service saw of one request.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The message, as Debug prints it.
    pub(super) message: String,
    pub(super) findings: Findings,
    pub(super) headers: http::HeaderMap,
    pub(super) extension: Option<u32>,
}

/// Services that record requests, and answer as the test says.
#[derive(Debug, Clone, Default)]
pub(super) struct Recorder {
    seen: Arc<Mutex<Vec<Seen>>>,
    /// The pages that ListTransactions answers; empty for an empty page.
    pub(super) page: Vec<v1::Transaction>,
    /// The error that everything answers, if any.
    pub(super) error: Option<ApiError>,
}

impl Recorder {
    fn record<T: std::fmt::Debug>(&self, request: &tonic::Request<T>) -> Result<(), Status> {
        self.seen.lock().expect("no test panics while it holds this").push(Seen {
            message: format!("{:?}", request.get_ref()),
            findings: request.extensions().get().cloned().unwrap_or_default(),
            headers: request.metadata().clone().into_headers(),
            extension: request.extensions().get().copied(),
        });
        self.error.clone().map_or(Ok(()), |error| Err(error.into_status()))
    }

    /// What the last request looked like.
    pub(super) fn last(&self) -> Seen {
        self.seen.lock().expect("no test panics while it holds this").last().expect("a request got through").clone()
    }

    /// How many requests got through.
    pub(super) fn count(&self) -> usize {
        self.seen.lock().expect("no test panics while it holds this").len()
    }

    /// A face in front of these services.
    pub(super) fn face(&self) -> JsonFace {
        let routes = Routes::new(v1::pin_service_server::PinServiceServer::new(self.clone()))
            .add_service(v1::transaction_service_server::TransactionServiceServer::new(self.clone()))
            .add_service(v1::account_service_server::AccountServiceServer::new(self.clone()))
            .prepare();
        let services = ["onbill.v1.AccountService", "onbill.v1.PinService", "onbill.v1.TransactionService"];
        JsonFace::new(pb::DESCRIPTORS, &services, Arc::new(Framed(routes)), "1.2.3").expect("the protos can be served")
    }
}

#[tonic::async_trait]
impl v1::pin_service_server::PinService for Recorder {
    async fn send_pin(
        &self,
        request: tonic::Request<v1::SendPinRequest>,
    ) -> Result<tonic::Response<v1::SendPinResponse>, Status> {
        self.record(&request)?;
        let mut response = tonic::Response::new(v1::SendPinResponse {});
        response.metadata_mut().insert("x-correlation-id", "c-1".parse().expect("a header value"));
        Ok(response)
    }

    async fn validate_pin(
        &self,
        request: tonic::Request<v1::ValidatePinRequest>,
    ) -> Result<tonic::Response<v1::ValidatePinResponse>, Status> {
        self.record(&request)?;
        Ok(tonic::Response::new(v1::ValidatePinResponse {}))
    }
}

#[tonic::async_trait]
impl v1::account_service_server::AccountService for Recorder {
    async fn validate_account(
        &self,
        request: tonic::Request<v1::ValidateAccountRequest>,
    ) -> Result<tonic::Response<v1::ValidateAccountResponse>, Status> {
        self.record(&request)?;
        let (status, r#type, account_id) = ("ACTIVE".to_owned(), "postpaid".to_owned(), "acc_1".to_owned());
        Ok(tonic::Response::new(v1::ValidateAccountResponse { status, r#type, account_id }))
    }
}

#[tonic::async_trait]
impl v1::transaction_service_server::TransactionService for Recorder {
    async fn create_transaction(
        &self,
        request: tonic::Request<v1::CreateTransactionRequest>,
    ) -> Result<tonic::Response<v1::CreateTransactionResponse>, Status> {
        self.record(&request)?;
        Ok(tonic::Response::new(v1::CreateTransactionResponse {
            ext_transaction_id: request.into_inner().ext_transaction_id,
            status: "Success".to_owned(),
            description: String::new(),
        }))
    }

    async fn get_transaction(
        &self,
        request: tonic::Request<v1::GetTransactionRequest>,
    ) -> Result<tonic::Response<v1::GetTransactionResponse>, Status> {
        self.record(&request)?;
        Ok(tonic::Response::new(v1::GetTransactionResponse {
            charge_date: Some(Timestamp { seconds: 1_589_814_303, nanos: 0 }),
            currency: "MXN".to_owned(),
            amount: "1500.0".to_owned(),
            message: "Over spending daily limit".to_owned(),
            status: "Failure".to_owned(),
        }))
    }

    async fn list_transactions(
        &self,
        request: tonic::Request<v1::ListTransactionsRequest>,
    ) -> Result<tonic::Response<v1::ListTransactionsResponse>, Status> {
        self.record(&request)?;
        let (transactions, next_page_token) = (self.page.clone(), String::new());
        Ok(tonic::Response::new(v1::ListTransactionsResponse { transactions, next_page_token }))
    }

    type WatchTransactionStream = futures_util::stream::Empty<Result<v1::WatchTransactionResponse, Status>>;

    async fn watch_transaction(
        &self,
        request: tonic::Request<v1::WatchTransactionRequest>,
    ) -> Result<tonic::Response<Self::WatchTransactionStream>, Status> {
        self.record(&request)?;
        Ok(tonic::Response::new(futures_util::stream::empty()))
    }
}

/// A response with its body read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) status: u16,
    pub(super) headers: http::HeaderMap,
    pub(super) body: String,
}

impl Read {
    pub(super) async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body of ours does not break off").to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("JSON is UTF-8");
        Self { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII"))
    }
}

/// Sends a request without a body.
pub(super) async fn get(face: &JsonFace, path: &str) -> Read {
    send(face, Method::GET, path).await
}

/// Sends a request of any method without a body.
pub(super) async fn send(face: &JsonFace, method: Method, path: &str) -> Read {
    let request = Request::builder().method(method).uri(path).body(Full::<Bytes>::default()).expect("a request");
    Read::of(face.answer(request).await).await
}

/// Sends JSON.
pub(super) async fn post(face: &JsonFace, path: &str, body: impl Into<Bytes>) -> Read {
    let request = Request::post(path).header("content-type", "application/json").body(Full::new(body.into()));
    Read::of(face.answer(request.expect("a request")).await).await
}

/// The findings as `(position, code, reason)`.
pub(super) fn found(findings: &Findings) -> Vec<(u32, String, String)> {
    let rows = findings.listed.iter();
    rows.map(|f| (f.position, f.violation.code().into_owned(), f.violation.reason.clone().into_owned())).collect()
}
