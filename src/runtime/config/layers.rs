//! The layers of a configuration and where each value came from.
//!
//! Invariant: a later layer wins over an earlier one key by key: the built-in sandbox, the file, the environment, the
//! command line. Lists are replaced, not added to. What a value may be is not judged here, save that a setting of the
//! environment must name a key.

use std::collections::BTreeMap;

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::problem::{Problem, key_text};
use super::schema::{self, ANY_ID, Place};

/// What every setting in the environment begins with, and what stands between the segments of its key. Two
/// underscores: platforms make `ONBILL_SERVICE_HOST` and the like by themselves.
pub const PREFIX: &str = "ONBILL__";
const SEPARATOR: &str = "__";

/// Values of one origin.
struct Layer {
    origin: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// All layers laid over one another.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    figment: Figment,
    values: Dict,
}

impl Layers {
    /// Lays values over what is there.
    #[must_use]
    pub fn over(self, origin: &str, values: Dict) -> Self {
        let figment = self.figment.merge(Layer { origin: origin.to_owned(), values });
        // A layer holds values already: none can fail to be read.
        let values = figment.data().unwrap_or_default().remove(&Profile::Default).unwrap_or_default();
        Self { figment, values }
    }

    /// Lays one value over what is there.
    #[must_use]
    pub fn over_key<S: AsRef<str>>(self, origin: &str, path: &[S], value: Value) -> Self {
        self.over(origin, nested(path, value))
    }

    /// What has come of it.
    #[must_use]
    pub const fn values(&self) -> &Dict {
        &self.values
    }

    /// Which layer the value at a path, or the first below it, is of.
    #[must_use]
    pub fn origin<S: AsRef<str>>(&self, path: &[S]) -> Option<String> {
        let (first, rest) = path.split_first()?;
        let mut value = self.values.get(first.as_ref())?;
        for segment in rest {
            value = value.as_dict()?.get(segment.as_ref())?;
        }
        while let Some((_, below)) = value.as_dict().and_then(|table| table.iter().next()) {
            value = below;
        }
        self.figment.get_metadata(value.tag()).map(|metadata| metadata.name.to_string())
    }
}

/// Reads the text of a file.
pub fn parse_toml(text: &str) -> Result<Dict, String> {
    Toml::from_str::<Dict>(text).map_err(|error| {
        // The reader draws the place over several lines; a problem is one line.
        let shown = error.to_string();
        let place = shown.lines().next().unwrap_or_default().to_owned();
        match error.message().trim().replace('\n', ", ") {
            message if message.is_empty() || place.contains(&message) => place,
            message => format!("{place}: {message}"),
        }
    })
}

/// A setting of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Name of the variable.
    pub variable: String,
    /// The key that it sets.
    pub path: Vec<String>,
    /// What it says.
    pub text: String,
}

/// Finds the settings among the variables of an environment. An empty variable is as good as none: that is how
/// compose files and charts leave one out. `below` is what lies under the environment, for the ids in it.
pub fn settings(
    environment: &BTreeMap<String, Option<String>>,
    below: &Dict,
    problems: &mut Vec<Problem>,
) -> Vec<Setting> {
    let mut settings: Vec<Setting> = Vec::new();
    for (variable, text) in environment {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        let path = resolved(name, below);
        let mut refuse = |text: String| {
            let origin = Some(format!("environment variable {variable}"));
            problems.push(Problem { key: Some(key_text(&path)), origin, text });
        };
        match text {
            None => refuse("must be UTF-8".to_owned()),
            Some(text) if text.is_empty() => {}
            Some(text) => match settings.iter().find(|setting| setting.path == path) {
                Some(other) => refuse(format!("is set by {} as well; leave one of the two out", other.variable)),
                None => settings.push(Setting { variable: variable.clone(), path: path.clone(), text: text.clone() }),
            },
        }
    }
    settings
}

/// The value of a setting, in the type of its key. A key that does not exist keeps its text, to be refused.
#[must_use]
pub fn value_of(setting: &Setting) -> Value {
    match schema::place(&setting.path) {
        Place::Value(allowed) => allowed.read(&setting.text),
        Place::Table(_) | Place::Nothing => Value::from(setting.text.as_str()),
    }
}

/// The key that a variable names. Variables cannot hold every character of an id, and shells want capitals, so an id
/// that is there already is found whatever its case and punctuation; one that is not is taken in lower case.
fn resolved(name: &str, below: &Dict) -> Vec<String> {
    let mut path: Vec<String> = Vec::new();
    for segment in name.split(SEPARATOR) {
        let lower = segment.to_ascii_lowercase();
        let is_id = matches!(schema::place(&path), Place::Table(children) if children == [ANY_ID]);
        let known = if is_id { known_ids(&path, below) } else { Vec::new() };
        let found = known
            .iter()
            .find(|id| **id == lower)
            .or_else(|| known.iter().find(|id| folded(id) == folded(&lower)))
            .map_or(lower, |id| (*id).to_owned());
        path.push(found);
    }
    path
}

