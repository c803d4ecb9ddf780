//! Size, opening words and names of the sources.

use super::sources::files;

/// Lines at which a file has to be split.
const LINES_MAX: usize = 600;
/// Names that say nothing.
const EMPTY_NAMES: [&str; 7] = ["utils", "util", "helpers", "helper", "common", "manager", "misc"];

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    for folder in ["src", "conformance"] {
        for source in files(folder, "rs") {
            let lines = source.text.lines().count();
            assert!(lines <= LINES_MAX, "{} has {lines} lines: split it", source.path);
        }
    }
}

#[test]
fn every_file_opens_with_what_it_is() {
    for folder in ["src", "conformance"] {
        for source in files(folder, "rs") {
            assert!(source.text.starts_with("//!"), "{} does not say what it is", source.path);
        }
    }
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    for source in files("src", "rs") {
        let said: Vec<&str> = source.path.split(['/', '.']).collect();
        let empty = EMPTY_NAMES.iter().find(|name| said.contains(name));
        assert!(empty.is_none(), "{}: {empty:?} says nothing", source.path);
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = ["todo!(", "unimplemented!(", concat!("#[", "ignore"), concat!("TO", "DO"), concat!("FIX", "ME")];
    for folder in ["src", "conformance"] {
        for source in files(folder, "rs").into_iter().filter(|source| !source.path.ends_with("house/tidy.rs")) {
            let mark = marks.iter().find(|mark| source.text.contains(**mark));
            assert!(mark.is_none(), "{} still says {mark:?}", source.path);
        }
    }
}
