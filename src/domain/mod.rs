//! The rules: plain functions over values.
//!
//! Invariant: nothing here waits, reads a clock, draws a random number or does I/O; `now` and ids are arguments.
//! Nothing here knows gRPC, JSON, SQL or a store.

pub mod money;
pub mod ids;
pub mod address;
pub mod catalogue;
pub mod scope;
pub mod caller;
pub mod api_key;
pub mod certificate;
pub mod token;
pub mod directory;
pub mod account;
pub mod pin;
pub mod rate;
pub mod notification;
pub mod limits;
pub mod transaction;
pub mod event;
pub mod webhook;
pub mod public_address;
pub mod trace;
pub mod breaker;
pub mod certification;

/// A moment of the gateway's clock.
pub type Time = jiff::Timestamp;
