//! The proof: what the gateway promises, held against what it does, from outside the crate.
//!
//! Invariant: a suite is written once against what it proves (a port, a face) and run for everything that claims to be
//! one. Nothing here sleeps, reaches a network outside this machine, or is ignored.

#![forbid(unsafe_code)]
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails")]

#[cfg(test)]
mod ports;
