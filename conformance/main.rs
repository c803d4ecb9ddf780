//! The proof: what the gateway and its parts promise, tested from outside.
//!
//! Invariant: everything here goes through public interfaces only.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "an overflow or a missing row in a test fails the test"
)]

mod ports;
