//! `onbill.csp.v1`: orders as it carries them, and answers as it writes them.
//!
//! Invariant: generated types go no further than this file. A connection that is to be cut is cut as a whole, with
//! every call on it, as an operator's death would.

use std::sync::Arc;

use bytes::Bytes;
use http::Response as HttpResponse;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use tower::Service as _;

use super::faults::{Heard, Spoil};
use super::orders::{Answer, Booked, Order};
use super::routes::{self, Body, Closed, Operator};
use crate::domain::account::{Account, Eligibility, PaymentModel, Standing};
use crate::domain::address::{Address, Email, Msisdn};
use crate::domain::ids::{AccountRef, ChargeCode, Reference};
use crate::domain::money::{Currency, Money};
use crate::ports::csp::{ChargeOrder, Identifier, RefundOrder, Sms, SmsText};

/// Types generated from `proto/onbill/csp/v1/`. They never leave this file.
#[allow(missing_docs, dead_code, clippy::all, clippy::pedantic, clippy::restriction, clippy::nursery)]
mod pb {
    tonic::include_proto!("onbill.csp.v1");

    /// The descriptor set of this package, encoded.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/csp.binpb"));
}

use pb::csp_service_server::{CspService, CspServiceServer};

/// Most bytes of a message.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Answers a call, or cuts its connection.
pub(super) async fn answer(
    operator: Arc<Operator>,
    cut: CancellationToken,
    request: http::Request<Incoming>,
) -> Result<HttpResponse<Body>, Closed> {
    let called = if operator.admits(request.headers()) {
        let door = CspServiceServer::new(Door { operator, cut }).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .build_v1()
            .map_err(|_| Closed)?;
        let mut services = tonic::service::Routes::new(door).add_service(reflection);
        services.call(request).await.map_err(|never| match never {})?
    } else {
        Status::unauthenticated("the x-api-key is not the operator's").into_http()
    };
    let spoil = called.extensions().get::<Spoil>().copied();
    let response = called.map(|body| body.map_err(|_| Closed).boxed_unsync());
    match spoil {
        None => Ok(response),
        Some(spoil) => spoiled(spoil, response).await,
    }
}

/// The first half of an answer, and then what is to go wrong.
async fn spoiled(spoil: Spoil, response: HttpResponse<Body>) -> Result<HttpResponse<Body>, Closed> {
    let (head, body) = response.into_parts();
    let whole = body.collect().await?;
    let trailers = whole.trailers().cloned();
    let bytes = whole.to_bytes();
    let half = Ok(Frame::data(bytes.slice(..bytes.len().div_ceil(2))));
    let end: Result<Frame<Bytes>, Closed> = match spoil {
        Spoil::Cut => Err(Closed),
        Spoil::Broken => Ok(Frame::trailers(trailers.unwrap_or_default())),
    };
    let body = StreamBody::new(futures_util::stream::iter([half, end])).boxed_unsync();
    Ok(HttpResponse::from_parts(head, body))
}

/// The service, as it is on one connection.
struct Door {
    operator: Arc<Operator>,
    cut: CancellationToken,
}

impl Door {
    /// Has an order done, and writes its answer.
    async fn work<M, A>(
        &self,
        request: Request<M>,
        read: impl FnOnce(M) -> Option<Order>,
        write: impl FnOnce(Answer) -> Option<A>,
    ) -> Result<Response<A>, Status> {
        let correlation = routes::correlation(request.metadata().as_ref());
        let order = read(request.into_inner());
        let order = order.ok_or_else(|| Status::invalid_argument("the protos do not allow this"))?;
        let (answer, spoil) = match routes::work(&self.operator, order, correlation).await {
            Heard::Answer(answer) => (answer, None),
            Heard::Spoiled(answer, spoil) => (answer, Some(spoil)),
            Heard::Status(number) => return Err(Status::new(Code::from_i32(number.into()), "on order")),
            Heard::Nothing => return Err(Status::cancelled("no answer, as scripted")),
            Heard::Cut => {
                self.cut.cancel();
                std::future::pending().await
            }
        };
        let message = write(answer).ok_or_else(|| Status::internal("an answer to another question"))?;
        let mut response = Response::new(message);
        if let Some(spoil) = spoil {
            response.extensions_mut().insert(spoil);
        }
        Ok(response)
    }
}

#[tonic::async_trait]
impl CspService for Door {
    async fn account(&self, request: Request<pb::AccountRequest>) -> Result<Response<pb::AccountResponse>, Status> {
        use pb::account_response::Result as Said;
        let write = |answer| match answer {
            Answer::Account(Some(account)) => Some(Said::Account(known(&account))),
            Answer::Account(None) => Some(Said::Unknown(pb::UnknownAccount {})),
            _ => None,
        };
        let write = |answer| write(answer).map(|result| pb::AccountResponse { result: Some(result) });
        self.work(request, account, write).await
    }

    async fn charge(&self, request: Request<pb::ChargeRequest>) -> Result<Response<pb::ChargeResponse>, Status> {
        use pb::charge_response::Result as Said;
        let write = |answer| match answer {
            Answer::Booked(line) => Some(Said::Booked(booked(&line))),
            other => refused(other).map(Said::Refused),
        };
        let write = |answer| write(answer).map(|result| pb::ChargeResponse { result: Some(result) });
        self.work(request, charge, write).await
    }

