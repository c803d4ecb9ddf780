//! Clocks: the system's, the same one that can be moved forward, and one that stands until it is moved.
//!
//! Invariant: no clock here ever goes back, and all tell whole microseconds, which is what stores keep.

mod system;
mod movable;
mod manual;

pub use manual::ManualClock;
pub use movable::{ClockFileError, MovableSystemClock};
pub use system::SystemClock;

/// Most seconds that a clock may be moved forward in all: 30 days (contract section 6).
pub const MOVED_S_MAX: i64 = 2_592_000;
