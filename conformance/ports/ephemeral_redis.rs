//! What is of Redis alone: what it keeps, for how long, how often it is asked, and what happens when it is away.
//!
//! Invariant: real servers, started by the test. Nothing here asserts how long something took; that an answer comes at
//! all, while a server is stopped, is the claim.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use onbill::adapters::ephemeral::redis::{RedisEphemeral, Settings, Tls, Topology};
use onbill::adapters::secrets::SeededSecrets;

use crate::servers::redis::{Cluster, Server};

/// Settings for these ports of this machine.
fn settings(topology: Topology, ports: impl IntoIterator<Item = u16>) -> Settings {
    Settings {
        topology,
        addresses: ports.into_iter().map(|port| ("127.0.0.1".to_owned(), port)).collect(),
        user: None,
        password: None,
        database: 0,
        tls: Tls::Off,
        connect_timeout: Duration::from_secs(5),
        response_timeout: Duration::from_secs(5),
        key_prefix: "onbill".to_owned(),
        proofs_kept: Duration::from_hours(24),
    }
}

fn open(settings: &Settings) -> RedisEphemeral {
    RedisEphemeral::open(settings, Arc::new(SeededSecrets::new(1))).expect("settings that can work")
}

/// As good as an empty server: names that no other test uses.
fn fresh(settings: Settings) -> RedisEphemeral {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    open(&Settings { key_prefix: format!("suite-{}", NEXT.fetch_add(1, Ordering::Relaxed)), ..settings })
}

/// A store on a server that all tests of the suite share.
pub fn on_one_server() -> RedisEphemeral {
    static SERVER: OnceLock<Server> = OnceLock::new();
    fresh(settings(Topology::Standalone, [SERVER.get_or_init(Server::start).port()]))
}

/// The same on a Cluster.
pub fn on_a_cluster() -> RedisEphemeral {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let nodes = CLUSTER.get_or_init(Cluster::start).nodes();
    fresh(settings(Topology::Cluster, nodes.iter().map(Server::port)))
}
