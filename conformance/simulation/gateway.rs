//! Gateways of a run: started, crashed, and started again on the same ledger and CSP.
//!
//! Invariant: a gateway here is the real one, with ports of this simulation around the real adapters. Where it is the
//! only one, its ledger is one that nobody else may open, and ends all leases as it is opened; where there are two,
//! leases run out by themselves.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use onbill::adapters::ledger::memory::MemoryLedger;
use onbill::adapters::secrets::SeededSecrets;
use onbill::domain::directory::{
    Ability, Capabilities, CspProfile, Directory, Partner, Pattern, PinSms, Product, SendQuota,
};
use onbill::domain::ids::{ChargeCode, CspId, InstanceId, LimitId, PartnerId, ProductId};
use onbill::domain::limits::{Each, SpendLimit};
use onbill::domain::money::Currency;
use onbill::flows::deliver::Posts;
use onbill::flows::{Bounds, Gateway, reconcile};
use onbill::ports::Cause;
use onbill::ports::courier::{Answer, Courier, Letter, NoAnswer};
use onbill::ports::csp::Csp;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::client::PARTNERS;
use super::csp::{CspPort, SimulatedCsp};
use super::ledger::{Archive, LedgerPort};
use super::mutation::Mutation;
use super::plan::{CALL_TIMEOUT_MS, FORGET_AFTER_S, LEASE_S, Plan, Spending};
use super::short_lived::{EphemeralPort, Lossy, SecretsPort};
use super::world::{Life, Place, World};

/// A gateway in one of its lives.
pub struct Incarnation {
    pub place: Place,
    pub gateway: Arc<Gateway>,
}

/// What stays when a gateway dies.
pub struct Site {
    pub world: Arc<World>,
    pub csp: Arc<SimulatedCsp>,
    pub archive: Arc<Archive>,
    pub secrets: Arc<SeededSecrets>,
    directory: Arc<Directory>,
    /// Short-lived state of each gateway, or of both.
    pub short_lived: Vec<Arc<Lossy>>,
    running: Vec<Mutex<Option<Arc<Incarnation>>>>,
}

impl Site {
    pub fn new(world: Arc<World>, csp: Arc<SimulatedCsp>, archive: Arc<Archive>, secrets: SeededSecrets) -> Self {
        let plan = &world.plan;
        let stores = if plan.shared_ephemeral { 1 } else { plan.gateways };
        Self {
            directory: Arc::new(directory(plan, world.mutation)),
            short_lived: (0..stores).map(|_| Arc::new(Lossy::new())).collect(),
            running: (0..plan.gateways).map(|_| Mutex::new(None)).collect(),
            csp,
            archive,
            secrets: Arc::new(secrets),
            world,
        }
    }

    /// The gateway that answers at a place now, if one does.
    pub fn running(&self, slot: usize) -> Option<Arc<Incarnation>> {
        let running = self.running[slot % self.running.len()].lock().unwrap_or_else(PoisonError::into_inner);
        running.clone().filter(|incarnation| incarnation.place.life.is_alive())
    }

    /// Leads one gateway through all its lives.
    pub async fn keep_running(self: Arc<Self>, slot: usize) {
        let crashes: Vec<u64> =
            self.world.plan.crashes.iter().skip(slot).step_by(self.running.len()).copied().collect();
        let mut lives = 0;
        loop {
            if self.running.len() == 1 {
                self.archive.end_leases().await;
            }
            let name = format!("gateway-{slot}.{lives}");
            let incarnation = Arc::new(self.start(&name, slot, crashes.get(lives).copied()));
            lives += 1;
            *self.running[slot].lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&incarnation));
            tokio::spawn(sweep(Arc::clone(&incarnation)));
            incarnation.place.life.death().await;
            self.archive.store.crash();
            if !self.world.plan.shared_ephemeral {
                self.short_lived[slot].wipe();
            }
            sleep(Duration::from_millis(self.world.random.between(1, 800))).await;
        }
    }

    fn start(&self, name: &str, slot: usize, crash_at: Option<u64>) -> Incarnation {
        let world = Arc::clone(&self.world);
        let life = Arc::new(Life::new(name.to_owned(), crash_at));
        let place = Place { world: Arc::clone(&world), life };
        let csp: Arc<dyn Csp> = Arc::new(CspPort { place: place.clone(), csp: Arc::clone(&self.csp) });
        let store = Arc::clone(&self.short_lived[slot % self.short_lived.len()]);
        world.note("", format!("{name} starts"));
        let gateway = Gateway {
            directory: Arc::clone(&self.directory),
            csps: BTreeMap::from([(CspId::new("simulated"), csp)]),
            ledger: Arc::new(LedgerPort { place: place.clone(), archive: Arc::clone(&self.archive) }),
            ephemeral: Arc::new(EphemeralPort { place: place.clone(), store }),
            clock: Arc::<World>::clone(&world),
            secrets: Arc::new(SecretsPort {
                secrets: Arc::clone(&self.secrets),
                mutation: world.mutation,
                drawn: AtomicU64::new(0),
            }),
            instance: InstanceId::new(name),
            flights_asked: Arc::default(),
            bounds: Bounds {
                pin_ttl_s: 300,
                pin_tries_max: 5,
                lease_s: LEASE_S,
                attempts_max: 3,
                retry_pause_ms: 50,
                watchers_max: 1_000,
                watchers_per_partner_max: 1_000,
            },
            tasks: TaskTracker::new(),
            // Nobody here has an endpoint: events are counted in the ledger, and delivery has tests of its own.
            outbox: Arc::new(MemoryLedger::new()),
            courier: Arc::new(NoEndpoints),
            posts: Posts::of(&self.directory),
            watchers: Arc::default(),
            spans: None,
        };
        Incarnation { place, gateway: Arc::new(gateway) }
    }
}

