//! A complete CSP for onbill: serves `onbill.csp.v1.CspService`, and keeps its bill in a SQLite file.
//!
//! Every decision about a reference is one committed row of `decided` before it is answered, so that a repeat finds it,
//! whatever died in between. It needs tonic, tonic-prost, prost, tokio and rusqlite, and nothing of onbill but its proto:
//! `deploy/csp/README.md` has the manifest and the build script. Run it with BILL_FILE [HOST:PORT [API_KEY]].

use std::error::Error;
use std::sync::{Mutex, PoisonError};

use prost::Message as _;
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::net::TcpListener;
use tonic::codegen::tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Generated from csp.proto.
#[allow(missing_docs, dead_code, clippy::all, clippy::pedantic, clippy::restriction, clippy::nursery)]
mod pb {
    tonic::include_proto!("onbill.csp.v1");
}
use pb::csp_service_server::{CspService, CspServiceServer};

const CURRENCY: &str = "MXN";
/// Stands where a request would, of a reference that was made void.
const VOID: &[u8] = b"void";
/// What an account whose number ends in 07 may spend in all.
const LIMIT_MINOR: i64 = 100_000;
const TABLES: &str = "pragma journal_mode = wal; pragma synchronous = full;
    create table if not exists decided (reference text primary key, request blob not null, refusal text);
    create table if not exists line (reference text primary key, account text not null, charge text,
                                     minor integer not null, text text not null);";

/// What was decided of a reference.
enum Decision {
    Booked(pb::Booking),
    Refused(pb::Refusal),
}

/// A charge, or a refund of the charge that it names.
struct Order<'a> {
    reference: &'a str,
    account: &'a str,
    charge: Option<&'a str>,
    money: Option<&'a pb::Money>,
    text: &'a str,
    request: Vec<u8>,
}

struct Csp(Mutex<Connection>);

impl Csp {
    fn open(file: &str) -> rusqlite::Result<Self> {
        let bill = Connection::open(file)?;
        bill.execute_batch(TABLES)?;
        Ok(Self(Mutex::new(bill)))
    }

    /// Works on the bill, one at a time. A bill that cannot be read or written makes the outcome unknown, and no refusal.
    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, Status> {
        let mut bill = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut bill).map_err(|error| Status::internal(error.to_string()))
    }

    /// Decides an order once: the answer is on the disk before it is given.
    fn decide(&self, order: &Order) -> Result<Decision, Status> {
        self.with(|bill| {
            let step = bill.transaction()?;
            if let Some((request, decision)) = decided(&step, order.reference)? {
                let same = request == order.request || request == VOID;
                return Ok(if same { decision } else { refused("reference-reused") });
            }
            let minor = order.money.and_then(minor_of);
            let code = why_not(&step, order, minor)?;
            step.execute("insert into decided values (?, ?, ?)", params![order.reference, order.request, code])?;
            if let (None, Some(minor)) = (code, minor) {
                let minor = if order.charge.is_some() { minor.saturating_neg() } else { minor };
                let line = params![order.reference, order.account, order.charge, minor, order.text];
                step.execute("insert into line values (?, ?, ?, ?, ?)", line)?;
            }
            let decision = decided(&step, order.reference)?.map(|(_, decision)| decision);
            step.commit()?;
            decision.ok_or(rusqlite::Error::QueryReturnedNoRows)
        })
    }
}

fn refused(code: &str) -> Decision {
    Decision::Refused(pb::Refusal { code: code.to_owned(), message: String::new() })
}

