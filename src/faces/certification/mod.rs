//! Certification as people see it: reports, and the page.
//!
//! Invariant: what is shown is what the story of certification tells, and no text of a caller becomes markup.

pub mod report;
pub mod html;
pub mod session;
pub mod page;
