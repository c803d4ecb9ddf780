//! What was asked under each key, and everything that was ever heard of it.
//!
//! Invariant: nothing that a client heard is left out, in the order in which it was heard.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use onbill::faces::pb::v1 as pb;
use serde_json::{Value, json};

/// One request, the same at every repeat.
#[derive(Debug, Clone)]
pub struct Ask {
    pub kind: &'static str,
    pub id: String,
    /// Of a refund: the charge that it gives back.
    pub charge: Option<String>,
    pub number: String,
    /// Positive.
    pub minor: u64,
}

impl Ask {
    /// The key within its partner, which also stands on the bill.
    pub fn key(&self) -> String {
        format!("{} {}", self.kind, self.id)
    }

    /// As amounts are printed, with the sign of its kind.
    pub fn amount(&self) -> String {
        let sign = if self.charge.is_some() { "-" } else { "" };
        let cents = format!("{:02}", self.minor % 100);
        let cents = cents.strip_suffix('0').unwrap_or(&cents);
        format!("{sign}{}.{cents}", self.minor / 100)
    }

    /// The request over gRPC.
    pub fn message(&self) -> pb::CreateTransactionRequest {
        pb::CreateTransactionRequest {
            ext_transaction_id: self.id.clone(),
            r#type: "MSISDN".to_owned(),
            address: self.number.clone(),
            partner_product: "film".to_owned(),
            amount: self.amount(),
            currency: "MXN".to_owned(),
            description: self.key(),
            reference_id: self.charge.as_ref().filter(|charge| **charge != self.id).cloned(),
            ..Default::default()
        }
    }

    /// The request over JSON.
    pub fn body(&self) -> Value {
        let mut body = json!({
            "extTransactionId": self.id,
            "type": "MSISDN",
            "address": self.number,
            "partnerProduct": "film",
            "amount": self.amount(),
            "currency": "MXN",
            "description": self.key(),
        });
        if let Some(charge) = self.charge.as_ref().filter(|charge| **charge != self.id) {
            body["referenceId"] = json!(charge);
        }
        body
    }
}

/// What came of one attempt.
#[derive(Debug, Clone)]
pub struct Heard {
    pub began: Duration,
    pub ended: Duration,
    /// After how many kills.
    pub kills: u32,
    /// Status and body; `None` where there was no answer.
    pub answer: Option<(u16, String)>,
}

impl Heard {
    /// The answer, where it is final.
    pub fn final_body(&self) -> Option<&str> {
        let (status, body) = self.answer.as_ref()?;
        let is_final = *status == 200 && (body.contains("\"Success\"") || body.contains("\"Failure\""));
        is_final.then_some(body)
    }
}

/// What stands at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Success,
    Failure,
    /// Answered 400 or 404: there is no such transaction.
    Refused,
}

#[derive(Debug, Clone)]
pub struct Story {
    pub ask: Ask,
    pub heard: Vec<Heard>,
}

impl Story {
    /// What it has come to; `None` while it is Pending, unavailable or unheard of.
    pub fn verdict(&self) -> Option<Verdict> {
        if let Some(body) = self.heard.iter().find_map(Heard::final_body) {
            return Some(if body.contains("\"Success\"") { Verdict::Success } else { Verdict::Failure });
        }
        let last = self.heard.iter().rev().find_map(|heard| heard.answer.as_ref());
        last.filter(|(status, _)| matches!(status, 400 | 404)).map(|_| Verdict::Refused)
    }

    /// The story as it is told where something is wrong.
    pub fn tell(&self, wrong: &str) -> String {
        let mut text = format!("{}: {wrong}\n  asked {}\n", self.ask.key(), self.ask.body());
        for heard in &self.heard {
            let answer =
                heard.answer.as_ref().map_or("no answer".to_owned(), |(status, body)| format!("{status} {body}"));
            let (began, ended) = (heard.began.as_millis(), heard.ended.as_millis());
            let _ = writeln!(text, "  {began}..{ended} ms, after {} kills: {answer}", heard.kills);
        }
        text
    }
}

/// All stories of a run.
pub struct Stories {
    since: Instant,
    kills: AtomicU32,
    all: Mutex<BTreeMap<String, Story>>,
}

impl Default for Stories {
    fn default() -> Self {
        Self { since: Instant::now(), kills: AtomicU32::new(0), all: Mutex::default() }
    }
}

impl Stories {
    pub fn now(&self) -> Duration {
        self.since.elapsed()
    }

    pub fn note_kill(&self) {
        self.kills.fetch_add(1, Ordering::SeqCst);
    }

    pub fn begin(&self, ask: &Ask) {
        let mut all = self.all.lock().expect("no panic before");
        all.entry(ask.key()).or_insert_with(|| Story { ask: ask.clone(), heard: Vec::new() });
    }

    pub fn add(&self, ask: &Ask, began: Duration, answer: Option<(u16, String)>) {
        let heard = Heard { began, ended: self.now(), kills: self.kills.load(Ordering::SeqCst), answer };
        let mut all = self.all.lock().expect("no panic before");
        all.get_mut(&ask.key()).expect("it has begun").heard.push(heard);
    }

    pub fn all(&self) -> Vec<Story> {
        self.all.lock().expect("no panic before").values().cloned().collect()
    }

    pub fn verdict(&self, ask: &Ask) -> Option<Verdict> {
        self.all.lock().expect("no panic before").get(&ask.key()).and_then(Story::verdict)
    }

    pub fn successes(&self) -> usize {
        self.all().iter().filter(|story| story.verdict() == Some(Verdict::Success)).count()
    }

    pub fn summary(&self) -> String {
        let all = self.all();
        let count = |verdict| all.iter().filter(|story| story.verdict() == verdict).count();
        let heard = || all.iter().flat_map(|story| &story.heard);
        let unanswered = heard().filter(|heard| heard.answer.is_none()).count();
        format!(
            "{} keys, {} attempts, {unanswered} unanswered; {} Success, {} Failure, {} refused, {} open",
            all.len(),
            heard().count(),
            count(Some(Verdict::Success)),
            count(Some(Verdict::Failure)),
            count(Some(Verdict::Refused)),
            count(None)
        )
    }
}
