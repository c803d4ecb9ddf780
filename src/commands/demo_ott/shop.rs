//! The OTT's calls, by the names that a shop has for them.
//!
//! Invariant: a method makes one call and keeps the answer as it came; what to do next is decided in `journey`.

use std::collections::BTreeMap;

use super::flaw::Flaw;
use crate::commands::certify::answer::Answer;
use crate::commands::certify::cases::{Contract, Rpc};
use crate::commands::certify::document::Document;
use crate::commands::certify::faces::Client;
use crate::commands::certify::sandbox::pin_in;

/// The product that is sold.
const PRODUCT: &str = "ott-basic";
/// What it costs.
pub const PRICE: &str = "9.99";
/// The sandbox's currency.
pub const CURRENCY: &str = "MXN";

/// The RPCs of certification: name, path on gRPC's service, method and path on JSON.
const RUN_RPCS: [(&str, &str); 3] = [
    ("StartRun", "POST /certification/runs"),
    ("FinishRun", "POST /certification/runs/{runId}/finish"),
    ("GetReport", "GET /certification/runs/{runId}/report"),
];

/// A shop that sells over a gateway.
pub struct Shop {
    client: Client,
    contract: Contract,
    flaw: Option<Flaw>,
    /// Makes numbers and ids that no other shop has.
    series: u32,
    made: u32,
}

/// What came of a call.
pub struct Reply {
    /// Its error code; empty on success.
    pub code: String,
    document: Document,
}

impl Reply {
    /// Whether it was taken.
    pub const fn is_ok(&self) -> bool {
        self.code.is_empty()
    }
}

/// A charge or refund as a shop sends it.
#[derive(Debug, Clone)]
pub struct Order {
    /// `extTransactionId`.
    pub id: String,
    /// Whose bill.
    pub number: String,
    /// Signed.
    pub amount: String,
    /// The product.
    pub product: String,
    /// The currency.
    pub currency: String,
    /// The charge that a refund names.
    pub reference: Option<String>,
    /// In place of the number.
    pub account_id: Option<String>,
}

impl Shop {
    /// A shop; nothing is called yet.
    pub fn new(client: Client, contract: Contract, flaw: Option<Flaw>) -> Self {
        let mut seed = [0; 4];
        // Where the system draws nothing the series starts at 0: numbers may then be those of another shop.
        let _ = getrandom::fill(&mut seed);
        Self { client, contract, flaw, series: u32::from_be_bytes(seed), made: 0 }
    }

    /// Its calls belong to this run from now on.
    pub fn belongs_to(&mut self, run: &str) -> Result<(), String> {
        self.client.add_header("x-certification-run", run)
    }

    /// Whether it has this wrong habit.
    pub fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// A number in a condition that nothing else of this journey uses.
    pub fn number(&mut self, condition: &str) -> String {
        self.made = self.made.saturating_add(1);
        let free = self.series.wrapping_add(self.made).wrapping_rem(100_000);
        format!("555{free:05}{condition}")
    }

    /// An order for a number, under an id that nothing else uses.
    pub fn order(&mut self, number: &str) -> Order {
        self.made = self.made.saturating_add(1);
        Order {
            id: format!("demo-{:08x}-{}", self.series, self.made),
            number: number.to_owned(),
            amount: PRICE.to_owned(),
            product: PRODUCT.to_owned(),
            currency: CURRENCY.to_owned(),
            reference: None,
            account_id: None,
        }
    }

    /// POST /account/validate.
    pub async fn validate(&mut self, number: &str) -> Result<Reply, String> {
        self.call("ValidateAccount", addressed(number)).await
    }

    /// POST /pin.
    pub async fn send_pin(&mut self, number: &str) -> Result<Reply, String> {
        self.call("SendPin", addressed(number)).await
    }

    /// POST /pin/validation.
    pub async fn enter_pin(&mut self, number: &str, pin: &str) -> Result<Reply, String> {
        let mut request = addressed(number);
        request.push(("pin", pin.into()));
        self.call("ValidatePin", request).await
    }

