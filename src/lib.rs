//! onbill: a carrier-billing gateway.

#![forbid(unsafe_code)]

pub mod domain;
pub mod faces;
pub mod commands;
