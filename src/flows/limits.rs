//! The part of the story that spend limits have: a charge that one of them has no room for ends here.
//!
//! Invariant: the ledger has refused the intent, or a rule has, before a Failure is written in its place; the CSP never
//! hears of it. What a limit counts, and whether it has room, is not decided here.

use metrics::{counter, describe_counter};

use super::booking::Opened;
use super::flight::Stage;
use super::{Gateway, Stop};
use crate::domain::limits::Over;
use crate::domain::transaction::{Expected, Transaction, settle};
use crate::ports::ledger::Commit;

/// Charges that were over a limit.
const REFUSED: &str = "onbill_charges_over_limit_total";

/// Commits the Failure of a charge that is over a limit. A caller that was told meanwhile that nothing happened is right
/// as long as nothing is written; one that is told so while this is written hears of an outcome that is not known, and
/// of money that never moves.
pub(super) async fn refuse(
    gateway: &Gateway,
    intent: &Transaction,
    expected: Expected,
    over: &Over,
    stage: &Stage,
) -> Result<Opened, Stop> {
    if stage.is_abandoned() {
        return Ok(Opened::Abandoned);
    }
    let unit = settle::over_limit(intent, expected, over, &gateway.moment(&intent.key.partner));
    let failed = unit.transaction.clone();
    match gateway.ledger.commit(unit).await? {
        Commit::Done { version } => {
            describe_counter!(REFUSED, "Charges that a spend limit had no room for, by CSP, limit and period.");
            let (csp, limit) = (failed.account.csp.to_string(), over.limit.to_string());
            counter!(REFUSED, "csp" => csp, "limit" => limit, "period" => over.word()).increment(1);
            gateway.announce(&failed);
            Ok(Opened::Over(Box::new(Transaction { version, ..failed })))
        }
        Commit::Conflict | Commit::Over { .. } => Ok(Opened::Conflict),
    }
}
