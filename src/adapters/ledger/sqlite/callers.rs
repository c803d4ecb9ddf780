//! How those hear of it who wait for a thread of the ledger.
//!
//! Invariant: everybody is told once, or finds that nobody will. A whole batch is told with one word to the runtime: each
//! word from a thread outside may wake one inside, and on a busy core that costs more than what is told. What they wait for is
//! not here.

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::ports::ledger::LedgerUnavailable;

/// Where one caller waits.
pub(super) type Answer<T> = oneshot::Sender<Result<T, LedgerUnavailable>>;

/// The runtime in which callers wait.
#[derive(Clone)]
pub(super) struct Callers(Option<Handle>);

impl Callers {
    /// That which this is called in; outside of any, each caller is told by itself.
    pub(super) fn of_this_runtime() -> Self {
        Self(Handle::try_current().ok())
    }

    /// Tells them. Whoever has hung up does not hear of it; a runtime that ends drops what it was to tell.
    pub(super) fn tell<T: Send + 'static>(&self, told: Vec<(Answer<T>, Result<T, LedgerUnavailable>)>) {
        let count = told.len();
        let all = move || {
            for (answer, said) in told {
                let _ = answer.send(said);
            }
        };
        match &self.0 {
            Some(runtime) if count > 1 => drop(runtime.spawn(async move { all() })),
            Some(_) | None => all(),
        }
    }
}
