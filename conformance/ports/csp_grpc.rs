//! The rig that runs the CSP's contract suite over gRPC, against the built `onbill sandbox-csp --protocol grpc`; and
//! claims about what travels beside the messages.
//!
//! Invariant: the port is spoken to through the gRPC adapter, the bill, the inbox and the clock through the operator's own
//! doors, which stay on HTTP.

use std::sync::Arc;

use http::HeaderValue;
use onbill::adapters::csp::grpc::{GrpcCsp, Settings};

use super::csp::{Rig, noon};
use super::csp_http::rig_of;
use crate::operator::{KEY, Operator};

/// An adapter that speaks to an address.
pub fn adapter(authority: &str) -> GrpcCsp {
    let url = format!("http://{authority}").parse().expect("a URL");
    let api_key = Some(HeaderValue::from_static(KEY));
    let not_applied = vec!["not-applied".to_owned()];
    GrpcCsp::new(Settings { url, api_key, ca_pem: None, client_pem: None, not_applied }).expect("an adapter")
}

pub(super) fn rig() -> Rig {
    let operator = Operator::start(&["--protocol", "grpc", "--standing-clock", &noon().to_string()]);
    rig_of(Arc::new(adapter(operator.authority())), operator)
}
