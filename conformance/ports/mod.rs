//! Contract suites of the ports: each is written once and stamped onto every adapter by one line.
//!
//! Invariant: a suite knows only its port and a rig that makes a fresh adapter; what differs between adapters is in the
//! rig.

mod ephemeral;
mod ephemeral_answers;
mod ephemeral_ids;
mod ephemeral_redis;
mod csp;
pub mod csp_http;
mod csp_http_failures;
pub mod csp_grpc;
mod csp_grpc_failures;
mod csp_guarded;
mod sandbox_bill;
mod ledger;

pub use csp::currency as csp_currency;
