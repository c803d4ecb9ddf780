//! Proto ↔ domain: the one place where a message's fields become values of the domain, and back.
//!
//! Invariant: each request has one reader here, and its service and the merging of JSON shape findings use the same one,
//! so that both faces list the same violations. Nothing is decided here; rules are the domain's.

use prost::Message;

use crate::domain::Time;
use crate::domain::address::{Address, MSISDN, Msisdn};
use crate::domain::catalogue::{Violation, field, reason};
use crate::domain::directory::Route;
use crate::domain::ids::{EXT_TRANSACTION_ID_PATTERN, ExtNotificationId};
use crate::domain::transaction::request::{AddressTypes, Raw, read_required_address};
use crate::domain::transaction::{Kind, Status, Transaction};
use crate::faces::pb::v1 as pb;
use crate::flows::transactions::{RawList, ReadList, read_kind, read_list};
use crate::flows::{Caller, Gateway, charge};

/// Most characters of a notification.
const MESSAGE_LENGTH_MAX: usize = 480;

/// Stands for an id that was sent and could not be read.
const STAND_IN_ID: &str = "unreadable";

/// A request's fields could not be read: every violation, in their order.
pub type Unreadable = Vec<Violation>;

/// A number and where it leads.
pub type RoutedNumber<'a> = (Msisdn, Route<'a>);

fn number<'a>(
    type_word: &str,
    address: &str,
    gateway: &'a Gateway,
    caller: &'a Caller,
) -> Result<RoutedNumber<'a>, Unreadable> {
    let types = AddressTypes::MsisdnOnly;
    match read_required_address(type_word, address, types, &caller.partner, &gateway.directory)? {
        (Address::Msisdn(number), route) => Ok((number, route)),
        (Address::Email(_), _) => Err(vec![Violation::on(field::TYPE, reason::TYPE_MUST_BE_MSISDN)]),
    }
}

/// Reads ValidateAccount.
pub fn validate_account<'a>(
    request: &pb::ValidateAccountRequest,
    gateway: &'a Gateway,
    caller: &'a Caller,
) -> Result<(Address, Route<'a>), Unreadable> {
    let types = AddressTypes::MsisdnAndEmail;
    read_required_address(&request.r#type, &request.address, types, &caller.partner, &gateway.directory)
}

/// Reads SendPin.
pub fn send_pin<'a>(
    request: &pb::SendPinRequest,
    gateway: &'a Gateway,
    caller: &'a Caller,
) -> Result<RoutedNumber<'a>, Unreadable> {
    number(&request.r#type, &request.address, gateway, caller)
}

/// Reads ValidatePin.
pub fn validate_pin<'a>(
    request: &pb::ValidatePinRequest,
    gateway: &'a Gateway,
    caller: &'a Caller,
) -> Result<RoutedNumber<'a>, Unreadable> {
    with(number(&request.r#type, &request.address, gateway, caller), || {
        request.pin.is_empty().then(|| Violation::missing(field::PIN))
    })
}

/// Reads SendNotification.
pub fn send_notification<'a>(
    request: &pb::SendNotificationRequest,
    gateway: &'a Gateway,
    caller: &'a Caller,
) -> Result<(Msisdn, Route<'a>, Option<ExtNotificationId>), Unreadable> {
    let read = with(number(&request.r#type, &request.address, gateway, caller), || {
        if request.message.is_empty() {
            return Some(Violation::missing(field::MESSAGE));
        }
        let too_long = request.message.chars().count() > MESSAGE_LENGTH_MAX;
        too_long.then(|| Violation::on(field::MESSAGE, reason::MESSAGE_SIZE))
    });
    // An empty id is a malformed one: its sender counts on not texting twice.
    let sent = request.ext_notification_id.as_deref();
    let id = sent.and_then(ExtNotificationId::parse);
    let is_malformed = sent.is_some() && id.is_none();
    let violation = || Violation::on(field::EXT_NOTIFICATION_ID, reason::must_match(EXT_TRANSACTION_ID_PATTERN));
    let (number, route) = with(read, || is_malformed.then(violation))?;
    Ok((number, route, id))
}

