//! Who may call: from tables to the keys, certificates and tokens that callers are known by.
//!
//! Invariant: a credential stands for one partner; a partner has one at least, and at most two keys that are good at a
//! time. What is asked of the tokens of an issuer is complete: where its keys are, whom tokens must be for, which client
//! is which partner. Keys come over https, or from this machine. Files are named here and read elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use serde::{Deserialize, Serialize};

use super::sandbox::DEMO_KEYS;
use super::shape::Report;
use super::tables::{PartnerTable, Tables};
use crate::domain::Time;
use crate::domain::api_key::{ACTIVE_MAX, KeyDigest, KnownKey};
use crate::domain::caller::Grant;
use crate::domain::certificate::CertificateName;
use crate::domain::ids::PartnerId;
use crate::domain::scope::{Scope, Scopes};
use crate::domain::token::{Algorithm, TokenRule};
use crate::faces::auth::KnownCallers;

/// The words of scopes.
pub const SCOPE_WORDS: [&str; Scope::ALL.len()] = [
    Scope::Accounts.word(),
    Scope::Pins.word(),
    Scope::TransactionsWrite.word(),
    Scope::TransactionsRead.word(),
    Scope::Notifications.word(),
    Scope::Sandbox.word(),
    Scope::Certification.word(),
];
/// The words of algorithms.
pub const ALGORITHM_WORDS: [&str; Algorithm::ALL.len()] =
    [Algorithm::Rs256.word(), Algorithm::Ps256.word(), Algorithm::Es256.word(), Algorithm::EdDsa.word()];

/// `[partner.<id>.key.<name>]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyTable {
    /// Its digest.
    pub sha256: Option<String>,
    /// The moment from which on it is good no more, RFC 3339.
    pub expires_at: Option<String>,
    /// What it is good for. `None`: everything.
    pub scopes: Option<Vec<String>>,
}

/// `[issuer.<id>]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IssuerTable {
    /// `iss` of its tokens.
    pub issuer: Option<String>,
    /// Where it publishes its keys.
    pub jwks_url: Option<String>,
    /// A file with its keys; it wins over the URL.
    pub jwks_file: Option<PathBuf>,
    /// File of certificates that are trusted beside the public authorities'.
    pub ca_file: Option<PathBuf>,
    /// One of these must be in `aud`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// Which algorithms are allowed.
    pub algorithms: Vec<String>,
    /// `typ` of headers that are taken.
    pub types: Vec<String>,
    /// The claim with the client.
    pub client_claim: String,
    /// The claims with words of scopes.
    pub scope_claims: Vec<String>,
    /// What such a word begins with.
    pub scope_prefix: String,
    /// Seconds by which clocks may differ.
    pub leeway_s: u32,
    /// Seconds between two fetches of its keys.
    pub refresh_s: u32,
    /// Milliseconds after an attempt in which there is no other.
    pub pause_ms: u32,
    /// Milliseconds that an attempt may take.
    pub timeout_ms: u32,
    /// Seconds that keys are good for which cannot be fetched anew.
    pub stale_max_s: u32,
    /// Its clients → partners.
    pub clients: BTreeMap<String, String>,
}

impl Default for IssuerTable {
    fn default() -> Self {
        Self {
            issuer: None,
            jwks_url: None,
            jwks_file: None,
            ca_file: None,
            audiences: Vec::new(),
            algorithms: ALGORITHM_WORDS.map(str::to_owned).into(),
            types: ["JWT", "at+jwt"].map(str::to_owned).into(),
            client_claim: "azp".to_owned(),
            scope_claims: vec!["scope".to_owned()],
            scope_prefix: "onbill:".to_owned(),
            leeway_s: 30,
            refresh_s: 300,
            pause_ms: 10_000,
            timeout_ms: 2_000,
            stale_max_s: 86_400,
            clients: BTreeMap::new(),
        }
    }
}

/// Where an issuer's keys are.
#[derive(Debug, Clone)]
pub enum JwksAt {
    /// At a URL, with what is trusted beside the public authorities.
    Url(Uri, Option<PathBuf>),
    /// In a file.
    File(PathBuf),
}

/// How the tokens of an issuer are verified.
#[derive(Debug, Clone)]
pub struct IssuerPlan {
    /// What it is called here.
    pub name: String,
    /// Its `iss`.
    pub issuer: String,
    /// Where its keys are.
    pub jwks: JwksAt,
    /// Which algorithms are allowed.
    pub algorithms: Vec<Algorithm>,
    /// The table, for all that needs no judging.
    pub table: IssuerTable,
}

