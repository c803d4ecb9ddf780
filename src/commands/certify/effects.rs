//! What a call did to the phone and the bill.
//!
//! Invariant: an effect is a difference between two looks, less what other runs have left, so that a number need not
//! be fresh. What cannot be seen is said, never assumed.

use std::time::{Duration, Instant};

use super::answer::NoAnswer;
use super::cases::{Contract, Step};
use super::check::Difference;
use super::mask::Mask;
use super::sandbox::{BillLine, Sandbox, Sms, Unseen, new_lines, new_messages, pin_in};
use super::values::Values;

/// An SMS or a bill line that is due is awaited this long: a CSP may book and text a moment after the answer.
const DUE_WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Stands in a case for an SMS with a PIN.
const ANY_PIN: &str = "{pin}";

/// What a number looked like before a call.
#[derive(Debug, Default)]
pub struct Before {
    inbox: Option<Result<Vec<Sms>, Unseen>>,
    bill: Option<Result<Vec<BillLine>, Unseen>>,
}

/// What was found after it.
#[derive(Debug, Default)]
pub struct Effects {
    /// What is as it must be.
    pub seen: Vec<String>,
    /// What is not.
    pub differences: Vec<Difference>,
    /// What could not be seen, and what that needs.
    pub not_checked: Vec<String>,
    /// More came than was due: perhaps of another run on the same number.
    pub crowded: bool,
    /// A look had no answer, though the sandbox had answered before: the attempt says nothing.
    pub lost: Option<NoAnswer>,
}

impl Effects {
    fn unseen(&mut self, wanted: &str, why: &Unseen) {
        match why {
            Unseen::NoAnswer(error) => self.lost = Some(error.clone()),
            Unseen::NotASandbox(_) => self.not_checked.push(format!("{wanted}, not checked ({})", needs(why))),
        }
    }
}

/// One number in one attempt.
pub struct Onlooker<'a> {
    /// Where to look; none where there is no sandbox.
    pub sandbox: Option<&'a Sandbox>,
    /// The tables.
    pub contract: &'a Contract,
    /// The number.
    pub msisdn: &'a str,
    /// Longest wait for what is due.
    pub due_within: Duration,
}

impl<'a> Onlooker<'a> {
    /// Looks at one number.
    #[must_use]
    pub const fn new(sandbox: Option<&'a Sandbox>, contract: &'a Contract, msisdn: &'a str) -> Self {
        Self { sandbox, contract, msisdn, due_within: DUE_WITHIN }
    }

    /// Looks at what the step will be judged by.
    pub async fn before(&self, step: &Step) -> Before {
        let Some(sandbox) = self.sandbox else { return Before::default() };
        let mut before = Before::default();
        if step.inbox_gains.is_some() || step.takes_pin {
            before.inbox = Some(sandbox.inbox(self.contract, self.msisdn).await);
        }
        if step.bill_gains.is_some() {
            before.bill = Some(sandbox.bill(self.contract, self.msisdn).await);
        }
        before
    }

    /// Looks again and compares.
    pub async fn after(&self, step: &Step, before: &Before, values: &mut Values, mask: &Mask) -> Effects {
        let mut effects = Effects::default();
        if let Some(gains) = &step.bill_gains {
            self.bill(gains, before, values, mask, &mut effects).await;
        }
        if let Some(gains) = &step.inbox_gains {
            self.inbox(gains, before, values, mask, &mut effects).await;
        }
        effects
    }

