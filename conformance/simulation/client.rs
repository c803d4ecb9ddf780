//! The callers: what they ask for and when, and what they heard.
//!
//! Invariant: a request's description is the name of its key, which is how the CSP's bill is told apart by key whatever
//! reference it was booked under. A caller hears what the outermost layer of the faces would let it hear: "unavailable"
//! from the moment at which that layer gives up.

use std::sync::Arc;
use std::time::Duration;

use onbill::domain::ids::PartnerId;
use onbill::domain::trace::Trace;
use onbill::domain::transaction::request::Raw;
use onbill::domain::transaction::{Refusal, Status, Transaction};
use onbill::flows::flight::Origin;
use onbill::flows::trail::Trail;
use onbill::flows::{Caller, Stop, charge};

use tokio::time::{Instant, sleep, timeout_at};

use super::gateway::Incarnation;
use super::plan::{DEADLINE_MAX_MS, Plan};
use super::random::Random;
use super::world::{World, label};

/// How long after a caller's deadline the outermost layer gives up.
const DEADLINE_GRACE: Duration = Duration::from_millis(250);
/// The partners. Their ids are the same, and must not touch one another.
pub const PARTNERS: [&str; 2] = ["demo-ott", "other-ott"];
/// The numbers: two ordinary ones, a poor one, and one whose charges never arrive.
pub const NUMBERS: [&str; 4] = ["5550100001", "5550100002", "5550100006", "5550100015"];

/// A request.
#[derive(Debug, Clone)]
pub struct Ask {
    pub partner: &'static str,
    pub label: String,
    pub id: String,
    pub reference_id: Option<String>,
    pub number: &'static str,
    /// As it is written.
    pub amount: String,
    /// The same by value.
    pub minor: i64,
}

impl Ask {
    /// Whether it is this request that the record is of.
    pub fn is_recorded_as(&self, record: &Transaction) -> bool {
        let account = record.account.reference.as_str().strip_prefix("acc-");
        let minor = record.signed_money().minor;
        self.label == label(&record.key) && self.minor == minor && account == Some(self.number)
    }
}

/// A request that is sent at some time.
#[derive(Debug, Clone)]
pub struct Shot {
    pub ask: Ask,
    pub at_ms: u64,
    pub deadline_ms: u64,
    pub hang_up_ms: Option<u64>,
    pub gateway: usize,
}

/// What a caller heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// 200.
    Answered { status: Status, description: String, origin: Origin },
    /// A refusal: nothing was done for this call.
    Refused(String),
    /// 503.
    Unavailable,
    /// Nothing: it hung up, or its gateway died.
    Nothing,
}

/// A call that was made.
#[derive(Debug, Clone)]
pub struct Call {
    pub ask: Ask,
    pub from_ms: u64,
    pub until_ms: u64,
    pub deadline_ms: u64,
    /// Whether the outermost layer gave up waiting for it.
    pub cut: bool,
    pub heard: Heard,
}

/// A request for so many minor units; negative ones are a refund.
pub fn ask(partner: &'static str, id: &str, of: Option<&str>, number: &'static str, minor: i64) -> Ask {
    let kind = if minor < 0 { "refund" } else { "charge" };
    let sign = if minor < 0 { "-" } else { "" };
    let amount = format!("{sign}{}.{:02}", minor.abs() / 100, minor.abs() % 100);
    Ask {
        partner,
        label: format!("{partner}/{kind}/{id}"),
        id: id.to_owned(),
        reference_id: of.map(str::to_owned),
        number,
        amount,
        minor,
    }
}

/// Another request under the same key.
fn another(of: &Ask, minor: i64) -> Ask {
    ask(of.partner, &of.id, of.reference_id.as_deref(), of.number, minor)
}

