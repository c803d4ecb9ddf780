//! The contract of `ports::csp`, for every adapter through which the scripted accounts of contract section 6 can be
//! reached: standings, bookings, idempotency, refunds, limits, inquiries, and the accounts that misbehave.
//!
//! Invariant: the suite sees the operator as a gateway does, by its port, and checks what came of it on the bill.

mod concurrent;
mod void;

use std::any::Any;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::tz::TimeZone;
use onbill::adapters::clock::ManualClock;
use onbill::adapters::csp::sandbox::{BillError, Sandbox, Settings};
use onbill::domain::Time;
use onbill::domain::account::{Account, Eligibility, PaymentModel, Standing};
use onbill::domain::address::{Address, Email, Msisdn};
use onbill::domain::ids::{AccountRef, ChargeCode, CorrelationId, Reference};
use onbill::domain::money::{Currency, Money};
use onbill::domain::trace::Trace;
use onbill::domain::transaction::settle::Receipt;
use onbill::ports::csp::{CallContext, ChargeOrder, Csp, CspError, Identifier, Inquiry, RefundOrder, Sms, SmsText};
use onbill::ports::sandbox::{Bill, SandboxCsp};
use tokio::time::Instant;

use concurrent::{
    concurrent_charges_never_exceed_a_limit, concurrent_refunds_never_exceed_their_charge,
    concurrent_repeats_are_booked_once,
};
use void::a_void_reference_is_never_booked_and_a_decided_one_stays;

/// Stamps the suite onto an adapter: its name, how a fresh rig is made, and whether its time is paused.
macro_rules! suite {
    ($adapter:ident, $make:path, paused: $paused:tt) => {
        suite!(@claims $adapter, $make, $paused,
            each_condition_has_its_standing_payment_and_eligibility,
            an_unknown_account_is_nobody_and_refused,
            number_email_and_name_lead_to_one_account,
            a_charge_is_on_the_bill_with_its_text_and_time,
            a_repeat_is_answered_alike_and_booked_once,
            a_reference_stands_for_one_request_only,
            money_must_be_positive_and_in_the_bills_currency,
            refunds_give_back_at_most_their_charge,
            a_refund_needs_a_charge_of_its_account,
            an_inquiry_tells_booked_refused_and_not_known,
            a_void_reference_is_never_booked_and_a_decided_one_stays,
            an_account_that_may_not_buy_is_not_billed,
            a_daily_limit_holds_for_a_day_and_refunds_give_it_back,
            a_refund_of_an_earlier_days_charge_leaves_todays_limit,
            a_balance_is_spent_once_and_refunds_give_it_back,
            a_lost_answer_is_unknown_and_booked,
            a_charge_that_never_arrives_is_unknown_and_not_booked,
            a_slow_account_takes_its_time_for_every_answer,
            an_answer_after_the_budget_is_unknown_and_what_was_booked_stays,
            each_reference_is_turned_away_twice_and_then_taken,
            an_unreachable_operator_has_applied_nothing,
            text_messages_arrive_newest_first,
            a_reset_opens_a_new_bill_and_forgets_no_reference,
            a_long_bill_shows_its_newest_lines_and_its_whole_total,
            ;
            concurrent_repeats_are_booked_once,
            concurrent_refunds_never_exceed_their_charge,
            concurrent_charges_never_exceed_a_limit,
        );
    };
    (@claims $adapter:ident, $make:path, $paused:tt, $($claim:ident,)+; $($concurrent:ident,)+) => {
        mod $adapter {
            $(
                #[tokio::test(start_paused = $paused)]
                async fn $claim() {
                    super::$claim($make()).await;
                }
            )+
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $concurrent() {
                    super::$concurrent($make()).await;
                }
            )+
        }
    };
}

suite!(sandbox, crate::ports::csp::sandbox_rig, paused: true);
suite!(guarded, crate::ports::csp_guarded::rig, paused: true);
suite!(http, crate::ports::csp_http::rig, paused: false);
suite!(grpc, crate::ports::csp_grpc::rig, paused: false);