    /// The PIN of the newest SMS that came since `before`.
    ///
    /// # Errors
    /// What is needed.
    pub async fn new_pin(&self, before: &Before, values: &Values) -> Result<(String, Sms), String> {
        let due = Instant::now();
        loop {
            let new = self.new_messages(before, values).await.map_err(|why| needs(&why))?;
            if let Some(sms) = new.first() {
                let pin = pin_in(&sms.text).map(str::to_owned);
                return pin
                    .map(|pin| (pin, sms.clone()))
                    .ok_or_else(|| "needs a PIN: the SMS has no single run of six digits".to_owned());
            }
            if due.elapsed() >= self.due_within {
                return Err("needs a PIN: no SMS came".to_owned());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn new_messages(&self, before: &Before, values: &Values) -> Result<Vec<Sms>, Unseen> {
        let no_sandbox = || Unseen::NotASandbox("no sandbox".to_owned());
        let old = before.inbox.clone().unwrap_or_else(|| Err(no_sandbox()))?;
        let sandbox = self.sandbox.ok_or_else(no_sandbox)?;
        let inbox = sandbox.inbox(self.contract, self.msisdn).await?;
        Ok(new_messages(&old, &inbox).iter().filter(|sms| !values.is_foreign(&sms.text)).cloned().collect())
    }

    async fn new_lines(&self, before: &Before, values: &Values) -> Result<Vec<BillLine>, Unseen> {
        let no_sandbox = || Unseen::NotASandbox("no sandbox".to_owned());
        let old = before.bill.clone().unwrap_or_else(|| Err(no_sandbox()))?;
        let sandbox = self.sandbox.ok_or_else(no_sandbox)?;
        let bill = sandbox.bill(self.contract, self.msisdn).await?;
        Ok(new_lines(&old, &bill).into_iter().filter(|line| !values.is_foreign(&line.description)).collect())
    }

    async fn bill(&self, gains: &[String], before: &Before, values: &mut Values, mask: &Mask, effects: &mut Effects) {
        let currency = values.get("currency").unwrap_or_default().to_owned();
        let wanted: Vec<String> =
            gains.iter().map(|gain| money(&values.fill_text(gain).unwrap_or_default(), &currency)).collect();
        let wanted_text = lines_text(&wanted);
        if self.sandbox.is_none() {
            return effects
                .not_checked
                .push(format!("bill: {wanted_text}, not checked (needs a look at the CSP's bill)"));
        }
        let due = Instant::now();
        let found = loop {
            match self.new_lines(before, values).await {
                Err(why) => return effects.unseen(&format!("bill: {wanted_text}"), &why),
                Ok(lines) if lines.len() < wanted.len() && due.elapsed() < self.due_within => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Ok(lines) => break lines,
            }
        };
        let found: Vec<String> = found.iter().map(|line| money(&line.amount, &line.currency)).collect();
        if found == wanted {
            effects.seen.push(format!("bill: {wanted_text}"));
        } else {
            effects.differences.push(Difference::new("bill", wanted_text, mask.text(&lines_text(&found))));
        }
    }

    async fn inbox(&self, gains: &[String], before: &Before, values: &mut Values, mask: &Mask, effects: &mut Effects) {
        let wanted: Vec<String> = gains
            .iter()
            .map(|gain| if gain == ANY_PIN { gain.clone() } else { values.fill_text(gain).unwrap_or_default() })
            .collect();
        let wanted_text = messages_text(&wanted);
        if self.sandbox.is_none() {
            return effects.not_checked.push(format!("inbox: {wanted_text}, not checked (needs a look at the phone)"));
        }
        let due = Instant::now();
        let found = loop {
            match self.new_messages(before, values).await {
                Err(why) => return effects.unseen(&format!("inbox: {wanted_text}"), &why),
                Ok(messages) if messages.len() < wanted.len() && due.elapsed() < self.due_within => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Ok(messages) => break messages,
            }
        };
        let fits = |(gain, sms): (&String, &Sms)| {
            if gain == ANY_PIN { pin_in(&sms.text).is_some() } else { sms.text.contains(gain) }
        };
        effects.crowded = found.len() > wanted.len();
        if found.len() == wanted.len() && wanted.iter().zip(&found).all(fits) {
            effects.seen.push(format!("inbox: {wanted_text}"));
        } else {
            let found: Vec<String> = found.into_iter().map(|sms| sms.text).collect();
            effects.differences.push(Difference::new("inbox", wanted_text, mask.text(&messages_text(&found))));
        }
    }
}

/// `unchanged`, or `a line of 9.99 MXN and a line of -9.99 MXN`.
fn lines_text(gains: &[String]) -> String {
    joined(gains, |gain| format!("a line of {gain}"))
}

/// `unchanged`, or `an SMS with a PIN`.
fn messages_text(gains: &[String]) -> String {
    joined(gains, |gain| if gain == ANY_PIN { "an SMS with a PIN".to_owned() } else { format!("an SMS, \"{gain}\"") })
}

fn joined(gains: &[String], text: impl Fn(&String) -> String) -> String {
    if gains.is_empty() {
        return "unchanged".to_owned();
    }
    gains.iter().map(text).collect::<Vec<_>>().join(" and ")
}

/// An amount as it is compared: the shortest way to write it, and its currency.
fn money(amount: &str, currency: &str) -> String {
    let shortest = match amount.split_once('.') {
        Some((whole, decimals)) => match decimals.trim_end_matches('0') {
            "" => whole.to_owned(),
            decimals => format!("{whole}.{decimals}"),
        },
        None => amount.to_owned(),
    };
    format!("{shortest} {currency}")
}

fn needs(why: &Unseen) -> String {
    match why {
        Unseen::NoAnswer(why) => format!("needs an answer from the sandbox: {why}"),
        Unseen::NotASandbox(why) => format!("needs a sandbox: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_compared_by_value() {
        assert_eq!(money("9.90", "MXN"), money("9.9", "MXN"));
        assert_eq!(money("-10.0", "MXN"), money("-10", "MXN"));
        assert_ne!(money("10", "MXN"), money("100", "MXN"));
        assert_ne!(money("9.99", "MXN"), money("9.99", "USD"));
    }
}
