//! One sandbox for all tests of the certifier that change nothing in it but what runs are made to live with.
//!
//! Invariant: it runs as long as a test holds it, and no longer, so that no process outlives the tests.

use std::sync::{Arc, Mutex, Weak};

use crate::gateway::process::Running;

/// The sandbox, started where none runs.
pub fn sandbox() -> Arc<Running> {
    static SHARED: Mutex<Weak<Running>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().expect("no test has panicked in here");
    shared.upgrade().unwrap_or_else(|| {
        let running = Arc::new(Running::sandbox());
        *shared = Arc::downgrade(&running);
        running
    })
}
