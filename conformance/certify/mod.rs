//! The certifier, certified: its data, what it says of targets, and what it finds.
//!
//! Invariant: every claim here is about `onbill certify` as others use it: its files, its library call, its reports.

mod company;
mod connections;
mod data;
mod elsewhere;
mod flawed;
pub mod scripted;
mod shared;
mod targets;
