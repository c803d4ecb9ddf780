//! Operators: one folder for each way of speaking to a CSP.
//!
//! Invariant: each implements `ports::csp::Csp` and nothing of it shows through. Adding an operator is adding a folder.

pub mod sandbox;
pub mod http;
pub mod guarded;
pub mod grpc;
