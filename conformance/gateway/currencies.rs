//! CSPs of other currencies beside the sandbox's own, by configuration alone.

use serde_json::json;

use super::client::{Partner, invalid};
use super::process::{Setup, id};

const CONFIG: &str = r#"
[sandbox]
enabled = true

[csp.tokyo]
adapter = "sandbox"
currency = "JPY"
msisdn_pattern = "^[0-9]{10}$"
prefixes = ["5551"]
forget_after_s = 2
sms = { sender = "tokyo", language = "en", pin_text = "PIN {pin}" }

[csp.kuwait]
adapter = "sandbox"
currency = "KWD"
msisdn_pattern = "^[0-9]{10}$"
prefixes = ["5552"]
forget_after_s = 2
sms = { sender = "kuwait", language = "en", pin_text = "PIN {pin}" }

[partner.demo-ott]
csps = ["sandbox", "tokyo", "kuwait"]

[partner.demo-ott.product.ott-basic.charge_codes]
sandbox = "OTT-BASIC"
tokyo = "T-BASIC"
kuwait = "K-BASIC"
"#;

#[tokio::test]
async fn decimals_and_currency_are_the_csps_that_the_number_routes_to() {
    let gateway = Setup::default().config(CONFIG).start();
    let demo = Partner::demo(&gateway);
    let (mexico, tokyo, kuwait) = ("5550000001", "5551000001", "5552000001");
    for (number, currency, amount, violation) in [
        (tokyo, "JPY", "1.5", Some(("violation-on-amount", "must have at most 0 decimals"))),
        (tokyo, "JPY", "1.0", None),
        (kuwait, "KWD", "1.234", None),
        (kuwait, "KWD", "1.2345", Some(("violation-on-amount", "must have at most 3 decimals"))),
        (mexico, "MXN", "1.234", Some(("violation-on-amount", "must have at most 2 decimals"))),
        (tokyo, "MXN", "1.5", Some(("violation-on-currency", "must be JPY"))),
        (mexico, "JPY", "1", Some(("violation-on-currency", "must be MXN"))),
    ] {
        let answer = demo.charge(number, &id("c"), json!({ "currency": currency, "amount": amount })).await;
        match violation {
            Some(violation) => {
                assert_eq!(answer.brief(), (400, invalid(&[violation]).as_str()), "{number} {currency} {amount}");
            }
            None => assert_eq!(answer.json()["status"], "Success", "{number} {currency} {amount}"),
        }
    }
    assert_eq!(demo.bill(kuwait).await.1, "1.234");
    assert_eq!(demo.bill(tokyo).await.1, "1.0");
    let without_code = json!({ "currency": "JPY", "amount": "1", "partnerProduct": "ott-premium" });
    let answer = demo.charge(tokyo, &id("c"), without_code).await;
    assert_eq!(answer.json()["code"], "invalid-partner-product", "this CSP has no charge code for it");
}
