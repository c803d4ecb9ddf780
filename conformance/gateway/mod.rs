//! The built gateway as a process of its own, and what it promises, seen from outside.
//!
//! Invariant: nothing here reaches into the gateway: it is started as users start it, spoken to over its ports, and
//! stopped or killed with signals.

pub mod process;
pub mod client;
mod certified;
mod certification;
mod transactions;
pub mod replays;
mod refunds;
mod limits;
mod outcomes;
mod pins;
mod notifications;
mod redis;
mod lists;
mod bad_input;
mod isolation;
pub mod callers;
mod sick_csps;
mod spending;
mod reload;
mod currencies;
pub mod grpc;
mod watch;
mod life;
mod ledger_commands;
mod ledger_damage;
mod forgetting;
mod postgres;
pub mod endpoint;
mod events;
mod dead_letters;