/// An operator, what is behind it, and its clock.
#[derive(Clone)]
pub(super) struct Rig {
    csp: Arc<dyn Csp>,
    pub(super) back: Arc<dyn SandboxCsp>,
    clock: Arc<dyn StandingClock>,
    /// How long a call may take.
    pub(super) budget: Duration,
    /// What must be there for as long as the operator is: its file, its process.
    _kept: Arc<dyn Any + Send + Sync>,
}

/// A clock that stands until it is moved.
#[async_trait]
pub(super) trait StandingClock: Send + Sync {
    /// Moves it forward by whole seconds.
    async fn pass(&self, duration: Duration);
}

#[async_trait]
impl StandingClock for ManualClock {
    async fn pass(&self, duration: Duration) {
        Self::pass(self, duration);
    }
}

fn sandbox_rig() -> Rig {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(noon()));
    let sandbox = open(&folder.path().join("bill"), &clock, "MXN", TimeZone::UTC).expect("a sandbox");
    Rig::of(sandbox, &clock, &Arc::new(folder))
}

/// The sandbox with something around it.
pub(super) fn sandbox_rig_behind(around: impl FnOnce(Arc<dyn Csp>) -> Arc<dyn Csp>) -> Rig {
    let rig = sandbox_rig();
    Rig { csp: around(rig.csp), ..rig }
}

pub(super) fn open(
    file: &Path,
    clock: &Arc<ManualClock>,
    code: &str,
    time_zone: TimeZone,
) -> Result<Sandbox, BillError> {
    Sandbox::open(file, Settings { currency: currency(code), time_zone, clock: clock.clone() })
}

pub(super) fn noon() -> Time {
    "2026-03-10T12:00:00Z".parse().expect("a time")
}

pub(super) const HALF_A_DAY: Duration = Duration::from_hours(12);

pub fn currency(code: &str) -> Currency {
    Currency::from_code(code).expect("a currency")
}

pub(super) fn number(condition: &str) -> Msisdn {
    Msisdn::new(&format!("55542424{condition}"))
}

fn reference(count: u128) -> Reference {
    Reference::from_bytes(count.to_be_bytes())
}

impl Rig {
    pub(super) fn of(sandbox: Sandbox, clock: &Arc<ManualClock>, folder: &Arc<tempfile::TempDir>) -> Self {
        let sandbox = Arc::new(sandbox);
        let kept = Arc::clone(folder);
        Self::behind(sandbox.clone(), sandbox, clock.clone(), Duration::from_millis(600), kept)
    }

    pub(super) fn behind(
        csp: Arc<dyn Csp>,
        back: Arc<dyn SandboxCsp>,
        clock: Arc<dyn StandingClock>,
        budget: Duration,
        kept: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self { csp, back, clock, budget, _kept: kept }
    }

    fn call(&self) -> CallContext {
        let correlation = CorrelationId::parse("test").expect("well formed");
        CallContext {
            trace: Trace::begun_by(&correlation),
            correlation,
            partner: None,
            trace_state: None,
            budget: self.budget,
        }
    }

    async fn find(&self, who: Identifier) -> Option<Account> {
        self.csp.account(&who, None, &self.call()).await.expect("an answer")
    }

    async fn account(&self, condition: &str) -> AccountRef {
        let who = Identifier::Address(Address::Msisdn(number(condition)));
        self.find(who).await.expect("a known account").reference
    }

    /// Charges an account of this condition some minor units.
    pub(super) async fn charge(&self, condition: &str, count: u128, minor: i64) -> Result<Receipt, CspError> {
        self.charge_money(condition, count, Money::new(minor, currency("MXN"))).await
    }

    pub(super) async fn charge_money(&self, condition: &str, count: u128, money: Money) -> Result<Receipt, CspError> {
        let order = ChargeOrder {
            reference: reference(count),
            account: self.account(condition).await,
            charge_code: ChargeCode::new("BASIC"),
            money,
            bill_text: format!("charge {count}"),
        };
        self.csp.charge(&order, &self.call()).await
    }

    pub(super) async fn refund(&self, condition: &str, count: u128, of: u128, minor: i64) -> Result<Receipt, CspError> {
        let order = RefundOrder {
            reference: reference(count),
            charge: reference(of),
            account: self.account(condition).await,
            charge_code: ChargeCode::new("BASIC"),
            money: Money::new(minor, currency("MXN")),
            bill_text: format!("refund {count}"),
        };
        self.csp.refund(&order, &self.call()).await
    }

