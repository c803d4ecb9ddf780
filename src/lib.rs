//! onbill: a carrier-billing gateway.

#![forbid(unsafe_code)]

pub mod domain;
pub mod ports;
pub mod faces;
pub mod runtime;
pub mod commands;
