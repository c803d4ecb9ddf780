//! How the gateway lives: its configuration.
//!
//! Invariant: only `config.rs` reads the environment.

pub mod config;
