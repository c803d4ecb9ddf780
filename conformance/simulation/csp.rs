//! The simulated CSP, and the network in front of it.
//!
//! Invariant: a request that was sent belongs to the network, whatever becomes of its sender. Copies that the network
//! makes of one request are booked once, but a request that a gateway sends anew is booked anew: the gateway must not
//! lean on more than the port promises to allow. Only where the profile promises idempotent resends is a reference
//! booked once. It enforces no cap on refunds either, so that the checker sees what the gateway does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onbill::domain::account::{Account, Eligibility, PaymentModel, Standing};
use onbill::domain::address::{Address, Msisdn};
use onbill::domain::directory::Recovery;
use onbill::domain::ids::{AccountRef, ChargeCode, Reference};
use onbill::domain::money::Money;
use onbill::domain::transaction::settle::Receipt;
use onbill::ports::csp::{CallContext, ChargeOrder, Csp, CspError, Identifier, Inquiry, RefundOrder, Sms, Voiding};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::mutation::Mutation;
use super::plan::FORGET_AFTER_S;
use super::world::{Place, World, cause};

/// Minor units that the poor account may spend.
const BALANCE_MINOR: i64 = 1_500;
/// Whose account it is.
const POOR: &str = "acc-5550100006";
/// Whose charges never arrive while there are faults.
const UNREACHABLE: &str = "acc-5550100015";

/// Something that stands on the CSP's bill.
#[derive(Debug, Clone)]
pub struct Effect {
    pub at_ms: u64,
    /// The key, as the text for the bill tells it.
    pub label: String,
    pub reference: Reference,
    /// The charge that it gives back.
    pub charge: Option<Reference>,
    pub account: AccountRef,
    /// Negative on a refund.
    pub minor: i64,
}

/// An order as it travels.
#[derive(Debug, Clone)]
struct Order {
    reference: Reference,
    charge: Option<Reference>,
    account: AccountRef,
    money: Money,
    label: String,
}

/// What became of an order.
#[derive(Debug, Clone)]
enum Decision {
    Booked(Money),
    Refused(String),
}

/// What the CSP remembers.
#[derive(Debug, Default)]
pub struct Memory {
    /// The bill, in the order of time.
    pub effects: Vec<Effect>,
    /// Keys of which it has said something that is not so, once.
    pub liars: BTreeSet<String>,
    /// Keys whose receipts are not for what was sent, and never will be.
    pub misbooked: BTreeSet<String>,
    decided: BTreeMap<Reference, Decision>,
    void: BTreeSet<Reference>,
    deliveries: BTreeMap<u64, Decision>,
    misnamed: BTreeSet<Reference>,
    spent: BTreeMap<String, i64>,
}

/// The CSP.
pub struct SimulatedCsp {
    world: Arc<World>,
    memory: Mutex<Memory>,
    deliveries: AtomicU64,
}

/// What chance has in store for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Ordinary,
    LostBefore,
    LostAfter,
    Late,
    Duplicate,
    Slow,
    Refused,
    NotApplied,
    WrongAmount,
    WrongReference,
    SaysRefused,
    SaysBooked,
}

impl SimulatedCsp {
    pub fn new(world: Arc<World>) -> Self {
        Self { world, memory: Mutex::default(), deliveries: AtomicU64::new(0) }
    }

    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fate(&self, order: &Order) -> Fate {
        let rates = &self.world.plan.csp;
        if order.account.as_str() == UNREACHABLE && order.charge.is_none() && self.world.faults_are_on() {
            return Fate::NotApplied;
        }
        let table = [
            (rates.lost_before, Fate::LostBefore),
            (rates.lost_after, Fate::LostAfter),
            (rates.late, Fate::Late),
            (rates.duplicate, Fate::Duplicate),
            (rates.slow, Fate::Slow),
            (rates.refused, Fate::Refused),
            (rates.not_applied, Fate::NotApplied),
            (rates.wrong_amount, Fate::WrongAmount),
            (rates.wrong_reference, Fate::WrongReference),
            (rates.contradictory, Fate::SaysRefused),
            (rates.contradictory, Fate::SaysBooked),
        ];
        table.into_iter().find(|(rate, _)| self.world.strikes(*rate)).map_or(Fate::Ordinary, |(_, fate)| fate)
    }