impl IssuerPlan {
    /// How often keys are fetched, the pause after an attempt, how long one may take, and how old keys may be.
    #[must_use]
    pub fn times(&self) -> [Duration; 4] {
        let milliseconds = |count: u32| Duration::from_millis(u64::from(count));
        let seconds = |count: u32| Duration::from_secs(u64::from(count));
        let table = &self.table;
        [
            seconds(table.refresh_s),
            milliseconds(table.pause_ms),
            milliseconds(table.timeout_ms),
            seconds(table.stale_max_s),
        ]
    }
}

/// Builds what callers are known by, as it is at a moment, or reports why it cannot be built.
pub fn build(tables: &Tables, now: Time, report: &mut Report) -> (KnownCallers, Vec<IssuerPlan>) {
    let mut known = KnownCallers::default();
    for (id, table) in &tables.partner {
        keys(id, table, tables, &mut known, now, report);
        certificates(id, table, tables, &mut known, report);
    }
    let mut plans: Vec<IssuerPlan> = Vec::new();
    for (name, table) in &tables.issuer {
        let Some((plan, rule)) = issuer(name, table, tables, report) else { continue };
        if let Some(other) = plans.iter().find(|other| other.issuer == plan.issuer) {
            report.at(&["issuer", name, "issuer"], format!("is that of [issuer.{}] already", other.name));
        }
        known.tokens.insert(plan.issuer.clone(), rule);
        plans.push(plan);
    }
    let by_token: BTreeSet<&PartnerId> = known.tokens.values().flat_map(|rule| rule.clients.values()).collect();
    for (id, table) in &tables.partner {
        let has_none = table.key_sha256.is_empty() && table.key.is_empty() && table.certificates.is_empty();
        if has_none && !by_token.contains(&PartnerId::new(id)) {
            let text = "must be set: the SHA-256 digest of the partner's API key, which onbill key new makes; or \
                        [partner.<id>.key.<name>], certificates, or a client in [issuer.<id>.clients]";
            report.at(&["partner", id, "key_sha256"], text);
        }
    }
    (known, plans)
}

fn keys(id: &str, table: &PartnerTable, tables: &Tables, known: &mut KnownCallers, now: Time, report: &mut Report) {
    let partner = PartnerId::new(id);
    let simple = ["partner", id, "key_sha256"];
    for digest in table.key_sha256.iter().filter_map(|text| KeyDigest::parse(text)) {
        insert(&simple, digest, KnownKey::unlimited(partner.clone()), tables, known, report);
    }
    for (name, key) in &table.key {
        let path = |last| ["partner", id, "key", name, last];
        let expires_at = key.expires_at.as_ref().map(|text| text.parse::<Time>());
        if let (Some(Err(_)), Some(text)) = (&expires_at, &key.expires_at) {
            let why = format!("is {text:?}, must be a moment of RFC 3339, like 2027-01-31T00:00:00Z");
            report.at(&path("expires_at"), why);
        }
        let Some(digest) = key.sha256.as_deref().and_then(KeyDigest::parse) else {
            report.at(&path("sha256"), "must be set: the SHA-256 digest of the key; onbill key new makes both");
            continue;
        };
        let grant = Grant { partner: partner.clone(), scopes: scopes(key.scopes.as_deref()) };
        let expires_at = expires_at.and_then(Result::ok);
        insert(&path("sha256"), digest, KnownKey { grant, expires_at }, tables, known, report);
    }
    let active = known.keys.active_of(&partner, now);
    if active > ACTIVE_MAX {
        let text = format!(
            "the partner has {active} keys that are good now, and may have {ACTIVE_MAX}: the one in use and the next; \
             each more is one that nobody would miss if it were stolen. Take an old one out, or give it an expires_at"
        );
        report.at(&["partner", id, "key"], text);
    }
}

fn insert(
    path: &[&str],
    digest: KeyDigest,
    key: KnownKey,
    tables: &Tables,
    known: &mut KnownCallers,
    report: &mut Report,
) {
    if let Err(owner) = known.keys.insert(digest, key) {
        report.at(path, format!("holds {digest:?}, which is a key of {owner} already: each key is for one partner"));
    }
    let demo = DEMO_KEYS.iter().find(|(_, key)| KeyDigest::of(key.as_bytes()) == digest);
    if let (Some((_, key)), false) = (demo, tables.sandbox.enabled) {
        report.at(path, format!("holds {digest:?}, the digest of the public key {key}: only a sandbox may take it"));
    }
}

