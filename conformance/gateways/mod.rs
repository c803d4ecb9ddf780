//! Many gateways on one Redis and one PostgreSQL: what partners see of them is one gateway.
//!
//! Invariant: gateways, stores and operator are real processes. Tests that disturb a store have one of their own; the
//! others share one fleet, with numbers and ids that no other test uses.

mod ceilings;
mod certified;
mod compose;
mod failovers;
pub mod fleet;
mod losses;
mod pins;
mod rates;
mod rolling;
mod shared;
mod storm;
pub mod between;
pub mod stores;
