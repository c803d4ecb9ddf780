//! Servers as processes: the gateway in its set-ups, what it is held against, and load on them.
//!
//! Invariant: every server is a process of its own on the cores of servers, started anew for each measurement and ended
//! after it; the load is `onbill load` on the other cores. The gateway has everything on that a gateway has: keys,
//! bounds, deadlines, metrics, and whatever the sample configuration names as measured here.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use super::ground::servers::{postgres, redis};
use super::growth::Grown;
use super::machine::Machine;
use super::sample::Sample;

/// The key of the sandbox's partner.
pub const KEY: &str = "demo-key";
/// The key of the partner where there is no sandbox: the sandbox's keys are taken nowhere else.
pub const OTT_KEY: &str = "an-ott-that-is-measured";
/// What every gateway has on, beside what it has by default: keys, deadlines, bounds of load and of connections, metrics,
/// the audit log. Ten of a thousand traces go to a collector. Partners have a rate, which is counted at each call, and is so
/// high that nobody is turned away.
const EVERYTHING_ON: &str = "
[log]
filter = \"info\"
[server]
connections_max = 12000
connections_per_address_max = 12000
";
const SANDBOX: &str = "
[partner.demo-ott.rate]
per_second = 1000000
burst = 1000000
[sandbox]
enabled = true
";

/// A server that runs until it is dropped.
pub struct Proc {
    child: Child,
    pub url: String,
    /// From its start until it said where it listens.
    pub ready_ms: f64,
    _directory: Option<TempDir>,
}

impl Proc {
    /// Starts a program that prints its URL.
    pub fn start(mut command: Command, directory: Option<TempDir>) -> Result<Self, String> {
        let log = directory.as_ref().and_then(|directory| std::fs::File::create(directory.path().join("log")).ok());
        let begun = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.map_or_else(Stdio::null, Stdio::from))
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let output = child.stdout.take().ok_or("no output")?;
        let mut lines = BufReader::new(output).lines();
        let line = lines.by_ref().map_while(Result::ok).find(|line| line.contains("http://"));
        let ready_ms = begun.elapsed().as_secs_f64() * 1e3;
        // Whatever else it prints is read, so that it is never held up.
        std::thread::spawn(move || lines.for_each(drop));
        let url = line.and_then(|line| line.split("http://").nth(1).map(str::to_owned));
        let url = url.and_then(|rest| rest.split_whitespace().next().map(str::to_owned));
        let Some(url) = url else {
            let _ = child.kill();
            let told =
                directory.map(|directory| std::fs::read_to_string(directory.path().join("log")).unwrap_or_default());
            return Err(format!("{command:?} did not start: {}", told.unwrap_or_default()));
        };
        Ok(Self { child, url: format!("http://{url}"), ready_ms, _directory: directory })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything that measurements need.
pub struct Bench {
    pub machine: Machine,
    /// The gateway's program.
    pub onbill: PathBuf,
    /// This program.
    pub own: PathBuf,
    /// Measured seconds of one round.
    pub seconds: u32,
    /// Where data is: on the disk of the build.
    pub disk: PathBuf,
    /// Ledgers that have grown.
    pub grown: Grown,
    postgres: std::sync::OnceLock<Arc<postgres::Server>>,
    redis: std::sync::OnceLock<redis::Server>,
    collector: std::sync::OnceLock<Proc>,
    half_of_peak: std::sync::OnceLock<u32>,
    slow_call_us: std::sync::OnceLock<f64>,
}

impl Bench {
    pub fn new(machine: Machine, seconds: u32) -> Self {
        let (postgres, redis) = (std::sync::OnceLock::new(), std::sync::OnceLock::new());
        let own = std::env::current_exe().expect("this program has a path");
        let disk = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let (collector, half_of_peak) = (std::sync::OnceLock::new(), std::sync::OnceLock::new());
        let slow_call_us = std::sync::OnceLock::new();
        let (onbill, grown) = (env!("CARGO_BIN_EXE_onbill").into(), Grown::new(0, None));
        Self { machine, onbill, own, seconds, disk, grown, postgres, redis, collector, half_of_peak, slow_call_us }
    }

