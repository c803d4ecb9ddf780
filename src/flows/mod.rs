//! The stories: rules and ports in order, one file a story. `charge.rs` is the file to read first.
//!
//! Invariant: a flow decides nothing by itself and speaks no protocol; it reads, lets a rule decide, and does what the
//! rule said. Every flow ends in an answer or in a [`Stop`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::domain::directory::{CspProfile, Directory, Partner};
use crate::domain::event::Delivery;
use crate::domain::ids::{CorrelationId, CspId, InstanceId, PartnerId};
use crate::domain::trace::Trace;
use crate::domain::transaction::settle::Moment;
use crate::domain::transaction::{Lease, Refusal, Transaction};
use crate::ports::Cause;
use crate::ports::clock::Clock;
use crate::ports::courier::Courier;
use crate::ports::csp::{CallContext, Csp, CspError};
use crate::ports::ephemeral::{Ephemeral, EphemeralUnavailable, Ticket};
use crate::ports::ledger::{Ledger, LedgerUnavailable};
use crate::ports::outbox::Outbox;
use crate::ports::secrets::Secrets;
use crate::ports::spans::Spans;

pub mod charge;
pub mod refund;
pub mod flight;
mod duplicate;
pub mod booking;
mod limits;
pub mod reconcile;
pub mod oversee;
pub mod account;
pub mod pin;
pub mod transactions;
pub mod watch;
pub mod deliver;
pub mod cloud_event;
pub mod notify;
pub mod rate;
pub mod forget;
pub mod sandbox;
pub mod certification;
pub mod trail;
pub mod about;

use self::trail::{Asking, Trail};

/// Everything that the stories need of the world.
pub struct Gateway {
    /// Partners, products and CSPs.
    pub directory: Arc<Directory>,
    /// How each CSP of the directory is reached.
    pub csps: BTreeMap<CspId, Arc<dyn Csp>>,
    /// The system of record.
    pub ledger: Arc<dyn Ledger>,
    /// Events on their way to partners.
    pub outbox: Arc<dyn Outbox>,
    /// Carries them.
    pub courier: Arc<dyn Courier>,
    /// What is known of their endpoints.
    pub posts: deliver::Posts,
    /// PINs and flights.
    pub ephemeral: Arc<dyn Ephemeral>,
    /// The gateway's time.
    pub clock: Arc<dyn Clock>,
    /// Digests, seals and fresh ids.
    pub secrets: Arc<dyn Secrets>,
    /// This running gateway, as the owner of leases.
    pub instance: InstanceId,
    /// Flights that this running gateway has asked for.
    pub flights_asked: Arc<AtomicU64>,
    /// Bounds of the stories.
    pub bounds: Bounds,
    /// Who watches which transaction.
    pub watchers: Arc<watch::Watchers>,
    /// Where spans go; `None`: nothing is recorded.
    pub spans: Option<Arc<dyn Spans>>,
    /// Work that goes on whether or not its caller still waits. A shutdown waits for it.
    pub tasks: TaskTracker,
}

/// Bounds of the stories, from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Seconds for which a PIN is good.
    pub pin_ttl_s: u32,
    /// Wrong tries that burn a PIN.
    pub pin_tries_max: u8,
    /// Seconds for which nobody else works on a transaction.
    pub lease_s: u32,
    /// Most times one request is sent to a CSP that applied none of the earlier ones.
    pub attempts_max: u32,
    /// Milliseconds before it is sent again; they double each time.
    pub retry_pause_ms: u32,
    /// Most streams of WatchTransaction: a few kilobytes each.
    pub watchers_max: usize,
    /// Most of them of one partner, so that none takes the place of all others.
    pub watchers_per_partner_max: usize,
}

/// Who calls, and until when an answer is of use.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The partner whose key it is.
    pub partner: Arc<Partner>,
    /// Goes with every log line and CSP call.
    pub correlation: CorrelationId,
    /// Where the request stands in its trace, and what it leaves there.
    pub trail: Trail,
    /// When the caller stops waiting.
    pub deadline: Instant,
}

impl Caller {
    /// How long the caller still waits.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// What goes with a call to a CSP on the caller's behalf.
    fn call(&self, profile: &CspProfile, asking: &Asking, time_left: Duration) -> CallContext {
        let call = call(profile, self.correlation.clone(), asking.trace(), time_left);
        CallContext { partner: Some(self.partner.id.clone()), trace_state: asking.state(), ..call }
    }
}

