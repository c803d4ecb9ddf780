//! The tables of CSPs as they are written, with their defaults.
//!
//! Invariant: as in `tables`: unknown keys are refused, and a default is written here and nowhere else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::limits::LimitTable;

/// How a CSP is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Adapter {
    /// The scripted CSP within the gateway.
    Sandbox,
    /// The CSP's own API, `deploy/csp/csp-api-v1.yaml`.
    Http,
    /// An adapter process of the CSP's, `proto/onbill/csp/v1/csp.proto`.
    Grpc,
}

/// A secret of the configuration: it neither prints nor is written anywhere.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret itself. For the adapter that needs it only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("****")
    }
}

/// Masked: what is written of a configuration is for people.
impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("****")
    }
}

/// How an outcome is learnt when an answer did not come, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecoveryWord {
    /// The CSP is asked for the reference.
    Inquiry,
    /// The request is sent again under its reference.
    Resend,
    /// A person has to find out.
    None,
}

/// Which refunds a CSP books, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefundsWord {
    /// Of any part of a charge.
    Partial,
    /// Of whole charges only.
    Whole,
    /// None.
    None,
}

/// `[csp.<id>]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CspTable {
    /// How it is spoken to.
    pub adapter: Option<Adapter>,
    /// Where its API begins, of the adapters `http` and `grpc`.
    pub url: Option<String>,
    /// File of the key that it asks for.
    pub api_key_file: Option<PathBuf>,
    /// The key itself; it wins over the file.
    pub api_key: Option<Secret>,
    /// File of certificates that are trusted beside the public authorities'.
    pub ca_file: Option<PathBuf>,
    /// File of the certificate that is shown to it.
    pub client_cert_file: Option<PathBuf>,
    /// File of that certificate's private key.
    pub client_key_file: Option<PathBuf>,
    /// Statuses and codes with which it says that nothing was applied.
    pub not_applied_codes: Vec<String>,
    /// The only currency that it bills in.
    pub currency: Option<String>,
    /// The form of its numbers.
    pub msisdn_pattern: Option<String>,
    /// The beginnings of its numbers. An empty one fits all.
    pub prefixes: Vec<String>,
    /// Whether it knows subscribers by e-mail address.
    pub takes_email: bool,
    /// Milliseconds that one call may take.
    pub call_timeout_ms: u32,
    /// Seconds after which a request that it has not seen is never applied any more.
    pub forget_after_s: Option<u32>,
    /// How an outcome is learnt afterwards.
    pub recovery: RecoveryWord,
    /// Which refunds it books.
    pub refunds: RefundsWord,
    /// Whether it makes a reference void that it has not decided.
    pub void: bool,
    /// Whether accounts that pay beforehand may be charged.
    pub prepaid: bool,
    /// Most that one charge may be, in major units of its currency.
    pub amount_max: Option<String>,
    /// Where its days begin.
    pub time_zone: String,
    /// What may be spent through it.
    pub limit: BTreeMap<String, LimitTable>,
    /// What keeps it from taking others along when it fails.
    pub guard: GuardTable,
    /// Its refusal codes → public texts.
    pub verdicts: BTreeMap<String, String>,
    /// Numbers to test with.
    pub test_numbers: Option<TestNumbersTable>,
    /// Its PIN message.
    pub sms: CspSmsTable,
}

impl Default for CspTable {
    fn default() -> Self {
        Self {
            adapter: None,
            url: None,
            api_key_file: None,
            api_key: None,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            not_applied_codes: vec!["not-applied".to_owned()],
            currency: None,
            msisdn_pattern: None,
            prefixes: vec![String::new()],
            takes_email: false,
            call_timeout_ms: 300,
            forget_after_s: None,
            recovery: RecoveryWord::Inquiry,
            refunds: RefundsWord::Partial,
            void: false,
            prepaid: true,
            amount_max: None,
            time_zone: "UTC".to_owned(),
            limit: BTreeMap::new(),
            guard: GuardTable::default(),
            verdicts: BTreeMap::new(),
            test_numbers: None,
            sms: CspSmsTable::default(),
        }
    }
}

/// `[csp.<id>.guard]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardTable {
    /// Most calls under way, inquiries and voids aside.
    pub calls_max: u32,
    /// Most inquiries and voids under way.
    pub inquiries_max: u32,
    /// Most calls that wait for a place, of each of the two.
    pub queue_max: u32,
    /// Milliseconds that one may wait.
    pub queue_wait_ms: u32,
    /// Whether it is left alone when it fails too often.
    pub breaker: bool,
    /// Milliseconds of which the calls are counted.
    pub window_ms: u32,
    /// Fewest calls of a window that tell something.
    pub calls_min: u32,
    /// Per cent of them that must have failed.
    pub failure_percent: u32,
    /// Milliseconds for which it is left alone.
    pub open_ms: u32,
    /// Calls that are let through then, to see whether it is back.
    pub probes: u32,
}

impl Default for GuardTable {
    fn default() -> Self {
        Self {
            calls_max: 256,
            inquiries_max: 16,
            queue_max: 256,
            queue_wait_ms: 50,
            breaker: true,
            window_ms: 10_000,
            calls_min: 20,
            failure_percent: 50,
            open_ms: 5_000,
            probes: 3,
        }
    }
}

/// `[csp.<id>.test_numbers]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TestNumbersTable {
    /// Which numbers.
    pub pattern: Option<String>,
    /// Most sends a window, in place of both quotas of `[pin]`.
    pub sends_max: Option<u32>,
}

/// `[csp.<id>.sms]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CspSmsTable {
    /// Who the message is from.
    pub sender: String,
    /// Language of the text.
    pub language: String,
    /// The text.
    pub pin_text: String,
}

impl Default for CspSmsTable {
    fn default() -> Self {
        Self {
            sender: "onbill".to_owned(),
            language: "en".to_owned(),
            pin_text: "{pin} is your PIN. Do not share it with anyone.".to_owned(),
        }
    }
}
