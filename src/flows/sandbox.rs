//! The sandbox's story: what a test may see and move.
//!
//! Invariant: nothing here is part of a purchase, and nothing here exists outside the sandbox.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Gateway, Stop};
use crate::domain::Time;
use crate::domain::account::AccountKey;
use crate::domain::address::{Address, Msisdn};
use crate::domain::catalogue::{Violation, field, reason};
use crate::domain::directory::Route;
use crate::domain::ids::CspId;
use crate::domain::transaction::Refusal;
use crate::ports::Cause;
use crate::ports::clock::MovableClock;
use crate::ports::sandbox::{Bill, ReceivedSms, SandboxCsp, SandboxUnavailable};

/// Most messages of an inbox that are shown.
const MESSAGES_MAX: usize = 100;
/// Most lines of a bill that are shown.
const BILL_LINES_MAX: usize = 10_000;

/// What the sandbox has beyond a gateway.
pub struct Sandbox {
    /// The CSPs that are scripted for tests.
    pub csps: BTreeMap<CspId, Arc<dyn SandboxCsp>>,
    /// The gateway's clock, which a test may move.
    pub clock: Arc<dyn MovableClock>,
}

impl From<SandboxUnavailable> for Stop {
    fn from(error: SandboxUnavailable) -> Self {
        Self::Unavailable(error.0)
    }
}

impl Sandbox {
    fn csp(&self, route: Route<'_>) -> Result<&Arc<dyn SandboxCsp>, Stop> {
        self.csps
            .get(&route.profile().id)
            .ok_or_else(|| Stop::Unavailable(Cause::new("the CSP of this number is not scripted for tests")))
    }

    /// The account behind an address, whatever its standing; `None` where there is none, or its CSP is not scripted.
    #[must_use]
    pub fn account(&self, address: &Address, route: Route<'_>) -> Option<AccountKey> {
        let csp = &route.profile().id;
        let reference = self.csps.get(csp)?.account_of(address)?;
        Some(AccountKey { csp: csp.clone(), reference })
    }

    /// The inbox of a number, newest first.
    pub async fn messages(&self, number: &Msisdn, route: Route<'_>) -> Result<Vec<ReceivedSms>, Stop> {
        Ok(self.csp(route)?.messages(number, MESSAGES_MAX).await?)
    }

    /// The CSP's bill of a number.
    pub async fn bill(&self, number: &Msisdn, route: Route<'_>) -> Result<Bill, Stop> {
        Ok(self.csp(route)?.bill(number, BILL_LINES_MAX).await?)
    }

    /// Makes a number as new.
    pub async fn reset(&self, gateway: &Gateway, number: &Msisdn, route: Route<'_>) -> Result<(), Stop> {
        self.csp(route)?.reset(number).await?;
        gateway.ephemeral.forget_number(number).await?;
        Ok(())
    }

    /// Moves the gateway's clock.
    pub fn advance_clock(&self, seconds: i64) -> Result<Time, Stop> {
        self.clock.advance(seconds).map_err(|_out_of_range| {
            Refusal::Invalid(vec![Violation::on(field::SECONDS, reason::CLOCK_SECONDS)]).into()
        })
    }
}
