//! Cases about charges: booked as sent, once for a reference.
//!
//! Invariant: a case that needs to see that nothing was booked twice sees it by what the account may still spend, since
//! no bill can be read from here.

use std::sync::Arc;
use std::time::Instant;

use super::bench::{Bench, Known, Wanted, refund_of, shown_receipt};
use crate::domain::account::Account;
use crate::domain::ids::AccountRef;
use crate::domain::money::{Currency, Money};
use crate::domain::transaction::settle::Receipt;
use crate::ports::csp::{ChargeOrder, CspError};
use crate::runtime::config::tables::RefundsWord;

/// The active account.
pub(super) async fn buyer(bench: &mut Bench) -> Option<Account> {
    let number = bench.terms.active.clone();
    bench.account_of("look the buyer up", &number).await
}

pub(super) async fn booked(bench: &mut Bench) {
    let Some(account) = buyer(bench).await else { return };
    let order = bench.order(&account.reference);
    if bench.charge("charge", &order, Wanted::Booked).await {
        bench.first = Some(order);
    }
}

pub(super) async fn smallest(bench: &mut Bench) {
    let Some(account) = buyer(bench).await else { return };
    let mut order = bench.order_of(&account.reference, Money::new(1, bench.terms.currency));
    order.bill_text = "«ñ…\"\\é 漢 &<".chars().cycle().take(128).collect();
    bench.charge("charge one minor unit", &order, Wanted::Booked).await;
    bench.inquire("ask for it", order.reference, Known::Booked(order.money)).await;
}

pub(super) async fn repeated(bench: &mut Bench) {
    let Some(account) = buyer(bench).await else { return };
    let order = bench.order(&account.reference);
    bench.charge("charge", &order, Wanted::Booked).await;
    for name in ["send it again", "and again", "and once more"] {
        bench.charge(name, &order, Wanted::Booked).await;
    }
    bench.inquire("ask for it", order.reference, Known::Booked(order.money)).await;
}

pub(super) async fn at_once(bench: &mut Bench) {
    let Some(account) = buyer(bench).await else { return };
    let order = bench.order(&account.reference);
    let begun = Instant::now();
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (csp, order, call) = (Arc::clone(&bench.csp), order.clone(), bench.call());
            tokio::spawn(async move { csp.charge(&order, &call).await })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap_or_else(|error| Err(CspError::Unknown(crate::ports::Cause::new(error)))));
    }
    let sent = Receipt { reference: order.reference, money: order.money };
    // Those that come while the first is under way may be turned away, as long as none is refused.
    let is_sound = |answer: &Result<Receipt, CspError>| match answer {
        Ok(receipt) => *receipt == sent,
        Err(CspError::NotApplied(_)) => true,
        Err(CspError::Refused { .. } | CspError::Unknown(_)) => false,
    };
    let wrong = answers.iter().find(|answer| !is_sound(answer));
    let all_alike = "all eight alike, or turned away as not applied";
    let actual = wrong.map_or_else(|| all_alike.to_owned(), shown_receipt);
    let request = format!("{} {} under {}", sent.money, sent.money.currency, sent.reference);
    bench.note("charge", "charge", request, (all_alike.to_owned(), actual), wrong.is_none(), begun);
    bench.charge("send it once more", &order, Wanted::Booked).await;
    bench.inquire("ask for it", order.reference, Known::Booked(order.money)).await;
}

pub(super) async fn reused(bench: &mut Bench) {
    let Some(account) = buyer(bench).await else { return };
    let order = bench.order(&account.reference);
    bench.charge("charge", &order, Wanted::Booked).await;
    let money = Money::new(order.money.minor.saturating_add(1), order.money.currency);
    let other = ChargeOrder { money, ..order.clone() };
    bench.charge("charge another amount under its reference", &other, Wanted::Refused).await;
    bench.inquire("ask for it", order.reference, Known::Booked(order.money)).await;
    bench.charge("send the first again", &order, Wanted::Booked).await;
}

pub(super) async fn once(bench: &mut Bench) {
    let Some(limited) = bench.terms.limited.clone() else { return };
    let Some(account) = bench.account_of("look the buyer up", &limited.number).await else { return };
    // A part that has room three times over, so that what is booked twice behind one answer takes the room of the rest.
    let part_minor = limited.left.minor / 3;
    let rest_minor = limited.left.minor.saturating_sub(part_minor);
    let part = bench.order_of(&account.reference, Money::new(part_minor, limited.left.currency));
    let rest = bench.order_of(&account.reference, Money::new(rest_minor, limited.left.currency));
    let more = bench.order_of(&account.reference, Money::new(1, limited.left.currency));
    let mut booked = Vec::new();
    if bench.charge("charge a third of what is left", &part, Wanted::Booked).await {
        booked.push(part.clone());
    }
    bench.charge("send it again", &part, Wanted::Booked).await;
    bench.charge("and again", &part, Wanted::Booked).await;
    if bench.charge("charge the rest", &rest, Wanted::Booked).await {
        booked.push(rest.clone());
    }
    bench.charge("charge one minor unit more", &more, Wanted::Refused).await;
    if bench.terms.refunds == RefundsWord::None {
        return;
    }
    for charge in booked {
        let refund = refund_of(&charge, charge.money.minor);
        bench.refund("give it back, for the next run", &refund, Wanted::Booked).await;
    }
}

pub(super) async fn other_currency(bench: &mut Bench) {
    let Some(account) = buyer(bench).await else { return };
    let code = if bench.terms.currency.code() == "USD" { "EUR" } else { "USD" };
    let Some(currency) = Currency::from_code(code) else { return };
    let order = bench.order_of(&account.reference, Money::new(bench.terms.amount.minor, currency));
    bench.charge("charge", &order, Wanted::Refused).await;
    bench.inquire("ask for it", order.reference, Known::NotBooked).await;
}

pub(super) async fn of_nobody(bench: &mut Bench) {
    let order = bench.order(&AccountRef::new("onbill-certify-nobody"));
    bench.charge("charge", &order, Wanted::Refused).await;
    bench.inquire("ask for it", order.reference, Known::NotBooked).await;
}
