//! onbill: a carrier-billing gateway.

#![forbid(unsafe_code)]

pub mod commands;
pub mod domain;
pub mod ports;
pub mod flows;
pub mod adapters;
pub mod faces;
pub mod runtime;