    async fn inquire(&self, count: u128) -> Inquiry {
        self.csp.inquire(&reference(count), &self.call()).await.expect("an answer")
    }

    pub(super) async fn bill(&self, condition: &str) -> Bill {
        self.back.bill(&number(condition), 100).await.expect("a bill")
    }

    /// Amounts of the lines, and the total, in minor units.
    pub(super) async fn amounts(&self, condition: &str) -> (Vec<i64>, i64) {
        let bill = self.bill(condition).await;
        (bill.lines.iter().map(|line| line.money.minor).collect(), bill.total.minor)
    }
}

fn receipt(count: u128, minor: i64) -> Receipt {
    Receipt { reference: reference(count), money: Money::new(minor, currency("MXN")) }
}

#[track_caller]
pub(super) fn assert_booked(answer: Result<Receipt, CspError>, count: u128, minor: i64) {
    match answer {
        Ok(booked) => assert_eq!(booked, receipt(count, minor)),
        Err(error) => panic!("not booked: {error:?}"),
    }
}

#[track_caller]
pub(super) fn assert_refused(answer: Result<Receipt, CspError>, expected: &str) {
    match answer {
        Err(CspError::Refused { code }) => assert_eq!(code, expected),
        other => panic!("{expected} wanted: {other:?}"),
    }
}

#[track_caller]
fn assert_unknown(answer: &Result<Receipt, CspError>) {
    assert!(matches!(answer, Err(CspError::Unknown(_))), "{answer:?}");
}

#[track_caller]
fn assert_not_applied(answer: &Result<Receipt, CspError>) {
    assert!(matches!(answer, Err(CspError::NotApplied(_))), "{answer:?}");
}

async fn each_condition_has_its_standing_payment_and_eligibility(rig: Rig) {
    use Eligibility::{Eligible, NotEligible};
    use PaymentModel::{Postpaid, Prepaid};
    use Standing::{Active, Ceased, SuspendedLostStolen, SuspendedNonPayment};
    for (condition, standing, payment, eligibility) in [
        ("01", Active, Postpaid, Eligible),
        ("02", Ceased, Postpaid, Eligible),
        ("03", SuspendedNonPayment, Postpaid, Eligible),
        ("04", SuspendedLostStolen, Postpaid, Eligible),
        ("05", Active, Postpaid, NotEligible),
        ("06", Active, Prepaid, Eligible),
        ("07", Active, Postpaid, Eligible),
        ("08", Active, Prepaid, Eligible),
        ("11", Active, Postpaid, Eligible),
        ("12", Active, Postpaid, Eligible),
        ("13", Active, Postpaid, Eligible),
        ("14", Active, Postpaid, Eligible),
        ("15", Active, Postpaid, Eligible),
        ("16", Active, Postpaid, Eligible),
        ("20", Active, Postpaid, Eligible),
    ] {
        for product in [None, Some(ChargeCode::new("BASIC"))] {
            let who = Identifier::Address(Address::Msisdn(number(condition)));
            let found =
                rig.csp.account(&who, product.as_ref(), &rig.call()).await.expect("an answer").expect("an account");
            assert_eq!(
                (found.standing, found.payment, found.eligibility),
                (standing, payment, eligibility),
                "{condition} {product:?}"
            );
        }
    }
}

async fn an_unknown_account_is_nobody_and_refused(rig: Rig) {
    for unknown in ["5554242499", "5554242409", "4441234501", "not a number"] {
        let who = Identifier::Address(Address::Msisdn(Msisdn::new(unknown)));
        assert_eq!(rig.find(who).await, None, "{unknown}");
    }
    let order = ChargeOrder {
        reference: reference(1),
        account: AccountRef::new("nobody"),
        charge_code: ChargeCode::new("BASIC"),
        money: Money::new(999, currency("MXN")),
        bill_text: String::new(),
    };
    assert_eq!(rig.find(Identifier::Account(order.account.clone())).await, None);
    assert_refused(rig.csp.charge(&order, &rig.call()).await, "unknown-account");
    let sms = Sms { sender: None, language: None, text: SmsText::new("hello".to_owned()) };
    let sent = rig.csp.notify(&Msisdn::new("5554242499"), &sms, &rig.call()).await;
    assert!(matches!(sent, Err(CspError::Refused { .. })), "{sent:?}");
}

