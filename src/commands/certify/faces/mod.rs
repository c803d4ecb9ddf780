//! The two faces of a gateway as a client meets them.
//!
//! Invariant: a call is an RPC's name and a document on either face, so that a case is written once. What the answer
//! means is not known here.

pub mod grpc;
pub mod json;
mod message;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use serde::Serialize;

use self::grpc::GrpcClient;
use self::json::JsonClient;
use super::answer::{Answer, Expected, NoAnswer};
use super::cases::{Contract, Rpc, Step};
use super::document::Document;

/// One of the two faces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Face {
    /// HTTP/JSON.
    Json,
    /// gRPC.
    Grpc,
}

impl Face {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Json => Self::Grpc,
            Self::Grpc => Self::Json,
        }
    }
}

impl fmt::Display for Face {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Json => "json",
            Self::Grpc => "grpc",
        })
    }
}

/// Where a gateway is and who calls.
#[derive(Clone)]
pub struct Target {
    /// `http://host:port` or `https://host:port`, with a path where the JSON face lies below one.
    pub url: Uri,
    /// The partner's key.
    pub api_key: String,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// More certificates to trust, PEM.
    pub ca_pem: Option<Vec<u8>>,
}

/// A client of one face.
#[derive(Clone)]
pub enum Client {
    /// Of HTTP/JSON.
    Json(Box<JsonClient>),
    /// Of gRPC.
    Grpc(GrpcClient),
}

impl Client {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// One line, where URL, key or certificates cannot be used.
    pub fn new(face: Face, target: &Target, contract: &Arc<Contract>) -> Result<Self, String> {
        Ok(match face {
            Face::Json => Self::Json(Box::new(JsonClient::new(target, contract)?)),
            Face::Grpc => Self::Grpc(GrpcClient::new(target, contract)?),
        })
    }

    /// Sends this header, or metadata, with every call from now on.
    ///
    /// # Errors
    /// It is no header.
    pub fn add_header(&mut self, name: &'static str, value: &str) -> Result<(), String> {
        match self {
            Self::Json(client) => client.add_header(name, value),
            Self::Grpc(client) => client.add_header(name, value),
        }
    }

    /// Calls an RPC.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn call(&self, rpc: &Rpc, request: &Document, correlation: &str) -> Result<Answer, NoAnswer> {
        match self {
            Self::Json(client) => client.call(rpc, request, correlation).await,
            Self::Grpc(client) => client.call(rpc, request, correlation).await,
        }
    }

    /// What a step's answer must be on this face; `answer` is the step's, filled in.
    ///
    /// # Errors
    /// The error code that the tables do not know.
    pub fn expected(&self, step: &Step, answer: Option<Document>) -> Result<Expected, String> {
        match self {
            Self::Json(_) => Ok(json::expected(step, answer)),
            Self::Grpc(client) => grpc::expected(client.contract(), step, answer),
        }
    }

    /// The call's name on this face, for people: `POST /transaction`.
    #[must_use]
    pub fn call_name(&self, rpc: &Rpc) -> String {
        match self {
            Self::Json(_) => rpc.http.clone(),
            Self::Grpc(_) => rpc.grpc.trim_start_matches('/').to_owned(),
        }
    }
}
