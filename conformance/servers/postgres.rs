//! A PostgreSQL server of the tests' own: it can be stopped, killed, frozen and started again on its port.
//!
//! Invariant: the server runs as an unprivileged user, since it refuses root, in a directory that goes away with it. A
//! guardian process ends it when the tests are gone, even where they were killed. What tests read beside the ledger they
//! read with psql, as a stranger would.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::free_port;

/// Longest wait for a server to come or go: generous, since test machines are busy.
const PATIENCE: Duration = Duration::from_mins(1);
/// Whoever is the superuser of the server.
const USER: &str = "onbill";
/// Ends the server and removes its directory once the tests are gone: its standard input is theirs.
const GUARDIAN: &str = r#"trap "" INT TERM HUP
read -r _
pid=$(head -n 1 "$0/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -d "/proc/$pid" ] || break; sleep 0.1; done
rm -rf "$0""#;

/// A server.
pub struct Server {
    directory: PathBuf,
    port: u16,
    running: Mutex<Option<Child>>,
    guardian: Mutex<Option<(Child, ChildStdin)>>,
}

/// One server for all tests of this process that do not disturb it.
pub fn shared() -> Arc<Server> {
    static SHARED: OnceLock<Arc<Server>> = OnceLock::new();
    Arc::clone(SHARED.get_or_init(|| Arc::new(Server::start())))
}

impl Server {
    /// Makes a server and starts it.
    pub fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("onbill-postgres-").tempdir().expect("a directory").keep();
        let guardian = Command::new("sh")
            .args(["-c", GUARDIAN])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut guardian = guardian.expect("a guardian");
        let input = guardian.stdin.take().expect("its input");
        let server = Self {
            directory,
            port: free_port(),
            running: Mutex::new(None),
            guardian: Mutex::new(Some((guardian, input))),
        };
        if is_root() {
            let owned = Command::new("chown").arg("postgres").arg(&server.directory).status().expect("chown");
            assert!(owned.success(), "the user postgres comes with the package postgresql");
        }
        let made = unprivileged("initdb")
            .arg("-D")
            .arg(server.data())
            .args(["-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"])
            .current_dir(&server.directory)
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.restart();
        server
    }

    /// Starts it again on its port, and waits until it answers.
    pub fn restart(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let log = std::fs::File::options().create(true).append(true).open(self.directory.join("log")).expect("a log");
        let mut command = unprivileged("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(&self.directory);
        command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300"]);
        let child = command.current_dir(&self.directory).stdout(Stdio::null()).stderr(log).spawn();
        *running = Some(child.expect("postgres starts"));
        let since = Instant::now();
        while !self.ask("postgres", "SELECT 1").status.success() {
            let log = || std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(since.elapsed() < PATIENCE, "the server does not answer; its log: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills every process of it, as a loss of power would.
    pub fn kill(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut child) = running.take() else { return };
        let postmaster = child.id();
        let backends = children_of(postmaster);
        signal("-KILL", postmaster);
        for backend in backends {
            signal("-KILL", backend);
        }
        child.wait().expect("it has ended");
        let _ = std::fs::remove_file(self.data().join("postmaster.pid"));
    }

    /// Stops it: open connections are closed.
    pub fn stop(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut child) = running.take() else { return };
        signal("-INT", child.id());
        child.wait().expect("it has ended");
    }

    /// Freezes every process of it: connections stay open and nothing answers. `thaw` lets it go on.
    pub fn freeze(&self) {
        self.signal_all("-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal_all("-CONT");
    }

    fn signal_all(&self, which: &str) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let postmaster = running.as_ref().expect("it runs").id();
        signal(which, postmaster);
        for backend in children_of(postmaster) {
            signal(which, backend);
        }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn ask(&self, database: &str, text: &str) -> std::process::Output {
        Command::new(binary("psql"))
            .args(["-X", "-A", "-t", "-q", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", USER])
            .args(["-p", &self.port.to_string(), "-d", database, "-c", text])
            .env_remove("PGOPTIONS")
            .output()
            .expect("psql runs")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut child) = running {
            signal("-CONT", child.id());
            signal("-QUIT", child.id());
            let _ = child.wait();
        }
        if let Some((mut guardian, input)) = self.guardian.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(input);
            let _ = guardian.wait();
        }
    }
}

/// A database of its own on a server.
pub struct Database {
    server: Arc<Server>,
    name: String,
}

impl Database {
    /// An empty one.
    pub fn on(server: &Arc<Server>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let database = Self { server: Arc::clone(server), name };
        let made = server.ask("postgres", &format!("CREATE DATABASE {}", database.name));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        database
    }

    /// An empty one on the shared server.
    pub fn fresh() -> Self {
        Self::on(&shared())
    }

    /// How to reach it.
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// The server that it is on.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// A copy of it, to which nobody may be connected.
    pub fn copy(&self) -> Self {
        let copy = Self::on(&self.server);
        let again = format!("DROP DATABASE {0}", copy.name);
        let copied = format!("CREATE DATABASE {} TEMPLATE {}", copy.name, self.name);
        for text in [again, copied] {
            let done = self.server.ask("postgres", &text);
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        copy
    }

    /// Does something to it as a stranger, or reads: one line a row, columns between tabs.
    pub fn sql(&self, text: &str) -> Vec<Vec<String>> {
        let output = self.server.ask(&self.name, text);
        assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(|line| line.split('\t').map(ToOwned::to_owned).collect()).collect()
    }

    /// One number.
    pub fn number(&self, text: &str) -> i64 {
        self.sql(text)[0][0].parse().expect("a number")
    }
}

/// A program of the newest PostgreSQL that Debian's packages have installed, else whatever the path finds.
fn binary(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .map(|version| version.path().join("bin").join(name))
        .filter(|path| path.is_file())
        .max_by_key(|path| version_of(path));
    newest.unwrap_or_else(|| PathBuf::from(name))
}

fn version_of(path: &Path) -> u32 {
    path.components().find_map(|part| part.as_os_str().to_str()?.parse().ok()).unwrap_or(0)
}

/// A program of the server as a user that it runs as.
fn unprivileged(name: &str) -> Command {
    if !is_root() {
        return Command::new(binary(name));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(binary(name));
    command
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

fn signal(which: &str, process: u32) {
    let _ = Command::new("kill").args([which, &process.to_string()]).stderr(Stdio::null()).status();
}

fn children_of(parent: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|process| process.parse().ok()).collect()
}