    async fn refund(&self, request: Request<pb::RefundRequest>) -> Result<Response<pb::RefundResponse>, Status> {
        use pb::refund_response::Result as Said;
        let write = |answer| match answer {
            Answer::Booked(line) => Some(Said::Booked(booked(&line))),
            other => refused(other).map(Said::Refused),
        };
        let write = |answer| write(answer).map(|result| pb::RefundResponse { result: Some(result) });
        self.work(request, refund, write).await
    }

    async fn inquire(&self, request: Request<pb::InquireRequest>) -> Result<Response<pb::InquireResponse>, Status> {
        use pb::inquire_response::Result as Said;
        let read = |message: pb::InquireRequest| Reference::parse(&message.reference).map(Order::Inquire);
        let write = |answer| match answer {
            Answer::Booked(line) => Some(Said::Booked(booked(&line))),
            Answer::NotKnown => Some(Said::Unknown(pb::UnknownReference {})),
            other => refused(other).map(Said::Refused),
        };
        let write = |answer| write(answer).map(|result| pb::InquireResponse { result: Some(result) });
        self.work(request, read, write).await
    }

    async fn void(&self, request: Request<pb::VoidRequest>) -> Result<Response<pb::VoidResponse>, Status> {
        use pb::void_response::Result as Said;
        let read = |message: pb::VoidRequest| Reference::parse(&message.reference).map(Order::Void);
        let write = |answer| match answer {
            Answer::Booked(line) => Some(Said::Booked(booked(&line))),
            Answer::Void(_) => Some(Said::Voided(pb::Voided {})),
            other => refused(other).map(Said::Refused),
        };
        let write = |answer| write(answer).map(|result| pb::VoidResponse { result: Some(result) });
        self.work(request, read, write).await
    }

    async fn notify(&self, request: Request<pb::NotifyRequest>) -> Result<Response<pb::NotifyResponse>, Status> {
        use pb::notify_response::Result as Said;
        let read = |message: pb::NotifyRequest| {
            let sms = Sms { sender: message.sender, language: message.language, text: SmsText::new(message.text) };
            Some(Order::Notify(Msisdn::new(&message.msisdn), sms))
        };
        let write = |answer| match answer {
            Answer::Sent => Some(Said::Sent(pb::Sent {})),
            other => refused(other).map(Said::Refused),
        };
        let write = |answer| write(answer).map(|result| pb::NotifyResponse { result: Some(result) });
        self.work(request, read, write).await
    }
}

fn account(message: pb::AccountRequest) -> Option<Order> {
    use pb::account_request::Who;
    let who = match message.who? {
        Who::Msisdn(number) => Identifier::Address(Address::Msisdn(Msisdn::new(&number))),
        Who::Email(email) => Identifier::Address(Address::Email(Email::parse(&email)?)),
        Who::AccountId(name) => Identifier::Account(AccountRef::new(&name)),
    };
    Some(Order::Account(who, message.charge_code.as_deref().map(ChargeCode::new)))
}

fn charge(message: pb::ChargeRequest) -> Option<Order> {
    Some(Order::Charge(ChargeOrder {
        reference: Reference::parse(&message.reference)?,
        account: AccountRef::new(&message.account_id),
        charge_code: ChargeCode::new(&message.charge_code),
        money: money(message.money.as_ref()?)?,
        bill_text: message.description,
    }))
}

fn refund(message: pb::RefundRequest) -> Option<Order> {
    Some(Order::Refund(RefundOrder {
        reference: Reference::parse(&message.reference)?,
        charge: Reference::parse(&message.charge_reference)?,
        account: AccountRef::new(&message.account_id),
        charge_code: ChargeCode::new(&message.charge_code),
        money: money(message.money.as_ref()?)?,
        bill_text: message.description,
    }))
}

fn money(money: &pb::Money) -> Option<Money> {
    Money::parse(&money.amount, Currency::from_code(&money.currency)?)
}

fn known(account: &Account) -> pb::Account {
    let standing = match account.standing {
        Standing::Active => pb::Standing::Active,
        Standing::Ceased => pb::Standing::Ceased,
        Standing::SuspendedNonPayment => pb::Standing::SuspendedNonPayment,
        Standing::SuspendedLostStolen => pb::Standing::SuspendedLostStolen,
    };
    let payment = match account.payment {
        PaymentModel::Prepaid => pb::Payment::Prepaid,
        PaymentModel::Postpaid => pb::Payment::Postpaid,
    };
    let eligibility = match account.eligibility {
        Eligibility::Eligible => pb::Eligibility::Eligible,
        Eligibility::NotEligible => pb::Eligibility::NotEligible,
    };
    pb::Account {
        account_id: account.reference.as_str().to_owned(),
        standing: standing.into(),
        payment: payment.into(),
        eligibility: eligibility.into(),
    }
}

fn booked(Booked { receipt, charge }: &Booked) -> pb::Booking {
    let currency = receipt.money.currency.code().to_owned();
    pb::Booking {
        reference: receipt.reference.to_string(),
        money: Some(pb::Money { amount: receipt.money.to_string(), currency }),
        charge_reference: charge.map(|charge| charge.to_string()).unwrap_or_default(),
    }
}

/// The refusal that an answer is, if it is one.
fn refused(answer: Answer) -> Option<pb::Refusal> {
    let code = match answer {
        Answer::Refused(code) | Answer::WasRefused(_, code) => code,
        Answer::NotApplied => "not-applied".to_owned(),
        Answer::Account(_) | Answer::Booked(_) | Answer::NotKnown | Answer::Void(_) | Answer::Sent => return None,
    };
    Some(pb::Refusal { message: code.replace('-', " "), code })
}