    /// An order arrives: it is decided, once for its delivery.
    fn arrive(&self, delivery: u64, order: &Order, fate: Fate) -> Result<Receipt, CspError> {
        let mut memory = self.memory();
        if memory.void.contains(&order.reference) && self.world.mutation != Mutation::VoidIsForgotten {
            return Err(CspError::Refused { code: "void".to_owned() });
        }
        let idempotent = self.world.plan.recovery == Recovery::Resend;
        let earlier = if idempotent { memory.decided.get(&order.reference) } else { memory.deliveries.get(&delivery) };
        let decision = match earlier {
            Some(decision) => decision.clone(),
            None => self.decide(&mut memory, order, fate),
        };
        memory.deliveries.insert(delivery, decision.clone());
        let kept = memory.decided.entry(order.reference).or_insert_with(|| decision.clone());
        if matches!(decision, Decision::Booked(_)) {
            *kept = decision.clone();
        }
        if fate == Fate::SaysRefused {
            memory.liars.insert(order.label.clone());
            return Err(CspError::Refused { code: "a-lie".to_owned() });
        }
        match decision {
            Decision::Refused(code) => Err(CspError::Refused { code }),
            Decision::Booked(money) => Ok(receipt(&memory, order.reference, money)),
        }
    }

    fn decide(&self, memory: &mut Memory, order: &Order, fate: Fate) -> Decision {
        let account = order.account.as_str().to_owned();
        let spent = memory.spent.entry(account).or_default();
        let signed = if order.charge.is_some() { -order.money.minor } else { order.money.minor };
        if fate == Fate::Refused || (order.account.as_str() == POOR && *spent + signed > BALANCE_MINOR) {
            let code = if fate == Fate::Refused { "no" } else { "insufficient-funds" };
            self.world.note(&order.label, format!("CSP refuses: {code}"));
            return Decision::Refused(code.to_owned());
        }
        let (minor, money) = match fate {
            Fate::WrongAmount => (signed + signed.signum(), Money::new(order.money.minor + 1, order.money.currency)),
            _ => (signed, order.money),
        };
        *spent += minor;
        if fate == Fate::WrongReference {
            memory.misnamed.insert(order.reference);
        }
        if matches!(fate, Fate::WrongAmount | Fate::WrongReference) {
            memory.misbooked.insert(order.label.clone());
        }
        self.world.note(&order.label, format!("CSP books {minor} under {}", order.reference));
        memory.effects.push(Effect {
            at_ms: self.world.now_ms(),
            label: order.label.clone(),
            reference: order.reference,
            charge: order.charge,
            account: order.account.clone(),
            minor,
        });
        Decision::Booked(money)
    }

