//! Where spans go: a collector, over OTLP.
//!
//! Invariant: what is here never makes a call wait.

pub mod otlp;
