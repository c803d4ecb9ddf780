//! TLS on the main port: versions and ciphers, client certificates, and certificates that change.
//!
//! Invariant: certificates are made by openssl, versions and ciphers are tried by openssl, and requests go over a client
//! of rustls: nothing of the gateway's own code is on the other side.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use onbill::domain::api_key::KeyDigest;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::NOBODY;
use crate::gateway::client::Partner;
use crate::gateway::process::{Running, Setup};
use crate::gateway::reload::reload;

type Https = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

fn openssl(dir: &Path, arguments: &[&str]) {
    let made = Command::new("openssl").args(arguments).current_dir(dir).output().expect("openssl");
    assert!(made.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&made.stderr));
}

/// An authority, in `NAME.pem`.
fn authority(dir: &Path, name: &str) {
    let (key, cert, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/O={name}"));
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    openssl(dir, &[&["req", "-x509"], &curve[..], &["-subj", &subject, "-keyout", &key, "-out", &cert]].concat());
}

/// A certificate of an authority, in `NAME.pem` and `NAME.key`.
fn certified(dir: &Path, by: &str, name: &str, subject: &str, alternative: &str, days: &str) {
    let (key, cert, request) = (format!("{name}.key"), format!("{name}.pem"), format!("{name}.csr"));
    let extensions = format!("basicConstraints=critical,CA:FALSE\nsubjectAltName={alternative}\n");
    std::fs::write(dir.join("extensions"), extensions).expect("a file");
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    openssl(dir, &[&["req"], &curve[..], &["-subj", subject, "-keyout", &key, "-out", &request]].concat());
    let (ca, ca_key) = (format!("{by}.pem"), format!("{by}.key"));
    let signs = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-days", days];
    openssl(dir, &[&signs[..], &["-extfile", "extensions", "-out", &cert]].concat());
}

/// A directory with a server's certificate, and a gateway's configuration that names it.
struct Site {
    dir: TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        authority(dir.path(), "servers");
        authority(dir.path(), "partners");
        let site = Self { dir };
        site.certify("first");
        site
    }

    /// Puts another certificate of the server's in place.
    fn certify(&self, name: &str) {
        certified(self.path(), "servers", name, &format!("/CN={name}"), "DNS:localhost,IP:127.0.0.1", "2");
        for (from, to) in [("key", "tls.key"), ("pem", "tls.pem")] {
            std::fs::rename(self.path().join(format!("{name}.{from}")), self.path().join(to)).expect("both are there");
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn config(&self, tls: &str, more: &str) -> String {
        let mut text = String::from("[sandbox]\nenabled = true\n[server.tls]\ncheck_s = 1\n");
        for (key, name) in [("cert_file", "tls.pem"), ("key_file", "tls.key"), ("client_ca_file", "partners.pem")] {
            writeln!(text, "{key} = \"{}\"", self.file(name).display()).expect("a text");
        }
        format!("{text}{tls}\n{more}")
    }

    fn start(&self, tls: &str, more: &str) -> Running {
        let text = self.config(tls, more);
        tokio::task::block_in_place(|| Setup::default().config(&text).start())
    }

    /// A client that trusts the servers' authority, and shows a certificate.
    fn client(&self, shows: Option<&str>) -> Https {
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.file("servers.pem")).expect("a certificate");
        roots.add(ca).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_root_certificates(roots);
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::from_pem_file(self.file(&format!("{name}.pem"))).expect("a certificate");
                let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key"))).expect("a key");
                builder.with_client_auth_cert(vec![chain], key).expect("a pair")
            }
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http2().build();
        Client::builder(TokioExecutor::new()).build(connector)
    }
}