    /// Hands an order to the network and waits for the answer as long as the call may take.
    async fn send(self: &Arc<Self>, order: Order, call: &CallContext) -> Result<Receipt, CspError> {
        let fate = self.fate(&order);
        let world = Arc::clone(&self.world);
        if fate == Fate::NotApplied {
            world.travel(if world.random.chance(300) { 590 } else { 20 }).await;
            return Err(CspError::NotApplied(cause("nothing was sent")));
        }
        if fate == Fate::SaysBooked {
            self.memory().liars.insert(order.label.clone());
            return Ok(Receipt { reference: order.reference, money: order.money });
        }
        let (answer, answered) = oneshot::channel();
        let delivery = self.deliveries.fetch_add(1, Ordering::Relaxed);
        let latest_ms = u64::from(FORGET_AFTER_S) * 1000 - 1;
        let arrives_ms = match fate {
            Fate::Late => world.random.between(300, latest_ms),
            Fate::Slow => world.random.below(900),
            _ => world.random.below(40),
        };
        if fate == Fate::Duplicate {
            let again_ms = world.random.between(arrives_ms, latest_ms);
            let (csp, order) = (Arc::clone(self), order.clone());
            tokio::spawn(async move {
                sleep(Duration::from_millis(again_ms)).await;
                let _ = csp.arrive(delivery, &order, fate);
            });
        }
        let csp = Arc::clone(self);
        tokio::spawn(async move {
            sleep(Duration::from_millis(arrives_ms)).await;
            if fate == Fate::LostBefore {
                return pending_answer(answer).await;
            }
            let outcome = csp.arrive(delivery, &order, fate);
            if matches!(fate, Fate::LostAfter) {
                return pending_answer(answer).await;
            }
            csp.world.travel(40).await;
            // Nobody may wait any more.
            let _ = answer.send(outcome);
        });
        match timeout(call.budget, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(CspError::Unknown(cause("no answer"))),
        }
    }

    async fn ask(&self, reference: &Reference) -> Result<Inquiry, CspError> {
        let rate = self.world.plan.csp.inquiry_lost;
        self.world.travel(30).await;
        let known = {
            let memory = self.memory();
            match memory.decided.get(reference) {
                None => Inquiry::NotKnown,
                Some(Decision::Refused(code)) => Inquiry::Refused { code: code.clone() },
                Some(Decision::Booked(money)) => Inquiry::Booked(receipt(&memory, *reference, *money)),
            }
        };
        self.world.travel(if self.world.strikes(200) { 500 } else { 30 }).await;
        if self.world.strikes(rate) {
            let lost = [CspError::Unknown(cause("no answer")), CspError::NotApplied(cause("nothing was sent"))];
            return Err(lost[usize::from(self.world.random.chance(500))].clone());
        }
        Ok(known)
    }
}

impl SimulatedCsp {
    /// Makes a reference void under which nothing has arrived; the answer may be lost, and the question too.
    async fn make_void(&self, reference: &Reference) -> Result<Voiding, CspError> {
        let rate = self.world.plan.csp.inquiry_lost;
        self.world.travel(30).await;
        if self.world.strikes(rate) {
            return Err(CspError::NotApplied(cause("nothing was sent")));
        }
        let voiding = {
            let mut memory = self.memory();
            match memory.decided.get(reference) {
                Some(Decision::Refused(code)) => Voiding::Refused { code: code.clone() },
                Some(Decision::Booked(money)) => Voiding::Booked(receipt(&memory, *reference, *money)),
                None => {
                    memory.void.insert(*reference);
                    Voiding::Void
                }
            }
        };
        self.world.travel(if self.world.strikes(200) { 500 } else { 30 }).await;
        if self.world.strikes(rate) { Err(CspError::Unknown(cause("no answer"))) } else { Ok(voiding) }
    }
}

/// Keeps a caller waiting until it gives up.
async fn pending_answer(answer: oneshot::Sender<Result<Receipt, CspError>>) {
    let mut answer = answer;
    answer.closed().await;
}

/// The receipt of a booking; a misnamed one names another reference, and always the same.
fn receipt(memory: &Memory, reference: Reference, money: Money) -> Receipt {
    if memory.misnamed.contains(&reference) {
        return Receipt { reference: Reference::from_bytes([0xee; 16]), money };
    }
    Receipt { reference, money }
}

/// The CSP as one life of a gateway reaches it.
pub struct CspPort {
    pub place: Place,
    pub csp: Arc<SimulatedCsp>,
}

