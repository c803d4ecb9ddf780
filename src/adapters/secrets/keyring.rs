//! The keys, one for each use, and what is made with them.
//!
//! Invariant: each use has a key of its own, derived from the one key under a fixed label, and every part of what is
//! digested is preceded by its length, so that no two inputs are the same bytes. The labels and the order of the parts
//! never change: references made by an earlier release must come out the same. Digests are HMAC-SHA256 (RFC 2104),
//! seals AES-SIV (RFC 5297), which is deterministic and needs no nonce to be kept.

use std::sync::{Mutex, MutexGuard, PoisonError};

use aes_siv::KeyInit;
use aes_siv::siv::Aes256Siv;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::KEY_LENGTH;
use crate::domain::address::Msisdn;
use crate::domain::ids::{PartnerId, Reference};
use crate::domain::pin::{Pin, PinDigest};
use crate::domain::transaction::TransactionKey;
use crate::ports::secrets::Purpose;

/// The keys in use.
pub(super) struct Keyring {
    reference: Hmac<Sha256>,
    pin: Hmac<Sha256>,
    name: Hmac<Sha256>,
    /// Two keys of AES-256 in a row, as AES-SIV wants them: for its digest and for its cipher.
    seal: [u8; 64],
    /// Engines that have made something of these keys already: as many as ever worked at a time.
    engines: Mutex<Engines>,
}

/// Boxed, since each is a kilobyte of round keys that would be copied on its way in and out.
type Engines = Vec<Box<Aes256Siv>>;

impl Keyring {
    /// Derives the keys of each use.
    pub(super) fn derive(key: &[u8; KEY_LENGTH]) -> Self {
        let root = keyed(key);
        let derived = |label: &str| digest(&root, &[label.as_bytes()]);
        let mut seal = [0; 64];
        let halves = [derived("onbill seal digest v1"), derived("onbill seal cipher v1")];
        seal.iter_mut().zip(halves.as_flattened()).for_each(|(byte, derived)| *byte = *derived);
        let keyed_by = |label: &str| keyed(&derived(label));
        let reference = keyed_by("onbill reference v1");
        let engines = Mutex::default();
        Self { reference, pin: keyed_by("onbill pin v1"), name: keyed_by("onbill name v1"), seal, engines }
    }

    pub(super) fn pin_digest(&self, partner: &PartnerId, number: &Msisdn, pin: &Pin) -> PinDigest {
        let parts = [partner.as_str(), number.expose(), pin.expose()];
        PinDigest(digest(&self.pin, &parts.map(str::as_bytes)))
    }

    pub(super) fn name_digest(&self, parts: &[&str]) -> [u8; 16] {
        let parts: Vec<_> = parts.iter().map(|part| part.as_bytes()).collect();
        *digest(&self.name, &parts).first_chunk().expect("16 of 32 bytes")
    }

    pub(super) fn reference(&self, key: &TransactionKey) -> Reference {
        let parts = [key.partner.as_str(), key.kind.word(), key.ext_transaction_id.as_str()];
        let digest = digest(&self.reference, &parts.map(str::as_bytes));
        Reference::from_bytes(*digest.first_chunk().expect("16 of 32 bytes"))
    }

    pub(super) fn seal(&self, purpose: Purpose, partner: &PartnerId, plain: &[u8]) -> String {
        let form = Form::of(purpose);
        let sealed = self.with_engine(|engine| engine.encrypt(form.headers(partner), plain));
        let sealed = sealed.expect("AES-SIV takes any text in memory with two headers");
        let mut text = form.prefix.to_owned();
        URL_SAFE_NO_PAD.encode_string(sealed, &mut text);
        text
    }

    pub(super) fn open(&self, purpose: Purpose, partner: &PartnerId, sealed: &str) -> Option<Vec<u8>> {
        let form = Form::of(purpose);
        // The engine refuses padding and stray bits, so that no two texts stand for the same bytes.
        let bytes = URL_SAFE_NO_PAD.decode(sealed.strip_prefix(form.prefix)?).ok()?;
        self.with_engine(|engine| engine.decrypt(form.headers(partner), &bytes)).ok()
    }

    fn with_engine<T>(&self, work: impl FnOnce(&mut Aes256Siv) -> T) -> T {
        let kept = self.engines().pop();
        let mut engine = kept.unwrap_or_else(|| Box::new(Aes256Siv::new(&self.seal.into())));
        let made = work(&mut engine);
        self.engines().push(engine);
        made
    }

    fn engines(&self) -> MutexGuard<'_, Engines> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How texts sealed for a purpose look, and what binds them to it.
struct Form {
    /// What the text begins with, for people who read logs.
    prefix: &'static str,
    /// Authenticated with the text.
    label: &'static str,
}

impl Form {
    const fn of(purpose: Purpose) -> Self {
        match purpose {
            Purpose::AccountId => Self { prefix: "acc_", label: "account id v1" },
            Purpose::PageToken => Self { prefix: "pt_", label: "page token v1" },
        }
    }

    /// Associated data, a vector in AES-SIV: the boundary between the two is part of it.
    fn headers<'a>(&self, partner: &'a PartnerId) -> [&'a [u8]; 2] {
        [self.label.as_bytes(), partner.as_str().as_bytes()]
    }
}

