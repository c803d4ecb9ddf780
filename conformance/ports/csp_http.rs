//! The rig that runs the CSP's contract suite over HTTP, against the built `onbill sandbox-csp`.
//!
//! Invariant: everything goes over the wire: the port through the HTTP adapter, the bill, the inbox and the clock through
//! the operator's own doors.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderValue;
use onbill::adapters::csp::http::{HttpCsp, Settings};
use onbill::domain::address::{Address, Msisdn};
use onbill::domain::ids::{AccountRef, Reference};
use onbill::domain::money::Money;
use onbill::ports::Cause;
use onbill::ports::csp::{Csp, SmsText};
use onbill::ports::sandbox::{Bill, BillLine, BookedLine, ReceivedSms, SandboxCsp, SandboxUnavailable};
use serde_json::{Value, json};

use super::csp::{Rig, StandingClock, currency, noon};
use crate::gateway::client::Partner;
use crate::operator::{KEY, Operator};

/// Real time, on a machine that is busy with other tests.
const BUDGET: Duration = Duration::from_secs(3);

/// An adapter that speaks to an address.
pub fn adapter(authority: &str) -> HttpCsp {
    let url = format!("http://{authority}").parse().expect("a URL");
    let api_key = Some(HeaderValue::from_static(KEY));
    let settings =
        Settings { url, api_key, ca_pem: None, client_pem: None, not_applied: vec!["not-applied".to_owned()] };
    HttpCsp::new(settings).expect("an adapter")
}

pub(super) fn rig() -> Rig {
    let operator = Operator::start(&["--standing-clock", &noon().to_string()]);
    rig_of(Arc::new(adapter(operator.authority())), operator)
}

/// A rig of an operator that an adapter speaks to.
pub(super) fn rig_of(csp: Arc<dyn Csp>, operator: Operator) -> Rig {
    let doors = Arc::new(Doors(operator.client()));
    Rig::behind(csp, doors.clone(), doors, BUDGET, Arc::new(operator))
}

/// The operator's own doors.
struct Doors(Partner);

#[async_trait]
impl StandingClock for Doors {
    async fn pass(&self, duration: Duration) {
        if duration.as_secs() > 0 {
            let moved = self.0.post("/clock/advance", &json!({ "seconds": duration.as_secs() })).await;
            assert_eq!(moved.status, 200, "{moved:?}");
        }
    }
}

#[async_trait]
impl SandboxCsp for Doors {
    fn account_of(&self, _: &Address) -> Option<AccountRef> {
        None
    }

    async fn messages(&self, number: &Msisdn, messages_max: usize) -> Result<Vec<ReceivedSms>, SandboxUnavailable> {
        let inbox = self.0.get(&format!("/messages?address={}", number.expose())).await.json();
        let read = |message: &Value| ReceivedSms {
            text: SmsText::new(text(message, "text")),
            at: text(message, "sentAt").parse().expect("a time"),
        };
        Ok(inbox["messages"].as_array().expect("messages").iter().map(read).take(messages_max).collect())
    }

    async fn bill(&self, number: &Msisdn, lines_max: usize) -> Result<Bill, SandboxUnavailable> {
        let bill = self.0.get(&format!("/bill?address={}", number.expose())).await.json();
        let money = |text: String| Money::parse(&text, currency("MXN")).expect("an amount");
        let read = |line: &Value| BillLine {
            reference: Reference::parse(&text(line, "reference")).expect("a reference"),
            money: money(text(line, "amount")),
            text: text(line, "description"),
            at: text(line, "bookedAt").parse().expect("a time"),
        };
        let lines = bill["lines"].as_array().expect("lines");
        let newest = lines.iter().skip(lines.len().saturating_sub(lines_max));
        Ok(Bill { lines: newest.map(read).collect(), total: money(text(&bill, "total")) })
    }

    async fn booked(&self, _: u64, _: usize) -> Result<Vec<BookedLine>, SandboxUnavailable> {
        Err(SandboxUnavailable(Cause::new("read line by line, not page by page")))
    }

    async fn line(&self, _: &Reference) -> Result<Option<BookedLine>, SandboxUnavailable> {
        Err(SandboxUnavailable(Cause::new("has no door of its own")))
    }

    async fn reset(&self, number: &Msisdn) -> Result<(), SandboxUnavailable> {
        let reset = self.0.post("/reset", &json!({ "address": number.expose() })).await;
        assert_eq!(reset.status, 201, "{reset:?}");
        Ok(())
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}
