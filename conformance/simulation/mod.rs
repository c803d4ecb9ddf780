//! The deterministic simulation: the real flows and rules in a world that goes wrong as its seed decides.
//!
//! Invariant: the same seed gives the same run. Partners, callers, CSP, ledger and crashes of one run are in `run`; what
//! must hold afterwards is in `checker`; that it would be found if it did not hold is shown in `bites`.
//! `ONBILL_SIM_SEEDS` says how many seeds are run, `ONBILL_SIM_FIRST` from which on.

mod random;
mod plan;
mod world;
mod mutation;
mod csp;
mod ledger;
mod plain_ledger;
mod short_lived;
mod gateway;
mod client;
mod checker;
mod run;
mod seeds;
mod bites;
