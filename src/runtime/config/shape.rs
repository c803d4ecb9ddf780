//! Holds every value against the table of keys.
//!
//! Invariant: what is left afterwards has only keys that exist, each with a value that its row admits; each one taken
//! out has been reported once, and no later check reports it again. Whether values fit one another is not judged here.

use figment::value::{Dict, Value};

use super::layers::Layers;
use super::problem::{Problem, key_text};
use super::schema::{self, ANY_ID, Allowed, IdForm, Place};

/// Longest text of a refused value that is shown, in characters.
const SHOWN_LENGTH_MAX: usize = 60;

/// Collects problems, each with its origin.
pub struct Report<'a> {
    layers: &'a Layers,
    problems: Vec<Problem>,
    refused: Vec<Vec<String>>,
}

impl<'a> Report<'a> {
    /// A report on values of these layers, with what has been found already.
    #[must_use]
    pub const fn new(layers: &'a Layers, problems: Vec<Problem>) -> Self {
        Self { layers, problems, refused: Vec::new() }
    }

    /// Reports a key, unless it, or a table that it is in, was refused already: then its value is not the one that was
    /// written, and nothing can be said about it.
    pub fn at<S: AsRef<str>>(&mut self, path: &[S], text: impl Into<String>) {
        let begins = |refused: &Vec<String>| {
            refused.len() <= path.len() && refused.iter().zip(path).all(|(one, other)| one == other.as_ref())
        };
        if self.refused.iter().any(begins) {
            return;
        }
        let origin = self.layers.origin(path);
        self.problems.push(Problem { key: Some(key_text(path)), origin, text: text.into() });
    }

    /// Reports a key whose value was taken out.
    fn refuse(&mut self, path: &[String], text: String) {
        self.at(path, text);
        self.refused.push(path.to_vec());
    }

    /// All that was found.
    #[must_use]
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

/// Takes out of the values what is not in the table of keys, or not as it says, and reports it.
pub fn check(values: &mut Dict, report: &mut Report) {
    check_table(&mut Vec::new(), values, report);
}

fn check_table(path: &mut Vec<String>, values: &mut Dict, report: &mut Report) {
    values.retain(|key, value| {
        path.push(key.clone());
        let refusal = refusal(path, value);
        match (&refusal, value) {
            (Some(text), _) => report.refuse(path, text.clone()),
            (None, Value::Dict(_, inner)) => check_table(path, inner, report),
            (None, _) => {}
        }
        path.pop();
        refusal.is_none()
    });
}

/// Why a value cannot stand where it does; tables are looked into afterwards.
fn refusal(path: &[String], value: &Value) -> Option<String> {
    let (id, table) = path.split_last()?;
    match schema::place(path) {
        Place::Value(allowed) if allowed.admits(value) => bad_id(table, id),
        Place::Value(allowed) => Some(not_admitted(allowed, value)),
        Place::Table(_) if value.as_dict().is_some() => bad_id(table, id),
        Place::Table(children) => Some(format!("is a table; {}", takes(&children))),
        Place::Nothing => match schema::place(table) {
            Place::Table(children) => Some(format!("unknown key; {}", takes(&children))),
            Place::Value(_) | Place::Nothing => Some("unknown key".to_owned()),
        },
    }
}

fn takes(children: &[&str]) -> String {
    if children == [ANY_ID] {
        return "what stands here is an id".to_owned();
    }
    format!("known here: {}", children.join(", "))
}

/// Whether the last segment is an id, and one that does not have its form.
fn bad_id(table: &[String], id: &str) -> Option<String> {
    let is_id = matches!(schema::place(table), Place::Table(children) if children == [ANY_ID]);
    let form = IdForm::of(table);
    (is_id && !form.admits(id)).then(|| format!("the id {id:?} must be {form}"))
}

fn not_admitted(allowed: Allowed, value: &Value) -> String {
    if !allowed.may_be_shown() {
        return format!("must be {allowed}");
    }
    let shown = serde_json::to_string(value).unwrap_or_default();
    match shown.char_indices().nth(SHOWN_LENGTH_MAX) {
        Some((end, _)) => format!("is {}…, must be {allowed}", shown.get(..end).unwrap_or_default()),
        None => format!("is {shown}, must be {allowed}"),
    }
}