/// Adds the violation of a later field to what was read before.
fn with<T>(read: Result<T, Unreadable>, later: impl FnOnce() -> Option<Violation>) -> Result<T, Unreadable> {
    match (read, later()) {
        (read, None) => read,
        (Ok(_), Some(violation)) => Err(vec![violation]),
        (Err(mut violations), Some(violation)) => {
            violations.push(violation);
            Err(violations)
        }
    }
}

/// The fields of CreateTransaction as they came.
#[must_use]
pub fn create_transaction(request: &pb::CreateTransactionRequest) -> Raw<'_> {
    Raw {
        ext_transaction_id: &request.ext_transaction_id,
        type_word: &request.r#type,
        address: &request.address,
        account_id: &request.account_id,
        partner_product: &request.partner_product,
        amount: &request.amount,
        currency: &request.currency,
        description: &request.description,
        reference_id: request.reference_id.as_deref(),
    }
}

/// Reads GetTransaction. A malformed id is not a violation: there is no transaction of that id.
pub fn get_transaction(request: &pb::GetTransactionRequest) -> Result<Kind, Unreadable> {
    read_kind(&request.kind)
}

/// Reads WatchTransaction, like GetTransaction.
pub fn watch_transaction(request: &pb::WatchTransactionRequest) -> Result<Kind, Unreadable> {
    read_kind(&request.kind)
}

/// Reads ListTransactions.
pub fn list_transactions(
    request: &pb::ListTransactionsRequest,
    gateway: &Gateway,
    caller: &Caller,
) -> Result<ReadList, Unreadable> {
    let raw = RawList {
        page_size: request.page_size,
        page_token: &request.page_token,
        since: request.since.as_ref().map(from_timestamp),
        until: request.until.as_ref().map(from_timestamp),
        status: &request.status,
        account_id: &request.account_id,
    };
    read_list(gateway, caller, &raw)
}

/// Reads the number of a sandbox RPC.
pub fn sandbox_number<'a>(
    address: &str,
    gateway: &'a Gateway,
    caller: &'a Caller,
) -> Result<RoutedNumber<'a>, Unreadable> {
    number(MSISDN, address, gateway, caller)
}

/// Reads AdvanceClock. The bound over all moves is the clock's.
pub fn advance_clock(request: &pb::AdvanceClockRequest) -> Result<i64, Unreadable> {
    match request.seconds {
        None => Err(vec![Violation::missing(field::SECONDS)]),
        Some(seconds) if seconds < 1 => Err(vec![Violation::on(field::SECONDS, reason::CLOCK_SECONDS)]),
        Some(seconds) => Ok(i64::from(seconds)),
    }
}

