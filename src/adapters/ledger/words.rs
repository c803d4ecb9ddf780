//! The words that stores keep for states and the like.
//!
//! Invariant: each is spelt here only, and every store spells it alike, so that what is read in one can be looked for in
//! another. Words that callers see belong to the domain.

use crate::domain::address::{Address, AddressDigest, EMAIL, Email, MSISDN, Msisdn};
use crate::domain::event::Delivery;
use crate::domain::ids::Reference;
use crate::domain::transaction::State;

/// The word of a state.
pub(super) const fn state_word(state: State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Success => "success",
        State::Failure => "failure",
        State::Unknown => "unknown",
        State::Released => "released",
    }
}

/// The state of a word.
pub(super) fn state(word: &str) -> Option<State> {
    [State::Pending, State::Success, State::Failure, State::Unknown, State::Released]
        .into_iter()
        .find(|state| state_word(*state) == word)
}

/// The word of a new event's delivery.
pub(super) const fn delivery_word(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Due => "due",
        Delivery::Skipped => "skipped",
    }
}

/// The type of a phone number that was replaced by its digest.
const MSISDN_DIGEST: &str = "MSISDN-digest";
/// The type of an e-mail address that was replaced by its digest.
const EMAIL_DIGEST: &str = "EMAIL-digest";

/// What a record keeps of the address of its request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// The address.
    Address(Address),
    /// What stands for it.
    Digest(AddressDigest),
}

/// An address as a record keeps it, by the word of its type and its text.
pub(super) fn kept_address(type_word: &str, text: &str) -> Option<Kept> {
    // 128 bits as 32 hexadecimal digits, as references are spelt.
    let bits = || Reference::parse(text).map(|bits| *bits.as_bytes());
    match type_word {
        MSISDN => Some(Kept::Address(Address::Msisdn(Msisdn::new(text)))),
        EMAIL => Email::parse(text).map(|email| Kept::Address(Address::Email(email))),
        MSISDN_DIGEST => bits().map(|bits| Kept::Digest(AddressDigest { type_word: MSISDN, bits })),
        EMAIL_DIGEST => bits().map(|bits| Kept::Digest(AddressDigest { type_word: EMAIL, bits })),
        _ => None,
    }
}

/// A digest as a record keeps it: the word of its type, and its text.
pub(super) fn digest_words(digest: &AddressDigest) -> (&'static str, String) {
    let word = if digest.type_word == EMAIL { EMAIL_DIGEST } else { MSISDN_DIGEST };
    (word, Reference::from_bytes(digest.bits).to_string())
}

/// What a record keeps of its address, in the two fields that it has for it.
pub(super) fn split(kept: Option<Kept>) -> (Option<Address>, Option<AddressDigest>) {
    match kept {
        Some(Kept::Address(address)) => (Some(address), None),
        Some(Kept::Digest(digest)) => (None, Some(digest)),
        None => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_was_kept_and_never_as_an_address() {
        for type_word in [MSISDN, EMAIL] {
            let digest = AddressDigest { type_word, bits: [0x0A; 16] };
            let (word, text) = digest_words(&digest);
            assert_eq!(kept_address(word, &text), Some(Kept::Digest(digest)));
        }
        assert_eq!(kept_address(MSISDN_DIGEST, "5550100001"), None);
        assert_eq!(kept_address("msisdn", "5550100001"), None);
    }
}
