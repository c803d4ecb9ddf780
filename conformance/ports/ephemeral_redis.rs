//! What is of Redis alone: what it keeps, for how long, how often it is asked, and what happens when it is away.
//!
//! Invariant: real servers, started by the test. Nothing here asserts how long something took; that an answer comes at
//! all, while a server is stopped, is the claim.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::SignedDuration;
use onbill::adapters::ephemeral::redis::{RedisEphemeral, Settings, Tls, Topology};
use onbill::adapters::secrets::SeededSecrets;
use onbill::domain::Time;
use onbill::domain::address::Msisdn;
use onbill::domain::directory::SendQuota;
use onbill::domain::ids::{ExtNotificationId, ExtTransactionId, InstanceId, PartnerId};
use onbill::domain::notification::{Claim, ContentDigest, NotificationKey};
use onbill::domain::pin::{Pin, PinDigest, StoredPin, Verdict};
use onbill::domain::rate::SharedRate;
use onbill::domain::transaction::{Kind, Status, TransactionKey};
use onbill::ports::ephemeral::{Ephemeral, EphemeralUnavailable, FinalAnswer, Flight, Issued, PinSlot, Texted, Ticket};
use onbill::ports::secrets::Secrets;

use super::ephemeral_answers::{answer, request};
use crate::servers::redis::{Cluster, MASTER, Server, Watched};

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
        answers_kept: Duration::from_mins(30),
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

const QUOTA: SendQuota = SendQuota { per_partner_max: 3, per_address_max: 10, window_s: 600 };
/// Long enough that nothing ends by it in a test.
const LONG: Duration = Duration::from_hours(1);
/// Longest wait for a store to be back: generous, since test machines are busy.
const PATIENCE: Duration = Duration::from_mins(1);

const PARTNER: &str = "a-partner-of-the-test";
const NUMBER: &str = "5550142601";
const PIN: &str = "493817";
const ID: &str = "an-id-of-the-test";

fn now() -> Time {
    Time::from_second(1_700_000_000).expect("in range")
}

fn slot() -> PinSlot {
    PinSlot { partner: PartnerId::new(PARTNER), number: Msisdn::new(NUMBER) }
}

fn digest(pin: &str) -> PinDigest {
    let slot = slot();
    SeededSecrets::new(1).pin_digest(&slot.partner, &slot.number, &Pin::new(pin.to_owned()))
}

fn pin() -> StoredPin {
    let expires_at = now().checked_add(SignedDuration::from_secs(300)).expect("in range");
    StoredPin { digest: digest(PIN), expires_at, tries_left: 5 }
}

fn key(id: &str) -> TransactionKey {
    let ext_transaction_id = ExtTransactionId::parse(id).expect("an id");
    TransactionKey { partner: PartnerId::new(PARTNER), kind: Kind::Charge, ext_transaction_id }
}

fn ticket(number: u64) -> Ticket {
    Ticket::new(&InstanceId::new("gateway"), number)
}

async fn send(store: &RedisEphemeral) -> Result<Issued, EphemeralUnavailable> {
    store.issue_pin(&slot(), pin(), QUOTA, now()).await
}

async fn validate(store: &RedisEphemeral) -> Result<Verdict, EphemeralUnavailable> {
    store.redeem_pin(&slot(), &digest(PIN), now()).await
}

async fn lease(store: &RedisEphemeral) -> Result<u32, EphemeralUnavailable> {
    let rate = SharedRate { per_second: 10, burst: 20 };
    store.lease_rate(&PartnerId::new(PARTNER), rate, 5, now()).await
}

fn notification() -> NotificationKey {
    NotificationKey { partner: PartnerId::new(PARTNER), id: ExtNotificationId::parse(ID).expect("an id") }
}

async fn claim(store: &RedisEphemeral) -> Result<Claim, EphemeralUnavailable> {
    store.claim_notification(&notification(), &ContentDigest([1; 16]), &ticket(1), now()).await
}

/// Calls every verb once, each so that it has something to find.
async fn all_verbs(store: &RedisEphemeral) {
    assert_eq!(send(store).await.expect("an answer"), Issued::Kept);
    assert_eq!(validate(store).await.expect("an answer"), Verdict::Right);
    assert_eq!(store.pin_proved_at(&slot(), 5, now()).await.expect("an answer"), Some(now()));
    assert_eq!(store.begin_flight(&key(ID), None, &ticket(1), LONG).await.expect("an answer"), Flight::Begun);
    store.await_flight(&key("another"), LONG).await.expect("an answer");
    store.end_flight(&key(ID), &ticket(1), Some((&request(), &answer()))).await;
    assert_eq!(claim(store).await.expect("an answer"), Claim::Begun);
    store.settle_notification(&notification(), &ticket(1), Texted::NotSent).await;
    lease(store).await.expect("an answer");
    store.forget_number(&slot().number).await.expect("an answer");
}

