//! Ledgers: the stores that can be the system of record.
//!
//! Invariant: every store gives the same answers; one contract suite runs against all of them, and the rule by which a
//! unit of work is held against what is stored is written once, in `judge`, as are the rules that verification checks, in
//! `soundness`. Nothing in memory is durable; everything
//! else answers only after it is.

mod days;
mod judge;
mod words;
mod shown;
mod soundness;
pub mod memory;
pub mod sqlite;
pub mod postgres;
