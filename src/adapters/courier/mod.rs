//! Couriers: what carries events to partners' endpoints.
//!
//! Invariant: a courier decides nothing of an event's fate; it carries a letter once and says what it saw.

pub mod http;
