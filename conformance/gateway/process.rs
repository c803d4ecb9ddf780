//! A gateway that runs.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest wait for a gateway to listen or to stop: generous, since test machines are busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a gateway is started.
#[derive(Default)]
pub struct Setup {
    config: Option<String>,
    environment: Vec<(String, String)>,
    data_dir: Option<PathBuf>,
    admin_listen: Option<String>,
}

impl Setup {
    /// With a configuration file of this text.
    pub fn config(mut self, text: &str) -> Self {
        self.config = Some(text.to_owned());
        self
    }

    /// With one more environment variable.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With its operations port elsewhere than on a loopback address.
    pub fn admin_listen(mut self, address: &str) -> Self {
        self.admin_listen = Some(address.to_owned());
        self
    }

    /// On a data directory that outlives it.
    pub fn data_dir(mut self, path: &Path) -> Self {
        self.data_dir = Some(path.to_owned());
        self
    }

    /// Starts it on free ports and waits until it listens.
    pub fn start(self) -> Running {
        let own = TempDir::new().expect("a temporary directory");
        let data_dir = self.data_dir.unwrap_or_else(|| own.path().join("data"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_onbill"));
        let admin_listen = self.admin_listen.as_deref().unwrap_or("127.0.0.1:0");
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", admin_listen, "--data-dir"]);
        command.arg(&data_dir);
        if let Some(config) = &self.config {
            let file = own.path().join("onbill.toml");
            std::fs::write(&file, config).expect("a configuration file");
            command.arg("--config").arg(file);
        }
        command.env("ONBILL__LOG__FILTER", "warn").envs(self.environment);
        let log = own.path().join("log");
        let since = Instant::now();
        let (child, lines, [listen, admin]) = loop {
            command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).expect("a log"));
            let mut child = command.spawn().expect("the built gateway");
            let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
            if let Some(found) = addresses(&mut lines) {
                break (child, lines, found);
            }
            // What a supervisor does: where much else is at work the ledger may not answer in the time that a start gives it.
            let said = read(&log);
            let is_early = said.contains("PostgreSQL cannot be reached") && since.elapsed() < PATIENCE;
            assert!(is_early, "it does not say where it listens; its log: {said}");
            child.wait().expect("it has ended");
        };
        Running { child, listen, admin, log, _output: lines, own }
    }
}

/// Where a gateway says that it listens; `None` where it ends without saying so.
fn addresses(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<[String; 2]> {
    let mut address = |word: &str| {
        let line = lines.by_ref().map(|line| line.expect("text")).find(|line| line.contains(word))?;
        let (_, from) = line.split_once("://").expect("an address");
        Some(from.split_whitespace().next().expect("an address").to_owned())
    };
    Some([address("gRPC and JSON")?, address("operations")?])
}

/// A gateway that runs, until it is dropped.
pub struct Running {
    child: Child,
    listen: String,
    admin: String,
    log: PathBuf,
    /// Held open, as a terminal would be.
    _output: Lines<BufReader<ChildStdout>>,
    own: TempDir,
}

impl Running {
    /// A sandbox as `make run` starts it, on free ports.
    pub fn sandbox() -> Self {
        Setup::default().start()
    }

    /// Host and port of the main port.
    pub fn authority(&self) -> &str {
        &self.listen
    }

    /// Host and port of the operations port.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        read(&self.log)
    }

    /// Puts another text into its configuration file.
    pub fn rewrite(&self, config: &str) {
        std::fs::write(self.own.path().join("onbill.toml"), config).expect("a configuration file");
    }

    /// Asks it to read its configuration again.
    pub fn hang_up(&self) {
        let sent = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    }

    /// Asks it to stop, and does not wait.
    pub fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    }

    /// Kills it as a crash would.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
    }

    /// Asks it to stop and waits for its exit.
    pub fn stop(mut self) -> ExitStatus {
        self.terminate();
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it did not stop; its log: {}", self.log());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone where a test has stopped or killed it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

/// A sandbox number of a condition that no other test of this run uses.
pub fn number(condition: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(10_000);
    format!("555{}{condition}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A transaction id that no other test of this run uses.
pub fn id(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