async fn number_email_and_name_lead_to_one_account(rig: Rig) {
    let by_number = rig.find(Identifier::Address(Address::Msisdn(number("20")))).await.expect("an account");
    let email = |text: &str| Identifier::Address(Address::Email(Email::parse(text).expect("well formed")));
    assert_eq!(rig.find(email("5554242420@sandbox.example")).await.as_ref(), Some(&by_number));
    assert_eq!(rig.find(Identifier::Account(by_number.reference.clone())).await.as_ref(), Some(&by_number));
    assert_ne!(by_number.reference.as_str(), number("20").expose(), "the name outlives the number");
    assert_eq!(rig.find(email("5554242401@sandbox.example")).await, None, "others have no address");
    assert_ne!(rig.account("01").await, by_number.reference);
}

async fn a_charge_is_on_the_bill_with_its_text_and_time(rig: Rig) {
    assert_booked(rig.charge("01", 1, 999).await, 1, 999);
    rig.clock.pass(Duration::from_mins(1)).await;
    assert_booked(rig.charge("01", 2, 150_000).await, 2, 150_000);
    let bill = rig.bill("01").await;
    assert_eq!(bill.total.minor, 150_999);
    assert_eq!(rig.amounts("01").await.0, [999, 150_000]);
    assert_eq!((bill.lines[0].reference, bill.lines[0].text.as_str()), (reference(1), "charge 1"));
    assert_eq!(bill.lines[0].at, noon());
    assert_eq!(bill.lines[1].at.duration_since(noon()).as_secs(), 60);
    assert_eq!(rig.amounts("20").await, (vec![], 0), "each number has a bill of its own");
}

async fn a_repeat_is_answered_alike_and_booked_once(rig: Rig) {
    for _ in 0..3 {
        assert_booked(rig.charge("01", 1, 999).await, 1, 999);
    }
    for _ in 0..3 {
        assert_booked(rig.refund("01", 2, 1, 400).await, 2, 400);
    }
    assert_eq!(rig.amounts("01").await, (vec![999, -400], 599));
}

async fn a_reference_stands_for_one_request_only(rig: Rig) {
    assert_booked(rig.charge("01", 1, 999).await, 1, 999);
    assert_refused(rig.charge("01", 1, 998).await, "reference-reused");
    assert_refused(rig.charge("20", 1, 999).await, "reference-reused");
    assert_refused(rig.refund("01", 1, 1, 999).await, "reference-reused");
    assert_booked(rig.refund("01", 2, 1, 100).await, 2, 100);
    assert_refused(rig.refund("01", 2, 1, 200).await, "reference-reused");
    assert_refused(rig.charge("01", 2, 100).await, "reference-reused");
    assert_eq!(rig.amounts("01").await, (vec![999, -100], 899));
    assert!(matches!(rig.inquire(1).await, Inquiry::Booked(booked) if booked == receipt(1, 999)));
}

async fn money_must_be_positive_and_in_the_bills_currency(rig: Rig) {
    for money in [Money::new(0, currency("MXN")), Money::new(-1, currency("MXN")), Money::new(999, currency("USD"))] {
        assert_refused(rig.charge_money("01", 1, money).await, "invalid-money");
    }
    assert_booked(rig.charge("01", 1, 999).await, 1, 999);
    assert_refused(rig.refund("01", 2, 1, 0).await, "invalid-money");
    assert_refused(rig.refund("01", 2, 1, -5).await, "invalid-money");
    assert_eq!(rig.amounts("01").await, (vec![999], 999));
}