/// All that the callers of a run will send.
pub fn draw(random: &Random, plan: &Plan) -> Vec<Shot> {
    let mut shots = Vec::new();
    for count in 0..random.between(1, 5) {
        let partner = PARTNERS[usize::from(random.chance(300))];
        let number = NUMBERS[usize::try_from(random.below(4)).expect("small")];
        let id = format!("c{}", count % 3);
        let minor = i64::try_from(random.between(1, 1_000)).expect("small");
        let begun_ms = random.below(3_000);
        repeats(random, plan, &mut shots, &ask(partner, &id, None, number, minor), begun_ms);
        for refund in 0..random.below(4) {
            let part = i64::try_from(random.between(1, 1_000)).expect("small").min(minor);
            let at_ms = begun_ms + random.between(50, 4_000);
            let refund = match refund {
                0 => ask(partner, &id, None, number, -part),
                _ => ask(partner, &format!("{id}-r{refund}"), Some(&id), number, -part),
            };
            repeats(random, plan, &mut shots, &refund, at_ms);
        }
    }
    shots
}

/// One request, and perhaps the same again, and another under the same id.
fn repeats(random: &Random, plan: &Plan, shots: &mut Vec<Shot>, ask: &Ask, begun_ms: u64) {
    let times = if random.chance(400) { 1 } else { random.between(2, 5) };
    for time in 0..times {
        let later_ms = match (time, random.below(3)) {
            (0, _) => 0,
            (_, 0) => random.below(5),
            (_, _) => random.below(4_000),
        };
        let mut ask = ask.clone();
        if random.chance(100) {
            let other_minor = ask.minor + ask.minor.signum();
            ask = another(&ask, other_minor);
        } else if random.chance(200) {
            // The same by value.
            ask.amount.push('0');
        }
        let hang_up_ms = random.chance(plan.hang_up).then(|| random.below(800));
        let deadline_ms = if random.chance(500) { DEADLINE_MAX_MS } else { random.between(100, DEADLINE_MAX_MS) };
        let gateway = usize::try_from(random.below(2)).expect("small");
        shots.push(Shot { ask, at_ms: begun_ms + later_ms, deadline_ms, hang_up_ms, gateway });
    }
}

/// Sends a request to a gateway and waits for what there is to hear.
pub async fn send(world: &Arc<World>, to: &Incarnation, shot: &Shot) -> Call {
    let ask = shot.ask.clone();
    let gateway = Arc::clone(&to.gateway);
    let partner = gateway.directory.partner(&PartnerId::new(ask.partner)).expect("a partner").clone();
    let deadline = Instant::now() + Duration::from_millis(shot.deadline_ms);
    let correlation = gateway.secrets.fresh_correlation_id();
    let caller = Caller { partner, trail: Trail::silent(Trace::begun_by(&correlation)), correlation, deadline };
    let from_ms = world.now_ms();
    let name = &to.place.life.name;
    world.note(&ask.label, format!("asks {name} for {}, within {} ms", ask.amount, shot.deadline_ms));
    let raw = Raw {
        ext_transaction_id: &ask.id,
        type_word: "MSISDN",
        address: ask.number,
        account_id: "",
        partner_product: "ott-basic",
        amount: &ask.amount,
        currency: "MXN",
        description: &ask.label,
        reference_id: ask.reference_id.as_deref(),
    };
    let answer = timeout_at(deadline + DEADLINE_GRACE, charge::create(&gateway, caller, &raw));
    let hang_up = async {
        match shot.hang_up_ms {
            Some(after_ms) => sleep(Duration::from_millis(after_ms)).await,
            None => std::future::pending().await,
        }
    };
    let mut cut = false;
    let heard = tokio::select! {
        biased;
        () = to.place.life.death() => Heard::Nothing,
        answer = answer => match answer {
            Ok(Ok(answer)) => Heard::Answered {
                status: answer.status,
                description: answer.description.to_string(),
                origin: answer.origin,
            },
            Ok(Err(Stop::Refused(refusal))) => Heard::Refused(name_of(&refusal)),
            Ok(Err(Stop::Unavailable(_))) => Heard::Unavailable,
            Err(_) => {
                cut = true;
                Heard::Unavailable
            }
        },
        () = hang_up => Heard::Nothing,
    };
    world.note(&ask.label, format!("hears {heard:?} of {name} for {}", ask.amount));
    Call { ask, from_ms, until_ms: world.now_ms(), deadline_ms: shot.deadline_ms, cut, heard }
}

fn name_of(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Invalid(violations) => {
            let listed = violations.iter().map(|violation| format!("{} {}", violation.field, violation.reason));
            listed.collect::<Vec<_>>().join("; ")
        }
        other => format!("{other:?}"),
    }
}
