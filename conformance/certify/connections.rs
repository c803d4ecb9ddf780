//! Connections that are slow, that break, and that are encrypted.
//!
//! Invariant: between certifier and gateway stands a pipe that reads nothing, so that whatever differs is the pipe's
//! doing. When it cuts is counted in bytes and not in time, so that every run meets it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use onbill::commands::certify::probe::TargetError;
use onbill::commands::certify::{Options, Silent, certify};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::shared::sandbox;
use crate::tls::{certificate, encrypted};

/// What a connection may carry back before it is cut, in turn.
const BYTES: [usize; 5] = [1_500, 4_000, 2_500, 9_000, 3_000];
const DELAY: Duration = Duration::from_millis(8);

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Copies with a delay until `bytes_max` have passed, then lets go in the midst of whatever is said.
async fn trickle(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), bytes_max: usize) {
    let mut chunk = vec![0_u8; 2_000];
    let mut left = bytes_max;
    while left > 0 {
        let room = chunk.len().min(left);
        let Ok(count @ 1..) = from.read(&mut chunk[..room]).await else { break };
        tokio::time::sleep(DELAY).await;
        if to.write_all(&chunk[..count]).await.is_err() {
            break;
        }
        left -= count;
    }
}

/// A pipe to the gateway that is slow and cuts every connection sooner or later; counts its cuts.
async fn lossy(authority: String, cuts: Arc<AtomicUsize>) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        for bytes_max in BYTES.into_iter().cycle() {
            let Ok((mut client, _)) = listener.accept().await else { break };
            let (authority, cuts) = (authority.clone(), Arc::clone(&cuts));
            tokio::spawn(async move {
                let mut server = TcpStream::connect(authority).await.expect("the gateway listens");
                let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                    (client.split(), server.split());
                tokio::select! {
                    () = trickle(&mut from_client, &mut to_server, usize::MAX) => {}
                    () = trickle(&mut from_server, &mut to_client, bytes_max) => {
                        cuts.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn all_cases_hold_over_a_slow_and_lossy_connection() {
    let gateway = sandbox();
    let cuts = Arc::new(AtomicUsize::new(0));
    let address = lossy(gateway.authority().to_owned(), Arc::clone(&cuts)).await;
    let mut options = Options::new(format!("http://{address}").parse().expect("a URL"), "demo-key");
    options.attempts_max = 30;
    let outcome = certify(options, Arc::new(Silent)).await.expect("a run");
    assert_eq!(outcome.totals.passed, 56, "{outcome:#?}");
    assert!(cuts.load(Ordering::Relaxed) > 10, "the connection was lossy");
    assert!(outcome.results.iter().any(|result| result.attempts > 1), "and cases were begun anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_cases_hold_over_tls_where_the_authority_is_trusted() {
    let gateway = sandbox();
    let directory = tempfile::tempdir().expect("a directory");
    certificate(directory.path());
    let address = encrypted(directory.path(), gateway.authority().to_owned()).await;
    let target = format!("https://localhost:{}", address.port());
    let mut options = Options::new(target.parse().expect("a URL"), "demo-key");
    options.ca_pem = Some(std::fs::read(directory.path().join("cert.pem")).expect("a certificate"));
    let outcome = certify(options, Arc::new(Silent)).await.expect("a run");
    assert_eq!(outcome.totals.passed, 56, "{outcome:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_of_tls_is_told_in_words_that_lead_on() {
    let gateway = sandbox();
    let directory = tempfile::tempdir().expect("a directory");
    certificate(directory.path());
    let address = encrypted(directory.path(), gateway.authority().to_owned()).await;
    let plain = gateway.authority();
    for face in [onbill::commands::certify::Face::Json, onbill::commands::certify::Face::Grpc] {
        for (target, part) in [
            (format!("https://localhost:{}", address.port()), "--ca"),
            (format!("https://{plain}"), "http://"),
            (format!("http://localhost:{}", address.port()), "https://"),
        ] {
            let mut options = Options::new(target.parse().expect("a URL"), "demo-key");
            options.faces = vec![face];
            let error = certify(options, Arc::new(Silent)).await.expect_err("no run");
            let text = error.to_string();
            assert!(text.contains(part) && !text.contains('\n'), "{face} {target}: {text}");
            assert!(matches!(error, TargetError::NotReachable(_) | TargetError::NotAGateway(_)), "{text}");
        }
    }
}
