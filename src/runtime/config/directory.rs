//! CSPs and partners: from tables to the directory that the rules work with.
//!
//! Invariant: a directory comes out only where nothing at all was reported; every CSP, currency, pattern and text in
//! it has been looked at. Prefixes that two CSPs of a partner share are allowed: the first CSP wins.

use std::path::PathBuf;
use std::sync::Arc;

use http::Uri;
use jiff::tz::TimeZone;

use super::limits;
use super::shape::Report;
use super::tables::{
    Adapter, CspTable, GuardTable, PartnerTable, RecoveryWord, RefundsWord, Secret, Tables, TestNumbersTable,
    WebhookTable,
};
use crate::domain::directory::{
    Ability, Capabilities, CspProfile, Directory, Partner, Pattern, PinSms, Product, Recovery, Refunds, SendQuota,
    TestNumbers,
};
use crate::domain::ids::{ChargeCode, CspId, PartnerId, ProductId};
use crate::domain::money::{Currency, Money};
use crate::domain::pin;
use crate::domain::public_address::Addresses;
use crate::domain::rate::SharedRate;
use crate::domain::webhook::{SigningSecret, Webhook};

/// What a set of CSPs and partners becomes.
#[derive(Debug, Clone)]
pub struct Built {
    /// All partners and CSPs.
    pub directory: Directory,
    /// How each CSP is spoken to, and the bounds around it.
    pub adapters: Vec<(CspId, Speaks, GuardTable)>,
}

/// How one CSP is spoken to. Files are named here and read when the adapter is built.
#[derive(Debug, Clone)]
pub enum Speaks {
    /// The scripted CSP within the gateway.
    Sandbox,
    /// The CSP's own API over HTTP.
    Http(Box<HttpTable>),
    /// An adapter process of the CSP's over gRPC.
    Grpc(Box<HttpTable>),
}

/// What the adapters `http` and `grpc` need.
#[derive(Debug, Clone)]
pub struct HttpTable {
    /// Where the API begins: http or https, with a host and without a query.
    pub url: Uri,
    /// The key that the CSP asks for.
    pub api_key: Option<ApiKey>,
    /// Certificates that are trusted beside the public authorities'.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown to the CSP; there where its key is.
    pub client_cert_file: Option<PathBuf>,
    /// Its private key.
    pub client_key_file: Option<PathBuf>,
    /// Statuses and codes with which the CSP says that nothing was applied.
    pub not_applied_codes: Vec<String>,
}

/// Where the key of a CSP comes from.
#[derive(Debug, Clone)]
pub enum ApiKey {
    /// From the configuration itself.
    Given(Secret),
    /// From a file that holds nothing else.
    InFile(PathBuf),
}

/// Builds the directory, or reports why it cannot be built.
pub fn build(tables: &Tables, report: &mut Report) -> Option<Built> {
    let mut csps = Vec::new();
    let mut adapters = Vec::new();
    for (id, table) in &tables.csp {
        let adapter = adapter(id, table, tables, report);
        if let Some((adapter, profile)) = adapter.zip(csp(id, table, tables, report)) {
            adapters.push((profile.id.clone(), adapter, table.guard.clone()));
            csps.push(profile);
        }
    }
    let mut partners = Vec::new();
    for (id, table) in &tables.partner {
        partners.extend(partner(id, table, tables, report));
    }
    if tables.csp.is_empty() {
        report.at(&["csp"], "there must be at least one CSP, [csp.<id>]");
    }
    if tables.partner.is_empty() {
        report.at(&["partner"], "there must be at least one partner, [partner.<id>]");
    }
    let whole = csps.len() == tables.csp.len() && partners.len() == tables.partner.len();
    let directory = whole.then(|| Directory::new(partners, csps))?;
    match directory {
        Ok(directory) => Some(Built { directory, adapters }),
        Err(error) => {
            report.at(&["partner"], error.to_string());
            None
        }
    }
}