/// Tries again and again until it works.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut attempt: impl FnMut() -> F) -> T {
    let tried = async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

async fn until_back(store: &RedisEphemeral) {
    eventually("the store is back", || async { store.check().await.ok() }).await;
}

/// Every verb answers that the store is away; none of them waits for it.
async fn all_verbs_are_refused(store: &RedisEphemeral) {
    let all = async {
        assert!(send(store).await.is_err());
        assert!(validate(store).await.is_err());
        assert!(store.pin_proved_at(&slot(), 5, now()).await.is_err());
        assert!(store.begin_flight(&key(ID), None, &ticket(1), LONG).await.is_err());
        assert!(store.await_flight(&key(ID), LONG).await.is_err());
        store.end_flight(&key(ID), &ticket(1), None).await;
        assert!(claim(store).await.is_err());
        store.settle_notification(&notification(), &ticket(1), Texted::Sent).await;
        assert!(lease(store).await.is_err());
        assert!(store.forget_number(&slot().number).await.is_err());
        assert!(store.check().await.is_err());
    };
    tokio::time::timeout(PATIENCE, all).await.expect("nobody is kept waiting");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_expires_and_nothing_personal_is_ever_sent() {
    let server = Server::with(&["--slowlog-log-slower-than", "0", "--slowlog-max-len", "10000"]);
    let store = open(&settings(Topology::Standalone, [server.port()]));
    all_verbs(&store).await;
    send(&store).await.expect("an answer");
    validate(&store).await.expect("an answer");
    store.begin_flight(&key(ID), None, &ticket(1), LONG).await.expect("an answer");
    for texted in [Texted::NotSent, Texted::Sent] {
        assert_eq!(claim(&store).await.expect("an answer"), Claim::Begun);
        assert_eq!(claim(&store).await.expect("an answer"), Claim::Begun, "sent again by a client of a Cluster");
        store.settle_notification(&notification(), &ticket(1), texted).await;
    }
    let keys = server.keys();
    let kinds: BTreeSet<_> = keys.iter().filter_map(|key| key.split(":{").next()).collect();
    let all = ["answer", "flight", "notification", "pin", "proof", "rate"].map(|kind| format!("onbill:1:{kind}"));
    assert_eq!(kinds, all.iter().map(String::as_str).collect());
    for key in &keys {
        let left_s: i64 = server.ask(&["TTL", key]).expect("an answer");
        assert!(left_s > 0, "{key} is kept for ever");
    }
    // The log of slow commands, of which every one is: the names and values of all that was ever sent.
    let sent: Vec<redis::Value> = server.ask(&["SLOWLOG", "GET", "10000"]).expect("an answer");
    let sent = sent.iter().map(words).collect::<Vec<_>>().join("\n");
    assert!(sent.contains("EVALSHA") && sent.contains("onbill:1:flight"), "{sent}");
    for personal in [PARTNER, NUMBER, PIN, ID] {
        assert!(!sent.contains(personal), "{personal} is in {sent}");
    }
}

/// All texts in an answer.
fn words(value: &redis::Value) -> String {
    match value {
        redis::Value::Array(values) => values.iter().map(words).collect::<Vec<_>>().join(" "),
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verb_is_one_round_trip() {
    let server = Server::start();
    let store = open(&settings(Topology::Standalone, [server.port()]));
    all_verbs(&store).await;
    server.flush();
    server.ask::<()>(&["CONFIG", "RESETSTAT"]).expect("an answer");
    // Commands as they arrive; what scripts call, they call without a round trip.
    let arrived =
        || ["eval", "evalsha", "script|load", "exists", "hget", "unlink"].map(|command| server.calls(command));
    assert_eq!(arrived(), [0; 6]);
    let begin = async || store.begin_flight(&key(ID), Some(&request()), &ticket(1), LONG).await.expect("an answer");
    assert_eq!((begin().await, arrived()), (Flight::Begun, [0, 1, 0, 0, 0, 0]), "to begin a charge");
    store.end_flight(&key(ID), &ticket(1), Some((&request(), &answer()))).await;
    assert_eq!(arrived(), [0, 2, 0, 0, 0, 0], "to end a charge and keep its answer");
    assert_eq!((begin().await, arrived()), (Flight::Answered(answer()), [0, 3, 0, 0, 0, 0]), "to answer it again");
    send(&store).await.expect("an answer");
    assert_eq!(arrived(), [0, 4, 0, 0, 0, 0], "to send a PIN");
    validate(&store).await.expect("an answer");
    assert_eq!(arrived(), [0, 5, 0, 0, 0, 0], "to validate a PIN");
    store.pin_proved_at(&slot(), 5, now()).await.expect("an answer");
    lease(&store).await.expect("an answer");
    store.forget_number(&slot().number).await.expect("an answer");
    assert_eq!(arrived(), [0, 6, 0, 0, 1, 1], "for all else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn final_answers_are_kept_for_their_time_on_every_gateway_and_not_at_all_where_that_is_0() {
    let server = Server::start();
    let kept = settings(Topology::Standalone, [server.port()]);
    let (one, other) = (open(&kept), open(&kept));
    let begin = async |store: &RedisEphemeral| {
        store.begin_flight(&key(ID), Some(&request()), &ticket(7), LONG).await.expect("an answer")
    };
    let success = FinalAnswer { status: Status::Success, description: Arc::from("Charge success") };
    for answer in [answer(), success] {
        one.end_flight(&key(ID), &ticket(1), Some((&request(), &answer))).await;
        assert_eq!(begin(&other).await, Flight::Answered(answer));
    }
    let names = server.keys();
    assert_eq!(names.len(), 1, "{names:?}");
    let left_ms: i64 = server.ask(&["PTTL", &names[0]]).expect("an answer");
    assert!((1..=30 * 60_000).contains(&left_ms), "{left_ms}");
    let none = open(&Settings { answers_kept: Duration::ZERO, ..kept.clone() });
    assert_eq!(begin(&none).await, Flight::Begun, "it asks for none");
    none.end_flight(&key(ID), &ticket(7), Some((&request(), &answer()))).await;
    server.flush();
    none.end_flight(&key(ID), &ticket(7), Some((&request(), &answer()))).await;
    assert_eq!(server.keys(), [""; 0], "and leaves none");
    one.end_flight(&key(ID), &ticket(1), Some((&request(), &answer()))).await;
    for junk in ["", "S", "no answer of a gateway at all, but long enough"] {
        server.ask::<()>(&["SET", &names[0], junk]).expect("an answer");
        assert_eq!(begin(&one).await, Flight::Begun, "{junk:?} is nobody's answer");
        one.end_flight(&key(ID), &ticket(7), None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_final_answer_takes_a_quarter_of_a_kilobyte() {
    const ANSWERS: u64 = 4_000;
    let server = Server::start();
    let store = open(&settings(Topology::Standalone, [server.port()]));
    let answer = FinalAnswer { status: Status::Success, description: Arc::from("Charge success") };
    store.end_flight(&key(ID), &ticket(1), Some((&request(), &answer))).await;
    let empty = used_memory(&server);
    for n in 0..ANSWERS {
        store.end_flight(&key(&format!("{n}")), &ticket(1), Some((&request(), &answer))).await;
    }
    let taken = used_memory(&server).saturating_sub(empty) / ANSWERS;
    println!("a final answer takes {taken} bytes");
    assert!(taken > 100 && taken < 256, "{taken}");
}

fn used_memory(server: &Server) -> u64 {
    let memory: String = server.ask(&["INFO", "memory"]).expect("an answer");
    let line = memory.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("a line");
    line.trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_with_its_proof_takes_less_than_half_a_kilobyte_all_in_all() {
    const PINS: u64 = 4_000;
    let server = Server::start();
    let store = open(&settings(Topology::Standalone, [server.port()]));
    all_verbs(&store).await;
    let used = || used_memory(&server);
    let empty = used();
    let slots: Vec<_> = (0..PINS).map(|n| PinSlot { number: Msisdn::new(&format!("555{n:07}")), ..slot() }).collect();
    for slot in &slots {
        store.issue_pin(slot, pin(), QUOTA, now()).await.expect("an answer");
    }
    let sent = used();
    for slot in &slots {
        assert_eq!(store.redeem_pin(slot, &digest(PIN), now()).await.expect("an answer"), Verdict::Right);
    }
    let (pin, proof) = (sent.saturating_sub(empty) / PINS, used().saturating_sub(sent) / PINS);
    println!("a PIN takes {pin} bytes, its proof {proof}");
    assert!(pin > 100 && pin + proof < 512, "{pin}, {proof}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_costs_what_was_kept_and_no_error() {
    let server = Server::start();
    let store = open(&settings(Topology::Standalone, [server.port()]));
    for _ in 0..2 {
        all_verbs(&store).await;
        send(&store).await.expect("an answer");
        store.begin_flight(&key(ID), None, &ticket(1), LONG).await.expect("an answer");
        server.flush();
        server.ask::<()>(&["SCRIPT", "FLUSH"]).expect("an answer");
        assert_eq!(validate(&store).await.expect("an answer"), Verdict::Wrong);
        let again = store.begin_flight(&key(ID), None, &ticket(2), LONG).await.expect("an answer");
        assert_eq!(again, Flight::Begun, "the ledger tells the two apart");
        server.flush();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_is_found_again() {
    let server = Server::start();
    let store = open(&settings(Topology::Standalone, [server.port()]));
    for _ in 0..3 {
        all_verbs(&store).await;
        server.kill();
        all_verbs_are_refused(&store).await;
        server.restart();
        until_back(&store).await;
    }
    all_verbs(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_restarted_while_nobody_asked_is_there_for_the_next_who_does() {
    let server = Server::start();
    let store = open(&settings(Topology::Standalone, [server.port()]));
    all_verbs(&store).await;
    server.restart();
    let clients = || server.ask::<String>(&["CLIENT", "LIST"]).expect("an answer").lines().count();
    // One is the test itself; the store connects anew without having been asked anything.
    eventually("the store has connected anew", || async { (clients() >= 2).then_some(()) }).await;
    until_back(&store).await;
    all_verbs(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stopped_in_the_middle_keeps_nobody_waiting() {
    let server = Server::start();
    let quick = Duration::from_millis(200);
    let settings = settings(Topology::Standalone, [server.port()]);
    let store = open(&Settings { connect_timeout: quick, response_timeout: quick, ..settings });
    until_back(&store).await;
    for _ in 0..2 {
        server.pause();
        all_verbs_are_refused(&store).await;
        server.resume();
        until_back(&store).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_may_be_opened_before_its_server_is_there() {
    let server = Server::start();
    server.kill();
    let store = open(&settings(Topology::Standalone, [server.port()]));
    all_verbs_are_refused(&store).await;
    server.restart();
    until_back(&store).await;
    all_verbs(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_gateway_keeps_another_finds() {
    let server = Server::start();
    let [one, other] = [(); 2].map(|()| Arc::new(open(&settings(Topology::Standalone, [server.port()]))));
    send(&one).await.expect("an answer");
    assert_eq!(validate(&other).await.expect("an answer"), Verdict::Right);
    assert_eq!(one.pin_proved_at(&slot(), 5, now()).await.expect("an answer"), Some(now()));
    assert_eq!(one.begin_flight(&key(ID), None, &ticket(1), LONG).await.expect("an answer"), Flight::Begun);
    assert_eq!(other.begin_flight(&key(ID), None, &ticket(2), LONG).await.expect("an answer"), Flight::Underway);
    let waiter = tokio::spawn({
        let other = Arc::clone(&other);
        async move { other.await_flight(&key(ID), LONG).await }
    });
    // It has looked at least twice, and so it waits.
    eventually("the other gateway waits", || async { (server.calls("exists") >= 2).then_some(()) }).await;
    assert!(!waiter.is_finished());
    one.end_flight(&key(ID), &ticket(1), None).await;
    let ended = tokio::time::timeout(PATIENCE, waiter).await.expect("it is not kept waiting");
    ended.expect("no panic").expect("an answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_master_is_found_when_the_first_is_gone() {
    let watched = Watched::start();
    let master = MASTER.to_owned();
    let store = open(&settings(Topology::Sentinel { master }, watched.sentinels()));
    all_verbs(&store).await;
    let [first, second] = &watched.servers;
    first.kill();
    eventually("the replica is the master", || async {
        second.ask::<String>(&["INFO", "replication"]).ok().filter(|told| told.contains("role:master"))
    })
    .await;
    eventually("the store has found it", || async { send(&store).await.ok() }).await;
    assert!(!second.keys().is_empty());
    assert_eq!(validate(&store).await.expect("an answer"), Verdict::Right);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_a_node_serves_the_others_slots_and_finds_it_again() {
    let cluster = Cluster::start();
    let nodes = cluster.nodes();
    let settings = settings(Topology::Cluster, nodes.iter().map(Server::port));
    let store = open(&Settings { response_timeout: Duration::from_secs(1), ..settings });
    let begin = async |id: u64| store.begin_flight(&key(&format!("{id}")), None, &ticket(id), LONG).await;
    for id in 0..60 {
        assert_eq!(begin(id).await.expect("an answer"), Flight::Begun);
    }
    let held: Vec<_> = nodes.iter().map(|node| node.keys().len()).collect();
    assert!(held.iter().all(|keys| *keys > 0), "the keys are spread over the nodes: {held:?}");
    nodes[2].kill();
    eventually("the slots of the others are served", || async {
        let mut served = 0;
        for id in 0..60 {
            served += usize::from(begin(id).await.is_ok());
        }
        (served == held[0] + held[1]).then_some(())
    })
    .await;
    nodes[2].restart();
    eventually("all slots are served", || async {
        for id in 0..60 {
            begin(id).await.ok()?;
        }
        Some(())
    })
    .await;
    until_back(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_went_as_a_whole_is_found_again() {
    let cluster = Cluster::start();
    let settings = settings(Topology::Cluster, cluster.nodes().iter().map(Server::port));
    let quick = Duration::from_millis(500);
    let store = open(&Settings { connect_timeout: quick, response_timeout: quick, ..settings });
    // Each verb has keys of one slot, and all slots are served again once the nodes have found one another.
    let until_served = async || {
        for id in 0..30 {
            let key = key(&format!("{id}"));
            eventually("a slot is served", || async { store.begin_flight(&key, None, &ticket(id), LONG).await.ok() })
                .await;
        }
    };
    until_served().await;
    cluster.nodes().iter().for_each(Server::pause);
    all_verbs_are_refused(&store).await;
    cluster.nodes().iter().for_each(Server::resume);
    until_served().await;
    cluster.nodes().iter().for_each(Server::kill);
    all_verbs_are_refused(&store).await;
    cluster.nodes().iter().for_each(Server::restart);
    until_served().await;
    until_back(&store).await;
}

/// A certificate of its own for this machine, and its key.
fn certificate(directory: &Path) -> [String; 2] {
    let [certificate, key] =
        ["tls.pem", "tls.key"].map(|name| directory.join(name).to_str().expect("UTF-8").to_owned());
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .output()
        .expect("openssl, which conformance/install installs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    [certificate, key]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_a_user_let_in_who_knows_them_and_nobody_else() {
    const PASSWORD: &str = "a-password-of-the-test";
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let [certificate, key] = certificate(directory.path());
    let tls_port = crate::servers::free_port();
    // What deploy/onbill.toml says that the user needs, and no more.
    let rights =
        ["~onbill:*", "+ping", "+set", "+exists", "+hget", "+unlink", "+evalsha", "+eval", "+get", "+del", "+hset"];
    let server = Server::with_user(
        "onbill",
        PASSWORD,
        &[&rights[..], &["+pexpire", "+select"]].concat(),
        &[
            "--tls-port",
            &tls_port.to_string(),
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &certificate,
            "--tls-auth-clients",
            "no",
        ],
    );
    let right = Settings {
        user: Some("onbill".to_owned()),
        password: Some(PASSWORD.to_owned()),
        database: 3,
        tls: Tls::Own(std::fs::read(&certificate).expect("a certificate")),
        ..settings(Topology::Standalone, [tls_port])
    };
    let store = open(&right);
    all_verbs(&store).await;
    send(&store).await.expect("an answer");
    let keyspace: String = server.ask(&["INFO", "keyspace"]).expect("an answer");
    assert!(keyspace.contains("db3:") && !keyspace.contains("db0:"), "{keyspace}");
    for wrong in [
        Settings { password: Some(format!("{PASSWORD}-not")), ..right.clone() },
        Settings { user: None, password: None, ..right.clone() },
        Settings { tls: Tls::Public, ..right.clone() },
        Settings { tls: Tls::Off, ..right.clone() },
    ] {
        let refused = open(&wrong).check().await.expect_err("it is not let in");
        let told = format!("{} {wrong:?}", refused.0.to_note());
        assert!(!told.contains(PASSWORD), "{told}");
    }
    let no_certificate = Settings { tls: Tls::Own(b"-----BEGIN CERTIFICATE-----\nx".to_vec()), ..right };
    let secrets = Arc::new(SeededSecrets::new(1));
    assert!(RedisEphemeral::open(&no_certificate, secrets).is_err(), "what can never work is refused at once");
}
