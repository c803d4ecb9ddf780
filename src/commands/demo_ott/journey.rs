//! The journey: purchases that show all 28 use cases.
//!
//! Invariant: without a flaw every refusal ends the purchase that it belongs to, and whatever is sent again is sent as
//! it was.

use std::time::Duration;

use super::flaw::Flaw;
use super::shop::Shop;

/// Longer than a PIN lives.
const PIN_EXPIRED_S: u32 = 360;

/// Makes all purchases, one after the other.
///
/// # Errors
/// An answer that did not come, or is not the one that the journey is about.
pub async fn travel(shop: &mut Shop, pause: Duration) -> Result<(), String> {
    refused_accounts(shop, pause).await?;
    purchase(shop).await?;
    tokio::time::sleep(pause).await;
    unknown_number(shop).await?;
    wrong_pins(shop).await?;
    tokio::time::sleep(pause).await;
    in_doubt(shop).await?;
    refused_charges(shop).await?;
    tokio::time::sleep(pause).await;
    refused_refunds(shop).await?;
    tokio::time::sleep(pause).await;
    shop.status("demo-never-made").await?;
    let number = shop.number("01");
    shop.notify("MSISDN", &number, None).await?;
    shop.notify("SMS", &number, Some("Hello")).await?;
    Ok(())
}

