//! TLS before whatever a test has: a certificate of its own, and a server that takes the encryption off.
//!
//! Invariant: who does not trust the certificate gets nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A certificate for localhost that is its own authority, in `cert.pem`, and its key in `key.pem`.
pub fn certificate(directory: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(directory)
        .output()
        .expect("openssl, which conformance/install installs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A TLS server before one that speaks none, for either version of HTTP.
pub async fn encrypted(directory: &Path, authority: String) -> SocketAddr {
    serve(server_config(directory, None), authority).await
}

/// The same, for those only who show the very certificate that the server has.
pub async fn encrypted_for_those_with(directory: &Path, authority: String) -> SocketAddr {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate_in(directory)).expect("an authority");
    serve(server_config(directory, Some(roots)), authority).await
}

fn certificate_in(directory: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(directory.join("cert.pem")).expect("a certificate")
}

fn server_config(directory: &Path, clients: Option<rustls::RootCertStore>) -> rustls::ServerConfig {
    let key = PrivateKeyDer::from_pem_file(directory.join("key.pem")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let mut config =
        builder.with_single_cert(vec![certificate_in(directory)], key).expect("a certificate with its key");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

async fn serve(config: rustls::ServerConfig, authority: String) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, authority) = (acceptor.clone(), authority.clone());
            tokio::spawn(async move {
                // Who does not speak TLS, or does not trust us, is gone again.
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let mut server = TcpStream::connect(authority).await.expect("somebody listens");
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}
