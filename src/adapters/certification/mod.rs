//! Where certification runs are kept.
//!
//! Invariant: one store, a file of its own beside the ledger, so that what is watched can never hold up what is charged.

pub mod sqlite;