/// The code with which an order is refused; `None` where it is booked.
fn why_not(bill: &Connection, order: &Order, minor: Option<i64>) -> rusqlite::Result<Option<&'static str>> {
    let sum = |query: &str, key: &str| bill.query_row(query, [key], |row| row.get::<_, i64>(0));
    let Some(minor) = minor else { return Ok(Some("invalid-money")) };
    if account_of(order.account).is_none() {
        return Ok(Some("unknown-account"));
    }
    let Some(charge) = order.charge else {
        let spent = sum("select coalesce(sum(minor), 0) from line where account = ?", order.account)?;
        let too_much = order.account.ends_with("07") && spent.saturating_add(minor) > LIMIT_MINOR;
        return Ok(too_much.then_some("daily-limit"));
    };
    let query = "select minor from line where reference = ? and account = ? and minor > 0";
    let of = bill.query_row(query, [charge, order.account], |row| row.get::<_, i64>(0)).optional()?;
    let back = sum("select coalesce(sum(-minor), 0) from line where charge = ?", charge)?;
    Ok(match of {
        None => Some("unknown-charge"),
        Some(of) => (back.saturating_add(minor) > of).then_some("refund-exceeds-charge"),
    })
}

/// What was decided of a reference, and the request that it was decided of.
fn decided(bill: &Connection, reference: &str) -> rusqlite::Result<Option<(Vec<u8>, Decision)>> {
    let query = "select request, refusal, minor, charge from decided left join line using (reference)
                 where reference = ?";
    let read = |row: &rusqlite::Row| {
        let decision = match row.get::<_, Option<String>>(1)? {
            Some(code) => refused(&code),
            None => Decision::Booked(pb::Booking {
                reference: reference.to_owned(),
                money: Some(printed(row.get(2)?)),
                charge_reference: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
            }),
        };
        Ok((row.get(0)?, decision))
    };
    bill.query_row(query, [reference], read).optional()
}

/// The minor units of an amount; `None` where it is not one of ours.
fn minor_of(money: &pb::Money) -> Option<i64> {
    let (whole, decimals) = money.amount.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let sound = digits(whole) && digits(decimals) && (1..=2).contains(&decimals.len()) && money.currency == CURRENCY;
    let minor: i64 = format!("{whole}{decimals:0<2}").parse().ok().filter(|_| sound)?;
    (minor > 0).then_some(minor)
}

fn printed(minor: i64) -> pb::Money {
    let minor = minor.unsigned_abs();
    pb::Money { amount: format!("{}.{:02}", minor / 100, minor % 100), currency: CURRENCY.to_owned() }
}

/// The accounts there are: acc-<number>, of 555, five digits, and two from 01 to 07 that say what it is.
fn account_of(name: &str) -> Option<pb::Account> {
    let number =
        name.strip_prefix("acc-555").filter(|rest| rest.len() == 7 && rest.bytes().all(|b| b.is_ascii_digit()))?;
    let condition = number.get(5..).filter(|condition| ("01"..="07").contains(condition))?;
    let standing = match condition {
        "02" => pb::Standing::Ceased,
        "03" => pb::Standing::SuspendedNonPayment,
        "04" => pb::Standing::SuspendedLostStolen,
        _ => pb::Standing::Active,
    };
    let payment = if condition == "06" { pb::Payment::Prepaid } else { pb::Payment::Postpaid };
    let eligibility = if condition == "05" { pb::Eligibility::NotEligible } else { pb::Eligibility::Eligible };
    let (standing, payment, eligibility) = (standing.into(), payment.into(), eligibility.into());
    Some(pb::Account { account_id: name.to_owned(), standing, payment, eligibility })
}

#[tonic::async_trait]
impl CspService for Csp {
    async fn account(&self, request: Request<pb::AccountRequest>) -> Result<Response<pb::AccountResponse>, Status> {
        use pb::{account_request::Who, account_response::Result as Said};
        let found = match request.into_inner().who {
            Some(Who::Msisdn(number)) => account_of(&format!("acc-{number}")),
            Some(Who::AccountId(name)) => account_of(&name),
            Some(Who::Email(_)) | None => None,
        };
        let result = found.map_or(Said::Unknown(pb::UnknownAccount {}), Said::Account);
        Ok(Response::new(pb::AccountResponse { result: Some(result) }))
    }