async fn refunds_give_back_at_most_their_charge(rig: Rig) {
    assert_booked(rig.charge("01", 1, 1000).await, 1, 1000);
    for (count, minor, refusal) in [
        (2, 1001, Some("refund-exceeds-charge")),
        (3, 300, None),
        (4, 701, Some("refund-exceeds-charge")),
        (5, i64::MAX, Some("refund-exceeds-charge")),
        (6, 700, None),
        (7, 1, Some("refund-exceeds-charge")),
    ] {
        let answer = rig.refund("01", count, 1, minor).await;
        match refusal {
            None => assert_booked(answer, count, minor),
            Some(code) => assert_refused(answer, code),
        }
    }
    assert_eq!(rig.amounts("01").await, (vec![1000, -300, -700], 0));
}

async fn a_refund_needs_a_charge_of_its_account(rig: Rig) {
    assert_refused(rig.refund("01", 2, 1, 100).await, "unknown-charge");
    assert_booked(rig.charge("01", 1, 1000).await, 1, 1000);
    assert_refused(rig.refund("20", 3, 1, 100).await, "unknown-charge");
    assert_booked(rig.refund("01", 4, 1, 100).await, 4, 100);
    assert_refused(rig.refund("01", 5, 4, 50).await, "unknown-charge");
    assert_refused(rig.charge("08", 6, 1).await, "insufficient-funds");
    assert_refused(rig.refund("08", 7, 6, 1).await, "unknown-charge");
    assert_refused(rig.refund("01", 2, 1, 100).await, "unknown-charge");
    assert_eq!(rig.amounts("01").await, (vec![1000, -100], 900));
}

async fn an_inquiry_tells_booked_refused_and_not_known(rig: Rig) {
    assert_booked(rig.charge("01", 1, 999).await, 1, 999);
    assert_booked(rig.refund("01", 2, 1, 99).await, 2, 99);
    assert_refused(rig.charge("08", 3, 1).await, "insufficient-funds");
    assert_refused(rig.refund("01", 4, 1, 901).await, "refund-exceeds-charge");
    for (count, minor) in [(1, 999), (2, 99)] {
        assert!(matches!(rig.inquire(count).await, Inquiry::Booked(booked) if booked == receipt(count, minor)));
    }
    for (count, refusal) in [(3, "insufficient-funds"), (4, "refund-exceeds-charge")] {
        assert!(matches!(rig.inquire(count).await, Inquiry::Refused { code } if code == refusal));
    }
    assert!(matches!(rig.inquire(5).await, Inquiry::NotKnown));
}

async fn an_account_that_may_not_buy_is_not_billed(rig: Rig) {
    for (condition, refusal) in
        [("02", "account-ceased"), ("03", "account-suspended"), ("04", "account-suspended"), ("05", "not-eligible")]
    {
        assert_refused(rig.charge(condition, 1, 999).await, refusal);
        assert_eq!(rig.amounts(condition).await, (vec![], 0));
    }
}

async fn a_daily_limit_holds_for_a_day_and_refunds_give_it_back(rig: Rig) {
    assert_refused(rig.charge("07", 1, 100_001).await, "daily-limit");
    assert_booked(rig.charge("07", 2, 60_000).await, 2, 60_000);
    assert_refused(rig.charge("07", 3, 40_001).await, "daily-limit");
    assert_booked(rig.charge("07", 4, 40_000).await, 4, 40_000);
    assert_booked(rig.refund("07", 5, 2, 10_000).await, 5, 10_000);
    assert_booked(rig.charge("07", 6, 10_000).await, 6, 10_000);
    assert_refused(rig.charge("07", 7, 1).await, "daily-limit");
    rig.clock.pass(HALF_A_DAY).await;
    assert_booked(rig.charge("07", 8, 100_000).await, 8, 100_000);
    assert_refused(rig.charge("07", 7, 1).await, "daily-limit");
    assert_refused(rig.charge("07", 9, 1).await, "daily-limit");
    assert_eq!(rig.amounts("07").await, (vec![60_000, 40_000, -10_000, 10_000, 100_000], 200_000));
}

async fn a_refund_of_an_earlier_days_charge_leaves_todays_limit(rig: Rig) {
    assert_booked(rig.charge("07", 1, 100_000).await, 1, 100_000);
    rig.clock.pass(HALF_A_DAY).await;
    assert_booked(rig.charge("07", 2, 90_000).await, 2, 90_000);
    assert_booked(rig.refund("07", 3, 1, 100_000).await, 3, 100_000);
    assert_refused(rig.charge("07", 4, 10_001).await, "daily-limit");
    assert_booked(rig.charge("07", 5, 10_000).await, 5, 10_000);
}