/// A courier that is never sent.
struct NoEndpoints;

#[async_trait]
impl Courier for NoEndpoints {
    async fn deliver(&self, _letter: &Letter<'_>) -> Result<Answer, NoAnswer> {
        Err(NoAnswer(Cause::new("nobody here has an endpoint")))
    }
}

/// Reconciles for as long as the gateway lives.
async fn sweep(incarnation: Arc<Incarnation>) {
    while incarnation.place.life.is_alive() {
        // A ledger that is out is asked again the next time.
        let _ = reconcile::sweep(&incarnation.gateway, 20).await;
        sleep(Duration::from_millis(400)).await;
    }
}

/// Where days begin.
pub fn time_zone(spending: &Spending) -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::fixed(jiff::tz::Offset::from_seconds(spending.offset_s).expect("within a day"))
}

fn limit(spending: &Spending) -> SpendLimit {
    SpendLimit {
        id: LimitId::new("purchase"),
        each: Each { account: true, ..Each::default() },
        partners: None,
        products: None,
        transaction_max_minor: None,
        day_max_minor: Some(spending.day_max_minor),
        month_max_minor: Some(spending.month_max_minor),
    }
}

fn directory(plan: &Plan, mutation: Mutation) -> Directory {
    let csp = CspId::new("simulated");
    let product = Product {
        id: ProductId::new("ott-basic"),
        charge_codes: BTreeMap::from([(csp.clone(), ChargeCode::new("BASIC"))]),
    };
    let partners = PARTNERS.map(|id| Partner {
        id: PartnerId::new(id),
        csps: vec![csp.clone()],
        products: BTreeMap::from([(product.id.clone(), product.clone())]),
        pin_before_first_charge_minutes: None,
        pin_sms: None,
        webhook: None,
        rate: onbill::domain::rate::SharedRate { per_second: 1_000_000, burst: 1_000_000 },
    });
    let forget_after_s = if mutation == Mutation::NotKnownIsNever { 0 } else { FORGET_AFTER_S };
    let profile = CspProfile {
        id: csp.clone(),
        currency: Currency::from_code("MXN").expect("a currency"),
        msisdn_pattern: Pattern::new("^[0-9]{10}$").expect("a pattern"),
        prefixes: vec![String::new()],
        takes_email: false,
        call_timeout_ms: CALL_TIMEOUT_MS,
        forget_after_s: Some(forget_after_s),
        recovery: plan.recovery,
        capabilities: Capabilities {
            void: if plan.voids { Ability::Able } else { Ability::Unable },
            ..Capabilities::USUAL
        },
        amount_max: None,
        time_zone: plan.spending.as_ref().map_or(jiff::tz::TimeZone::UTC, time_zone),
        limits: plan.spending.iter().map(limit).collect(),
        verdicts: BTreeMap::from([("insufficient-funds".to_owned(), "Insufficient funds".to_owned())]),
        pin_quota: SendQuota { per_partner_max: 3, per_address_max: 10, window_s: 600 },
        test_numbers: None,
        pin_sms: PinSms { sender: "onbill".to_owned(), language: "en".to_owned(), text: "Code {pin}".to_owned() },
    };
    Directory::new(partners.to_vec(), vec![profile]).expect("a directory")
}
