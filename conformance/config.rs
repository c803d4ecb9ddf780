//! Claims about the configuration: what wins, what is refused and in which words, and that the sample is true.
//!
//! Invariant: no test reads the environment of its process; each makes one up.

mod combinations;
mod sample;

use std::path::{Path, PathBuf};

use figment::providers::{Format as _, Toml};
use figment::value::Dict;

use onbill::domain::Time;
use onbill::domain::address::{Address, Msisdn};
use onbill::domain::api_key::KeyDigest;
use onbill::domain::catalogue::outcome;
use onbill::domain::directory::SendQuota;
use onbill::domain::ids::{ChargeCode, CspId, PartnerId, ProductId};
use onbill::domain::limits::SpendLimit;
use onbill::runtime::config::directory::{ApiKey, Speaks};
use onbill::runtime::config::schema;
use onbill::runtime::config::tables::LogFormat;
use onbill::runtime::config::{Config, Environment, Overrides, Sources};

/// The scripted CSP is a sandbox's only, so these are sandboxes in all but what they test.
const MINIMAL: &str = r#"
[sandbox]
enabled = true
[csp.my-csp]
adapter = "sandbox"
currency = "JPY"
msisdn_pattern = "^[0-9]{9}$"
prefixes = ["99"]
[partner.my-ott]
key_sha256 = ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
csps = ["my-csp", "sandbox"]
[partner.my-ott.product.gold.charge_codes]
my-csp = "G1"
"#;