fn adapter(id: &str, table: &CspTable, tables: &Tables, report: &mut Report) -> Option<Speaks> {
    match table.adapter {
        None => {
            report.at(&["csp", id, "adapter"], "must be set: one of \"sandbox\", \"http\", \"grpc\"");
            None
        }
        Some(Adapter::Sandbox) if !tables.sandbox.enabled => {
            let text = "is \"sandbox\", which bills nobody: sandbox.enabled must be true, or the adapter another one";
            report.at(&["csp", id, "adapter"], text);
            None
        }
        Some(Adapter::Sandbox) => {
            let given = [
                ("url", table.url.is_some()),
                ("api_key_file", table.api_key_file.is_some()),
                ("api_key", table.api_key.is_some()),
                ("ca_file", table.ca_file.is_some()),
                ("client_cert_file", table.client_cert_file.is_some()),
                ("client_key_file", table.client_key_file.is_some()),
            ];
            for (name, _) in given.into_iter().filter(|(_, given)| *given) {
                report.at(&["csp", id, name], "is of the adapters \"http\" and \"grpc\" only");
            }
            Some(Speaks::Sandbox)
        }
        Some(Adapter::Http) => http_table(id, table, report).map(Speaks::Http),
        Some(Adapter::Grpc) => http_table(id, table, report).map(Speaks::Grpc),
    }
}

fn http_table(id: &str, table: &CspTable, report: &mut Report) -> Option<Box<HttpTable>> {
    if table.client_cert_file.is_some() != table.client_key_file.is_some() {
        let missing = if table.client_key_file.is_none() { "client_key_file" } else { "client_cert_file" };
        report.at(&["csp", id, missing], "must be set: a certificate and its key go together");
        return None;
    }
    Some(Box::new(HttpTable {
        url: url(id, table.url.as_deref(), report)?,
        api_key: match (&table.api_key, &table.api_key_file) {
            (Some(key), _) => Some(ApiKey::Given(key.clone())),
            (None, Some(file)) => Some(ApiKey::InFile(file.clone())),
            (None, None) => None,
        },
        ca_file: table.ca_file.clone(),
        client_cert_file: table.client_cert_file.clone(),
        client_key_file: table.client_key_file.clone(),
        not_applied_codes: table.not_applied_codes.clone(),
    }))
}

fn url(id: &str, text: Option<&str>, report: &mut Report) -> Option<Uri> {
    const ALLOWED: &str = "an http or https URL without user, query or fragment, like https://csp.example/api";
    let path = ["csp", id, "url"];
    let Some(text) = text else {
        report.at(&path, format!("must be set for the adapters \"http\" and \"grpc\": {ALLOWED}"));
        return None;
    };
    let is_usable = |url: &Uri| {
        let scheme = matches!(url.scheme_str(), Some("http" | "https"));
        let host = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        scheme && host && url.query().is_none() && !text.contains('#')
    };
    let url = text.parse().ok().filter(is_usable);
    if url.is_none() {
        // Not shown: somebody may have put a password into it.
        report.at(&path, format!("must be {ALLOWED}"));
    }
    url
}

fn csp(id: &str, table: &CspTable, tables: &Tables, report: &mut Report) -> Option<CspProfile> {
    let currency = currency(id, table.currency.as_deref(), report);
    let msisdn_pattern = pattern(&["csp", id, "msisdn_pattern"], table.msisdn_pattern.as_deref(), report);
    if table.prefixes.iter().any(|prefix| !prefix.bytes().all(|b| b.is_ascii_digit() || b == b'+')) {
        report.at(&["csp", id, "prefixes"], "must be beginnings of numbers: digits, or \"\" for all numbers");
    }
    let amount_max = match (&table.amount_max, currency) {
        (Some(text), Some(currency)) => amount_max(id, text, currency, report).map(Some),
        (None, _) | (Some(_), None) => Some(None),
    };
    let time_zone = time_zone(id, &table.time_zone, report);
    let limits = limits::build(id, table, currency, tables, report);
    let test_numbers = match &table.test_numbers {
        Some(test) => test_numbers(id, test, tables, report).map(Some),
        None => Some(None),
    };
    let sms = PinSms {
        sender: table.sms.sender.clone(),
        language: table.sms.language.clone(),
        text: table.sms.pin_text.clone(),
    };
    check_sms(&["csp", id, "sms"], &sms, report);
    Some(CspProfile {
        id: CspId::new(id),
        currency: currency?,
        msisdn_pattern: msisdn_pattern?,
        prefixes: table.prefixes.clone(),
        takes_email: table.takes_email,
        call_timeout_ms: table.call_timeout_ms,
        forget_after_s: table.forget_after_s,
        recovery: match table.recovery {
            RecoveryWord::Inquiry => Recovery::Inquiry,
            RecoveryWord::Resend => Recovery::Resend,
            RecoveryWord::None => Recovery::None,
        },
        capabilities: Capabilities {
            refunds: match table.refunds {
                RefundsWord::Partial => Refunds::Partial,
                RefundsWord::Whole => Refunds::Whole,
                RefundsWord::None => Refunds::None,
            },
            void: ability(table.void),
            prepaid: ability(table.prepaid),
        },
        amount_max: amount_max?,
        time_zone: time_zone?,
        limits: limits?,
        verdicts: table.verdicts.clone(),
        pin_quota: SendQuota {
            per_partner_max: tables.pin.sends_per_partner_max,
            per_address_max: tables.pin.sends_per_address_max,
            window_s: tables.pin.send_window_s,
        },
        test_numbers: test_numbers?,
        pin_sms: sms,
    })
}

