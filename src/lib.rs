//! onbill: a carrier-billing gateway.
//!
//! Layers, outermost first; each may know those after it, and none the other way:
//! [`commands`] → [`runtime`] → [`faces`] → [`flows`] → [`ports`] → [`domain`]. [`adapters`] see ports and domain only,
//! and only `runtime/wiring.rs` sees ports and adapters together. `conformance/arrows.rs` keeps it so.
//!
//! Reading order: `domain/transaction/mod.rs` (what a transaction is and how it may change), `flows/charge.rs` (how money
//! moves), `flows/booking.rs` (the only place where a CSP is asked to move it), `ports/ledger.rs` (what is durable, and
//! when), `faces/stack.rs` (what a request passes before any of that).
//!
//! What is deliberately absent: no rule outside the domain, no business line in one face only, no resend under a second
//! reference, no answer that is a guess.

#![forbid(unsafe_code)]

pub mod commands;
pub mod runtime;
pub mod faces;
pub mod flows;
pub mod adapters;
pub mod ports;
pub mod domain;
