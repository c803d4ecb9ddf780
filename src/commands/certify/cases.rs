//! The 28 use cases as data, embedded from `conformance/cases/`, and the tables that they share.
//!
//! Invariant: what a case expects stands in its file and nowhere in code, so that the certifier knows nothing of a
//! gateway's own tables. How a case is run is not decided here.

use std::collections::BTreeMap;

use figment::Figment;
use figment::providers::{Format, Toml};
use serde::Deserialize;

use super::document::Document;
use crate::runtime::use_cases::{CASE_FILES, CONTRACT_FILE};

/// The number of a use case, 1 to 28.
pub type CaseId = u8;

/// One use case.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    /// Its number on the page of use cases.
    pub id: CaseId,
    /// What it shows, in a few words.
    pub title: String,
    /// Group of the page, for example `Charging`.
    pub category: String,
    /// Group within the category.
    pub sub_category: String,
    /// Condition of the account that it needs, a key of [`Contract::condition`]; none where no account is touched.
    pub account: Option<String>,
    /// The situation, for people.
    pub given: String,
    /// What an OTT does after the answer, for people.
    pub behaviour: String,
    /// What is called, in order.
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
}

/// One call of a case and what must come of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What it does, for people; unique within the case.
    pub name: String,
    /// Only brings about the situation: judged loosely, and a failure says that the case could not be run.
    #[serde(default)]
    pub prepare: bool,
    /// On which face.
    #[serde(default)]
    pub face: StepFace,
    /// What must have happened before it.
    pub after: Option<Event>,
    /// Key of [`Contract::rpc`].
    pub call: String,
    /// The request: a JSON object with placeholders in its strings.
    #[serde(deserialize_with = "json_text")]
    pub request: Document,
    /// HTTP status; on gRPC 4xx stands for the status of the answer's code.
    pub status: u16,
    /// The answer, with placeholders; none where the body must be empty.
    #[serde(default, deserialize_with = "some_json_text")]
    pub answer: Option<Document>,
    /// Headers (on gRPC initial metadata): `present`, `absent` (or anything but `true`), else the very value.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Name of the step whose answer this one must repeat, byte for byte.
    pub repeats: Option<String>,
    /// The PIN of this call's SMS is needed later.
    #[serde(default)]
    pub takes_pin: bool,
    /// Amounts of the lines that the bill gains; empty: it must not change; none: not looked at.
    pub bill_gains: Option<Vec<String>>,
    /// Texts that the inbox gains, `{pin}` for one with a PIN; empty: none may come; none: not looked at.
    pub inbox_gains: Option<Vec<String>>,
}

/// On which face a step runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepFace {
    /// The face that is being certified.
    #[default]
    Same,
    /// The other one; the step is left out where only one face is certified.
    Other,
}

/// Something that must happen before a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The PIN has expired.
    PinExpiry,
}

/// The tables that all cases share.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// How each RPC is reached.
    pub rpc: BTreeMap<String, Rpc>,
    /// Error code → name of the gRPC status.
    pub grpc_status: BTreeMap<String, String>,
    /// Violation code → proto field, where the code does not name it.
    pub violation_field: BTreeMap<String, String>,
    /// Conditions of accounts.
    pub condition: BTreeMap<String, Condition>,
}

/// How an RPC is reached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rpc {
    /// Its path on gRPC.
    pub grpc: String,
    /// Method and path on JSON.
    pub http: String,
    /// Answer fields that are headers on JSON: JSON name → header.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// A condition that an account may be in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Last two digits of a sandbox number in this condition.
    pub sandbox_suffix: String,
    /// For people.
    pub means: String,
}

/// All cases, by number, and their tables.
///
/// # Errors
/// Where a file is not well formed; a test reads them all, so that a released binary never meets this.
pub fn load() -> Result<(Vec<Case>, Contract), Box<figment::Error>> {
    let cases = CASE_FILES.into_iter().map(read).collect::<Result<_, _>>()?;
    Ok((cases, read(CONTRACT_FILE)?))
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Box<figment::Error>> {
    Figment::from(Toml::string(text)).extract().map_err(Box::new)
}

fn json_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Document, D::Error> {
    let text = String::deserialize(deserializer)?;
    Document::parse(text.as_bytes()).map_err(serde::de::Error::custom)
}

fn some_json_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Document>, D::Error> {
    json_text(deserializer).map(Some)
}
