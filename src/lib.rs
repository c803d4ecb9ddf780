//! onbill: a carrier-billing gateway.

#![forbid(unsafe_code)]

pub mod commands;
pub mod domain;
pub mod faces;
