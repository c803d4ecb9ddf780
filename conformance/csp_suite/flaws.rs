//! CSPs with one flaw each, around a sound one.
//!
//! Invariant: a flaw changes one thing, and everything else is the scripted operator's own doing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use onbill::domain::account::{Account, Eligibility, Standing};
use onbill::domain::address::Msisdn;
use onbill::domain::ids::{AccountRef, ChargeCode, Reference};
use onbill::domain::money::{Currency, Money};
use onbill::domain::transaction::settle::Receipt;
use onbill::ports::Cause;
use onbill::ports::csp::{CallContext, ChargeOrder, Csp, CspError, Identifier, Inquiry, RefundOrder, Sms, Voiding};

/// What is wrong with a CSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    None,
    DoublesCharges,
    DoublesRefunds,
    RefusesRepeats,
    AnswersAnyRequestUnderAReference,
    BooksAnyRequestUnderAReference,
    ForgetsAll,
    ForgetsTheFirst,
    LiesAboutAmounts,
    LiesAboutAmountsLater,
    LiesAboutReferences,
    RoundsAmounts,
    TakesAnyCurrency,
    ChargesNobody,
    GivesBackTooMuch,
    GivesBackWhatNobodyCharged,
    ChangesItsMind,
    NeverKnowsNot,
    NobodyIsAnError,
    AllAreActive,
    AllMayBuy,
    RenamesAccounts,
    VoidsWhatIsBooked,
    BooksWhatIsVoid,
    TextsNobody,
    TextsFail,
    IsSlow,
    KnowsNoReferences,
}

/// A CSP with a flaw.
pub struct Flawed {
    pub sound: Arc<dyn Csp>,
    pub flaw: Flaw,
    pub seen: Mutex<Seen>,
}

/// What it has seen.
#[derive(Default)]
pub struct Seen {
    times: BTreeMap<String, u8>,
    first: Option<Reference>,
    refused: BTreeSet<String>,
}

impl Flawed {
    /// How often a reference has come, this time included.
    fn count(&self, reference: Reference) -> u8 {
        let mut seen = self.seen.lock().expect("no test has panicked in here");
        seen.first.get_or_insert(reference);
        let times = seen.times.entry(reference.to_string()).or_default();
        *times += 1;
        *times
    }

    fn is_first(&self, reference: Reference) -> bool {
        let seen = self.seen.lock().expect("no test has panicked in here");
        seen.first == Some(reference) && seen.times.len() > 20
    }

    /// The reference under which the CSP really books.
    fn under(reference: Reference, times: u8) -> Reference {
        let mut bytes = *reference.as_bytes();
        bytes[0] ^= times;
        Reference::from_bytes(bytes)
    }

    fn told(&self, receipt: Receipt) -> Receipt {
        let minor = receipt.money.minor;
        let money = |minor| Money { minor, ..receipt.money };
        match self.flaw {
            Flaw::LiesAboutAmounts => Receipt { money: money(minor + 1), ..receipt },
            Flaw::LiesAboutReferences => Receipt { reference: Reference::from_bytes([7; 16]), ..receipt },
            Flaw::RoundsAmounts => Receipt { money: money((minor + 9) / 10 * 10), ..receipt },
            _ => receipt,
        }
    }
}

#[async_trait]
impl Csp for Flawed {
    fn would_take(&self, time_left: Duration) -> Result<(), Cause> {
        self.sound.would_take(time_left)
    }

    async fn account(
        &self,
        who: &Identifier,
        product: Option<&ChargeCode>,
        call: &CallContext,
    ) -> Result<Option<Account>, CspError> {
        let found = self.sound.account(who, product, call).await?;
        let changed = |change: &dyn Fn(Account) -> Account| Ok(found.clone().map(change));
        match self.flaw {
            Flaw::NobodyIsAnError if found.is_none() => Err(CspError::Unknown(Cause::new("404"))),
            Flaw::AllAreActive => changed(&|account| Account { standing: Standing::Active, ..account }),
            Flaw::AllMayBuy => changed(&|account| Account { eligibility: Eligibility::Eligible, ..account }),
            Flaw::RenamesAccounts if matches!(who, Identifier::Account(_)) => {
                changed(&|account| Account { reference: AccountRef::new("another"), ..account })
            }
            Flaw::IsSlow => {
                tokio::time::sleep(Duration::from_millis(60)).await;
                Ok(found)
            }
            _ => Ok(found),
        }
    }

