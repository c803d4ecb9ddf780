//! The report of a run: a page for people, JSON for programs, JUnit for CI.
//!
//! Invariant: all three say the same, since they are written from one outcome, which holds no secret. A directory that
//! cannot be written to is told before the run, not after it.

pub mod html;
pub mod json;
pub mod junit;

use std::path::Path;

use super::verdict::Outcome;

/// The page.
pub const PAGE: &str = "index.html";
const JSON: &str = "report.json";
const JUNIT: &str = "junit.xml";

/// Makes the directory.
///
/// # Errors
/// One line that says why it cannot be used.
pub fn prepare(directory: &Path) -> Result<(), String> {
    let told = |error: std::io::Error| format!("--report {}: {error}", directory.display());
    std::fs::create_dir_all(directory).map_err(told)?;
    std::fs::write(directory.join(PAGE), "").map_err(told)
}

/// Writes all three.
///
/// # Errors
/// One line that says what could not be written.
pub fn write(directory: &Path, outcome: &Outcome) -> Result<(), String> {
    for (name, text) in [(PAGE, html::render(outcome)), (JSON, json::render(outcome)), (JUNIT, junit::render(outcome))]
    {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|error| format!("--report {}: {error}", path.display()))?;
    }
    Ok(())
}
