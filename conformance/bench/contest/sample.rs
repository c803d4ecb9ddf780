//! One measurement, and what several of them come to.
//!
//! Invariant: a figure is the median of its rounds, and is never told without its spread.

use serde::{Deserialize, Serialize};

/// What one contender did in one round. Absent is what it does not have.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Calls a second.
    pub per_s: Option<f64>,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub p999_us: Option<f64>,
    /// Processor seconds of the server for each thousand calls.
    pub cpu_s_per_1000: Option<f64>,
    /// Most memory of the server.
    pub peak_kib: Option<f64>,
    /// Any other figure: milliseconds, or bytes for each.
    pub figure: Option<f64>,
    /// Share of its time that the load generator was busy.
    pub generator: Option<f64>,
}

/// A kind of figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    PerS,
    P50,
    P99,
    P999,
    Cpu,
    Peak,
    Figure,
}

impl Sample {
    pub fn get(&self, kind: Kind) -> Option<f64> {
        match kind {
            Kind::PerS => self.per_s,
            Kind::P50 => self.p50_us,
            Kind::P99 => self.p99_us,
            Kind::P999 => self.p999_us,
            Kind::Cpu => self.cpu_s_per_1000,
            Kind::Peak => self.peak_kib,
            Kind::Figure => self.figure,
        }
    }
}

/// The middle, the least and the greatest.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub greatest: f64,
}

impl Spread {
    pub fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (least, greatest) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median =
            if figures.len() % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) };
        Some(Self { median, least, greatest })
    }
}
