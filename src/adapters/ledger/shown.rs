//! Records as people read of them, whatever store they are in.
//!
//! Invariant: nothing that is made here names an address or an account.

use super::words::state_word;
use crate::domain::transaction::Transaction;
use crate::ports::inspection::{Named, StuckRecord};

/// A record by its key.
pub(super) fn named(sequence: i64, record: &Transaction) -> Named {
    Named {
        sequence,
        partner: record.key.partner.to_string(),
        kind: record.key.kind.word().to_owned(),
        ext_transaction_id: record.key.ext_transaction_id.as_str().to_owned(),
    }
}

/// A record that needs a person.
pub(super) fn stuck(sequence: i64, record: &Transaction) -> StuckRecord {
    StuckRecord {
        record: named(sequence, record),
        reference: record.reference,
        csp: record.account.csp.to_string(),
        state: state_word(record.state),
        amount: record.signed_money().to_string(),
        currency: record.money.currency,
        accepted_at: record.accepted_at,
        inquiries: record.inquiries,
        why: record.stuck.as_deref().unwrap_or_default().to_owned(),
        note: record.private_note.as_deref().map(ToOwned::to_owned),
    }
}
