//! Cases about what is known afterwards: inquiries, refusals, void references; and about text messages.
//!
//! Invariant: "not known", "nobody" and "refused" are answers, and an error is none of them.

use std::time::Instant;

use super::bench::{Bench, Known, Wanted, fresh_reference, refund_of, shown_error, shown_receipt};
use super::charges::buyer;
use crate::domain::address::Msisdn;
use crate::domain::ids::Reference;
use crate::ports::csp::{CspError, Sms, SmsText, Voiding};
use crate::runtime::config::tables::RefundsWord;

pub(super) async fn known(bench: &mut Bench) {
    let Some(account) = buyer(bench).await else { return };
    let charge = bench.order(&account.reference);
    bench.charge("charge", &charge, Wanted::Booked).await;
    bench.inquire("ask for the charge", charge.reference, Known::Booked(charge.money)).await;
    if bench.terms.refunds != RefundsWord::None {
        let refund = refund_of(&charge, charge.money.minor);
        bench.refund("give it back", &refund, Wanted::Booked).await;
        bench.inquire("ask for the refund", refund.reference, Known::Booked(refund.money)).await;
        bench.inquire("ask for the charge again", charge.reference, Known::Booked(charge.money)).await;
    }
}

pub(super) async fn not_known(bench: &mut Bench) {
    bench.inquire("ask for it", fresh_reference(), Known::Nothing).await;
}

pub(super) async fn refused(bench: &mut Bench) {
    let Some(account) = buyer(bench).await else { return };
    let charge = bench.order(&account.reference);
    bench.charge("charge", &charge, Wanted::Booked).await;
    let refund = refund_of(&charge, charge.money.minor.saturating_add(1));
    bench.refund("give back too much", &refund, Wanted::Refused).await;
    bench.inquire("ask for it", refund.reference, Known::NotBooked).await;
    bench.refund("send it again", &refund, Wanted::Refused).await;
    bench.inquire("ask for it again", refund.reference, Known::NotBooked).await;
}

async fn made_void(bench: &mut Bench, name: &str, reference: Reference, expected: &str, is: impl Fn(&Voiding) -> bool) {
    let (call, begun) = (bench.call(), Instant::now());
    let answer = bench.csp.void(&reference, &call).await;
    let actual = match &answer {
        Ok(Voiding::Void) => "void".to_owned(),
        Ok(Voiding::Booked(receipt)) => shown_receipt(&Ok(*receipt)),
        Ok(Voiding::Refused { code }) => format!("refused: {code}"),
        Err(error) => shown_error(error),
    };
    let held = answer.as_ref().is_ok_and(is);
    bench.note(name, "void", format!("reference {reference}"), (expected.to_owned(), actual), held, begun);
}

pub(super) async fn void(bench: &mut Bench) {
    let Some(account) = buyer(bench).await else { return };
    let order = bench.order(&account.reference);
    let is_void = |voiding: &Voiding| matches!(voiding, Voiding::Void);
    for name in ["make it void", "and again"] {
        made_void(bench, name, order.reference, "void", is_void).await;
    }
    bench.charge("charge under it", &order, Wanted::Refused).await;
    bench.inquire("ask for it", order.reference, Known::NotBooked).await;
}

pub(super) async fn too_late(bench: &mut Bench) {
    let Some(account) = buyer(bench).await else { return };
    let order = bench.order(&account.reference);
    bench.charge("charge", &order, Wanted::Booked).await;
    let sent = crate::domain::transaction::settle::Receipt { reference: order.reference, money: order.money };
    let expected = shown_receipt(&Ok(sent));
    let is_booked = |voiding: &Voiding| matches!(voiding, Voiding::Booked(receipt) if *receipt == sent);
    made_void(bench, "make it void", order.reference, &expected, is_booked).await;
    bench.inquire("ask for it", order.reference, Known::Booked(order.money)).await;
    bench.charge("send it again", &order, Wanted::Booked).await;
}

async fn notify(bench: &mut Bench, number: &Msisdn) -> (Instant, Result<(), CspError>) {
    let text = SmsText::new("A test message of onbill certify.".to_owned());
    let sms = Sms { sender: Some("onbill".to_owned()), language: Some("en".to_owned()), text };
    let (call, begun) = (bench.call(), Instant::now());
    (begun, bench.csp.notify(number, &sms, &call).await)
}

fn shown(answer: &Result<(), CspError>) -> String {
    answer.as_ref().map_or_else(shown_error, |()| "taken".to_owned())
}

pub(super) async fn notified(bench: &mut Bench) {
    let number = bench.terms.active.clone();
    let (begun, answer) = notify(bench, &number).await;
    let texts = ("taken".to_owned(), shown(&answer));
    bench.note("send a text message", "notify", "to the active number".to_owned(), texts, answer.is_ok(), begun);
}

pub(super) async fn nobody_notified(bench: &mut Bench) {
    let number = bench.terms.unknown.clone();
    let (begun, answer) = notify(bench, &number).await;
    let texts = ("refused, with a code".to_owned(), shown(&answer));
    let held = matches!(answer, Err(CspError::Refused { .. }));
    bench.note("send a text message", "notify", "to the unknown number".to_owned(), texts, held, begun);
}

pub(super) async fn remembered(bench: &mut Bench) {
    let order = if let Some(order) = bench.first.clone() {
        order
    } else {
        // Case 10 was not wanted, or failed: then a charge of its own, which says less.
        let Some(account) = buyer(bench).await else { return };
        let order = bench.order(&account.reference);
        bench.charge("charge", &order, Wanted::Booked).await;
        order
    };
    bench.inquire("ask for it", order.reference, Known::Booked(order.money)).await;
    bench.charge("send it again", &order, Wanted::Booked).await;
}
