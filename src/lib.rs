//! onbill: a carrier-billing gateway.

#![forbid(unsafe_code)]

pub mod domain;
pub mod ports;
pub mod adapters;
pub mod faces;