    pub fn directory(&self) -> TempDir {
        tempfile::tempdir_in(&self.disk).expect("a directory on the disk of the build")
    }

    /// One of the servers of `bare`, where servers run or where load runs.
    pub fn bare(&self, what: &[&str], beside_the_load: bool) -> Result<Proc, String> {
        let own = self.own.to_string_lossy();
        let mut command = if beside_the_load { self.machine.load(&own) } else { self.machine.server(&own) };
        command.arg("role").args(what);
        Proc::start(command, None)
    }

    /// A gateway with this configuration beside everything that is on, and how it was started.
    pub fn gateway(&self, config: &str) -> Result<Proc, String> {
        self.gateway_on(self.directory(), config)
    }

    /// The same, with a directory in which `data` may be there already.
    fn gateway_on(&self, directory: TempDir, config: &str) -> Result<Proc, String> {
        let data = directory.path().join("data");
        self.gateway_at(directory, &data, config)
    }

    /// The same, with data that stays.
    fn gateway_at(&self, directory: TempDir, data: &Path, config: &str) -> Result<Proc, String> {
        let file = directory.path().join("onbill.toml");
        let collector = &self.collector().url;
        let traces = format!("[traces]\nendpoint = \"{collector}\"\nsample_per_mille = 10\n");
        std::fs::write(&file, format!("{EVERYTHING_ON}{traces}{config}")).map_err(|error| error.to_string())?;
        let mut command = self.machine.server(&self.onbill.to_string_lossy());
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--config"]).arg(&file);
        command.arg("--data-dir").arg(data);
        Proc::start(command, Some(directory))
    }

    /// A sandbox on SQLite.
    pub fn sandbox(&self) -> Result<Proc, String> {
        self.gateway(SANDBOX)
    }

    /// A sandbox whose data is there already.
    pub fn sandbox_on(&self, directory: TempDir) -> Result<Proc, String> {
        self.gateway_on(directory, SANDBOX)
    }

    /// A sandbox on data that stays.
    pub fn sandbox_at(&self, data: &Path) -> Result<Proc, String> {
        self.gateway_at(self.directory(), data, SANDBOX)
    }

    /// Settings of a gateway on PostgreSQL and Redis. All gateways of one key and one operator are one.
    pub fn on_stores(&self, shared: &Path, database: &str) -> String {
        let (redis, key) = (self.redis().address(), shared.join("master.key"));
        if !key.exists() {
            std::fs::write(&key, [7_u8; 32]).expect("a key");
        }
        format!(
            "{SANDBOX}dir = \"{}\"\n[keys]\nmaster_key_file = \"{}\"\n[ledger]\nstore = \"postgres\"\n[postgres]\nurl = \"{database}\"\ntls = \"disable\"\n[ephemeral]\nstore = \"redis\"\n[redis]\naddresses = [\"{redis}\"]\n",
            shared.display(),
            key.display(),
        )
    }

    /// Settings of a gateway whose one CSP is at a URL.
    pub fn with_csp(url: &str) -> String {
        let digest = onbill::domain::api_key::KeyDigest::of(OTT_KEY.as_bytes());
        format!(
            "[csp.operator]\nadapter = \"http\"\nurl = \"{url}\"\ncurrency = \"MXN\"\nmsisdn_pattern = \"^[0-9]{{10}}$\"\nforget_after_s = 60\n[csp.operator.guard]\ncalls_max = 1024\n[partner.ott]\nkey_sha256 = [\"{digest}\"]\ncsps = [\"operator\"]\n[partner.ott.rate]\nper_second = 1000000\nburst = 1000000\n[partner.ott.product.ott-basic.charge_codes]\noperator = \"BASIC\"\n"
        )
    }

    pub fn postgres(&self) -> &Arc<postgres::Server> {
        self.postgres.get_or_init(|| Arc::new(postgres::Server::start()))
    }

    pub fn redis_port(&self) -> u16 {
        self.redis().port()
    }

    fn redis(&self) -> &redis::Server {
        self.redis.get_or_init(redis::Server::start)
    }

