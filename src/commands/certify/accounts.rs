//! Which number is in which condition: from a file, or fresh ones of the sandbox's own scheme.
//!
//! Invariant: a number is lent to one attempt at a time, since bills, inboxes and PINs belong to the number. What an
//! attempt does with it is not decided here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use figment::Figment;
use figment::providers::{Format, Toml};
use serde::Deserialize;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::cases::Contract;
use super::random;

/// A file for `--accounts`, to begin with.
pub const EXAMPLE: &str = r#"# Which number is in which condition, for `onbill certify --accounts FILE`.
# One number, or a list: cases that need the same condition wait for one another, so a list is faster. A gateway may
# refuse a fourth PIN for one number within ten minutes: give four active numbers or more to certify both faces at once.
active-postpaid = ["5512340001", "5512340002", "5512340003", "5512340004"]
ceased = "5512340011"                 # the contract with the CSP has ended
suspended-non-payment = "5512340012"
suspended-lost-stolen = "5512340013"
not-eligible = "5512340014"           # active, but the CSP's own rule refuses it
over-daily-limit = "5512340015"       # active, with a daily limit below amount_over_limit
unknown = "5512340099"                # well formed, but no number of the CSP's

# What the cases charge, and for what. Charges of `amount` are made to the active numbers, and most are not given back.
[target]
product = "ott-basic"
currency = "MXN"
amount = "9.99"                       # written as answers print it: one decimal at least, no other trailing zero
amount_over_limit = "1500.0"
address_pattern = "^[0-9]{10}$"       # the CSP's format of numbers, as case 7 quotes it
"#;

/// What a run must know of the gateway's catalogue. The defaults are the sandbox's.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TargetFacts {
    /// A product that the partner may sell.
    pub product: String,
    /// The CSP's currency, ISO 4217.
    pub currency: String,
    /// What is charged, in major units, printed as answers print it.
    pub amount: String,
    /// More than the daily limit of an account of the condition `over-daily-limit`.
    pub amount_over_limit: String,
    /// Regular expression of the CSP's numbers, as the gateway quotes it.
    pub address_pattern: String,
}

impl Default for TargetFacts {
    fn default() -> Self {
        Self {
            product: "ott-basic".to_owned(),
            currency: "MXN".to_owned(),
            amount: "9.99".to_owned(),
            amount_over_limit: "1500.0".to_owned(),
            address_pattern: "^[0-9]{10}$".to_owned(),
        }
    }
}

#[derive(Deserialize)]
struct AccountsFile {
    #[serde(default)]
    target: TargetFacts,
    #[serde(flatten)]
    numbers: BTreeMap<String, serde_json::Value>,
}

/// Numbers by condition.
#[derive(Debug, Default)]
pub struct Accounts {
    listed: BTreeMap<String, Vec<Number>>,
    turn: AtomicUsize,
    /// What a run must know of the target.
    pub facts: TargetFacts,
}

/// A number that is lent out at most once at a time.
#[derive(Clone)]
struct Number {
    msisdn: String,
    lock: Arc<Mutex<()>>,
}

impl std::fmt::Debug for Number {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Number(masked)")
    }
}

/// A number on loan; it goes back when this is dropped.
pub struct Loan {
    /// The number.
    pub msisdn: String,
    _guard: Option<OwnedMutexGuard<()>>,
}

