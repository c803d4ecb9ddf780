//! What the binary does beside serving.
//!
//! Invariant: a command is a client of the public API or of the runtime, never of the flows.

pub mod certify;
