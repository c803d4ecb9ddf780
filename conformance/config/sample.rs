//! Claims about `deploy/onbill.toml`: it starts, it shows every key with its default, and says what is allowed.
//!
//! Invariant: a line `#key = value` is a setting that is commented out; a line `# ...` is prose about the next setting.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Value};

use onbill::runtime::config::callers::IssuerTable;
use onbill::runtime::config::limits::LimitTable;
use onbill::runtime::config::schema::{self, ANY_ID, Place};
use onbill::runtime::config::tables::{CspTable, RateTable, Tables};

use super::{file, load};

/// The sample as it is, and with every setting that is commented out put into effect.
fn sample() -> (String, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/onbill.toml");
    let text = std::fs::read_to_string(path).expect("the sample is there");
    let is_setting = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line.len() > 1;
    let uncommented = text.lines().map(|line| if is_setting(line) { &line[1..] } else { line });
    let uncommented = uncommented.collect::<Vec<_>>().join("\n");
    (text, uncommented)
}

/// Every value by its key in the words of the table of keys, ids as `*`.
fn flattened(values: &Dict) -> BTreeMap<String, Value> {
    fn collect(path: &[String], pattern: &[String], values: &Dict, all: &mut BTreeMap<String, Value>) {
        for (key, value) in values {
            let below = [path, std::slice::from_ref(key)].concat();
            let is_id = matches!(schema::place(path), Place::Table(children) if children == [ANY_ID]);
            let pattern = [pattern, &[if is_id { ANY_ID.to_owned() } else { key.clone() }]].concat();
            match (value, schema::place(&below)) {
                (Value::Dict(_, inner), Place::Table(_)) => collect(&below, &pattern, inner, all),
                _ => {
                    all.insert(pattern.join("."), value.clone());
                }
            }
        }
    }
    let mut all = BTreeMap::new();
    collect(&[], &[], values, &mut all);
    all
}

fn json(value: &Value) -> serde_json::Value {
    serde_json::to_value(value).expect("a configuration value is JSON")
}

#[test]
fn the_sample_starts_as_it_is_and_with_every_setting_in_effect() {
    let (text, uncommented) = sample();
    for text in [text, uncommented] {
        let written = file(&text);
        load(Some(&written.path), []).expect("the sample is right");
    }
}

#[test]
fn the_sample_shows_every_key_and_no_other() {
    let (_, uncommented) = sample();
    let shown: BTreeSet<String> = flattened(&Toml::from_str(&uncommented).expect("TOML")).into_keys().collect();
    let known: BTreeSet<String> = schema::KEYS.iter().map(|key| key.path.to_owned()).collect();
    assert_eq!(shown, known);
}

#[test]
fn the_table_of_keys_and_the_typed_tables_have_the_same_keys() {
    // The sample with every setting in effect fills every key; a key that the tables lack would be refused when it is
    // loaded, and one that the table of keys lacks would be missing here.
    let (_, uncommented) = sample();
    let tables: Tables =
        Value::from(Toml::from_str::<Dict>(&uncommented).expect("TOML")).deserialize().expect("tables");
    let typed = Value::serialize(&tables).expect("values").into_dict().expect("a table");
    let typed: BTreeSet<String> = flattened(&typed).into_keys().collect();
    let known: BTreeSet<String> = schema::KEYS.iter().map(|key| key.path.to_owned()).collect();
    assert_eq!(typed, known);
}

#[test]
fn the_sample_shows_the_real_defaults() {
    let limit = BTreeMap::from([("purchases".to_owned(), LimitTable::default())]);
    let tables = Tables {
        csp: BTreeMap::from([("example".to_owned(), CspTable { limit, ..CspTable::default() })]),
        issuer: BTreeMap::from([("example".to_owned(), IssuerTable::default())]),
        ..Tables::default()
    };
    let mut defaults = flattened(&Value::serialize(&tables).expect("values").into_dict().expect("a table"));
    let rate = Value::serialize(RateTable::default()).expect("values").into_dict().expect("a table");
    defaults.extend(rate.into_iter().map(|(key, value)| (format!("partner.*.rate.{key}"), value)));
    let (text, uncommented) = sample();
    let shown = flattened(&Toml::from_str(&uncommented).expect("TOML"));
    let prose = prose(&text);
    for key in schema::KEYS {
        let words = &prose[key.path];
        let default = defaults.get(key.path).filter(|value| !matches!(value, Value::Empty(..)));
        match default {
            // The one setting whose default depends on whether there is a file, and that the sample sets.
            Some(_) if key.path == "sandbox.enabled" => {
                assert!(words.contains("default is false where there is a file"));
            }
            Some(value) => {
                assert_eq!(json(&shown[key.path]), json(value), "{}", key.path);
                assert!(!words.contains("No default"), "{} has a default", key.path);
            }
            None => assert!(words.contains("No default"), "{} has no default, and does not say so: {words}", key.path),
        }
    }
}

#[test]
fn the_sample_says_of_every_key_what_is_allowed() {
    let prose = prose(&sample().0);
    for key in schema::KEYS {
        let words = format!("ust be {}", key.allowed);
        assert!(prose[key.path].contains(&words), "{} does not say: {words}", key.path);
    }
}

/// The comment above each key, in one line; for the entries of a table of the reader's choice, that of the table.
fn prose(text: &str) -> BTreeMap<&'static str, String> {
    let mut table: Vec<String> = Vec::new();
    let mut words = String::new();
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let setting = line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' ')).unwrap_or(line);
        if let Some(comment) = line.strip_prefix("# ") {
            words.push_str(comment);
            words.push(' ');
        } else if let Some(header) = setting.strip_prefix('[') {
            table = header.trim_end_matches(']').split('.').map(ToOwned::to_owned).collect();
            let free = matches!(schema::place(&table), Place::Table(children) if children == [ANY_ID]);
            if !free {
                words.clear();
            }
        } else if let Some((name, _)) = setting.split_once(" = ") {
            let path = [&table[..], &[name.to_owned()]].concat();
            let found = schema::KEYS.iter().find(|key| {
                let pattern: Vec<_> = key.path.split('.').collect();
                pattern.len() == path.len() && pattern.iter().zip(&path).all(|(p, s)| *p == ANY_ID || p == s)
            });
            all.insert(found.unwrap_or_else(|| panic!("{path:?} is no key")).path, std::mem::take(&mut words));
        } else {
            words.clear();
        }
    }
    all
}