    /// Half of the charges a second that the gateway reaches here through a CSP that takes its time, as a short look at it
    /// says, in hundreds.
    pub fn half_of_peak(&self) -> u32 {
        const LOOK_S: u32 = 3;
        *self.half_of_peak.get_or_init(|| {
            let load = ["--in-flight", "512", "--connections", "8", "--mix", "charge", "--api-key", OTT_KEY];
            let (_csp, gateway) = self.before_a_slow_csp().expect("a gateway");
            let peak = self.load_for(&gateway.url, &[gateway.pid()], LOOK_S, &load).expect("charges");
            let hundreds = format!("{:.0}", peak.per_s.unwrap_or_default() / 200.0);
            hundreds.parse::<u32>().expect("a number").max(1) * 100
        })
    }

    /// A CSP that takes 20 ms a call, and a gateway before it.
    pub fn before_a_slow_csp(&self) -> Result<(Proc, Proc), String> {
        let csp = self.slow_csp()?;
        let gateway = self.gateway(&Self::with_csp(&csp.url))?;
        Ok((csp, gateway))
    }

    /// A CSP that takes 20 ms a call.
    pub fn slow_csp(&self) -> Result<Proc, String> {
        self.bare(&["csp", "20"], true)
    }

    /// That CSP called directly, as often as charges at half of the peak call it.
    pub fn slow_calls(&self) -> Result<Sample, String> {
        let csp = self.slow_csp()?;
        let calls = self.half_of_peak().saturating_mul(2).to_string();
        let load = ["--rate", &calls, "--in-flight", "512", "--face", "json", "--mix", "validate", "--any-target"];
        self.load(&csp.url, &[csp.pid()], &load)
    }

    /// How long such a call takes, in microseconds, as a look at it says: its 20 ms, and the way there and back.
    pub fn slow_call_us(&self) -> f64 {
        *self.slow_call_us.get_or_init(|| self.slow_calls().ok().and_then(|calls| calls.p50_us).expect("calls"))
    }

    fn collector(&self) -> &Proc {
        self.collector.get_or_init(|| self.bare(&["collector"], true).expect("a collector"))
    }

    /// Brings a database to the gateway's schema.
    pub fn migrate(&self, config: &str) -> Result<(), String> {
        let directory = self.directory();
        let file = directory.path().join("onbill.toml");
        std::fs::write(&file, config).map_err(|error| error.to_string())?;
        let output = Command::new(&self.onbill).args(["migrate", "--config"]).arg(&file).output();
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    /// Puts a server under load for the round's time and says what came of it.
    pub fn load(&self, url: &str, pids: &[u32], arguments: &[&str]) -> Result<Sample, String> {
        self.load_for(url, pids, self.seconds, arguments)
    }

    pub fn load_for(&self, url: &str, pids: &[u32], seconds: u32, arguments: &[&str]) -> Result<Sample, String> {
        let mut command = self.machine.load(&self.onbill.to_string_lossy());
        command.args(["load", "--target", url, "--json", "--quiet", "--warm-up", "1"]);
        if !arguments.contains(&"--check") {
            command.args(["--check", "2000"]);
        }
        command.args(["--duration", &seconds.to_string()]).args(arguments).env("ONBILL_API_KEY", KEY);
        if !pids.is_empty() {
            let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
            command.args(["--pid", &pids.join(",")]);
        }
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let report: Value = serde_json::from_slice(&output.stdout).map_err(|_| told.clone())?;
        if !output.status.success() {
            return Err(format!("{told} {} {}", report["errors"], report["read_back"]));
        }
        let all = &report["rows"][0];
        let latency = |name: &str| all["latency_us"][name].as_f64();
        let sum = |name: &str| {
            let processes = report["processes"].as_array().map(Vec::as_slice).unwrap_or_default();
            (!processes.is_empty()).then(|| processes.iter().filter_map(|process| process[name].as_f64()).sum())
        };
        Ok(Sample {
            per_s: all["per_s"].as_f64(),
            p50_us: latency("p50"),
            p99_us: latency("p99"),
            p999_us: latency("p999"),
            cpu_s_per_1000: sum("cpu_s_per_1000"),
            peak_kib: sum("peak_kib"),
            figure: None,
            generator: report["own_share"].as_f64(),
        })
    }
}
