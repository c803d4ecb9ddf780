//! Cases about who is who.
//!
//! Invariant: nothing here moves money.

use super::bench::{Bench, shown_account};
use crate::domain::account::{Account, Eligibility, PaymentModel, Standing};
use crate::domain::address::{Address, Msisdn};
use crate::domain::ids::AccountRef;
use crate::ports::csp::Identifier;

async fn told(bench: &mut Bench, number: Option<Msisdn>, expected: &str, is: impl FnOnce(&Account) -> bool) {
    let Some(number) = number else { return };
    let who = Identifier::Address(Address::Msisdn(number));
    bench.account("look the number up", &who, expected, |found| found.as_ref().is_some_and(is)).await;
}

pub(super) async fn active(bench: &mut Bench) {
    let number = bench.terms.active.clone();
    let is = |account: &Account| account.standing == Standing::Active && account.eligibility == Eligibility::Eligible;
    told(bench, Some(number), "Active, Eligible", is).await;
}

pub(super) async fn ceased(bench: &mut Bench) {
    let number = bench.terms.ceased.clone();
    // What is given up may be told as such, or not be known any more.
    let who = number.map(|number| Identifier::Address(Address::Msisdn(number)));
    let Some(who) = who else { return };
    let is = |found: &Option<Account>| found.as_ref().is_none_or(|account| account.standing == Standing::Ceased);
    bench.account("look the number up", &who, "Ceased, or nobody", is).await;
}

pub(super) async fn suspended_non_payment(bench: &mut Bench) {
    let number = bench.terms.suspended_non_payment.clone();
    told(bench, number, "SuspendedNonPayment", |account| account.standing == Standing::SuspendedNonPayment).await;
}

pub(super) async fn suspended_lost_stolen(bench: &mut Bench) {
    let number = bench.terms.suspended_lost_stolen.clone();
    told(bench, number, "SuspendedLostStolen", |account| account.standing == Standing::SuspendedLostStolen).await;
}

pub(super) async fn not_eligible(bench: &mut Bench) {
    let number = bench.terms.not_eligible.clone();
    let is =
        |account: &Account| account.standing == Standing::Active && account.eligibility == Eligibility::NotEligible;
    told(bench, number, "Active, NotEligible", is).await;
}

pub(super) async fn prepaid(bench: &mut Bench) {
    let number = bench.terms.prepaid_number.clone();
    let is = |account: &Account| account.standing == Standing::Active && account.payment == PaymentModel::Prepaid;
    told(bench, number, "Active, prepaid", is).await;
}

pub(super) async fn unknown(bench: &mut Bench) {
    let who = Identifier::Address(Address::Msisdn(bench.terms.unknown.clone()));
    bench.account("look the number up", &who, "nobody", Option::is_none).await;
}

pub(super) async fn by_name(bench: &mut Bench) {
    let number = bench.terms.active.clone();
    let Some(account) = bench.account_of("look the number up", &number).await else { return };
    let who = Identifier::Account(account.reference.clone());
    let expected = format!("{}, under the same name", shown_account(&account));
    bench.account("look the name up", &who, &expected, |found| found.as_ref() == Some(&account)).await;
    let nobody = Identifier::Account(AccountRef::new("onbill-certify-nobody"));
    bench.account("look another name up", &nobody, "nobody", Option::is_none).await;
}

pub(super) async fn by_email(bench: &mut Bench) {
    let Some(with_email) = bench.terms.with_email.clone() else { return };
    let Some(account) = bench.account_of("look the number up", &with_email.number).await else { return };
    let who = Identifier::Address(Address::Email(with_email.email));
    let expected = format!("{}, under the same name", shown_account(&account));
    bench.account("look the e-mail address up", &who, &expected, |found| found.as_ref() == Some(&account)).await;
}
