//! Who is measured: each with its set-up, its load, and what it is held against.
//!
//! Invariant: two that are compared get the same load for the same time, on the same cores, in the same round.

use std::path::Path;

use super::gateway::{Bench, KEY, OTT_KEY, Proc};
use super::ground::servers::postgres::Database;
use super::grown;
use super::growth::{self, Keys};
use super::idle;
use super::machine;
use super::peers;
use super::sample::Sample;

/// Somebody who is measured.
pub struct Contender {
    pub name: &'static str,
    pub what: &'static str,
    pub run: fn(&Bench) -> Result<Sample, String>,
}

const GRPC_STREAMS: [&str; 8] = ["--face", "grpc", "--in-flight", "64", "--connections", "1", "--mix", "validate"];
const GRPC_CONNECTIONS: [&str; 8] = ["--face", "grpc", "--in-flight", "64", "--connections", "64", "--mix", "validate"];
const JSON: [&str; 6] = ["--face", "json", "--in-flight", "64", "--mix", "validate"];

pub const CONTENDERS: &[Contender] = &[
    Contender {
        name: "tonic-streams",
        what: "bare tonic, 1 connection with 64 streams",
        run: |bench| on_bare(bench, "tonic", &GRPC_STREAMS),
    },
    Contender {
        name: "validate-streams",
        what: "gRPC ValidateAccount, 1 connection with 64 streams",
        run: |bench| on_sandbox(bench, &GRPC_STREAMS),
    },
    Contender {
        name: "replay",
        what: "gRPC, a charge repeated, 1 connection with 64 streams",
        run: |bench| {
            on_sandbox(bench, &["--in-flight", "64", "--connections", "1", "--mix", "replay", "--prepare", "20000"])
        },
    },
    Contender { name: "get", what: "gRPC GetTransaction among a million, 1 connection with 64 streams", run: get },
    Contender {
        name: "tonic-connections",
        what: "bare tonic, 64 connections",
        run: |bench| on_bare(bench, "tonic", &GRPC_CONNECTIONS),
    },
    Contender {
        name: "validate-connections",
        what: "gRPC ValidateAccount, 64 connections",
        run: |bench| on_sandbox(bench, &GRPC_CONNECTIONS),
    },
    Contender { name: "axum", what: "bare axum, JSON, 64 connections", run: |bench| on_bare(bench, "axum", &JSON) },
    Contender { name: "json", what: "JSON ValidateAccount, 64 connections", run: |bench| on_sandbox(bench, &JSON) },
    Contender {
        name: "json-http2",
        what: "JSON ValidateAccount over HTTP/2, 64 connections",
        run: |bench| on_sandbox(bench, &[&JSON[..], &["--json-http", "2", "--connections", "64"]].concat()),
    },
    Contender {
        name: "envoy",
        what: "Envoy's grpc_json_transcoder before the gateway, 64 connections",
        run: |bench| peers::envoy(bench, &JSON),
    },
    Contender {
        name: "grpc-gateway",
        what: "grpc-gateway v1 before the gateway, 64 connections",
        run: |bench| peers::grpc_gateway(bench, &JSON),
    },
    Contender {
        name: "sqlite-16",
        what: "raw ledger on SQLite, 16 in flight",
        run: |bench| raw_sqlite(bench, 16, true),
    },
    Contender {
        name: "floor-16",
        what: "bare tonic with the ledger and the operator behind it, 16 in flight",
        run: |bench| on_floor(bench, "16"),
    },
    Contender { name: "charge-16", what: "gRPC charge on SQLite, 16 in flight", run: |bench| charge(bench, "16") },
    Contender {
        name: "sqlite-128",
        what: "raw ledger on SQLite, 128 in flight",
        run: |bench| raw_sqlite(bench, 128, true),
    },
    Contender { name: "sqlite-128-two", what: "the same on all cores", run: |bench| raw_sqlite(bench, 128, false) },
    Contender {
        name: "floor-128",
        what: "bare tonic with the ledger and the operator behind it, 128 in flight",
        run: |bench| on_floor(bench, "128"),
    },
    Contender { name: "charge-128", what: "gRPC charge on SQLite, 128 in flight", run: |bench| charge(bench, "128") },
    Contender {
        name: "postgres-128",
        what: "raw ledger on PostgreSQL, 128 in flight",
        run: |bench| raw_postgres(bench, "postgres"),
    },
    Contender {
        name: "postgres-singly",
        what: "PostgreSQL, one commit a statement over 32 connections, 128 in flight",
        run: |bench| raw_postgres(bench, "postgres-singly"),
    },
    Contender {
        name: "floor-stores",
        what: "bare tonic with PostgreSQL, Redis and the operator behind it, 128 in flight",
        run: on_floor_of_stores,
    },
    Contender {
        name: "charge-stores",
        what: "gRPC charge on PostgreSQL and Redis, 128 in flight",
        run: |bench| on_stores(bench, 1),
    },
    Contender {
        name: "charge-three",
        what: "the same at three gateways, each with 128 in flight",
        run: |bench| on_stores(bench, 3),
    },
    Contender {
        name: "grown-sqlite-none",
        what: "gRPC charge on an empty SQLite, 128 in flight",
        run: |bench| growth::sqlite_empty(bench, Keys::InOrder),
    },
    Contender {
        name: "grown-sqlite",
        what: "the same on one of ten million transactions",
        run: |bench| growth::sqlite_grown(bench, Keys::InOrder),
    },
    Contender {
        name: "grown-sqlite-none-random",
        what: "gRPC charge on an empty SQLite, ids at random",
        run: |bench| growth::sqlite_empty(bench, Keys::AtRandom),
    },
    Contender {
        name: "grown-sqlite-random",
        what: "the same on one of ten million transactions",
        run: |bench| growth::sqlite_grown(bench, Keys::AtRandom),
    },
    Contender {
        name: "grown-stores-none",
        what: "gRPC charge on an empty PostgreSQL, 128 in flight",
        run: |bench| growth::postgres_empty(bench, Keys::InOrder),
    },
    Contender {
        name: "grown-stores",
        what: "the same on one of ten million transactions",
        run: |bench| growth::postgres_grown(bench, Keys::InOrder),
    },
    Contender {
        name: "grown-stores-none-random",
        what: "gRPC charge on an empty PostgreSQL, ids at random",
        run: |bench| growth::postgres_empty(bench, Keys::AtRandom),
    },
    Contender {
        name: "grown-stores-random",
        what: "the same on one of ten million transactions",
        run: |bench| growth::postgres_grown(bench, Keys::AtRandom),
    },
    Contender {
        name: "csp",
        what: "a CSP called directly, JSON, 64 connections",
        run: |bench| {
            let csp = bench.bare(&["csp", "0"], false)?;
            bench.load(&csp.url, &[csp.pid()], &[&JSON[..], &["--any-target"]].concat())
        },
    },
    Contender {
        name: "csp-behind",
        what: "JSON ValidateAccount through the gateway at that CSP",
        run: |bench| {
            let csp = bench.bare(&["csp", "0"], true)?;
            let gateway = bench.gateway(&Bench::with_csp(&csp.url))?;
            bench.load(&gateway.url, &[gateway.pid()], &[&JSON[..], &["--api-key", OTT_KEY]].concat())
        },
    },
    Contender {
        name: "sqlite-rate",
        what: "raw ledger on SQLite, half of the peak before a CSP of 20 ms, by the clock",
        run: |bench| {
            let rate = bench.half_of_peak().to_string();
            raw(bench, &["sqlite", "256", &bench.seconds.to_string(), &rate], true)
        },
    },
    Contender {
        name: "csp-slow",
        what: "a CSP that takes 20 ms called directly, twice for each such charge",
        run: Bench::slow_calls,
    },
    Contender {
        name: "floor-slow",
        what: "bare tonic with the ledger and that CSP behind it, at that rate, less two such calls",
        run: floor_slow,
    },
    Contender {
        name: "slow-csp",
        what: "gRPC charge at that CSP through the gateway, at that rate, less two such calls",
        run: slow_csp,
    },
    Contender {
        name: "idle",
        what: "a sandbox that does nothing: memory, and milliseconds from its start to ready",
        run: |bench| {
            let gateway = bench.sandbox()?;
            std::thread::sleep(std::time::Duration::from_secs(1));
            let kib = machine::resident_kib(gateway.pid()).ok_or("no such process")?;
            Ok(Sample { peak_kib: Some(kib as f64), figure: Some(gateway.ready_ms), ..Sample::default() })
        },
    },
    Contender {
        name: "tonic-idle",
        what: "bare tonic with idle HTTP/2 connections: KiB for each",
        run: |bench| idle::held(bench, &bench.bare(&["tonic"], false)?),
    },
    Contender {
        name: "idle-connections",
        what: "the gateway with idle HTTP/2 connections: KiB for each",
        run: |bench| idle::held(bench, &bench.sandbox()?),
    },
];

