//! The table of all keys in Redis: what each is called, what it holds, and how long.
//!
//! | key after the prefix | holds | written by |
//! |---|---|---|
//! | `1:pin:{number}` | PINs of all partners for a number, as digests, and the sends that count; MessagePack | `issue.lua`, `redeem.lua` |
//! | `1:proof:{number}` | hash: partner → when its PIN was last right, in milliseconds | `redeem.lua` |
//! | `1:flight:{key}` | the ticket of who works on a transaction | `begin.lua`, `end.lua` |
//! | `1:answer:{key}` | digest of a request, and the final answer that it had: `S` or `F` and the text for people | `end.lua` |
//! | `1:notification:{key}` | digest of the content, until when it counts, `sending` or `sent`, the ticket | `claim.lua`, `settle.lua` |
//! | `1:rate:{partner}` | thousandths of a call that are left, and the moment in milliseconds | `lease.lua` |
//!
//! Invariant: what stands in braces, by which a Cluster finds the slot, is a keyed digest, and so are partners inside a
//! value: nobody reads a number, an id or a PIN here without the permanent key. All keys of one call have the same
//! braces. Each is set with an expiry that only collects garbage: what counts is judged by the `now` of the call. The `1`
//! is the version of the table: a release that keeps something else under a name counts it up, so that old and new
//! gateways side by side do not misread one another.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::address::{Address, Msisdn};
use crate::domain::ids::PartnerId;
use crate::domain::notification::NotificationKey;
use crate::domain::transaction::{COMPARED_VERSION, Compared, TransactionKey};
use crate::ports::secrets::Secrets;

/// The version of the table.
const VERSION: &str = "1";
/// How much longer than it matters a thing is kept, so that clocks of two gateways may differ.
pub(super) const GRACE: Duration = Duration::from_mins(5);

/// Bytes of a partner's digest inside a value. Partners are configured, and few.
const OWNER_LENGTH: usize = 8;

/// Makes the names of keys.
pub(super) struct Keys {
    prefix: String,
    secrets: Arc<dyn Secrets>,
}

/// The digest of a transaction's key.
pub(super) type FlightId = [u8; 16];

impl Keys {
    pub(super) fn new(prefix: &str, secrets: Arc<dyn Secrets>) -> Self {
        Self { prefix: format!("{prefix}:{VERSION}"), secrets }
    }

    /// PINs and sends of a number.
    pub(super) fn pins(&self, number: &Msisdn) -> String {
        self.named("pin", self.digest("number", &[number.expose()]))
    }

    /// Proofs of a number.
    pub(super) fn proofs(&self, number: &Msisdn) -> String {
        self.named("proof", self.digest("number", &[number.expose()]))
    }

    /// Who works on a transaction, by the digest of its key.
    pub(super) fn flight(&self, id: FlightId) -> String {
        self.named("flight", id)
    }

    /// The digest of a transaction's key.
    pub(super) fn flight_id(&self, key: &TransactionKey) -> FlightId {
        self.digest("flight", &[key.partner.as_str(), key.kind.word(), key.ext_transaction_id.as_str()])
    }

    /// What was answered of a transaction, by the digest of its key.
    pub(super) fn answer(&self, id: FlightId) -> String {
        self.named("answer", id)
    }

    /// The digest of everything by which a request is compared. Of two releases that compare by other fields neither
    /// knows the other's digests, and both look into the ledger.
    pub(super) fn content(&self, request: &Compared) -> [u8; 16] {
        let Compared { address, account_id, partner_product, amount, currency, description, reference_id } = request;
        let (address_type, address) = match address {
            None => ("", ""),
            Some(Address::Msisdn(number)) => ("MSISDN", number.expose()),
            Some(Address::Email(email)) => ("EMAIL", email.expose()),
        };
        let version = COMPARED_VERSION.to_string();
        let is_given = |is_some: bool| if is_some { "1" } else { "0" };
        self.digest(
            "content",
            &[
                &version,
                address_type,
                address,
                is_given(account_id.is_some()),
                account_id.as_ref().map_or("", |id| id.as_str()),
                partner_product.as_str(),
                &amount.to_string(),
                currency,
                description,
                is_given(reference_id.is_some()),
                reference_id.as_ref().map_or("", |id| id.as_str()),
            ],
        )
    }

    /// Which notification has taken an id.
    pub(super) fn notification(&self, key: &NotificationKey) -> String {
        self.named("notification", self.digest("notification", &[key.partner.as_str(), key.id.as_str()]))
    }

    /// What is left of a partner's rate.
    pub(super) fn rate(&self, partner: &PartnerId) -> String {
        self.named("rate", self.digest("partner", &[partner.as_str()]))
    }

    /// A partner inside a value.
    pub(super) fn owner(&self, partner: &PartnerId) -> [u8; OWNER_LENGTH] {
        let digest = self.digest("partner", &[partner.as_str()]);
        *digest.first_chunk().expect("8 of 16 bytes")
    }

    fn digest(&self, what: &str, parts: &[&str]) -> [u8; 16] {
        let mut all = vec!["redis", what];
        all.extend_from_slice(parts);
        self.secrets.name_digest(&all)
    }

    fn named(&self, what: &str, digest: [u8; 16]) -> String {
        format!("{}:{what}:{{{}}}", self.prefix, URL_SAFE_NO_PAD.encode(digest))
    }
}
