//! `onbill certify`: the 28 use cases against any gateway that speaks the contract.
//!
//! Invariant: a black box. It knows the public API and the cases, and none of the gateway's own rules or tables, so
//! that it can judge ours as it judges any other.
//!
//! `onbill certify csp` is beside it, in `csp`: it drives the suite of `runtime::csp_suite` and shares the reports.
//!
//! `onbill certify verify` checks the signature of a certificate.
//!
//! Reading order: `cases` (what is asked), `run` and `attempt` (how), `check` and `effects` (judgement), `report`.

mod attempt;
mod effects;
mod render;

pub mod accounts;
pub mod answer;
pub mod args;
pub mod bench;
pub mod cases;
pub mod check;
pub mod command;
pub mod connect;
pub mod csp;
pub mod diff;
pub mod document;
pub mod faces;
pub mod mask;
pub mod pins;
pub mod probe;
pub mod progress;
pub mod random;
pub mod report;
pub mod run;
pub mod sandbox;
pub mod select;
pub mod values;
pub mod verdict;
pub mod verify;

pub use self::args::CertifyArgs;
pub use self::bench::{Silent, Watch};
pub use self::command::run as run_command;
pub use self::faces::Face;
pub use self::run::{Options, certify};
pub use self::verdict::{Outcome, Verdict};
