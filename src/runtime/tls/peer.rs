//! What a client certificate is known by.
//!
//! Invariant: only what was verified is read: the certificate of a finished handshake, and ours. Names that it cannot
//! show exactly are left out rather than guessed; the digest is always there.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::domain::Time;
use crate::domain::certificate::{CertificateName, ShownCertificate};
use crate::faces::auth::Peer;

/// Most alternative names that are looked at.
const NAMES_MAX: usize = 64;

/// What the client of a connection has shown; `None` where it has shown nothing.
pub(super) fn of(stream: &TlsStream<TcpStream>) -> Result<Option<Peer>, String> {
    let (_, connection) = stream.get_ref();
    let shown = connection.peer_certificates().and_then(<[_]>::first);
    shown.map(|certificate| read(certificate).map(|shown| Peer(Arc::new(shown)))).transpose()
}

/// Reads a certificate.
pub(super) fn read(der: &CertificateDer<'_>) -> Result<ShownCertificate, String> {
    let certificate = x509_cert::Certificate::from_der(der).map_err(|error| error.to_string())?;
    let body = &certificate.tbs_certificate;
    let mut names = vec![CertificateName::sha256(der)];
    let subject = body.subject.to_string();
    if !subject.is_empty() {
        names.push(CertificateName::Subject(subject));
    }
    let alternative = body.get::<SubjectAltName>().map_err(|error| error.to_string())?;
    let alternative = alternative.map(|(_, names)| names.0).unwrap_or_default();
    names.extend(alternative.iter().take(NAMES_MAX).filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(CertificateName::dns(name.as_str())),
        GeneralName::UniformResourceIdentifier(name) => Some(CertificateName::Uri(name.to_string())),
        GeneralName::OtherName(_)
        | GeneralName::Rfc822Name(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::IpAddress(_)
        | GeneralName::RegisteredId(_) => None,
    }));
    let (not_before, not_after) = (moment(&body.validity.not_before)?, moment(&body.validity.not_after)?);
    Ok(ShownCertificate { names, not_before, not_after })
}

/// When the next list is due, where a list of revoked certificates says so.
pub(super) fn next_update(der: &CertificateRevocationListDer<'_>) -> Result<Option<Time>, String> {
    let list = x509_cert::crl::CertificateList::from_der(der).map_err(|error| error.to_string())?;
    Ok(list.tbs_cert_list.next_update.as_ref().map(moment).transpose()?)
}

fn moment(time: &x509_cert::time::Time) -> Result<Time, &'static str> {
    let since = i64::try_from(time.to_unix_duration().as_secs()).ok();
    since.and_then(|seconds| Time::from_second(seconds).ok()).ok_or("its time cannot be read")
}
