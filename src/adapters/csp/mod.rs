//! Operators: one folder for each way of speaking to a CSP.
//!
//! Invariant: each implements `ports::csp::Csp` and nothing of it shows through. Adding an operator is adding a folder.
//! What lies beside the folders is theirs to share.

pub mod sandbox;
pub mod http;
pub mod grpc;
pub mod guarded;
pub mod tls;
