//! The floor of a charge: bare tonic, and behind it what no gateway could leave out.
//!
//! Invariant: a charge here is what its parts cost when nothing decides anything: a look whether the key is there, the
//! account, the intent, the booking, the outcome, and with Redis a flight around them; the operator is the sandbox's, or one
//! behind HTTP. It has no keys, limits, deadlines, validation, log, metrics or repeats, so that nothing that has them can be
//! faster. It tells how much of the distance between the ledger and the gateway is the gateway's own.

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use onbill::adapters::clock::SystemClock;
use onbill::adapters::csp::http::{HttpCsp, Settings as HttpSettings};
use onbill::adapters::csp::sandbox::{Sandbox, Settings as SandboxSettings};
use onbill::adapters::ephemeral::redis::{RedisEphemeral, Settings as RedisSettings, Tls, Topology};
use onbill::adapters::ledger::postgres::PostgresLedger;
use onbill::adapters::ledger::sqlite::SqliteLedger;
use onbill::adapters::secrets::SeededSecrets;
use onbill::domain::address::{Address, Msisdn};
use onbill::domain::ids::{ChargeCode, CorrelationId, InstanceId};
use onbill::domain::money::Currency;
use onbill::domain::trace::Trace;
use onbill::faces::pb::v1;
use onbill::faces::pb::v1::transaction_service_server::{TransactionService, TransactionServiceServer};
use onbill::ports::csp::{CallContext, ChargeOrder, Csp, Identifier};
use onbill::ports::ephemeral::{Ephemeral, Ticket};
use onbill::ports::ledger::Ledger;
use tonic::{Request, Response, Status};

use super::{bare, driven, ground};

/// As long as a gateway's flights last at most by default.
const FLIGHT: Duration = Duration::from_secs(40);

struct Floor {
    ledger: Arc<dyn Ledger>,
    flights: Option<RedisEphemeral>,
    operator: Arc<dyn Csp>,
}

/// On SQLite.
pub async fn sqlite(directory: &Path) -> Infallible {
    let ledger = SqliteLedger::open(directory).expect("it opens");
    serve(Floor { ledger: Arc::new(ledger), flights: None, operator: sandbox(directory) }).await
}

/// On SQLite, before an operator behind HTTP.
pub async fn before_http(directory: &Path, url: &str) -> Infallible {
    let ledger = SqliteLedger::open(directory).expect("it opens");
    let settings = HttpSettings {
        url: url.parse().expect("a URL"),
        api_key: None,
        ca_pem: None,
        client_pem: None,
        not_applied: Vec::new(),
    };
    let operator = HttpCsp::new(settings).expect("nothing to read");
    serve(Floor { ledger: Arc::new(ledger), flights: None, operator: Arc::new(operator) }).await
}

/// On PostgreSQL and Redis, with the settings that a gateway has by default.
pub async fn stores(directory: &Path, url: String, redis_port: u16) -> Infallible {
    let settings = ground::settings(url);
    onbill::adapters::ledger::postgres::migrate(&settings).await.expect("it migrates");
    let ledger = PostgresLedger::open(&settings).await.expect("it opens");
    let redis = RedisSettings {
        topology: Topology::Standalone,
        addresses: vec![("127.0.0.1".to_owned(), redis_port)],
        user: None,
        password: None,
        database: 0,
        tls: Tls::Off,
        connect_timeout: Duration::from_secs(5),
        response_timeout: Duration::from_secs(5),
        key_prefix: "floor".to_owned(),
        proofs_kept: Duration::ZERO,
        answers_kept: Duration::ZERO,
    };
    let flights = RedisEphemeral::open(&redis, Arc::new(SeededSecrets::new(1))).expect("settings that can work");
    serve(Floor { ledger: Arc::new(ledger), flights: Some(flights), operator: sandbox(directory) }).await
}

fn sandbox(directory: &Path) -> Arc<dyn Csp> {
    let settings = SandboxSettings {
        currency: Currency::from_code("MXN").expect("a currency"),
        time_zone: TimeZone::UTC,
        clock: Arc::new(SystemClock::new()),
    };
    Arc::new(Sandbox::open(&directory.join("operator.sqlite"), settings).expect("a bill"))
}

async fn serve(floor: Floor) -> Infallible {
    let incoming = tonic::transport::server::TcpIncoming::from(bare::listen().await).with_nodelay(Some(true));
    let service = TransactionServiceServer::new(floor);
    let served = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await;
    panic!("it ended: {served:?}");
}

#[tonic::async_trait]
impl TransactionService for Floor {
    async fn create_transaction(
        &self,
        request: Request<v1::CreateTransactionRequest>,
    ) -> Result<Response<v1::CreateTransactionResponse>, Status> {
        let asked = request.into_inner();
        let (intent, outcome) = driven::units(&asked.ext_transaction_id);
        let record = &intent.transaction;
        let (key, ticket) = (record.key.clone(), Ticket::new(&InstanceId::new("floor"), 1));
        if let Some(flights) = &self.flights {
            flights.begin_flight(&key, None, &ticket, FLIGHT).await.expect("a flight");
        }
        assert!(self.ledger.recall(&key).await.expect("an answer").is_none(), "every charge is new");
        let correlation = CorrelationId::parse("floor").expect("well formed");
        let call = CallContext {
            trace: Trace::begun_by(&correlation),
            correlation,
            partner: None,
            trace_state: None,
            budget: Duration::from_secs(5),
        };
        let who = Identifier::Address(Address::Msisdn(Msisdn::new(&asked.address)));
        let code = ChargeCode::new("BASIC");
        let account = self.operator.account(&who, Some(&code), &call).await.expect("an answer").expect("an account");
        let order = ChargeOrder {
            reference: record.reference,
            account: account.reference,
            charge_code: code,
            money: record.money,
            bill_text: asked.partner_product,
        };
        self.ledger.commit(intent).await.expect("an answer");
        self.operator.charge(&order, &call).await.expect("it is booked");
        self.ledger.commit(outcome).await.expect("an answer");
        if let Some(flights) = &self.flights {
            flights.end_flight(&key, &ticket, None).await;
        }
        Ok(Response::new(v1::CreateTransactionResponse {
            ext_transaction_id: asked.ext_transaction_id,
            status: "Success".to_owned(),
            description: "Charge success".to_owned(),
        }))
    }

    async fn get_transaction(
        &self,
        _: Request<v1::GetTransactionRequest>,
    ) -> Result<Response<v1::GetTransactionResponse>, Status> {
        Err(Status::unimplemented("nothing but charges"))
    }

    async fn list_transactions(
        &self,
        _: Request<v1::ListTransactionsRequest>,
    ) -> Result<Response<v1::ListTransactionsResponse>, Status> {
        Err(Status::unimplemented("nothing but charges"))
    }

    type WatchTransactionStream =
        Pin<Box<dyn futures_util::Stream<Item = Result<v1::WatchTransactionResponse, Status>> + Send>>;

    async fn watch_transaction(
        &self,
        _: Request<v1::WatchTransactionRequest>,
    ) -> Result<Response<Self::WatchTransactionStream>, Status> {
        Err(Status::unimplemented("nothing but charges"))
    }
}
