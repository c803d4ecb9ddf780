//! What figures are held against, and what they must be.
//!
//! Invariant: each bar names two contenders of the same round, or one and a figure. How they are measured is not here.

use super::sample::Kind;

/// A figure of one held against the same of another.
pub struct Bar {
    pub what: &'static str,
    pub contender: &'static str,
    pub baseline: &'static str,
    pub kind: Kind,
    pub limit: Limit,
}

/// What the figure, or its ratio to the baseline's, must be.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
    /// The figure itself; there is no baseline.
    Absolute(f64),
    /// No bar: told all the same.
    Told,
}

pub const BARS: &[Bar] = &[
    bar("validate-streams", "tonic-streams", Kind::PerS, Limit::AtLeast(0.75)),
    bar("validate-connections", "tonic-connections", Kind::PerS, Limit::AtLeast(0.65)),
    bar("json", "axum", Kind::PerS, Limit::AtLeast(0.60)),
    bar("json", "envoy", Kind::PerS, Limit::AtLeast(5.0)),
    bar("json", "grpc-gateway", Kind::PerS, Limit::AtLeast(4.0)),
    bar("json-http2", "validate-connections", Kind::PerS, Limit::Told),
    bar("charge-16", "sqlite-16", Kind::PerS, Limit::AtLeast(0.65)),
    bar("charge-128", "sqlite-128", Kind::PerS, Limit::AtLeast(0.65)),
    bar("floor-16", "sqlite-16", Kind::PerS, Limit::Told),
    bar("charge-16", "floor-16", Kind::PerS, Limit::Told),
    bar("floor-128", "sqlite-128", Kind::PerS, Limit::Told),
    bar("charge-128", "floor-128", Kind::PerS, Limit::Told),
    bar("charge-128", "sqlite-128-two", Kind::PerS, Limit::Told),
    bar("charge-stores", "postgres-128", Kind::PerS, Limit::AtLeast(0.60)),
    bar("postgres-128", "postgres-singly", Kind::PerS, Limit::Told),
    bar("charge-stores", "postgres-singly", Kind::PerS, Limit::Told),
    bar("floor-stores", "postgres-128", Kind::PerS, Limit::Told),
    bar("charge-stores", "floor-stores", Kind::PerS, Limit::Told),
    bar("replay", "tonic-streams", Kind::PerS, Limit::AtLeast(0.50)),
    bar("get", "tonic-streams", Kind::PerS, Limit::AtLeast(0.40)),
    bar("slow-csp", "sqlite-rate", Kind::P50, Limit::AtMost(2.0)),
    bar("slow-csp", "sqlite-rate", Kind::P99, Limit::AtMost(2.0)),
    bar("slow-csp", "floor-slow", Kind::P50, Limit::Told),
    bar("floor-slow", "sqlite-rate", Kind::P50, Limit::Told),
    bar("floor-slow", "sqlite-rate", Kind::P99, Limit::Told),
    bar("charge-three", "charge-stores", Kind::Cpu, Limit::AtMost(1.35)),
    bar("grown-sqlite", "grown-sqlite-none", Kind::PerS, Limit::AtLeast(0.90)),
    bar("grown-sqlite", "grown-sqlite-none", Kind::Cpu, Limit::Told),
    bar("grown-sqlite", "grown-sqlite-none", Kind::Peak, Limit::AtMost(1.10)),
    bar("grown-sqlite-random", "grown-sqlite-none-random", Kind::PerS, Limit::AtLeast(0.70)),
    bar("grown-sqlite-random", "grown-sqlite-none-random", Kind::Cpu, Limit::Told),
    bar("grown-sqlite-random", "grown-sqlite-none-random", Kind::Peak, Limit::AtMost(1.10)),
    bar("grown-stores", "grown-stores-none", Kind::PerS, Limit::AtLeast(0.90)),
    bar("grown-stores", "grown-stores-none", Kind::Cpu, Limit::Told),
    bar("grown-stores", "grown-stores-none", Kind::Peak, Limit::AtMost(1.10)),
    bar("grown-stores-random", "grown-stores-none-random", Kind::PerS, Limit::AtLeast(0.70)),
    bar("grown-stores-random", "grown-stores-none-random", Kind::Cpu, Limit::Told),
    bar("grown-stores-random", "grown-stores-none-random", Kind::Peak, Limit::AtMost(1.10)),
    bar("csp-behind", "csp", Kind::PerS, Limit::Told),
    bar("idle", "", Kind::Peak, Limit::Absolute(30.0 * 1024.0)),
    bar("idle", "", Kind::Figure, Limit::Absolute(200.0)),
    bar("idle-connections", "tonic-idle", Kind::Figure, Limit::AtMost(1.3)),
];

const fn bar(contender: &'static str, baseline: &'static str, kind: Kind, limit: Limit) -> Bar {
    let what = match kind {
        Kind::PerS => "calls a second",
        Kind::P50 => "p50",
        Kind::P99 => "p99",
        Kind::P999 => "p99.9",
        Kind::Cpu => "CPU for each call",
        Kind::Peak => "KiB of memory",
        Kind::Figure => "the figure",
    };
    Bar { what, contender, baseline, kind, limit }
}
