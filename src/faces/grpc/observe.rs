//! What certification and the audit log may read of each message: one short table.
//!
//! Invariant: a message tells what was in it and judges nothing. Messages that certification does not look at tell
//! nothing, and nothing is told at all where nobody has asked for it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::transaction::Transaction;
use crate::faces::pb::v1 as pb;
use crate::flows::certification::{Sent, Told};

/// Where a service leaves what a request said, for whoever waits for the answer.
#[derive(Clone, Default)]
pub struct Slot(Arc<Mutex<Sent>>);

impl Slot {
    /// Leaves it.
    pub fn put(&self, sent: Sent) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = sent;
    }

    /// What was left there.
    #[must_use]
    pub fn read(&self) -> Sent {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Hears of outcomes that a stream tells after its call was answered.
#[derive(Clone)]
pub struct Ear(Arc<dyn Fn(Sent, Told) + Send + Sync>);

impl Ear {
    /// Whatever is heard goes there.
    #[must_use]
    pub fn new(hears: impl Fn(Sent, Told) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hears))
    }

    /// Hears how a transaction stands, before its caller does.
    pub fn hear(&self, record: &Transaction) {
        if let Some(status) = record.state.status().filter(|_| record.state.is_final()) {
            let ext_transaction_id = record.key.ext_transaction_id.as_str().to_owned();
            let description = record.key.kind.word().to_owned();
            let told = Told { outcome: status.word().to_owned(), ..Told::default() };
            (self.0)(Sent { ext_transaction_id, description, ..Sent::default() }, told);
        }
    }
}

/// A message that can tell what it says.
pub trait Telling {
    /// What it says; nothing where certification does not look at it.
    fn tell(&self) -> Option<Sent> {
        None
    }
}

macro_rules! silent {
    ($($message:ident)+) => { $(impl Telling for pb::$message {})+ };
}

silent! {
    ListTransactionsRequest
    ListMessagesRequest GetBillRequest AdvanceClockRequest ResetAccountRequest
    StartRunRequest GetRunRequest ListRunsRequest FinishRunRequest GetReportRequest
}

impl Telling for pb::ValidateAccountRequest {
    fn tell(&self) -> Option<Sent> {
        Some(Sent { partner_product: self.partner_product.clone(), ..addressed(&self.r#type, &self.address) })
    }
}

impl Telling for pb::SendPinRequest {
    fn tell(&self) -> Option<Sent> {
        Some(addressed(&self.r#type, &self.address))
    }
}

impl Telling for pb::ValidatePinRequest {
    fn tell(&self) -> Option<Sent> {
        Some(Sent { pin: self.pin.clone(), ..addressed(&self.r#type, &self.address) })
    }
}

impl Telling for pb::CreateTransactionRequest {
    fn tell(&self) -> Option<Sent> {
        Some(Sent {
            account_id: self.account_id.clone(),
            ext_transaction_id: self.ext_transaction_id.clone(),
            reference_id: self.reference_id.clone(),
            partner_product: self.partner_product.clone(),
            amount: self.amount.clone(),
            currency: self.currency.clone(),
            description: self.description.clone(),
            ..addressed(&self.r#type, &self.address)
        })
    }
}

impl Telling for pb::GetTransactionRequest {
    fn tell(&self) -> Option<Sent> {
        let (ext_transaction_id, description) = (self.ext_transaction_id.clone(), self.kind.clone());
        Some(Sent { ext_transaction_id, description, ..Sent::default() })
    }
}

impl Telling for pb::WatchTransactionRequest {
    fn tell(&self) -> Option<Sent> {
        let (ext_transaction_id, description) = (self.ext_transaction_id.clone(), self.kind.clone());
        Some(Sent { ext_transaction_id, description, ..Sent::default() })
    }
}

impl Telling for pb::SendNotificationRequest {
    fn tell(&self) -> Option<Sent> {
        Some(Sent { message: Some(self.message.clone()), ..addressed(&self.r#type, &self.address) })
    }
}

fn addressed(type_word: &str, address: &str) -> Sent {
    Sent { type_word: type_word.to_owned(), address: address.to_owned(), ..Sent::default() }
}
