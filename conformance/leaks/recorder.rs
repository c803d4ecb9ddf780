//! Stands between clients and a gateway that speaks TLS, and keeps every byte: what was sent is what must not show up
//! elsewhere.
//!
//! Invariant: bytes pass unchanged; they are encrypted on the gateway's side only. Numbers and PINs are read from what was
//! really sent, so that no client has to say what it uses.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use regex::bytes::Regex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

/// A sandbox number, whole.
static NUMBER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"555[0-9]{7}").expect("a constant pattern"));
/// A PIN that somebody types, in JSON and in protobuf: field 3, six bytes long.
static TYPED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"(?-u)(?:"pin":"|\x1a\x06)([0-9]{6})"#).expect("a constant pattern"));
/// A PIN in a text message of the sandbox.
static TEXTED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"([0-9]{6}) is your PIN").expect("a constant pattern"));

/// What went over one connection.
#[derive(Default)]
struct Heard {
    sent: Vec<u8>,
    answered: Vec<u8>,
}

/// A door in front of a gateway.
pub struct Recorder {
    address: String,
    heard: Arc<Mutex<Vec<Arc<Mutex<Heard>>>>>,
}

impl Recorder {
    /// Opens one before this address, where somebody shows the certificate of a file.
    pub async fn before(authority: &str, certificate: &Path) -> Self {
        let tls = connector(certificate);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let heard: Arc<Mutex<Vec<Arc<Mutex<Heard>>>>> = Arc::default();
        let (all, authority) = (Arc::clone(&heard), authority.to_owned());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let heard = Arc::new(Mutex::new(Heard::default()));
                all.lock().expect("no panic in here").push(Arc::clone(&heard));
                tokio::spawn(pass(client, tls.clone(), authority.clone(), heard));
            }
        });
        Self { address, heard }
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    fn each(&self, mut look: impl FnMut(&Heard)) {
        for heard in self.heard.lock().expect("no panic in here").iter() {
            look(&heard.lock().expect("no panic in here"));
        }
    }

    /// Every number that a client has sent.
    pub fn numbers(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        self.each(|heard| found.extend(NUMBER.find_iter(&heard.sent).map(|hit| text(hit.as_bytes()))));
        found
    }

    /// Every PIN that was typed or texted.
    pub fn pins(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        self.each(|heard| {
            found.extend(TYPED.captures_iter(&heard.sent).map(|hit| text(&hit[1])));
            found.extend(TEXTED.captures_iter(&heard.answered).map(|hit| text(&hit[1])));
        });
        found
    }

    /// Head and body of each HTTP/1.1 answer that was a refusal.
    pub fn refusals(&self) -> Vec<u8> {
        let mut refusals = Vec::new();
        self.each(|heard| {
            let answers = String::from_utf8_lossy(&heard.answered);
            let refused = answers.split("HTTP/1.1 ").filter(|answer| answer.starts_with(['4', '5']));
            refusals.extend(refused.flat_map(str::bytes));
        });
        refusals
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn connector(certificate: &Path) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).expect("a certificate")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // Nothing is offered: a client of either version of HTTP passes through.
    TlsConnector::from(Arc::new(builder.expect("versions").with_root_certificates(roots).with_no_client_auth()))
}

async fn pass(client: TcpStream, tls: TlsConnector, authority: String, heard: Arc<Mutex<Heard>>) {
    let Ok(gateway) = TcpStream::connect(authority).await else {
        return;
    };
    let name = ServerName::try_from("localhost").expect("a name");
    let gateway = tls.connect(name, gateway).await.expect("the gateway's certificate is trusted");
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_gateway, mut to_gateway) = tokio::io::split(gateway);
    let sent = Arc::clone(&heard);
    let there = async move {
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            sent.lock().expect("no panic in here").sent.extend_from_slice(&buffer[..count]);
            if to_gateway.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
        let _ = to_gateway.shutdown().await;
    };
    let back = async move {
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = from_gateway.read(&mut buffer).await {
            heard.lock().expect("no panic in here").answered.extend_from_slice(&buffer[..count]);
            if to_client.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
        let _ = to_client.shutdown().await;
    };
    tokio::join!(there, back);
}
