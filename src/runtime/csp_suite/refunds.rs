//! Cases about refunds: at most the charge, once for a reference.
//!
//! Invariant: every case makes a charge of its own.

use super::bench::{Bench, Known, Wanted, fresh_reference, refund_of};
use super::charges::buyer;
use crate::ports::csp::{ChargeOrder, RefundOrder};
use crate::runtime::config::tables::RefundsWord;

async fn charged(bench: &mut Bench) -> Option<ChargeOrder> {
    let account = buyer(bench).await?;
    let order = bench.order(&account.reference);
    bench.charge("charge", &order, Wanted::Booked).await.then_some(order)
}

pub(super) async fn whole(bench: &mut Bench) {
    let Some(charge) = charged(bench).await else { return };
    let refund = refund_of(&charge, charge.money.minor);
    bench.refund("give all of it back", &refund, Wanted::Booked).await;
    bench.refund("send the refund again", &refund, Wanted::Booked).await;
    bench.inquire("ask for the refund", refund.reference, Known::Booked(refund.money)).await;
    bench.inquire("ask for the charge", charge.reference, Known::Booked(charge.money)).await;
}

pub(super) async fn partial(bench: &mut Bench) {
    let Some(charge) = charged(bench).await else { return };
    let part = charge.money.minor / 3;
    for (name, minor) in [("give a third back", part), ("give the rest back", charge.money.minor.saturating_sub(part))]
    {
        let refund = refund_of(&charge, minor);
        bench.refund(name, &refund, Wanted::Booked).await;
        bench.inquire("ask for it", refund.reference, Known::Booked(refund.money)).await;
    }
}

pub(super) async fn above(bench: &mut Bench) {
    let Some(charge) = charged(bench).await else { return };
    let more = refund_of(&charge, charge.money.minor.saturating_add(1));
    bench.refund("give back one minor unit too much", &more, Wanted::Refused).await;
    bench.inquire("ask for it", more.reference, Known::NotBooked).await;
    let mut left = charge.money.minor;
    if bench.terms.refunds == RefundsWord::Partial {
        let part = refund_of(&charge, left / 2);
        bench.refund("give a half back", &part, Wanted::Booked).await;
        left = left.saturating_sub(part.money.minor);
        let more = refund_of(&charge, left.saturating_add(1));
        bench.refund("give back one minor unit more than is left", &more, Wanted::Refused).await;
    }
    let rest = refund_of(&charge, left);
    bench.refund("give back what is left", &rest, Wanted::Booked).await;
    let again = refund_of(&charge, charge.money.minor);
    bench.refund("give all of it back again, under another reference", &again, Wanted::Refused).await;
}

pub(super) async fn repeated(bench: &mut Bench) {
    let Some(charge) = charged(bench).await else { return };
    let part = refund_of(&charge, charge.money.minor / 2);
    for name in ["give a half back", "send that again", "and again"] {
        bench.refund(name, &part, Wanted::Booked).await;
    }
    let other = RefundOrder { money: charge.money, ..part.clone() };
    bench.refund("another amount under its reference", &other, Wanted::Refused).await;
    let rest = refund_of(&charge, charge.money.minor.saturating_sub(part.money.minor));
    bench.refund("give the rest back", &rest, Wanted::Booked).await;
    let more = refund_of(&charge, 1);
    bench.refund("give one minor unit more back", &more, Wanted::Refused).await;
}

pub(super) async fn of_nothing(bench: &mut Bench) {
    let Some(account) = buyer(bench).await else { return };
    let never = ChargeOrder { reference: fresh_reference(), ..bench.order(&account.reference) };
    let refund = refund_of(&never, never.money.minor);
    bench.refund("give it back", &refund, Wanted::Refused).await;
    bench.inquire("ask for it", refund.reference, Known::NotBooked).await;
}

pub(super) async fn own_reference(bench: &mut Bench) {
    let Some(charge) = charged(bench).await else { return };
    let refund = RefundOrder { reference: charge.reference, ..refund_of(&charge, charge.money.minor) };
    bench.refund("give it back under the charge's reference", &refund, Wanted::Refused).await;
    bench.inquire("ask for the charge", charge.reference, Known::Booked(charge.money)).await;
}
