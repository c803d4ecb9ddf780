//! An event as a partner reads it: CloudEvents 1.0 in structured JSON (contract section 7).
//!
//! Invariant: the bytes depend on the event and on what its transaction was when it became final, and on nothing that
//! changes later, so that every delivery of an event carries the same body. `data` has the keys and the order of a
//! listed transaction.

use serde::Serialize;

use crate::domain::Time;
use crate::domain::event::{Event, EventId};
use crate::domain::money::Money;
use crate::domain::transaction::{Kind, State, Transaction};

/// Who the events are from.
const SOURCE: &str = "onbill";

#[derive(Serialize)]
struct CloudEvent<'a, D> {
    specversion: &'static str,
    id: &'a str,
    source: &'static str,
    r#type: &'static str,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    data: D,
}

/// A listed transaction (contract section 2), as it is when it becomes final: nothing is refunded yet.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    ext_transaction_id: &'a str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference_id: Option<&'a str>,
    charge_date: String,
    currency: &'a str,
    amount: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refunded_amount: Option<String>,
    message: &'a str,
    status: &'static str,
    partner_product: &'a str,
}

/// Nothing, for an event that tells of nothing.
#[derive(Serialize)]
struct Nothing {}

/// The body that tells of an outcome. `None` unless the transaction is final.
#[must_use]
pub fn body(event: &Event, record: &Transaction) -> Option<String> {
    let r#type = match record.state {
        State::Success => "onbill.transaction.succeeded.v1",
        State::Failure => "onbill.transaction.failed.v1",
        State::Pending | State::Unknown | State::Released => return None,
    };
    let nothing = || Money::new(0, record.money.currency).to_string();
    let data = Listed {
        ext_transaction_id: record.key.ext_transaction_id.as_str(),
        kind: record.key.kind.word(),
        reference_id: record.compared.reference_id.as_ref().map(crate::domain::ids::ExtTransactionId::as_str),
        charge_date: second(record.accepted_at),
        currency: record.money.currency.code(),
        amount: record.signed_money().to_string(),
        refunded_amount: (record.key.kind == Kind::Charge).then(nothing),
        message: record.message(),
        status: record.state.status()?.word(),
        partner_product: record.compared.partner_product.as_str(),
    };
    Some(print(&event.id, r#type, data.ext_transaction_id, event.at, &data))
}

/// The body of an event that only tries an endpoint.
#[must_use]
pub fn test_body(id: &EventId, now: Time) -> String {
    print(id, "onbill.test.v1", "test", now, &Nothing {})
}

fn print<D: Serialize>(id: &EventId, r#type: &'static str, subject: &str, at: Time, data: &D) -> String {
    let event = CloudEvent {
        specversion: "1.0",
        id: id.as_str(),
        source: SOURCE,
        r#type,
        subject,
        time: format!("{at:.3}"),
        datacontenttype: "application/json",
        data,
    };
    serde_json::to_string(&event).expect("texts under fixed keys are JSON")
}

/// A time in whole seconds, as `chargeDate` is printed everywhere.
fn second(time: Time) -> String {
    let whole = Time::from_second(time.as_microsecond().div_euclid(1_000_000)).unwrap_or(time);
    whole.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::transaction::samples;
    use crate::domain::transaction::settle::{self, Heard, Receipt};

    fn told(record: &Transaction, heard: &Heard) -> Option<String> {
        let unit = settle::by_answer(record, heard, &samples::profile(), &samples::moment(samples::now()));
        let event = unit.event?;
        body(&event, &unit.transaction)
    }

    fn booked(record: &Transaction) -> Heard {
        Heard::Booked(Receipt { reference: record.reference, money: record.money })
    }

    #[test]
    fn outcomes_read_as_the_contract_says() {
        let charge = samples::charge("c1", "9.99");
        let refund = samples::refund("r1", "c1", "-4.5");
        let texts = [
            told(&charge, &booked(&charge)).expect("an event"),
            told(&charge, &Heard::Refused("daily-limit".to_owned())).expect("an event"),
            told(&refund, &booked(&refund)).expect("an event"),
            test_body(&EventId::from_bits(7), samples::now()),
        ];
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn what_is_not_final_makes_no_body() {
        let charge = samples::charge("c1", "9.99");
        assert_eq!(told(&charge, &Heard::Unclear("?".to_owned())), None);
        assert_eq!(told(&charge, &Heard::NotApplied("?".to_owned())), None);
    }

    #[test]
    fn a_later_refund_does_not_change_the_body() {
        let charge = samples::charge("c1", "9.99");
        let unit = settle::by_answer(&charge, &booked(&charge), &samples::profile(), &samples::moment(samples::now()));
        let event = unit.event.expect("an event");
        let mut refunded = unit.transaction.clone();
        refunded.refunds_done_minor = 450;
        assert_eq!(body(&event, &refunded), body(&event, &unit.transaction));
    }
}
