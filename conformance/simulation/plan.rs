//! The plan of a run: which faults its seed has in store, and how often.
//!
//! Invariant: each class of faults is there in some runs and absent in others, so that a fault is also met on its own,
//! and one that hides another does not hide it always. All rates are per mille of the calls that they may befall.

use onbill::domain::directory::Recovery;

use super::random::Random;

/// Seconds for which nobody else works on a transaction: more than the longest deadline and one call together.
pub const LEASE_S: u32 = 7;
/// The CSP's promise: a request that it has not seen by then is never applied.
pub const FORGET_AFTER_S: u32 = 3;
/// Milliseconds that one call to the CSP may take.
pub const CALL_TIMEOUT_MS: u32 = 600;
/// Longest deadline of a caller.
pub const DEADLINE_MAX_MS: u64 = 5_000;

/// How a run goes wrong.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Gateways on the same ledger and CSP.
    pub gateways: usize,
    /// Whether they share their short-lived state, which then outlives a crash.
    pub shared_ephemeral: bool,
    /// How the CSP's outcomes are learnt.
    pub recovery: Recovery,
    /// Whether the CSP makes references void.
    pub voids: bool,
    /// What befalls calls to the CSP.
    pub csp: CspRates,
    /// What befalls the ledger.
    pub ledger: LedgerRates,
    /// Short-lived state cannot be reached.
    pub ephemeral_down: u64,
    /// Short-lived state has done what it was asked for, and its answer is lost: a flight that nobody knows to be his.
    pub ephemeral_answer_lost: u64,
    /// From and until when no gateway reaches short-lived state, in milliseconds.
    pub ephemeral_outages_ms: Vec<(u64, u64)>,
    /// Milliseconds at which short-lived state is lost.
    pub wipes_ms: Vec<u64>,
    /// For each life in turn: the step of its work at which it crashes.
    pub crashes: Vec<u64>,
    /// Clients that hang up.
    pub hang_up: u64,
    /// What each account may spend.
    pub spending: Option<Spending>,
    /// Whether short-lived state keeps final answers for repeats.
    pub keeps_answers: bool,
}

/// Limits of each account, and where its days begin.
#[derive(Debug, Clone)]
pub struct Spending {
    pub day_max_minor: i64,
    pub month_max_minor: i64,
    /// East of Greenwich. All runs begin at 22:13:20 there.
    pub offset_s: i32,
}

impl Spending {
    /// Often less than what the callers of a run ask for; a day may end while they do, and sometimes the month with it.
    fn draw(random: &Random) -> Self {
        let minor = |from, to| i64::try_from(random.between(from, to)).expect("small");
        let day_max_minor = minor(200, 2_500);
        let offset_s = match random.below(2) {
            0 => 0,
            _ => MIDNIGHT_S - i32::try_from(random.between(1, 4)).expect("small"),
        };
        Self { day_max_minor, month_max_minor: day_max_minor + minor(1, 1_000), offset_s }
    }
}

/// Seconds from the beginning of a run to midnight in Greenwich.
const MIDNIGHT_S: i32 = 6_400;

/// Faults of the CSP.
#[derive(Debug, Clone, Default)]
pub struct CspRates {
    pub lost_before: u64,
    pub lost_after: u64,
    pub late: u64,
    pub duplicate: u64,
    pub refused: u64,
    pub not_applied: u64,
    pub slow: u64,
    pub wrong_amount: u64,
    pub wrong_reference: u64,
    pub contradictory: u64,
    pub inquiry_lost: u64,
    pub look_up_lost: u64,
}

/// Faults of the ledger.
#[derive(Debug, Clone, Default)]
pub struct LedgerRates {
    pub conflict: u64,
    pub down: u64,
    pub answer_lost: u64,
    pub late: u64,
    pub stall: u64,
    /// From and until when nothing is answered, in milliseconds.
    pub outages_ms: Vec<(u64, u64)>,
}

impl Plan {
    /// The plan of a seed.
    pub fn draw(random: &Random) -> Self {
        let rate = |max: u64| if random.chance(400) { random.below(max) + 1 } else { 0 };
        let csp = CspRates {
            lost_before: rate(200),
            lost_after: rate(300),
            late: rate(300),
            duplicate: rate(200),
            refused: rate(200),
            not_applied: rate(400),
            slow: rate(300),
            wrong_amount: rate(60),
            wrong_reference: rate(60),
            contradictory: rate(60),
            inquiry_lost: rate(400),
            look_up_lost: rate(100),
        };
        let outages_ms = match random.below(3) {
            0 => (0..random.between(1, 4)).map(|_| random.below(9_000)).map(|from| (from, from + 600)).collect(),
            _ => Vec::new(),
        };
        let ledger = LedgerRates {
            conflict: rate(100),
            down: rate(80),
            answer_lost: rate(100),
            late: rate(60),
            stall: rate(30),
            outages_ms,
        };
        let crashes = if random.chance(500) { random.between(1, 5) } else { 0 };
        let wipes = if random.chance(400) { random.between(1, 6) } else { 0 };
        let ephemeral_outages_ms = match random.below(3) {
            0 => (0..random.between(1, 3)).map(|_| random.below(9_000)).map(|from| (from, from + 1_200)).collect(),
            _ => Vec::new(),
        };
        Self {
            gateways: match random.below(10) {
                0 | 1 => 3,
                2..=4 => 2,
                _ => 1,
            },
            shared_ephemeral: random.chance(500),
            recovery: if random.chance(250) { Recovery::Resend } else { Recovery::Inquiry },
            voids: random.chance(400),
            csp,
            ledger,
            ephemeral_down: rate(300),
            ephemeral_answer_lost: rate(150),
            ephemeral_outages_ms,
            wipes_ms: (0..wipes).map(|_| random.below(9_000)).collect(),
            crashes: (0..crashes).map(|_| random.between(1, 250)).collect(),
            hang_up: rate(300),
            spending: random.chance(500).then(|| Spending::draw(random)),
            keeps_answers: random.chance(500),
        }
    }

    /// A run in which nothing goes wrong.
    pub fn calm() -> Self {
        Self {
            gateways: 1,
            shared_ephemeral: false,
            recovery: Recovery::Inquiry,
            voids: false,
            csp: CspRates::default(),
            ledger: LedgerRates::default(),
            ephemeral_down: 0,
            ephemeral_answer_lost: 0,
            ephemeral_outages_ms: Vec::new(),
            wipes_ms: Vec::new(),
            crashes: Vec::new(),
            hang_up: 0,
            spending: None,
            keeps_answers: false,
        }
    }

    /// Whether the ledger always answers, and at once.
    pub fn ledger_is_sound(&self) -> bool {
        let rates = &self.ledger;
        rates.conflict + rates.down + rates.answer_lost + rates.late + rates.stall == 0 && rates.outages_ms.is_empty()
    }
}
