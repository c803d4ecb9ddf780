//! More load than a CSP can bear: what is still served, to whom, and what is beside it.
//!
//! Invariant: the CSP takes the same 100 ms for each call and has the same few places before and during the flood, and what
//! was served is read from its bill and from what the gateway has counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use onbill::domain::api_key::KeyDigest;
use onbill::faces::pb::v1 as pb;
use onbill::faces::pb::v1::transaction_service_client::TransactionServiceClient;
use serde_json::json;
use tonic::{Code, Request};

use super::super::client::Partner;
use super::super::grpc::channel;
use super::super::process::{Running, Setup, id, number};
use super::counted;
use crate::operator::{KEY, Operator, all_lines};

/// Callers that keep the CSP busy, and ten times as many.
const BUSY: usize = 4;
const FLOOD: usize = 40;
/// How long each is looked at.
const SPELL: Duration = Duration::from_secs(4);

struct Scene {
    operator: Operator,
    gateway: Running,
    greedy: Partner,
    honest: Partner,
}

impl Scene {
    async fn set() -> Self {
        let operator = Operator::start(&[]);
        let slow = json!({ "fault": "delay", "delayMs": 100, "count": 1_000_000 });
        assert_eq!(operator.client().post("/faults", &slow).await.status, 201);
        let partner = |name: &str| {
            let digest = KeyDigest::of(name.as_bytes());
            format!(
                "[partner.{name}]\nkey_sha256 = [\"{digest}\"]\ncsps = [\"operator\"]\n\
                 [partner.{name}.product.ott-basic.charge_codes]\noperator = \"BASIC\"\n"
            )
        };
        let config = format!(
            "[csp.operator]\nadapter = \"http\"\nurl = \"http://{}\"\napi_key = \"{KEY}\"\ncurrency = \"MXN\"\n\
             msisdn_pattern = \"^[0-9]{{10}}$\"\nforget_after_s = 2\ncall_timeout_ms = 5000\n\
             [csp.operator.guard]\ncalls_max = 2\nqueue_max = 8\nqueue_wait_ms = 2000\nbreaker = false\n{}{}",
            operator.authority(),
            partner("greedy"),
            partner("honest")
        );
        let gateway = tokio::task::block_in_place(|| Setup::default().config(&config).start());
        let [greedy, honest] = ["greedy", "honest"].map(|key| Partner::with_key(&gateway, key));
        Self { operator, gateway, greedy, honest }
    }

    async fn booked(&self) -> usize {
        all_lines(&self.operator.client()).await.len()
    }

    /// How many charges were booked while so many callers charged as fast as they were answered.
    async fn spell(&self, callers: usize) -> usize {
        let flood = Flood::begin(&self.greedy, callers);
        // What is counted begins in the middle of it.
        tokio::time::sleep(SPELL / 4).await;
        let before = self.booked().await;
        tokio::time::sleep(SPELL).await;
        let booked = self.booked().await - before;
        flood.end().await;
        booked
    }
}

/// Callers that charge without end.
struct Flood {
    over: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    callers: Vec<tokio::task::JoinHandle<()>>,
}

impl Flood {
    fn begin(partner: &Partner, callers: usize) -> Self {
        let (over, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let callers = (0..callers)
            .map(|_| tokio::spawn(Self::charges(partner.clone(), Arc::clone(&over), Arc::clone(&refused))))
            .collect();
        Self { over, refused, callers }
    }

    async fn charges(partner: Partner, over: Arc<AtomicBool>, refused: Arc<AtomicUsize>) {
        let number = number("01");
        while !over.load(Ordering::SeqCst) {
            let answer = partner.charge(&number, &id("flood"), json!({})).await;
            match answer.status {
                200 => {}
                503 => {
                    assert_eq!(answer.header("retry-after"), "1", "{answer:?}");
                    refused.fetch_add(1, Ordering::SeqCst);
                    // All of them together ask for some ten times what the CSP can bear.
                    tokio::time::sleep(Duration::from_millis(400)).await;
                }
                _ => panic!("{answer:?}"),
            }
        }
    }

    /// Ends it; answers how many were refused.
    async fn end(self) -> usize {
        self.over.store(true, Ordering::SeqCst);
        for caller in self.callers {
            caller.await.expect("no panic");
        }
        self.refused.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_makes_a_csp_begin_nothing_that_it_does_not_finish() {
    let scene = Scene::set().await;
    let peak = scene.spell(BUSY).await;
    let flooded = scene.spell(FLOOD).await;
    println!("booked in equal times: {peak} by {BUSY} callers, {flooded} by {FLOOD}");
    assert!(peak > 0 && flooded > 0, "{flooded} of {peak}");
    // What a test machine has time for is no claim; what the CSP's time is spent on is.
    let answered =
        async |verb: &str| counted(&scene.gateway, "onbill_csp_calls_total", &[verb, "outcome=\"ok\""]).await;
    let (looked_up, booked) = (answered("verb=\"account\"").await, answered("verb=\"charge\"").await);
    assert!(booked * 10 >= looked_up * 8, "{booked} booked of {looked_up} looked up");
    let turned_away = counted(&scene.gateway, "onbill_csp_calls_total", &["outcome=\"turned_away\""]).await;
    assert!(turned_away > 0);
    let charges =
        counted(&scene.gateway, "onbill_csp_calls_total", &["verb=\"charge\"", "outcome=\"turned_away\""]).await;
    assert!(charges * 10 <= turned_away, "{charges} of {turned_away}: what is looked up is booked as well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_partner_beside_a_greedy_one_keeps_its_rate_on_both_faces() {
    let scene = Scene::set().await;
    let flood = Flood::begin(&scene.greedy, FLOOD);
    let mut client = TransactionServiceClient::new(channel(&scene.gateway).await);
    let mut refused = Vec::new();
    for turn in 0..16 {
        let number = number("01");
        if turn % 2 == 0 {
            let answer = scene.honest.charge(&number, &id("honest"), json!({})).await;
            assert!(matches!(answer.status, 200 | 503), "{answer:?}");
            refused.extend((answer.status == 503).then_some(turn));
        } else {
            let mut request = Request::new(pb::CreateTransactionRequest {
                ext_transaction_id: id("honest"),
                r#type: "MSISDN".to_owned(),
                address: number,
                partner_product: "ott-basic".to_owned(),
                amount: "9.99".to_owned(),
                currency: "MXN".to_owned(),
                ..Default::default()
            });
            request.metadata_mut().insert("x-api-key", "honest".parse().expect("a key"));
            let answer = client.create_transaction(request).await;
            let code = answer.map_or_else(|status| status.code(), |_| Code::Ok);
            assert!(matches!(code, Code::Ok | Code::Unavailable), "{code:?}");
            refused.extend((code == Code::Unavailable).then_some(turn));
        }
        let health = Partner::at(scene.gateway.admin(), "none").get("/healthz").await;
        assert_eq!(health.status, 200, "the operations port answers beside it");
    }
    let greedy = flood.end().await;
    println!("refused: {} of 16 of the honest partner's, {greedy} of the greedy one's", refused.len());
    assert!(refused.len() <= 2, "{refused:?}");
    assert!(greedy > 40, "{greedy}: it was a flood");
}
