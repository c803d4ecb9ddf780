//! Cases about the way there: callers that hang up, connections that break, time, load, and keys.
//!
//! Invariant: however a connection ends, what came of a reference is told alike afterwards. When a caller hangs up is a
//! matter of chance; what is judged is not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::bench::{Bench, Known, Wanted, refund_of, shown_account, shown_error, shown_receipt};
use super::charges::buyer;
use crate::domain::address::{Address, Msisdn};
use crate::domain::transaction::settle::Receipt;
use crate::ports::Cause;
use crate::ports::csp::{ChargeOrder, CspError, Identifier};
use crate::runtime::config::tables::RefundsWord;

/// Calls that are hung up on.
const HANG_UPS: u32 = 8;
/// Connections that are broken, and kept idle.
const BROKEN: usize = 20;
const IDLE: usize = 20;
/// Look-ups that are timed.
const LOOK_UPS: usize = 20;
/// How many of them may be late.
const LATE_MAX: usize = 1;
/// Charges at one time.
const MANY: usize = 16;

pub(super) async fn hang_up(bench: &mut Bench) {
    let Some(account) = buyer(bench).await else { return };
    let timed = bench.order(&account.reference);
    let begun = Instant::now();
    if !bench.charge("charge, to see how long it takes", &timed, Wanted::Booked).await {
        return;
    }
    let usual = begun.elapsed();
    let (begun, mut orders, mut unanswered) = (Instant::now(), Vec::new(), 0_u32);
    for round in 1..=HANG_UPS {
        let order = bench.order(&account.reference);
        let patience = usual.saturating_mul(round).checked_div(HANG_UPS).unwrap_or_default();
        if !answered_within(bench, &order, patience).await {
            unanswered = unanswered.saturating_add(1);
        }
        orders.push(order);
    }
    let actual = format!("hung up on {unanswered} of {HANG_UPS} before there was an answer");
    let texts = ("any answer or none".to_owned(), actual);
    let request = format!("{HANG_UPS} charges, each hung up on a little later");
    bench.note("charge, and hang up", "charge", request, texts, true, begun);
    for order in &orders {
        bench.inquire("ask for it", order.reference, Known::Perhaps(order.money)).await;
        bench.charge("send it again", order, Wanted::Booked).await;
        bench.inquire("ask for it again", order.reference, Known::Booked(order.money)).await;
    }
    if bench.terms.refunds == RefundsWord::None {
        return;
    }
    for order in orders {
        let refund = refund_of(&order, order.money.minor);
        bench.refund("give it back", &refund, Wanted::Booked).await;
        let again = refund_of(&order, order.money.minor);
        bench.refund("nothing is left to be given back", &again, Wanted::Refused).await;
    }
}

/// Sends a charge and waits no longer than so; the connection is then dropped.
async fn answered_within(bench: &mut Bench, order: &ChargeOrder, patience: Duration) -> bool {
    let call = bench.call();
    // Shorter waits than the timer can measure end after a few turns of the runtime.
    let turns = async {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        if patience > Duration::from_millis(2) {
            tokio::time::sleep(patience).await;
        }
    };
    tokio::select! {
        _ = bench.csp.charge(order, &call) => true,
        () = turns => false,
    }
}

pub(super) async fn broken(bench: &mut Bench) {
    let Some(authority) = bench.subject.authority.clone() else { return };
    let begun = Instant::now();
    let mut idle = Vec::new();
    let mut failed = None;
    for count in 0..BROKEN.saturating_add(IDLE) {
        match TcpStream::connect(&authority).await {
            Ok(mut stream) if count < BROKEN => {
                // The beginning of a request over HTTP/1.1, or of HTTP/2, or of nothing at all.
                let bytes: &[u8] = match count % 3 {
                    0 => b"POST /transaction HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"transac",
                    1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0",
                    _ => b"\x16\x03\x01\xff",
                };
                // It may be refused at any byte; that is its right.
                let _ = stream.write_all(bytes).await;
            }
            Ok(stream) => idle.push(stream),
            Err(error) => failed = Some(error),
        }
    }
    let request = format!("{BROKEN} connections that end in the middle, {IDLE} that say nothing");
    let actual = failed.as_ref().map_or_else(|| "connected".to_owned(), ToString::to_string);
    let texts = ("connected".to_owned(), actual);
    bench.note("connect", "connect", request, texts, failed.is_none(), begun);
    let Some(account) = buyer(bench).await else { return };
    let order = bench.order(&account.reference);
    bench.charge("charge all the same", &order, Wanted::Booked).await;
    drop(idle);
}

