//! The rig that runs the CSP's contract suite over gRPC, against the built `onbill sandbox-csp --protocol grpc`; and
//! claims about what travels beside the messages.
//!
//! Invariant: the port is spoken to through the gRPC adapter, the bill, the inbox and the clock through the operator's own
//! doors, which stay on HTTP.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use http::HeaderValue;
use onbill::adapters::csp::grpc::{GrpcCsp, Settings};
use onbill::adapters::csp::tls::ClientPem;
use onbill::domain::ids::Reference;
use onbill::ports::csp::{Csp as _, CspError, Inquiry};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::csp::{Rig, noon};
use super::csp_http::rig_of;
use super::csp_http_failures::call;
use crate::operator::{KEY, Operator};

/// An adapter that speaks to an address.
pub fn adapter(authority: &str) -> GrpcCsp {
    let url = format!("http://{authority}").parse().expect("a URL");
    let api_key = Some(HeaderValue::from_static(KEY));
    let not_applied = vec!["not-applied".to_owned()];
    GrpcCsp::new(Settings { url, api_key, ca_pem: None, client_pem: None, not_applied }).expect("an adapter")
}

pub(super) fn rig() -> Rig {
    let operator = Operator::start(&["--protocol", "grpc", "--standing-clock", &noon().to_string()]);
    rig_of(Arc::new(adapter(operator.authority())), operator)
}

/// A certificate for localhost that is its own authority, and its key, in PEM.
fn certificate(directory: &Path, name: &str) -> (Vec<u8>, Vec<u8>) {
    let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out", &certificate])
        .current_dir(directory)
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |name: &str| std::fs::read(directory.join(name)).expect("a file");
    (read(&certificate), read(&key))
}

/// TLS before an operator: it asks for the certificate of one client.
async fn encrypted(server: &(Vec<u8>, Vec<u8>), client: &[u8], authority: String) -> u16 {
    let read = |pem: &[u8]| CertificateDer::from_pem_slice(pem).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(read(client)).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(vec![read(&server.0)], PrivateKeyDer::from_pem_slice(&server.1).expect("a key"))
        .expect("a configuration");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, authority) = (acceptor.clone(), authority.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut operator = TcpStream::connect(authority).await.expect("the operator");
                // Either may end it.
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut operator).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn both_sides_show_certificates_where_they_are_asked_for_and_a_stranger_applies_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = certificate(folder.path(), "server");
    let client = certificate(folder.path(), "client");
    let operator = Operator::start(&["--protocol", "grpc"]);
    let port = encrypted(&server, &client.0, operator.authority().to_owned()).await;
    let shown = ClientPem { certificates: client.0.clone(), key: client.1 };
    for (why, ca_pem, client_pem, is_heard) in [
        ("both are known", Some(server.0.clone()), Some(shown.clone()), true),
        ("the operator is not known", None, Some(shown), false),
    ] {
        let settings = Settings {
            url: format!("https://localhost:{port}").parse().expect("a URL"),
            api_key: Some(HeaderValue::from_static(KEY)),
            ca_pem,
            client_pem,
            not_applied: vec![],
        };
        let csp = GrpcCsp::new(settings).expect("an adapter");
        let answer = csp.inquire(&Reference::from_bytes([1; 16]), &call()).await;
        if is_heard {
            assert!(matches!(answer, Ok(Inquiry::NotKnown)), "{why}: {answer:?}");
        } else {
            assert!(matches!(answer, Err(CspError::NotApplied(_))), "{why}: {answer:?}");
        }
    }
    // In TLS 1.3 a client is told of its certificate after it may have written.
    let settings = Settings {
        url: format!("https://localhost:{port}").parse().expect("a URL"),
        api_key: Some(HeaderValue::from_static(KEY)),
        ca_pem: Some(server.0),
        client_pem: None,
        not_applied: vec![],
    };
    let csp = GrpcCsp::new(settings).expect("an adapter");
    let answer = csp.inquire(&Reference::from_bytes([1; 16]), &call()).await;
    assert!(matches!(answer, Err(CspError::NotApplied(_) | CspError::Unknown(_))), "without a certificate: {answer:?}");
}
