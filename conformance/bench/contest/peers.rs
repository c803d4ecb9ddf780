//! Transcoders that people use instead, in front of the gateway's own gRPC face.
//!
//! Invariant: a peer is measured only after an answer of it was seen to be the transcoded one. It runs on the servers'
//! cores, as the gateway does. What is not installed is said to be missing, and `conformance/bench/peers` installs it.

use std::path::PathBuf;
use std::process::Command;

use super::contenders::PEER_KEY;
use super::gateway::{Bench, Proc};
use super::sample::Sample;

/// Where `conformance/bench/peers` puts them.
fn installed(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench/peers").join(name);
    path.is_file().then_some(path)
}

/// Envoy with its transcoder.
pub fn envoy(bench: &Bench, load: &[&str]) -> Result<Sample, String> {
    let program = installed("envoy").ok_or("not installed: run conformance/bench/peers")?;
    let gateway = bench.sandbox()?;
    let directory = bench.directory();
    let descriptors = directory.path().join("onbill.binpb");
    std::fs::write(&descriptors, onbill::faces::pb::DESCRIPTORS).map_err(|error| error.to_string())?;
    let port = super::ground::servers::free_port();
    let upstream = gateway.url.rsplit(':').next().unwrap_or_default().to_owned();
    let config = ENVOY
        .replace("{port}", &port.to_string())
        .replace("{upstream}", &upstream)
        .replace("{descriptors}", &descriptors.to_string_lossy());
    let file = directory.path().join("envoy.yaml");
    std::fs::write(&file, config).map_err(|error| error.to_string())?;
    let mut command = bench.machine.server(&program.to_string_lossy());
    command.args(["--concurrency", "1", "--log-level", "error", "--base-id", &port.to_string(), "-c"]).arg(&file);
    before(bench, &gateway, command, port, load)
}

/// grpc-gateway v1, built for the gateway's protos.
pub fn grpc_gateway(bench: &Bench, load: &[&str]) -> Result<Sample, String> {
    let program = installed("grpc-gateway").ok_or("not installed: run conformance/bench/peers")?;
    let gateway = bench.sandbox()?;
    let port = super::ground::servers::free_port();
    let mut command = bench.machine.server(&program.to_string_lossy());
    command.env("GOMAXPROCS", "1");
    command.args([&format!("127.0.0.1:{port}"), gateway.url.trim_start_matches("http://")]);
    before(bench, &gateway, command, port, load)
}

/// Loads a peer that stands before a gateway.
fn before(bench: &Bench, gateway: &Proc, mut command: Command, port: u16, load: &[&str]) -> Result<Sample, String> {
    let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let url = format!("http://127.0.0.1:{port}");
    let measured = transcodes(&url)
        .and_then(|()| bench.load(&url, &[child.id(), gateway.pid()], &[load, &["--any-target"]].concat()));
    let _ = child.kill();
    let _ = child.wait();
    measured
}

/// Waits until it answers, and looks at what it answers.
fn transcodes(url: &str) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..100 {
        let output = Command::new("curl")
            .args(["-s", "-H", &format!("x-api-key: {PEER_KEY}"), "-H", "content-type: application/json"])
            .args(["-d", r#"{"type":"MSISDN","address":"5550100001"}"#, &format!("{url}/account/validate")])
            .output()
            .map_err(|error| format!("curl: {error}"))?;
        last = String::from_utf8_lossy(&output.stdout).into_owned();
        let answer: Option<serde_json::Value> = serde_json::from_str(&last).ok();
        if answer.is_some_and(|answer| answer["status"] == "ACTIVE" && answer["type"] == "postpaid") {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Err(format!("it does not transcode: {last}"))
}

const ENVOY: &str = r#"
static_resources:
  listeners:
  - address: { socket_address: { address: 127.0.0.1, port_value: {port} } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: json
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: "/" }
                route: { cluster: gateway }
          http_filters:
          - name: envoy.filters.http.grpc_json_transcoder
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder
              proto_descriptor: "{descriptors}"
              services: ["onbill.v1.AccountService", "onbill.v1.TransactionService"]
              convert_grpc_status: true
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: gateway
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
    load_assignment:
      cluster_name: gateway
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: {upstream} } } }
"#;
