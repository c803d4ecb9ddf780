//! Servers that the tests start themselves, of the packages that `conformance/install` installs.
//!
//! Invariant: each runs on a free port with a directory of its own, and none outlives the process of the tests, however
//! that ends. A server that the machine runs already is neither used nor disturbed.

pub mod postgres;
pub mod redis;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// A port that nobody listens on, below those that the system gives to outgoing connections. Each is given once, so that
/// a server can come back on its own.
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 8_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).expect("a remainder");
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        // A Cluster's node listens on the port 10000 above as well.
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
    panic!("no port is free");
}