fn keyed(key: &[u8; KEY_LENGTH]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// HMAC of the parts, each preceded by its length in 64 bits.
fn digest(key: &Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = key.clone();
    for part in parts {
        mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::ExtTransactionId;
    use crate::domain::transaction::Kind;

    fn keyring() -> Keyring {
        Keyring::derive(&[7; KEY_LENGTH])
    }

    fn key(partner: &str, kind: Kind, id: &str) -> TransactionKey {
        TransactionKey {
            partner: PartnerId::new(partner),
            kind,
            ext_transaction_id: ExtTransactionId::parse(id).expect("an id"),
        }
    }

    fn partner() -> PartnerId {
        PartnerId::new("demo-ott")
    }

    #[test]
    fn references_and_seals_of_earlier_releases_come_out_the_same() {
        let reference = keyring().reference(&key("demo-ott", Kind::Charge, "15094524571"));
        assert_eq!(reference.to_string(), "6cf9d9a5a5597ab4a00a56ff0d9342e9");
        assert_eq!(
            keyring().seal(Purpose::AccountId, &partner(), b"sandbox sub-1"),
            "acc_C8KjMtlY_P4XtQW3qyf3abSPtRwkMIXxKXsQGu8"
        );
        assert_eq!(
            keyring().seal(Purpose::PageToken, &partner(), b"sandbox sub-1"),
            "pt_Jpo2I1fwpFrK7GGI9mcpIhODhKZoLeQJu71AO2A"
        );
    }

    #[test]
    fn keys_that_differ_anywhere_have_references_that_differ() {
        let references: BTreeSet<_> = [
            key("a", Kind::Charge, "1"),
            key("a", Kind::Refund, "1"),
            key("a", Kind::Charge, "2"),
            key("b", Kind::Charge, "1"),
            // The same letters, cut elsewhere.
            key("acharge", Kind::Charge, "1"),
            key("", Kind::Charge, "acharge1"),
        ]
        .iter()
        .map(|key| keyring().reference(key))
        .collect();
        assert_eq!(references.len(), 6);
        assert_ne!(
            Keyring::derive(&[8; KEY_LENGTH]).reference(&key("a", Kind::Charge, "1")),
            keyring().reference(&key("a", Kind::Charge, "1"))
        );
    }

    #[test]
    fn the_name_of_a_thing_is_of_its_parts_and_their_order_and_the_key() {
        let names: BTreeSet<_> = [&["a", "b"][..], &["b", "a"], &["ab"], &["a", "b", ""], &["a"], &[]]
            .iter()
            .map(|parts| keyring().name_digest(parts))
            .chain([Keyring::derive(&[8; KEY_LENGTH]).name_digest(&["a", "b"])])
            .collect();
        assert_eq!(names.len(), 7);
        assert_eq!(keyring().name_digest(&["a", "b"]), keyring().name_digest(&["a", "b"]));
    }

    #[test]
    fn a_pin_digest_binds_partner_number_and_pin() {
        let digest = |partner: &str, number: &str, pin: &str| {
            keyring().pin_digest(&PartnerId::new(partner), &Msisdn::new(number), &Pin::new(pin.to_owned()))
        };
        let kept = digest("a", "5550100001", "123456");
        assert!(digest("a", "5550100001", "123456").matches(&kept));
        for (partner, number, pin) in [
            ("b", "5550100001", "123456"),
            ("a", "5550100002", "123456"),
            ("a", "5550100001", "123457"),
            ("a", "555010000", "1123456"),
            ("a", "5550100001", ""),
        ] {
            assert!(!digest(partner, number, pin).matches(&kept), "{partner} {number} {pin}");
        }
    }

    #[test]
    fn a_seal_opens_for_its_purpose_and_partner_only() {
        let sealed = keyring().seal(Purpose::AccountId, &partner(), b"sub-1");
        let bare = sealed.strip_prefix("acc_").expect("its prefix");
        assert_eq!(keyring().open(Purpose::AccountId, &partner(), &sealed).as_deref(), Some(&b"sub-1"[..]));
        assert_eq!(keyring().open(Purpose::AccountId, &PartnerId::new("other-ott"), &sealed), None);
        assert_eq!(keyring().open(Purpose::PageToken, &partner(), &sealed), None);
        assert_eq!(keyring().open(Purpose::PageToken, &partner(), &format!("pt_{bare}")), None);
        assert_eq!(Keyring::derive(&[8; KEY_LENGTH]).open(Purpose::AccountId, &partner(), &sealed), None);
    }

    #[test]
    fn no_second_text_opens_to_the_same() {
        let sealed = keyring().seal(Purpose::AccountId, &partner(), b"sub-12");
        let opens = |text: &str| keyring().open(Purpose::AccountId, &partner(), text).is_some();
        assert!(opens(&sealed));
        for other in [format!("{sealed}="), format!("{sealed}A"), format!(" {sealed}"), format!("{sealed}\n")] {
            assert!(!opens(&other), "{other:?}");
        }
        for (at, letter) in sealed.char_indices() {
            for other in "Aa0-_=+/ \u{0}".chars().filter(|other| *other != letter) {
                let mut changed = sealed.clone();
                changed.replace_range(at..=at, &other.to_string());
                assert!(!opens(&changed), "{changed:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_is_url_safe(plain in proptest::collection::vec(any::<u8>(), 0..200)) {
            for purpose in [Purpose::AccountId, Purpose::PageToken] {
                let sealed = keyring().seal(purpose, &partner(), &plain);
                prop_assert!(sealed.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)));
                prop_assert_eq!(keyring().seal(purpose, &partner(), &plain), sealed.clone());
                prop_assert_eq!(keyring().open(purpose, &partner(), &sealed), Some(plain.clone()));
            }
        }

        #[test]
        fn garbage_does_not_open(text in "(acc_|pt_)?\\PC{0,80}") {
            prop_assert_eq!(keyring().open(Purpose::AccountId, &partner(), &text), None);
        }
    }
}