/// Cases 2 to 7: the account is not fit, and the purchase ends.
async fn refused_accounts(shop: &mut Shop, pause: Duration) -> Result<(), String> {
    for (condition, flaw) in [
        ("02", Flaw::IgnoresCeased),
        ("03", Flaw::IgnoresSuspension),
        ("04", Flaw::IgnoresSuspension),
        ("05", Flaw::IgnoresEligibility),
        ("99", Flaw::IgnoresNotFound),
        ("abc", Flaw::IgnoresMalformedAddress),
    ] {
        let number = if condition == "abc" { condition.to_owned() } else { shop.number(condition) };
        let fit = shop.validate(&number).await?;
        if fit.is_ok() {
            return Err(format!("an account of condition {condition} is taken"));
        }
        if shop.has(flaw) {
            shop.send_pin(&number).await?;
        }
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

/// A customer whose account is fit, up to the phone that shows a PIN.
async fn up_to_pin(shop: &mut Shop) -> Result<(String, String), String> {
    let number = shop.number("01");
    taken("validate", &shop.validate(&number).await?.code)?;
    taken("pin", &shop.send_pin(&number).await?.code)?;
    let pin = shop.read_pin(&number).await?;
    Ok((number, pin))
}

/// Cases 1, 8, 10, 14, 15, 19, 20, 24 and 26: a purchase, its repeat, and its refund.
async fn purchase(shop: &mut Shop) -> Result<(), String> {
    let (number, pin) = up_to_pin(shop).await?;
    taken("pin/validation", &shop.enter_pin(&number, &pin).await?.code)?;
    let charge = shop.order(&number);
    taken("charge", &shop.post(&charge).await?.code)?;
    taken("status", &shop.status(&charge.id).await?.code)?;
    taken("notification", &shop.notify("MSISDN", &number, Some("Enjoy your films")).await?.code)?;

    // As if the answer had been lost on its way.
    let mut again = charge.clone();
    if shop.has(Flaw::NewIdOnRetry) {
        again = shop.order(&number);
    } else if shop.has(Flaw::ChangesRetry) {
        "19.99".clone_into(&mut again.amount);
    }
    shop.post(&again).await?;

    let mut refund = charge.clone();
    refund.amount = format!("-{}", charge.amount);
    taken("refund", &shop.post(&refund).await?.code)?;
    if shop.has(Flaw::RefundsTwice) {
        let mut twice = shop.order(&number);
        twice.amount.clone_from(&refund.amount);
        twice.reference = Some(charge.id);
        shop.post(&twice).await?;
    } else {
        shop.post(&refund).await?;
    }
    Ok(())
}

/// Case 9: no PIN can be sent.
async fn unknown_number(shop: &mut Shop) -> Result<(), String> {
    let number = shop.number("98");
    shop.send_pin(&number).await?;
    if shop.has(Flaw::GuessesPinOfUnknown) {
        shop.enter_pin(&number, "123456").await?;
    }
    Ok(())
}

/// Cases 11 to 13: wrong, too late, and right at the second try.
async fn wrong_pins(shop: &mut Shop) -> Result<(), String> {
    let (number, pin) = up_to_pin(shop).await?;
    shop.enter_pin(&number, &another(&pin)).await?;
    charge_all_the_same(shop, &number).await?;

    let (number, pin) = up_to_pin(shop).await?;
    shop.wait(PIN_EXPIRED_S).await?;
    shop.enter_pin(&number, &pin).await?;
    charge_all_the_same(shop, &number).await?;

    let (number, pin) = up_to_pin(shop).await?;
    shop.enter_pin(&number, &another(&pin)).await?;
    taken("pin/validation", &shop.enter_pin(&number, &pin).await?.code)?;
    let charge = shop.order(&number);
    taken("charge", &shop.post(&charge).await?.code)
}

async fn charge_all_the_same(shop: &mut Shop, number: &str) -> Result<(), String> {
    if shop.has(Flaw::ChargesAfterInvalidPin) {
        let charge = shop.order(number);
        shop.post(&charge).await?;
    }
    Ok(())
}

/// A charge that cannot be made now is sent again as it was.
async fn in_doubt(shop: &mut Shop) -> Result<(), String> {
    let number = shop.number("15");
    let charge = shop.order(&number);
    shop.post(&charge).await?;
    let again = if shop.has(Flaw::NewIdOnRetry) { shop.order(&number) } else { charge };
    shop.post(&again).await?;
    Ok(())
}

/// A customer whose account is fit and whose PIN was right.
async fn proven(shop: &mut Shop) -> Result<String, String> {
    let (number, pin) = up_to_pin(shop).await?;
    taken("pin/validation", &shop.enter_pin(&number, &pin).await?.code)?;
    Ok(number)
}

/// Cases 16 to 18: the purchase fails, and that is that.
async fn refused_charges(shop: &mut Shop) -> Result<(), String> {
    for (case, flaw) in [(16, Flaw::ChargesNumberInstead), (17, Flaw::GuessesCurrency), (18, Flaw::SwapsProduct)] {
        let number = proven(shop).await?;
        let right = shop.order(&number);
        let mut wrong = right.clone();
        match case {
            16 => wrong.account_id = Some("acc_unknown".to_owned()),
            17 => "mxn".clone_into(&mut wrong.currency),
            _ => "ott-unheard-of".clone_into(&mut wrong.product),
        }
        shop.post(&wrong).await?;
        if shop.has(flaw) {
            shop.post(&right).await?;
        }
        if shop.has(Flaw::PostsRefusedAnew) {
            let anew = shop.order(&number);
            shop.post(&anew).await?;
        }
    }
    Ok(())
}

/// Cases 21 to 23: refunds that fail.
async fn refused_refunds(shop: &mut Shop) -> Result<(), String> {
    for case in 21_u8..=23 {
        let number = shop.number("01");
        let charge = shop.order(&number);
        taken("charge", &shop.post(&charge).await?.code)?;
        let mut refund = shop.order(&number);
        refund.amount = format!("-{}", charge.amount);
        match case {
            21 => {}
            22 => refund.id.clear(),
            _ => {
                refund.amount.clone_from(&charge.amount);
                refund.reference = Some(charge.id);
            }
        }
        shop.post(&refund).await?;
        if shop.has(Flaw::ChargesAfterFailedRefund) {
            let another = shop.order(&number);
            shop.post(&another).await?;
        }
    }
    Ok(())
}

/// Another PIN than this one.
fn another(pin: &str) -> String {
    if pin == "123456" { "654321".to_owned() } else { "123456".to_owned() }
}

fn taken(what: &str, code: &str) -> Result<(), String> {
    if code.is_empty() { Ok(()) } else { Err(format!("{what}: {code}")) }
}
