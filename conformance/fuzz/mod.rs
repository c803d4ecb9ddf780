//! The fuzz targets as ordinary tests: over their corpora, and over input that is made up.
//!
//! Invariant: these are the very functions that libFuzzer calls, so that whatever it has found is looked at in every run,
//! on machines that have no fuzzer too.

mod targets;

use std::path::Path;

use proptest::prelude::*;
use targets::{ALL, Target};

fn corpus((name, _): &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/fuzz/corpus").join(name);
    let entries = std::fs::read_dir(&folder).expect("a corpus");
    entries.map(|entry| std::fs::read(entry.expect("an entry").path()).expect("a file")).collect()
}

#[test]
fn every_corpus_holds() {
    for target in &ALL {
        let corpus = corpus(target);
        assert!(corpus.len() >= 3, "{} has no corpus", target.0);
        for bytes in &corpus {
            (target.1)(bytes);
        }
    }
}

#[test]
fn corpora_are_small() {
    for target in &ALL {
        let corpus = corpus(target);
        let bytes: usize = corpus.iter().map(Vec::len).sum();
        assert!(corpus.len() <= 100 && bytes <= 50_000, "{}: {} files, {bytes} bytes", target.0, corpus.len());
    }
}

/// A file of the corpus with bytes put over, in or out of it: what is nearly right gets further than noise.
fn nearly(name: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let target = ALL.into_iter().find(|target| target.0 == name).expect("a target");
    let changes = prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, any::<u8>()), 0..8);
    (prop::sample::select(corpus(&target)), changes).prop_map(|(mut bytes, changes)| {
        for (place, kind, byte) in changes {
            let place = place.index(bytes.len() + 1);
            match kind {
                0 => bytes.insert(place, byte),
                1 => bytes.insert(place, b"0123456789\"{}[],.:-\\n"[usize::from(byte) % 21]),
                2 if place < bytes.len() => bytes[place] = byte,
                _ if place < bytes.len() => drop(bytes.remove(place)),
                _ => {}
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_that_are_nearly_right_are_read_or_refused(bytes in nearly("transcoder")) {
        targets::transcoder(&bytes);
    }

    #[test]
    fn amounts_that_are_nearly_right_are_read_or_refused(bytes in nearly("amounts")) {
        targets::amounts(&bytes);
    }

    #[test]
    fn numbers_that_are_nearly_right_are_read_or_refused(bytes in nearly("numbers")) {
        targets::numbers(&bytes);
    }

    #[test]
    fn configurations_that_are_nearly_right_are_read_or_refused(bytes in nearly("configuration")) {
        targets::configuration(&bytes);
    }

    #[test]
    fn account_ids_that_are_nearly_right_are_opened_or_not(bytes in nearly("account_ids")) {
        targets::account_ids(&bytes);
    }

    #[test]
    fn webhooks_that_are_nearly_right_are_signed_or_not(bytes in nearly("webhooks")) {
        targets::webhooks(&bytes);
    }
}
