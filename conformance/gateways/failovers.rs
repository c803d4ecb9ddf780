//! Stores that fail over to another server while many gateways work.
//!
//! Invariant: what fails over is real: Sentinels elect, a Cluster elects, a standby is promoted; and nobody tells the
//! gateways. Each test has servers of its own. How long it took is printed, and not claimed: machines of tests are busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::fleet::{Fleet, send_pin};
use super::losses::{
    PATIENCE, charge_at_both, compare, is_unavailable, sell_without_ledger, until_pins_are_sent, until_shown,
};
use super::stores::{HASTY_MS, PATIENT_MS, Stores};
use crate::gateway::client::Partner;
use crate::gateway::process::number;
use crate::servers::postgres::Server as Postgres;
use crate::servers::redis::{Cluster, MASTER, Server as Redis, Watched};

/// A fleet of two over servers of Redis that these lines name. Redis is waited for as long as the defaults say.
fn over(redis_lines: &str) -> Fleet {
    let stores = Stores::beside_others();
    let settings = stores.settings_over(redis_lines, &stores.database.url(), PATIENT_MS);
    Fleet::over(2, stores, &settings, PATIENT_MS)
}

fn addresses(ports: impl IntoIterator<Item = u16>) -> String {
    let ports: Vec<_> = ports.into_iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    format!("addresses = [{}]", ports.join(", "))
}

/// Those who charge while something else happens: each id at both gateways, and each must hear the same success.
struct Charging {
    over: Arc<AtomicBool>,
    numbers: Vec<String>,
    tasks: Vec<JoinHandle<usize>>,
}

impl Charging {
    fn begin(fleet: &Fleet) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let numbers: Vec<_> = ["01", "01", "13"].map(number).to_vec();
        let tasks = numbers
            .iter()
            .map(|number| tokio::spawn(charge_at_both(Arc::clone(&over), fleet.partners(), number.clone())))
            .collect();
        Self { over, numbers, tasks }
    }

    async fn end(self, fleet: &Fleet) {
        self.over.store(true, Ordering::Relaxed);
        for (task, number) in self.tasks.into_iter().zip(&self.numbers) {
            let charged = task.await.expect("no other answer came");
            assert!(charged > 0 && fleet.billed(number).await.len() == charged, "each of {charged} once");
        }
    }
}