    async fn charge(&self, request: Request<pb::ChargeRequest>) -> Result<Response<pb::ChargeResponse>, Status> {
        use pb::charge_response::Result as Said;
        let request = request.into_inner();
        let result = match self.decide(&Order {
            reference: &request.reference,
            account: &request.account_id,
            charge: None,
            money: request.money.as_ref(),
            text: &request.description,
            request: request.encode_to_vec(),
        })? {
            Decision::Booked(booking) => Said::Booked(booking),
            Decision::Refused(refusal) => Said::Refused(refusal),
        };
        Ok(Response::new(pb::ChargeResponse { result: Some(result) }))
    }

    async fn refund(&self, request: Request<pb::RefundRequest>) -> Result<Response<pb::RefundResponse>, Status> {
        use pb::refund_response::Result as Said;
        let request = request.into_inner();
        let result = match self.decide(&Order {
            reference: &request.reference,
            account: &request.account_id,
            charge: Some(&request.charge_reference),
            money: request.money.as_ref(),
            text: &request.description,
            request: request.encode_to_vec(),
        })? {
            Decision::Booked(booking) => Said::Booked(booking),
            Decision::Refused(refusal) => Said::Refused(refusal),
        };
        Ok(Response::new(pb::RefundResponse { result: Some(result) }))
    }

    async fn inquire(&self, request: Request<pb::InquireRequest>) -> Result<Response<pb::InquireResponse>, Status> {
        use pb::inquire_response::Result as Said;
        let result = match self.with(|bill| decided(bill, &request.get_ref().reference))? {
            Some((request, Decision::Refused(refusal))) if request != VOID => Said::Refused(refusal),
            Some((_, Decision::Booked(booking))) => Said::Booked(booking),
            Some((_, Decision::Refused(_))) | None => Said::Unknown(pb::UnknownReference {}),
        };
        Ok(Response::new(pb::InquireResponse { result: Some(result) }))
    }

    async fn void(&self, request: Request<pb::VoidRequest>) -> Result<Response<pb::VoidResponse>, Status> {
        use pb::void_response::Result as Said;
        let reference = &request.get_ref().reference;
        let decision = self.with(|bill| {
            let row = params![reference, VOID, "reference-void"];
            bill.execute("insert or ignore into decided values (?, ?, ?)", row)?;
            decided(bill, reference)
        })?;
        let result = match decision {
            Some((request, Decision::Refused(refusal))) if request != VOID => Said::Refused(refusal),
            Some((_, Decision::Booked(booking))) => Said::Booked(booking),
            Some((_, Decision::Refused(_))) | None => Said::Voided(pb::Voided {}),
        };
        Ok(Response::new(pb::VoidResponse { result: Some(result) }))
    }

    async fn notify(&self, request: Request<pb::NotifyRequest>) -> Result<Response<pb::NotifyResponse>, Status> {
        use pb::notify_response::Result as Said;
        let known = account_of(&format!("acc-{}", request.get_ref().msisdn)).is_some();
        // Here the text would go to the SMS centre; it is not logged, since it may hold a PIN.
        let nobody = || Said::Refused(pb::Refusal { code: "unknown-account".to_owned(), message: String::new() });
        let result = if known { Said::Sent(pb::Sent {}) } else { nobody() };
        Ok(Response::new(pb::NotifyResponse { result: Some(result) }))
    }
}

#[allow(clippy::print_stdout)] // Whoever starts it reads where it listens.
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("usage: csp BILL_FILE [HOST:PORT [API_KEY]]")?;
    let listener = TcpListener::bind(arguments.next().unwrap_or_else(|| "127.0.0.1:8091".to_owned())).await?;
    let key = arguments.next();
    println!("listening on {}", listener.local_addr()?);
    let checked = move |request: Request<()>| match &key {
        Some(key) if request.metadata().get("x-api-key").is_none_or(|sent| sent.as_bytes() != key.as_bytes()) => {
            Err(Status::unauthenticated("wrong key"))
        }
        _ => Ok(request),
    };
    let service = CspServiceServer::with_interceptor(Csp::open(&file)?, checked);
    let stop = async {
        // Where signals cannot be listened to, it runs until it is killed: the bill is on the disk all the same.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    Server::builder().add_service(service).serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop).await?;
    Ok(())
}
