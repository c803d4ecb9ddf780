//! The world: one folder for each technology or operator behind a port.
//!
//! Invariant: an adapter sees ports and the domain only, never another adapter; which one serves is decided elsewhere.

pub mod ledger;
pub mod csp;
pub mod courier;
pub mod ephemeral;
pub mod clock;
pub mod secrets;
pub mod tokens;
pub mod certification;
pub mod spans;
pub mod audit;