/// All scopes where none are named. Words were looked at before.
fn scopes(words: Option<&[String]>) -> Scopes {
    words.map_or_else(Scopes::all, |words| words.iter().filter_map(|word| Scope::from_word(word)).collect())
}

fn certificates(id: &str, table: &PartnerTable, tables: &Tables, known: &mut KnownCallers, report: &mut Report) {
    let partner = PartnerId::new(id);
    let path = ["partner", id, "certificates"];
    for text in &table.certificates {
        let Some(name) = CertificateName::parse(text) else {
            let allowed = "must be subject:CN=shop,O=Example, dns:shop.example, uri:spiffe://example/shop or sha256: \
                           and the digest of the certificate";
            report.at(&path, format!("holds {text:?}, {allowed}"));
            continue;
        };
        if let Err(owner) = known.certificates.insert(name, &partner) {
            report.at(&path, format!("holds {text:?}, which is a certificate of {owner} already"));
        }
    }
    if let Some(words) = &table.certificate_scopes {
        known.certificates.limit(&partner, scopes(Some(words)));
    }
    if table.certificate_required {
        known.bound.insert(partner);
    }
    let says_more = table.certificate_required || table.certificate_scopes.is_some();
    if says_more && table.certificates.is_empty() {
        report.at(&path, "must be set where certificate_required or certificate_scopes is");
    }
    if !table.certificates.is_empty() && tables.server.tls.client_ca_file.is_none() {
        report.at(&path, "are shown to nobody: server.tls.client_ca_file must be set, whom client certificates are of");
    }
}

fn issuer(name: &str, table: &IssuerTable, tables: &Tables, report: &mut Report) -> Option<(IssuerPlan, TokenRule)> {
    let path = |last| ["issuer", name, last];
    if table.issuer.is_none() {
        report.at(&path("issuer"), "must be set: what iss is in its tokens, like https://id.example/realms/ott");
    }
    if table.audiences.is_empty() {
        report.at(&path("audiences"), "must be set: what aud must hold, so that tokens for others are not taken");
    }
    if table.clients.is_empty() {
        report.at(&path("clients"), "must be set: which of its clients is which partner");
    }
    for (client, partner) in table.clients.iter().filter(|(_, partner)| !tables.partner.contains_key(*partner)) {
        let text = format!("names the partner {partner:?}, but there is no [partner.{partner}]");
        report.at(&["issuer", name, "clients", client], text);
    }
    if u64::from(table.pause_ms) > u64::from(table.refresh_s).saturating_mul(1_000) {
        report.at(&path("pause_ms"), format!("is {}, must be at most refresh_s", table.pause_ms));
    }
    if table.stale_max_s < table.refresh_s {
        let text = format!("is {}, must be at least refresh_s, {}", table.stale_max_s, table.refresh_s);
        report.at(&path("stale_max_s"), text);
    }
    let jwks = jwks(name, table, report);
    let plan = IssuerPlan {
        name: name.to_owned(),
        issuer: table.issuer.clone()?,
        jwks: jwks?,
        algorithms: table.algorithms.iter().filter_map(|word| Algorithm::from_word(word)).collect(),
        table: table.clone(),
    };
    let clients = table.clients.iter().map(|(client, partner)| (client.clone(), PartnerId::new(partner)));
    let rule = TokenRule {
        issuer: plan.issuer.clone(),
        audiences: table.audiences.clone(),
        leeway_s: table.leeway_s,
        scope_prefix: table.scope_prefix.clone(),
        clients: clients.collect(),
    };
    Some((plan, rule))
}

fn jwks(name: &str, table: &IssuerTable, report: &mut Report) -> Option<JwksAt> {
    let path = ["issuer", name, "jwks_url"];
    let text = match (&table.jwks_url, &table.jwks_file) {
        (_, Some(file)) => return Some(JwksAt::File(file.clone())),
        (Some(text), None) => text,
        (None, None) => {
            report.at(&path, "must be set, or jwks_file: where the issuer's keys are");
            return None;
        }
    };
    let is_safe = |url: &Uri| {
        let authority = url.authority().filter(|authority| !authority.as_str().contains('@'));
        let host = authority.map(http::uri::Authority::host).unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_here = bare == "localhost" || bare.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        // Whoever is on the way could put keys of their own in, and sign as anybody.
        !host.is_empty() && (url.scheme_str() == Some("https") || (url.scheme_str() == Some("http") && is_here))
    };
    let url = text.parse().ok().filter(is_safe);
    if url.is_none() {
        report.at(&path, "must be an https URL without a user; http only on this machine, http://127.0.0.1:8180/…");
    }
    Some(JwksAt::Url(url?, table.ca_file.clone()))
}
