//! What those who run a gateway see of it: numbers, traces, logs, the audit log, and how it stops.
//!
//! Invariant: all of it is looked at from outside, with the tools that they use: Prometheus, a collector, `onbill audit`.

pub mod collector;
mod tables;
mod prometheus;
mod traces;
mod leaks;
mod audit;
mod stopping;
