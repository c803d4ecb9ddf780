//! The sandbox: an operator whose accounts are scripted by their numbers (contract section 6).
//!
//! Invariant: towards the gateway it is a real operator. It books a reference once and remembers what it decided, it
//! refuses by its own limits, and its bill is in a file of its own that outlives the gateway. What a number does is in
//! `script`, how it is booked in `bill`. Nothing here knows partners, PINs or keys.

mod script;
mod subscriber;
mod attempts;
mod bill;
mod file;
mod counter;
mod inbox;
mod inbox_file;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::tz::TimeZone;

use attempts::Attempts;
use bill::{Bill, Booking, Decision, Limit};
use counter::{Counter, CounterError};
use inbox::Inbox;
use inbox_file::InboxFile;
use script::{OnCharge, Spending};
use subscriber::Subscriber;

pub use file::BillError;

use crate::domain::account::{Account, Eligibility, Standing};
use crate::domain::address::Msisdn;
use crate::domain::ids::{ChargeCode, Reference};
use crate::domain::money::{Currency, Money};
use crate::domain::transaction::settle::Receipt;
use crate::ports::Cause;
use crate::ports::clock::Clock;
use crate::ports::csp::{CallContext, ChargeOrder, Csp, CspError, Identifier, Inquiry, RefundOrder, Sms, Voiding};
use crate::ports::sandbox::{self, ReceivedSms, SandboxUnavailable};

/// The codes with which the sandbox refuses. Which public words each becomes is data of its profile.
pub mod code {
    /// No such account.
    pub const UNKNOWN_ACCOUNT: &str = "unknown-account";
    /// Given up.
    pub const ACCOUNT_CEASED: &str = "account-ceased";
    /// Barred, for whatever reason.
    pub const ACCOUNT_SUSPENDED: &str = "account-suspended";
    /// The operator's own rule.
    pub const NOT_ELIGIBLE: &str = "not-eligible";
    /// More than a day may cost.
    pub const DAILY_LIMIT: &str = "daily-limit";
    /// More than is left of the balance.
    pub const INSUFFICIENT_FUNDS: &str = "insufficient-funds";
    /// Another booking has this reference.
    pub const REFERENCE_REUSED: &str = "reference-reused";
    /// The gateway has made this reference void.
    pub const REFERENCE_VOID: &str = "reference-void";
    /// A refund of a charge that this account does not have.
    pub const UNKNOWN_CHARGE: &str = "unknown-charge";
    /// A refund of more than is left of its charge.
    pub const REFUND_EXCEEDS_CHARGE: &str = "refund-exceeds-charge";
    /// Not positive, or not in the currency of the bill.
    pub const INVALID_MONEY: &str = "invalid-money";
}

/// What a sandbox is told when it is opened.
#[derive(Clone)]
pub struct Settings {
    /// The currency of its bills.
    pub currency: Currency,
    /// Where its days begin.
    pub time_zone: TimeZone,
    /// Its clock: the gateway's, so that a test can begin a new day.
    pub clock: Arc<dyn Clock>,
}

/// Where text messages go.
enum Phones {
    /// To inboxes of this process.
    Own(Inbox),
    /// To inboxes that several processes share.
    Shared(InboxFile),
}

/// The sandbox CSP.
pub struct Sandbox {
    settings: Settings,
    counter: Counter,
    phones: Phones,
    attempts: Attempts,
}

impl Sandbox {
    /// Opens the bill in a file, and makes it if there is none.
    ///
    /// # Errors
    /// The file cannot be used, or its bill is in another currency.
    pub fn open(file: &Path, settings: Settings) -> Result<Self, BillError> {
        Ok(Self::with(Bill::open(file, settings.currency)?, settings))
    }

    /// A sandbox whose bill is gone when it is dropped, for simulation.
    ///
    /// # Errors
    /// SQLite has no memory for it.
    pub fn open_in_memory(settings: Settings) -> Result<Self, BillError> {
        Ok(Self::with(Bill::open_in_memory(settings.currency)?, settings))
    }

    fn with(bill: Bill, settings: Settings) -> Self {
        let phones = Phones::Own(Inbox::new());
        Self { settings, counter: Counter::new(bill), phones, attempts: Attempts::new() }
    }