/// What is wrong with the fields that a JSON request did get across, for a method whose message has a reader above.
/// A method that is not listed has no violations of its own: its shape findings are answered alone. `left_out` are the
/// JSON names of fields whose values could not be read at all.
#[must_use]
pub fn violations(
    method: &str,
    message: &[u8],
    left_out: &[&str],
    gateway: &Gateway,
    caller: &Caller,
) -> Vec<Violation> {
    /// Decodes and reads; a message that the transcoder has just encoded does decode.
    fn read<M: Message + Default, T>(
        message: &[u8],
        reader: impl FnOnce(&M) -> Result<T, Unreadable>,
    ) -> Vec<Violation> {
        M::decode(message).ok().and_then(|message| reader(&message).err()).unwrap_or_default()
    }
    match method {
        "/onbill.v1.AccountService/ValidateAccount" => read(message, |m| validate_account(m, gateway, caller)),
        "/onbill.v1.PinService/SendPin" => read(message, |m| send_pin(m, gateway, caller)),
        "/onbill.v1.PinService/ValidatePin" => read(message, |m| validate_pin(m, gateway, caller)),
        "/onbill.v1.NotificationService/SendNotification" => read(message, |m| send_notification(m, gateway, caller)),
        "/onbill.v1.TransactionService/CreateTransaction" => read(message, |m| {
            let mut raw = create_transaction(m);
            if left_out.contains(&field::EXT_TRANSACTION_ID) {
                // The id was there, if unreadable: the rows that ask for its absence must not fit.
                raw.ext_transaction_id = STAND_IN_ID;
            }
            Err::<(), _>(charge::read(gateway, caller, &raw).0.violations)
        }),
        "/onbill.v1.TransactionService/GetTransaction" => read(message, get_transaction),
        "/onbill.v1.TransactionService/ListTransactions" => read(message, |m| list_transactions(m, gateway, caller)),
        "/onbill.v1.SandboxService/ListMessages" => {
            read(message, |m: &pb::ListMessagesRequest| sandbox_number(&m.address, gateway, caller))
        }
        "/onbill.v1.SandboxService/GetBill" => {
            read(message, |m: &pb::GetBillRequest| sandbox_number(&m.address, gateway, caller))
        }
        "/onbill.v1.SandboxService/ResetAccount" => {
            read(message, |m: &pb::ResetAccountRequest| sandbox_number(&m.address, gateway, caller))
        }
        "/onbill.v1.SandboxService/AdvanceClock" => read(message, advance_clock),
        _ => Vec::new(),
    }
}

/// A time as proto has it, in whole seconds.
#[must_use]
pub fn to_timestamp(time: Time) -> prost_types::Timestamp {
    // Rounded down, before 1970 too, so that a moment never moves into the next second.
    let seconds = time.as_microsecond().div_euclid(1_000_000);
    prost_types::Timestamp { seconds, nanos: 0 }
}

fn from_timestamp(timestamp: &prost_types::Timestamp) -> Result<Time, ()> {
    if !(0..1_000_000_000).contains(&timestamp.nanos) {
        return Err(());
    }
    Time::new(timestamp.seconds, timestamp.nanos).map_err(|_out_of_range| ())
}

/// GetTransaction's answer.
#[must_use]
pub fn transaction_status(record: &Transaction) -> pb::GetTransactionResponse {
    pb::GetTransactionResponse {
        charge_date: Some(to_timestamp(record.accepted_at)),
        currency: record.money.currency.code().to_owned(),
        amount: record.signed_money().to_string(),
        message: record.message().to_owned(),
        status: status_word(record),
    }
}

/// One message of WatchTransaction's stream.
#[must_use]
pub fn watched_transaction(record: &Transaction) -> pb::WatchTransactionResponse {
    pb::WatchTransactionResponse {
        ext_transaction_id: record.key.ext_transaction_id.as_str().to_owned(),
        kind: record.key.kind.word().to_owned(),
        status: status_word(record),
        message: record.message().to_owned(),
        charge_date: Some(to_timestamp(record.accepted_at)),
    }
}

/// A row of a list.
#[must_use]
pub fn listed_transaction(record: &Transaction) -> pb::Transaction {
    let refunded = crate::domain::money::Money::new(record.refunds_done_minor, record.money.currency);
    pb::Transaction {
        ext_transaction_id: record.key.ext_transaction_id.as_str().to_owned(),
        kind: record.key.kind.word().to_owned(),
        reference_id: record.compared.reference_id.as_ref().map(|id| id.as_str().to_owned()),
        charge_date: Some(to_timestamp(record.accepted_at)),
        currency: record.money.currency.code().to_owned(),
        amount: record.signed_money().to_string(),
        refunded_amount: (record.key.kind == Kind::Charge).then(|| refunded.to_string()),
        message: record.message().to_owned(),
        status: status_word(record),
        partner_product: record.compared.partner_product.as_str().to_owned(),
    }
}

fn status_word(record: &Transaction) -> String {
    record.state.status().unwrap_or(Status::Pending).word().to_owned()
}
