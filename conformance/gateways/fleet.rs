//! Gateways on one Redis and one PostgreSQL, with one operator in a process of its own.
//!
//! Invariant: nothing but the stores and the operator connects them; each has a data directory of its own, with nothing
//! in it that another would need.

use std::sync::{Arc, Mutex, Weak};

use onbill::domain::api_key::KeyDigest;
use serde_json::{Value, json};

use super::stores::{HASTY_MS, PATIENT_MS, Stores};
use crate::gateway::client::{Answer, Partner, answered};
use crate::gateway::process::{Running, Setup, id};
use crate::operator::{KEY, Operator, all_lines};

/// The partner's key.
pub const PARTNER_KEY: &str = "a-partner-of-many-gateways";

/// Settings of hasty ones.
const HASTY: &str = "
[server]
deadline_default_ms = 2500
deadline_max_ms = 2900
[charge]
lease_s = 6
[reconcile]
poll_ms = 50
";

/// What all of them are told, besides where the stores are.
fn partner_and_operator(operator: &Operator, call_timeout_ms: u32) -> String {
    let (digest, url) = (KeyDigest::of(PARTNER_KEY.as_bytes()), operator.authority());
    format!(
        r#"
[csp.operator]
adapter = "http"
url = "http://{url}"
api_key = "{KEY}"
currency = "MXN"
msisdn_pattern = "^[0-9]{{10}}$"
call_timeout_ms = {call_timeout_ms}
forget_after_s = 2
[csp.operator.guard]
breaker = false
[partner.ott]
key_sha256 = ["{digest}"]
csps = ["operator"]
[partner.ott.product.ott-basic.charge_codes]
operator = "BASIC"
"#
    )
}

/// Gateways that run.
pub struct Fleet {
    pub gateways: Vec<Running>,
    pub operator: Operator,
    pub stores: Stores,
    pub config: String,
}

impl Fleet {
    /// So many of them, with these settings beside what they need. They wait as long as busy test machines need.
    pub fn start(count: usize, stores: Stores, settings: &str) -> Self {
        let settings = format!("{settings}{}", stores.settings(PATIENT_MS));
        Self::over(count, stores, &settings, PATIENT_MS)
    }

    /// So many of them, with deadlines and leases short enough to see both ends of them.
    pub fn hasty(count: usize, stores: Stores) -> Self {
        let settings = stores.settings(HASTY_MS);
        Self::hasty_over(count, stores, &settings)
    }

    /// The same, with these settings of the stores.
    pub fn hasty_over(count: usize, stores: Stores, settings: &str) -> Self {
        Self::over(count, stores, &format!("{HASTY}{settings}"), 600)
    }

    /// So many of them, with settings that say where their stores are.
    pub fn over(count: usize, stores: Stores, settings: &str, call_ms: u32) -> Self {
        let operator = Operator::start(&[]);
        let config = format!("{settings}{}", partner_and_operator(&operator, call_ms));
        let gateways = (0..count).map(|_| Setup::default().config(&config).start()).collect();
        Self { gateways, operator, stores, config }
    }

    /// One more, with a variable of its own.
    pub fn another(&self, name: &str, value: &str) -> Running {
        Setup::default().config(&self.config).environment(name, value).start()
    }

    /// The partner, at each of them.
    pub fn partners(&self) -> Vec<Partner> {
        self.gateways.iter().map(|gateway| Partner::with_key(gateway, PARTNER_KEY)).collect()
    }

    /// Whoever runs them, at each of them.
    pub fn admins(&self) -> Vec<Partner> {
        self.gateways.iter().map(|gateway| Partner::at(gateway.admin(), "")).collect()
    }

    /// The newest PIN that a number was sent.
    pub async fn pin(&self, number: &str) -> String {
        let inbox = self.operator.client().get(&format!("/messages?address={number}")).await.json();
        let text = inbox["messages"][0]["text"].as_str().expect("a message").to_owned();
        text.split(|c: char| !c.is_ascii_digit()).find(|run| run.len() == 6).expect("six digits").to_owned()
    }

    /// The amounts that a number was billed.
    pub async fn billed(&self, number: &str) -> Vec<String> {
        let lines = all_lines(&self.operator.client()).await;
        lines.into_iter().filter(|line| line.address == number).map(|line| line.amount).collect()
    }
}

/// Three gateways for all tests that do not disturb them. They run as long as a test holds them.
pub fn shared() -> Arc<Fleet> {
    static SHARED: Mutex<Weak<Fleet>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().expect("no test has panicked in here");
    shared.upgrade().unwrap_or_else(|| {
        let fleet = Arc::new(Fleet::start(3, Stores::beside_others(), ""));
        *shared = Arc::downgrade(&fleet);
        fleet
    })
}

/// Sends a PIN.
pub async fn send_pin(partner: &Partner, number: &str) -> Answer {
    partner.post("/pin", &json!({ "type": "MSISDN", "address": number })).await
}

/// Validates one.
pub async fn validate_pin(partner: &Partner, number: &str, pin: &str) -> Answer {
    partner.post("/pin/validation", &json!({ "type": "MSISDN", "address": number, "pin": pin })).await
}

/// Charges twice under one id, at two gateways: once new, once not.
pub async fn charge_at_two(first: &Partner, second: &Partner, number: &str) {
    let id = id("two");
    for (partner, replayed) in [(first, ""), (second, "true")] {
        let answer = partner.charge(number, &id, json!({})).await;
        assert_eq!(answer.brief(), (200, answered(&id, "Success", "Charge success").as_str()));
        assert_eq!(answer.header("idempotency-replayed"), replayed);
    }
}

/// The status that an answer names.
pub fn status(answer: &Answer) -> String {
    let body: Value = answer.json();
    body["status"].as_str().unwrap_or_default().to_owned()
}