/// Status and body; `None` where there is no connection.
async fn get(client: &Https, gateway: &Running, headers: &[(&str, &str)]) -> Option<(u16, String)> {
    let mut request = Request::get(format!("https://{}/transactions", gateway.authority()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.request(request.body(Full::default()).expect("a request")).await.ok()?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    Some((status, String::from_utf8_lossy(&body).into_owned()))
}

const NOTHING: &str = r#"{"transactions":[],"nextPageToken":""}"#;

/// What openssl agrees on with the gateway; empty where it is turned away.
fn agreed(gateway: &Running, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", gateway.authority()])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("openssl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("New, ") && !line.contains("(NONE)"));
    // Some are turned away after the suite was chosen.
    line.filter(|_| output.status.success()).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_tls_1_2_and_1_3_with_strong_suites_are_spoken() {
    let gateway = Site::new();
    let gateway = gateway.start("", "");
    for old in ["-ssl3", "-tls1", "-tls1_1"] {
        assert_eq!(agreed(&gateway, &[old, "-cipher", "ALL:@SECLEVEL=0"]), "", "{old}");
    }
    for (suite, expected) in [
        ("ECDHE-ECDSA-AES256-GCM-SHA384", true),
        ("ECDHE-ECDSA-AES128-GCM-SHA256", true),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", true),
        ("ECDHE-ECDSA-AES128-SHA", false),
        ("ECDHE-ECDSA-AES256-SHA384", false),
        ("ECDHE-ECDSA-AES128-CCM", false),
        ("ECDHE-ECDSA-NULL-SHA", false),
        ("AES128-GCM-SHA256", false),
        ("DHE-RSA-AES128-GCM-SHA256", false),
        ("ADH-AES128-GCM-SHA256", false),
    ] {
        let suites = format!("{suite}:@SECLEVEL=0");
        let line = agreed(&gateway, &["-tls1_2", "-cipher", &suites]);
        assert_eq!(line.contains(suite), expected, "{suite}: {line}");
    }
    for suite in ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"] {
        assert!(agreed(&gateway, &["-tls1_3", "-ciphersuites", suite]).contains(suite), "{suite}");
    }
    assert_eq!(agreed(&gateway, &["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"]), "");
    assert_eq!(agreed(&gateway, &["-alpn", "smtp"]), "", "nothing else is spoken inside");
    for (offered, expected) in [("h2,http/1.1", "h2"), ("http/1.1", "http/1.1")] {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", gateway.authority(), "-alpn", offered])
            .stdin(Stdio::null())
            .output()
            .expect("openssl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!("ALPN protocol: {expected}")), "{offered}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_text_gets_a_clean_end_and_who_says_nothing_is_let_go() {
    let site = Site::new();
    let gateway = site.start("handshake_timeout_ms = 300", "");
    for text in [
        "GET /transactions HTTP/1.1\r\nhost: a\r\nx-api-key: demo-key\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "x",
    ] {
        let mut stream = tokio::net::TcpStream::connect(gateway.authority()).await.expect("a connection");
        stream.write_all(text.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an end, and no reset");
        assert_eq!(answer, b"", "{text}");
    }
    for beginning in [&b""[..], &[22, 3, 1], &[22, 3, 1, 0, 200, 1]] {
        let mut stream = tokio::net::TcpStream::connect(gateway.authority()).await.expect("a connection");
        stream.write_all(beginning).await.expect("sent");
        let mut answer = Vec::new();
        // However it ends, it ends.
        let _ = stream.read_to_end(&mut answer).await;
    }
    assert_eq!(get(&site.client(None), &gateway, &[("x-api-key", "demo-key")]).await, Some((200, NOTHING.to_owned())));
    let metrics = Partner::at(gateway.admin(), "").get("/metrics").await.body;
    for counted in ["{outcome=\"no_tls\"} 3", "{outcome=\"timed_out\"} 3", "{outcome=\"done\"} 1"] {
        assert!(metrics.contains(&format!("onbill_tls_handshakes_total{counted}")), "{counted}: {metrics}");
    }
}

fn partners(site: &Site) -> String {
    let dir = site.path();
    certified(dir, "partners", "demo", "/O=Shop/CN=demo", "DNS:demo.example", "2");
    certified(dir, "partners", "other", "/CN=other", "URI:spiffe://example/other,DNS:x.example", "2");
    certified(dir, "partners", "both", "/O=Shop/CN=demo", "URI:spiffe://example/other", "2");
    certified(dir, "partners", "nobody", "/CN=demo", "DNS:sub.demo.example", "2");
    authority(dir, "strangers");
    certified(dir, "strangers", "stranger", "/O=Shop/CN=demo", "DNS:demo.example", "2");
    let digest = KeyDigest::of(b"bound-key");
    certified(dir, "partners", "bound", "/CN=bound", "DNS:bound.example", "2");
    format!(
        "[partner.demo-ott]\ncertificates = [\"subject:CN=demo,O=Shop\"]\n\
         [partner.other-ott]\ncertificates = [\"uri:spiffe://example/other\"]\ncertificate_scopes = [\"pins\"]\n\
         [partner.bound-ott]\nkey_sha256 = [\"{digest}\"]\ncertificates = [\"dns:BOUND.example\"]\n\
         certificate_required = true\ncsps = [\"sandbox\"]\n\
         [partner.bound-ott.product.film.charge_codes]\nsandbox = \"FILM\"\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_its_partner_and_a_credential_of_another_over_it_is_nobody() {
    let site = Site::new();
    let config = partners(&site);
    let gateway = site.start("", &config);
    let key = |key: &'static str| vec![("x-api-key", key)];
    let (nobody, forbidden) = (Some((NOBODY.0, NOBODY.1)), Some((super::FORBIDDEN.0, super::FORBIDDEN.1)));
    let good = Some((200, NOTHING));
    for (shows, headers, expected) in [
        (Some("demo"), vec![], good),
        (Some("demo"), key("demo-key"), good),
        (Some("demo"), key("other-key"), nobody),
        (Some("demo"), key("wrong"), nobody),
        (Some("demo"), vec![("authorization", "Bearer a.b.c")], nobody),
        (Some("other"), vec![], forbidden),
        (Some("other"), key("other-key"), forbidden),
        (Some("other"), key("demo-key"), nobody),
        (Some("both"), vec![], nobody),
        (Some("both"), key("demo-key"), nobody),
        (Some("nobody"), vec![], nobody),
        (Some("nobody"), key("demo-key"), good),
        (None, vec![], nobody),
        (None, key("demo-key"), good),
        (None, key("bound-key"), nobody),
        (Some("nobody"), key("bound-key"), nobody),
        (Some("bound"), key("bound-key"), good),
        (Some("bound"), vec![], good),
        (Some("stranger"), key("demo-key"), None),
    ] {
        let seen = get(&site.client(shows), &gateway, &headers).await;
        let seen = seen.as_ref().map(|(status, body)| (*status, body.as_str()));
        assert_eq!(seen, expected, "{shows:?} {headers:?}");
    }
    // A certificate that is taken from its partner counts no more, on a connection that is open as well.
    let open = site.client(Some("demo"));
    assert_eq!(get(&open, &gateway, &[]).await.map(|seen| seen.0), Some(200));
    reload(&gateway, &site.config("", &config.replace("CN=demo,O=Shop", "CN=demo2,O=Shop"))).await;
    assert_eq!(get(&open, &gateway, &[]).await.map(|seen| seen.0), Some(401));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_certificates_are_required_nobody_is_let_in_without_a_good_one() {
    let site = Site::new();
    let config = partners(&site);
    certified(site.path(), "partners", "over", "/O=Shop/CN=demo", "DNS:demo.example", "-1");
    let gateway = site.start("client_auth = \"required\"", &config);
    for (shows, expected) in [
        (None, None),
        (Some("stranger"), None),
        (Some("over"), None),
        (Some("demo"), Some(200)),
        (Some("nobody"), Some(401)),
    ] {
        let seen = get(&site.client(shows), &gateway, &[]).await;
        assert_eq!(seen.map(|(status, _)| status), expected, "{shows:?}");
    }
}

/// The name in the certificate that the gateway shows.
fn shown(gateway: &Running) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", gateway.authority()])
        .stdin(Stdio::null())
        .output()
        .expect("openssl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let subject = text.lines().find(|line| line.starts_with("subject="));
    subject.unwrap_or_default().replace(' ', "")
}

async fn until_shown(gateway: &Running, name: &str) {
    for _ in 0..300 {
        if shown(gateway) == format!("subject=CN={name}") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name} is never shown: {}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_under_load_without_a_failed_request_and_a_broken_one_keeps_the_old() {
    let site = Site::new();
    let gateway = Arc::new(site.start("", ""));
    let over = Arc::new(AtomicBool::new(false));
    // One client keeps its connection, the other makes a new one for each request.
    let (kept, site) = (site.client(None), Arc::new(site));
    let busy = [true, false].map(|keeps| {
        let (gateway, over, kept, site) = (Arc::clone(&gateway), Arc::clone(&over), kept.clone(), Arc::clone(&site));
        tokio::spawn(async move {
            let mut answered = 0;
            while !over.load(Ordering::SeqCst) {
                let client = if keeps { kept.clone() } else { site.client(None) };
                let seen = get(&client, &gateway, &[("x-api-key", "demo-key")]).await;
                assert_eq!(seen.map(|(status, _)| status), Some(200), "keeps its connection: {keeps}");
                answered += 1;
            }
            answered
        })
    });
    until_shown(&gateway, "first").await;
    site.certify("second");
    until_shown(&gateway, "second").await;
    for broken in ["not PEM", "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let before = gateway.log().matches("cannot be used; the old ones stay").count();
        std::fs::write(site.file("tls.pem"), broken).expect("a file");
        gateway.hang_up();
        for _ in 0..300 {
            if gateway.log().matches("cannot be used; the old ones stay").count() > before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(gateway.log().matches("cannot be used; the old ones stay").count() > before, "{broken}: said loudly");
        assert_eq!(shown(&gateway), "subject=CN=second", "{broken}");
    }
    site.certify("third");
    gateway.hang_up();
    until_shown(&gateway, "third").await;
    over.store(true, Ordering::SeqCst);
    for load in busy {
        assert!(load.await.expect("no failed request") > 0);
    }
    let log = gateway.log();
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

/// Puts a list of an authority's in place, in which these certificates are revoked.
fn revoke(dir: &Path, by: &str, names: &[&str], more: &[&str]) {
    let config = format!(
        "[ca]\ndefault_ca = d\n[d]\ndatabase = {by}.index\ncrlnumber = {by}.number\ndefault_md = sha256\n\
         default_crl_days = 2\ncertificate = {by}.pem\nprivate_key = {by}.key\ncrl_extensions = e\n\
         [e]\nauthorityKeyIdentifier = keyid:always\n"
    );
    let file = format!("{by}.cnf");
    std::fs::write(dir.join(&file), config).expect("a file");
    for (name, content) in [("index", ""), ("number", "01")] {
        let path = dir.join(format!("{by}.{name}"));
        if !path.exists() {
            std::fs::write(path, content).expect("a file");
        }
    }
    for name in names {
        openssl(dir, &["ca", "-config", &file, "-revoke", &format!("{name}.pem")]);
    }
    let (new, list) = (format!("{by}.crl.new"), format!("{by}.crl"));
    openssl(dir, &[&["ca", "-config", &file, "-gencrl", "-out", &new], more].concat());
    std::fs::rename(dir.join(new), dir.join(list)).expect("it is there");
}

/// The gRPC status of a call; `None` where there is no connection.
async fn call(client: &Https, gateway: &Running) -> Option<String> {
    let path = "onbill.v1.TransactionService/ListTransactions";
    let request = Request::post(format!("https://{}/{path}", gateway.authority()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .expect("a request");
    let (head, body) = client.request(request).await.ok()?.into_parts();
    let trailers = body.collect().await.ok()?.trailers().cloned().unwrap_or_default();
    let status = head.headers.get("grpc-status").or_else(|| trailers.get("grpc-status")).expect("a status").clone();
    Some(status.to_str().expect("a number").to_owned())
}

async fn until_logged(gateway: &Running, text: &str) {
    for _ in 0..600 {
        if gateway.log().contains(text) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{text} is never logged: {}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_revoked_is_turned_away_on_both_faces_from_the_next_list_on() {
    let site = Site::new();
    let config = partners(&site);
    let list = format!("client_crl_file = \"{}\"", site.file("partners.crl").display());
    revoke(site.path(), "partners", &[], &[]);
    let gateway = site.start(&list, &config);
    let seen = async |name: &str| {
        // Connections of their own, of either kind.
        let json = get(&site.client(Some(name)), &gateway, &[]).await.map(|(status, _)| status);
        (json, call(&site.client(Some(name)), &gateway).await)
    };
    let (good, forbidden) = ((Some(200), Some("0".to_owned())), (Some(403), Some("7".to_owned())));
    assert_eq!((seen("demo").await, seen("other").await), (good.clone(), forbidden.clone()));
    revoke(site.path(), "partners", &["demo"], &[]);
    gateway.hang_up();
    for _ in 0..300 {
        if seen("demo").await == (None, None) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(seen("demo").await, (None, None), "revoked");
    assert_eq!(seen("other").await, forbidden, "not revoked");
    let keyed = get(&site.client(None), &gateway, &[("x-api-key", "demo-key")]).await;
    assert_eq!(keyed.map(|seen| seen.0), Some(200), "who shows none is known by a key");

    // What cannot be used changes nothing, and a list that is over still counts.
    for broken in ["", "not PEM", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"] {
        let before = gateway.log().matches("cannot be used; the old ones stay").count();
        std::fs::write(site.file("partners.crl"), broken).expect("a file");
        gateway.hang_up();
        for _ in 0..300 {
            if gateway.log().matches("cannot be used; the old ones stay").count() > before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(gateway.log().matches("cannot be used; the old ones stay").count() > before, "{broken}: said loudly");
        assert_eq!((seen("demo").await, seen("other").await), ((None, None), forbidden.clone()), "{broken}");
    }
    let over = ["-crl_lastupdate", "200101000000Z", "-crl_nextupdate", "200102000000Z"];
    revoke(site.path(), "partners", &[], &over);
    gateway.hang_up();
    until_logged(&gateway, "is past its next update").await;
    assert_eq!((seen("demo").await, seen("other").await), ((None, None), forbidden), "over, and it counts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_which_no_list_tells_is_turned_away() {
    let site = Site::new();
    let config = partners(&site);
    revoke(site.path(), "strangers", &[], &[]);
    let list = format!("client_crl_file = \"{}\"", site.file("strangers.crl").display());
    let gateway = site.start(&list, &config);
    assert_eq!(get(&site.client(Some("demo")), &gateway, &[]).await, None);
    assert_eq!(call(&site.client(Some("demo")), &gateway).await, None);
}