fn on_bare(bench: &Bench, what: &str, load: &[&str]) -> Result<Sample, String> {
    let server = bench.bare(&[what], false)?;
    bench.load(&server.url, &[server.pid()], &[load, &["--any-target"]].concat())
}

fn on_sandbox(bench: &Bench, load: &[&str]) -> Result<Sample, String> {
    let gateway = bench.sandbox()?;
    bench.load(&gateway.url, &[gateway.pid()], load)
}

fn charge(bench: &Bench, in_flight: &str) -> Result<Sample, String> {
    on_sandbox(bench, &["--in-flight", in_flight, "--connections", "2", "--mix", "charge"])
}

/// The load of [`charge`] on what no gateway could leave out.
fn on_floor(bench: &Bench, in_flight: &str) -> Result<Sample, String> {
    let directory = bench.directory();
    let place = directory.path().to_string_lossy().into_owned();
    let floor = bench.bare(&["floor", &place], false)?;
    let load = ["--in-flight", in_flight, "--connections", "2", "--mix", "charge", "--any-target", "--check", "none"];
    bench.load(&floor.url, &[floor.pid()], &load)
}

fn on_floor_of_stores(bench: &Bench) -> Result<Sample, String> {
    let (directory, database) = (bench.directory(), Database::on(bench.postgres()));
    let place = directory.path().to_string_lossy().into_owned();
    let floor = bench.bare(&["floor", &place, &database.url(), &bench.redis_port().to_string()], false)?;
    let load = ["--in-flight", "128", "--connections", "2", "--mix", "charge", "--any-target", "--check", "none"];
    bench.load(&floor.url, &[floor.pid()], &load)
}

