//! Ledgers of released schemas: what they hold, written out so that any later release can be held against it.
//!
//! Invariant: a line says everything that a replay, a list, an event or a reconciliation reads of a record, and its form
//! never changes. It shows addresses: only sample data may be described.

use onbill::domain::account::SealedAccountId;
use onbill::domain::ids::ExtTransactionId;
use onbill::domain::transaction::{Lease, Transaction};

/// One record in one line.
pub fn describe(record: &Transaction) -> String {
    let sent = &record.compared;
    let lease = |lease: &Lease| format!("{}@{}", lease.owner, lease.until);
    [
        format!("{} {} {}", record.key.partner, record.key.kind.word(), record.key.ext_transaction_id.as_str()),
        format!("reference={}", record.reference),
        format!("state={:?} version={} message={:?}", record.state, record.version, record.message()),
        format!("money={} {} minor={}", record.signed_money(), record.money.currency, record.money.minor),
        format!("refunds={}/{}", record.refunds_held_minor, record.refunds_done_minor),
        format!("account={:?}/{:?} code={:?}", record.account.csp, record.account.reference, record.charge_code),
        format!("accepted={}", record.accepted_at),
        format!("failure={:?} note={:?} stuck={:?}", record.failure, record.private_note, record.stuck),
        format!("lease={:?} due={:?}", record.lease.as_ref().map(lease), record.due_at.map(|time| time.to_string())),
        format!("sent_before={} inquiries={}", record.sent_before, record.inquiries),
        format!("address={:?}", sent.address.as_ref().map(|address| (address.type_word(), address.expose()))),
        format!("account_id={:?}", sent.account_id.as_ref().map(SealedAccountId::as_str)),
        format!("product={:?} amount={} currency={:?}", sent.partner_product, sent.amount, sent.currency),
        format!("description={:?}", sent.description),
        format!("reference_id={:?}", sent.reference_id.as_ref().map(ExtTransactionId::as_str)),
    ]
    .join(" | ")
}
