//! Claims about final answers that a flight has left: they are for the very same request, and never wrong.
//!
//! Invariant: a store may forget an answer at any time, so that all claims hold for one that keeps none; that Redis and
//! memory keep them is claimed in `ephemeral_redis`, and where memory is at its bounds.

use std::sync::Arc;
use std::time::Duration;

use onbill::domain::account::SealedAccountId;
use onbill::domain::address::{Address, Email, Msisdn};
use onbill::domain::ids::{ExtTransactionId, PartnerId, ProductId};
use onbill::domain::money::Decimal;
use onbill::domain::transaction::{Compared, Kind, Status, TransactionKey};
use onbill::ports::ephemeral::{Ephemeral, FinalAnswer, Flight};

use super::ephemeral::ticket;

const LONG: Duration = Duration::from_hours(1);

fn key(kind: Kind, id: &str) -> TransactionKey {
    let ext_transaction_id = ExtTransactionId::parse(id).expect("an id");
    TransactionKey { partner: PartnerId::new("demo-ott"), kind, ext_transaction_id }
}

/// A request.
pub fn request() -> Compared {
    Compared {
        address: Some(Address::Msisdn(Msisdn::new("5550142601"))),
        account_id: None,
        partner_product: ProductId::new("ott-basic"),
        amount: Decimal::parse("10").expect("an amount"),
        currency: Arc::from("MXN"),
        description: Arc::from(""),
        reference_id: None,
    }
}

/// An answer to it.
pub fn answer() -> FinalAnswer {
    FinalAnswer { status: Status::Failure, description: Arc::from("Fondos \u{26a0} insuficientes") }
}

/// Requests that differ from it in one thing each.
fn others() -> Vec<Compared> {
    let id = |text: &str| ExtTransactionId::parse(text).expect("an id");
    let with = |change: &dyn Fn(&mut Compared)| {
        let mut other = request();
        change(&mut other);
        other
    };
    vec![
        with(&|other| other.address = None),
        with(&|other| other.address = Some(Address::Msisdn(Msisdn::new("5550142602")))),
        with(&|other| other.address = Email::parse("5550142601@sandbox.example").map(Address::Email)),
        with(&|other| other.account_id = Some(SealedAccountId::new(""))),
        with(&|other| other.account_id = Some(SealedAccountId::new("acc_1"))),
        with(&|other| other.partner_product = ProductId::new("ott-premium")),
        with(&|other| other.amount = Decimal::parse("-10").expect("an amount")),
        with(&|other| other.amount = Decimal::parse("10.01").expect("an amount")),
        with(&|other| other.currency = Arc::from("EUR")),
        with(&|other| other.description = Arc::from("1")),
        with(&|other| other.reference_id = Some(id("1"))),
    ]
}

pub async fn a_final_answer_is_given_again_to_the_very_same_request_or_to_nobody(store: Arc<impl Ephemeral>) {
    let charge = key(Kind::Charge, "1");
    let begin = async |key: &TransactionKey, request: Option<&Compared>| {
        let begun = store.begin_flight(key, request, &ticket(1), LONG).await.expect("the store answers");
        store.end_flight(key, &ticket(1), None).await;
        begun
    };
    store.begin_flight(&charge, Some(&request()), &ticket(1), LONG).await.expect("the store answers");
    store.end_flight(&charge, &ticket(1), Some((&request(), &answer()))).await;
    for _ in 0..2 {
        let again = begin(&charge, Some(&request())).await;
        assert!(again == Flight::Begun || again == Flight::Answered(answer()), "{again:?}");
        let by_value = Compared { amount: Decimal::parse("10.00").expect("an amount"), ..request() };
        assert_eq!(begin(&charge, Some(&by_value)).await, again, "amounts are compared by value");
        for other in others() {
            assert_eq!(begin(&charge, Some(&other)).await, Flight::Begun, "{other:?}");
        }
        assert_eq!(begin(&charge, None).await, Flight::Begun, "who asks for none gets none");
        for elsewhere in [key(Kind::Refund, "1"), key(Kind::Charge, "2")] {
            assert_eq!(begin(&elsewhere, Some(&request())).await, Flight::Begun, "{elsewhere:?}");
        }
    }
    // The flight of another request under the key is one like any other, and its answer is its own.
    let other = others().remove(0);
    store.end_flight(&charge, &ticket(2), Some((&other, &FinalAnswer { status: Status::Success, ..answer() }))).await;
    let this = begin(&charge, Some(&request())).await;
    assert!(this == Flight::Begun || this == Flight::Answered(answer()), "{this:?}");
}