fn currency(id: &str, code: Option<&str>, report: &mut Report) -> Option<Currency> {
    let path = ["csp", id, "currency"];
    let Some(code) = code else {
        report.at(&path, "must be set: a currency of ISO 4217, like MXN");
        return None;
    };
    let currency = Currency::from_code(code);
    if currency.is_none() {
        report.at(&path, format!("is {code:?}, must be a currency of ISO 4217 that has a minor unit, like MXN"));
    }
    currency
}

const fn ability(switch: bool) -> Ability {
    if switch { Ability::Able } else { Ability::Unable }
}

fn amount_max(id: &str, text: &str, currency: Currency, report: &mut Report) -> Option<Money> {
    let amount = Money::parse(text, currency).filter(|money| money.minor > 0);
    if amount.is_none() {
        let text =
            format!("is {text:?}, must be an amount above 0 with at most the decimals of {currency}, like 1500.00");
        report.at(&["csp", id, "amount_max"], text);
    }
    amount
}

fn time_zone(id: &str, name: &str, report: &mut Report) -> Option<TimeZone> {
    let time_zone = TimeZone::get(name).ok();
    if time_zone.is_none() {
        let text = format!("is {name:?}, must be a time zone of the IANA, like America/Mexico_City");
        report.at(&["csp", id, "time_zone"], text);
    }
    time_zone
}

fn pattern(path: &[&str], text: Option<&str>, report: &mut Report) -> Option<Pattern> {
    let Some(text) = text else {
        report.at(path, "must be set: a regular expression from ^ to $, like ^[0-9]{10}$");
        return None;
    };
    let pattern = Pattern::new(text);
    if pattern.is_none() {
        report.at(path, format!("is {text:?}, must be a regular expression from ^ to $, like ^[0-9]{{10}}$"));
    }
    pattern
}

fn test_numbers(id: &str, table: &TestNumbersTable, tables: &Tables, report: &mut Report) -> Option<TestNumbers> {
    let pattern = pattern(&["csp", id, "test_numbers", "pattern"], table.pattern.as_deref(), report);
    if table.sends_max.is_none() {
        report
            .at(&["csp", id, "test_numbers", "sends_max"], "must be set: most PIN messages to one number in a window");
    }
    let sends_max = table.sends_max?;
    let window_s = tables.pin.send_window_s;
    let quota = SendQuota { per_partner_max: sends_max, per_address_max: sends_max, window_s };
    Some(TestNumbers { pattern: pattern?, quota })
}

/// The text must bring exactly one PIN to the phone, and the language must be one that a phone can be told.
fn check_sms(path: &[&str], sms: &PinSms, report: &mut Report) {
    let key = |last| [path, &[last]].concat();
    if !pin::is_sms_template(&sms.text) {
        let text = "must hold {pin} once, with no digit beside it and no other run of six digits";
        report.at(&key("pin_text"), text);
    }
    let subtag = |tag: &str| (1..=8).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let first = sms.language.split('-').next().unwrap_or_default();
    let named = first.len() >= 2 && first.bytes().all(|byte| byte.is_ascii_alphabetic());
    if !named || !sms.language.split('-').all(subtag) {
        report.at(&key("language"), format!("is {:?}, must be a language tag (BCP 47), like es-MX", sms.language));
    }
}