async fn a_balance_is_spent_once_and_refunds_give_it_back(rig: Rig) {
    assert_refused(rig.charge("06", 1, 20_001).await, "insufficient-funds");
    assert_booked(rig.charge("06", 2, 15_000).await, 2, 15_000);
    rig.clock.pass(HALF_A_DAY).await;
    assert_refused(rig.charge("06", 3, 5_001).await, "insufficient-funds");
    assert_booked(rig.charge("06", 4, 5_000).await, 4, 5_000);
    assert_booked(rig.refund("06", 5, 2, 7_000).await, 5, 7_000);
    assert_refused(rig.charge("06", 6, 7_001).await, "insufficient-funds");
    assert_booked(rig.charge("06", 7, 7_000).await, 7, 7_000);
    assert_eq!(rig.amounts("06").await.1, 20_000);
}

async fn a_lost_answer_is_unknown_and_booked(rig: Rig) {
    let before = Instant::now();
    assert_unknown(&rig.charge("11", 1, 999).await);
    assert!(before.elapsed() >= rig.budget, "it waits for an answer as long as it may");
    assert_eq!(rig.amounts("11").await, (vec![999], 999));
    assert!(matches!(rig.inquire(1).await, Inquiry::Booked(booked) if booked == receipt(1, 999)));
    assert_unknown(&rig.charge("11", 1, 999).await);
    assert_booked(rig.refund("11", 2, 1, 999).await, 2, 999);
    assert_eq!(rig.amounts("11").await, (vec![999, -999], 0));
}

async fn a_charge_that_never_arrives_is_unknown_and_not_booked(rig: Rig) {
    let before = Instant::now();
    assert_unknown(&rig.charge("12", 1, 999).await);
    assert!(before.elapsed() >= rig.budget);
    assert!(matches!(rig.inquire(1).await, Inquiry::NotKnown));
    assert_eq!(rig.amounts("12").await, (vec![], 0));
}

async fn a_slow_account_takes_its_time_for_every_answer(rig: Rig) {
    let slow = Duration::from_millis(250);
    let started = Instant::now();
    let account = rig.account("13").await;
    assert!(started.elapsed() >= slow, "account");
    let money = Money::new(999, currency("MXN"));
    let code = ChargeCode::new("BASIC");
    let order = ChargeOrder {
        reference: reference(1),
        account: account.clone(),
        charge_code: code.clone(),
        money,
        bill_text: String::new(),
    };
    let back = RefundOrder {
        reference: reference(2),
        charge: reference(1),
        account,
        charge_code: code,
        money,
        bill_text: String::new(),
    };
    let sms = Sms { sender: None, language: None, text: SmsText::new("hello".to_owned()) };
    let started = Instant::now();
    rig.csp.charge(&order, &rig.call()).await.expect("booked");
    assert!(started.elapsed() >= slow, "charge");
    let started = Instant::now();
    rig.csp.refund(&back, &rig.call()).await.expect("booked");
    assert!(started.elapsed() >= slow, "refund");
    let started = Instant::now();
    rig.csp.inquire(&reference(1), &rig.call()).await.expect("an answer");
    assert!(started.elapsed() >= slow, "inquire");
    let started = Instant::now();
    rig.csp.notify(&number("13"), &sms, &rig.call()).await.expect("sent");
    assert!(started.elapsed() >= slow, "notify");
}

async fn an_answer_after_the_budget_is_unknown_and_what_was_booked_stays(rig: Rig) {
    let order = ChargeOrder {
        reference: reference(1),
        account: rig.account("13").await,
        charge_code: ChargeCode::new("BASIC"),
        money: Money::new(999, currency("MXN")),
        bill_text: String::new(),
    };
    let hasty = CallContext { budget: Duration::from_millis(100), ..rig.call() };
    assert_unknown(&rig.csp.charge(&order, &hasty).await);
    assert!(matches!(rig.inquire(1).await, Inquiry::Booked(booked) if booked == receipt(1, 999)));
}

