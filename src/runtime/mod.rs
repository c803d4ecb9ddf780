//! How the gateway lives: configuration, wiring, serving, workers, telemetry.

pub mod serve;
pub mod workers;
pub mod admin;
pub mod telemetry;