/// The million is put in beforehand with SQLite's own tools; look-ups are of all of it.
fn get(bench: &Bench) -> Result<Sample, String> {
    let directory = bench.directory();
    let data = directory.path().join("data");
    std::fs::create_dir_all(&data).map_err(|error| error.to_string())?;
    grown::sqlite(&data, MILLION, grown::Ids::OfRun(RUN))?;
    let gateway = bench.sandbox_on(directory)?;
    let known = MILLION.to_string();
    let load = ["--in-flight", "64", "--connections", "1", "--mix", "get", "--run", RUN, "--known", &known];
    bench.load(&gateway.url, &[gateway.pid()], &load)
}

const MILLION: u64 = 1_000_000;
/// The run whose charges they are.
const RUN: &str = "bench";

fn slow_csp(bench: &Bench) -> Result<Sample, String> {
    let (_csp, gateway) = bench.before_a_slow_csp()?;
    at_half_of_peak(bench, &gateway, &["--api-key", OTT_KEY])
}

fn floor_slow(bench: &Bench) -> Result<Sample, String> {
    let (directory, csp) = (bench.directory(), bench.slow_csp()?);
    let place = directory.path().to_string_lossy().into_owned();
    let floor = bench.bare(&["floor", &place, &csp.url], false)?;
    at_half_of_peak(bench, &floor, &["--any-target", "--check", "none"])
}