async fn each_reference_is_turned_away_twice_and_then_taken(rig: Rig) {
    for count in [1, 2] {
        assert_not_applied(&rig.charge("14", count, 999).await);
        assert!(matches!(rig.inquire(count).await, Inquiry::NotKnown));
        assert_not_applied(&rig.charge("14", count, 999).await);
        assert_booked(rig.charge("14", count, 999).await, count, 999);
        assert_booked(rig.charge("14", count, 999).await, count, 999);
    }
    assert_booked(rig.refund("14", 3, 1, 999).await, 3, 999);
    assert_eq!(rig.amounts("14").await, (vec![999, 999, -999], 999));
}

async fn an_unreachable_operator_has_applied_nothing(rig: Rig) {
    for _ in 0..5 {
        assert_not_applied(&rig.charge("15", 1, 999).await);
    }
    assert!(matches!(rig.inquire(1).await, Inquiry::NotKnown));
    assert_eq!(rig.amounts("15").await, (vec![], 0));
}

async fn text_messages_arrive_newest_first(rig: Rig) {
    for (second, text) in ["first", "second", "third"].into_iter().enumerate() {
        let sms = Sms { sender: Some("onbill".to_owned()), language: None, text: SmsText::new(text.to_owned()) };
        rig.csp.notify(&number("03"), &sms, &rig.call()).await.expect("the suspended receive texts");
        rig.clock.pass(Duration::from_secs(u64::try_from(second).expect("small"))).await;
    }
    let received = rig.back.messages(&number("03"), 2).await.expect("an inbox");
    let texts: Vec<_> = received.iter().map(|message| message.text.expose()).collect();
    assert_eq!(texts, ["third", "second"]);
    assert_eq!(received[0].at.duration_since(noon()).as_secs(), 1);
    assert!(rig.back.messages(&number("04"), 2).await.expect("an inbox").is_empty());
}

async fn a_reset_opens_a_new_bill_and_forgets_no_reference(rig: Rig) {
    let sms = Sms { sender: None, language: None, text: SmsText::new("hello".to_owned()) };
    assert_booked(rig.charge("06", 1, 20_000).await, 1, 20_000);
    assert_booked(rig.charge("07", 2, 100_000).await, 2, 100_000);
    assert_booked(rig.charge("01", 3, 999).await, 3, 999);
    for condition in ["06", "07"] {
        rig.csp.notify(&number(condition), &sms, &rig.call()).await.expect("sent");
        rig.back.reset(&number(condition)).await.expect("reset");
        assert!(rig.back.messages(&number(condition), 9).await.expect("an inbox").is_empty());
        assert_eq!(rig.amounts(condition).await, (vec![], 0));
    }
    assert_eq!(rig.amounts("01").await, (vec![999], 999), "others are left alone");

    assert_booked(rig.charge("06", 1, 20_000).await, 1, 20_000);
    assert_eq!(rig.amounts("06").await, (vec![], 0), "a repeat from before is no second charge");
    assert_booked(rig.refund("06", 4, 1, 20_000).await, 4, 20_000);
    assert_booked(rig.charge("06", 5, 20_000).await, 5, 20_000);
    assert_refused(rig.charge("06", 6, 1).await, "insufficient-funds");
    assert_booked(rig.refund("07", 7, 2, 100_000).await, 7, 100_000);
    assert_booked(rig.charge("07", 8, 100_000).await, 8, 100_000);
    assert_refused(rig.charge("07", 9, 1).await, "daily-limit");
    assert_eq!(rig.amounts("06").await, (vec![20_000], 20_000), "the refund is on the bill of its charge");
}

async fn a_long_bill_shows_its_newest_lines_and_its_whole_total(rig: Rig) {
    for count in 0..20 {
        assert_booked(rig.charge("01", count, 100).await, count, 100);
    }
    let bill = rig.back.bill(&number("01"), 3).await.expect("a bill");
    let references: Vec<_> = bill.lines.iter().map(|line| line.reference).collect();
    assert_eq!(references, [reference(17), reference(18), reference(19)]);
    assert_eq!(bill.total.minor, 2000);
}