impl Accounts {
    /// Reads the file of `--accounts`.
    ///
    /// # Errors
    /// One line that says what is wrong with it.
    pub fn read(path: &Path, contract: &Contract) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text, contract).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn parse(text: &str, contract: &Contract) -> Result<Self, String> {
        let file: AccountsFile =
            Figment::from(Toml::string(text)).extract().map_err(|error| error.to_string().replace('\n', " "))?;
        let mut locks: BTreeMap<String, Arc<Mutex<()>>> = BTreeMap::new();
        let mut listed = BTreeMap::new();
        for (condition, numbers) in file.numbers {
            if !contract.condition.contains_key(&condition) {
                let known: Vec<&str> = contract.condition.keys().map(String::as_str).collect();
                return Err(format!("`{condition}` is no condition: they are {}", known.join(", ")));
            }
            let numbers = numbers_of(&numbers)
                .ok_or_else(|| format!("`{condition}`: write a number in quotes, or a list of them"))?;
            let numbers = numbers.into_iter().map(|msisdn| {
                let lock = Arc::clone(locks.entry(msisdn.clone()).or_default());
                Number { msisdn, lock }
            });
            listed.insert(condition, numbers.collect());
        }
        check_facts(&file.target)?;
        Ok(Self { listed, turn: AtomicUsize::new(0), facts: file.target })
    }

    /// Whether any number is listed.
    #[must_use]
    pub fn any_listed(&self) -> bool {
        !self.listed.is_empty()
    }

    /// A number in this condition: a listed one as soon as it is free, else, in a sandbox, a fresh one.
    pub async fn lend(&self, condition: &str, contract: &Contract, sandbox: bool) -> Option<Loan> {
        if let Some(numbers) = self.listed.get(condition).filter(|numbers| !numbers.is_empty()) {
            let first = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(numbers.len()).unwrap_or(0);
            let in_turn = || numbers.iter().cycle().skip(first).take(numbers.len());
            for number in in_turn() {
                if let Ok(guard) = Arc::clone(&number.lock).try_lock_owned() {
                    return Some(Loan { msisdn: number.msisdn.clone(), _guard: Some(guard) });
                }
            }
            let number = in_turn().next()?;
            let guard = Arc::clone(&number.lock).lock_owned().await;
            return Some(Loan { msisdn: number.msisdn.clone(), _guard: Some(guard) });
        }
        let suffix = &contract.condition.get(condition)?.sandbox_suffix;
        sandbox.then(|| Loan { msisdn: format!("555{}{suffix}", random::digits(5)), _guard: None })
    }
}

/// One number in quotes, or a list of them that is not empty.
fn numbers_of(value: &serde_json::Value) -> Option<Vec<String>> {
    let text = |value: &serde_json::Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    match value {
        serde_json::Value::Array(items) if !items.is_empty() => items.iter().map(text).collect(),
        one => text(one).map(|number| vec![number]),
    }
}

/// Answers repeat amounts in one way of writing them; a file that writes another would fail sound gateways.
fn check_facts(facts: &TargetFacts) -> Result<(), String> {
    for (name, amount) in [("amount", &facts.amount), ("amount_over_limit", &facts.amount_over_limit)] {
        let well_formed = amount.split_once('.').is_some_and(|(whole, decimals)| {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let shortest = decimals.len() == 1 || !decimals.ends_with('0');
            digits(whole) && digits(decimals) && shortest && (whole == "0" || !whole.starts_with('0'))
        });
        if !well_formed {
            return Err(format!("target.{name}: write it as answers do, for example \"9.99\" or \"1500.0\""));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::super::cases;
    use super::*;

    fn contract() -> Contract {
        cases::load().expect("cases").1
    }

    #[test]
    fn the_example_is_a_file_that_names_every_condition() {
        let contract = contract();
        let accounts = Accounts::parse(EXAMPLE, &contract).expect("well formed");
        let named: Vec<&String> = accounts.listed.keys().collect();
        assert_eq!(named, contract.condition.keys().collect::<Vec<_>>());
    }

    #[test]
    fn unknown_conditions_settings_and_amounts_are_refused_by_name() {
        for (text, part) in [
            ("actve = \"1\"", "`actve` is no condition"),
            ("ceased = 5", "`ceased`: write a number in quotes"),
            ("ceased = []", "`ceased`: write a number in quotes"),
            ("[target]\nprodukt = \"x\"", "produkt"),
            ("[target]\namount = \"9.990\"", "target.amount"),
            ("[target]\namount_over_limit = \"1500\"", "target.amount_over_limit"),
        ] {
            let error = Accounts::parse(text, &contract()).expect_err(text);
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
    }

    #[tokio::test]
    async fn a_listed_number_is_lent_once_at_a_time() {
        let contract = contract();
        let accounts = Accounts::parse("ceased = [\"1\", \"2\"]", &contract).expect("well formed");
        let one = accounts.lend("ceased", &contract, false).await.expect("a number");
        let two = accounts.lend("ceased", &contract, false).await.expect("a number");
        assert_ne!(one.msisdn, two.msisdn);
        let mut third = Box::pin(accounts.lend("ceased", &contract, false));
        assert!(third.as_mut().now_or_never().is_none());
        drop(one);
        drop(two);
        assert!(third.await.is_some());
        assert!(accounts.lend("unknown", &contract, false).await.is_none());
    }

    #[tokio::test]
    async fn a_sandbox_number_ends_in_its_condition() {
        let contract = contract();
        let loan = Accounts::default().lend("ceased", &contract, true).await.expect("a number");
        assert!(loan.msisdn.len() == 10 && loan.msisdn.starts_with("555") && loan.msisdn.ends_with("02"));
    }
}