/// Waits until a server that was a replica is the master.
async fn until_master(server: &Redis) -> Instant {
    let since = Instant::now();
    loop {
        let told: String = tokio::task::block_in_place(|| server.ask(&["INFO", "replication"])).unwrap_or_default();
        if told.contains("role:master") {
            return Instant::now();
        }
        assert!(since.elapsed() < PATIENCE, "nobody was elected: {told}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until every gateway says in its readiness that short-lived state is there, or is not.
async fn until_all_say(fleet: &Fleet, text: &str) {
    for admin in fleet.admins() {
        until_shown(&admin, "/readyz", text).await;
    }
}

/// Waits until PINs for numbers of every shard are sent, by every gateway; until then they are 503 and nothing else.
async fn until_all_are_sent(partners: &[Partner]) {
    let since = Instant::now();
    for partner in partners.iter().cycle().take(24) {
        let number = number("01");
        loop {
            let answer = send_pin(partner, &number).await;
            if answer.status == 201 {
                break;
            }
            is_unavailable(&answer);
            assert!(since.elapsed() < PATIENCE, "the shard has a master, and its PINs wait");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_sentinels_elect_another_master_charges_go_on_and_pins_come_back_with_it() {
    let watched = tokio::task::block_in_place(Watched::start);
    let [first, second] = &watched.servers;
    let sentinels = addresses(watched.sentinels());
    let fleet = over(&format!("mode = \"sentinel\"\nsentinel_master = \"{MASTER}\"\n{sentinels}"));
    let partners = fleet.partners();
    until_pins_are_sent(&partners[0]).await;
    let charging = Charging::begin(&fleet);
    tokio::task::block_in_place(|| first.kill());
    for partner in &partners {
        is_unavailable(&send_pin(partner, &number("01")).await);
    }
    let elected = until_master(second).await;
    for partner in &partners {
        until_pins_are_sent(partner).await;
    }
    println!("PINs were back {} ms after a master was elected in place of a dead one", elected.elapsed().as_millis());
    until_all_say(&fleet, "ephemeral: ok").await;
    // The old one comes back, is told to follow, and takes over again from a master that only hangs.
    tokio::task::block_in_place(|| {
        first.restart();
        watched.until_following(first, second);
        second.pause();
    });
    let elected = until_master(first).await;
    for partner in &partners {
        until_pins_are_sent(partner).await;
    }
    println!(
        "PINs were back {} ms after a master was elected in place of one that hung",
        elected.elapsed().as_millis()
    );
    // Whoever was master may believe so for a moment longer; nobody listens to it.
    second.resume();
    until_all_say(&fleet, "ephemeral: ok").await;
    until_pins_are_sent(&partners[1]).await;
    charging.end(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_replica_takes_a_clusters_shard_charges_go_on_and_only_its_pins_wait() {
    let (cluster, replica) = tokio::task::block_in_place(|| {
        let cluster = Cluster::start();
        let replica = cluster.replica_of(&cluster.nodes()[0]);
        (cluster, replica)
    });
    let fleet = over(&format!("mode = \"cluster\"\n{}", addresses(cluster.nodes().iter().map(Redis::port))));
    let partners = fleet.partners();
    let numbers: Vec<_> = (0..24).map(|_| number("01")).collect();
    for number in &numbers {
        assert_eq!(send_pin(&partners[0], number).await.status, 201);
    }
    let charging = Charging::begin(&fleet);
    tokio::task::block_in_place(|| cluster.nodes()[0].kill());
    let (mut sent, mut waiting) = (0, 0);
    for (number, partner) in numbers.iter().zip(partners.iter().cycle()) {
        let answer = send_pin(partner, number).await;
        if answer.status == 201 {
            sent += 1;
        } else {
            is_unavailable(&answer);
            waiting += 1;
        }
    }
    assert!(sent > 0, "the other shards serve: {waiting} wait");
    let elected = until_master(&replica).await;
    until_all_are_sent(&partners).await;
    println!(
        "{waiting} of {} PINs waited; all were sent {} ms after a master was elected",
        numbers.len(),
        elected.elapsed().as_millis()
    );
    // The old one comes back, follows, and takes over again from a master that only hangs.
    tokio::task::block_in_place(|| {
        cluster.nodes()[0].restart();
        cluster.until_following(&cluster.nodes()[0], &replica);
        replica.pause();
    });
    let elected = until_master(&cluster.nodes()[0]).await;
    until_all_are_sent(&partners).await;
    println!("all were sent {} ms after a master was elected in place of one that hung", elected.elapsed().as_millis());
    replica.resume();
    until_all_say(&fleet, "ephemeral: ok").await;
    charging.end(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_standby_was_promoted_is_there_after_it_and_nothing_is_done_twice() {
    let stores = tokio::task::block_in_place(Stores::apart);
    let primary = Arc::clone(stores.database.server());
    let standby = tokio::task::block_in_place(|| {
        let standby = Postgres::standby_of(&primary);
        primary.wait_for_a_standby();
        standby
    });
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", standby.port(), primary.port());
    let url = format!("postgresql://onbill@{hosts}/{}", stores.database.name());
    let settings = stores.settings_by(&stores.redis.address(), &url, HASTY_MS);
    let fleet = Fleet::hasty_over(3, stores, &settings);
    let partners = fleet.partners();
    let over = Arc::new(AtomicBool::new(false));
    let numbers: Vec<_> = ["01", "01", "01", "13"].map(number).to_vec();
    let selling: Vec<_> = numbers
        .iter()
        .enumerate()
        .map(|(turn, number)| {
            tokio::spawn(sell_without_ledger(Arc::clone(&over), partners[turn % 3].clone(), number.clone()))
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    tokio::task::block_in_place(|| primary.kill());
    for admin in fleet.admins() {
        until_shown(&admin, "/metrics", "onbill_ledger_up 0\n").await;
    }
    tokio::task::block_in_place(|| standby.promote());
    let promoted = Instant::now();
    for admin in fleet.admins() {
        until_shown(&admin, "/readyz", "ledger: ok").await;
    }
    println!("the ledger was back {} ms after the standby was promoted", promoted.elapsed().as_millis());
    tokio::time::sleep(Duration::from_millis(500)).await;
    over.store(true, Ordering::Relaxed);
    compare(&fleet, selling, &numbers).await;
}
