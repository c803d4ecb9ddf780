//! The sandbox as seen from outside: inbox, bill and clock.
//!
//! Invariant: looking changes nothing, and what other runs leave on a number is not counted as ours. What an inbox or
//! a bill should hold is not known here.

use std::time::Duration;

use super::answer::{Answer, NoAnswer};
use super::cases::Contract;
use super::document::Document;
use super::faces::Client;

/// A look is repeated this often where the connection breaks: it is safe to.
const LOOKS_MAX: u32 = 5;
/// Between two looks.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// The inbox shows no more than this many messages, newest first.
const INBOX_MAX: usize = 100;

/// One text message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sms {
    /// Its text.
    pub text: String,
    /// When it was sent, by the gateway's clock.
    pub sent_at: String,
}

/// One line of a bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillLine {
    /// The gateway's reference.
    pub reference: String,
    /// Signed, in major units.
    pub amount: String,
    /// ISO 4217.
    pub currency: String,
    /// Text of the line.
    pub description: String,
}

/// Why something could not be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unseen {
    /// No answer came.
    NoAnswer(NoAnswer),
    /// An answer came that is no view of a sandbox.
    NotASandbox(String),
}

/// A sandbox behind one face.
#[derive(Clone)]
pub struct Sandbox {
    client: Client,
}

impl Sandbox {
    /// The sandbox behind this client, if there is one: it must show the inbox of `msisdn`.
    pub async fn find(client: &Client, contract: &Contract, msisdn: &str) -> Option<Self> {
        let sandbox = Self { client: client.clone() };
        sandbox.inbox(contract, msisdn).await.is_ok().then_some(sandbox)
    }

    /// The newest messages of a number, newest first. A number that the sandbox does not know has none.
    ///
    /// # Errors
    /// Why it cannot be seen.
    pub async fn inbox(&self, contract: &Contract, msisdn: &str) -> Result<Vec<Sms>, Unseen> {
        let Some(document) = self.look(contract, "ListMessages", msisdn).await? else { return Ok(Vec::new()) };
        let messages = document.get("messages").ok_or_else(|| not_a_sandbox(&document))?;
        Ok(messages.items().iter().map(|sms| Sms { text: text(sms, "text"), sent_at: text(sms, "sentAt") }).collect())
    }

    /// The bill of a number, oldest line first.
    ///
    /// # Errors
    /// Why it cannot be seen.
    pub async fn bill(&self, contract: &Contract, msisdn: &str) -> Result<Vec<BillLine>, Unseen> {
        let Some(document) = self.look(contract, "GetBill", msisdn).await? else { return Ok(Vec::new()) };
        let lines = document.get("lines").ok_or_else(|| not_a_sandbox(&document))?;
        let line = |line: &Document| BillLine {
            reference: text(line, "reference"),
            amount: text(line, "amount"),
            currency: text(line, "currency"),
            description: text(line, "description"),
        };
        Ok(lines.items().iter().map(line).collect())
    }

    /// Moves the clock, for everybody. `false` where the sandbox will not: it has been moved far enough in all.
    ///
    /// # Errors
    /// Why there is no answer; the clock may have moved all the same.
    pub async fn advance(&self, contract: &Contract, by: Duration) -> Result<bool, NoAnswer> {
        let Some(rpc) = contract.rpc.get("AdvanceClock") else { return Ok(false) };
        let request = Document::object([("seconds", Document::Number(by.as_secs().into()))]);
        self.client.call(rpc, &request, "certify").await.map(|answer| succeeded(&answer))
    }

