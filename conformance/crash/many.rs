//! Real crashes of many gateways and of what they stand on: three gateways on one Redis and one PostgreSQL are killed in
//! turn with both stores, while a proxy before each store delays and cuts, and Redis is flushed now and then.
//!
//! Invariant: the same clients, operator, endpoint and checker as for one gateway; only what is killed differs. Where the
//! ledger can be away, 503 may be heard of what is final already, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::check::Ledger;
use super::load::{self, Client};
use super::story::Stories;
use super::{CLIENTS, Draw, check, chosen, configuration, events, kills_on};
use crate::gateway::endpoint::Endpoint;
use crate::gateway::process::{Running, Setup};
use crate::gateways::between::Proxy;
use crate::gateways::stores::{HASTY_MS, Stores};
use crate::operator::Operator;

/// Kills of a short run.
const KILLS: u32 = 9;
/// Gateways that run at a time.
const GATEWAYS: u64 = 3;

/// Everything that can be killed.
struct Site {
    gateways: Vec<Running>,
    moved: watch::Sender<Vec<String>>,
    stores: Stores,
    to_redis: Proxy,
    to_postgres: Proxy,
    config: String,
}

impl Site {
    async fn start(operator: &Operator, endpoint: &Endpoint) -> Self {
        let stores = tokio::task::block_in_place(Stores::apart);
        let to_redis = Proxy::to(stores.redis.port()).await;
        let to_postgres = Proxy::to(stores.database.server().port()).await;
        let direct = stores.database.url();
        let (at, database) = direct.rsplit_once('/').expect("a database");
        let (user, _) = at.rsplit_once('@').expect("a user");
        let by_proxy = format!("{user}@{}/{database}", to_postgres.address);
        let settings = stores.settings_by(&to_redis.address.to_string(), &by_proxy, HASTY_MS);
        let config = format!("{}{settings}", configuration(operator, endpoint));
        let (moved, _) = watch::channel(Vec::new());
        let mut site = Self { gateways: Vec::new(), moved, stores, to_redis, to_postgres, config };
        for _ in 0..GATEWAYS {
            let gateway = site.gateway();
            site.gateways.push(gateway);
        }
        site.tell();
        site
    }

    fn gateway(&self) -> Running {
        tokio::task::block_in_place(|| Setup::default().config(&self.config).start())
    }

    /// Tells the clients where the gateways are.
    fn tell(&self) {
        self.moved.send_replace(self.gateways.iter().map(|gateway| gateway.authority().to_owned()).collect());
    }

    /// Kills something, and starts it again after a while.
    async fn strike(&mut self, kill: u32, draw: &mut Draw) {
        let a_while = Duration::from_millis(draw.below(500));
        match kill % 4 {
            2 => {
                tokio::task::block_in_place(|| self.stores.redis.kill());
                tokio::time::sleep(a_while).await;
                tokio::task::block_in_place(|| self.stores.redis.restart());
            }
            3 => {
                tokio::task::block_in_place(|| self.stores.database.server().kill());
                tokio::time::sleep(a_while).await;
                tokio::task::block_in_place(|| self.stores.database.server().restart());
            }
            _ => {
                let place = usize::try_from(draw.below(GATEWAYS)).expect("small");
                let killed = self.gateways.swap_remove(place);
                tokio::task::block_in_place(|| killed.kill());
                // The others carry on; clients that call the dead one hear nothing.
                let gateway = self.gateway();
                self.gateways.push(gateway);
                self.tell();
            }
        }
    }

    /// Delays, cuts and flushes; what is delayed stays so until the next time.
    fn disturb(&self, draw: &mut Draw) {
        let slow = |draw: &mut Draw| if draw.percent(30) { draw.below(60) } else { 0 };
        self.to_redis.delay(slow(draw));
        self.to_postgres.delay(slow(draw));
        if draw.percent(40) {
            self.to_redis.cut();
        }
        if draw.percent(40) {
            self.to_postgres.cut();
        }
        if draw.percent(50) {
            tokio::task::block_in_place(|| self.stores.redis.flush());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whichever_gateway_or_store_is_killed_no_money_moves_twice_or_is_forgotten() {
    let seed = chosen("ONBILL_CRASH_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let kills = kills_on("postgres", KILLS);
    let mut draw = Draw::new(seed);
    let operator = Operator::start(&[]);
    let endpoint = Endpoint::new().await;
    let mut site = Site::start(&operator, &endpoint).await;
    let stories = Arc::new(Stories::default());
    let stop = CancellationToken::new();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = Client::new(site.moved.subscribe(), Arc::clone(&stories));
            tokio::spawn(load::run(client, number, Draw::new(seed ^ (number << 32)), stop.clone()))
        })
        .collect();
    for kill in 0..kills {
        if kill % 2 == 1 {
            load::trouble(&operator, &mut draw).await;
        }
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(50 + draw.below(250))).await;
            site.disturb(&mut draw);
        }
        site.strike(kill, &mut draw).await;
        stories.note_kill();
    }
    stop.cancel();
    for client in clients {
        client.await.expect("no client panics");
    }
    load::peace(&operator).await;
    site.to_redis.delay(0);
    site.to_postgres.delay(0);
    let client = Client::new(site.moved.subscribe(), Arc::clone(&stories));
    let mut complaints = check::settle(&client, &stories).await;
    complaints.extend(check::compare(&client, &operator, &stories, Ledger::Elsewhere).await);
    complaints.extend(events::compare(&endpoint, &stories).await);
    let summary = format!("{}; {} deliveries", stories.summary(), endpoint.received().len());
    println!("seed {seed}: {kills} kills of three gateways, Redis and PostgreSQL, {summary}");
    assert!(complaints.is_empty(), "seed {seed}, {kills} kills, {summary}:\n{}", complaints.join("\n"));
    assert!(stories.successes() > 20, "too little happened to claim anything: {summary}");
    for gateway in site.gateways {
        assert!(tokio::task::block_in_place(|| gateway.stop()).success());
    }
    assert!(operator.stop().success());
    let (sound, told) = tokio::task::block_in_place(|| site.stores.verify(&site.config));
    assert!(sound, "seed {seed}: the ledger is not sound:\n{told}");
}