fn partner(id: &str, table: &PartnerTable, tables: &Tables, report: &mut Report) -> Option<Partner> {
    let csps = partner_csps(id, table, tables, report);
    let products = table.product.iter().map(|(product, entry)| {
        let path = ["partner", id, "product", product, "charge_codes"];
        if entry.charge_codes.is_empty() {
            report.at(&path, "must name the product at one CSP at least");
        }
        let is_mine = |csp: &&String| table.csps.is_empty() || table.csps.contains(csp);
        for csp in entry.charge_codes.keys().filter(|csp| !is_mine(csp)) {
            let mine = table.csps.join(", ");
            report.at(&[&path[..], &[csp]].concat(), format!("{csp} is none of the partner's csps: {mine}"));
        }
        let charge_codes = entry.charge_codes.iter().map(|(csp, code)| (CspId::new(csp), ChargeCode::new(code)));
        let product = ProductId::new(product);
        (product.clone(), Product { id: product, charge_codes: charge_codes.collect() })
    });
    let products = products.collect();
    let pin_sms = partner_sms(id, table, report);
    let webhook = table.webhook.as_ref().and_then(|table| webhook(id, table, report));
    Some(Partner {
        id: PartnerId::new(id),
        csps: csps?,
        products,
        pin_before_first_charge_minutes: table.pin_before_first_charge_minutes,
        pin_sms,
        webhook,
        rate: SharedRate { per_second: table.rate.per_second, burst: table.rate.burst },
    })
}

fn webhook(id: &str, table: &WebhookTable, report: &mut Report) -> Option<Webhook> {
    let path = |last| ["partner", id, "webhook", last];
    if table.secrets.is_empty() {
        report.at(&path("secrets"), "must be set: what events are signed with, whsec_ and 24 to 64 bytes in base64");
    }
    let Some(url) = &table.url else {
        report.at(&path("url"), "must be set: where events are posted to");
        return None;
    };
    let parsed = url.parse::<http::Uri>().ok();
    let authority = parsed.as_ref().and_then(http::Uri::authority);
    let is_clean = authority.is_some_and(|authority| !authority.as_str().contains('@') && !authority.host().is_empty());
    // Plain http would let whoever is on the way read what a partner's customers buy.
    let scheme = parsed.as_ref().and_then(http::Uri::scheme_str);
    let is_safe = scheme == Some("https") || (scheme == Some("http") && table.allow_private);
    if !is_clean || !is_safe {
        let text =
            "must be a URL like https://example.com/events, without a user; http only where allow_private is true";
        report.at(&path("url"), text);
        return None;
    }
    let addresses = if table.allow_private { Addresses::Any } else { Addresses::Public };
    let secrets = table.secrets.iter().filter_map(|secret| SigningSecret::parse(&secret.0)).collect();
    Some(Webhook { url: Arc::from(url.as_str()), secrets, addresses })
}

fn partner_csps(id: &str, table: &PartnerTable, tables: &Tables, report: &mut Report) -> Option<Vec<CspId>> {
    let path = ["partner", id, "csps"];
    if table.csps.is_empty() {
        report.at(&path, "must be set: the ids of the partner's CSPs, the first of them for addresses of none");
        return None;
    }
    let mut known = true;
    for (index, csp) in table.csps.iter().enumerate() {
        if !tables.csp.contains_key(csp) {
            report.at(&path, format!("names the CSP {csp:?}, but there is no [csp.{csp}]"));
            known = false;
        }
        if table.csps.iter().take(index).any(|earlier| earlier == csp) {
            report.at(&path, format!("names the CSP {csp:?} twice"));
        }
    }
    known.then(|| table.csps.iter().map(|csp| CspId::new(csp)).collect())
}

fn partner_sms(id: &str, table: &PartnerTable, report: &mut Report) -> Option<PinSms> {
    let sms = table.sms.as_ref()?;
    let fields = [("sender", &sms.sender), ("language", &sms.language), ("pin_text", &sms.pin_text)];
    for (name, _) in fields.iter().filter(|(_, value)| value.is_none()) {
        report.at(&["partner", id, "sms", name], "must be set where the partner has a message of its own");
    }
    let message = PinSms { sender: sms.sender.clone()?, language: sms.language.clone()?, text: sms.pin_text.clone()? };
    check_sms(&["partner", id, "sms"], &message, report);
    Some(message)
}
