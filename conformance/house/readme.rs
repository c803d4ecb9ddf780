//! The README's word: every path that it names is there.

use super::sources::root;

/// Words of a text that look like paths of this project.
fn paths(text: &str) -> Vec<String> {
    let folders = ["src/", "proto/", "conformance/", "deploy/", "domain/", "flows/", "ports/", "faces/", "runtime/"];
    text.split(|c: char| c.is_whitespace() || "`()[],;|→".contains(c))
        .map(|word| word.trim_end_matches('.').trim_end_matches(':'))
        .filter(|word| folders.iter().any(|folder| word.starts_with(folder)))
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn every_path_that_is_named_exists() {
    for (file, base) in [("README.md", ""), ("src/lib.rs", "src/")] {
        let text = std::fs::read_to_string(root().join(file)).expect("a file of this project");
        let named = paths(&text);
        assert!(named.len() > 3, "{file} names none");
        for path in named {
            let there = root().join(&path).exists() || root().join(format!("{base}{path}")).exists();
            assert!(there, "{file} names {path}, which is not there");
        }
    }
}
