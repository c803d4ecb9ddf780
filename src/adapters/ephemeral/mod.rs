//! Short-lived shared state: one file for each store that can hold it.
//!
//! Invariant: each implements `ports::ephemeral::Ephemeral` and passes its contract suite. Losing all of it costs PINs in
//! flight and a little speed, never money.

mod expiring;
mod number;
mod memory;
pub mod redis;

pub use memory::{Bounds, MemoryEphemeral};
