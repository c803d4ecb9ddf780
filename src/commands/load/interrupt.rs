//! Ctrl-C, counted: the first ends the calls, the second the looking up.
//!
//! Invariant: it only counts; whoever works looks at the count and ends in order, so that a report is always written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How often somebody wanted it to end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicU32>);

impl Interrupt {
    /// Counts from now on. Where the system has no signals to give, Ctrl-C ends the process as it always did.
    #[must_use]
    pub fn watch() -> Self {
        let interrupt = Self::default();
        let counted = interrupt.clone();
        std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(async {
                while tokio::signal::ctrl_c().await.is_ok() {
                    counted.0.fetch_add(1, Ordering::Relaxed);
                }
            });
        });
        interrupt
    }

    /// How often so far.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}