    async fn look(&self, contract: &Contract, rpc: &str, msisdn: &str) -> Result<Option<Document>, Unseen> {
        let rpc = contract.rpc.get(rpc).ok_or_else(|| Unseen::NotASandbox(format!("no RPC {rpc}")))?;
        let request = Document::object([("address", msisdn.into())]);
        let mut looks = 0_u32;
        let answer = loop {
            looks = looks.saturating_add(1);
            match self.client.call(rpc, &request, "certify").await {
                Ok(answer) => break answer,
                Err(error) if looks >= LOOKS_MAX => return Err(Unseen::NoAnswer(error)),
                Err(_) => tokio::time::sleep(LOOK_AGAIN_AFTER).await,
            }
        };
        match answer.body.document() {
            Some(document) if succeeded(&answer) => Ok(Some(document.clone())),
            Some(document) if is_unknown_account(document) => Ok(None),
            _ => Err(Unseen::NotASandbox(format!("{} in answer to {}", answer.status, self.client.call_name(rpc)))),
        }
    }
}

/// The messages that came after `before` was looked at, newest first.
#[must_use]
pub fn new_messages<'a>(before: &[Sms], after: &'a [Sms]) -> &'a [Sms] {
    for gained in 0..=after.len() {
        let (new, old) = after.split_at(gained);
        // A full inbox drops its oldest message for each new one.
        let kept = if after.len() >= INBOX_MAX { before.get(..old.len()) } else { Some(before) };
        if kept == Some(old) {
            return new;
        }
    }
    after
}

/// The lines that came after `before` was looked at, oldest first.
#[must_use]
pub fn new_lines(before: &[BillLine], after: &[BillLine]) -> Vec<BillLine> {
    let mut old: Vec<&BillLine> = before.iter().collect();
    let mut new = Vec::new();
    for line in after {
        match old.iter().position(|candidate| *candidate == line) {
            Some(position) => {
                old.swap_remove(position);
            }
            None => new.push(line.clone()),
        }
    }
    new
}

/// The only run of exactly six digits in a text: its PIN.
#[must_use]
pub fn pin_in(text: &str) -> Option<&str> {
    let mut runs = text.split(|character: char| !character.is_ascii_digit()).filter(|run| run.len() == 6);
    runs.next().filter(|_| runs.next().is_none())
}

fn succeeded(answer: &Answer) -> bool {
    answer.status == "OK" || answer.status == "200"
}

fn is_unknown_account(document: &Document) -> bool {
    let code = document.get("code").or_else(|| document.get("errorInfo")?.get("metadata")?.get("code"));
    code.and_then(Document::text) == Some("account-not-found")
}

fn not_a_sandbox(document: &Document) -> Unseen {
    Unseen::NotASandbox(document.compact().chars().take(200).collect())
}

fn text(document: &Document, key: &str) -> String {
    document.get(key).and_then(Document::text).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox(texts: &[&str]) -> Vec<Sms> {
        texts.iter().map(|text| Sms { text: (*text).to_owned(), sent_at: String::new() }).collect()
    }

    #[test]
    fn new_messages_are_those_on_top_even_where_texts_repeat_or_the_inbox_is_full() {
        for (before, after, new) in [
            (vec![], vec![], 0),
            (vec![], vec!["a"], 1),
            (vec!["a"], vec!["a"], 0),
            (vec!["a"], vec!["a", "a"], 1),
            (vec!["b", "a"], vec!["d", "c", "b", "a"], 2),
            (vec!["x"; 100], [vec!["a", "b"], vec!["x"; 98]].concat(), 2),
        ] {
            assert_eq!(new_messages(&inbox(&before), &inbox(&after)).len(), new, "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_line_that_stands_twice_is_new_once() {
        let line = |description: &str| BillLine {
            reference: "r".to_owned(),
            amount: "9.99".to_owned(),
            currency: "MXN".to_owned(),
            description: description.to_owned(),
        };
        assert_eq!(new_lines(&[line("a")], &[line("a"), line("a"), line("b")]), [line("a"), line("b")]);
    }

    #[test]
    fn a_pin_is_the_only_run_of_six_digits() {
        for (text, pin) in [
            ("Your PIN is 012345.", Some("012345")),
            ("PIN 012345, call 5550100001", Some("012345")),
            ("012345 or 543210", None),
            ("PIN 12345", None),
            ("", None),
        ] {
            assert_eq!(pin_in(text), pin, "{text}");
        }
    }
}