    /// The PIN that the customer reads on the phone.
    pub async fn read_pin(&mut self, number: &str) -> Result<String, String> {
        let reply = self.call("ListMessages", vec![("address", number.into())]).await?;
        let messages = reply.document.get("messages").map(Document::items).unwrap_or_default();
        let newest = messages.iter().find_map(|sms| pin_in(&sms.text_at("text")).map(str::to_owned));
        newest.ok_or_else(|| "the phone got no PIN".to_owned())
    }

    /// POST /transaction.
    pub async fn post(&mut self, order: &Order) -> Result<Reply, String> {
        let mut request = vec![("extTransactionId", Document::from(order.id.as_str()))];
        match &order.account_id {
            Some(account) => request.push(("accountId", account.as_str().into())),
            None => request.extend(addressed(&order.number)),
        }
        request.extend([
            ("partnerProduct", Document::from(order.product.as_str())),
            ("amount", order.amount.as_str().into()),
            ("currency", order.currency.as_str().into()),
        ]);
        request.extend(order.reference.as_ref().map(|charge| ("referenceId", Document::from(charge.as_str()))));
        self.call("CreateTransaction", request).await
    }

    /// GET /transaction/{id}.
    pub async fn status(&mut self, id: &str) -> Result<Reply, String> {
        self.call("GetTransaction", vec![("extTransactionId", id.into())]).await
    }

    /// POST /notification.
    pub async fn notify(&mut self, type_word: &str, number: &str, text: Option<&str>) -> Result<Reply, String> {
        let mut request = vec![("type", Document::from(type_word)), ("address", number.into())];
        request.extend(text.map(|text| ("message", Document::from(text))));
        self.call("SendNotification", request).await
    }

    /// Lets time pass.
    pub async fn wait(&mut self, seconds: u32) -> Result<(), String> {
        self.call("AdvanceClock", vec![("seconds", Document::Number(seconds.into()))]).await.map(|_| ())
    }

    /// Calls certification, and must get what it asks for.
    pub async fn ask(&mut self, name: &str, request: Document) -> Result<Document, String> {
        let known = RUN_RPCS.iter().find(|(known, _)| *known == name);
        let (_, http) = known.ok_or_else(|| format!("no RPC {name}"))?;
        let grpc = format!("/onbill.v1.CertificationService/{name}");
        let rpc = Rpc { grpc, http: (*http).to_owned(), headers: BTreeMap::new() };
        let answer = self.client.call(&rpc, &request, "demo-ott").await.map_err(|error| error.to_string())?;
        let reply = reply(&answer);
        if reply.is_ok() { Ok(reply.document) } else { Err(format!("{name}: {}", reply.code)) }
    }

    async fn call(&mut self, name: &str, request: Vec<(&str, Document)>) -> Result<Reply, String> {
        let rpc = self.contract.rpc.get(name).ok_or_else(|| format!("no RPC {name}"))?;
        self.made = self.made.saturating_add(1);
        let correlation = format!("demo-{:08x}-{}", self.series, self.made);
        let request = Document::Object(request.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
        let answer = self.client.call(rpc, &request, &correlation).await;
        answer.map(|answer| reply(&answer)).map_err(|error| format!("{name}: {error}"))
    }
}

fn addressed(number: &str) -> Vec<(&'static str, Document)> {
    vec![("type", "MSISDN".into()), ("address", number.into())]
}

/// An answer of either face.
fn reply(answer: &Answer) -> Reply {
    let document = answer.body.document().cloned().unwrap_or(Document::Null);
    let code = document.get("code").or_else(|| document.get("errorInfo")?.get("metadata")?.get("code"));
    let code = code.and_then(Document::text).unwrap_or_default().to_owned();
    let is_ok = answer.status == "OK" || answer.status.starts_with('2');
    let code = if code.is_empty() && !is_ok { answer.status.clone() } else { code };
    Reply { code: if is_ok { String::new() } else { code }, document }
}
