//! Licences, sources and versions of everything that the product is built from.
//!
//! Invariant: each package comes from the public registry, under a licence of the list, in one version unless an
//! exception says why. The advisory database is out of a build's reach and is not consulted here.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::sources::root;

/// Licences that may be part of the product.
const LICENCES: [&str; 15] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    // The Boost licence, not the Business Source one.
    "BSL-1.0",
    "Unicode-3.0",
    "CC0-1.0",
    "Unlicense",
    // Mozilla's list of public authorities: data, not code.
    "CDLA-Permissive-2.0",
];

/// Packages that come in two versions, and why that is tolerated.
const TWO_VERSIONS: &[(&str, &str)] = &[
    ("const-oid", "x509-cert, which channel binding of PostgreSQL needs, is one step behind"),
    ("fallible-iterator", "rusqlite's and tokio-postgres's iterators of rows"),
    ("foldhash", "hashbrown's; see there"),
    ("getrandom", "metrics-util's rand is one step behind; it draws nothing that must be unguessable"),
    ("hashbrown", "petgraph (builds protos), hashlink and metrics-util each have their own"),
    ("itertools", "prost's two build crates disagree; neither is in the binary"),
    ("rand", "metrics-util's and PostgreSQL's; see getrandom"),
    ("rand_core", "metrics-util's rand and PostgreSQL's; see getrandom"),
    ("syn", "half of the derive macros have moved to 3; none of it is in the binary"),
];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

/// The packages that end up in the binary or build it; those of tests alone are left out.
fn shipped(metadata: &Value) -> Vec<&Value> {
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| (node["id"].as_str().expect("an id"), node))
        .collect();
    let mut queue = vec![metadata["resolve"]["root"].as_str().expect("a root")];
    let mut seen = BTreeSet::new();
    while let Some(id) = queue.pop() {
        if !seen.insert(id) {
            continue;
        }
        for dependency in nodes[id]["deps"].as_array().expect("deps") {
            let kinds = dependency["dep_kinds"].as_array().expect("kinds");
            if kinds.iter().any(|kind| kind["kind"] != "dev") {
                queue.push(dependency["pkg"].as_str().expect("a package"));
            }
        }
    }
    let packages = metadata["packages"].as_array().expect("packages");
    packages.iter().filter(|package| seen.contains(package["id"].as_str().expect("an id"))).collect()
}

/// Whether a licence expression allows a choice from the list: any side of an OR, every side of an AND.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let inner = expression.trim().trim_start_matches('(').trim_end_matches(')');
    if let Some((one, other)) = inner.split_once(" AND ") {
        return allowed(one) && allowed(other);
    }
    inner.split(" OR ").any(|licence| LICENCES.contains(&licence.trim().trim_matches(['(', ')'])))
}

#[test]
fn every_licence_is_on_the_list() {
    let metadata = metadata();
    for package in shipped(&metadata) {
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(allowed(licence), "{} {}: {licence}", package["name"], package["version"]);
    }
}

#[test]
fn everything_comes_from_one_registry() {
    let metadata = metadata();
    let strangers = shipped(&metadata).into_iter().filter(|package| package["name"] != "onbill");
    let sources: BTreeSet<&str> = strangers.map(|package| package["source"].as_str().unwrap_or("a folder")).collect();
    assert!(sources.len() == 1 && sources.iter().all(|source| source.starts_with("registry+")), "{sources:?}");
}

#[test]
fn nothing_comes_in_two_versions_without_a_reason() {
    let metadata = metadata();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in shipped(&metadata) {
        let name = package["name"].as_str().expect("a name");
        versions.entry(name).or_default().insert(package["version"].as_str().expect("a version"));
    }
    let twice: BTreeMap<_, _> = versions.iter().filter(|(_, versions)| versions.len() > 1).collect();
    let tolerated: BTreeSet<&str> = TWO_VERSIONS.iter().map(|(name, _)| *name).collect();
    let surprising: Vec<_> = twice.iter().filter(|(name, _)| !tolerated.contains(**name)).collect();
    assert!(surprising.is_empty(), "in two versions: {surprising:?}");
    let stale: Vec<_> = tolerated.iter().filter(|name| !twice.contains_key(*name)).collect();
    assert!(stale.is_empty(), "tolerated without need: {stale:?}");
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let mut in_dependencies = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
        } else if in_dependencies && line.contains('=') && !line.trim_start().starts_with('#') {
            assert!(line.contains(" # "), "{line}: says not what it is for");
        }
    }
}

#[test]
fn licence_expressions_are_read_as_they_are_meant() {
    for (expression, expected) in [
        ("MIT", true),
        ("MIT OR Apache-2.0", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0", false),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("none", false),
    ] {
        assert_eq!(allowed(expression), expected, "{expression}");
    }
}
