//! Servers that tests start for themselves: real ones, on free ports, with directories of their own.
//!
//! Invariant: nothing that runs on the machine already is used or disturbed, and nothing is left behind, however a test
//! ends.

pub mod postgres;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// A port that nobody listens on. It is below those that the system gives away, so that it is still free when a server
/// comes back to it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 8_000).expect("it fits");
    for _ in 0..8_000 {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 8_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}
