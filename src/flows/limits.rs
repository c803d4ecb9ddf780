//! The part of the story that spend limits have: a charge that one of them has no room for ends here.
//!
//! Invariant: the ledger has refused the intent, or a rule has, before a Failure is written in its place; the CSP never
//! hears of it. What a limit counts, and whether it has room, is not decided here.

use metrics::counter;

use super::booking::Opened;
use super::flight::Stage;
use super::{Gateway, Stop};
use crate::domain::limits::Over;
use crate::domain::transaction::{Expected, Transaction, settle};
use crate::ports::ledger::Commit;
use crate::ports::measures::OVER_LIMIT;

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
            let (csp, limit) = (failed.account.csp.to_string(), over.limit.to_string());
            counter!(OVER_LIMIT.name, "csp" => csp, "limit" => limit, "period" => over.word()).increment(1);
            gateway.announce(&failed);
            Ok(Opened::Over(Box::new(Transaction { version, ..failed })))
        }
        Commit::Conflict | Commit::Over { .. } => Ok(Opened::Conflict),
    }
}