/// Why a story ended without its answer.
#[derive(Debug, Clone)]
pub enum Stop {
    /// A rule said no. Final.
    Refused(Refusal),
    /// Something that is needed is away. Nothing happened: the same request may be sent again.
    Unavailable(Cause),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<LedgerUnavailable> for Stop {
    fn from(error: LedgerUnavailable) -> Self {
        Self::Unavailable(error.0)
    }
}

impl From<EphemeralUnavailable> for Stop {
    fn from(error: EphemeralUnavailable) -> Self {
        Self::Unavailable(error.0)
    }
}

/// For CSP calls that move no money: whatever went wrong, the caller may ask again.
impl From<CspError> for Stop {
    fn from(error: CspError) -> Self {
        match error {
            CspError::NotApplied(cause) | CspError::Unknown(cause) => Self::Unavailable(cause),
            CspError::Refused { code } => Self::Unavailable(Cause::new(format!("the CSP refused with {code}"))),
        }
    }
}

/// What goes with a call to a CSP: its own time-out, within the time that is left.
fn call(profile: &CspProfile, correlation: CorrelationId, trace: Trace, time_left: Duration) -> CallContext {
    let own = Duration::from_millis(u64::from(profile.call_timeout_ms));
    CallContext { partner: None, correlation, trace, trace_state: None, budget: own.min(time_left) }
}

impl Gateway {
    /// A CSP and its profile.
    fn csp(&self, id: &CspId) -> Result<(&Arc<dyn Csp>, &Arc<CspProfile>), Stop> {
        match (self.csps.get(id), self.directory.csp(id)) {
            (Some(csp), Some(profile)) => Ok((csp, profile)),
            _ => Err(Stop::Unavailable(Cause::new(format!("the CSP {id} is not configured any more")))),
        }
    }

    /// The same gateway by another configuration: stores, clock, keys and what is under way stay.
    #[must_use]
    pub fn reconfigured(&self, directory: Directory, csps: BTreeMap<CspId, Arc<dyn Csp>>, bounds: Bounds) -> Self {
        Self {
            posts: self.posts.reconfigured(&directory),
            directory: Arc::new(directory),
            csps,
            bounds,
            ledger: Arc::clone(&self.ledger),
            outbox: Arc::clone(&self.outbox),
            courier: Arc::clone(&self.courier),
            ephemeral: Arc::clone(&self.ephemeral),
            clock: Arc::clone(&self.clock),
            secrets: Arc::clone(&self.secrets),
            instance: self.instance.clone(),
            watchers: Arc::clone(&self.watchers),
            flights_asked: Arc::clone(&self.flights_asked),
            spans: self.spans.clone(),
            tasks: self.tasks.clone(),
        }
    }

    /// A ticket that nobody else has, here or elsewhere.
    fn ticket(&self) -> Ticket {
        Ticket::new(&self.instance, self.flights_asked.fetch_add(1, Ordering::Relaxed))
    }

    /// A lease of this gateway, from now.
    fn lease(&self) -> Lease {
        let length = SignedDuration::from_secs(i64::from(self.bounds.lease_s));
        let until = self.clock.now().checked_add(length).unwrap_or(crate::domain::Time::MAX);
        Lease { owner: self.instance.clone(), until }
    }

    /// Tells whoever waits for it that a record was committed.
    fn announce(&self, record: &Transaction) {
        self.watchers.announce(&record.key);
        if record.state.is_final() {
            self.posts.wake(&record.key.partner);
        }
    }

    /// When a lease that is taken now ends, by a clock that cannot jump: no request is sent under it after that.
    fn lease_ends(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(Duration::from_secs(u64::from(self.bounds.lease_s))).unwrap_or(now)
    }

    /// What settling needs beside record and answer.
    fn moment(&self, partner: &PartnerId) -> Moment {
        let has_endpoint = self.directory.partner(partner).is_some_and(|partner| partner.webhook.is_some());
        let now = self.clock.now();
        Moment {
            now,
            event_id: self.secrets.fresh_event_id(now),
            delivery: if has_endpoint { Delivery::Due } else { Delivery::Skipped },
            jitter: self.secrets.jitter(),
        }
    }
}
