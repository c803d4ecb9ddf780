//! What is seen of one call, and what of it may be kept.
//!
//! Invariant: an account is one, however a call names it: what is kept of it is a digest of the CSP's own name of the
//! account, wherever an address or an account id leads to that name. Addresses, ids and PINs end here.

use std::sync::Arc;

use crate::domain::Time;
use crate::domain::account::AccountKey;
use crate::domain::address::{Address, EMAIL, Email, MSISDN, Msisdn, masked};
use crate::domain::certification::{Call, Digest, Face, Fact, Rpc, condition};
use crate::domain::directory::{Directory, Partner};
use crate::domain::ids::CorrelationId;
use crate::domain::transaction::Kind;
use crate::flows::sandbox::Sandbox;
use crate::flows::{Gateway, account};

/// What a request said, as far as certification looks at it. It holds the address and the PIN as they came: it is
/// dropped as soon as it has become a [`Call`].
#[derive(Clone, Default)]
pub struct Sent {
    /// MSISDN, EMAIL, or what else stood there.
    pub type_word: String,
    /// The address.
    pub address: String,
    /// The account id.
    pub account_id: String,
    /// The PIN.
    pub pin: String,
    /// `extTransactionId`.
    pub ext_transaction_id: String,
    /// `referenceId`; `None` where it was absent.
    pub reference_id: Option<String>,
    /// The product.
    pub partner_product: String,
    /// The amount.
    pub amount: String,
    /// The currency.
    pub currency: String,
    /// The description, or the kind that was asked for.
    pub description: String,
    /// The message; `None` where the request has none by its kind.
    pub message: Option<String>,
}

/// What an answer told, beyond its status.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// `Success`, `Failure` or `Pending`.
    pub outcome: String,
    /// The account id.
    pub account_id: String,
    /// Whether the call did not start the work that it tells.
    pub replayed: bool,
    /// Of a list: the transactions that it told as final, each by kind and `extTransactionId`.
    pub finals: Vec<(&'static str, String)>,
}

/// One call that was answered.
pub struct Seen {
    /// Whose it was.
    pub partner: Arc<Partner>,
    /// Where numbers were routed when it was answered.
    pub directory: Arc<Directory>,
    /// What was called.
    pub rpc: Rpc,
    /// Over which face.
    pub face: Face,
    /// Ties it to the logs.
    pub correlation: CorrelationId,
    /// The request, as far as it could be read.
    pub sent: Sent,
    /// Whether the PIN in it is the one that the phone showed last when it was judged.
    pub pin_as_sent: bool,
    /// HTTP status of the answer.
    pub status: u16,
    /// Error code; empty on success.
    pub code: &'static str,
    /// Codes of violations.
    pub violations: Vec<String>,
    /// What a success told.
    pub told: Told,
}

/// Names digests that are good within certification, for one partner.
struct Digests<'a> {
    gateway: &'a Gateway,
    partner: &'a Partner,
}

impl Digests<'_> {
    fn of(&self, what: &str, parts: &[&str]) -> Digest {
        let mut named = vec!["certification", self.partner.id.as_str(), what];
        named.extend(parts);
        self.gateway.secrets.name_digest(&named)
    }

    fn account(&self, key: &AccountKey) -> Digest {
        self.of("account", &[key.csp.as_str(), key.reference.as_str()])
    }

    /// `None` for an account id that is not ours: it is nobody's.
    fn account_id(&self, sealed: &str) -> Option<Digest> {
        account::open(self.gateway, &self.partner.id, sealed).map(|key| self.account(&key))
    }

    /// Whose account a request is about. An address that leads to nobody stands for itself.
    fn meant(&self, sandbox: &Sandbox, directory: &Directory, sent: &Sent) -> Option<Digest> {
        let text = sent.address.as_str();
        if text.is_empty() {
            return self.account_id(&sent.account_id);
        }
        let address = if text.contains('@') {
            Email::parse(text).map(Address::Email)
        } else {
            Some(Address::Msisdn(Msisdn::new(text)))
        };
        let known = address.and_then(|address| sandbox.account(&address, directory.route(self.partner, &address)?));
        Some(known.map_or_else(|| self.of("address", &[text]), |key| self.account(&key)))
    }
}