pub(super) async fn in_time(bench: &mut Bench) {
    let (number, begun) = (bench.terms.active.clone(), Instant::now());
    let who = Identifier::Address(Address::Msisdn(number));
    let mut took = Vec::new();
    for _ in 0..LOOK_UPS {
        let (call, begun) = (bench.call(), Instant::now());
        if let Err(error) = bench.csp.account(&who, None, &call).await {
            let texts = ("an account".to_owned(), shown_error(&error));
            bench.note("look the number up", "account", "by number".to_owned(), texts, false, begun);
            return;
        }
        took.push(begun.elapsed());
    }
    let limit = Duration::from_millis(bench.terms.call_timeout_ms.into());
    let late = took.iter().filter(|time| **time > limit).count();
    let slowest = took.iter().max().map_or(0, Duration::as_millis);
    let expected = format!("at most {LATE_MAX} of {LOOK_UPS} after {} ms", limit.as_millis());
    let texts = (expected, format!("{late} of {LOOK_UPS}, the slowest after {slowest} ms"));
    bench.note("look the number up", "account", "by number".to_owned(), texts, late <= LATE_MAX, begun);
}

pub(super) async fn many(bench: &mut Bench) {
    let Some(account) = buyer(bench).await else { return };
    let begun = Instant::now();
    let orders: Vec<_> = (0..MANY).map(|_| bench.order(&account.reference)).collect();
    let calls: Vec<_> = orders
        .iter()
        .map(|order| {
            let (csp, order, call) = (Arc::clone(&bench.csp), order.clone(), bench.call());
            tokio::spawn(async move { csp.charge(&order, &call).await })
        })
        .collect();
    let mut wrong = None;
    for (order, call) in orders.iter().zip(calls) {
        let answer = call.await.unwrap_or_else(|error| Err(CspError::Unknown(Cause::new(error))));
        let sent = Receipt { reference: order.reference, money: order.money };
        match &answer {
            Ok(receipt) if *receipt == sent => {}
            // It may shed load, as long as it says so.
            Err(CspError::NotApplied(_)) => {}
            Ok(_) | Err(CspError::Refused { .. } | CspError::Unknown(_)) => wrong = Some(shown_receipt(&answer)),
        }
    }
    let expected = "each booked, or turned away as not applied";
    let held = wrong.is_none();
    let texts = (expected.to_owned(), wrong.unwrap_or_else(|| expected.to_owned()));
    bench.note("charge", "charge", format!("{MANY} at once"), texts, held, begun);
    for order in &orders {
        bench.charge("send it again", order, Wanted::Booked).await;
    }
}

pub(super) async fn wrong_key(bench: &mut Bench) {
    let Some(stranger) = bench.subject.stranger.clone() else { return };
    let Some(account) = buyer(bench).await else { return };
    let who = Identifier::Address(Address::Msisdn(Msisdn::new(bench.terms.active.expose())));
    let (call, begun) = (bench.call(), Instant::now());
    let answer = stranger.account(&who, None, &call).await;
    let actual = match &answer {
        Ok(Some(account)) => shown_account(account),
        Ok(None) => "nobody".to_owned(),
        Err(error) => shown_error(error),
    };
    let none = || "no account, and not \"nobody\"".to_owned();
    bench.note("look up with a wrong key", "account", "by number".to_owned(), (none(), actual), answer.is_err(), begun);
    let order = bench.order(&account.reference);
    let (call, begun) = (bench.call(), Instant::now());
    let answer = stranger.charge(&order, &call).await;
    let texts = ("not booked".to_owned(), shown_receipt(&answer));
    let request = format!("{} {} under {}", order.money, order.money.currency, order.reference);
    bench.note("charge with a wrong key", "charge", request, texts, answer.is_err(), begun);
    bench.inquire("ask for it with the right key", order.reference, Known::Nothing).await;
}
