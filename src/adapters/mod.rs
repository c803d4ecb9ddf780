//! The world: one folder for each technology or operator that a port is answered with.
//!
//! Invariant: an adapter sees the ports and the domain, and no other adapter. Which one is used is not decided here.

pub mod ledger;