    /// The same with inboxes in a file that other processes share.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn with_inboxes_in(self, file: &Path) -> Result<Self, BillError> {
        Ok(Self { phones: Phones::Shared(InboxFile::open(file)?), ..self })
    }

    /// Books a charge, or refuses it, and remembers which.
    async fn book_charge(&self, of: &Subscriber, order: &ChargeOrder) -> Result<Receipt, CspError> {
        self.check_money(order.money)?;
        let booking = self.booking(of, order.reference, order.money, &order.bill_text);
        let limit = self.limit(of);
        let decision = self.counter.write(move |bill| bill.charge(&booking, limit)).await.map_err(unbooked)?;
        self.receipt(order.reference, decision)
    }

    /// The same for a refund.
    async fn book_refund(&self, of: &Subscriber, order: &RefundOrder) -> Result<Receipt, CspError> {
        self.check_money(order.money)?;
        let booking = self.booking(of, order.reference, order.money, &order.bill_text);
        let (charge, limit) = (order.charge, self.limit(of));
        let decision = self.counter.write(move |bill| bill.refund(&booking, charge, limit)).await.map_err(unbooked)?;
        self.receipt(order.reference, decision)
    }

    fn booking(&self, of: &Subscriber, reference: Reference, money: Money, text: &str) -> Booking {
        Booking {
            reference,
            number: of.number().expose().to_owned(),
            minor: money.minor,
            text: text.to_owned(),
            at: self.settings.clock.now(),
            time_zone: self.settings.time_zone.clone(),
        }
    }

    fn check_money(&self, money: Money) -> Result<(), CspError> {
        if money.minor <= 0 || money.currency != self.settings.currency {
            return Err(refused(code::INVALID_MONEY));
        }
        Ok(())
    }

    fn limit(&self, of: &Subscriber) -> Limit {
        let minor = |major: i64| {
            let factor = 10_i64.saturating_pow(u32::from(self.settings.currency.decimals()));
            major.saturating_mul(factor)
        };
        match of.script().spending {
            Spending::Unlimited => Limit::None,
            Spending::DailyLimit(major) => Limit::Daily(minor(major)),
            Spending::Balance(major) => Limit::Balance(minor(major)),
        }
    }

    fn receipt(&self, reference: Reference, decision: Decision) -> Result<Receipt, CspError> {
        match decision {
            Decision::Booked(minor) => Ok(Receipt { reference, money: Money::new(minor, self.settings.currency) }),
            Decision::Refused(code) => Err(CspError::Refused { code }),
            Decision::Void => Err(refused(code::REFERENCE_VOID)),
        }
    }

    /// Whether this attempt is one of those that are turned away. One that is already decided is not.
    fn turned_away(&self, reference: Reference, attempts: u32) -> Result<bool, CspError> {
        if self.counter.read(|bill| bill.find(reference)).map_err(unbooked)?.is_some() {
            return Ok(false);
        }
        Ok(self.attempts.count(reference) <= attempts)
    }
}

#[async_trait]
impl Csp for Sandbox {
    fn would_take(&self, _time_left: Duration) -> Result<(), Cause> {
        Ok(())
    }

    async fn account(
        &self,
        who: &Identifier,
        _product: Option<&ChargeCode>,
        call: &CallContext,
    ) -> Result<Option<Account>, CspError> {
        let Some(subscriber) = Subscriber::find(who) else {
            return Ok(None);
        };
        answer(Some(&subscriber), call, async { Ok(Some(subscriber.account())) }).await
    }

    async fn charge(&self, order: &ChargeOrder, call: &CallContext) -> Result<Receipt, CspError> {
        let subscriber = known(Subscriber::by_name(&order.account))?;
        match subscriber.script().on_charge {
            OnCharge::Unreachable => return Err(CspError::NotApplied(Cause::new("connection refused, as scripted"))),
            OnCharge::NeverArrives => return silence(call).await,
            OnCharge::TurnedAwayFirst(attempts) if self.turned_away(order.reference, attempts)? => {
                return Err(CspError::NotApplied(Cause::new("turned away for now, as scripted")));
            }
            OnCharge::AnswerLost | OnCharge::TurnedAwayFirst(_) | OnCharge::Answered => {}
        }
        may_buy(&subscriber)?;
        let booked = answer(Some(&subscriber), call, self.book_charge(&subscriber, order)).await;
        if subscriber.script().on_charge == OnCharge::AnswerLost {
            return silence(call).await;
        }
        booked
    }

    async fn refund(&self, order: &RefundOrder, call: &CallContext) -> Result<Receipt, CspError> {
        let subscriber = known(Subscriber::by_name(&order.account))?;
        answer(Some(&subscriber), call, self.book_refund(&subscriber, order)).await
    }

    async fn inquire(&self, reference: &Reference, call: &CallContext) -> Result<Inquiry, CspError> {
        let Some((number, decision)) = self.counter.read(|bill| bill.find(*reference)).map_err(unbooked)? else {
            return Ok(Inquiry::NotKnown);
        };
        let inquiry = match decision {
            Decision::Booked(minor) => {
                let money = Money::new(minor, self.settings.currency);
                Inquiry::Booked(Receipt { reference: *reference, money })
            }
            Decision::Refused(code) => Inquiry::Refused { code },
            // It is as if it had never been heard of.
            Decision::Void => Inquiry::NotKnown,
        };
        answer(Subscriber::by_number(&Msisdn::new(&number)).as_ref(), call, async { Ok(inquiry) }).await
    }

    async fn void(&self, reference: &Reference, _call: &CallContext) -> Result<Voiding, CspError> {
        let (reference, at) = (*reference, self.settings.clock.now());
        match self.counter.write(move |bill| bill.void(reference, at)).await.map_err(unbooked)? {
            Decision::Booked(minor) => {
                Ok(Voiding::Booked(Receipt { reference, money: Money::new(minor, self.settings.currency) }))
            }
            Decision::Refused(code) => Ok(Voiding::Refused { code }),
            Decision::Void => Ok(Voiding::Void),
        }
    }