/// Which transaction a request is about, by kind and id.
fn subject(rpc: Rpc, sent: &Sent) -> Option<(&'static str, &str)> {
    let kind = match rpc {
        Rpc::CreateTransaction if sent.amount.starts_with('-') => Kind::Refund,
        Rpc::CreateTransaction => Kind::Charge,
        Rpc::GetTransaction | Rpc::WatchTransaction => match sent.description.as_str() {
            "" => Kind::Charge,
            word => Kind::from_word(word)?,
        },
        Rpc::ValidateAccount | Rpc::SendPin | Rpc::ValidatePin | Rpc::SendNotification | Rpc::ListTransactions => {
            return None;
        }
    };
    (!sent.ext_transaction_id.is_empty()).then(|| (kind.word(), sent.ext_transaction_id.as_str()))
}

/// Leaves of a call what may be kept.
pub(super) fn kept(gateway: &Gateway, sandbox: &Sandbox, at: Time, seen: Seen) -> Call {
    let Seen { partner, directory, rpc, face, correlation, sent, pin_as_sent, status, code, violations, told } = seen;
    let digests = Digests { gateway, partner: &partner };
    let some = |what: &str, text: &str| (!text.is_empty()).then(|| digests.of(what, &[text]));
    let amount = plain_amount(&sent.amount);
    let purchase = [sent.partner_product.as_str(), amount.trim_start_matches('-'), sent.currency.as_str()];
    let of_transaction = |(kind, id): (&str, &str)| digests.of("outcome", &[kind, id]);
    let subject = subject(rpc, &sent).map(of_transaction);
    let is_final = matches!(told.outcome.as_str(), "Success" | "Failure");
    let listed = told.finals.iter().map(|(kind, id)| of_transaction((kind, id.as_str())));
    Call {
        at,
        rpc,
        face,
        correlation: correlation.as_str().to_owned(),
        address: if sent.address.is_empty() { String::new() } else { masked(&sent.address) },
        account: digests.meant(sandbox, &directory, &sent),
        told_account: digests.account_id(&told.account_id),
        condition: condition(&sent.address).map(str::to_owned),
        transaction: some("transaction", &sent.ext_transaction_id),
        subject,
        finals: subject.filter(|_| is_final).into_iter().chain(listed).collect(),
        request: digests.of(rpc.word(), &parts(&sent, amount)),
        purchase: (!sent.amount.is_empty()).then(|| digests.of("purchase", &purchase)),
        facts: facts(&sent, amount, pin_as_sent, told.replayed),
        status,
        code: code.to_owned(),
        violations,
        outcome: told.outcome,
    }
}

/// All that a request holds.
fn parts<'a>(sent: &'a Sent, amount: &'a str) -> [&'a str; 11] {
    [
        &sent.type_word,
        &sent.address,
        &sent.account_id,
        &sent.pin,
        &sent.ext_transaction_id,
        sent.reference_id.as_deref().unwrap_or("-"),
        &sent.partner_product,
        amount,
        &sent.currency,
        &sent.description,
        sent.message.as_deref().unwrap_or_default(),
    ]
}

fn facts(sent: &Sent, amount: &str, pin_as_sent: bool, replayed: bool) -> Vec<Fact> {
    let is_known_type = [MSISDN, EMAIL, ""].contains(&sent.type_word.as_str());
    let is_positive = !amount.starts_with('-') && amount.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    let facts = [
        (Fact::AccountId, !sent.account_id.is_empty()),
        (Fact::AmountNegative, amount.starts_with('-')),
        (Fact::AmountPositive, is_positive),
        (Fact::Reference, sent.reference_id.is_some()),
        (Fact::NoMessage, sent.message.as_deref() == Some("")),
        (Fact::TypeWrong, !is_known_type),
        (Fact::PinAsSent, pin_as_sent),
        (Fact::Replayed, replayed),
    ];
    facts.into_iter().filter(|(_, holds)| *holds).map(|(fact, _)| fact).collect()
}

/// An amount without the zeros that do not count: 10.00 is 10.
fn plain_amount(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_that_do_not_count_are_left_out_of_amounts() {
        for (text, plain) in [("10", "10"), ("10.00", "10"), ("10.50", "10.5"), ("-9.90", "-9.9"), ("100", "100")] {
            assert_eq!(plain_amount(text), plain);
        }
    }
}
