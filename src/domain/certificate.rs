//! Client certificates: how a partner is known by one.
//!
//! Invariant: a certificate stands for a partner only by a name that the configuration gives to that partner, and names
//! are compared whole: no part of a subject, no wildcard. One that is two partners' is nobody's. That the certificate was
//! issued by a trusted authority, and that its holder has the key, was seen before it comes here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::Time;
use super::api_key::KeyDigest;
use super::caller::{Grant, Shown};
use super::ids::PartnerId;
use super::scope::Scopes;

/// Something that a certificate is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateName {
    /// Its whole subject, as RFC 4514 writes it: `CN=shop,O=Example`.
    Subject(String),
    /// A DNS name among its alternative names, in lower case.
    Dns(String),
    /// A URI among them, a SPIFFE id say.
    Uri(String),
    /// SHA-256 of the certificate itself, in lower-case hexadecimal digits.
    Sha256(String),
}

impl CertificateName {
    /// Reads a name as configurations write it: `subject:…`, `dns:…`, `uri:…` or `sha256:…`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        let is_digest = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        match kind {
            _ if name.trim().is_empty() => None,
            "subject" => Some(Self::Subject(name.to_owned())),
            "dns" => Some(Self::dns(name)),
            "uri" => Some(Self::Uri(name.to_owned())),
            "sha256" if is_digest => Some(Self::Sha256(name.to_ascii_lowercase())),
            _ => None,
        }
    }

    /// A DNS name. Case does not count in them.
    #[must_use]
    pub fn dns(name: &str) -> Self {
        Self::Dns(name.to_ascii_lowercase())
    }

    /// The digest of a certificate, in DER.
    #[must_use]
    pub fn sha256(der: &[u8]) -> Self {
        Self::Sha256(KeyDigest::of(der).to_string())
    }
}

/// As configurations write it.
impl fmt::Display for CertificateName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject(name) => write!(formatter, "subject:{name}"),
            Self::Dns(name) => write!(formatter, "dns:{name}"),
            Self::Uri(name) => write!(formatter, "uri:{name}"),
            Self::Sha256(name) => write!(formatter, "sha256:{name}"),
        }
    }
}

/// A certificate that somebody has shown, and proved to hold the key of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownCertificate {
    /// All that it is known by.
    pub names: Vec<CertificateName>,
    /// From when on it is good.
    pub not_before: Time,
    /// Until when.
    pub not_after: Time,
}

/// Whose certificates are whose.
#[derive(Debug, Clone, Default)]
pub struct PartnerCertificates {
    names: BTreeMap<CertificateName, PartnerId>,
    scopes: BTreeMap<PartnerId, Scopes>,
}

impl PartnerCertificates {
    /// Says that certificates of this name are a partner's.
    ///
    /// # Errors
    /// The partner that has this name already, itself included.
    pub fn insert(&mut self, name: CertificateName, partner: &PartnerId) -> Result<(), PartnerId> {
        if let Some(owner) = self.names.get(&name) {
            return Err(owner.clone());
        }
        self.names.insert(name, partner.clone());
        Ok(())
    }

    /// Says what a partner's certificates are good for; everything, where nothing was said.
    pub fn limit(&mut self, partner: &PartnerId, scopes: Scopes) {
        self.scopes.insert(partner.clone(), scopes);
    }

    /// The partners that have certificates.
    #[must_use]
    pub fn partners(&self) -> BTreeSet<&PartnerId> {
        self.names.values().collect()
    }

    /// What a certificate says of its caller at a moment. A connection may outlive its certificate, so its time is
    /// judged at each request.
    #[must_use]
    pub fn shown(&self, certificate: Option<&ShownCertificate>, now: Time) -> Shown {
        let Some(certificate) = certificate else { return Shown::Nothing };
        let owners: BTreeSet<&PartnerId> = certificate.names.iter().filter_map(|name| self.names.get(name)).collect();
        let lasts = certificate.not_before <= now && now <= certificate.not_after;
        let mut owners = owners.into_iter();
        match (owners.next(), owners.next()) {
            (None, _) => Shown::Nothing,
            (Some(partner), None) if lasts => {
                let scopes = self.scopes.get(partner).copied().unwrap_or_else(Scopes::all);
                Shown::Good(Grant { partner: partner.clone(), scopes })
            }
            (Some(_), _) => Shown::Bad,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scope::Scope;

    fn at(second: i64) -> Time {
        Time::from_second(second).expect("a time")
    }

    #[test]
    fn names_are_read_as_they_are_written_and_nothing_else_is_a_name() {
        let digest = format!("sha256:{}", "AB".repeat(32));
        let lower = digest.to_ascii_lowercase();
        for (text, expected) in [
            ("subject:CN=shop,O=Example", Some("subject:CN=shop,O=Example")),
            ("dns:Shop.Example", Some("dns:shop.example")),
            ("uri:spiffe://example/shop", Some("uri:spiffe://example/shop")),
            (digest.as_str(), Some(lower.as_str())),
            ("sha256:abcd", None),
            ("subject:", None),
            ("dns: ", None),
            ("CN=shop", None),
            ("email:a@b.example", None),
            ("", None),
        ] {
            let read = CertificateName::parse(text).map(|name| name.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_certificate_is_a_partners_by_a_whole_name_and_in_its_time_only() {
        let (mine, other) = (PartnerId::new("mine"), PartnerId::new("other"));
        let name = |text: &str| CertificateName::parse(text).expect("a name");
        let mut known = PartnerCertificates::default();
        known.insert(name("subject:CN=mine"), &mine).expect("new");
        known.insert(name("dns:other.example"), &other).expect("new");
        assert_eq!(known.insert(name("subject:CN=mine"), &other), Err(mine.clone()));
        known.limit(&other, [Scope::Pins].into_iter().collect());
        let shown = |names: &[&str], now| {
            let names = names.iter().map(|text| name(text)).collect();
            known.shown(Some(&ShownCertificate { names, not_before: at(100), not_after: at(200) }), at(now))
        };
        let good = |partner: &PartnerId, scopes| Shown::Good(Grant { partner: partner.clone(), scopes });
        let pins: Scopes = [Scope::Pins].into_iter().collect();
        for (names, now, expected) in [
            (&["subject:CN=mine"][..], 150, good(&mine, Scopes::all())),
            (&["subject:CN=mine", "dns:x.example"], 100, good(&mine, Scopes::all())),
            (&["subject:CN=x", "dns:other.example"], 200, good(&other, pins)),
            (&["subject:CN=mine"], 99, Shown::Bad),
            (&["subject:CN=mine"], 201, Shown::Bad),
            (&["subject:CN=mine", "dns:other.example"], 150, Shown::Bad),
            (&["subject:CN=mine,O=x", "dns:a.other.example"], 150, Shown::Nothing),
            (&["dns:x.example"], 201, Shown::Nothing),
        ] {
            assert_eq!(shown(names, now), expected, "{names:?} at {now}");
        }
        assert_eq!(known.shown(None, at(150)), Shown::Nothing);
    }
}
