//! The built-in sandbox: the CSP, the partners and the products that are there without any configuration.
//!
//! Invariant: it is data that a file could hold as well (contract section 6), laid under the file and the environment,
//! so that either can change any part of it. What the sandbox's numbers do is the sandbox CSP's matter, not written
//! here.

use figment::value::Dict;
use serde_json::json;

use crate::domain::api_key::KeyDigest;
use crate::domain::catalogue::outcome;

/// The keys of the sandbox's partners. They are public: nothing but a sandbox may accept them.
pub const DEMO_KEYS: [(&str, &str); 2] = [("demo-ott", "demo-key"), ("other-ott", "other-key")];

/// The sandbox's CSP.
pub const SANDBOX_CSP: &str = "sandbox";

/// The sandbox's products, and what its CSP calls them.
const PRODUCTS: [(&str, &str); 2] = [("ott-basic", "OTT-BASIC"), ("ott-premium", "OTT-PREMIUM")];

/// All sandbox numbers but those of condition 16, which has the quota of everybody else.
const TEST_NUMBERS: &str = "^555[0-9]{5}(0[0-9]|1[0-57-9]|[2-9][0-9])$";

/// The sandbox as a layer of the configuration.
#[must_use]
pub fn layer() -> Dict {
    let products: serde_json::Map<String, serde_json::Value> = PRODUCTS
        .iter()
        .map(|(product, code)| ((*product).to_owned(), json!({ "charge_codes": { SANDBOX_CSP: code } })))
        .collect();
    let partners: serde_json::Map<String, serde_json::Value> = DEMO_KEYS
        .iter()
        .map(|(partner, key)| {
            let digest = KeyDigest::of(key.as_bytes()).to_string();
            // So many that nobody who tries the gateway out meets it, and few enough to be seen in the answers.
            let rate = json!({ "per_second": 1_000_000, "burst": 1_000_000 });
            let table = json!({ "key_sha256": [digest], "csps": [SANDBOX_CSP], "rate": rate, "product": products });
            ((*partner).to_owned(), table)
        })
        .collect();
    let sandbox = json!({
        "csp": { SANDBOX_CSP: {
            "adapter": "sandbox",
            "currency": "MXN",
            "msisdn_pattern": "^[0-9]{10}$",
            "prefixes": [""],
            "takes_email": true,
            // Longer than the 250 ms of condition 13, and short enough for Pending within a second.
            "call_timeout_ms": 600,
            "forget_after_s": 2,
            // Its accounts fail on order: a breaker would let the tests of one partner fail those of another.
            "guard": { "breaker": false, "calls_max": 4_096 },
            "verdicts": { "daily-limit": outcome::DAILY_LIMIT, "insufficient-funds": outcome::INSUFFICIENT_FUNDS },
            "test_numbers": { "pattern": TEST_NUMBERS, "sends_max": 1000 },
        } },
        "partner": partners,
    });
    figment::value::Value::serialize(&sandbox)
        .ok()
        .and_then(figment::value::Value::into_dict)
        .expect("the sandbox is a table of texts, numbers and lists")
}
