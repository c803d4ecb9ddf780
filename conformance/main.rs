//! The proof: everything that is tested from outside the modules, in one binary so that it links once.
//!
//! Invariant: everything here goes through public interfaces only.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "an overflow or a missing row in a test fails the test"
)]

mod arrows;
mod house;
mod tls;
mod config;
mod cli;
mod gateway;
mod operator;
mod gateways;
mod crash;
mod certify;
mod load;
mod leaks;
mod fuzz;
mod deployed;
mod servers;
mod csp_suite;
mod ports;
mod simulation;
mod seeing;