struct Written {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn file(text: &str) -> Written {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("onbill.toml");
    std::fs::write(&path, text).expect("a file");
    Written { _dir: dir, path }
}

fn load<const N: usize>(file: Option<&Path>, environment: [(&str, &str); N]) -> Result<Config, String> {
    let environment = Environment::of(environment);
    let sources = Sources { file: file.map(Path::to_owned), environment, overrides: Overrides::default() };
    Config::load(&sources).map_err(|problems| match file {
        // The file's own name differs from run to run.
        Some(path) => problems.to_string().replace(&path.display().to_string(), "F"),
        None => problems.to_string(),
    })
}

/// The minimal file with a line more, in the table that it names.
fn refused_with(addition: &str) -> String {
    let written = file(&merged(MINIMAL, addition));
    load(Some(&written.path), []).expect_err(addition)
}

/// Lays one TOML text over another.
fn merged(below: &str, above: &str) -> String {
    fn lay(below: &mut serde_json::Map<String, serde_json::Value>, above: serde_json::Map<String, serde_json::Value>) {
        for (key, value) in above {
            match (below.get_mut(&key), value) {
                (Some(serde_json::Value::Object(inner)), serde_json::Value::Object(over)) => lay(inner, over),
                (_, value) => {
                    below.insert(key, value);
                }
            }
        }
    }
    let read = |text: &str| match serde_json::to_value(Toml::from_str::<Dict>(text).expect("TOML")).expect("JSON") {
        serde_json::Value::Object(table) => table,
        other => panic!("{other} is no table"),
    };
    let mut both = read(below);
    lay(&mut both, read(above));
    to_toml(&serde_json::Value::Object(both), &mut Vec::new())
}

/// Writes every value under its whole key.
fn to_toml(value: &serde_json::Value, path: &mut Vec<String>) -> String {
    match value {
        serde_json::Value::Object(table) if !table.is_empty() || path.is_empty() => {
            let mut text = String::new();
            for (key, inner) in table {
                path.push(format!("{key:?}"));
                text.push_str(&to_toml(inner, path));
                path.pop();
            }
            text
        }
        serde_json::Value::Object(_) => format!("{} = {{}}\n", path.join(".")),
        leaf => format!("{} = {leaf}\n", path.join(".")),
    }
}

/// Whose key this is now.
fn owner(config: &Config, key: &str) -> Option<PartnerId> {
    config.callers.keys.grant(key.as_bytes(), Time::now()).map(|grant| grant.partner.clone())
}

#[test]
fn without_anything_the_gateway_is_the_sandbox_of_the_contract() {
    let config = load(None, []).expect("a sandbox needs no configuration");
    assert!(config.sandbox.enabled);
    for (key, partner) in [("demo-key", "demo-ott"), ("other-key", "other-ott")] {
        assert_eq!(owner(&config, key), Some(PartnerId::new(partner)), "{key}");
    }
    assert_eq!(owner(&config, "another-key"), None);
    let partner = config.directory.partner(&PartnerId::new("demo-ott")).expect("it is there");
    assert_eq!(partner.products.keys().map(ProductId::as_str).collect::<Vec<_>>(), ["ott-basic", "ott-premium"]);
    let number = Address::Msisdn(Msisdn::new("5550100001"));
    let csp = config.directory.route(partner, &number).expect("a CSP").profile();
    assert_eq!((csp.id.as_str(), csp.currency.code(), csp.msisdn_pattern.as_str()), ("sandbox", "MXN", "^[0-9]{10}$"));
    assert_eq!((csp.takes_email, csp.call_timeout_ms, csp.forget_after_s), (true, 600, Some(2)));
    assert_eq!(csp.verdict("daily-limit"), outcome::DAILY_LIMIT);
    assert_eq!(csp.verdict("insufficient-funds"), outcome::INSUFFICIENT_FUNDS);
}

#[test]
fn sandbox_numbers_have_a_thousand_sends_but_condition_16_that_of_everybody() {
    let config = load(None, []).expect("a sandbox");
    let csp = config.directory.csps().next().expect("a CSP");
    let common = SendQuota { per_partner_max: 3, per_address_max: 10, window_s: 600 };
    let many = SendQuota { per_partner_max: 1000, per_address_max: 1000, window_s: 600 };
    for condition in 0..100 {
        let number = format!("55501000{condition:02}");
        let expected = if condition == 16 { common } else { many };
        assert_eq!(csp.quota_of(&number), expected, "{number}");
    }
    assert_eq!(csp.quota_of("5560100001"), common);
}

#[test]
fn a_later_layer_wins_over_an_earlier_one() {
    let written =
        file(&merged(MINIMAL, "[server]\ndrain_s = 20\nlisten = '127.0.0.1:1'\nadmin_listen = '127.0.0.1:2'"));
    let environment =
        Environment::of([("ONBILL__SERVER__LISTEN", "127.0.0.1:3"), ("ONBILL__SERVER__ADMIN_LISTEN", "127.0.0.1:4")]);
    let overrides = Overrides {
        listen: Some("127.0.0.1:5".parse().expect("an address")),
        data_dir: Some(PathBuf::from("/d")),
        ..Overrides::default()
    };
    let sources = Sources { file: Some(written.path.clone()), environment, overrides };
    let config = Config::load(&sources).expect("it fits");
    assert_eq!(config.server.idle_timeout_s, 300, "the default");
    assert_eq!(config.server.drain_s, 20, "the file over the default");
    assert_eq!(config.server.admin_listen.port(), 4, "the environment over the file");
    assert_eq!(config.server.listen.port(), 5, "the command line over the environment");
    assert_eq!(config.server.data_dir.as_deref(), Some(Path::new("/d")));
    let origin = |key: &str| {
        let entry = config.effective.0.iter().find(|entry| entry.key == key).expect("every setting is shown");
        entry.origin.replace(&written.path.display().to_string(), "F")
    };
    assert_eq!(origin("server.idle_timeout_s"), "default");
    assert_eq!(origin("server.drain_s"), "file F");
    assert_eq!(origin("server.admin_listen"), "environment variable ONBILL__SERVER__ADMIN_LISTEN");
    assert_eq!(origin("server.listen"), "--listen");
    assert_eq!(origin("csp.sandbox.currency"), "the built-in sandbox");
}

#[test]
fn the_environment_changes_any_part_of_the_sandbox() {
    let config = load(
        None,
        [
            ("ONBILL__CSP__SANDBOX__CURRENCY", "JPY"),
            ("ONBILL__CSP__SANDBOX__PREFIXES", "555,556"),
            ("ONBILL__CSP__SANDBOX__TAKES_EMAIL", "false"),
            ("ONBILL__PARTNER__DEMO_OTT__PIN_BEFORE_FIRST_CHARGE_MINUTES", "5"),
            ("ONBILL__PARTNER__DEMO_OTT__PRODUCT__OTT_GOLD__CHARGE_CODES__SANDBOX", "77"),
            ("ONBILL__LOG__FORMAT", "json"),
        ],
    )
    .expect("it fits");
    let csp = config.directory.csps().next().expect("a CSP");
    assert_eq!((csp.currency.code(), csp.takes_email), ("JPY", false));
    assert_eq!(csp.prefixes, ["555", "556"]);
    assert_eq!(config.log.format, LogFormat::Json);
    let partner = config.directory.partner(&PartnerId::new("demo-ott")).expect("it is there");
    assert_eq!(partner.pin_before_first_charge_minutes, Some(5));
    let gold = partner.products.get("ott_gold").expect("a new product");
    assert_eq!(gold.charge_codes.get("sandbox").map(ChargeCode::as_str), Some("77"));
    assert_eq!(partner.products.len(), 3);
}

#[test]
fn a_partner_of_a_file_has_its_csps_in_order_and_both_its_keys() {
    let (first, second) = (KeyDigest::of(b"first"), KeyDigest::of(b"second"));
    let keys = format!("[partner.my-ott]\nkey_sha256 = ['{first}', '{}']", second.to_string().to_uppercase());
    let written = file(&merged(MINIMAL, &keys));
    let config = load(Some(&written.path), []).expect("it fits");
    let me = PartnerId::new("my-ott");
    assert_eq!(owner(&config, "first"), Some(me.clone()));
    assert_eq!(owner(&config, "second"), Some(me.clone()));
    let partner = config.directory.partner(&me).expect("it is there");
    assert_eq!(partner.csps.iter().map(CspId::as_str).collect::<Vec<_>>(), ["my-csp", "sandbox"]);
}

#[test]
fn limits_are_read_in_the_csps_currency_and_a_preset_is_what_the_law_says() {
    let text = "[csp.my-csp]\ncurrency = 'EUR'\ntime_zone = 'Europe/Lisbon'\n[csp.my-csp.limit.law]\npreset = 'psd2'\n\
                [csp.my-csp.limit.day]\neach = ['partner', 'product']\nproducts = ['gold']\nday_max = '9.9'\n\
                [csp.my-csp.limit.lower]\npreset = 'psd2'\ntransaction_max = '20'\nday_max = '40'";
    let written = file(&merged(MINIMAL, text));
    let config = load(Some(&written.path), []).expect("it fits");
    let csp = config.directory.csp(&CspId::new("my-csp")).expect("it is there");
    assert_eq!(csp.time_zone.iana_name(), Some("Europe/Lisbon"));
    let amounts = |limit: &SpendLimit| (limit.transaction_max_minor, limit.day_max_minor, limit.month_max_minor);
    let read: Vec<_> =
        csp.limits.iter().map(|limit| (limit.id.as_str(), limit.each.to_string(), amounts(limit))).collect();
    let expected = [
        ("day", "partner+product", (None, Some(990), None)),
        ("law", "address", (Some(5000), None, Some(30_000))),
        ("lower", "address", (Some(2000), Some(4000), Some(30_000))),
    ];
    assert_eq!(read, expected.map(|(id, each, amounts)| (id, each.to_owned(), amounts)));
    assert_eq!(csp.limits[0].products, Some([ProductId::new("gold")].into()));
}

#[test]
fn with_a_file_the_sandbox_must_be_asked_for() {
    let file = file("[log]\nformat = 'json'");
    let problems = load(Some(&file.path), []).expect_err("there is nobody to serve");
    let expected = [
        "server.data_dir: must be set unless sandbox.enabled is true: the ledger must outlive the gateway",
        "csp: there must be at least one CSP, [csp.<id>]",
        "partner: there must be at least one partner, [partner.<id>]",
    ];
    assert_eq!(problems, expected.join("\n"));
    load(Some(&file.path), [("ONBILL__SANDBOX__ENABLED", "true")]).expect("the environment asks for it");
    load(None, [("ONBILL__SANDBOX__ENABLED", "false")]).expect_err("the environment turns it off");
}

#[test]
fn unknown_keys_are_named_with_where_they_stand_and_what_is_known() {
    for (addition, expected) in [
        (
            "[server]\ndeadline_max = 1",
            "server.deadline_max: unknown key; known here: listen, admin_listen, admin_token_file, ",
        ),
        (
            "[servers]\nlisten = 'x'",
            "servers: unknown key; known here: server, log, pin, charge, reconcile, retention, keys, ",
        ),
        ("[csp.my-csp]\ncurency = 'MXN'", "csp.my-csp.curency: unknown key; known here: adapter, url, "),
        ("[csp.my-csp.sms]\ntext = 'x'", "csp.my-csp.sms.text: unknown key; known here: sender, language, pin_text "),
        ("[partner.my-ott.product.gold]\nprice = 1", "partner.my-ott.product.gold.price: unknown key; known here: "),
        ("[csp.my-csp.currency]\nx = 1", "csp.my-csp.currency: is {\"x\":1}, must be a text of 1 to 3 characters "),
        ("[csp.my-csp]\nsms = 'x'", "csp.my-csp.sms: is a table; known here: sender, language, pin_text "),
        ("[csp]\nmy-csp = 1", "csp.my-csp: is a table; known here: adapter, url, "),
        ("partner = 1", "partner: is a table; what stands here is an id "),
        ("[csp.BIG]\ncurrency = 'MXN'", "csp.BIG: the id \"BIG\" must be 1 to 64 of a-z, 0-9, - and _ "),
    ] {
        let problems = refused_with(addition);
        assert!(problems.starts_with(expected), "{addition}:\n{problems}");
        assert!(problems.lines().next().unwrap().ends_with("(from file F)"), "{addition}:\n{problems}");
    }
    let problems = load(None, [("ONBILL__SERVER__DEADLINE_MAX", "1")]).expect_err("unknown");
    assert!(problems.starts_with("server.deadline_max: unknown key; known here: listen, "), "{problems}");
    assert!(problems.ends_with("(from environment variable ONBILL__SERVER__DEADLINE_MAX)"), "{problems}");
}

#[test]
fn values_out_of_bounds_are_refused_with_what_is_allowed_and_where_they_came_from() {
    let environment = [
        ("ONBILL__SERVER__DRAIN_S", "0"),
        ("ONBILL__SERVER__LISTEN", "localhost:1"),
        ("ONBILL__LOG__FORMAT", "xml"),
        ("ONBILL__PARTNER__DEMO_OTT__KEY_SHA256", "onb_a-key-in-the-wrong-place"),
    ];
    let problems = load(None, environment).expect_err("four");
    let expected = [
        "log.format: is \"xml\", must be one of \"text\", \"json\" (from environment variable ONBILL__LOG__FORMAT)",
        "partner.demo-ott.key_sha256: must be a list of 1 to 2 SHA-256 digests of 64 hexadecimal digits each: the key in use \
         and the next (from environment variable ONBILL__PARTNER__DEMO_OTT__KEY_SHA256)",
        "server.drain_s: is 0, must be a whole number from 1 to 600 (seconds) \
         (from environment variable ONBILL__SERVER__DRAIN_S)",
        "server.listen: is \"localhost:1\", must be an IP address with a port, like 127.0.0.1:8080 \
         (from environment variable ONBILL__SERVER__LISTEN)",
    ];
    assert_eq!(problems, expected.join("\n"), "all of them, once each, and no key in any");
}

#[test]
fn no_bound_may_be_zero() {
    for key in schema::KEYS {
        if let schema::Allowed::Whole { min, max, .. } = key.allowed {
            // The number of a database bounds nothing; no pause, no traces and no answers kept are choices.
            let may_be_zero =
                ["redis.answers_kept_s", "redis.database", "server.drain_delay_ms", "traces.sample_per_mille"];
            let least = u32::from(!may_be_zero.contains(&key.path));
            assert!(min >= least && min < max, "{}", key.path);
        }
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once_and_a_refused_value_once() {
    let problems = refused_with(
        "[server]\ndrain_s = 0\nlisten = '0.0.0.0:9090'\n[csp.my-csp]\ncurrency = 5\n[partner.my-ott]\ncsps = []\n\
         [typo]\nx = 1",
    );
    let keys: Vec<_> = problems.lines().map(|line| line.split(": ").next().unwrap_or_default()).collect();
    assert_eq!(
        keys,
        ["csp.my-csp.currency", "partner.my-ott.csps", "server.drain_s", "typo", "server.admin_listen",],
        "{problems}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = Path::new("/nowhere/onbill.toml");
    let problems = load(Some(missing), []).expect_err("it is not there");
    assert!(problems.starts_with("cannot be opened: ") && problems.ends_with("(from file F)"), "{problems}");
    for (text, expected) in [
        (&b"[server"[..], "TOML parse error at line 1"),
        (b"a = 1\na = 2", "TOML parse error at line 2"),
        (b"\xff", "must be UTF-8"),
        (&vec![b'#'; 4 * 1024 * 1024 + 1], "must be at most 4194304 bytes"),
    ] {
        let written = file("");
        std::fs::write(&written.path, text).expect("a file");
        let problems = load(Some(&written.path), []).expect_err(expected);
        assert!(problems.starts_with(expected) && problems.lines().count() == 1, "{problems}");
    }
}

#[test]
fn outside_the_sandbox_a_gateway_starts_with_a_csp_that_is_spoken_to_over_http() {
    let text = merged(
        &merged(MINIMAL, "[server]\ndata_dir = '/d'\n[partner.my-ott]\ncsps = ['my-csp']"),
        "[sandbox]\nenabled = false\n[csp.my-csp]\nadapter = 'http'\nurl = 'https://csp.example/api'",
    );
    let written = file(&text);
    let config = load(Some(&written.path), [("ONBILL__CSP__MY_CSP__API_KEY", "s3cret")]).expect("it fits");
    assert!(!config.sandbox.enabled);
    let [(id, Speaks::Http(table), _)] = &config.adapters[..] else {
        panic!("{:?}", config.adapters);
    };
    assert_eq!((id.as_str(), table.url.to_string().as_str()), ("my-csp", "https://csp.example/api"));
    assert_eq!(table.not_applied_codes, ["not-applied"]);
    assert!(matches!(&table.api_key, Some(ApiKey::Given(key)) if key.expose() == "s3cret"));
    let shown = config.effective.to_string();
    assert!(shown.contains("csp.my-csp.api_key = \"****\"  # environment variable "), "{shown}");
    assert!(!format!("{config:?} {shown}").contains("s3cret"), "a key is nowhere");
}

#[test]
fn settings_in_effect_show_the_beginning_of_a_digest_only() {
    let shown = load(None, []).expect("a sandbox").effective.to_string();
    assert!(shown.contains("partner.demo-ott.key_sha256 = [\"c48a01f4…\"]  # the built-in sandbox\n"), "{shown}");
    assert!(!shown.contains(&KeyDigest::of(b"demo-key").to_string()), "{shown}");
}