/// Charges by the clock, and what each took beyond the two calls to its CSP.
fn at_half_of_peak(bench: &Bench, server: &Proc, own: &[&str]) -> Result<Sample, String> {
    let (rate, two_calls_us) = (bench.half_of_peak().to_string(), bench.slow_call_us() * 2.0);
    let load = ["--rate", &rate, "--in-flight", "512", "--connections", "8", "--mix", "charge"];
    let mut sample = bench.load(&server.url, &[server.pid()], &[&load[..], own].concat())?;
    for time in [&mut sample.p50_us, &mut sample.p99_us, &mut sample.p999_us] {
        *time = time.map(|micros| micros - two_calls_us);
    }
    Ok(sample)
}

fn raw_sqlite(bench: &Bench, in_flight: usize, one_core: bool) -> Result<Sample, String> {
    raw(bench, &["sqlite", &in_flight.to_string(), &bench.seconds.to_string(), "0"], one_core)
}

/// Where the gateway would be, or on all cores.
fn raw(bench: &Bench, what: &[&str], one_core: bool) -> Result<Sample, String> {
    let directory = bench.directory();
    let own = bench.own.to_string_lossy();
    let mut command = if one_core { bench.machine.server(&own) } else { bench.machine.anywhere(&own) };
    command.arg("role").arg("raw").args(what).arg(directory.path());
    raw_sample(&mut command)
}

fn raw_sample(command: &mut std::process::Command) -> Result<Sample, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn raw_postgres(bench: &Bench, store: &str) -> Result<Sample, String> {
    let database = Database::on(bench.postgres());
    let mut command = bench.machine.server(&bench.own.to_string_lossy());
    command.args(["role", "raw", store, "128", &bench.seconds.to_string(), "0", &database.url()]);
    raw_sample(&mut command)
}

/// Gateways on one PostgreSQL and one Redis, each under a load of its own.
fn on_stores(bench: &Bench, count: usize) -> Result<Sample, String> {
    let (shared, database) = (bench.directory(), Database::on(bench.postgres()));
    let config = bench.on_stores(shared.path(), &database.url());
    bench.migrate(&config)?;
    let gateways: Vec<Proc> = (0..count).map(|_| bench.gateway(&config)).collect::<Result<_, _>>()?;
    let load = ["--in-flight", "128", "--connections", "2", "--mix", "charge"];
    let samples: Vec<Result<Sample, String>> = std::thread::scope(|scope| {
        let under_load: Vec<_> =
            gateways.iter().map(|gateway| scope.spawn(|| bench.load(&gateway.url, &[gateway.pid()], &load))).collect();
        under_load.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    let samples: Vec<Sample> = samples.into_iter().collect::<Result<_, _>>()?;
    let sum = |of: fn(&Sample) -> Option<f64>| samples.iter().map(of).sum::<Option<f64>>();
    let mean = |of: fn(&Sample) -> Option<f64>| sum(of).map(|sum| sum / samples.len() as f64);
    Ok(Sample {
        per_s: sum(|sample| sample.per_s),
        p50_us: mean(|sample| sample.p50_us),
        p99_us: mean(|sample| sample.p99_us),
        p999_us: mean(|sample| sample.p999_us),
        cpu_s_per_1000: mean(|sample| sample.cpu_s_per_1000),
        peak_kib: mean(|sample| sample.peak_kib),
        figure: None,
        generator: sum(|sample| sample.generator),
    })
}

/// What a role of this program is asked to drive.
pub async fn raw_role(words: &[String]) -> Sample {
    let [store, in_flight, seconds, rate_per_s, place] = words else {
        panic!("raw STORE IN_FLIGHT SECONDS RATE PLACE")
    };
    let number = |text: &str| text.parse::<u32>().expect("a number");
    let rate_per_s = Some(number(rate_per_s)).filter(|rate| *rate > 0);
    let in_flight = in_flight.parse().expect("a number");
    let order = super::raw::Order { in_flight, seconds: number(seconds), rate_per_s };
    match store.as_str() {
        "sqlite" => super::raw::sqlite(Path::new(place), &order).await,
        "postgres-singly" => super::raw::postgres_singly(place.clone(), &order).await,
        _ => super::raw::postgres(place.clone(), &order).await,
    }
}

/// The API key that peers pass on.
pub const PEER_KEY: &str = KEY;