impl CspPort {
    async fn place_order(&self, order: Order, call: &CallContext) -> Result<Receipt, CspError> {
        self.place.step().await;
        let world = &self.place.world;
        world.note(&order.label, format!("{} sends {} under {}", self.place.life.name, order.money, order.reference));
        let (label, reference, money) = (order.label.clone(), order.reference, order.money);
        let mut outcome = self.csp.send(order, call).await;
        self.place.step().await;
        match (world.mutation, &outcome) {
            (Mutation::UnknownIsNotApplied, Err(CspError::Unknown(why))) => {
                outcome = Err(CspError::NotApplied(why.clone()));
            }
            (Mutation::LostIsRefused, Err(CspError::Unknown(_))) => {
                outcome = Err(CspError::Refused { code: "time-out".to_owned() });
            }
            (Mutation::ReceiptsBelieved, Ok(_)) => outcome = Ok(Receipt { reference, money }),
            _ => {}
        }
        let said = match &outcome {
            Ok(receipt) => format!("booked {} under {}", receipt.money, receipt.reference),
            Err(CspError::NotApplied(_)) => "not applied".to_owned(),
            Err(CspError::Refused { code }) => format!("refused: {code}"),
            Err(CspError::Unknown(_)) => "nothing".to_owned(),
        };
        world.note(&label, format!("{} hears {said}", self.place.life.name));
        outcome
    }
}

#[async_trait]
impl Csp for CspPort {
    fn would_take(&self, _time_left: Duration) -> Result<(), onbill::ports::Cause> {
        Ok(())
    }

    async fn account(
        &self,
        who: &Identifier,
        _product: Option<&ChargeCode>,
        _call: &CallContext,
    ) -> Result<Option<Account>, CspError> {
        self.place.step().await;
        self.place.world.travel(30).await;
        self.place.step().await;
        if self.place.world.strikes(self.place.world.plan.csp.look_up_lost) {
            return Err(CspError::Unknown(cause("no answer")));
        }
        let Identifier::Address(Address::Msisdn(number)) = who else {
            return Ok(None);
        };
        Ok(Some(Account {
            reference: AccountRef::new(&format!("acc-{}", number.expose())),
            standing: Standing::Active,
            payment: PaymentModel::Postpaid,
            eligibility: Eligibility::Eligible,
        }))
    }

    async fn charge(&self, order: &ChargeOrder, call: &CallContext) -> Result<Receipt, CspError> {
        let order = Order {
            reference: order.reference,
            charge: None,
            account: order.account.clone(),
            money: order.money,
            label: order.bill_text.clone(),
        };
        self.place_order(order, call).await
    }

    async fn refund(&self, order: &RefundOrder, call: &CallContext) -> Result<Receipt, CspError> {
        let order = Order {
            reference: order.reference,
            charge: Some(order.charge),
            account: order.account.clone(),
            money: order.money,
            label: order.bill_text.clone(),
        };
        self.place_order(order, call).await
    }

    async fn inquire(&self, reference: &Reference, _call: &CallContext) -> Result<Inquiry, CspError> {
        self.place.step().await;
        let mut known = self.csp.ask(reference).await;
        self.place.step().await;
        if self.place.world.mutation == Mutation::ReceiptsBelieved
            && let Ok(Inquiry::Booked(receipt)) = &mut known
        {
            receipt.reference = *reference;
        }
        known
    }

    async fn void(&self, reference: &Reference, _call: &CallContext) -> Result<Voiding, CspError> {
        self.place.step().await;
        assert!(self.place.world.plan.voids, "a CSP that makes nothing void must not be asked to");
        let mut voiding = self.csp.make_void(reference).await;
        self.place.step().await;
        if self.place.world.mutation == Mutation::ReceiptsBelieved
            && let Ok(Voiding::Booked(receipt)) = &mut voiding
        {
            receipt.reference = *reference;
        }
        voiding
    }

    async fn notify(&self, _number: &Msisdn, _message: &Sms, _call: &CallContext) -> Result<(), CspError> {
        Ok(())
    }
}