    async fn charge(&self, order: &ChargeOrder, call: &CallContext) -> Result<Receipt, CspError> {
        let times = self.count(order.reference);
        let mut order = order.clone();
        let reference = order.reference;
        match self.flaw {
            Flaw::DoublesCharges if times > 1 => {
                // It answers as it did, and books once more.
                let answer = self.sound.charge(&order, call).await;
                order.reference = Self::under(reference, times);
                let _ = self.sound.charge(&order, call).await;
                return answer;
            }
            Flaw::RefusesRepeats if times > 1 => return Err(CspError::Refused { code: "duplicate".to_owned() }),
            Flaw::ForgetsTheFirst if self.is_first(reference) => order.reference = Self::under(reference, times),
            Flaw::AnswersAnyRequestUnderAReference if times > 1 => {
                if let Inquiry::Booked(receipt) = self.sound.inquire(&reference, call).await? {
                    return Ok(Receipt { money: order.money, ..receipt });
                }
            }
            Flaw::BooksAnyRequestUnderAReference if times > 1 && self.sound.charge(&order, call).await.is_err() => {
                order.reference = Self::under(reference, times);
            }
            Flaw::TakesAnyCurrency => order.money.currency = Currency::from_code("MXN").expect("a currency"),
            Flaw::ChargesNobody if order.account.as_str().contains("nobody") => {
                return Ok(Receipt { reference, money: order.money });
            }
            Flaw::BooksWhatIsVoid => {
                let answer = self.sound.charge(&order, call).await;
                let is_void = matches!(&answer, Err(CspError::Refused { code }) if code == "reference-void");
                return if is_void { Ok(Receipt { reference, money: order.money }) } else { answer };
            }
            Flaw::KnowsNoReferences => {
                order.reference = Self::under(reference, times);
                let receipt = self.sound.charge(&order, call).await?;
                return Ok(Receipt { reference, ..receipt });
            }
            _ => {}
        }
        let currency = if self.flaw == Flaw::TakesAnyCurrency { Some(order.money.currency) } else { None };
        let receipt = self.sound.charge(&order, call).await?;
        let mut receipt = self.told(receipt);
        if receipt.reference != reference && self.flaw != Flaw::LiesAboutReferences {
            receipt.reference = reference;
        }
        if currency.is_some() {
            // As whoever overlooks currencies would: with the one that came.
            receipt.money = Money::new(receipt.money.minor, order.money.currency);
        }
        Ok(receipt)
    }

    async fn refund(&self, order: &RefundOrder, call: &CallContext) -> Result<Receipt, CspError> {
        let times = self.count(order.reference);
        let mut order = order.clone();
        let asked = Receipt { reference: order.reference, money: order.money };
        if self.flaw == Flaw::DoublesRefunds && times > 1 {
            order.reference = Self::under(order.reference, times);
            let receipt = self.sound.refund(&order, call).await?;
            return Ok(Receipt { reference: asked.reference, ..receipt });
        }
        let answer = self.sound.refund(&order, call).await;
        match (&answer, self.flaw) {
            (Err(CspError::Refused { code }), Flaw::GivesBackTooMuch) if code == "refund-exceeds-charge" => Ok(asked),
            (Err(CspError::Refused { code }), Flaw::GivesBackWhatNobodyCharged) if code == "unknown-charge" => {
                Ok(asked)
            }
            (Err(CspError::Refused { .. }), Flaw::ChangesItsMind) => {
                let mut seen = self.seen.lock().expect("no test has panicked in here");
                if seen.refused.insert(asked.reference.to_string()) { answer } else { Ok(asked) }
            }
            (Err(CspError::Refused { .. }), Flaw::AnswersAnyRequestUnderAReference) if times > 1 => Ok(asked),
            _ => answer.map(|receipt| self.told(receipt)),
        }
    }

    async fn inquire(&self, reference: &Reference, call: &CallContext) -> Result<Inquiry, CspError> {
        if self.flaw == Flaw::ForgetsAll || (self.flaw == Flaw::ForgetsTheFirst && self.is_first(*reference)) {
            return Ok(Inquiry::NotKnown);
        }
        let inquiry = self.sound.inquire(reference, call).await?;
        match (inquiry, self.flaw) {
            (Inquiry::NotKnown, Flaw::NeverKnowsNot) => Err(CspError::Unknown(Cause::new("500"))),
            (Inquiry::Booked(receipt), Flaw::LiesAboutAmountsLater) => {
                let money = Money { minor: receipt.money.minor - 1, ..receipt.money };
                Ok(Inquiry::Booked(Receipt { money, ..receipt }))
            }
            (Inquiry::Booked(receipt), _) => Ok(Inquiry::Booked(self.told(receipt))),
            (inquiry, _) => Ok(inquiry),
        }
    }

    async fn void(&self, reference: &Reference, call: &CallContext) -> Result<Voiding, CspError> {
        match self.sound.void(reference, call).await? {
            Voiding::Booked(_) if self.flaw == Flaw::VoidsWhatIsBooked => Ok(Voiding::Void),
            Voiding::Booked(receipt) => Ok(Voiding::Booked(self.told(receipt))),
            other => Ok(other),
        }
    }

    async fn notify(&self, number: &Msisdn, message: &Sms, call: &CallContext) -> Result<(), CspError> {
        match self.flaw {
            Flaw::TextsNobody => Ok(()),
            Flaw::TextsFail => Err(CspError::Unknown(Cause::new("500"))),
            _ => self.sound.notify(number, message, call).await,
        }
    }
}