    async fn notify(&self, number: &Msisdn, message: &Sms, call: &CallContext) -> Result<(), CspError> {
        let subscriber = known(Subscriber::by_number(number))?;
        if subscriber.script().standing == Standing::Ceased {
            return Err(refused(code::ACCOUNT_CEASED));
        }
        let received = ReceivedSms { text: message.text.clone(), at: self.settings.clock.now() };
        match &self.phones {
            Phones::Own(inbox) => inbox.receive(number, received),
            Phones::Shared(file) => {
                file.receive(number, &received).map_err(|error| CspError::NotApplied(Cause::new(error)))?;
            }
        }
        answer(Some(&subscriber), call, async { Ok(()) }).await
    }
}

#[async_trait]
impl sandbox::SandboxCsp for Sandbox {
    async fn messages(&self, number: &Msisdn, messages_max: usize) -> Result<Vec<ReceivedSms>, SandboxUnavailable> {
        match &self.phones {
            Phones::Own(inbox) => Ok(inbox.messages(number, messages_max)),
            Phones::Shared(file) => file.messages(number, messages_max).map_err(unread),
        }
    }

    async fn bill(&self, number: &Msisdn, lines_max: usize) -> Result<sandbox::Bill, SandboxUnavailable> {
        let currency = self.settings.currency;
        let (lines, total) =
            self.counter.read(|bill| bill.lines(number.expose(), currency, lines_max)).map_err(unavailable)?;
        Ok(sandbox::Bill { lines, total: Money::new(total, currency) })
    }

    async fn booked(&self, after: u64, lines_max: usize) -> Result<Vec<sandbox::BookedLine>, SandboxUnavailable> {
        self.counter.read(|bill| bill.booked(after, self.settings.currency, lines_max)).map_err(unavailable)
    }

    async fn line(&self, reference: &Reference) -> Result<Option<sandbox::BookedLine>, SandboxUnavailable> {
        self.counter.read(|bill| bill.line_of(*reference, self.settings.currency)).map_err(unavailable)
    }

    async fn reset(&self, number: &Msisdn) -> Result<(), SandboxUnavailable> {
        let of = number.clone();
        self.counter.write(move |bill| bill.reset(of.expose())).await.map_err(unavailable)?;
        match &self.phones {
            Phones::Own(inbox) => inbox.clear(number),
            Phones::Shared(file) => file.clear(number).map_err(unread)?,
        }
        Ok(())
    }
}

/// Does the work, then takes the time that the account's answers take; no answer within the budget is an unknown one.
async fn answer<T>(
    of: Option<&Subscriber>,
    call: &CallContext,
    work: impl Future<Output = Result<T, CspError>>,
) -> Result<T, CspError> {
    let answered = async {
        let done = work.await;
        let after = of.map_or(Duration::ZERO, |subscriber| subscriber.script().answer_after);
        if !after.is_zero() {
            tokio::time::sleep(after).await;
        }
        done
    };
    tokio::time::timeout(call.budget, answered)
        .await
        .unwrap_or_else(|elapsed| Err(CspError::Unknown(Cause::new(elapsed))))
}

/// Never answers.
async fn silence<T>(call: &CallContext) -> Result<T, CspError> {
    tokio::time::sleep(call.budget).await;
    Err(CspError::Unknown(Cause::new("no answer, as scripted")))
}

fn known(subscriber: Option<Subscriber>) -> Result<Subscriber, CspError> {
    subscriber.ok_or_else(|| refused(code::UNKNOWN_ACCOUNT))
}

/// Whether an operator would bill the account at all. A gateway that has looked it up does not get here.
fn may_buy(subscriber: &Subscriber) -> Result<(), CspError> {
    match (subscriber.script().standing, subscriber.script().eligibility) {
        (Standing::Ceased, _) => Err(refused(code::ACCOUNT_CEASED)),
        (Standing::SuspendedNonPayment | Standing::SuspendedLostStolen, _) => Err(refused(code::ACCOUNT_SUSPENDED)),
        (Standing::Active, Eligibility::NotEligible) => Err(refused(code::NOT_ELIGIBLE)),
        (Standing::Active, Eligibility::Eligible) => Ok(()),
    }
}

fn refused(code: &str) -> CspError {
    CspError::Refused { code: code.to_owned() }
}

fn unbooked(error: CounterError) -> CspError {
    match error {
        CounterError::Busy => CspError::NotApplied(Cause::new("too many bookings wait")),
        CounterError::Failed(cause) => CspError::Unknown(cause),
    }
}

fn unread(error: BillError) -> SandboxUnavailable {
    SandboxUnavailable(Cause::new(error))
}

fn unavailable(error: CounterError) -> SandboxUnavailable {
    match error {
        CounterError::Busy => SandboxUnavailable(Cause::new("too many bookings wait")),
        CounterError::Failed(cause) => SandboxUnavailable(cause),
    }
}
