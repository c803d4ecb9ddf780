//! What certification and the audit log may read of each message: one short table.
//!
//! Invariant: a message tells what was in it and judges nothing. Messages that certification does not look at tell
//! nothing, and nothing is told at all where nobody has asked for it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::faces::pb::v1 as pb;
use crate::flows::certification::Sent;

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
    ListTransactionsRequest WatchTransactionRequest
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

impl Telling for pb::SendNotificationRequest {
    fn tell(&self) -> Option<Sent> {
        Some(Sent { message: Some(self.message.clone()), ..addressed(&self.r#type, &self.address) })
    }
}

fn addressed(type_word: &str, address: &str) -> Sent {
    Sent { type_word: type_word.to_owned(), address: address.to_owned(), ..Sent::default() }
}
