//! `onbill certify`: the 28 use cases against any gateway that speaks the contract.
//!
//! Invariant: a black box. It knows the public API and the cases, and none of the gateway's own rules or tables, so
//! that it can judge ours as it judges any other.

pub mod cases;
pub mod select;
pub mod run;
pub mod verdict;
pub mod accounts;
pub mod pins;
pub mod probe;
pub mod bench;
mod attempt;
mod effects;
mod sandbox;
pub mod check;
pub mod answer;
pub mod document;
pub mod values;
mod random;
pub mod mask;
mod render;
pub mod faces;
mod connect;
