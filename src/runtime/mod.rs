//! How the gateway lives: configuration, wiring, serving, workers, telemetry, and its life from start to stop.
//!
//! Invariant: only `config` reads the environment, and only `wiring` sees ports and adapters together.

pub mod config;
pub mod wiring;
pub mod current;
pub mod reload;
pub mod lifecycle;
pub mod ready;
pub mod serve;
pub mod supervisor;
pub mod tls;
pub mod workers;
pub mod admin;
pub mod webhooks;
pub mod telemetry;
pub mod sandbox_csp;
pub mod csp_suite;
pub mod use_cases;