/// The ids in a table; where charge codes are given, also those of all CSPs.
fn known_ids<'a>(table: &[String], below: &'a Dict) -> Vec<&'a str> {
    let ids = |path: &[String]| -> Vec<&'a str> {
        let mut values = below;
        for segment in path {
            match values.get(segment).and_then(Value::as_dict) {
                Some(inner) => values = inner,
                None => return Vec::new(),
            }
        }
        values.keys().map(String::as_str).collect()
    };
    let mut known = ids(table);
    if table.last().is_some_and(|last| last == "charge_codes") {
        known.extend(ids(&["csp".to_owned()]));
    }
    known
}

/// An id as a variable can hold it.
fn folded(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

/// Tables around a value.
fn nested<S: AsRef<str>>(path: &[S], value: Value) -> Dict {
    let Some((first, rest)) = path.split_first() else { return Dict::new() };
    let inner = if rest.is_empty() { value } else { Value::from(nested(rest, value)) };
    Dict::from([(first.as_ref().to_owned(), inner)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below() -> Dict {
        parse_toml(
            "[csp.my-csp]\ncurrency = 'MXN'\n[csp.a_b]\ncurrency = 'MXN'\n[csp.a-b]\ncurrency = 'MXN'\n\
             [partner.my-ott.product.'Gold.Pack'.charge_codes]\nmy-csp = '1'",
        )
        .expect("TOML")
    }

    #[test]
    fn a_variable_finds_ids_whatever_their_case_and_punctuation() {
        for (name, expected) in [
            ("SERVER__DRAIN_S", "server.drain_s"),
            ("CSP__MY_CSP__CURRENCY", "csp.my-csp.currency"),
            ("CSP__MY-CSP__CURRENCY", "csp.my-csp.currency"),
            ("CSP__NEW_ONE__CURRENCY", "csp.new_one.currency"),
            ("CSP__A_B__CURRENCY", "csp.a_b.currency"),
            ("CSP__A-B__CURRENCY", "csp.a-b.currency"),
            (
                "PARTNER__MY_OTT__PRODUCT__GOLD_PACK__CHARGE_CODES__MY_CSP",
                "partner.my-ott.product.\"Gold.Pack\".charge_codes.my-csp",
            ),
            ("PARTNER__NEW__PRODUCT__SILVER__CHARGE_CODES__MY_CSP", "partner.new.product.silver.charge_codes.my-csp"),
        ] {
            assert_eq!(key_text(&resolved(name, &below())), expected, "{name}");
        }
    }

    #[test]
    fn of_two_variables_for_one_key_neither_wins_in_silence() {
        let environment = ["ONBILL__CSP__MY_CSP__CURRENCY", "ONBILL__CSP__MY-CSP__CURRENCY"]
            .map(|name| (name.to_owned(), Some("JPY".to_owned())));
        let mut problems = Vec::new();
        assert_eq!(settings(&BTreeMap::from(environment), &below(), &mut problems).len(), 1);
        assert_eq!(
            problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["csp.my-csp.currency: is set by ONBILL__CSP__MY-CSP__CURRENCY as well; leave one of the two out \
              (from environment variable ONBILL__CSP__MY_CSP__CURRENCY)"]
        );
    }

    #[test]
    fn empty_variables_and_those_of_others_set_nothing() {
        let environment = [
            ("ONBILL__SERVER__DATA_DIR", Some("")),
            ("ONBILL_SERVICE_HOST", Some("10.0.0.1")),
            ("ONBILL_PORT_8080_TCP", Some("tcp://10.0.0.1:8080")),
            ("PATH", None),
        ]
        .map(|(name, text)| (name.to_owned(), text.map(ToOwned::to_owned)));
        let mut problems = Vec::new();
        assert_eq!(settings(&BTreeMap::from(environment), &Dict::new(), &mut problems), []);
        assert_eq!(problems, []);
    }

    #[test]
    fn each_value_knows_its_layer() {
        let layers = Layers::default()
            .over("first", parse_toml("[server]\ndrain_s = 1\nidle_timeout_s = 2").expect("TOML"))
            .over_key("second", &["server", "drain_s"], Value::from(3_u32));
        assert_eq!(layers.origin(&["server", "drain_s"]).as_deref(), Some("second"));
        assert_eq!(layers.origin(&["server", "idle_timeout_s"]).as_deref(), Some("first"));
        assert_eq!(layers.origin(&["server", "listen"]), None);
    }

    #[test]
    fn a_file_that_is_no_toml_is_refused_in_one_line_that_names_the_place() {
        let error = parse_toml("[server]\nlisten = \n").expect_err("no value");
        assert!(error.contains("line 2") && !error.contains('\n'), "{error}");
    }
}
