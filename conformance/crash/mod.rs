//! Real crashes: the built gateway is killed with SIGKILL at random moments under load, with an operator of its own
//! beside it that lives on, and afterwards the operator's bill is compared with every answer that any client ever got.
//!
//! Invariant: moments, requests and faults are drawn from one seed, which a failure prints with the story of each key
//! that is wrong. ONBILL_CRASH_SEED and ONBILL_CRASH_KILLS choose another run of the store that ONBILL_CRASH_STORE names
//! (sqlite, or postgres for many gateways); without them short ones are made.

mod load;
mod story;
mod check;
mod left;
mod events;
mod many;

use std::sync::Arc;
use std::time::Duration;

use onbill::domain::api_key::KeyDigest;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::check::Ledger;
use self::load::Client;
use self::story::Stories;
use crate::gateway::endpoint::{Endpoint, SECRET};
use crate::gateway::process::{Running, Setup};
use crate::operator::{KEY, Operator};

/// The partner's key.
const PARTNER_KEY: &str = "a-partner-that-sees-crashes";
/// Kills of a short run.
const KILLS: u32 = 12;
/// What an account may spend in a month, in whole units: most accounts come to it.
const MONTH_MAX: u64 = 70;
/// Clients that load the gateway.
const CLIENTS: u64 = 12;

/// Random numbers that are the same for the same seed (SplitMix64).
#[derive(Clone)]
pub struct Draw(u64);

impl Draw {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below a bound.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True so many times in a hundred.
    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// Kills of a run on this store: those that were asked for, if it was asked for.
fn kills_on(store: &str, short: u32) -> u32 {
    let asked = std::env::var("ONBILL_CRASH_STORE").unwrap_or_else(|_| "sqlite".to_owned());
    assert!(matches!(asked.as_str(), "sqlite" | "postgres"), "ONBILL_CRASH_STORE must be sqlite or postgres");
    let chosen = chosen("ONBILL_CRASH_KILLS").filter(|_| asked == store);
    chosen.map_or(short, |kills| u32::try_from(kills).expect("fewer kills"))
}

fn configuration(operator: &Operator, endpoint: &Endpoint) -> String {
    let digest = KeyDigest::of(PARTNER_KEY.as_bytes());
    let url = operator.authority();
    let events = endpoint.url();
    format!(
        r#"
[server]
deadline_default_ms = 1500
deadline_max_ms = 2000
[charge]
lease_s = 3
[reconcile]
poll_ms = 50
[csp.operator]
adapter = "http"
url = "http://{url}"
api_key = "{KEY}"
currency = "MXN"
msisdn_pattern = "^[0-9]{{10}}$"
call_timeout_ms = 400
forget_after_s = 2
[csp.operator.limit.purchases]
month_max = "{MONTH_MAX}.00"
[partner.ott]
key_sha256 = ["{digest}"]
csps = ["operator"]
[partner.ott.webhook]
url = "{events}"
secrets = ["{SECRET}"]
allow_private = true
[partner.ott.product.film.charge_codes]
operator = "FILM"
"#
    )
}

fn chosen(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_moment_a_gateway_is_killed_at_no_money_moves_twice_or_is_forgotten() {
    let time_seed = || u64::from(std::process::id());
    let seed = chosen("ONBILL_CRASH_SEED").unwrap_or_else(time_seed);
    let kills = kills_on("sqlite", KILLS);
    let mut draw = Draw::new(seed);
    let operator = Operator::start(&[]);
    let endpoint = Endpoint::new().await;
    let config = configuration(&operator, &endpoint);
    let data = tempfile::tempdir().expect("a directory");
    let start = || -> Running {
        tokio::task::block_in_place(|| Setup::default().config(&config).data_dir(data.path()).start())
    };

    let mut gateway = start();
    let (moved, authority) = watch::channel(vec![gateway.authority().to_owned()]);
    let stories = Arc::new(Stories::default());
    let stop = CancellationToken::new();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = Client::new(authority.clone(), Arc::clone(&stories));
            tokio::spawn(load::run(client, number, Draw::new(seed ^ (number << 32)), stop.clone()))
        })
        .collect();
    for kill in 0..kills {
        if kill % 2 == 1 {
            load::trouble(&operator, &mut draw).await;
        }
        tokio::time::sleep(Duration::from_millis(50 + draw.below(600))).await;
        tokio::task::block_in_place(|| gateway.kill());
        stories.note_kill();
        gateway = start();
        moved.send_replace(vec![gateway.authority().to_owned()]);
    }
    stop.cancel();
    for client in clients {
        client.await.expect("no client panics");
    }
    load::peace(&operator).await;
    let client = Client::new(authority, Arc::clone(&stories));
    let mut complaints = check::settle(&client, &stories).await;
    complaints.extend(check::compare(&client, &operator, &stories, Ledger::Here).await);
    complaints.extend(events::compare(&endpoint, &stories).await);
    let summary = format!("{}; {} deliveries", stories.summary(), endpoint.received().len());
    println!("seed {seed}: {kills} kills, {summary}");
    assert!(complaints.is_empty(), "seed {seed}, {kills} kills, {summary}:\n{}", complaints.join("\n"));
    assert!(stories.successes() > 20, "too little happened to claim anything: {summary}");
    assert!(gateway.stop().success());
    assert!(operator.stop().success());
    let verified = std::process::Command::new(env!("CARGO_BIN_EXE_onbill"))
        .args(["ledger", "verify", "--data-dir"])
        .arg(data.path())
        .output()
        .expect("the built binary");
    let found = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success(), "seed {seed}: the ledger is not sound:\n{found}");
}
